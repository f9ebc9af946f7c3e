//! Several cards joined by an underlay, with stations that send and move between them.
//!
//! The underlay is one Ethernet switch that learns. What leaves a card towards a station is looked at
//! as it leaves: it must be of the station's own network, and no frame may come to one place twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use nic_flow::{MacAddr, PortId};
use nic_policy::{Bridge, BridgeId, Change, Object, TunnelPeer, Vtep};
use nic_slowpath::Config;
use sim::card::Faults;
use sim::frame;
use sim::random::Random;

use super::frames::*;
use super::node::Node;

const GREEN: BridgeId = BridgeId(2);
/// A bridge of each card for itself.
const BLUE: BridgeId = BridgeId(3);
const VIDS: [(u16, BridgeId); 3] = [(10, RED), (20, GREEN), (30, BLUE)];

/// Where a station can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    card: usize,
    port: PortId,
    bridge: BridgeId,
}

#[derive(Debug, Clone, Copy)]
struct Station {
    mac: MacAddr,
    spot: Spot,
}

/// A frame that a station sent.
#[derive(Debug, Clone, Copy)]
struct Message {
    from: Spot,
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) nodes: Vec<Node>,
    vteps: Vec<Vtep>,
    stations: Vec<Station>,
    /// Where the underlay's switch has seen an address.
    fabric: BTreeMap<MacAddr, usize>,
    /// Frames on their way through the underlay, by the card they go to.
    in_flight: VecDeque<(usize, Vec<u8>)>,
    up: Vec<bool>,
    /// Frames that the underlay loses, in percent.
    loss: u64,
    messages: BTreeMap<u64, Message>,
    arrived: BTreeSet<(u64, Spot)>,
    serial: u64,
}

impl Spot {
    /// Stations of one network reach each other; a bridge without tunnels is another one on each card.
    const fn network(self) -> (BridgeId, Option<usize>) {
        (self.bridge, if self.bridge.0 == BLUE.0 { Some(self.card) } else { None })
    }

    fn vid(self) -> Option<u16> {
        let of_trunk = |&&(_, bridge): &&(u16, BridgeId)| self.port == VF3 && bridge == self.bridge;
        VIDS.iter().find(of_trunk).map(|&(vid, _)| vid)
    }
}

/// Every place for a station on a card.
fn spots(card: usize) -> impl Iterator<Item = Spot> {
    let access = [(VF0, RED), (VF1, GREEN), (VF2, RED)];
    let trunk = VIDS.map(|(_, bridge)| (VF3, bridge));
    access.into_iter().chain(trunk).map(move |(port, bridge)| Spot { card, port, bridge })
}

fn address(ipv6: bool, card: usize) -> IpAddr {
    let n = card as u16 + 1;
    if ipv6 { Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n).into() } else { [192, 0, 2, n as u8].into() }
}

