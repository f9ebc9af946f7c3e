//! What may go wrong around the card: forwarding goes on, and somebody says what is wrong.

use std::fs;

use e2e::{Options, number};

use crate::bench::{Bench, Outcome, peer, vm1, vm2, wires};

const RATE: u64 = 5_000;

#[test]
fn with_the_rule_table_full_flows_run_in_software_and_say_why() -> Outcome {
    let options = Options { device: "max_rules=1".into(), ..Options::default() };
    let mut lab = Bench::start(options)?;
    lab.apply(&wires())?;
    assert_eq!(lab.udp(vm1(), peer(), 5001, 1, RATE)?.lost, 0);
    lab.await_hardware("vm1", "")?;
    assert_eq!(lab.udp(vm2(), peer(), 5001, 2000, RATE)?.lost, 0);
    assert_eq!(lab.udp(vm1(), peer(), 5001, 2000, RATE)?.lost, 0);
    let flows = lab.flows()?;
    let of = |port: &str| flows.iter().find(|flow| flow["inPort"] == port).expect("it has sent");
    assert_eq!(of("ports/vm1")["tier"], "HARDWARE");
    let left = of("ports/vm2");
    assert_eq!(left["tier"], "SOFTWARE", "{left:#}");
    assert!(!left["softwareDetail"].as_str().unwrap_or_default().is_empty(), "{left:#}");
    assert_eq!(number(&left["packets"]), 2000, "{left:#}");
    let stats = lab.settled_stats()?;
    assert!(stats.rules().2 > 0, "refused: {:#}", stats.0);
    assert_eq!(stats.all_drops(), 0, "{:#}", stats.0);
    lab.until("the alarm", std::time::Duration::from_secs(10), |lab| {
        let status = lab.json(&["status"])?;
        let stands = status["alarms"][0]["reason"] == "rules.refused" && status["healthy"] != true;
        Ok(if stands { Ok(()) } else { Err(format!("{status:#}")) })
    })
}

#[test]
fn an_audit_of_a_healthy_card_under_traffic_finds_nothing() -> Outcome {
    const PACKETS: u64 = 15_000;
    let mut lab = Bench::usual()?;
    lab.apply(&wires())?;
    let to = (peer().ipv4(), 5001).into();
    let receiver = lab.receive(peer(), to, PACKETS)?;
    let mut sender = lab.send_meanwhile(vm1(), to, PACKETS, RATE)?;
    lab.await_hardware("vm1", "")?;
    let clean = |lab: &Bench, args: &[&str]| -> Result<u64, e2e::LabError> {
        let audit = lab.json(args)?;
        assert!(audit.get("counts").is_none() && audit.get("remaining").is_none(), "{audit:#}");
        assert_eq!(number(&audit["rulesReinstalled"]), 0, "{audit:#}");
        Ok(number(&audit["rules"]))
    };
    for _ in 0..5 {
        assert!(clean(&lab, &["flows", "--audit"])? > 0, "the flow's rule is held");
        // Rules come and go meanwhile.
        lab.show(&["flows", "flush"])?;
        clean(&lab, &["flows", "--audit", "--repair"])?;
        lab.await_hardware("vm1", "")?;
    }
    assert!(sender.wait().expect("it ends").success());
    let received = receiver.finish()?;
    assert_eq!((number(&received["lost"]), number(&received["duplicates"])), (0, 0), "{received}");
    let stats = lab.settled_stats()?;
    let of = |name: &str| number(&stats.0["offload"][name]);
    for counter in ["straysRemoved", "rulesReinstalled", "destroyFailures", "queryFailures", "rulesStuck"] {
        assert_eq!(of(counter), 0, "{counter}: {:#}", stats.0);
    }
    Ok(())
}

#[test]
fn a_torn_store_is_refused_whole_and_forwarding_goes_on() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.apply(&wires())?;
    assert_eq!(lab.udp(vm1(), peer(), 5001, 100, RATE)?.lost, 0);
    lab.agent().kill();
    let store = lab.folder().join("state/store.redb");
    let whole = fs::read(&store).expect("the agent has made it");
    fs::write(&store, &whole[..whole.len() / 3]).expect("the lab's folder");

    let refused = lab.start_agent().expect_err("the store is torn").to_string();
    assert!(refused.contains("store"), "{refused}");
    // Also a flow that nobody has seen yet.
    assert_eq!(lab.udp(vm1(), peer(), 5001, 100, RATE)?.lost, 0);
    assert_eq!(lab.udp(vm2(), peer(), 5001, 100, RATE)?.lost, 0);

    fs::write(&store, &whole).expect("the lab's folder");
    lab.start_agent()?;
    lab.await_connected()?;
    let status = lab.json(&["status"])?;
    assert_eq!((number(&status["revision"]), number(&status["appliedRevision"])), (1, 1), "{status:#}");
    Ok(())
}

#[test]
fn another_store_than_the_one_in_force_is_not_obeyed_unless_adopted() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.apply(&wires())?;
    lab.agent().kill();
    fs::remove_dir_all(lab.folder().join("state")).expect("the lab's folder");
    lab.start_agent()?;
    lab.until("the refusal", std::time::Duration::from_secs(10), |lab| {
        let status = lab.json(&["status"])?;
        let told = status["datapath"]["lastError"].as_str().is_some_and(|text| !text.is_empty());
        Ok(if told { Ok(()) } else { Err(format!("{status:#}")) })
    })?;
    // An empty store would have closed all ports.
    assert_eq!(lab.udp(vm1(), peer(), 5001, 100, RATE)?.lost, 0);
    Ok(())
}

#[test]
fn with_the_card_out_of_reach_the_shim_says_so_and_traffic_goes_on() -> Outcome {
    let mut lab = Bench::usual()?;
    lab.apply(&wires())?;
    fs::remove_file(lab.folder().join("agent.sock")).expect("the agent serves it");
    let answer = lab.nicctl(&["status"])?;
    assert_eq!(answer.code, 6, "{answer:?}");
    assert!(answer.err.contains("CARD_UNREACHABLE"), "{answer:?}");
    assert_eq!(lab.udp(vm1(), peer(), 5001, 100, RATE)?.lost, 0);
    lab.agent().terminate()?;
    lab.start_agent()?;
    lab.await_connected()?;
    assert_eq!(number(&lab.json(&["status"])?["revision"]), 1);
    Ok(())
}
