//! Random policies with bridges and tunnels: packet by packet, the worker does what the oracle says, by
//! what was learned until then.
//!
//! What was learned is read from the worker, and each packet may change of it only what the oracle says.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use nic_flow::execute::execute;
use nic_flow::seam::PacketBuf;
use nic_flow::{Action, Destination, Field, Flood, FlowKey, MacAddr, PortId};
use nic_pipeline::next_hop;
use nic_policy::{BridgeId, Delta, DropReason, NeighborState, Network, Offload, Place, Port};
use nic_slowpath::{Config, Polled, Worker};
use nic_wire::icmpv6::{AdvertFlags, Repr};
use sim::card::{Card, CardIo, Faults};
use sim::frame::{self, Frame};
use sim::oracle::{Fate, Memory, Policy};
use sim::random::Random;
use sim::scenario;
use soft_eswitch::Profile;

use crate::cards::frames;
use crate::cards::suppression::discovery;

const WORLDS: u64 = 60;
const STEPS: u64 = 200;

struct World {
    random: Random,
    card: Card,
    worker: Worker<CardIo>,
    policy: Policy,
    now: Duration,
    revision: u64,
    serial: u64,
    entered: u64,
    /// Packets that one translation sent into a tunnel.
    tunnelled: u64,
    /// Next hops that told everybody that they moved.
    followed: u64,
    keys: Vec<FlowKey>,
}

