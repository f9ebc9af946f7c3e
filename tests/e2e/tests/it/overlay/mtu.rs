//! Frames that are too long for the underlay once they are encapsulated.

use std::time::Duration;

use e2e::overlay::{Endpoint, Underlay};
use e2e::{LabError, Node, number};

use super::{acquainted, await_rule, frame, meet, overlay_drops};
use crate::bench::{Bench, Outcome, peer, vm1};

const TIMES: u64 = 100;

fn set_mtu(lab: &Bench, node: Node, interface: &str, mtu: u16) {
    let mut command = lab.command(node, "ip");
    let status = command.args(["link", "set", interface, "mtu", &mtu.to_string()]).status();
    assert!(status.expect("ip runs").success(), "the MTU of {interface}");
}

/// An overlay whose VM 1 sends longer frames than it was told to.
fn careless() -> Result<Bench, LabError> {
    let lab = acquainted(Endpoint::Kernel, Underlay::Ipv4)?;
    set_mtu(&lab, Node::Host1, "eth0", 1600);
    Ok(lab)
}

#[test]
fn a_frame_too_long_for_the_underlay_is_dropped_and_counted_once_at_the_uplink() -> Outcome {
    let mut lab = careless()?;
    let arrived = lab.packets_at(Node::Wire, "vxlan16")?;
    let before = lab.settled_stats()?;
    let long = frame(peer().mac(), vm1().mac(), &[7; 1500]);
    // The slow path sends the first one, the rule that it leaves all others.
    lab.frames(vm1(), std::slice::from_ref(&long), 1)?;
    await_rule(&mut lab, "vm1", peer())?;
    lab.frames(vm1(), std::slice::from_ref(&long), TIMES as u32 - 1)?;
    lab.until("the drops", Duration::from_secs(10), |lab| {
        let dropped = lab.stats()?.drops("p0", "transmit.error");
        Ok(if dropped >= TIMES { Ok(()) } else { Err(format!("{dropped} of {TIMES}")) })
    })?;
    let stats = lab.settled_stats()?;
    assert_eq!(stats.drops("p0", "transmit.error"), TIMES, "{:#}", stats.0);
    assert_eq!(overlay_drops(&stats) - overlay_drops(&before), TIMES, "{:#}", stats.0);
    assert!(stats.hardware() >= before.hardware() + TIMES - 1, "{:#}", stats.0);
    assert_eq!(lab.packets_at(Node::Wire, "vxlan16")?, arrived, "nothing left the card");
    // What fits goes on.
    assert_eq!(lab.udp(vm1(), peer(), 5001, 100, 5_000)?.lost, 0);
    Ok(())
}

#[test]
fn an_uplink_has_the_mtu_of_its_interface_and_then_the_same_frame_goes_through() -> Outcome {
    let mut lab = careless()?;
    lab.agent().kill();
    lab.datapath().kill();
    for (node, interface) in [(Node::Card, "p0"), (Node::Wire, "eth0")] {
        set_mtu(&lab, node, interface, 1600);
    }
    lab.start_datapath()?;
    lab.start_agent()?;
    lab.await_connected()?;
    meet(&mut lab, vm1(), peer())?;
    let port = lab.json(&["get", "ports/uplink"])?;
    assert_eq!(number(&port["status"]["deviceMtu"]), 1600, "{port:#}");
    let arrived = lab.packets_at(Node::Wire, "vxlan16")?;
    let long = frame(peer().mac(), vm1().mac(), &[7; 1500]);
    lab.frames(vm1(), std::slice::from_ref(&long), TIMES as u32)?;
    lab.until("the frames", Duration::from_secs(10), |lab| {
        let more = lab.packets_at(Node::Wire, "vxlan16")? - arrived;
        Ok(if more >= TIMES { Ok(()) } else { Err(format!("{more} of {TIMES}")) })
    })?;
    assert_eq!(lab.stats()?.drops("p0", "transmit.error"), 0);
    Ok(())
}
