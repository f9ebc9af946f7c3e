use std::process::Command;

use dpdk::lcore::{RegisterError, allowed_cpus, pin_current_thread};
use dpdk::{Eal, EalArgs, EalError, Mempool, MempoolConfig};

use super::shared_eal;

#[test]
fn eal_starts_only_once() {
    let eal = shared_eal();
    assert!(eal.version().starts_with("DPDK "), "{}", eal.version());
    assert!(matches!(Eal::init(&EalArgs::new("again")), Err(EalError::AlreadyStarted)));
}

#[test]
fn arguments_are_checked_before_eal_sees_them() {
    let nul = EalArgs::new("it").arg("--vdev=a\0b");
    assert!(
        matches!(Eal::init(&nul), Err(EalError::NulInArgument { argument }) if argument == "--vdev=a\0b")
    );
    assert!(matches!(Eal::init(&EalArgs::new("it").main_cpus([])), Err(EalError::NoCpus)));
}

#[test]
fn starting_eal_leaves_the_callers_affinity_alone() {
    let before = allowed_cpus().expect("a thread may ask for its own");
    let _eal = shared_eal();
    assert_eq!(allowed_cpus().expect("as above"), before);
}

#[test]
fn a_pinned_thread_gets_its_cpus_back() {
    let before = allowed_cpus().expect("a thread may ask for its own");
    let first = *before.first().expect("a thread runs somewhere");
    let pinned = pin_current_thread(&[first]).expect("the CPU is allowed");
    assert_eq!(allowed_cpus().expect("as above"), [first]);
    drop(pinned);
    assert_eq!(allowed_cpus().expect("as above"), before);
    assert!(pin_current_thread(&[1 << 20]).is_err(), "no such CPU");
    assert_eq!(allowed_cpus().expect("as above"), before);
}

#[test]
fn a_thread_registers_once_at_a_time() {
    let eal = shared_eal();
    let lcore = eal.register_thread().expect("EAL has lcores left");
    let again = eal.register_thread();
    assert!(matches!(again, Err(RegisterError::AlreadyRegistered(id)) if id == lcore.lcore()));
    drop(lcore);
    drop(eal.register_thread().expect("it may register again"));
}

/// Runs one of the tests below in a process of its own, where EAL can end.
fn in_a_process_of_its_own(test: &str) {
    let program = std::env::current_exe().expect("this program has a file");
    let output = Command::new(program)
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .output()
        .expect("it runs again");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{test}: {text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{test} ran: {text}");
}

#[test]
fn eal_ends_cleanly_in_either_order() {
    in_a_process_of_its_own("eal::body_the_last_handle_cleans_up");
    in_a_process_of_its_own("eal::body_an_mbuf_outlives_every_handle");
    in_a_process_of_its_own("eal::body_a_refused_argument_is_an_error");
}

fn own_eal() -> Eal {
    let args = EalArgs::without_hardware("it", "nic-dpdk-own").log_level("error").vdev("net_null0");
    Eal::init(&args).expect("EAL starts without hugepages or privileges")
}

#[test]
#[ignore = "ends EAL: run by eal_ends_cleanly_in_either_order in a process of its own"]
fn body_the_last_handle_cleans_up() {
    let eal = own_eal();
    let pool = Mempool::create(&eal, &MempoolConfig::new("pool", 63)).expect("a small pool fits");
    let mbuf = pool.alloc().expect("the pool has room");
    drop(eal);
    drop(mbuf);
    assert_eq!(pool.available(), 63, "the pool keeps EAL running");
    drop(pool);
}

#[test]
#[ignore = "ends EAL: run by eal_ends_cleanly_in_either_order in a process of its own"]
fn body_an_mbuf_outlives_every_handle() {
    let eal = own_eal();
    let pool = Mempool::create(&eal, &MempoolConfig::new("pool", 63)).expect("a small pool fits");
    let mut mbuf = pool.alloc().expect("the pool has room");
    mbuf.set_data(b"still here").expect("it fits");
    drop((pool, eal));
    assert_eq!(mbuf.data(), Ok(&b"still here"[..]));
    drop(mbuf);
}

#[test]
#[ignore = "starts EAL: run by eal_ends_cleanly_in_either_order in a process of its own"]
fn body_a_refused_argument_is_an_error() {
    let refused = Eal::init(&EalArgs::new("it").arg("--no-such-argument"));
    assert!(matches!(refused, Err(EalError::Refused(_))), "{refused:?}");
    assert!(matches!(Eal::init(&EalArgs::new("it")), Err(EalError::AlreadyStarted)));
}
