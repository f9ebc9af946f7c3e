//! The worker: packets in, packets out.

use core::fmt;
use core::time::Duration;

use nic_flow::extract::extract;
use nic_flow::seam::{BURST, Burst, PacketBuf, PacketIo};
use nic_flow::{FlowKey, MacAddr, PortId};
use nic_pipeline::snapshot::Member;
use nic_pipeline::{Snapshot, Touched};
use nic_policy::{BridgeId, DropReason, Revision};

use crate::config::{Config, nanos};
use crate::flows::Verdict;
use crate::intake::Intake;
use crate::megaflows::Megaflows;
use crate::message::{Completion, Request};
use crate::suppression::Stations;
use crate::transmit::Transmit;
use crate::underlay::Underlay;

/// Octets of an Ethernet header.
const ETHERNET: usize = 14;

/// One thread's share of the slow path.
pub struct Worker<Io: PacketIo> {
    pub(crate) io: Io,
    pub(crate) megaflows: Megaflows,
    pub(crate) transmit: Transmit<Io::Buf>,
    pub(crate) underlay: Underlay<Io::Buf>,
    pub(crate) stations: Stations,
    /// Room for the members of the bridge that a packet is flooded in.
    pub(crate) members: Vec<Member>,
    intake: Intake<Io::Buf>,
    burst: Burst<Io::Buf>,
    keys: [FlowKey; BURST],
    /// The port that is served first in the next round.
    first: u16,
}

/// What one [`Worker::poll`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Polled {
    /// Packets that were served.
    pub packets: u32,
    /// Of those, packets that had to be translated.
    pub upcalls: u32,
    /// True if there is more to do at once: a port may have more packets, or flows wait to be
    /// translated again. A worker that would sleep polls again instead.
    pub more: bool,
}

/// What a burst's lookup found, and when.
struct Found {
    slots: [Option<u32>; BURST],
    linked: u64,
    unlinked: u64,
}

impl<Io: PacketIo> Worker<Io> {
    /// A worker with an empty cache and no policy: every port is closed until something is published.
    pub fn new(io: Io, config: Config) -> Worker<Io> {
        let mut worker = Worker {
            io,
            underlay: Underlay::new(&config),
            stations: Stations::new(&config),
            megaflows: Megaflows::new(config),
            transmit: Transmit::new(),
            members: Vec::new(),
            intake: Intake::new(),
            burst: Burst::new(),
            keys: [FlowKey::ZERO; BURST],
            first: 0,
        };
        worker.adopt_ports();
        worker
    }

    /// The packets' seam.
    pub const fn io(&self) -> &Io {
        &self.io
    }

    /// The packets' seam, for its owner to drive.
    pub const fn io_mut(&mut self) -> &mut Io {
        &mut self.io
    }

    /// The policy by which packets are translated.
    pub const fn snapshot(&self) -> &Snapshot {
        &self.megaflows.snapshot
    }

    /// The newest revision of which all is done: every flow it touched was translated again, and no
    /// rule that it may have made wrong is in the E-Switch.
    pub const fn applied(&self) -> Revision {
        self.megaflows.publications.applied()
    }

    /// All publications before this number are applied. Unlike revisions, which go back when another store
    /// is adopted, the numbers of publications ascend.
    pub const fn settled(&self) -> u64 {
        self.megaflows.publications.settled()
    }

    /// One round: every port may send a burst, unless it used up its share before. `now` is the time
    /// since an epoch of the caller's choice, and never goes backwards. Measures nothing: see
    /// [`Worker::poll_timed`].
    pub fn poll(&mut self, now: Duration) -> Polled {
        self.poll_timed(|| now)
    }

