//! How long nothing passes when the process that forwards is killed, beside Open vSwitch with DPDK on the
//! same interfaces, with as many rules.

use std::fmt::Write as _;
use std::time::Duration;

use e2e::ovs_dpdk::OvsDpdk;
use e2e::{LabError, number};

use crate::bench::{Bench, Outcome, PORTS, peer, vm1, vm2};
use crate::kills::given;

/// Rules of the policy, beside the one that forwards.
const RULES: u32 = 10_000;

/// Packets a second: the outage is known to a millisecond.
const RATE: u64 = 1_000;

/// Traffic before the kill, and the longest wait for traffic after it.
const QUIET: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);

/// A longer silence is the end of the traffic.
const SILENCE: Duration = Duration::from_secs(8);

/// Traffic that is offered from the other VM, so that each of the rules counts.
fn ours() -> String {
    let mut text = PORTS.to_owned();
    let mut rule = |name: &str, flow: &str| {
        write!(
            text,
            "---\napiVersion: nic.v1\nkind: FlowRule\nname: flowRules/{name}\nspec: {{flow: '{flow}'}}\n"
        )
    };
    rule("forward", "priority=10,in_port=vm1,actions=output:pf0").expect("a text");
    for number in 1..=RULES {
        rule(&format!("r{number}"), &format!("priority=20,in_port=vm1,udp,tp_src={number},actions=drop"))
            .expect("a text");
    }
    text
}

fn theirs() -> String {
    let mut text = "priority=10,in_port=1,actions=output:3\n".to_owned();
    for number in 1..=RULES {
        writeln!(text, "priority=20,in_port=1,udp,tp_src={number},actions=drop").expect("a text");
    }
    text
}

/// The longest silence at the peer, in milliseconds, while `strike` does what it does.
fn outage(lab: &mut Bench, strike: impl FnOnce(&mut Bench) -> Result<(), LabError>) -> Result<f64, LabError> {
    let to = (peer().ipv4(), 5001).into();
    let receiver = lab.receive_stream(peer(), to, SILENCE)?;
    let sender = lab.stream(vm1(), to, RATE, u64::MAX)?;
    let before = lab.frames_at(peer());
    std::thread::sleep(QUIET);
    assert!(lab.frames_at(peer()) > before, "traffic passes before the kill");
    strike(lab)?;
    // Not before the strike is over: from then on, traffic again.
    let at_end = lab.frames_at(peer());
    let (start, limit) = (std::time::Instant::now(), PATIENCE);
    while lab.frames_at(peer()) < at_end + RATE && start.elapsed() < limit {
        std::thread::sleep(Duration::from_millis(20));
    }
    sender.stop()?;
    let received = receiver.finish()?;
    assert!(lab.frames_at(peer()) >= at_end + RATE, "traffic passes again: {received}");
    assert!(number(&received["distinct"]) > 2 * RATE, "also what came after the kill: {received}");
    assert_eq!(number(&received["duplicates"]), 0, "{received}");
    received["longest_gap"].as_f64().map(|seconds| seconds * 1e3).ok_or_else(|| LabError::Output {
        command: "nic-traffic udp-receive".into(),
        output: received.to_string(),
        why: "it has no gap".into(),
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn a_datapath_that_is_killed_is_back_in_half_the_time_that_open_vswitch_takes() -> Outcome {
    let rounds = given("NIC_AGENT_ROUNDS", 1);
    let mut lab = Bench::usual()?;
    // veth leaves checksums to a card, and Open vSwitch does not complete them.
    let mut whole = lab.command(vm1().node, "ethtool");
    assert!(whole.args(["-K", "eth0", "tx", "off"]).output().is_ok_and(|output| output.status.success()));
    lab.apply(&ours())?;
    let (mut our, mut their) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        our.push(outage(&mut lab, |lab| {
            lab.datapath().kill();
            lab.start_datapath()
        })?);
        lab.datapath().kill();
        let mut ovs = OvsDpdk::start(&mut lab, &[vm1(), vm2(), peer()], &theirs())?;
        their.push(
            outage(&mut lab, |lab| ovs.kill_and_restart(lab)).inspect_err(|_| println!("{}", ovs.log()))?,
        );
        drop(ovs);
        lab.start_datapath()?;
        lab.await_connected()?;
    }
    let (our, their) = (median(our), median(their));
    println!(
        "killed with {RULES} rules, medians of {rounds}: nothing passes for {our:.0} ms, with Open vSwitch \
         {their:.0} ms: {:.2} of it",
        our / their
    );
    assert!(our <= their / 2.0, "{our:.0} ms against {their:.0} ms");
    Ok(())
}
