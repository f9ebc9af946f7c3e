//! Changes of the configuration under traffic.

use crate::bench::{Bench, Outcome, peer, vm1, vm2, wires, with_rules};

#[test]
fn after_a_rule_change_is_applied_no_packet_goes_the_old_way_and_none_is_lost() -> Outcome {
    const PACKETS: u64 = 30_000;
    const RATE: u64 = 5_000;
    let mut lab = Bench::usual()?;
    let to = |port: &str| with_rules(&[("way", &format!("in_port=vm1,actions=output:{port}"))]);
    lab.apply(&to("pf0"))?;
    let (at_peer, at_vm2) = (lab.frames_at(peer()), lab.frames_at(vm2()));
    let mut sender = lab.send_meanwhile(vm1(), (peer().ipv4(), 5001).into(), PACKETS, RATE)?;
    lab.await_hardware("vm1", "")?;
    for round in 0..6 {
        let (port, old, new) = if round % 2 == 0 { ("vm2", peer(), vm2()) } else { ("pf0", vm2(), peer()) };
        lab.apply(&to(port))?;
        let (old_then, new_then) = (lab.frames_at(old), lab.frames_at(new));
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(lab.frames_at(old), old_then, "round {round}: a packet went the old way after `applied`");
        assert!(lab.frames_at(new) > new_then, "round {round}: packets go the new way");
        lab.await_hardware("vm1", "")?;
    }
    assert!(sender.try_wait().expect("it can be waited for").is_none(), "the traffic went on all the time");
    assert!(sender.wait().expect("it ends").success());
    let stats = lab.settled_stats()?;
    let arrived = (lab.frames_at(peer()) - at_peer) + (lab.frames_at(vm2()) - at_vm2);
    assert_eq!(arrived, PACKETS, "{:#}", stats.0);
    let counted = stats.port(vm1().device, "hardwarePackets") + stats.port(vm1().device, "rxPackets");
    // rte_flow cannot read a counter and destroy its rule in one step: what hits in between is forwarded
    // and counted by nobody.
    assert!(counted <= PACKETS && PACKETS - counted <= PACKETS / 1000, "{counted}: {:#}", stats.0);
    Ok(())
}

#[test]
fn a_change_elsewhere_touches_no_rule() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.apply(&wires())?;
    lab.udp(vm1(), peer(), 5001, 10, 1000)?;
    lab.await_hardware("vm1", "")?;
    let before = lab.settled_stats()?.rules();
    let more = format!(
        "{}---\napiVersion: nic.v1\nkind: FlowRule\nname: flowRules/more\nspec: {{flow: '{}'}}\n",
        wires(),
        "priority=50000,in_port=vm2,udp,tp_dst=9,actions=drop"
    );
    lab.apply(&more)?;
    lab.udp(vm1(), peer(), 5001, 10, 1000)?;
    assert_eq!(lab.settled_stats()?.rules(), before);
    Ok(())
}

#[test]
fn flushed_flows_are_made_again_and_nothing_is_lost() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.apply(&wires())?;
    lab.udp(vm1(), peer(), 5001, 10, 1000)?;
    lab.udp(vm2(), peer(), 5001, 10, 1000)?;
    lab.await_hardware("vm1", "")?;
    lab.await_hardware("vm2", "")?;
    let before = lab.settled_stats()?;

    let told = lab.show(&["flows", "flush", "--port", "vm1"])?;
    assert_eq!(told.trim(), "1 flows flushed");
    lab.until("the end of the rule", std::time::Duration::from_secs(5), |lab| {
        let destroyed = lab.stats()?.rules().1 - before.rules().1;
        Ok(if destroyed == 1 { Ok(()) } else { Err(format!("{destroyed} destroyed")) })
    })?;
    let left = lab.flows()?;
    assert!(left.iter().all(|flow| flow["inPort"] != "ports/vm1"), "{left:#?}");

    assert_eq!(lab.udp(vm1(), peer(), 5001, 1000, 5000)?.lost, 0);
    lab.await_hardware("vm1", "")?;
    let after = lab.settled_stats()?;
    assert_eq!(after.upcalls() - before.upcalls(), 1, "the flow was translated once more");
    assert!(after.hardware() >= before.hardware(), "what a rule counted is not lost with it");
    assert_eq!(lab.show(&["flows", "flush"])?.trim(), "2 flows flushed");
    Ok(())
}

#[test]
fn a_port_that_is_disabled_is_closed_both_ways_and_says_so() -> Outcome {
    let lab = Bench::usual()?;
    lab.apply(&wires())?;
    assert_eq!(lab.udp(vm1(), peer(), 5001, 100, 5000)?.lost, 0);
    lab.apply(&wires().replace("{device: pf0vf0}", "{device: pf0vf0, adminState: DISABLED}"))?;
    let (at_peer, at_vm1) = (lab.frames_at(peer()), lab.frames_at(vm1()));
    lab.send(vm1(), (peer().ipv4(), 5001).into(), 50, 5000)?;
    lab.send(peer(), (vm1().ipv4(), 5001).into(), 70, 5000)?;
    let stats = lab.settled_stats()?;
    assert_eq!((lab.frames_at(peer()), lab.frames_at(vm1())), (at_peer, at_vm1));
    // Dropped by the E-Switch or by the slow path: it is one reason and one count.
    assert_eq!(stats.drops("pf0vf0", "port.disabled"), 50, "{:#}", stats.0);
    assert_eq!(stats.drops("p0", "output.disabled"), 70, "{:#}", stats.0);
    assert_eq!(stats.all_drops(), 120, "{:#}", stats.0);
    lab.apply(&wires())?;
    assert_eq!(lab.udp(vm1(), peer(), 5001, 100, 5000)?.lost, 0);
    Ok(())
}

#[test]
fn a_spoofed_source_is_dropped_by_its_reason() -> Outcome {
    let mut lab = Bench::usual()?;
    let mine = format!("{{device: pf0vf0, macAddresses: ['{}'], antiSpoof: true}}", vm1().mac_text());
    lab.apply(&wires().replace("{device: pf0vf0}", &mine))?;
    assert_eq!(lab.udp(vm1(), peer(), 5001, 100, 5000)?.lost, 0);
    let at_peer = lab.frames_at(peer());
    let payload = [0u8; 50];
    let spoofed = [&peer().mac()[..], &vm2().mac(), &[0x88, 0xb5], &payload].concat();
    lab.frames(vm1(), std::slice::from_ref(&spoofed), 1)?;
    lab.until("the drop", std::time::Duration::from_secs(5), |lab| {
        let stats = lab.stats()?;
        let dropped = stats.drops("pf0vf0", "port.source_mac");
        Ok(if dropped == 1 { Ok(()) } else { Err(format!("{:#}", stats.0)) })
    })?;
    assert_eq!(lab.frames_at(peer()), at_peer);
    Ok(())
}
