//! The agent's own part in the underlay: what it answers, asks and announces for its VTEPs.

use core::net::IpAddr;
use std::collections::VecDeque;

use nic_flow::PortId;
use nic_flow::seam::{PacketBuf, PacketIo};
use nic_pipeline::Touched;
use nic_policy::{BridgeId, DropReason, Vtep, VtepId};
use rustc_hash::FxHashMap;

use crate::config::{Config, nanos};
use crate::discovery::{self, Answer, Message};
use crate::neighbors::{Event, Hop, Neighbors};
use crate::worker::Worker;

/// What a worker knows of the networks of its VTEPs.
#[derive(Debug)]
pub(crate) struct Underlay<B> {
    pub(crate) neighbors: Neighbors<Waiting<B>>,
    /// What is to be done since the last look.
    events: Vec<Event<Waiting<B>>>,
    /// Packets that waited and can go on.
    released: VecDeque<Waiting<B>>,
    vteps: FxHashMap<VtepId, Adopted>,
}

/// A packet that waits for a next hop.
#[derive(Debug)]
pub(crate) struct Waiting<B> {
    /// Index of the port by which it entered.
    pub(crate) from: u16,
    pub(crate) packet: B,
    pub(crate) towards: Towards,
}

/// What the packet waits to do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Towards {
    /// It is as it came, and is translated again.
    Pipeline,
    /// It is a frame of a bridge for one tunnel peer.
    Peer(ToPeer),
}

/// A tunnel peer that is to get a frame of a bridge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ToPeer {
    pub(crate) bridge: BridgeId,
    pub(crate) address: IpAddr,
    /// The agent's own frames may leave by the port by which they were asked for.
    pub(crate) own: bool,
}

/// A VTEP as it was last announced.
#[derive(Debug)]
struct Adopted {
    vtep: Vtep,
    /// Whether its uplink could send.
    up: bool,
    announcements: u32,
    /// When the next one is due. Nanoseconds.
    due: u64,
}

impl<B> Underlay<B> {
    pub(crate) fn new(config: &Config) -> Underlay<B> {
        Underlay {
            neighbors: Neighbors::new(config),
            events: Vec::new(),
            released: VecDeque::new(),
            vteps: FxHashMap::default(),
        }
    }

    /// A packet is to go there.
    pub(crate) fn want(&mut self, hop: Hop, now: u64) {
        self.neighbors.want(hop, now, &mut self.events);
    }

    /// The packet waits for the next hop, and perhaps another no longer.
    ///
    /// # Errors
    /// The packet comes back if there is no place for it.
    pub(crate) fn wait(&mut self, hop: Hop, waiting: Waiting<B>) -> Result<(), Waiting<B>> {
        self.neighbors.wait(hop, waiting.from, waiting, &mut self.events)
    }

    /// Packets that wait, for an answer or for their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.neighbors.waiting() + self.released.len()
    }
}

impl<Io: PacketIo> Worker<Io> {
    /// ARP or neighbour discovery in the network of a VTEP. `own` says that it is for the VTEP itself.
    pub(crate) fn hear(&mut self, id: VtepId, own: bool, packet: &Io::Buf, now: u64) {
        let Some(vtep) = self.megaflows.snapshot.vtep(id) else { return };
        let Some(heard) = discovery::parse(packet.data(), packet.checksum()) else { return };
        let to_group = heard.eth_dst.is_multicast();
        // What is told to a group is told to every VTEP of that network.
        let alike = |other: &&Vtep| other.id == id || (to_group && other.vlan == vtep.vlan);
        let vteps = || self.megaflows.snapshot.vteps_on(vtep.uplink).filter(alike);
        let claim = match heard.message {
            Message::Answer(answer) => Some(answer),
            // Who asks tells where it is; that is news of a next hop that is known, no more.
            Message::Request { sender: Some(address), mac: mac @ Some(_), .. } => {
                Some(Answer { address, mac, solicited: false, replace: true, router: false })
            }
            Message::Request { .. } => None,
        };
        if let Some(claim) = claim {
            // Nobody else has a VTEP's MAC address: what is sent there would come back.
            for other in vteps().filter(|vtep| claim.mac != Some(vtep.mac)) {
                // An answer to somebody else does not tell that the way there and back is open.
                let solicited = claim.solicited && own && other.id == id;
                let claim = Answer { solicited, ..claim };
                self.underlay.neighbors.heard(other.id, &claim, now, &mut self.underlay.events);
            }
        }
        let Message::Request { sender, mac, target } = heard.message else { return };
        let asked = vteps().find(|vtep| vtep.address == target).map(|vtep| (vtep.mac, vtep.uplink));
        let Some((told, uplink)) = asked.filter(|_| sender != Some(target)) else { return };
        let answer =
            Answer { address: target, mac: Some(told), solicited: true, replace: true, router: false };
        if let Some(frame) = discovery::answer(heard.tags, &answer, mac.unwrap_or(heard.eth_src), sender) {
            self.megaflows.counters.answered += u64::from(self.originate(uplink, &frame));
        }
    }

