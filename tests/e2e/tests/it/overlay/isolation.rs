//! What bridges keep apart, whatever is sent.

use std::time::Duration;

use e2e::Node;
use e2e::overlay::{Endpoint, Underlay, port, resources};

use super::{VMS, frame, meet};
use crate::bench::{Bench, Outcome, peer, vm1, vm2};

const RED: &str =
    "---\napiVersion: nic.v1\nkind: Bridge\nname: bridges/red\nspec: {vtep: vteps/card, vni: 17}\n";

/// A bridge `blue` with VM 1 and VM 2, a bridge `red` with VM 3, one VTEP, one peer.
fn two_networks() -> String {
    let peers = "bridges: [bridges/blue]";
    resources(Underlay::Ipv4, &VMS).replace(peers, "bridges: [bridges/blue, bridges/red]")
        + RED
        + &port("vm3", "pf0vf2", 1450, "bridge: bridges/red")
}

#[test]
fn two_networks_on_one_endpoint_share_nothing() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.make_overlay(Endpoint::Kernel, Underlay::Ipv4)?;
    lab.add_vxlan(Node::Wire, 17, Underlay::Ipv4)?;
    lab.apply(&two_networks())?;
    meet(&mut lab, vm1(), peer())?;
    std::thread::sleep(Duration::from_millis(200));
    let (vm3, everybody) = (Node::Host3.place(), [0xff; 6]);
    let seen = |lab: &Bench| -> Result<[u64; 5], e2e::LabError> {
        Ok([
            lab.frames_at(vm1()),
            lab.frames_at(vm2()),
            lab.frames_at(vm3),
            lab.packets_at(Node::Wire, "vxlan16")?,
            lab.packets_at(Node::Wire, "vxlan17")?,
        ])
    };
    let mut before = seen(&lab)?;
    let mut grew = |lab: &Bench| -> Result<[u64; 5], e2e::LabError> {
        std::thread::sleep(Duration::from_millis(300));
        let now = seen(lab)?;
        let grown = std::array::from_fn(|at| now[at] - before[at]);
        before = now;
        Ok(grown)
    };
    // Red floods, to everybody, to an address that only blue has, and with a source that blue has.
    let red = [
        frame(everybody, vm3.mac(), &[1; 46]),
        frame(vm1().mac(), vm3.mac(), &[2; 46]),
        frame(everybody, vm2().mac(), &[3; 46]),
    ];
    lab.frames(vm3, &red, 4)?;
    assert_eq!(grew(&lab)?, [0, 0, 0, 0, 12], "vm1, vm2, vm3, vxlan16, vxlan17");
    // Blue floods.
    lab.frames(vm1(), &[frame(everybody, vm1().mac(), &[4; 46])], 5)?;
    assert_eq!(grew(&lab)?, [0, 5, 0, 5, 0], "vm1, vm2, vm3, vxlan16, vxlan17");
    // From outside, in red's network to blue's station.
    lab.frames_by(Node::Wire, "vxlan17", &[frame(vm1().mac(), [2, 0, 0, 0, 9, 9], &[5; 46])], 6)?;
    assert_eq!(grew(&lab)?[..2], [0, 0], "vm1, vm2");
    // What red did with blue's addresses moved none: blue's packets still come.
    assert_eq!(lab.udp(peer(), vm1(), 5001, 100, 5_000)?.lost, 0);
    assert_eq!(lab.udp(peer(), vm2(), 5001, 100, 5_000)?.lost, 0);
    Ok(())
}

#[test]
fn what_comes_from_no_peer_or_in_no_network_is_dropped_by_its_reason() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.make_overlay(Endpoint::Kernel, Underlay::Ipv4)?;
    lab.add_vxlan(Node::Wire, 99, Underlay::Ipv4)?;
    let yaml = resources(Underlay::Ipv4, &VMS);
    let stranger = format!("address: '{}'", Underlay::Ipv4.far());
    lab.apply(&yaml.replace(&stranger, "address: '192.0.2.99'"))?;
    meet(&mut lab, vm1(), peer())?;
    let (at_vm1, at_vm2) = (lab.frames_at(vm1()), lab.frames_at(vm2()));
    let knock = frame([0xff; 6], [2, 0, 0, 0, 9, 9], &[6; 46]);
    lab.frames_by(Node::Far, "vxlan16", std::slice::from_ref(&knock), 7)?;
    lab.frames_by(Node::Wire, "vxlan99", std::slice::from_ref(&knock), 8)?;
    let stats = lab.settled_stats()?;
    assert_eq!((lab.frames_at(vm1()), lab.frames_at(vm2())), (at_vm1, at_vm2));
    // The kernels' own multicast may come on top.
    assert!(stats.drops("p0", "tunnel.unknown_peer") >= 7, "{:#}", stats.0);
    assert!(stats.drops("p0", "tunnel.unknown_vni") >= 8, "{:#}", stats.0);
    Ok(())
}
