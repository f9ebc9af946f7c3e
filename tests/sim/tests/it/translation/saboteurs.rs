//! Stages that break a promise, to see that the tests would notice. They exist only here.

use nic_flow::Field;
use nic_pipeline::Dependency;
use nic_pipeline::testing::{Plan, Probe, STAGES, StageFn};
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
fn reads_in_secret<'s>(probe: &mut Probe<'s>, plan: &mut Plan<'s>) -> Verdict {
    if probe.peek(Field::ArpTha) & 0x100 != 0 {
        return Verdict::Drop(DropReason::RuleDrop);
    }
    STAGES[Stage::FlowRules.index()].1(probe, plan)
}

/// The same of a frame in a tunnel.
fn reads_the_tunnel_in_secret<'s>(probe: &mut Probe<'s>, plan: &mut Plan<'s>) -> Verdict {
    if probe.peek(Field::TunIpDst) & 1 != 0 {
        return Verdict::Drop(DropReason::TunnelNotOurs);
    }
    STAGES[Stage::Tunnel.index()].1(probe, plan)
}

/// Defines a stage that does its work and forgets the dependencies of one kind.
macro_rules! forgets {
    ($name:ident, $stage:ident, $dependency:pat) => {
        fn $name<'s>(probe: &mut Probe<'s>, plan: &mut Plan<'s>) -> Verdict {
            let verdict = STAGES[Stage::$stage.index()].1(probe, plan);
            probe.forget(|dependency| matches!(dependency, $dependency));
            verdict
        }
    };
}

forgets!(forgets_ports, Egress, Dependency::Port(_));
forgets!(forgets_devices, Egress, Dependency::Device(_));
forgets!(forgets_flow_rules, FlowRules, Dependency::FlowRules(_));
forgets!(forgets_vteps, Tunnel, Dependency::Vteps(_));
forgets!(forgets_vnis, Tunnel, Dependency::Vni(..));
forgets!(forgets_peers, Tunnel, Dependency::TunnelPeer(..));
forgets!(forgets_bridges, Bridge, Dependency::Bridge(_));
forgets!(forgets_vtep, Bridge, Dependency::Vtep(_));
forgets!(forgets_stations, Bridge, Dependency::Fdb(..));
forgets!(forgets_neighbors, Bridge, Dependency::Neighbor(..));

#[test]
fn a_stage_that_reads_one_bit_in_secret_is_caught() {
    for (stage, saboteur, field, bit) in [
        (Stage::FlowRules, reads_in_secret as StageFn, Field::ArpTha, 0x100),
        (Stage::Tunnel, reads_the_tunnel_in_secret, Field::TunIpDst, 1),
    ] {
        let stages = with(stage, saboteur);
        let caught = seeds(policies()).find_map(|seed| counterexample(&stages, seed, |_| {}));
        let caught = caught.expect("nobody noticed");
        println!("{field}: caught on seed {}", caught.seed);
        assert!(caught.read.get(field) & bit == 0);
        let (one, other) = (caught.packet.get(field), caught.relative.get(field));
        assert_ne!(one & bit, other & bit);
    }
}

#[test]
fn a_stage_that_misses_one_dependency_is_caught() {
    for (name, stage, saboteur) in [
        ("ports", Stage::Egress, forgets_ports as StageFn),
        ("devices", Stage::Egress, forgets_devices),
        ("flow rules", Stage::FlowRules, forgets_flow_rules),
        ("VTEPs", Stage::Tunnel, forgets_vteps),
        ("VNIs", Stage::Tunnel, forgets_vnis),
        ("tunnel peers", Stage::Tunnel, forgets_peers),
        ("bridges", Stage::Bridge, forgets_bridges),
        ("the VTEP", Stage::Bridge, forgets_vtep),
        ("stations", Stage::Bridge, forgets_stations),
        ("neighbours", Stage::Bridge, forgets_neighbors),
    ] {
        let stages = with(stage, saboteur);
        let caught = seeds(policies()).find_map(|seed| stale(&stages, seed, |_| {}));
        println!(
            "{name}: caught on seed {}",
            caught.unwrap_or_else(|| panic!("{name}: nobody noticed")).seed
        );
    }
}
