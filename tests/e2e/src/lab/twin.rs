//! The card as a machine: QEMU boots an image, and the places are wired to it by tap devices.
//!
//! ```text
//!  nic-P-N-host                       the machine                         nic-P-N-host1, -host2, -host3
//!  host-shim, mgmt0 192.168.100.1 --- mgmt0 .2       pf0vf0 .. pf0vf2 --- eth0
//!                                     nic-agent      p0 ----------------- eth0
//!                                     nic-datapath                        nic-P-N-wire
//! ```
//!
//! The disk is a copy of the image's, on whose ESP the parameters of the first boot are put, as whoever
//! installs a card would do.
//!
//! It may be switched off at any time, hard, and on again with the same disk and the same wires; or restart
//! by itself, which [`Lab::await_boot`] follows by its console.

mod console;
mod disk;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Lab, Options, await_socket};
use crate::capture::Capture;
use crate::daemon::Daemon;
use crate::error::LabError;
use crate::netns::{self, PLACES, ip};
use crate::run;

/// From power-on to the first answer of the API, at most: many times what it takes.
pub const POWER_ON: Duration = Duration::from_secs(600);
/// How long QEMU may take to make its tap devices.
const TAPS: Duration = Duration::from_secs(30);
/// Between two looks at a machine that boots: it is the machine that shall have the CPU.
const LOOK: Duration = Duration::from_millis(500);

/// The management link's ends.
const HOST: &str = "192.168.100.1/30";
const CARD: &str = "192.168.100.2";
/// Where the image of the test profile serves nic.v1.
const DOOR: u16 = 9339;
/// The interface at the host's end.
const MANAGEMENT: &str = "mgmt0";

/// Parameters of the first boot with which the host reaches it.
pub const PARAMETERS: &str = "HOSTNAME=twin\nMANAGEMENT_ADDRESS=192.168.100.2/30\n";

/// Below QEMU's folder: the program, its libraries, the firmware and the store of its variables.
const QEMU: &str = "usr/bin/qemu-system-aarch64";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const FIRMWARE: &str = "usr/share/AAVMF/AAVMF_CODE.fd";
const VARIABLES: &str = "usr/share/AAVMF/AAVMF_VARS.fd";

/// What is served to the firmware, and in which folder of the lab's.
const TFTP: &str = "tftp";
const PROGRAM: &str = "install.efi";

/// What stands behind the uplink's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Uplink {
    /// A virtio device, as behind all others.
    #[default]
    Virtio,
    /// Intel's igb, which has virtual functions (SR-IOV).
    Igb,
}

/// A machine that an image is put into.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The image.
    pub disk: PathBuf,
    /// QEMU's folder, as a system's root.
    pub qemu: PathBuf,
    /// Parameters of the first boot.
    pub parameters: String,
    /// Its uplink.
    pub uplink: Uplink,
    /// Its disk is empty, as large as the image's, and this is what its firmware finds in the network.
    pub network: Option<PathBuf>,
    /// It outlives the process that made it.
    pub keep: bool,
}

/// How a machine came up.
#[derive(Debug, Clone, Copy)]
pub struct Booted {
    /// From power-on to the first answer of a card that is complete.
    pub answer: Duration,
}

impl Lab {
    /// Boots an image, and returns when the shim's socket reaches a card that is complete.
    pub fn boot(machine: Machine) -> Result<(Lab, Booted), LabError> {
        let mut lab = Lab::assemble(machine)?;
        let start = Instant::now();
        lab.power_on()?;
        lab.await_card()?;
        Ok((lab, Booted { answer: start.elapsed() }))
    }

