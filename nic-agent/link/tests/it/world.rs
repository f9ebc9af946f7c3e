//! A policy with an object of every kind, and a datapath that has something to tell of everything.
//!
//! What [`crate::recorded`] keeps was said about this world, word for word: it is not changed, but for what a
//! later version of the schema adds.

use std::net::IpAddr;
use std::time::Duration;

use nic_flow::seam::{ActionKind, Errno, Refusal};
use nic_flow::{Action, Counters, Field, FlowKey, MacAddr, Match, PortId, Shape};
use nic_link::Uuid;
use nic_policy::stats::{PortStats, StageStats};
use nic_policy::trace::{Step, Trace, TraceReport};
use nic_policy::{
    Alarm, AlarmReason, Attachment, Bridge, BridgeId, Capability, CapabilityTable, Change, Delta, Device,
    DropReason, FdbEntry, FlowRule, FlowRuleId, FlowView, Object, ObjectId, Offload, Overlay, Place, Port,
    Revision, SoftwareReason, Stage, Stats, Trunk, TunnelPeer, Verdict, Vtep, VtepId,
};

const GUEST: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x11]);
const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x22]);
const STATION: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x33]);

/// The store that the policy comes from.
pub(crate) const STORE: Uuid = Uuid::from_u128(0x5707_2a11_0000_4000_8000_0000_0000_0001);
/// The run of the datapath.
pub(crate) const INSTANCE: Uuid = Uuid::from_u128(0xda7a_9a74_0000_4000_8000_0000_0000_0002);

pub(crate) fn vf() -> PortId {
    PortId::vf(0, 3).expect("a port")
}

fn uplink() -> PortId {
    PortId::uplink(0).expect("a port")
}

fn here() -> IpAddr {
    [192, 0, 2, 1].into()
}

fn peer() -> IpAddr {
    [198, 51, 100, 7].into()
}

/// Every action that a flow rule may have.
fn actions() -> [Action; 15] {
    [
        Action::PushVlan { tpid: 0x88a8, tci: 0x6123 },
        Action::SetVlanVid(77),
        Action::SetVlanPcp(5),
        Action::PopVlan,
        Action::SetEthSrc(GUEST),
        Action::SetEthDst(ROUTER),
        Action::SetIpSrc(here()),
        Action::SetIpDst(std::net::Ipv6Addr::LOCALHOST.into()),
        Action::SetIpDscp(46),
        Action::SetIpEcn(2),
        Action::SetIpTtl(63),
        Action::DecIpTtl,
        Action::SetL4Src(1024),
        Action::SetL4Dst(443),
        Action::Output(uplink()),
    ]
}

fn rule(id: u64, priority: u16) -> Object {
    let matches =
        Match::ANY.is(Field::InPort, vf().bits().into()).is(Field::EthType, 0x0800).is(Field::L4Dst, 80);
    let actions = actions().into_iter().collect();
    Object::FlowRule(FlowRule { id: FlowRuleId(id), priority, matches, actions })
}

fn bridge(flood_unknown: bool) -> Object {
    let overlay = Some(Overlay { vtep: VtepId(9), vni: 0x00ab_cdef });
    Object::Bridge(Bridge { id: BridgeId(8), overlay, flood_unknown, ageing_time: 300, suppression: true })
}