/// What left a card because of one packet.
type Out = Vec<(PortId, Vec<u8>)>;

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let card = Card::new(Profile::Portable, &scenario::PORTS[..5], 0, seed, Faults::default());
        let config = Config {
            seed,
            offload: false,
            flows: random.pick(&[6, 4096]),
            revalidations: random.pick(&[1, 256]),
            fdb_entries: random.pick(&[5, 1000]),
            ..Config::default()
        };
        let policy = loop {
            let policy = scenario::policy(&mut random);
            if policy.bridges().next().is_some() {
                break policy;
            }
        };
        let mut world = World {
            random,
            worker: Worker::new(card.io(), config),
            card,
            policy: Policy::default(),
            now: Duration::from_secs(1),
            revision: 0,
            serial: 0,
            entered: 0,
            tunnelled: 0,
            followed: 0,
            keys: Vec::new(),
        };
        let devices: Vec<PortId> = policy.devices.iter().copied().collect();
        world.publish(&scenario::full(&policy, 1), &devices);
        world
    }

    fn publish(&mut self, delta: &Delta, devices: &[PortId]) {
        let (snapshot, mut touched) = self.worker.snapshot().apply(delta).expect("a sound delta");
        let (snapshot, more) = snapshot.with_devices(devices);
        touched.extend(more);
        self.policy.apply(delta);
        self.policy.devices = devices.iter().copied().collect();
        self.revision = delta.revision.0;
        self.worker.publish(snapshot, &touched, self.now);
        self.rest();
    }

    /// What the worker knows.
    fn memory(&self) -> Memory {
        let learned = self.worker.fdb(None, usize::MAX).into_iter().filter(|view| view.idle.is_some());
        let stations = learned.map(|view| ((view.bridge, view.mac), view.place)).collect();
        let mut next_hops = BTreeMap::new();
        for view in self.worker.neighbors(None, usize::MAX) {
            if let Network::Underlay(vtep) = view.network
                && view.state != NeighborState::Incomplete
            {
                next_hops.insert((vtep, view.address), view.mac);
            }
        }
        Memory { stations, next_hops }
    }

    fn rest(&mut self) {
        while self.worker.poll(self.now) != Polled::default() {}
        self.card.take_sent();
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..=76 => self.packet(),
            77..=84 => self.answer(),
            85..=89 => {
                let delta = scenario::delta(&mut self.random, &self.policy, self.revision + 1);
                let devices = if self.random.chance(20) {
                    scenario::devices(&mut self.random)
                } else {
                    self.policy.devices.iter().copied().collect()
                };
                self.publish(&delta, &devices);
            }
            90..=97 => {
                self.now += Duration::from_millis(1 << self.random.below(13));
                self.worker.tick(self.now);
                self.rest();
            }
            98 => drop(self.worker.flush_fdb(None, None)),
            _ => drop(self.worker.flush(None)),
        }
    }

    /// A next hop that was asked for says where it is: to the VTEP, or to everybody.
    fn answer(&mut self) {
        let hops = self.worker.neighbors(None, usize::MAX).into_iter();
        let hops: Vec<_> = hops.filter(|view| matches!(view.network, Network::Underlay(_))).collect();
        if hops.is_empty() {
            return;
        }
        let hop = self.random.pick(&hops);
        let Network::Underlay(id) = hop.network else { return };
        let vtep = self.policy.vteps().find(|vtep| vtep.id == id).expect("next hops go with their VTEP");
        let mac = self.random.pick(&[frames::mac(0xe1), frames::mac(0xe1), frames::mac(0xe2)]);
        let to_all = self.random.chance(40);
        let mut bytes = match (hop.address, vtep.address) {
            (IpAddr::V6(from), IpAddr::V6(own)) => {
                let flags = AdvertFlags { router: false, solicited: !to_all, replace: true };
                let told = Repr::NeighborAdvert { flags, target: from, link: Some(mac) };
                let all = (MacAddr([0x33, 0x33, 0, 0, 0, 1]), "ff02::1".parse().expect("an address"));
                discovery((mac, from), if to_all { all } else { (vtep.mac, own) }, &told)
            }
            (from, own) => {
                let (to, eth_dst) = if to_all { (from, MacAddr::BROADCAST) } else { (own, vtep.mac) };
                let (from, to) = (from.to_string(), to.to_string());
                frame::build(&frames::arp(2, (mac, &from), (vtep.mac, &to), eth_dst), 0)
            }
        };
        if let Some(vid) = vtep.vlan {
            let [high, low] = vid.to_be_bytes();
            bytes.splice(12..12, [0x81, 0, high, low]);
        }
        let uplink = vtep.uplink;
        let outcome = self.policy.translate(&frame::key(&bytes, uplink), &self.memory());
        self.entered += 1;
        self.card.miss(uplink, &bytes);
        self.rest();
        if outcome.inspect.iter().any(|(network, ..)| matches!(network, Network::Underlay(_))) {
            let now = self.worker.neighbors(None, usize::MAX);
            let now = now.iter().find(|view| (view.network, view.address) == (hop.network, hop.address));
            assert_eq!(now.map(|view| view.mac), Some(Some(mac)), "{hop:?}, to all: {to_all}");
            self.followed += u64::from(to_all && hop.mac.is_some_and(|old| old != mac));
        }
    }

    /// A packet for a station behind a tunnel, if one is known.
    fn towards_tunnel(&mut self) -> FlowKey {
        let stations = self.memory().stations.into_iter();
        let far: Vec<_> = stations.filter(|(_, place)| matches!(place, Place::Peer(_))).collect();
        if far.is_empty() {
            return scenario::packet_for(&mut self.random, &self.policy);
        }
        let ((bridge, to), _) = self.random.pick(&far);
        let (port, vid) = match self.policy.ports().find_map(|port| Some((port.id, vid(port, bridge)?))) {
            Some(attached) => attached,
            None => return scenario::packet_for(&mut self.random, &self.policy),
        };
        let from = frames::mac(self.random.below(3) as u8 + 1);
        frames::udp(from, to, vid).with(Field::InPort, port.bits().into())
    }

    fn packet(&mut self) {
        let mut key = match self.keys.len() {
            _ if self.random.chance(20) => self.towards_tunnel(),
            len if len > 0 && self.random.chance(50) => self.keys[self.random.below(len as u64) as usize],
            _ => scenario::packet_for(&mut self.random, &self.policy),
        };
        if !scenario::PORTS[..5].contains(&key.in_port()) {
            key.set(Field::InPort, u128::from(scenario::PORTS[0].bits()));
        }
        self.serial += 1;
        let bytes = frame::build(&key, self.serial);
        let key = frame::key(&bytes, key.in_port());
        self.keys.push(key);
        self.entered += 1;
        let (before, drops, counters) = (self.memory(), self.drops(), self.worker.counters());
        self.card.miss(key.in_port(), &bytes);
        self.worker.poll(self.now);
        let out: Out = self.card.take_sent().into_iter().map(|sent| (sent.port, sent.bytes)).collect();
        let (after, dropped) = (self.memory(), difference(&self.drops(), &drops));
        let first = self.policy.translate(&key, &before);
        let mut known = before.clone();
        if let Some((bridge, mac, place)) = first.learn
            && self.worker.counters().fdb_refused == counters.fdb_refused
        {
            known.stations.insert((bridge, mac), place);
        }
        assert_eq!(after.stations, known.stations, "{key:?} teaches {:?}", first.learn);
        let outcome = self.policy.translate(&key, &known);
        if !outcome.inspect.is_empty() {
            // Whoever looks into packets says what becomes of them: there are tests of that.
            return;
        }
        match &outcome.fate {
            Fate::Forward(actions) => {
                let encap = actions.iter().any(|action| matches!(action, Action::EncapVxlan(_)));
                self.tunnelled += u64::from(encap);
                self.check_forwarded(&key, &bytes, actions, &known, &out, &dropped);
            }
            Fate::Drop(reason) => {
                assert_eq!((&dropped, &out), (&BTreeMap::from([(*reason, 1)]), &Vec::new()), "{key:?}");
            }
            Fate::Wait => {
                let waits = self.worker.counters().waiting - counters.waiting;
                let full = dropped.get(&DropReason::NeighborQueueFull).copied().unwrap_or(0);
                assert_eq!((waits + full, dropped.len() as u64), (1, full), "{key:?}");
                assert!(out.iter().all(|(port, bytes)| frame::key(bytes, *port).get(Field::Tunnel) == 0));
            }
            Fate::Local => panic!("{key:?} is nobody's to look into"),
        }
        self.check_cached(&key, &outcome.fate, outcome.learn.is_some() || outcome.resolve.is_some());
    }

    fn check_forwarded(
        &self,
        key: &FlowKey,
        bytes: &[u8],
        actions: &[Action],
        known: &Memory,
        out: &Out,
        dropped: &BTreeMap<DropReason, u64>,
    ) {
        let (mut expected, mut tunnelled, mut flooded) = (Vec::new(), 0, false);
        execute(actions, &mut Frame::new(bytes), |to, packet: &Frame| match to {
            Destination::Port(port) => expected.push((port, packet.data().to_vec())),
            Destination::Flood(flood) => {
                flooded = true;
                expected.extend(self.copies(key.in_port(), flood, packet));
                tunnelled += self.reachable(key.in_port(), flood, known);
            }
        })
        .expect("headroom");
        let mut left: Out = out.clone();
        for copy in &expected {
            let at = left.iter().position(|other| other == copy);
            left.remove(at.unwrap_or_else(|| panic!("{key:?}: {copy:02x?} is not among {out:02x?}")));
        }
        if !flooded {
            assert_eq!((left, dropped.len()), (Vec::new(), 0), "{key:?}");
            return;
        }
        // What is left are copies in tunnels, and questions for peers.
        let in_tunnel = |(port, bytes): &&(PortId, Vec<u8>)| frame::key(bytes, *port).get(Field::Tunnel) == 1;
        assert_eq!(left.iter().filter(in_tunnel).count(), tunnelled, "{key:?}");
        let none = expected.is_empty() && out.is_empty() && dropped.is_empty();
        assert!(!none || self.worker.counters().waiting > 0, "a flood of {key:?} came to nothing");
    }

    fn reaches(&self, ingress: PortId, port: PortId) -> bool {
        let open = self.policy.ports().any(|other| other.id == port && other.enabled);
        port != ingress && open && self.policy.devices.contains(&port)
    }

    /// The copies of a flood for ports, from the meaning of the policy.
    fn copies(&self, ingress: PortId, flood: Flood, packet: &Frame) -> Out {
        let bridge = BridgeId(flood.list);
        let members = self.policy.ports().filter(|port| self.reaches(ingress, port.id));
        let members = members.filter_map(|port| vid(port, bridge).map(|vid| (port.id, vid)));
        // A tag that is left leaves by no port as its only one.
        let tagged =
            packet.data().get(12..14) == Some(&[0x81, 0]) || packet.data().get(12..14) == Some(&[0x88, 0xa8]);
        let members = members.filter(|(_, vid)| vid.is_some() || !tagged);
        let copy = |(port, vid): (PortId, Option<u16>)| {
            let mut bytes = packet.data().to_vec();
            if let Some(vid) = vid {
                let [high, low] = vid.to_be_bytes();
                bytes.splice(12..12, [0x81, 0, high, low]);
            }
            (port, bytes)
        };
        members.map(copy).collect()
    }

    /// How many peers of a flood can be reached now.
    fn reachable(&self, ingress: PortId, flood: Flood, known: &Memory) -> usize {
        let bridge = BridgeId(flood.list);
        let overlay =
            self.policy.bridges().find(|other| other.id == bridge).and_then(|bridge| bridge.overlay);
        let vtep = overlay.and_then(|overlay| self.policy.vteps().find(|vtep| vtep.id == overlay.vtep));
        let Some(vtep) = vtep.filter(|vtep| !flood.from_tunnel && self.reaches(ingress, vtep.uplink)) else {
            return 0;
        };
        let peers = self.policy.peers().filter(|peer| peer.vtep == vtep.id && peer.bridges.contains(&bridge));
        let hops = peers.filter_map(|peer| next_hop(vtep, peer.address));
        hops.filter(|&hop| matches!(known.next_hops.get(&(vtep.id, hop)), Some(Some(_)))).count()
    }

    /// A flow is cached only if nothing beside forwarding is to be done, and says what the oracle says.
    fn check_cached(&self, key: &FlowKey, fate: &Fate, effects: bool) {
        let Some(flow) = self.worker.lookup(key) else { return };
        assert!(!effects, "{key:?} is cached");
        assert!(matches!(flow.offload, Offload::Software(_)));
        match fate {
            Fate::Forward(actions) => assert_eq!(flow.actions.as_slice(), actions),
            Fate::Drop(reason) => assert_eq!(flow.dropped, Some(*reason)),
            Fate::Local | Fate::Wait => panic!("{key:?} is cached"),
        }
    }

    fn drops(&self) -> BTreeMap<DropReason, u64> {
        let stats = self.worker.stats();
        let count = |reason: DropReason| stats.ports.iter().map(|port| port.drops[reason.index()]).sum();
        DropReason::ALL.iter().map(|&reason| (reason, count(reason))).collect()
    }

    /// The exact sum, and every flow as policy and learned state have it now.
    fn end(&mut self) {
        self.rest();
        for flow in self.worker.flows() {
            let now = self.worker.trace(flow.matches.key());
            assert_eq!((&flow.actions, flow.dropped), (&now.actions, now.dropped()));
        }
        let (stats, counters) = (self.worker.stats(), self.worker.counters());
        let sent: u64 = stats.ports.iter().map(|port| port.sent.packets).sum();
        let drops: u64 = self.drops().values().sum();
        assert_eq!(
            self.entered + counters.copies + counters.originated,
            sent + drops + counters.taken + counters.waiting
        );
    }
}

