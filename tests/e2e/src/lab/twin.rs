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

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
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
pub const POWER_ON: Duration = Duration::from_secs(420);
/// How long QEMU may take to make its tap devices.
const TAPS: Duration = Duration::from_secs(30);
/// How long a word on the console may take.
const WORD: Duration = Duration::from_secs(90);
/// Between two looks at a machine that boots: it is the machine that shall have the CPU.
const LOOK: Duration = Duration::from_millis(500);

/// The management link's ends.
const HOST: &str = "192.168.100.1/30";
const CARD: &str = "192.168.100.2";
/// Where the image of the test profile serves nic.v1.
const DOOR: u16 = 9339;
/// The interface at the host's end.
const MANAGEMENT: &str = "mgmt0";

/// Where the ESP begins in the image, as mtools wants it.
const ESP: &str = "@@1M";
const PARAMETERS: &str = "HOSTNAME=twin\nMANAGEMENT_ADDRESS=192.168.100.2/30\n";

/// The firmware, and the store of its variables.
const FIRMWARE: &str = "/usr/share/AAVMF/AAVMF_CODE.fd";
const VARIABLES: &str = "/usr/share/AAVMF/AAVMF_VARS.fd";

/// How a machine came up.
#[derive(Debug, Clone, Copy)]
pub struct Booted {
    /// From power-on to the first answer of a card that is complete.
    pub answer: Duration,
}

impl Lab {
    /// Boots an image, and returns when the shim's socket reaches a card that is complete.
    pub fn boot(disk: &Path, keep: bool) -> Result<(Lab, Booted), LabError> {
        let options = Options { ipv6: true, neighbours: false, keep, ..Options::default() };
        let mut lab = Lab::claim(options)?;
        netns::build_empty(&lab.prefix, lab.furniture())?;
        let host = lab.host();
        ip(&["netns", "add", &host])?;
        ip(&["-n", &host, "link", "set", "lo", "up"])?;
        lab.insert_disk(disk)?;
        let start = Instant::now();
        lab.power_on()?;
        lab.wire()?;
        lab.start_far_shim()?;
        lab.await_answer(start)?;
        let booted = Booted { answer: start.elapsed() };
        Ok((lab, booted))
    }

    /// The namespace of the host's management link.
    fn host(&self) -> String {
        format!("{}-host", self.prefix)
    }

    fn insert_disk(&self, disk: &Path) -> Result<(), LabError> {
        let copy = self.folder.join("disk.img");
        run::output(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(disk).arg(&copy))?;
        let file = self.folder.join("bf.cfg");
        fs::write(&file, PARAMETERS).map_err(LabError::io("writing the parameters"))?;
        let esp = format!("{}{ESP}", copy.display());
        run::output(Command::new("mcopy").args(["-o", "-i", &esp]).arg(&file).arg("::bf.cfg"))?;
        let variables = self.folder.join("variables.fd");
        run::output(Command::new("cp").args(["--sparse=always", VARIABLES]).arg(&variables)).map(|_| ())
    }

    fn power_on(&mut self) -> Result<(), LabError> {
        let mut qemu = self.lasting(netns::Node::Card, "qemu-system-aarch64");
        qemu.args(["-machine", "virt,iommu=smmuv3", "-cpu", "cortex-a72", "-smp", "2", "-m", "1G"]);
        qemu.args(["-nodefaults", "-display", "none", "-no-user-config"]);
        let file = |name: &str| self.folder.join(name).display().to_string();
        qemu.arg("-drive").arg(format!("if=pflash,format=raw,readonly=on,file={FIRMWARE}"));
        qemu.arg("-drive").arg(format!("if=pflash,format=raw,file={}", file("variables.fd")));
        qemu.arg("-drive").arg(format!("if=none,id=disk,format=raw,file={}", file("disk.img")));
        qemu.args(["-device", "virtio-blk-pci,drive=disk,bootindex=0,addr=0x8"]);
        qemu.args(["-device", "virtio-rng-pci,addr=0x9"]);
        qemu.arg("-chardev").arg(format!(
            "socket,id=console,server=on,wait=off,path={},logfile={}",
            file("console.sock"),
            file("console.log")
        ));
        qemu.args(["-serial", "chardev:console"]);
        // As the image's generic board has them: the management interface, then the E-Switch's.
        for (index, tap) in taps().into_iter().enumerate() {
            qemu.arg("-netdev").arg(format!("tap,id=n{index},ifname={tap},script=no,downscript=no"));
            qemu.arg("-device").arg(format!(
                "virtio-net-pci,netdev=n{index},mac=02:00:00:00:02:{index:02x},romfile=,addr={:#x}",
                index + 2
            ));
        }
        self.machine = Some(Daemon::start("qemu", qemu, &self.folder, self.options.keep)?);
        Ok(())
    }

    /// The machine.
    pub fn machine(&mut self) -> &mut Daemon {
        self.machine.as_mut().expect("a lab that was booted has one")
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

    fn await_answer(&mut self, start: Instant) -> Result<(), LabError> {
        loop {
            self.machine().check()?;
            let answer = self.nicctl(&["status", "-o", "json"])?;
            let status: Value = serde_json::from_str(&answer.out).unwrap_or_default();
            if status["datapath"]["connected"] == true {
                return Ok(());
            }
            if start.elapsed() > POWER_ON {
                let last = format!("{}{}\n{}", answer.out, answer.err, self.console_tail());
                return Err(LabError::Late { what: "an answer of the card".into(), limit: POWER_ON, last });
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The end of what the machine wrote on its console.
    pub fn console_tail(&self) -> String {
        let text = fs::read(self.folder.join("console.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Runs a line in the shell on the console, which an image of the test profile has; gives what it
    /// printed.
    pub fn shell(&mut self, line: &str) -> Result<String, LabError> {
        let failed = || LabError::io("speaking to the console");
        let mut stream = UnixStream::connect(self.folder.join("console.sock")).map_err(failed())?;
        stream.set_read_timeout(Some(LOOK)).map_err(failed())?;
        // What the line itself is echoed as has no such word in it.
        let sent = format!("\nprintf 'twin-%s\\n' begin; {line}; printf 'twin-%s\\n' end\n");
        stream.write_all(sent.as_bytes()).map_err(failed())?;
        let (mut said, start) = (Vec::new(), Instant::now());
        loop {
            let mut buffer = [0; 4096];
            match stream.read(&mut buffer) {
                Ok(count) => said.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(failed()(error)),
            }
            let text = String::from_utf8_lossy(&said).replace('\r', "");
            if let Some((_, rest)) = text.split_once("twin-begin\n")
                && let Some((printed, _)) = rest.split_once("twin-end\n")
            {
                return Ok(printed.to_owned());
            }
            if start.elapsed() > WORD {
                let what = format!("an answer to `{line}` on the console");
                return Err(LabError::Late { what, limit: WORD, last: text });
            }
        }
    }

    /// Starts to capture what comes to the host over the management link.
    pub fn capture_management(&self) -> Result<Capture, LabError> {
        let file = self.folder.join("management.pcap");
        Capture::start(netns::within(&self.host(), "tcpdump"), MANAGEMENT, &file)
    }
}

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
