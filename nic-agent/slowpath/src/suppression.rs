//! Suppression: questions for the addresses of a bridge's stations, answered where the answer is known.
//!
//! What is known comes from the configuration, or from what the stations say themselves: ARP with the
//! sender's own source address, and of neighbour discovery only advertisements, for a solicitation does
//! not tell whether its sender is a router (RFC 4861 section 7.2.5 says what a wrong answer does). A
//! question is answered only while the bridge knows where the station is; else it is flooded like any.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeSet, HashMap};

use nic_flow::MacAddr;
use nic_flow::extract::tunnelled;
use nic_flow::seam::{ChecksumState, PacketBuf, PacketIo};
use nic_pipeline::{Inspection, Snapshot, Touched};
use nic_policy::{BridgeId, NeighborState, NeighborView, Network, Place};
use nic_table::hash::Seed;
use rustc_hash::FxHashMap;

use crate::config::{Config, nanos};
use crate::discovery::{self, Answer, Heard, Message};
use crate::underlay::ToPeer;
use crate::worker::Worker;

/// Stations looked at in one call, at most.
const LOOKED_AT_ONCE: usize = 1024;

type Key = (BridgeId, IpAddr);

/// The IP addresses of stations, by bridge.
#[derive(Debug)]
pub(crate) struct Stations {
    per_bridge: u32,
    lifetime: u64,
    entries: HashMap<Key, Station, Seed>,
    by_age: BTreeSet<(u64, Key)>,
    of_bridge: FxHashMap<BridgeId, u32>,
}

#[derive(Debug, Clone, Copy)]
struct Station {
    mac: MacAddr,
    router: bool,
    seen: u64,
}

impl Stations {
    pub(crate) fn new(config: &Config) -> Stations {
        Stations {
            per_bridge: config.stations_per_bridge,
            lifetime: nanos(config.station_lifetime),
            entries: HashMap::with_hasher(Seed::new(config.seed)),
            by_age: BTreeSet::new(),
            of_bridge: FxHashMap::default(),
        }
    }

    /// A station says where its address is. Nothing happens if the bridge has as many as it may have.
    fn tell(&mut self, key: Key, mac: MacAddr, router: bool, now: u64) {
        if let Some(known) = self.entries.get_mut(&key) {
            self.by_age.remove(&(known.seen, key));
            *known = Station { mac, router, seen: now };
        } else {
            let count = self.of_bridge.entry(key.0).or_default();
            if *count >= self.per_bridge {
                return;
            }
            *count += 1;
            self.entries.insert(key, Station { mac, router, seen: now });
        }
        self.by_age.insert((now, key));
    }

    /// Forgets addresses that nobody told for long, as many as a short call may.
    pub(crate) fn expire(&mut self, now: u64) {
        for _ in 0..LOOKED_AT_ONCE {
            match self.by_age.first() {
                Some(&(seen, key)) if seen.saturating_add(self.lifetime) <= now => self.forget(key),
                _ => return,
            }
        }
    }

    /// Forgets the stations of bridges that want none known any more.
    pub(crate) fn purge(&mut self, snapshot: &Snapshot, touched: &[Touched]) {
        for touched in touched {
            let Touched::Bridge(id) = *touched else { continue };
            if snapshot.bridge(id).is_some_and(|bridge| bridge.suppression)
                || !self.of_bridge.contains_key(&id)
            {
                continue;
            }
            let gone: Vec<Key> = self.entries.keys().copied().filter(|key| key.0 == id).collect();
            gone.into_iter().for_each(|key| self.forget(key));
        }
    }

    fn forget(&mut self, key: Key) {
        let Some(station) = self.entries.remove(&key) else { return };
        self.by_age.remove(&(station.seen, key));
        if let Some(count) = self.of_bridge.get_mut(&key.0) {
            *count -= 1;
            if *count == 0 {
                self.of_bridge.remove(&key.0);
            }
        }
    }