    /// A machine that is wired, and off.
    pub fn assemble(machine: Machine) -> Result<Lab, LabError> {
        let options = Options { ipv6: true, neighbours: false, keep: machine.keep, ..Options::default() };
        let mut lab = Lab::claim(options)?;
        netns::build_empty(&lab.prefix, lab.furniture())?;
        let host = lab.host();
        ip(&["netns", "add", &host])?;
        ip(&["-n", &host, "link", "set", "lo", "up"])?;
        let copy = |from: PathBuf, to: PathBuf| {
            run::output(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(from).arg(to))
        };
        copy(machine.qemu.join(VARIABLES), lab.folder.join("variables.fd"))?;
        match &machine.network {
            Some(program) => {
                std::fs::create_dir(lab.folder.join(TFTP)).map_err(LabError::io("making a folder"))?;
                copy(program.clone(), lab.folder.join(TFTP).join(PROGRAM))?;
                lab.empty_disk(&machine.disk)?;
            }
            None => {
                copy(machine.disk.clone(), lab.disk())?;
                lab.put_parameters(&machine.parameters)?;
            }
        }
        lab.hardware = Some(machine);
        lab.start_far_shim()?;
        Ok(lab)
    }

    /// The namespace of the host's management link.
    fn host(&self) -> String {
        format!("{}-host", self.prefix)
    }

    fn disk(&self) -> PathBuf {
        self.folder.join("disk.img")
    }

    /// Switches it on, and connects its wires.
    pub fn power_on(&mut self) -> Result<(), LabError> {
        let mut command = self.lasting(netns::Node::Card, "env");
        command.args(self.qemu_words());
        self.machine = Some(Daemon::start("qemu", command, &self.folder, self.options.keep)?);
        self.wire()
    }

    /// Takes its power away, whatever it is doing. What it had not written to the disk is lost.
    pub fn cut_power(&mut self) {
        self.machine().kill();
        self.machine = None;
    }

    /// QEMU's command line, with the libraries that it runs with.
    fn qemu_words(&self) -> Vec<OsString> {
        let hardware = self.hardware.as_ref().expect("a lab that was assembled has it");
        let of_qemu = |path: &str| hardware.qemu.join(path).display().to_string();
        let file = |name: &str| self.folder.join(name).display().to_string();
        let mut words = vec![format!("LD_LIBRARY_PATH={}", of_qemu(LIBRARIES)), of_qemu(QEMU)];
        let mut add = |text: &str| words.extend(text.split(' ').map(str::to_owned));
        // QEMU 10.0 puts the memory of igb's virtual functions at the low half of a 64-bit address: they hear
        // nothing of what is written to them if that is above 4 GiB.
        let window = if hardware.uplink == Uplink::Igb { ",highmem-mmio=off" } else { "" };
        add(&format!("-machine virt,iommu=smmuv3,gic-version=3{window} -cpu cortex-a72 -smp 2 -m 1G"));
        add("-nodefaults -display none -no-user-config");
        add(&format!("-drive if=pflash,format=raw,readonly=on,file={}", of_qemu(FIRMWARE)));
        add(&format!("-drive if=pflash,format=raw,file={}", file("variables.fd")));
        // What the guest was told that it is on the disk has left QEMU.
        add(&format!("-drive if=none,id=disk,format=raw,cache=writethrough,file={}", file("disk.img")));
        add("-device virtio-blk-pci,drive=disk,bootindex=0,addr=0x8 -device virtio-rng-pci,addr=0x9");
        add("-device i6300esb,addr=0xa -action watchdog=reset");
        if hardware.network.is_some() {
            // A network of QEMU's own, with an address and this one file for whoever asks, and no way out.
            let folder = file(TFTP);
            add(&format!("-netdev user,id=boot,restrict=on,tftp={folder},bootfile={PROGRAM}"));
            add("-device virtio-net-pci,netdev=boot,romfile=,addr=0xb,bootindex=1");
        }
        add(&format!(
            "-chardev socket,id=console,server=on,wait=off,path={},logfile={},logappend=on",
            file("console.sock"),
            file("console.log")
        ));
        add("-serial chardev:console");
        // As the image's generic board has them: the management interface, then the E-Switch's.
        for (index, tap) in taps().into_iter().enumerate() {
            add(&format!("-netdev tap,id=n{index},ifname={tap},script=no,downscript=no"));
            let device = match hardware.uplink {
                Uplink::Igb if index == UPLINK => "igb",
                _ => "virtio-net-pci",
            };
            let (slot, mac) = (index + 2, format!("02:00:00:00:02:{index:02x}"));
            add(&format!("-device {device},netdev=n{index},mac={mac},romfile=,addr={slot:#x}"));
        }
        words.into_iter().map(OsString::from).collect()
    }

