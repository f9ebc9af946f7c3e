//! The tutorials' command lines, as printed there, and traffic by what they become.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use e2e::overlay::{Endpoint, Underlay};
use e2e::{LabError, Node, Options, number};

use super::frame;
use crate::bench::{Bench, Outcome, peer, vm1, vm2};

/// The VM's and the peer's MAC addresses in the tutorial about tc.
const VM: [u8; 6] = [0xe4, 0x11, 0x11, 0x11, 0x11, 0x10];
const FAR: [u8; 6] = [0x82, 0x8a, 0x29, 0xad, 0x4e, 0xef];

fn tutorial(name: &str) -> String {
    let folder: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../host-shim/nicctl/tests/tutorials");
    folder.join(name).to_string_lossy().into_owned()
}

fn ip(lab: &Bench, node: Node, words: &str) -> Result<(), LabError> {
    let mut command = lab.command(node, "ip");
    let status = command.args(words.split(' ')).status().map_err(LabError::io(format!("ip {words}")))?;
    assert!(status.success(), "ip {words}: {status}");
    Ok(())
}

#[test]
fn the_ovs_tutorials_lines_forward_as_they_say() -> Outcome {
    let mut lab = Bench::usual()?;
    let file = tutorial("ovs-dpdk.txt");
    let answer = lab.nicctl(&["import", "ovs-ofctl", "-f", &file, "--yes", "--wait"])?;
    assert!(answer.code == 0 && answer.out.contains("7 created"), "{answer:?}");
    assert_eq!(lab.udp(vm1(), peer(), 5001, 1_000, 10_000)?.lost, 0);
    assert_eq!(lab.udp(vm2(), peer(), 5001, 1_000, 10_000)?.lost, 0);
    // Of the two rules that overlap the line that stands first decides.
    assert_eq!(lab.udp(peer(), vm1(), 5001, 1_000, 10_000)?.lost, 0);
    for port in ["vm1", "vm2", "pf0"] {
        lab.await_hardware(port, "")?;
    }
    let again = lab.nicctl(&["import", "ovs-ofctl", "-f", &file, "--yes"])?;
    assert!(again.out.contains("Nothing to do"), "{again:?}");
    Ok(())
}

#[test]
fn the_tc_tutorials_lines_carry_between_the_vm_and_a_plain_vxlan_device() -> Outcome {
    let mut lab = Bench::start(Options { neighbours: false, ..Options::default() })?;
    lab.make_overlay(Endpoint::Kernel, Underlay::Ipv4)?;
    // As in the tutorial: the peer's device, its addresses, and the VM's.
    ip(&lab, Node::Wire, "link del vxlan16")?;
    ip(&lab, Node::Wire, "addr add 192.168.203.56/24 dev br0")?;
    ip(
        &lab,
        Node::Wire,
        "link add name vxlan16 address 82:8a:29:ad:4e:ef type vxlan id 16 dev br0 remote 192.168.203.51 dstport 4789",
    )?;
    ip(&lab, Node::Wire, "addr add 1.1.1.3/24 dev vxlan16")?;
    ip(&lab, Node::Wire, "link set vxlan16 up")?;
    ip(&lab, Node::Host1, "link set eth0 address e4:11:11:11:11:10")?;
    ip(&lab, Node::Host1, "addr add 1.1.1.2/24 dev eth0")?;

    let file = tutorial("tc-vxlan.txt");
    let devices = ["--device", "enp6s0f1=p0", "--device", "enp6s0f1_0=pf0vf0"];
    let words = [&["import", "tc", "-f", &file, "--yes", "--wait"][..], &devices].concat();
    let answer = lab.nicctl(&words)?;
    assert!(answer.code == 0 && answer.out.contains("7 created"), "{answer:?}");
    let (near, far) = (Ipv4Addr::new(1, 1, 1, 2), Ipv4Addr::new(1, 1, 1, 3));
    for (from, to) in [(vm1(), far), (peer(), near)] {
        let ping = lab.ping(from, IpAddr::V4(to), 3, 1.0)?;
        assert_eq!(number(&ping["answered"]), 3, "{ping}");
    }
    let result = lab.tcp(vm1(), (far, 5002).into(), peer(), 8 << 20)?;
    assert_eq!((number(&result["received"]), number(&result["wrong"])), (8 << 20, 0), "{result}");
    lab.await_hardware("enp6s0f1_0", "eth_dst=82:8a:29:ad:4e:ef")?;
    lab.await_hardware("enp6s0f1", "tun_eth_dst=e4:11:11:11:11:10")?;
    let flows = lab.show(&["flows", "--tier", "hardware"])?;
    assert!(flows.contains("encap_vxlan(16/192.168.203.51/192.168.203.56/"), "{flows}");
    assert!(flows.contains("decap_vxlan,output(pf0vf0)"), "{flows}");

    // No line is about other addresses.
    let stranger = [2, 0, 0, 0, 9, 9];
    lab.frames(vm1(), &[frame(FAR, stranger, &[0; 46])], 5)?;
    lab.frames(vm1(), &[frame(stranger, VM, &[0; 46])], 6)?;
    let stats = lab.settled_stats()?;
    let dropped = ["port.source_mac", "bridge.unknown_unicast"].map(|reason| stats.drops("pf0vf0", reason));
    assert_eq!(dropped, [5, 6], "{:#}", stats.0);
    Ok(())
}
