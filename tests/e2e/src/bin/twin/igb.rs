//! The uplink is a virtual function of a card with SR-IOV: made in the machine, given to `vfio-pci` behind the
//! IOMMU, and driven by DPDK in nic-datapath. The main job crosses it.

use std::path::Path;

use e2e::overlay::{Endpoint, Underlay};
use e2e::story::Story;
use e2e::{Lab, LabError};

use crate::card::{self, RATE, UDP};

/// Packets that are counted one by one, each way.
const PACKETS: u64 = 1_000;
/// The MAC address of the configuration's Vtep, which is made of its IP address. The function is given it, so
/// that its card hands out what comes for the tunnels.
const VTEP: &str = "02:4e:c0:00:02:33";
/// What nic-datapath is started with, in place of what the image says.
const ARGUMENTS: &str = "/run/nic/igb.conf";

pub(crate) fn tell(lab: &mut Lab, story: &mut Story) -> Result<(), LabError> {
    story.chapter("The card is switched on; its uplink is an igb");
    lab.power_on()?;
    lab.make_overlay(Endpoint::Kernel, Underlay::Ipv4)?;
    lab.await_card()?;
    let function = function(lab, story)?;
    hand_over(lab, story, &function)?;
    card::configure(lab, story)?;
    card::forwards(lab, story)?;
    counted(lab, story)
}

/// Makes a virtual function and gives it to vfio-pci; gives its address on the bus.
fn function(lab: &mut Lab, story: &mut Story) -> Result<String, LabError> {
    story.chapter("A virtual function is made, and given to vfio-pci");
    let device = "/sys/class/net/p0/device";
    lab.shell(&format!("echo 0 > {device}/sriov_drivers_autoprobe; echo 2 > {device}/sriov_numvfs"))?;
    let listed = lab.shell(&format!("readlink {device}/driver; readlink {device}/virtfn0"))?;
    let words: Vec<&str> = listed.split_whitespace().map(last_part).collect();
    let function = words.get(1).map(|word| (*word).to_owned()).unwrap_or_default();
    story.claim(
        words.first() == Some(&"igb") && !function.is_empty(),
        format!("the kernel's igb makes the function {function}"),
    );
    let of_function = format!("/sys/bus/pci/devices/{function}");
    lab.shell(&format!("modprobe -q vfio-pci; ip link set p0 up; ip link set p0 vf 0 mac {VTEP}"))?;
    lab.shell(&format!(
        "echo vfio-pci > {of_function}/driver_override; echo {function} > /sys/bus/pci/drivers_probe"
    ))?;
    let bound = lab.shell(&format!("readlink {of_function}/driver; readlink {of_function}/iommu_group"))?;
    let words: Vec<&str> = bound.split_whitespace().map(last_part).collect();
    story.claim(words.first() == Some(&"vfio-pci"), format!("its driver is {}", words.join(", group ")));
    let unit = lab.shell(&format!("readlink {of_function}/iommu"))?;
    story.claim(unit.contains("smmu"), format!("behind the IOMMU {}", last_part(unit.trim())));
    Ok(function)
}

fn last_part(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Starts nic-datapath again, with that function behind its uplink.
fn hand_over(lab: &mut Lab, story: &mut Story, function: &str) -> Result<(), LabError> {
    story.chapter("nic-datapath takes it, as what is behind its uplink");
    let drop_in = "/run/systemd/system/nic-datapath.service.d";
    let replaced = [
        format!("s/p0:af_packet:p0/p0:ethdev:{function}/"),
        // DPDK may look at this function, and at no other device.
        format!("s/--eal-arg --no-pci/--pci {function}/"),
    ];
    lab.shell(&format!(
        "mkdir -p {drop_in}; sed '{}' /usr/lib/nic-agent/datapath.conf > {ARGUMENTS}; \
         printf '[Service]\\nEnvironmentFile={ARGUMENTS}\\n' > {drop_in}/igb.conf; \
         systemctl daemon-reload; systemctl restart nic-datapath",
        replaced.join(";")
    ))?;
    lab.await_card()?;
    let started = lab.shell("systemctl is-active nic-datapath")?;
    story.claim(started.trim() == "active", format!("nic-datapath is {}", started.trim()));
    let held = lab.shell(
        "ls -l /proc/$(systemctl show -P MainPID nic-datapath)/fd; systemctl show -p NRestarts nic-datapath",
    )?;
    story.claim(held.contains("/dev/vfio/"), "it holds a group of /dev/vfio");
    story.claim(held.contains("NRestarts=0"), "it started once");
    let ports = lab.json(&["status"])?;
    story.claim(ports.to_string().contains("\"p0\""), "its E-Switch has the uplink");
    Ok(())
}

/// Packets both ways, in tunnels that end at the function.
fn counted(lab: &mut Lab, story: &mut Story) -> Result<(), LabError> {
    story.chapter("Numbered packets, into the tunnel and out of it, through the function");
    let (vm, peer) = card::ends();
    let kernels = "cat /sys/class/net/p0/statistics/rx_packets";
    let before = lab.shell(kernels)?;
    for (from, to) in [(vm, peer), (peer, vm)] {
        let received = lab.udp(from, to, UDP, PACKETS, RATE)?;
        let way = format!("{} -> {}", from.node.name(), to.node.name());
        card::all_arrived(story, &way, &received, PACKETS);
    }
    let after = lab.shell(kernels)?;
    let number = |text: &str| text.trim().parse::<u64>().unwrap_or_default();
    let seen = number(&after).saturating_sub(number(&before));
    story.claim(seen * 10 < PACKETS, format!("the kernel's end of that card saw {seen} packets meanwhile"));
    Ok(())
}
