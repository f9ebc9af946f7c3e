use std::path::{Path, PathBuf};
use std::process::Command;

use dpdk::flow::Action;
use dpdk::{Burst, PortConfig};

use crate::packets::plain;
use crate::{PATIENCE, Rig, SILENCE, start};

#[test]
fn stopping_a_port_flushes_its_rules_and_what_waits_for_it() {
    let mut rig = Rig::new("net_eswitch4");
    let out = [Action::Count, Action::RepresentedPort(rig.dev("p0"))];
    let kept = rig.rule("p0", &[], &[Action::Count, Action::RepresentedPort(rig.dev("pf0vf0"))]).unwrap();
    let gone = rig.rule("pf0vf0", &[], &out).unwrap();
    rig.wire("pf0vf0").send(&plain(b"1")).unwrap();
    assert_eq!(rig.wire("p0").receive(PATIENCE), Some(plain(b"1")));

    let (port, queues) = rig.ports.remove(&crate::id("pf0vf0")).unwrap();
    drop(queues);
    port.stop().unwrap();
    assert!(gone.is_stale());
    drop(gone);

    // Stopped: nobody reads, nothing is forwarded, no rule is taken.
    rig.wire("pf0vf0").send(&plain(b"2")).unwrap();
    assert_eq!(rig.wire("p0").receive(SILENCE), None);
    let pattern = [dpdk::flow::Item::RepresentedPort(port.id())];
    let refused = port.create_flow(&dpdk::flow::Attr::TRANSFER, &pattern, &out).unwrap_err();
    assert!(refused.message.as_deref().unwrap().contains("not started"), "{refused}");
    // The other port's rules stand.
    rig.wire("p0").send(&plain(b"3")).unwrap();
    assert_eq!(rig.wire("pf0vf0").receive(PATIENCE), Some(plain(b"3")));
    assert_eq!(kept.query_count().unwrap().packets, Some(1));

    let queues = port.start(&PortConfig::single(&rig.pool)).unwrap();
    rig.ports.insert(crate::id("pf0vf0"), (port, queues));
    assert_eq!(rig.missed("pf0vf0", SILENCE), None, "what came while it was stopped is gone");
    rig.wire("pf0vf0").send(&plain(b"4")).unwrap();
    assert_eq!(rig.missed("pf0vf0", PATIENCE), Some(plain(b"4")));

    a_full_queue_and_an_empty_pool_are_counted(rig, kept);
}

fn a_full_queue_and_an_empty_pool_are_counted(mut rig: Rig, kept: dpdk::FlowRule) {
    kept.destroy().unwrap();
    let (port, queues) = rig.ports.remove(&crate::id("p0")).unwrap();
    drop(queues);
    port.stop().unwrap();
    let config = PortConfig { rx_descriptors: 8, ..PortConfig::single(&rig.pool) };
    let queues = port.start(&config).unwrap();
    rig.ports.insert(crate::id("p0"), (port, queues));
    rig.port("p0").reset_stats().unwrap();
    for number in 0..20 {
        rig.wire("p0").send(&plain(&[number])).unwrap();
    }
    let missed = |rig: &Rig| rig.port("p0").stats().unwrap().rx_missed;
    let end = std::time::Instant::now() + PATIENCE;
    while missed(&rig) < 12 {
        assert!(std::time::Instant::now() < end, "{} of 20 frames missed", missed(&rig));
    }
    assert_eq!(missed(&rig), 12);

    // All buffers but three are taken: three frames come, the others wait, and that is counted.
    let mut held: Vec<_> = std::iter::from_fn(|| rig.pool.alloc()).collect();
    held.truncate(held.len() - 3);
    let mut burst = Burst::new();
    assert_eq!(rig.queues("p0").rx[0].receive(&mut burst), 3);
    assert_eq!(rig.port("p0").stats().unwrap().rx_no_mbuf, 1);
    let payloads: Vec<u8> = burst.drain().map(|mbuf| mbuf.data().unwrap()[42]).collect();
    assert_eq!(payloads, [0, 1, 2]);
    drop(held);
    assert_eq!(rig.queues("p0").rx[0].receive(&mut burst), 5);
    burst.clear();
    let stats = rig.port("p0").stats().unwrap();
    assert_eq!((stats.rx_packets, stats.rx_missed), (8, 12));
    assert_eq!(rig.pool.in_use(), 0);
}

