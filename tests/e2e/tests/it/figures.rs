//! The figures that the project promises.

use e2e::Received;

use crate::bench::{Bench, Outcome, peer, vm1, wires};

const PACKETS: u64 = 100_000;
const RATE: u64 = 20_000;

#[test]
fn of_a_hundred_thousand_packets_all_arrive_and_the_eswitch_counts_nearly_all() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.apply(&wires())?;
    // The first packet makes the flow; it is told to be complete when its rule is in place.
    let first = lab.udp(vm1(), peer(), 5001, 1, RATE)?;
    assert_eq!(first.distinct, 1);
    lab.await_hardware("vm1", "")?;
    let before = lab.settled_stats()?;
    let received = lab.udp(vm1(), peer(), 5001, PACKETS, RATE)?;
    let after = lab.settled_stats()?;

    assert_eq!(received, Received { distinct: PACKETS, lost: 0, duplicates: 0, reordered: 0 });
    let device = vm1().device;
    let grown = |counter: &str| after.port(device, counter) - before.port(device, counter);
    let (hardware, slow_path) = (grown("hardwarePackets"), grown("rxPackets"));
    println!("sent {PACKETS}, by the E-Switch {hardware}, by the slow path {slow_path}");
    assert_eq!(hardware + slow_path, PACKETS, "every packet is counted once");
    assert!(hardware * 1000 >= PACKETS * 999, "by the E-Switch: {hardware}");
    // 42 octets of headers, 64 of payload; the slow path's packets look the same.
    assert_eq!(grown("hardwareBytes") + grown("rxBytes"), PACKETS * 106);
    assert_eq!(grown("cacheHits") + grown("upcalls"), slow_path, "the slow path agrees with itself");
    // The first packet came that way, and then as many as were counted.
    assert_eq!(lab.captured("udp and dst port 5001")?, 1 + slow_path, "the capture agrees");
    assert_eq!(after.all_drops(), before.all_drops());
    assert_eq!(after.rules().2, 0, "no rule was refused");
    assert_eq!(after.port(peer().device, "txPackets") - before.port(peer().device, "txPackets"), slow_path);
    Ok(())
}

#[test]
fn the_first_packet_of_a_flow_is_translated_once_and_the_flow_shows_its_counters() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.apply(&wires())?;
    let before = lab.settled_stats()?;
    assert_eq!(lab.udp(vm1(), peer(), 5001, 1, RATE)?.distinct, 1);
    lab.await_hardware("vm1", "")?;
    assert_eq!(lab.udp(vm1(), peer(), 5001, 100, RATE)?.distinct, 100);
    let after = lab.settled_stats()?;
    assert_eq!(after.upcalls() - before.upcalls(), 1);
    assert_eq!(after.rules().0 - before.rules().0, 1);
    let flows = lab.flows()?;
    let flow = flows.iter().find(|flow| flow["inPort"] == "ports/vm1").expect("there is one");
    assert_eq!((&flow["packets"], &flow["hardwarePackets"]), (&"101".into(), &"100".into()), "{flow:#}");
    assert_eq!(flow["actions"], "output(p0)", "{flow:#}");
    let resources = flow["resources"].to_string();
    assert!(resources.contains("flowRules/vm1") && resources.contains("ports/vm1"), "{flow:#}");
    Ok(())
}

#[test]
fn a_flow_that_nobody_uses_goes_and_so_does_its_rule() -> Outcome {
    let options =
        e2e::Options { datapath: vec!["--idle-timeout-ms".into(), "500".into()], ..e2e::Options::default() };
    let mut lab = Bench::start(options)?;
    lab.apply(&wires())?;
    lab.udp(vm1(), peer(), 5001, 10, RATE)?;
    lab.until("the end of all flows", std::time::Duration::from_secs(5), |lab| {
        let stats = lab.stats()?;
        let (created, destroyed, _) = stats.rules();
        let gone = lab.flows()?.is_empty() && created > 0 && created == destroyed;
        Ok(if gone { Ok(()) } else { Err(format!("{:#}", stats.0)) })
    })
}
