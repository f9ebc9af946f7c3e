//! Runs in which something is deliberately done wrong, to see that it would be noticed.

use super::fault::Sabotage;
use super::property::attempt;

/// Seeds in which a saboteur must be caught.
const SEEDS: u64 = 3_000;

#[test]
fn every_saboteur_is_caught() {
    for sabotage in [
        Sabotage::NoReinstall,
        Sabotage::AppliedEarly,
        Sabotage::NoRetry,
        Sabotage::NoRemove,
        Sabotage::NothingTouched,
        Sabotage::NoEnd,
        Sabotage::NoFence,
        Sabotage::LeaseUnused,
        Sabotage::RacySync,
        Sabotage::AckEarly,
        Sabotage::KeptLate,
        Sabotage::NoReconnect,
        Sabotage::LeaksBuffers,
    ] {
        let caught = (0..SEEDS).find(|&seed| attempt(seed, Some(sabotage)).is_none());
        let seed = caught.unwrap_or_else(|| panic!("{sabotage:?}: nobody noticed"));
        println!("{sabotage:?}: caught on seed {seed}");
    }
}
