//! Processes that die.

use std::time::Duration;

use e2e::number;

use crate::bench::{Bench, Outcome, peer, vm1, vm2, wires};

const RATE: u64 = 5_000;

#[test]
fn without_the_agent_forwarding_and_new_flows_go_on_and_its_return_touches_nothing() -> Outcome {
    const PACKETS: u64 = 20_000;
    let mut lab = Bench::usual()?;
    lab.apply(&wires())?;
    let to = (peer().ipv4(), 5001).into();
    let receiver = lab.receive(peer(), to, PACKETS)?;
    let mut sender = lab.send_meanwhile(vm1(), to, PACKETS, RATE)?;
    lab.await_hardware("vm1", "")?;
    let before = lab.settled_stats()?;

    lab.agent().kill();
    // The shim says that nobody answers, and keeps to its own socket.
    let answer = lab.nicctl(&["status"])?;
    assert_eq!(answer.code, 6, "{answer:?}");
    assert!(answer.err.contains("CARD_UNREACHABLE"), "{answer:?}");
    // A flow that nobody has seen yet.
    assert_eq!(lab.udp(vm2(), peer(), 5002, 100, RATE)?.lost, 0);

    lab.start_agent()?;
    lab.await_connected()?;
    let status = lab.json(&["status"])?;
    assert_eq!(status["revision"], status["appliedRevision"], "{status:#}");
    lab.await_hardware("vm2", "")?;
    assert!(sender.wait().expect("it ends").success());
    let received = receiver.finish()?;
    assert_eq!((number(&received["lost"]), number(&received["duplicates"])), (0, 0), "{received}");

    let after = lab.settled_stats()?;
    let (created, destroyed, refused) = after.rules();
    assert_eq!((created, destroyed, refused), (before.rules().0 + 1, before.rules().1, 0), "one flow is new");
    let revalidated = |stats: &e2e::Stats| number(&stats.0["slowPath"]["revalidated"]);
    assert_eq!(revalidated(&after), revalidated(&before), "the same policy touches nothing");
    assert_eq!(after.all_drops(), 0, "{:#}", after.0);
    Ok(())
}

#[test]
fn a_datapath_that_comes_back_forwards_by_its_last_policy_without_the_agent() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.apply(&wires())?;
    // The last policy, not the first: vm2 speaks to vm1.
    lab.apply(&wires().replace("in_port=vm2,actions=output:pf0", "in_port=vm2,actions=output:vm1"))?;
    assert_eq!(lab.udp(vm1(), peer(), 5001, 100, RATE)?.lost, 0);
    let status = lab.json(&["status"])?;

    lab.agent().kill();
    lab.datapath().kill();
    let at_peer = lab.frames_at(peer());
    lab.send(vm1(), (peer().ipv4(), 5001).into(), 10, RATE)?;
    assert_eq!(lab.frames_at(peer()), at_peer, "without a datapath nothing passes");
    lab.start_datapath()?;
    // A flow that was there before, one that nobody has seen yet, and one that the last change made.
    assert_eq!(lab.udp(vm1(), peer(), 5001, 100, RATE)?.lost, 0);
    assert_eq!(lab.udp(vm1(), peer(), 5002, 100, RATE)?.lost, 0);
    let (at_vm1, at_peer) = (lab.frames_at(vm1()), lab.frames_at(peer()));
    lab.send(vm2(), (peer().ipv4(), 5001).into(), 10, RATE)?;
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(lab.frames_at(vm1()) - at_vm1, 10);
    assert_eq!(lab.frames_at(peer()), at_peer);

    // The agent finds its own policy in force, and touches nothing.
    lab.start_agent()?;
    lab.await_connected()?;
    let again = lab.json(&["status"])?;
    assert_eq!(again["revision"], status["revision"], "{again:#}");
    lab.until("the applied revision", Duration::from_secs(10), |lab| {
        let again = lab.json(&["status"])?;
        let done = again["appliedRevision"] == status["revision"];
        Ok(if done { Ok(()) } else { Err(format!("{again:#}")) })
    })?;
    lab.await_hardware("vm1", "")?;
    let stats = lab.settled_stats()?;
    assert_eq!(number(&stats.0["slowPath"]["revalidated"]), 0, "{:#}", stats.0);
    assert_eq!(stats.all_drops(), 0, "{:#}", stats.0);
    Ok(())
}