    /// What is known, in no particular order.
    pub(crate) fn views(&self, now: u64) -> impl Iterator<Item = NeighborView> + '_ {
        self.entries.iter().map(move |(&(bridge, address), station)| NeighborView {
            network: Network::Bridge(bridge),
            address,
            mac: Some(station.mac),
            state: NeighborState::Reachable,
            age: Duration::from_nanos(now.saturating_sub(station.seen)),
        })
    }
}

impl<Io: PacketIo> Worker<Io> {
    /// Looks into a frame of a bridge. True if it was a question that is answered now: it goes no
    /// further.
    pub(crate) fn suppress(
        &mut self,
        bridge: BridgeId,
        inspection: &Inspection,
        from: u16,
        packet: &Io::Buf,
        now: u64,
    ) -> bool {
        let (frame, checksum) = if inspection.tunnelled {
            (tunnelled(packet.data()), ChecksumState::Complete)
        } else {
            (Some(packet.data()), packet.checksum())
        };
        let Some(heard) = frame.and_then(|frame| discovery::parse(frame, checksum)) else { return false };
        self.learn_station(bridge, &heard, now);
        let Message::Request { sender, mac, target } = heard.message else { return false };
        // One that asks a station by name wants to know whether that is still there.
        if !heard.eth_dst.is_multicast() {
            return false;
        }
        let Some(known) = self.station(bridge, target, inspection.place, heard.eth_src) else { return false };
        let frame = discovery::answer(heard.tags, &known, mac.unwrap_or(heard.eth_src), sender);
        let answered = frame.is_some_and(|frame| self.answer(bridge, inspection.place, from, &frame, now));
        self.megaflows.counters.answered += u64::from(answered);
        answered
    }

    fn learn_station(&mut self, bridge: BridgeId, heard: &Heard<'_>, now: u64) {
        let (address, mac, router) = match heard.message {
            Message::Request { sender: Some(address @ IpAddr::V4(_)), mac: Some(mac), .. } => {
                (address, mac, false)
            }
            Message::Answer(Answer { address, mac: Some(mac), router, .. }) => (address, mac, router),
            Message::Request { .. } | Message::Answer(_) => return,
        };
        let fixed = self.megaflows.snapshot.static_address(bridge, address).is_some();
        // Nobody tells where another is.
        if mac == heard.eth_src && !fixed && !address.is_unspecified() && !address.is_multicast() {
            self.stations.tell((bridge, address), mac, router, now);
        }
    }

    /// What to answer to one at `asker`, if it is known.
    fn station(&self, bridge: BridgeId, address: IpAddr, asker: Place, asking: MacAddr) -> Option<Answer> {
        let snapshot = &self.megaflows.snapshot;
        let fixed = snapshot.static_address(bridge, address).map(|mac| (mac, false));
        let told = || self.stations.entries.get(&(bridge, address)).map(|known| (known.mac, known.router));
        let (mac, router) = fixed.or_else(told)?;
        let place = match snapshot.fdb_entry(bridge, mac) {
            Some(entry) => entry.place,
            None => self.megaflows.state.fdb.get(bridge, mac)?.place,
        };
        // A question out of a tunnel is answered by the one card that has the station, or by all.
        let ours = !matches!((asker, place), (Place::Peer(_), Place::Peer(_)));
        // A station that asks whether somebody else has its address must not hear of itself.
        let answer = Answer { address, mac: Some(mac), solicited: true, replace: false, router };
        (ours && mac != asking && place != asker).then_some(answer)
    }

    /// Sends an answer back to where the question came from. True if it counts as sent.
    fn answer(&mut self, bridge: BridgeId, to: Place, from: u16, frame: &[u8], now: u64) -> bool {
        match to {
            Place::Port(port) => self.originate(port, frame),
            Place::Peer(address) => {
                let Some(packet) = self.io.allocate(frame) else { return false };
                self.megaflows.counters.originated += 1;
                self.send_to_peer(from, ToPeer { bridge, address, own: true }, packet, now);
                true
            }
        }
    }
}