fn policy(random: &mut Random, vtep: &Vtep, peers: &[IpAddr]) -> Vec<Change> {
    let ageing_time = random.pick(&[20, 300]);
    let suppression = random.chance(50);
    let with = |bridge: Bridge| put(Object::Bridge(Bridge { ageing_time, suppression, ..bridge }));
    let mut changes = vec![
        put(Object::Vtep(vtep.clone())),
        with(overlay(RED, 100)),
        with(overlay(GREEN, 200)),
        with(bridge(BLUE)),
        port(plain(UPLINK)),
        port(access(VF0, RED)),
        port(access(VF1, GREEN)),
        port(access(VF2, RED)),
        port(trunk(VF3, &VIDS)),
    ];
    let peer = |&address: &IpAddr| put(Object::TunnelPeer(TunnelPeer { ..peer(address, &[RED, GREEN]) }));
    changes.extend(peers.iter().map(peer));
    changes
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let cards = random.pick(&[2, 3, 3, 4]);
        let (ipv6, vlan) = (random.chance(50), random.pick(&[None, None, Some(99)]));
        let vteps: Vec<Vtep> = (0..cards)
            .map(|card| Vtep {
                vlan,
                mac: MacAddr([2, 0x4e, 0, 0, 0, card as u8]),
                address: address(ipv6, card),
                prefix_length: if ipv6 { 64 } else { 24 },
                ..vtep()
            })
            .collect();
        let mut nodes = Vec::new();
        for (own, vtep) in vteps.iter().enumerate() {
            let peers: Vec<IpAddr> =
                (0..cards).filter(|&card| card != own).map(|card| address(ipv6, card)).collect();
            let config = Config {
                flows: random.pick(&[16, 4096]),
                rules: random.pick(&[20, 4096]),
                revalidations: random.pick(&[1, 256]),
                lost_rule_hits: 2,
                ..Config::default()
            };
            let changes = policy(&mut random, vtep, &peers);
            nodes.push(Node::new(&PORTS, config, random.bits(), changes));
        }
        let mut stations = Vec::new();
        let all: Vec<Spot> = (0..cards).flat_map(spots).collect();
        for n in 0..10 {
            // The same addresses in every network: none must be mistaken for another's.
            let spot = random.pick(&all);
            let taken = |other: &Station| other.mac == mac(n % 4) && other.spot.network() == spot.network();
            if !stations.iter().any(taken) {
                stations.push(Station { mac: mac(n % 4), spot });
            }
        }
        World {
            up: vec![true; cards],
            random,
            nodes,
            vteps,
            stations,
            fabric: BTreeMap::new(),
            in_flight: VecDeque::new(),
            loss: 0,
            messages: BTreeMap::new(),
            arrived: BTreeSet::new(),
            serial: 0,
        }
    }

    /// Something happens.
    pub(crate) fn step(&mut self) {
        let card = self.random.below(self.nodes.len() as u64) as usize;
        match self.random.below(100) {
            0..=39 => {
                let station = self.random.below(self.stations.len() as u64) as usize;
                let to = mac(self.random.below(5) as u8);
                let to = if self.random.chance(15) { MacAddr::BROADCAST } else { to };
                self.send(station, to);
            }
            40..=59 => self.serve(card),
            60..=74 => self.carry(8),
            75..=84 => {
                self.nodes[card].settle();
                self.nodes[card].check();
            }
            85..=90 => {
                let time = Duration::from_millis(1 << self.random.below(11));
                self.pass(time);
            }
            91..=94 => drop(self.move_one()),
            95 => self.up[card] = self.random.chance(60),
            96 => self.loss = self.random.pick(&[0, 0, 30]),
            97 => {
                let faults =
                    Faults { busy: 30, lost: 5, undestroyed: 20, unread: 10, stale: 50, ..Faults::default() };
                let faults = if self.random.chance(50) { faults } else { Faults::default() };
                self.nodes[card].card.set_faults(faults);
            }
            98 if self.random.chance(30) => self.nodes[card].card.lose_rules(),
            99 if self.random.chance(30) => self.readdress(card),
            _ => {}
        }
    }

    /// A station sends a frame.
    fn send(&mut self, station: usize, to: MacAddr) -> u64 {
        self.serial += 1;
        let Station { mac: from, spot } = self.stations[station];
        self.messages.insert(self.serial, Message { from: spot });
        let bytes = frame::build(&udp(from, to, spot.vid()), self.serial);
        self.nodes[spot.card].enter(spot.port, &bytes);
        self.collect(spot.card);
        self.serial
    }

    /// A station moves within its network, if that has another place. Returns which one.
    fn move_one(&mut self) -> Option<usize> {
        let station = self.random.below(self.stations.len() as u64) as usize;
        let Station { mac, spot } = self.stations[station];
        let network: Vec<Spot> = (0..self.nodes.len())
            .flat_map(spots)
            .filter(|other| other.network() == spot.network() && *other != spot)
            .collect();
        if network.is_empty() {
            return None;
        }
        self.stations[station] = Station { mac, spot: self.random.pick(&network) };
        Some(station)
    }

    /// The VTEP of a card gets another MAC address.
    fn readdress(&mut self, card: usize) {
        self.vteps[card].mac.0[3] = self.vteps[card].mac.0[3].wrapping_add(1);
        let changed = put(Object::Vtep(self.vteps[card].clone()));
        self.nodes[card].change(vec![changed]);
        self.collect(card);
    }

    fn serve(&mut self, card: usize) {
        self.nodes[card].serve();
        self.collect(card);
    }

    fn pass(&mut self, time: Duration) {
        for card in 0..self.nodes.len() {
            self.nodes[card].pass(time);
            self.collect(card);
        }
    }

    /// Takes what left a card: into the underlay, or to its stations.
    fn collect(&mut self, card: usize) {
        for sent in self.nodes[card].sent() {
            if sent.port == UPLINK {
                self.switch(card, sent.bytes);
            } else {
                self.arrive(card, sent.port, &sent.bytes);
            }
        }
    }

    fn switch(&mut self, from: usize, bytes: Vec<u8>) {
        if !self.up[from] || self.random.chance(self.loss) {
            return;
        }
        let key = frame::key(&bytes, UPLINK);
        let (to, source) = (key.mac(nic_flow::Field::EthDst), key.mac(nic_flow::Field::EthSrc));
        self.fabric.insert(source, from);
        let known = self.fabric.get(&to).copied().filter(|_| to.is_unicast());
        for card in (0..self.nodes.len()).filter(|&card| card != from) {
            if known.is_none_or(|known| known == card) {
                self.in_flight.push_back((card, bytes.clone()));
            }
        }
    }

    /// The underlay delivers some frames.
    fn carry(&mut self, frames: usize) {
        for _ in 0..frames {
            let Some((card, bytes)) = self.in_flight.pop_front() else { return };
            if self.up[card] {
                self.nodes[card].enter(UPLINK, &bytes);
                self.collect(card);
            }
        }
    }

    /// A frame comes to a place where stations are.
    fn arrive(&mut self, card: usize, port: PortId, bytes: &[u8]) {
        let key = frame::key(bytes, port);
        let vid =
            (key.get(nic_flow::Field::VlanCount) == 1).then(|| key.get(nic_flow::Field::VlanTci) as u16);
        let spot = spots(card).find(|spot| spot.port == port && spot.vid() == vid);
        let spot = spot.unwrap_or_else(|| panic!("{key:?} comes to no network of {port}"));
        let serial = frame::serial(bytes).expect("frames carry a serial number");
        let message = self.messages[&serial];
        assert_eq!(spot.network(), message.from.network(), "frame {serial} is in another network");
        assert_ne!(spot, message.from, "frame {serial} came back");
        assert!(self.arrived.insert((serial, spot)), "frame {serial} came to {spot:?} twice");
    }

    fn arrivals(&self, serial: u64) -> Vec<Spot> {
        self.arrived.iter().filter(|(other, _)| *other == serial).map(|&(_, spot)| spot).collect()
    }

    /// All links and cards are well, and nothing is on its way any more.
    pub(crate) fn quiesce(&mut self) {
        self.loss = 0;
        self.up.fill(true);
        for node in &self.nodes {
            node.card.set_faults(Faults::default());
        }
        // As long as a next hop that moved may be believed in, and one that failed is not asked for.
        for _ in 0..42 {
            self.rest();
            self.pass(Duration::from_secs(1));
        }
        self.rest();
    }

    /// Until nothing is on its way.
    fn rest(&mut self) {
        for _ in 0..200 {
            for card in 0..self.nodes.len() {
                self.serve(card);
                self.nodes[card].settle();
            }
            if self.in_flight.is_empty() {
                return;
            }
            self.carry(usize::MAX);
        }
        panic!("the underlay does not come to rest");
    }

    /// Every station said once where it is: from now on every frame goes where it should, and there
    /// only.
    pub(crate) fn check(&mut self) {
        for station in 0..self.stations.len() {
            self.send(station, MacAddr::BROADCAST);
            self.rest();
        }
        for _ in 0..3 {
            self.check_all();
        }
    }

    /// While all flows are in the cards, a station moves, and one frame of it is enough to be followed.
    pub(crate) fn check_move(&mut self) {
        if let Some(station) = self.move_one() {
            self.send(station, MacAddr::BROADCAST);
            self.rest();
            self.check_all();
        }
    }

    /// While all flows are in the cards, a VTEP gets another MAC address, announces it, and is followed at
    /// once.
    pub(crate) fn check_readdressed(&mut self) {
        let card = self.random.below(self.nodes.len() as u64) as usize;
        self.readdress(card);
        self.rest();
        self.check_all();
    }

    /// The same, and nobody hears the announcements: before a next hop's time is over it is found again.
    pub(crate) fn check_readdressed_unheard(&mut self) {
        let card = self.random.below(self.nodes.len() as u64) as usize;
        self.readdress(card);
        self.in_flight.clear();
        for _ in 0..35 {
            for from in 0..self.stations.len() {
                let to = self.random.below(self.stations.len() as u64) as usize;
                self.send(from, self.stations[to].mac);
            }
            self.rest();
            self.pass(Duration::from_secs(1));
        }
        // A card that a station happened to send nothing to for so long has forgotten it.
        for from in 0..self.stations.len() {
            self.send(from, MacAddr::BROADCAST);
        }
        self.rest();
        self.check_all();
    }

    fn check_all(&mut self) {
        self.nodes.iter().for_each(Node::check_at_rest);
        for from in 0..self.stations.len() {
            for to in 0..self.stations.len() {
                self.check_unicast(from, to);
            }
            self.check_broadcast(from);
        }
    }

    fn check_unicast(&mut self, from: usize, to: usize) {
        let (source, target) = (self.stations[from], self.stations[to]);
        if from == to || source.spot.network() != target.spot.network() {
            return;
        }
        let serial = self.send(from, target.mac);
        self.rest();
        let expected: Vec<Spot> = if source.spot == target.spot { Vec::new() } else { vec![target.spot] };
        assert_eq!(self.arrivals(serial), expected, "from {source:?} to {target:?}");
    }

    fn check_broadcast(&mut self, from: usize) {
        let source = self.stations[from].spot;
        let serial = self.send(from, MacAddr::BROADCAST);
        self.rest();
        let all = (0..self.nodes.len()).flat_map(spots);
        let mut expected: Vec<Spot> =
            all.filter(|spot| spot.network() == source.network() && *spot != source).collect();
        expected.sort_unstable();
        assert_eq!(self.arrivals(serial), expected);
    }

    /// Holds every card's counters against what entered and left it.
    pub(crate) fn end(&mut self) {
        self.rest();
        self.nodes.iter_mut().for_each(Node::end);
    }
}
