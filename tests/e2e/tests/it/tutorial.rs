//! The tutorial that users come from: two VMs by four rules, as typed.

use std::path::Path;

use crate::bench::{Bench, Outcome, peer, vm1, vm2};

const RATE: u64 = 10_000;

fn example() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/two-vms.yaml");
    std::fs::read_to_string(&file).expect("the example is there")
}

#[test]
fn the_four_rules_work_as_written() -> Outcome {
    let mut lab = Bench::usual()?;
    let told = lab.apply(&example())?;
    assert!(told.contains("7 created"), "{told}");

    assert_eq!(lab.udp(vm1(), peer(), 5001, 1000, RATE)?.lost, 0);
    assert_eq!(lab.udp(vm2(), peer(), 5001, 1000, RATE)?.lost, 0);
    assert_eq!(lab.udp(peer(), vm1(), 5001, 1000, RATE)?.lost, 0);
    for port in ["vm1", "vm2", "pf0"] {
        lab.await_hardware(port, "")?;
    }

    // The first and the third rule overlap: the one that was created first decides.
    let (at_vm1, at_vm2) = (lab.frames_at(vm1()), lab.frames_at(vm2()));
    lab.send(peer(), (vm2().ipv4(), 5001).into(), 100, RATE)?;
    let stats = lab.settled_stats()?;
    assert_eq!((lab.frames_at(vm1()) - at_vm1, lab.frames_at(vm2()) - at_vm2), (100, 0));
    assert_eq!(stats.all_drops(), 0, "{:#}", stats.0);
    let trace =
        lab.json(&["trace", "--in-port", "pf0", "udp,nw_src=10.10.1.1,nw_dst=10.10.1.12,tp_dst=1"])?;
    let steps = trace["steps"].to_string();
    assert!(steps.contains("flowRules/uplink-to-vm1") && !steps.contains("uplink-to-vm2"), "{trace:#}");

    // No rule takes what comes from the uplink and is not IPv4 of that network.
    let arp = frame(&[0xff; 6], &peer().mac(), 0x0806, &arp_request());
    let other = frame(&vm1().mac(), &peer().mac(), 0x88b5, b"not IP at all, by experiment");
    lab.frames(peer(), &[arp, other], 5)?;
    let stats = lab.settled_stats()?;
    assert_eq!(stats.drops(peer().device, "flow_rules.no_match"), 10, "{:#}", stats.0);
    assert_eq!(stats.all_drops(), 10);
    Ok(())
}

#[test]
fn the_same_file_again_changes_nothing() -> Outcome {
    let lab = Bench::usual()?;
    lab.apply(&example())?;
    let before = lab.json(&["status"])?;
    let told = lab.apply(&example())?;
    assert!(told.contains("Nothing to do"), "{told}");
    assert_eq!(lab.json(&["status"])?["revision"], before["revision"]);
    let plan = lab.nicctl(&["apply", "-f", "/dev/null", "--prune", "--dry-run"])?;
    assert!(plan.code == 0 && plan.out.contains("delete ports/pf0"), "{plan:?}");
    assert_eq!(lab.json(&["status"])?["revision"], before["revision"], "a dry run changes nothing");
    Ok(())
}

fn frame(to: &[u8; 6], from: &[u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], from, &ethertype.to_be_bytes(), payload].concat()
}

fn arp_request() -> Vec<u8> {
    let (sender, target) = (peer().ipv4().octets(), vm1().ipv4().octets());
    [&[0, 1, 8, 0, 6, 4, 0, 1][..], &peer().mac(), &sender, &[0; 6], &target].concat()
}
