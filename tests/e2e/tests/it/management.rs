//! The card's own management, in band over the uplink: reached whatever the policy is, and by nobody else.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use e2e::{LabError, Node, Options, Place, number};

use crate::bench::{Bench, Outcome, PORTS, peer, vm1, wires, with_rules};

const MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 10, 1, 200);
const BYTES: u64 = 1_000_000;

/// A card with management in band, with more words about it. The kernel of the card's namespace has the
/// address, on the interface that nic-datapath makes.
fn managed(words: &str) -> Result<Bench, LabError> {
    let mac = MAC.map(|octet| format!("{octet:02x}")).join(":");
    let settings = format!("p0,mac={mac}{words}");
    let datapath = vec!["--management".to_owned(), settings];
    let lab = Bench::start(Options { datapath, capture: false, ..Options::default() })?;
    // The other ends of the ports are in this namespace, too, and would answer for any of its addresses.
    run(&lab, Node::Card, "sysctl", "-q net.ipv4.conf.all.arp_ignore=1")?;
    ip(&lab, Node::Card, "addr add 10.10.1.200/24 dev mgmt0")?;
    ip(&lab, Node::Card, "link set mgmt0 up")?;
    Ok(lab)
}

fn run(lab: &Bench, node: Node, program: &str, arguments: &str) -> Outcome {
    let mut command = lab.command(node, program);
    let output = command.args(arguments.split(' ')).output().map_err(LabError::io("running a command"))?;
    assert!(output.status.success(), "{program} {arguments}: {output:?}");
    Ok(())
}

fn ip(lab: &Bench, node: Node, arguments: &str) -> Outcome {
    run(lab, node, "ip", arguments)
}

/// The peer asks for the address anew, is answered, and is heard over TCP.
fn assert_reached(lab: &Bench, from: Place, when: &str) -> Outcome {
    ip(lab, from.node, "neigh flush to 10.10.1.200")?;
    let echo = lab.ping(from, IpAddr::V4(ADDRESS), 5, 5.0)?;
    assert_eq!(number(&echo["answered"]), 5, "{when}: {echo}");
    let told = lab.tcp_into(from, SocketAddr::new(IpAddr::V4(ADDRESS), 5201), Node::Card, BYTES)?;
    assert_eq!(number(&told["received"]), BYTES, "{when}: {told}");
    Ok(())
}

/// Everything is dropped, by rules and by ports that are closed.
fn nothing_passes() -> String {
    let rules = with_rules(&[("none", "priority=65535,actions=drop")]);
    rules.replace("{device: p0}", "{device: p0, adminState: DISABLED}")
}

#[test]
fn the_cards_management_is_reached_over_the_uplink_whatever_the_policy_is() -> Outcome {
    let mut lab = managed("")?;
    assert_reached(&lab, peer(), "without any policy")?;
    lab.apply(&wires())?;
    assert_reached(&lab, peer(), "beside tenants")?;
    assert_eq!(lab.udp(vm1(), peer(), 5001, 1000, 5000)?.lost, 0, "tenants notice nothing");
    assert_eq!(lab.udp(peer(), vm1(), 5001, 1000, 5000)?.lost, 0);
    lab.await_hardware("vm1", "")?;
    // A rule that would take all there is, and in hardware.
    lab.apply(&with_rules(&[("all", "priority=65535,in_port=pf0,actions=output:vm1")]))?;
    assert_reached(&lab, peer(), "with a rule that takes everything")?;
    lab.apply(&nothing_passes())?;
    assert_reached(&lab, peer(), "when policy drops all")?;
    let before = lab.stats()?;
    lab.agent().kill();
    assert_reached(&lab, peer(), "without nic-agent")?;
    lab.start_agent()?;
    lab.await_connected()?;
    let after = lab.stats()?;
    assert!(after.port("mgmt", "rxPackets") > before.port("mgmt", "rxPackets"), "{:#}", after.0);
    assert!(after.port("mgmt", "txPackets") > before.port("mgmt", "txPackets"), "{:#}", after.0);
    assert_eq!(after.port("mgmt", "hardwarePackets"), 0, "{:#}", after.0);
    // An alarm of the time without any policy may stand for a moment longer: what it ends with is not of interest.
    let status = lab.nicctl(&["status"])?.out;
    assert!(status.contains("mgmt"), "{status}");
    Ok(())
}