    /// Does what the next hops want done, and lets go what waited for them.
    pub(crate) fn settle_underlay(&mut self, now: u64) {
        loop {
            for event in core::mem::take(&mut self.underlay.events) {
                self.settle_event(event);
            }
            let Some(Waiting { from, packet, towards }) = self.underlay.released.pop_front() else { return };
            match towards {
                Towards::Pipeline => self.resume(from, packet, now),
                Towards::Peer(to) => self.send_to_peer(from, to, packet, now),
            }
            self.transmit.flush(&mut self.io, &mut self.megaflows.ports, from);
        }
    }

    fn settle_event(&mut self, event: Event<Waiting<Io::Buf>>) {
        match event {
            Event::Changed((vtep, address), neighbor) => {
                if let Some(touched) = self.megaflows.state.neighbors.set(vtep, address, neighbor) {
                    self.megaflows.touch(&[touched]);
                }
            }
            Event::Released(waiting) => self.underlay.released.push_back(waiting),
            Event::GivenUp(waiting) => {
                self.megaflows.ports.dropped(waiting.from, DropReason::NeighborUnresolved, 1);
            }
            Event::Displaced(waiting) => {
                self.megaflows.ports.dropped(waiting.from, DropReason::NeighborQueueFull, 1);
            }
            Event::Ask { hop: (id, address), to } => {
                let Some(vtep) = self.megaflows.snapshot.vtep(id) else { return };
                let tags = discovery::tag(vtep.vlan);
                let uplink = vtep.uplink;
                if let Some(frame) = discovery::request(&tags, vtep.mac, vtep.address, address, to) {
                    self.megaflows.counters.solicited += u64::from(self.originate(uplink, &frame));
                }
            }
        }
    }

    /// Asks again, gives up, announces: what is due.
    pub(crate) fn tick_underlay(&mut self, now: u64) {
        let dependents = &self.megaflows.dependents;
        let depended = |(vtep, address)| dependents.any(&Touched::Neighbor(vtep, address));
        self.underlay.neighbors.tick(now, depended, &mut self.underlay.events);
        self.announce(now);
        self.settle_underlay(now);
    }

    /// Takes in the VTEPs of the snapshot: forgets the next hops of those that are gone or others now,
    /// and announces those that are new.
    pub(crate) fn adopt_vteps(&mut self, touched: &[Touched], now: u64) {
        let concerns = |touched: &Touched| {
            matches!(touched, Touched::Vtep(_) | Touched::Vteps(_) | Touched::Port(_) | Touched::Device(_))
        };
        if !touched.iter().any(concerns) {
            return;
        }
        let mut vteps: FxHashMap<VtepId, Adopted> = FxHashMap::default();
        for vtep in self.megaflows.snapshot.vteps() {
            let up = self.may_send(vtep.uplink);
            let fresh = Adopted {
                vtep: vtep.clone(),
                up,
                announcements: self.megaflows.config.announcements,
                due: now,
            };
            let adopted = match self.underlay.vteps.remove(&vtep.id) {
                Some(known) if known.vtep != *vtep => {
                    self.underlay.neighbors.forget(vtep.id, &mut self.underlay.events);
                    fresh
                }
                Some(known) if known.up || !up => Adopted { up, ..known },
                Some(_) | None => fresh,
            };
            vteps.insert(vtep.id, adopted);
        }
        for id in core::mem::replace(&mut self.underlay.vteps, vteps).into_keys() {
            self.underlay.neighbors.forget(id, &mut self.underlay.events);
        }
        self.announce(now);
        self.settle_underlay(now);
    }

    fn announce(&mut self, now: u64) {
        let interval = nanos(self.megaflows.config.announcement_interval);
        let mut frames = Vec::new();
        for adopted in self.underlay.vteps.values_mut() {
            if adopted.announcements > 0 && adopted.due <= now && adopted.up {
                adopted.announcements -= 1;
                adopted.due = now.saturating_add(interval);
                let vtep = &adopted.vtep;
                let frame = discovery::announce(&discovery::tag(vtep.vlan), vtep.address, vtep.mac);
                frames.extend(frame.map(|frame| (vtep.uplink, frame)));
            }
        }
        for (uplink, frame) in frames {
            self.originate(uplink, &frame);
        }
    }

    /// True if policy and device let the agent send there.
    fn may_send(&self, port: PortId) -> bool {
        let snapshot = &self.megaflows.snapshot;
        snapshot.has_device(port) && snapshot.port(port).is_some_and(|port| port.enabled)
    }

    /// Sends a frame of the agent's own. True if it counts as one: the port is there and open.
    pub(crate) fn originate(&mut self, port: PortId, frame: &[u8]) -> bool {
        let Some(to) = self.megaflows.ports.index(port).filter(|_| self.may_send(port)) else { return false };
        self.megaflows.counters.originated += 1;
        let ports = &mut self.megaflows.ports;
        match self.io.allocate(frame) {
            Some(packet) => self.transmit.send_now(&mut self.io, ports, to, packet),
            None => ports.dropped(to, DropReason::NoBuffer, 1),
        }
        true
    }
}
