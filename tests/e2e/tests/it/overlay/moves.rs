//! Stations that move under traffic that rules of the E-Switch forward.

use std::time::{Duration, Instant};

use e2e::overlay::{Endpoint, Underlay};
use e2e::{LabError, Node};

use super::{acquainted, await_rule, frame};
use crate::bench::{Bench, Outcome, peer, vm1};

/// Packets a second to the station that moves.
const RATE: u64 = 5_000;

/// What the project promises.
const FOLLOWED: Duration = Duration::from_millis(100);

#[test]
fn a_station_that_moves_to_another_tunnel_and_then_to_a_vf_is_followed() -> Outcome {
    let mut lab = acquainted(Endpoint::Kernel, Underlay::Ipv4)?;
    lab.udp(vm1(), peer(), 5001, 1, RATE)?;
    await_rule(&mut lab, "vm1", peer())?;
    let mut sender = lab.send_meanwhile(vm1(), (peer().ipv4(), 5001).into(), 30_000, RATE)?;
    let (wire, far, vf) = ((Node::Wire, "vxlan16"), (Node::Far, "vxlan16"), (Node::Host3, "eth0"));
    follow(&mut lab, wire, far)?;
    await_rule(&mut lab, "vm1", peer())?;
    // Another VM takes it in: its port joins the bridge, and nothing else changes.
    let joined = e2e::overlay::port("vm3", "pf0vf2", 1450, "bridge: bridges/blue");
    lab.apply(&(e2e::overlay::resources(Underlay::Ipv4, &super::VMS) + &joined))?;
    follow(&mut lab, far, vf)?;
    await_rule(&mut lab, "vm1", peer())?;
    // It ends by itself, or not at all in time.
    let _ = sender.kill();
    let _ = sender.wait();
    let stats = lab.settled_stats()?;
    assert_eq!(stats.0["bridges"]["moved"], "2", "{:#}", stats.0);
    Ok(())
}

/// Moves the peer's addresses, has the station send one frame, and sees when the old place gets the last one.
fn follow(lab: &mut Bench, from: (Node, &str), to: (Node, &str)) -> Result<(), LabError> {
    lab.move_station(peer(), from, to)?;
    let before = lab.packets_at(to.0, to.1)?;
    let said = Instant::now();
    lab.frames_by(to.0, to.1, &[frame([0xff; 6], peer().mac(), &[0; 46])], 1)?;
    // Whatever came by now went the old way in time, or it did not.
    while said.elapsed() < FOLLOWED {
        std::thread::sleep(Duration::from_millis(5));
    }
    let at_old = lab.packets_at(from.0, from.1)?;
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(lab.packets_at(from.0, from.1)?, at_old, "packets go on to the old place, {from:?}");
    let arrived = lab.packets_at(to.0, to.1)? - before;
    println!("{from:?} to {to:?}: {arrived} packets at the new place");
    assert!(arrived >= RATE / 4, "packets go to the new place, {to:?}: {arrived}");
    Ok(())
}