/// Two objects of every kind, but for ports: those are three.
fn objects() -> Vec<Object> {
    let trunk = vec![Trunk { vid: 100, bridge: BridgeId(7) }, Trunk { vid: 200, bridge: BridgeId(8) }];
    let port = Port {
        id: vf(),
        enabled: true,
        source_macs: Some([GUEST, ROUTER].into_iter().collect()),
        bridges: Attachment { access: Some(BridgeId(8)), trunk },
        learning: true,
        mac_limit: 64,
        flood_budget: 1000,
    };
    let closed = Port { id: PortId::vf(0, 4).expect("a port"), enabled: false, ..port.clone() };
    let open = Port { id: uplink(), source_macs: None, bridges: Attachment::default(), ..port.clone() };
    let vtep = Vtep {
        id: VtepId(9),
        uplink: uplink(),
        vlan: Some(42),
        mac: ROUTER,
        address: here(),
        prefix_length: 24,
        gateway: Some([192, 0, 2, 254].into()),
        ttl: 64,
        dscp: 10,
    };
    let six = Vtep {
        id: VtepId(10),
        vlan: None,
        address: std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        prefix_length: 64,
        gateway: None,
        ..vtep.clone()
    };
    let far = TunnelPeer {
        vtep: VtepId(9),
        address: peer(),
        bridges: vec![BridgeId(7), BridgeId(8)],
        learning: true,
        mac_limit: 4096,
    };
    let quiet = TunnelPeer { address: [198, 51, 100, 8].into(), learning: false, ..far.clone() };
    let entry = FdbEntry {
        bridge: BridgeId(8),
        mac: STATION,
        place: Place::Peer(peer()),
        addresses: vec![here(), peer()],
    };
    let near = FdbEntry { mac: GUEST, place: Place::Port(vf()), addresses: Vec::new(), ..entry.clone() };
    let plain =
        Bridge { id: BridgeId(7), overlay: None, flood_unknown: false, ageing_time: 1, suppression: false };
    vec![
        Object::Port(port),
        Object::Port(closed),
        Object::Port(open),
        Object::Bridge(plain),
        bridge(true),
        Object::Vtep(vtep),
        Object::Vtep(six),
        Object::TunnelPeer(far),
        Object::TunnelPeer(quiet),
        Object::FdbEntry(entry),
        Object::FdbEntry(near),
        rule(1, 100),
        rule(2, 200),
    ]
}

/// The whole policy at the first revision.
pub(crate) fn full() -> Delta {
    Delta {
        revision: Revision(1),
        replace_all: true,
        changes: objects().into_iter().map(Change::Put).collect(),
    }
}

/// What leads from it to the second: one object of every kind goes, and two change.
pub(crate) fn changes() -> Delta {
    let goes = [1, 6, 8, 10, 12].map(|at| Change::Remove(objects()[at].id()));
    let mut changes = vec![Change::Put(rule(1, 300)), Change::Put(bridge(false))];
    changes.extend(goes);
    changes.push(Change::Remove(ObjectId::Bridge(BridgeId(7))));
    Delta { revision: Revision(2), replace_all: false, changes }
}

/// The devices at first.
pub(crate) fn devices() -> Vec<Device> {
    let device = |port, link_up, mtu, mac| Device { port, link_up, mtu, mac };
    vec![device(uplink(), true, 9000, ROUTER), device(vf(), true, 1500, GUEST)]
}

/// The devices once the second revision is in force.
pub(crate) fn later_devices() -> Vec<Device> {
    let mut devices = devices();
    devices[1].link_up = false;
    devices
}

/// An alarm of every reason, of the card and of ports, until the second revision is in force. Version 3 added
/// them.
pub(crate) fn alarms() -> Vec<Alarm> {
    let alarm = |(at, &reason): (u16, _)| Alarm {
        reason,
        port: (at % 2 == 1).then(|| PortId::from_bits(at)),
        since: Duration::from_millis(1_700_000_000_123 + u64::from(at)),
        text: format!("alarm number {at}"),
    };
    (0..).zip(AlarmReason::ALL).map(alarm).collect()
}

/// Every shape and every action, with every kind of refusal among them.
pub(crate) fn capabilities() -> CapabilityTable {
    let refusals = [
        None,
        Some(Refusal::Field(Field::ArpSha)),
        Some(Refusal::Action(ActionKind::Flood)),
        Some(Refusal::ManyOutputs),
        Some(Refusal::NoPort(vf())),
        Some(Refusal::Shape(Shape::FullKey)),
        Some(Refusal::Full),
        Some(Refusal::Busy),
        Some(Refusal::Exists),
        Some(Refusal::DriverItem { index: 2, errno: Errno(95) }),
        Some(Refusal::DriverAction { index: 1, errno: Errno(22) }),
        Some(Refusal::Driver(Errno(28))),
    ];
    let pairs =
        Shape::ALL.iter().flat_map(|&shape| ActionKind::ALL.iter().map(move |&action| (shape, action)));
    let rows = pairs.zip(refusals.into_iter().cycle()).enumerate();
    CapabilityTable {
        driver: "net_eswitch".to_owned(),
        dpdk_version: "DPDK 22.11.11".to_owned(),
        rows: rows
            .map(|(at, ((shape, action), refused))| Capability { shape, action, ipv6: at % 2 == 1, refused })
            .collect(),
    }
}

