//! What a change and a packet cost in a small policy and in a large one: both should hardly differ.

#![expect(missing_docs, reason = "criterion_group! makes a public function without a document")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use nic_flow::field::L3;
use nic_flow::{Action, Field, Match, PortId};
use nic_pipeline::{Snapshot, translate};
use nic_policy::{Change, Delta, FlowRule, FlowRuleId, Object, ObjectId, Port, Revision, Stage};

const RULES: [u64; 3] = [50, 10_000, 100_000];

fn ports() -> [PortId; 2] {
    [PortId::uplink(0).expect("p0"), PortId::vf(0, 0).expect("pf0vf0")]
}

fn rule(n: u64) -> FlowRule {
    let [uplink, vf] = ports();
    let matches = Match::ANY
        .is(Field::InPort, vf.bits().into())
        .is(Field::EthType, 0x0800)
        .is(Field::L3, L3::Ok as u128)
        .and(Field::IpDst, 0x0a00_0000 + u128::from(n << 8), 0xffff_ff00);
    let actions = [Action::Output(uplink)].into_iter().collect();
    FlowRule { id: FlowRuleId(n), priority: 7, matches, actions }
}

fn put(objects: impl Iterator<Item = Object>) -> Delta {
    Delta { revision: Revision(1), replace_all: false, changes: objects.map(Change::Put).collect() }
}

fn policy(rules: u64) -> Snapshot {
    let open = ports().map(|id| Object::Port(Port { id, enabled: true, source_macs: None }));
    let objects = open.into_iter().chain((0..rules).map(rule).map(Object::FlowRule));
    let (snapshot, _) = Snapshot::empty().apply(&put(objects)).expect("each id once");
    snapshot.with_devices(&ports()).0
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy");
    for rules in RULES {
        let policy = policy(rules);
        let last = *rule(rules - 1).matches.key();
        let mut counters = [Default::default(); Stage::COUNT];
        group.bench_function(BenchmarkId::new("translate", rules), |bencher| {
            bencher.iter(|| translate(&last, &policy, &mut counters));
        });
        let add = put(std::iter::once(Object::FlowRule(rule(rules))));
        let gone = Change::Remove(ObjectId::FlowRule(FlowRuleId(rules)));
        let remove = Delta { revision: Revision(2), replace_all: false, changes: vec![gone] };
        group.bench_function(BenchmarkId::new("put-and-remove", rules), |bencher| {
            bencher.iter(|| {
                let (with, _) = policy.apply(&add).expect("each id once");
                with.apply(&remove).expect("each id once")
            });
        });
    }
}

criterion_group!(policies, benches);
criterion_main!(policies);
