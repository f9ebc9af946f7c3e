//! Whole cards, with faults of every kind; every step is checked.
//!
//! `NIC_AGENT_RUNS` sets how many runs there are, `NIC_AGENT_SEED` from which seed on. A failure prints
//! the run's seed, the command that repeats it, and what happened in it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use super::fault::{Fault, Reach, Sabotage};
use super::log::Log;
use super::world::{Node, World};

/// Runs of one test.
const RUNS: u64 = 100_000;
/// Seeds that failed once.
const FAILED_ONCE: &[u64] = &[];
/// Steps of one run, at most.
const STEPS: u64 = 110;
/// Each kind of fault must have been met so often.
const ENOUGH: u64 = 100;

/// One run. Panics if anything is not as it must be.
pub(super) fn run(seed: u64, sabotage: Option<Sabotage>, log: bool) -> Reach {
    let mut world = World::new(seed, sabotage, Log::new(log));
    let steps = 30 + world.ctx.random.below(STEPS - 30);
    for number in 0..steps {
        world.step();
        if number % 8 == 0 {
            world.nodes.iter().for_each(Node::check);
        }
    }
    world.all(Node::heal);
    world.converge();
    world.find_lost_rules();
    world.end();
    world.finish()
}

/// The run, and whether it went well.
pub(super) fn attempt(seed: u64, sabotage: Option<Sabotage>) -> Option<Reach> {
    catch_unwind(AssertUnwindSafe(|| run(seed, sabotage, false))).ok()
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// Runs by all threads that there is a CPU for. Returns what they met, and the first seed that failed.
fn runs(seeds: &[u64]) -> (Reach, Option<u64>) {
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(u64::MAX);
    let work = || {
        let mut reach = Reach::default();
        while failed.load(Ordering::Relaxed) == u64::MAX {
            let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) else { break };
            match attempt(seed, None) {
                Some(met) => reach.merge(&met),
                None => {
                    failed.fetch_min(seed, Ordering::Relaxed);
                }
            }
        }
        reach
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut reach = Reach::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            reach.merge(&worker.join().expect("panics of a run are caught"));
        }
    });
    let failed = failed.into_inner();
    (reach, (failed != u64::MAX).then_some(failed))
}

#[test]
fn whole_cards_survive_every_fault_and_forward_only_by_policies_in_force() {
    let (runs_wanted, first) = (number("NIC_AGENT_RUNS"), number("NIC_AGENT_SEED").unwrap_or(0));
    let count = runs_wanted.unwrap_or(RUNS);
    let mut seeds: Vec<u64> = (0..count).map(|n| first.wrapping_add(n)).collect();
    if count > 1 {
        seeds.splice(0..0, FAILED_ONCE.iter().copied());
    }
    let (reach, failed) = if count == 1 { (Reach::default(), Some(first)) } else { runs(&seeds) };
    if let Some(seed) = failed {
        println!("seed {seed}; to repeat it alone:");
        println!(
            "NIC_AGENT_SEED={seed} NIC_AGENT_RUNS=1 cargo test --profile ci -p sim --test it -- --nocapture \
             whole::property"
        );
        run(seed, None, true);
        assert!(count == 1, "seed {seed} failed once and not a second time");
        return;
    }
    println!(
        "{} runs: {} packets by rules, {} by the slow path",
        reach.runs, reach.by_rules, reach.by_software
    );
    println!("{:>8} rules found lost and installed again", reach.reinstalled);
    for &fault in Fault::ALL {
        println!("{:>8} {}", reach.of(fault), fault.name());
    }
    if count >= RUNS {
        let rare: Vec<_> = Fault::ALL.iter().filter(|&&fault| reach.of(fault) < ENOUGH).collect();
        assert!(rare.is_empty(), "hardly ever met: {rare:?}");
        assert!(reach.by_rules * 20 > reach.by_software && reach.reinstalled > ENOUGH);
    }
}