#[test]
fn a_second_datapath_on_the_same_state_does_not_start_and_leaves_the_first_alone() -> Outcome {
    let lab = Bench::usual()?;
    lab.apply(&wires())?;
    let mut second = std::process::Command::new(e2e::program("nic-datapath"));
    second.arg("--state-dir").arg(lab.datapath_state()).arg("--no-hardware");
    second.arg("--listen").arg(lab.folder().join("second.sock"));
    let output = second.output().expect("it can be run");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("another process keeps its policy"), "{said}");
    assert_eq!(lab.udp(vm1(), peer(), 5001, 100, RATE)?.lost, 0);
    Ok(())
}

#[test]
fn a_datapath_that_comes_back_without_its_state_is_closed_until_it_is_told_the_policy() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.apply(&wires())?;
    assert_eq!(lab.udp(vm1(), peer(), 5001, 100, RATE)?.lost, 0);
    let at_peer = lab.frames_at(peer());

    lab.agent().kill();
    lab.datapath().kill();
    lab.send(vm1(), (peer().ipv4(), 5001).into(), 10, RATE)?;
    assert_eq!(lab.frames_at(peer()), at_peer, "without a datapath nothing passes");
    std::fs::remove_dir_all(lab.datapath_state()).expect("its state");
    lab.start_datapath()?;
    lab.send(vm1(), (peer().ipv4(), 5001).into(), 10, RATE)?;
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(lab.frames_at(peer()), at_peer, "without a policy nothing passes");

    lab.start_agent()?;
    lab.await_connected()?;
    lab.until("the policy", Duration::from_secs(10), |lab| {
        let status = lab.json(&["status"])?;
        let done = number(&status["revision"]) > 0 && status["revision"] == status["appliedRevision"];
        Ok(if done { Ok(()) } else { Err(format!("{status:#}")) })
    })?;
    let stats = lab.settled_stats()?;
    assert_eq!(stats.drops("pf0vf0", "port.unconfigured"), 10, "{:#}", stats.0);
    assert_eq!(lab.udp(vm1(), peer(), 5001, 1000, RATE)?.lost, 0);
    lab.await_hardware("vm1", "")
}

#[test]
fn the_agent_finds_a_datapath_that_was_restarted_under_it() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.apply(&wires())?;
    lab.datapath().kill();
    lab.until("the agent's notice", Duration::from_secs(10), |lab| {
        let answer = lab.nicctl(&["stats"])?;
        Ok(if answer.code == 6 { Ok(()) } else { Err(format!("{answer:?}")) })
    })?;
    let status = lab.json(&["status"])?;
    assert_ne!(status["datapath"]["connected"], true, "{status:#}");
    // Configuration can go on meanwhile: it is stored, and applied when the datapath is back.
    let file = lab.folder().join("apply.yaml");
    std::fs::write(
        &file,
        wires().replace("in_port=vm2,actions=output:pf0", "in_port=vm2,actions=output:vm1"),
    )
    .expect("the lab's folder");
    let answer = lab.nicctl(&["apply", "-f", &file.to_string_lossy(), "--yes"])?;
    assert_eq!(answer.code, 0, "{answer:?}");
    lab.start_datapath()?;
    lab.await_connected()?;
    lab.until("the policy", Duration::from_secs(10), |lab| {
        let status = lab.json(&["status"])?;
        let done = number(&status["revision"]) == 2 && status["revision"] == status["appliedRevision"];
        Ok(if done { Ok(()) } else { Err(format!("{status:#}")) })
    })?;
    assert_eq!(lab.udp(vm1(), peer(), 5001, 100, RATE)?.lost, 0);
    let at_vm1 = lab.frames_at(vm1());
    lab.send(vm2(), (peer().ipv4(), 5001).into(), 10, RATE)?;
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(lab.frames_at(vm1()) - at_vm1, 10);
    Ok(())
}

#[test]
fn all_processes_end_when_they_are_asked_to() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.apply(&wires())?;
    lab.udp(vm1(), peer(), 5001, 100, RATE)?;
    for status in [lab.shim().terminate()?, lab.agent().terminate()?, lab.datapath().terminate()?] {
        assert!(status.success(), "{status}");
    }
    let log = lab.datapath().log();
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
    let left: Vec<_> = std::fs::read_dir(lab.folder())
        .expect("the lab's folder")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".sock"))
        .collect();
    assert!(left.is_empty(), "sockets are left: {left:?}");
    Ok(())
}