    /// The machine.
    pub fn machine(&mut self) -> &mut Daemon {
        self.machine.as_mut().expect("a lab that was switched on has one")
    }

    /// Moves the far ends of the machine's interfaces to where they belong.
    fn wire(&mut self) -> Result<(), LabError> {
        let card = self.namespace(netns::Node::Card);
        for tap in taps() {
            self.until(&format!("the tap device {tap}"), TAPS, |lab| {
                lab.machine().check()?;
                let found = ip(&["-n", &card, "link", "show", "dev", &tap]);
                Ok(found.map_err(|error| error.to_string()))
            })?;
        }
        let furniture = self.furniture();
        for place in PLACES {
            let namespace = self.namespace(place.node);
            ip(&["-n", &card, "link", "set", "dev", place.device, "netns", &namespace, "name", "eth0"])?;
            ip(&["-n", &namespace, "link", "set", "dev", "eth0", "address", &place.mac_text()])?;
            netns::settle(&namespace, place, furniture)?;
        }
        let host = self.host();
        ip(&["-n", &card, "link", "set", "dev", MANAGEMENT, "netns", &host])?;
        ip(&["-n", &host, "link", "set", MANAGEMENT, "up"])?;
        ip(&["-n", &host, "addr", "add", HOST, "dev", MANAGEMENT])
    }

    /// Starts the shim on the host, which reaches the card by the management link only.
    fn start_far_shim(&mut self) -> Result<(), LabError> {
        let socket = self.socket("shim");
        let host = self.host();
        let shim = run::program("host-shim");
        let mut command =
            if self.options.keep { netns::within_for_good(&host, shim) } else { netns::within(&host, shim) };
        command.arg("--listen").arg(&socket).arg("--card").arg(format!("http://{CARD}:{DOOR}"));
        let daemon = self.shim.insert(Daemon::start("host-shim", command, &self.folder, self.options.keep)?);
        await_socket(daemon, &socket)
    }

    /// Waits until it answers over gRPC, and is complete.
    pub fn await_card(&mut self) -> Result<(), LabError> {
        self.await_machine("an answer of the card", POWER_ON, |lab| {
            let answer = lab.nicctl(&["status", "-o", "json"])?;
            let status: Value = serde_json::from_str(&answer.out).unwrap_or_default();
            let complete = status["datapath"]["connected"] == true;
            Ok(if complete { Ok(()) } else { Err(format!("{}{}", answer.out, answer.err)) })
        })
    }

    /// Starts to capture what comes to the host over the management link.
    pub fn capture_management(&self) -> Result<Capture, LabError> {
        let file = self.folder.join("management.pcap");
        Capture::start(netns::within(&self.host(), "tcpdump"), MANAGEMENT, &file)
    }
}

/// Which of the machine's interfaces is the uplink.
const UPLINK: usize = 1;

/// The machine's interfaces in the order of their places on its bus.
fn taps() -> Vec<String> {
    let uplink_first = |device: &&str| *device != "p0";
    let mut devices: Vec<&str> = PLACES.iter().map(|place| place.device).collect();
    devices.sort_by_key(uplink_first);
    std::iter::once(MANAGEMENT).chain(devices).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_in_the_order_of_the_generic_board() {
        assert_eq!(taps(), ["mgmt0", "p0", "pf0vf0", "pf0vf1", "pf0vf2"]);
    }
}
