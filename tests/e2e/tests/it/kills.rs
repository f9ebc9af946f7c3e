//! nic-agent killed at random moments, over and over, under traffic and under writes.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::{Console, LabError, number};
use serde_json::Value;

use crate::bench::{Bench, Outcome, peer, vm1, vm2, wires};

/// Without `NIC_AGENT_KILLS`.
const KILLS: u32 = 100;

/// Of each of the two streams, packets a second.
const RATE: u64 = 1_000;

/// Packets of one flow, of the stream that makes new ones all the time.
const FLOW: u64 = 10;

/// After such a silence nothing more comes.
const IDLE: Duration = Duration::from_secs(2);

/// The longest life that an agent is given, in microseconds.
const LIFE: u64 = 400_000;

/// So far flow rules have read addresses; this one makes them read source ports, so that each is a flow.
const READS_PORTS: &str = "\
---
apiVersion: nic.v1
kind: FlowRule
name: flowRules/reads-ports
spec: {flow: 'priority=40000,in_port=vm2,udp,tp_src=1,actions=drop'}
---
apiVersion: nic.v1
kind: Port
name: ports/vm3
spec: {device: pf0vf2}
";

/// xorshift64: moments that look random, and are the same with the same seed.
struct Moments(u64);

impl Moments {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// A number that the environment may give.
pub(crate) fn given(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// A rule about a port that nobody sends by, so that no flow depends on it.
fn write(console: &Console, folder: &std::path::Path, number: u64) -> Result<bool, LabError> {
    let file = folder.join("write.yaml");
    let text = format!(
        "apiVersion: nic.v1\nkind: FlowRule\nname: flowRules/write-{number}\n\
         spec: {{flow: 'in_port=vm3,udp,tp_dst={},actions=drop'}}\n",
        number % 65_536
    );
    std::fs::write(&file, text).expect("the lab's folder");
    let answer =
        console.nicctl(&["apply", "-f", &file.to_string_lossy(), "--apply-set", "writes", "--yes"])?;
    Ok(answer.code == 0)
}

/// Writes until told to stop; gives the numbers that were acknowledged, and how many were tried.
fn write_on(
    console: &Console,
    folder: &std::path::Path,
    stop: &AtomicBool,
) -> Result<(BTreeSet<u64>, u64), LabError> {
    let mut acknowledged = BTreeSet::new();
    let mut tried = 0;
    while !stop.load(Ordering::Relaxed) {
        if write(console, folder, tried)? {
            acknowledged.insert(tried);
        }
        tried += 1;
    }
    Ok((acknowledged, tried))
}

/// Kills the agent at random moments of its life and starts it again at once, as a supervisor would.
fn kill_on(lab: &mut Bench, kills: u64, moments: &mut Moments) -> Result<(), LabError> {
    for _ in 0..kills {
        std::thread::sleep(Duration::from_micros(moments.next(LIFE)));
        lab.agent().kill();
        lab.launch_agent()?;
    }
    Ok(())
}

#[test]
fn an_agent_that_is_killed_over_and_over_loses_no_packet_no_rule_and_no_acknowledged_write() -> Outcome {
    let kills = given("NIC_AGENT_KILLS", KILLS.into());
    let seed = given("NIC_AGENT_SEED", RandomState::new().hash_one(kills) | 1);
    println!("NIC_AGENT_SEED={seed} NIC_AGENT_KILLS={kills}");

    let mut lab = Bench::usual()?;
    lab.apply(&(wires() + READS_PORTS))?;
    let (steady, fresh) = ((peer().ipv4(), 5001).into(), (peer().ipv4(), 5002).into());
    let receivers = [lab.receive_stream(peer(), steady, IDLE)?, lab.receive_stream(peer(), fresh, IDLE)?];
    let start = Instant::now();
    let senders = [lab.stream(vm1(), steady, RATE, u64::MAX)?, lab.stream(vm2(), fresh, RATE, FLOW)?];
    lab.await_hardware("vm1", "")?;

    let (console, folder, stop) = (lab.console(), lab.folder().to_owned(), AtomicBool::new(false));
    let mut moments = Moments(seed);
    let (killed, written) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_on(&console, &folder, &stop));
        let killed = kill_on(&mut lab, kills, &mut moments);
        stop.store(true, Ordering::Relaxed);
        (killed, writer.join().expect("it does not panic"))
    });
    killed?;
    let (acknowledged, tried) = written?;
    lab.await_connected()?;
    let took = start.elapsed();
    let flows = lab.flows()?;
    let [(sent_steady, _), (sent_fresh, fresh_flows)] =
        senders.map(|sender| sender.stop().expect("it counts"));
    let received = receivers.map(|receiver| receiver.finish().expect("it counts"));
    let stats = lab.settled_stats()?;

    let lost: u64 = sent_steady + sent_fresh - received.iter().map(|it| number(&it["distinct"])).sum::<u64>();
    let missed = ["p0", "pf0vf0", "pf0vf1"].map(|device| stats.drops(device, "receive.missed"));
    let missed: u64 = missed.into_iter().sum();
    let (created, _, refused) = stats.rules();
    println!(
        "{kills} kills in {:.0} s: {} of {tried} writes acknowledged; {} packets and {fresh_flows} new flows, \
         {lost} packets lost, {missed} of them in a full receive queue; {created} rules created",
        took.as_secs_f64(),
        acknowledged.len(),
        sent_steady + sent_fresh,
    );
    assert_eq!(lost, missed, "gaps only where the receive queue was full: {:#}", stats.0);
    assert_eq!(stats.all_drops(), missed, "{:#}", stats.0);
    for it in &received {
        assert_eq!(number(&it["duplicates"]), 0, "{it}");
    }

    // The flow that stood before all of it stands, by the same rule: each flow had one.
    let of_vm1 = flows.iter().find(|flow| flow["inPort"] == "ports/vm1").expect("it still sends");
    assert_eq!(of_vm1["tier"], "HARDWARE", "{of_vm1:#}");
    assert!(age(of_vm1) + 1.0 > took.as_secs_f64(), "{of_vm1:#}");
    assert_eq!((created, refused), (fresh_flows + 1, 0), "{:#}", stats.0);

    // What was acknowledged is there.
    let rules = lab.json(&["get", "flowRules"])?;
    let text = rules.to_string();
    let there = |number: &u64| text.contains(&format!("\"flowRules/write-{number}\""));
    let gone: Vec<&u64> = acknowledged.iter().filter(|number| !there(number)).collect();
    assert!(gone.is_empty(), "acknowledged and lost: {gone:?}");
    assert!(acknowledged.len() as u64 >= kills / 10, "{} of {tried} were acknowledged", acknowledged.len());
    lab.until("the newest revision", Duration::from_secs(10), |lab| {
        let status = lab.json(&["status"])?;
        let done = status["revision"] == status["appliedRevision"];
        Ok(if done { Ok(()) } else { Err(format!("{status:#}")) })
    })
}

/// The age of a flow in seconds.
fn age(flow: &Value) -> f64 {
    flow["age"].as_str().and_then(|text| text.trim_end_matches('s').parse().ok()).expect("a duration")
}