/// A key with something in every field.
pub(crate) fn key() -> FlowKey {
    let mut key = FlowKey::default();
    for (at, &field) in (1u128..).zip(Field::ALL) {
        key.set(field, at & (field.max()));
    }
    key.set(Field::InPort, vf().bits().into());
    key
}

pub(crate) fn frame() -> Vec<u8> {
    (0..64).collect()
}

/// What becomes of a packet: every stage, every verdict.
pub(crate) fn report() -> TraceReport {
    let verdicts = [Verdict::Pass, Verdict::Local, Verdict::Wait, Verdict::Drop(DropReason::RuleDrop)];
    let objects: Vec<ObjectId> = objects().iter().map(Object::id).collect();
    let steps =
        Stage::ALL.iter().zip(verdicts.into_iter().cycle()).enumerate().map(|(at, (&stage, verdict))| Step {
            stage,
            objects: objects.iter().copied().skip(at).step_by(3).collect(),
            read: *Match::ANY.is(Field::EthDst, 0).is(Field::Vni, 0).mask(),
            verdict,
        });
    TraceReport {
        revision: Revision(2),
        trace: Trace {
            key: key(),
            steps: steps.collect(),
            actions: actions().into_iter().take(12).collect(),
            read: Shape::FullKey.mask(),
            shape: Shape::FiveTuple,
            offload: Offload::Software(SoftwareReason::Overlap),
            verdict: Verdict::Pass,
        },
    }
}

/// Flows of every fate; more than one message holds.
pub(crate) fn flows() -> Vec<FlowView> {
    let fates = [
        Offload::Hardware,
        Offload::Pending,
        Offload::Software(SoftwareReason::Quota),
        Offload::Software(SoftwareReason::Overlap),
        Offload::Software(SoftwareReason::Disabled),
        Offload::Software(SoftwareReason::Refused(Refusal::Full)),
    ];
    let flow = |at: usize| {
        let shape = Shape::ALL[at % Shape::ALL.len()];
        let count = |n: usize| Counters { packets: (at * n) as u64, bytes: (at * n * 64) as u64 };
        let dropped = (at % 7 == 6).then_some(DropReason::RuleDrop);
        FlowView {
            matches: Match::new(key(), shape.mask()),
            actions: if dropped.is_some() {
                [].into_iter().collect()
            } else {
                actions().into_iter().skip(9).collect()
            },
            dropped,
            shape,
            offload: fates[at % fates.len()],
            software: count(1),
            hardware: count(1000),
            age: Duration::from_millis(1000 + at as u64),
            idle: Duration::from_millis(at as u64),
            objects: vec![ObjectId::Port(vf()), ObjectId::FlowRule(FlowRuleId(at as u64))],
        }
    };
    (0..66).map(flow).collect()
}

/// So many reasons to drop a packet there were with version 2; later ones stand behind them.
const REASONS: usize = 40;

/// Every counter of version 2, each with a value of its own.
pub(crate) fn stats() -> Stats {
    let port = |id, from: u64| PortStats {
        present: true,
        slow_path: Counters { packets: from, bytes: from * 64 },
        sent: Counters { packets: from + 1, bytes: from * 65 },
        upcalls: from + 2,
        cache_hits: from + 3,
        hardware: Counters { packets: from + 4, bytes: from * 66 },
        drops: std::array::from_fn(|at| if at % 2 == 0 && at < REASONS { from + at as u64 } else { 0 }),
        ..PortStats::new(id)
    };
    let stage = |at: usize| StageStats { passed: 10 + at as u64, dropped: 20 + at as u64, held: at as u64 };
    Stats {
        ports: vec![port(uplink(), 100), port(vf(), 200)],
        stages: std::array::from_fn(stage),
        flows: 1,
        flows_in_hardware: 2,
        rules_created: 3,
        rules_destroyed: 4,
        rules_refused: 5,
        revalidated: 6,
        cache_full: 7,
        fdb_entries: 8,
        fdb_learned: 9,
        fdb_moved: 10,
        fdb_aged: 11,
        fdb_refused: 12,
        flooded: 13,
        answered: 14,
        solicited: 15,
        ..Stats::default()
    }
}