#[test]
fn a_vm_neither_sends_as_the_cards_management_nor_gets_its_frames() -> Outcome {
    let lab = managed("")?;
    lab.apply(&with_rules(&[
        ("out", "in_port=vm1,actions=output:pf0"),
        ("in", "in_port=pf0,actions=output:vm1"),
    ]))?;
    let frame = |to: [u8; 6], from: [u8; 6]| {
        let mut frame = [to, from].concat();
        frame.extend([0x88, 0xb5]);
        frame.resize(60, 0x5a);
        frame
    };
    let honest = frame(peer().mac(), vm1().mac());
    let at_peer = lab.frames_at(peer());
    lab.frames(vm1(), &[frame(peer().mac(), MAC), honest], 50)?;
    lab.settled_stats()?;
    assert_eq!(lab.frames_at(peer()) - at_peer, 50, "only those that say who sent them");
    assert_eq!(lab.settled_stats()?.drops(vm1().device, "management.source"), 50);

    let at_vm1 = lab.frames_at(vm1());
    lab.frames(peer(), &[frame(MAC, peer().mac()), frame(vm1().mac(), peer().mac())], 50)?;
    lab.settled_stats()?;
    assert_eq!(lab.frames_at(vm1()) - at_vm1, 50, "only what is not the management's");

    // Nor does the management send as anybody else.
    let at_peer = lab.frames_at(peer());
    lab.frames_by(Node::Card, "mgmt0", &[frame(peer().mac(), vm1().mac())], 50)?;
    assert_eq!(lab.settled_stats()?.drops("mgmt", "management.source"), 50);
    assert_eq!(lab.frames_at(peer()), at_peer);

    // Policy cannot name the port.
    let port = format!("{PORTS}---\napiVersion: nic.v1\nkind: Port\nname: ports/m\nspec: {{device: mgmt}}\n");
    let answer = lab.try_apply(&port)?;
    assert!(answer.code == 3 && answer.err.contains("FIELD_CONFLICT"), "{answer:?}");
    Ok(())
}

#[test]
fn a_tenant_that_sends_nothing_but_new_flows_does_not_keep_the_peer_from_the_management() -> Outcome {
    let lab = managed("")?;
    // Each source port is a flow, and each of them has to be translated.
    lab.apply(&with_rules(&[
        ("reads-ports", "priority=40000,in_port=vm1,udp,tp_src=1,actions=drop"),
        ("out", "in_port=vm1,actions=output:pf0"),
    ]))?;
    let storm = lab.stream(vm1(), (peer().ipv4(), 5001).into(), 20_000, 1)?;
    let before = lab.stats()?.upcalls();
    assert_reached(&lab, peer(), "during a storm")?;
    assert!(lab.stats()?.upcalls() > before + 1000, "there was a storm");
    storm.stop()?;
    Ok(())
}

/// The peer asks who has the address.
fn question(to: [u8; 6], tag: &[u8]) -> Vec<u8> {
    let from = peer().mac();
    let sender = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &from, &peer().ipv4().octets()].concat();
    let mut frame = [&to[..], &from, tag, &[8, 6], &sender, &[0; 6], &ADDRESS.octets()].concat();
    frame.resize(60, 0);
    frame
}

#[test]
fn in_a_vlan_of_its_own_the_management_is_reached_there_and_nowhere_else() -> Outcome {
    let lab = managed(",vlan=7")?;
    lab.apply(&wires())?;
    let capture = lab.capture(peer())?;
    let (seven, eight) = ([0x81, 0, 0, 7], [0x81, 0, 0, 8]);
    let asked = [
        question([0xff; 6], &seven),
        question(MAC, &seven),
        question([0xff; 6], &[]),
        question(MAC, &[]),
        question(MAC, &eight),
    ];
    lab.frames(peer(), &asked, 1)?;
    let answers = capture.finish(3, Duration::from_secs(2))?;
    let expected = [&peer().mac()[..], &MAC, &seven, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2], &MAC].concat();
    assert_eq!(answers.len(), 2, "{answers:x?}");
    assert!(answers.iter().all(|answer| answer.starts_with(&expected)), "{answers:x?}");
    Ok(())
}
