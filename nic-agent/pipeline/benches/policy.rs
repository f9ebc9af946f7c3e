//! What a change and a packet cost in a small policy and in a large one: both should hardly differ; and
//! what bridges with many stations cost.

#![expect(missing_docs, reason = "criterion_group! makes a public function without a document")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use nic_flow::field::L3;
use nic_flow::{Action, Field, FlowKey, MacAddr, Match, PortId};
use nic_pipeline::state::Limits;
use nic_pipeline::{Snapshot, State, translate};
use nic_policy::{
    Attachment, Bridge, BridgeId, Change, Delta, FdbEntry, FlowRule, FlowRuleId, Object, ObjectId, Place,
    Port, Revision, Stage, Trunk,
};

const BRIDGES: u64 = 256;
const STATIONS: u64 = 10_000;
const RULES: [u64; 3] = [50, 10_000, 100_000];

fn ports() -> [PortId; 2] {
    [PortId::uplink(0).expect("p0"), PortId::vf(0, 0).expect("pf0vf0")]
}

fn port(id: PortId, bridges: Attachment) -> Port {
    Port { id, enabled: true, source_macs: None, bridges, learning: true, mac_limit: 100, flood_budget: 1000 }
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
    let open = ports().map(|id| Object::Port(port(id, Attachment::default())));
    let objects = open.into_iter().chain((0..rules).map(rule).map(Object::FlowRule));
    let (snapshot, _) = Snapshot::empty().apply(&put(objects)).expect("each id once");
    snapshot.with_devices(&ports()).0
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy");
    for rules in RULES {
        let policy = policy(rules);
        let last = *rule(rules - 1).matches.key();
        let state = State::default();
        let mut counters = [Default::default(); Stage::COUNT];
        group.bench_function(BenchmarkId::new("translate", rules), |bencher| {
            bencher.iter(|| translate(&last, &policy, &state, &mut counters));
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

/// 256 bridges, each a VLAN of both ports, and 10 000 stations at fixed places.
fn bridged() -> impl Iterator<Item = Object> {
    let trunk: Vec<Trunk> = (1..=BRIDGES).map(|n| Trunk { vid: n as u16, bridge: BridgeId(n) }).collect();
    let attached = ports().map(|id| port(id, Attachment { access: None, trunk: trunk.clone() }));
    let bridges = (1..=BRIDGES).map(|n| Bridge {
        id: BridgeId(n),
        overlay: None,
        flood_unknown: true,
        ageing_time: 300,
        suppression: false,
    });
    let stations = (0..STATIONS).map(|n| FdbEntry {
        bridge: BridgeId(1 + n % BRIDGES),
        mac: station(n),
        place: Place::Port(ports()[1]),
        addresses: Vec::new(),
    });
    let bridges = bridges.map(Object::Bridge).chain(stations.map(Object::FdbEntry));
    attached.map(Object::Port).into_iter().chain(bridges)
}

fn station(n: u64) -> MacAddr {
    MacAddr::from_u64(0x0200_0000_0000 + n)
}

fn bridges(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bridges");
    let delta = put(bridged());
    group.bench_function("apply-10k-stations", |bencher| {
        bencher.iter(|| Snapshot::empty().apply(&delta).expect("each id once"));
    });
    let (snapshot, _) = Snapshot::empty().apply(&delta).expect("each id once");
    let snapshot = snapshot.with_devices(&ports()).0;
    let mut state = State::default();
    let [uplink, vf] = ports();
    let limits = Limits { place: 100, total: 100 };
    let me = station(STATIONS);
    state.fdb.learn(BridgeId(1), me, Place::Port(uplink), 0, limits).expect("there is room");
    let frame = FlowKey::ZERO
        .with(Field::InPort, uplink.bits().into())
        .with(Field::EthSrc, me.to_u64().into())
        .with(Field::EthDst, station(0).to_u64().into())
        .with(Field::VlanCount, 1)
        .with(Field::VlanTpid, 0x8100)
        .with(Field::VlanTci, 1);
    let mut counters = [Default::default(); Stage::COUNT];
    let to = translate(&frame, &snapshot, &state, &mut counters).actions.last().copied();
    assert_eq!(to, Some(Action::Output(vf)));
    group.bench_function("translate", |bencher| {
        bencher.iter(|| translate(&frame, &snapshot, &state, &mut counters));
    });
}

criterion_group!(policies, benches, bridges);
criterion_main!(policies);
