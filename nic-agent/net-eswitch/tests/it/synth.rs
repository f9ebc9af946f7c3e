//! Ports that are traffic sources and sinks: what they send is forwarded, counted and timed.

use std::time::Instant;

use dpdk::Burst;
use dpdk::flow::Action;

use crate::faults::Client;
use crate::lifetime::in_a_process_of_its_own;
use crate::{PATIENCE, Rig, start};

#[test]
fn sources_are_measured_by_sinks() {
    in_a_process_of_its_own("synth::body_of_sources_and_sinks");
}

/// The number behind a name in what the socket tells of a port.
fn told(shown: &str, port: &str, name: &str) -> Option<u64> {
    let of_port = shown.trim_start_matches("ok ").split("; ").find(|part| part.starts_with(port))?;
    let value = of_port.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))?;
    value.parse().ok()
}

fn until(client: &mut Client, holds: impl Fn(&str) -> bool) -> String {
    let begin = Instant::now();
    loop {
        let shown = client.ask("synth show");
        if holds(&shown) {
            return shown;
        }
        assert!(begin.elapsed() < PATIENCE, "{shown}");
        std::thread::yield_now();
    }
}

#[test]
#[ignore = "starts EAL: run by sources_are_measured_by_sinks in a process of its own"]
fn body_of_sources_and_sinks() {
    let directory = std::env::temp_dir().join(format!("nes-synth-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("control");
    let device = format!(
        "net_eswitch0,vfs=2,representor=[0-1],backing=*:synth+pf0vf0:synth:rate:2000/flows:4,control={}",
        path.display()
    );
    let eal = start("nes-synth", &[&device]).unwrap();
    let mut rig = Rig::with(eal, "net_eswitch0", 255, |mut config| {
        config.rx_descriptors = 64;
        config
    });
    let mut client = Client::connect(&path);

    // Sent since the port was started, and nobody reads: the ring of misses holds 64 of them.
    until(&mut client, |shown| told(shown, "pf0vf0", "sent") > Some(100));
    let rule = rig.rule("pf0vf0", &[], &[Action::Count, Action::RepresentedPort(rig.dev("p0"))]).unwrap();
    assert_eq!(client.ask("synth reset"), "ok");
    let shown = until(&mut client, |shown| told(shown, "p0", "received") > Some(100));
    assert!(shown.contains("pf0vf0 source=rate:2000/flows:4/seed:0 run=2"), "{shown}");
    assert_eq!(client.ask("synth pf0vf0 stop"), "ok");
    let shown = client.ask("synth show");
    let [due, sent, missed] = ["due", "sent", "missed"].map(|name| told(&shown, "pf0vf0", name).unwrap());
    assert_eq!(due, sent + missed, "{shown}");
    assert_eq!(told(&shown, "p0", "received"), Some(sent), "what hits a rule comes out: {shown}");
    assert_eq!((told(&shown, "p0", "reordered"), told(&shown, "p0", "others")), (Some(0), Some(0)));
    let [p50, p99, max] = ["p50_ns", "p99_ns", "max_ns"].map(|name| told(&shown, "p0", name).unwrap());
    assert!(0 < p50 && p50 <= p99 && p99 <= max, "{shown}");
    assert!(rule.query_count().unwrap().packets >= Some(sent));

    // A source without a rate gives no more than the ring of misses takes, and waits for room.
    assert_eq!(client.ask("synth pf0vf1 start flows:random"), "ok");
    until(&mut client, |shown| told(shown, "pf0vf1", "sent") == Some(64));
    let (mut burst, mut read) = (Burst::new(), 0);
    let begin = Instant::now();
    while read < 300 {
        read += rig.queues("pf0vf1").rx[0].receive(&mut burst);
        // The application sends them out by the uplink, but for every other.
        while let Some(frame) = burst.pop() {
            if burst.len() % 2 == 0 {
                let mut one = Burst::new();
                assert!(one.push(frame).is_ok());
                assert_eq!(rig.queues("p0").tx[0].send(&mut one), 1);
            }
        }
        assert!(begin.elapsed() < PATIENCE, "{read} frames came");
    }
    assert_eq!(client.ask("synth pf0vf1 stop"), "ok");
    let shown = client.ask("synth show");
    let of_uplink = shown.split("; ").find(|part| part.contains("p0 source=none")).unwrap();
    let from = of_uplink.split(" from=").find(|part| part.starts_with("pf0vf1 ")).unwrap();
    let count = |name: &str| told(&format!("x {from}"), "x", name).unwrap();
    assert!(count("received") >= 140 && count("lost") >= 100, "{shown}");
    assert_eq!(told(&shown, "pf0vf1", "missed"), Some(0));
    // The switch dropped nothing either: the source looked at the ring before.
    assert_eq!(rig.port("pf0vf1").stats().unwrap().rx_missed, 0);

    for (request, part) in
        [("synth pf0vf2 stop", "pf0vf2 is no synth port"), ("synth pf0vf1 start rate:fast", "\"rate:fast\"")]
    {
        let answer = client.ask(request);
        assert!(answer.starts_with("error ") && answer.contains(part), "{answer}");
    }
    drop(rule);
    std::fs::remove_dir_all(&directory).unwrap();
}