    /// As [`Worker::poll`], with a clock: it is read once for the round, and twice for each burst that came,
    /// so that each port is charged the time that its packets take ([`PortStats::busy`]).
    ///
    /// [`PortStats::busy`]: nic_policy::stats::PortStats::busy
    pub fn poll_timed(&mut self, mut clock: impl FnMut() -> Duration) -> Polled {
        let now = self.advance(clock());
        self.adopt_ports();
        self.megaflows.revalidate_some(now);
        let mut polled = Polled::default();
        self.intake.open();
        loop {
            let waits = self.round(now, &mut clock, &mut polled);
            // Nobody waits for a port's share while no other port has packets. What was received is served.
            if !(waits && polled.packets == 0 || self.intake.holds()) {
                break;
            }
        }
        let ports = self.megaflows.ports.len().max(1);
        self.first = ((usize::from(self.first) + 1) % ports) as u16;
        polled.more |= self.megaflows.dirty_flows > 0;
        polled
    }

    /// From now on every packet is translated by this snapshot, and the flows that depend on what was
    /// touched are translated again: a bounded number at once, others in later rounds, and each before
    /// its next packet. Returns the number of this publication.
    pub fn publish(&mut self, snapshot: Snapshot, touched: &[Touched], now: Duration) -> u64 {
        let now = self.advance(now);
        self.adopt_ports();
        // What was learned follows the policy before any flow is translated by both.
        self.megaflows.snapshot = snapshot;
        self.adopt_vteps(touched, now);
        self.stations.purge(&self.megaflows.snapshot, touched);
        self.megaflows.publish(touched, now)
    }

    /// Takes in what the offload thread says.
    pub fn complete(&mut self, completion: Completion, now: Duration) {
        let now = self.advance(now);
        self.megaflows.complete(completion, now);
    }

    /// Hands out requests for the offload thread, as many as it has room for. They are to be carried
    /// out in this order.
    pub fn take_requests(&mut self, room: usize, sink: impl FnMut(Request)) {
        self.megaflows.take_requests(room, sink);
    }

    /// Looks for flows that are idle or deserve another offer, for addresses that nobody sends from, and
    /// for next hops that are to be asked for. To be called some times in each
    /// [`Config::sweep_interval`] and [`Config::neighbor_interval`]; looks at no more than it must.
    pub fn tick(&mut self, now: Duration) {
        let now = self.advance(now);
        self.megaflows.tick(now);
        self.megaflows.expire(now);
        self.stations.expire(now);
        self.tick_underlay(now);
    }

    /// Forgets MAC addresses that were learned: those of one bridge or of all, one of them or all.
    /// Returns how many there were.
    pub fn flush_fdb(&mut self, bridge: Option<BridgeId>, mac: Option<MacAddr>) -> u64 {
        self.megaflows.flush_fdb(bridge, mac)
    }

    /// Takes out every flow, or every flow that enters by one port, and asks for the removal of its
    /// rule. Packets are translated anew. Returns how many flows there were.
    pub fn flush(&mut self, in_port: Option<PortId>) -> u64 {
        self.megaflows.flush(in_port)
    }

    pub(crate) fn advance(&mut self, now: Duration) -> u64 {
        self.megaflows.now = self.megaflows.now.max(nanos(now));
        self.megaflows.now
    }

    fn adopt_ports(&mut self) {
        self.megaflows.adopt_ports(self.io.ports());
        self.transmit.adopt(self.megaflows.ports.len());
        self.intake.adopt(self.megaflows.ports.len());
    }

    /// Serves every port that has a share left. True if one had to wait for its share.
    fn round(&mut self, now: u64, clock: &mut impl FnMut() -> Duration, polled: &mut Polled) -> bool {
        let ports = self.megaflows.ports.len() as u16;
        let quantum = i64::from(self.megaflows.config.port_quantum.max(1));
        let mut waits = false;
        for offset in 0..ports {
            let index = ((usize::from(self.first) + usize::from(offset)) % usize::from(ports)) as u16;
            let port = self.megaflows.ports.get_mut(index);
            // An idle port saves up no more than one round.
            port.deficit = port.deficit.saturating_add(quantum).min(quantum);
            if port.deficit <= 0 {
                waits = true;
                continue;
            }
            let (id, share) = (port.stats.port, port.deficit);
            let receive = |burst: &mut _| self.io.receive(id, burst);
            let received = self.intake.take(index, share, &mut self.burst, receive);
            if received == 0 {
                continue;
            }
            let began = clock();
            let upcalls = self.serve(index, now);
            let took = clock().saturating_sub(began);
            let cost = received as i64 + i64::from(upcalls) * i64::from(self.megaflows.config.upcall_cost);
            let port = self.megaflows.ports.get_mut(index);
            port.deficit -= cost;
            port.stats.busy += took;
            self.intake.cost(index, received, cost);
            polled.packets += received as u32;
            polled.upcalls += upcalls;
            polled.more |= received == BURST || self.intake.has_more(index);
        }
        polled.more |= waits;
        waits
    }

