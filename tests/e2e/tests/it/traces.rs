//! Nothing is left behind, however a lab ends.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::{Lab, Options, sweep};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bench::{Outcome, turn};

/// A demo of which the card runs, and its lab's prefix.
fn demo() -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().expect("it was built");
    let prefix = format!("nic-lab-{}-0", child.id());
    await_that("the demo's card runs", || sweep::processes(&prefix).len() >= 3);
    (child, prefix)
}

fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}: not so");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_lab_that_is_dropped_leaves_nothing_behind() -> Outcome {
    let _turn = turn();
    let lab = Lab::start(Options::default())?;
    let prefix = lab.prefix().to_owned();
    assert!(sweep::traces(&prefix).len() > 4 + 3, "the search finds what is there");
    drop(lab);
    assert_eq!(sweep::traces(&prefix), [""; 0]);
    Ok(())
}

#[test]
fn a_panic_leaves_nothing_behind() {
    let _turn = turn();
    let prefix = std::thread::spawn(|| {
        let lab = Lab::start(Options::default()).expect("a lab");
        let prefix = lab.prefix().to_owned();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _lab = lab;
            panic!("on purpose");
        }));
        assert!(result.is_err());
        prefix
    });
    let prefix = prefix.join().expect("the panic was caught");
    assert_eq!(sweep::traces(&prefix), [""; 0]);
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    let _turn = turn();
    let (mut child, prefix) = demo();
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).expect("it is ours");
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(130));
    assert_eq!(sweep::traces(&prefix), [""; 0]);
}

#[test]
fn what_a_killed_owner_leaves_is_found_and_removed() {
    let _turn = turn();
    let (mut child, prefix) = demo();
    let others = sweep::labs();
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
    await_that("its processes end with it", || sweep::processes(&prefix).is_empty());
    assert!(others.contains(&prefix), "{others:?}");
    sweep::remove(&prefix);
    assert_eq!(sweep::traces(&prefix), [""; 0]);
    assert!(!sweep::labs().contains(&prefix));
}
