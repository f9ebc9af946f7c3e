//! Bridges of VLANs: access and trunk ports.

use std::time::Duration;

use e2e::Node;
use e2e::overlay::port;

use super::frame;
use crate::bench::{Bench, Outcome, vm1, vm2};

fn tagged(vid: u16, to: [u8; 6], from: [u8; 6], payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &[0x81, 0x00], &vid.to_be_bytes(), &[0x88, 0xb5], payload].concat()
}

/// VM 1 in one bridge, VM 2 in another, VM 3 in both by tags.
fn bridges() -> String {
    let bridge =
        |name: &str| format!("---\napiVersion: nic.v1\nkind: Bridge\nname: bridges/{name}\nspec: {{}}\n");
    bridge("ten")
        + &bridge("twenty")
        + &port("vm1", "pf0vf0", 1500, "bridge: bridges/ten")
        + &port("vm2", "pf0vf1", 1500, "bridge: bridges/twenty")
        + &port(
            "vm3",
            "pf0vf2",
            1500,
            "trunks: [{vlan: 10, bridge: bridges/ten}, {vlan: 20, bridge: bridges/twenty}]",
        )
}

#[test]
fn a_trunk_reaches_each_bridge_by_its_tag_and_no_other() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.apply(&bridges())?;
    let vm3 = Node::Host3.place();
    let seen = |lab: &Bench| [vm1(), vm2(), vm3].map(|place| lab.frames_at(place));
    let mut before = seen(&lab);
    let mut grew = |lab: &Bench| {
        std::thread::sleep(Duration::from_millis(300));
        let now = seen(lab);
        let grown: [u64; 3] = std::array::from_fn(|at| now[at] - before[at]);
        before = now;
        grown
    };
    let everybody = [0xff; 6];
    lab.frames(vm3, &[tagged(10, everybody, vm3.mac(), &[1; 46])], 3)?;
    assert_eq!(grew(&lab), [3, 0, 0]);
    lab.frames(vm3, &[tagged(20, everybody, vm3.mac(), &[2; 46])], 4)?;
    assert_eq!(grew(&lab), [0, 4, 0]);
    // Known by now, and so sent as known unicast, by a rule after the first.
    let capture = lab.capture(vm3)?;
    lab.frames(vm1(), &[frame(vm3.mac(), vm1().mac(), &[3; 46])], 50)?;
    lab.frames(vm2(), &[frame(vm3.mac(), vm2().mac(), &[4; 46])], 50)?;
    assert_eq!(grew(&lab), [0, 0, 100]);
    let frames = capture.finish(100, Duration::from_secs(5))?;
    let with_tag = |vid: u16| {
        let tag = [&[0x81, 0x00][..], &vid.to_be_bytes(), &[0x88, 0xb5]].concat();
        frames.iter().filter(|frame| frame.get(12..18) == Some(&tag)).count()
    };
    assert_eq!((with_tag(10), with_tag(20)), (50, 50), "{frames:02x?}");
    lab.await_hardware("vm1", &format!("eth_dst={}", vm3.mac_text()))?;
    // No bridge has that tag, and none is meant for frames without.
    lab.frames(vm3, &[tagged(30, everybody, vm3.mac(), &[5; 46]), frame(everybody, vm3.mac(), &[6; 46])], 5)?;
    lab.frames(vm1(), &[tagged(10, everybody, vm1().mac(), &[7; 46])], 6)?;
    assert_eq!(grew(&lab), [0, 0, 0]);
    let stats = lab.settled_stats()?;
    let dropped = |device| stats.drops(device, "flow_rules.no_match") + stats.drops(device, "bridge.vlan");
    assert_eq!((dropped("pf0vf2"), dropped("pf0vf0")), (10, 6), "{:#}", stats.0);
    Ok(())
}