/// Runs one of the tests below in a process of its own, where EAL can end.
pub(crate) fn in_a_process_of_its_own(test: &str) {
    let program = std::env::current_exe().expect("this program has a file");
    let arguments = ["--exact", test, "--nocapture", "--include-ignored"];
    let output = Command::new(program).args(arguments).output().expect("it runs again");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{test}: {text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{test} ran: {text}");
}

#[test]
fn a_process_ends_in_any_order() {
    in_a_process_of_its_own("lifetime::body_ports_are_closed_first");
    in_a_process_of_its_own("lifetime::body_eal_ends_with_open_ports");
    in_a_process_of_its_own("lifetime::body_bad_arguments_are_refused");
}

/// The threads of switches, by their places in /proc.
fn switch_threads() -> Vec<PathBuf> {
    let is_switch =
        |task: &PathBuf| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("hw:"));
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.filter_map(|task| Some(task.ok()?.path())).filter(is_switch).collect()
}

/// Waits until that many threads of switches run: a thread names itself a moment after it was made.
fn threads_become(expected: usize) {
    let end = std::time::Instant::now() + PATIENCE;
    while switch_threads().len() != expected && std::time::Instant::now() < end {
        std::thread::yield_now();
    }
    assert_eq!(switch_threads().len(), expected);
}

fn allowed_cores(task: &Path) -> String {
    let status = std::fs::read_to_string(task.join("status")).unwrap();
    status.lines().find(|line| line.starts_with("Cpus_allowed_list:")).unwrap().into()
}

#[test]
#[ignore = "ends EAL: run by a_process_ends_in_any_order in a process of its own"]
fn body_ports_are_closed_first() {
    let eal = start("nes-closed", &["net_eswitch0,vfs=2,representor=[0-1],backing=*:inject"]).unwrap();
    threads_become(1);
    // EAL pinned the thread that probed, and a thread inherits that.
    let end = std::time::Instant::now() + PATIENCE;
    let all = allowed_cores(Path::new("/proc/thread-self"));
    while allowed_cores(&switch_threads()[0]) != all {
        assert!(std::time::Instant::now() < end, "the switch's thread is pinned");
    }
    let mut rig = Rig::with(eal, "net_eswitch0", 255, |config| config);
    let _rule = rig.rule("p0", &[], &[Action::Count, Action::Drop]).unwrap();
    let wire = rig.wire("pf0vf0");
    wire.send(&plain(b"x")).unwrap();
    assert!(rig.missed("pf0vf0", PATIENCE).is_some());
    drop(_rule);
    rig.ports.clear();
    threads_become(0);
    assert!(net_eswitch::Wire::open("net_eswitch0", crate::id("p0")).is_err());
    // The far end outlives the device, and is of no use.
    wire.send(&plain(b"y")).unwrap();
    drop(rig);
    drop(wire);
}

#[test]
#[ignore = "ends EAL: run by a_process_ends_in_any_order in a process of its own"]
fn body_eal_ends_with_open_ports() {
    let eal =
        start("nes-open", &["net_eswitch0,vfs=1,representor=0,backing=*:inject", "net_eswitch1"]).unwrap();
    threads_become(2);
    drop(eal);
    threads_become(0);
}

#[test]
#[ignore = "starts EAL: run by a_process_ends_in_any_order in a process of its own"]
fn body_bad_arguments_are_refused() {
    let eal = start("nes-bad", &["net_eswitch0,vfs=1,representor=5", "net_eswitch1,colour=red"]).unwrap();
    assert!(dpdk::ethdev::discover(&eal).unwrap().is_empty());
    threads_become(0);
}