/// The VLAN that a port has in a bridge, if it is attached: untagged before the lowest.
fn vid(port: &Port, bridge: BridgeId) -> Option<Option<u16>> {
    let access = (port.bridges.access == Some(bridge)).then_some(None);
    let vids = port.bridges.trunk.iter().filter(|trunk| trunk.bridge == bridge);
    access.or_else(|| vids.map(|trunk| trunk.vid).min().map(Some))
}

fn difference(
    now: &BTreeMap<DropReason, u64>,
    before: &BTreeMap<DropReason, u64>,
) -> BTreeMap<DropReason, u64> {
    let more = now.iter().map(|(reason, packets)| (*reason, packets - before[reason]));
    more.filter(|&(_, packets)| packets > 0).collect()
}

#[test]
fn packet_by_packet_a_bridge_learns_and_forwards_as_the_oracle_says() {
    let worlds = std::env::var("NIC_AGENT_WORLDS").map_or(WORLDS, |text| text.parse().expect("a number"));
    let first = std::env::var("NIC_AGENT_SEED").map_or(0, |text| text.parse().expect("a number"));
    let (mut learned, mut flooded, mut tunnelled, mut followed, mut packets) = (0, 0, 0, 0, 0);
    for seed in (0..worlds).map(|n| n + first) {
        println!("seed {seed}");
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.end();
        let stats = world.worker.stats();
        learned += stats.fdb_learned + stats.fdb_moved;
        flooded += stats.flooded;
        tunnelled += world.tunnelled;
        followed += world.followed;
        packets += world.entered;
    }
    let enough = learned * 20 > packets && flooded * 20 > packets && tunnelled > 20 && followed > 20;
    assert!(worlds < WORLDS || enough, "{learned} {flooded} {tunnelled} {followed} {packets}");
}
