//! The pipeline's promises, on generated policies and packets.
//!
//! `NIC_AGENT_CASES` sets how many policies are tried (20 000), `NIC_AGENT_SEED` from which seed on
//! (0); a failure prints its seed. Seeds that failed once stand in [`FAILED_ONCE`] and are tried first.

mod megaflows;
mod revalidation;
mod saboteurs;

use nic_flow::PortId;
use nic_pipeline::Snapshot;
use sim::oracle::Policy;
use sim::scenario;

/// Seeds that failed once.
const FAILED_ONCE: &[u64] = &[];

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
        Err(_) => default,
    }
}

/// How many policies to try.
fn policies() -> u64 {
    number("NIC_AGENT_CASES", 20_000)
}

/// The seeds to try.
fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let first = number("NIC_AGENT_SEED", 0);
    FAILED_ONCE.iter().copied().chain((0..count).map(move |n| first.wrapping_add(n)))
}

fn snapshot(policy: &Policy) -> Snapshot {
    let devices: Vec<PortId> = policy.devices.iter().copied().collect();
    let (snapshot, _) = Snapshot::empty().apply(&scenario::full(policy, 1)).expect("ids are unique");
    snapshot.with_devices(&devices).0
}
