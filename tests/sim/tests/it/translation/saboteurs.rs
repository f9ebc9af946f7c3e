//! Stages that break a promise, to see that the tests would notice. They exist only here.

use nic_flow::{ActionList, Field};
use nic_pipeline::Table;
use nic_pipeline::testing::{Probe, STAGES, StageFn};
use nic_policy::{DropReason, Stage, Verdict};

use super::megaflows::counterexample;
use super::revalidation::stale;
use super::{policies, seeds};

fn with(stage: Stage, saboteur: StageFn) -> [(Stage, StageFn); Stage::COUNT] {
    let mut stages = STAGES;
    stages[stage.index()].1 = saboteur;
    stages
}

/// Reads one bit of one field behind the probe's back.
fn reads_in_secret(probe: &mut Probe<'_>, plan: &mut ActionList) -> Verdict {
    if probe.peek(Field::ArpTha) & 0x100 != 0 {
        return Verdict::Drop(DropReason::RuleDrop);
    }
    STAGES[Stage::FlowRules.index()].1(probe, plan)
}

fn forgets(table: Table, stage: Stage, probe: &mut Probe<'_>, plan: &mut ActionList) -> Verdict {
    let verdict = STAGES[stage.index()].1(probe, plan);
    probe.forget(table);
    verdict
}

fn forgets_ports(probe: &mut Probe<'_>, plan: &mut ActionList) -> Verdict {
    forgets(Table::Ports, Stage::Egress, probe, plan)
}

fn forgets_devices(probe: &mut Probe<'_>, plan: &mut ActionList) -> Verdict {
    forgets(Table::Devices, Stage::Egress, probe, plan)
}

fn forgets_flow_rules(probe: &mut Probe<'_>, plan: &mut ActionList) -> Verdict {
    forgets(Table::FlowRules, Stage::FlowRules, probe, plan)
}

#[test]
fn a_stage_that_reads_one_bit_in_secret_is_caught() {
    let stages = with(Stage::FlowRules, reads_in_secret);
    let caught = seeds(policies()).find_map(|seed| counterexample(&stages, seed, |_| {}));
    let caught = caught.expect("nobody noticed");
    println!("caught on seed {}", caught.seed);
    assert!(caught.read.get(Field::ArpTha) & 0x100 == 0);
    let (one, other) = (caught.packet.get(Field::ArpTha), caught.relative.get(Field::ArpTha));
    assert_ne!(one & 0x100, other & 0x100);
}

#[test]
fn a_stage_that_misses_one_dependency_is_caught() {
    for (stage, saboteur) in [
        (Stage::Egress, forgets_ports as StageFn),
        (Stage::Egress, forgets_devices),
        (Stage::FlowRules, forgets_flow_rules),
    ] {
        let stages = with(stage, saboteur);
        let caught = seeds(policies()).find_map(|seed| stale(&stages, seed, |_| {}));
        println!("caught on seed {}", caught.expect("nobody noticed").seed);
    }
}