    /// Forwards the burst that came from a port. Returns how many of its packets were translated.
    fn serve(&mut self, from: u16, now: u64) -> u32 {
        let port = self.megaflows.ports.get_mut(from);
        for (key, packet) in self.keys.iter_mut().zip(&self.burst) {
            port.stats.slow_path.add(packet.data().len());
            *key = extract(packet.data(), port.stats.port);
        }
        let found = self.look_up(self.burst.len());
        let mut upcalls = 0;
        for (at, packet) in core::mem::take(&mut self.burst).into_iter().enumerate() {
            if packet.data().len() < ETHERNET {
                self.megaflows.ports.dropped(from, DropReason::Undersized, 1);
                continue;
            }
            match self.slot(at, &found, now) {
                Some(slot) => self.hit(slot, from, packet, now),
                None => {
                    upcalls += 1;
                    let key = self.keys[at];
                    self.upcall(&key, from, packet, now);
                }
            }
        }
        self.transmit.flush(&mut self.io, &mut self.megaflows.ports, from);
        self.settle_underlay(now);
        upcalls
    }

    fn look_up(&self, packets: usize) -> Found {
        let mut values = [None; BURST];
        self.megaflows.cache.lookup_burst(&self.keys[..packets], &mut values[..packets]);
        Found {
            slots: values.map(|value| value.copied()),
            linked: self.megaflows.linked,
            unlinked: self.megaflows.unlinked,
        }
    }

    /// The slot of a packet's flow, up to date with the policy.
    #[inline]
    fn slot(&mut self, at: usize, found: &Found, now: u64) -> Option<u32> {
        let megaflows = &mut self.megaflows;
        let mut slot = found.slots[at];
        // Packets before this one in the burst may have brought its flow, or taken it away.
        if megaflows.unlinked != found.unlinked || (slot.is_none() && megaflows.linked != found.linked) {
            slot = megaflows.cache.lookup(&self.keys[at]).copied();
        }
        while let Some(dirty) = slot.filter(|&slot| megaflows.flows.hot(slot).dirty) {
            megaflows.revalidate(dirty, now);
            slot = megaflows.cache.lookup(&self.keys[at]).copied();
        }
        slot
    }

    #[inline]
    fn hit(&mut self, slot: u32, from: u16, packet: Io::Buf, now: u64) {
        let megaflows = &mut self.megaflows;
        let hot = megaflows.flows.hot_mut(slot);
        hot.counters.add(packet.data().len());
        hot.used = now;
        let verdict = hot.verdict;
        let overdue = now >= hot.rule_due;
        megaflows.ports.get_mut(from).stats.cache_hits += 1;
        match verdict {
            Verdict::Send(to) => self.transmit.push(&mut self.io, &mut megaflows.ports, from, to, packet),
            Verdict::Drop(reason) => megaflows.ports.dropped(from, reason, 1),
            Verdict::Run => {
                let actions = &megaflows.flows.cold(slot).actions;
                self.transmit.run(&mut self.io, &mut megaflows.ports, from, actions, packet);
                self.flood_all(from, now);
            }
        }
        if overdue {
            self.megaflows.overdue(slot, now);
        }
    }

    pub(crate) const fn copies(&self) -> u64 {
        self.transmit.copies
    }
}

impl<Io: PacketIo> fmt::Debug for Worker<Io> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("snapshot", &self.megaflows.snapshot)
            .field("flows", &self.megaflows.cache.len())
            .finish_non_exhaustive()
    }
}
