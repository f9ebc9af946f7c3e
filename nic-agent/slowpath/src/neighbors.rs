//! The next hops of VTEPs: asked for, confirmed, asked again while they are in use, given up.
//!
//! States are those of RFC 4861 section 7.3.2 without Stale and Delay: a next hop that flows in the
//! card depend on is asked again before its time is over, for no packet of theirs is seen here.
//! Nothing that was not asked for makes an entry.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeSet, HashMap};

use nic_flow::MacAddr;
use nic_pipeline::state::Neighbor;
use nic_policy::{NeighborState, NeighborView, Network, VtepId};
use nic_table::hash::Seed;
use rustc_hash::FxHashMap;

use crate::config::{Config, nanos};
use crate::discovery::Answer;

use self::waiting::{Queue, Waiting};

/// A next hop.
pub(crate) type Hop = (VtepId, IpAddr);

/// The next hops, and the packets that wait for them.
#[derive(Debug)]
pub(crate) struct Neighbors<W> {
    times: Times,
    entries: HashMap<Hop, Entry<W>, Seed>,
    of_vtep: FxHashMap<VtepId, u32>,
    /// When something is to be done about an entry: each is here once.
    due: BTreeSet<(u64, Hop)>,
    waiting: Waiting,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event<W> {
    /// Ask for an address: everybody, or one that was there.
    Ask { hop: Hop, to: Option<MacAddr> },
    /// Translation is to know this from now on.
    Changed(Hop, Option<Neighbor>),
    /// The packet waits no longer: the address is known.
    Released(W),
    /// The packet waits no longer: nobody has the address.
    GivenUp(W),
    /// The packet waits no longer: a port of which fewer wait needs the place.
    Displaced(W),
}

/// Nanoseconds, and bounds.
#[derive(Debug)]
struct Times {
    interval: u64,
    tries: u32,
    /// From the last confirmation to the first question after it.
    fresh: u64,
    failed: u64,
    neighbors: u32,
    waiting_each: usize,
    waiting_all: usize,
}

#[derive(Debug)]
struct Entry<W> {
    state: NeighborState,
    /// Known while the state is Reachable or Probe.
    mac: Option<MacAddr>,
    /// When it was last confirmed, or, if it never was, first asked for.
    since: u64,
    /// When a packet last went there, of those that pass no flow.
    used: u64,
    due: u64,
    tries: u32,
    queue: Queue<W>,
}

impl<W> Neighbors<W> {
    pub(crate) fn new(config: &Config) -> Neighbors<W> {
        let interval = nanos(config.neighbor_interval).max(1);
        let tries = config.neighbor_tries.max(1);
        let asking = interval.saturating_mul(tries.into());
        let times = Times {
            interval,
            tries,
            fresh: nanos(config.neighbor_reachable).saturating_sub(asking).max(interval),
            failed: nanos(config.neighbor_failed).max(1),
            neighbors: config.neighbors_per_vtep,
            waiting_each: config.waiting_per_neighbor as usize,
            waiting_all: config.waiting as usize,
        };
        Neighbors {
            times,
            entries: HashMap::with_hasher(Seed::new(config.seed)),
            of_vtep: FxHashMap::default(),
            due: BTreeSet::new(),
            waiting: Waiting::default(),
        }
    }

    /// Packets that wait.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A packet is to go there. False if the VTEP has as many next hops as it may have.
    pub(crate) fn want(&mut self, hop: Hop, now: u64, events: &mut Vec<Event<W>>) -> bool {
        if let Some(entry) = self.entries.get_mut(&hop) {
            entry.used = now;
            return true;
        }
        let count = self.of_vtep.entry(hop.0).or_default();
        if *count >= self.times.neighbors {
            return false;
        }
        *count += 1;
        let due = now.saturating_add(self.times.interval);
        let entry = Entry {
            state: NeighborState::Incomplete,
            mac: None,
            since: now,
            used: now,
            due,
            tries: 1,
            queue: Queue::new(),
        };
        self.entries.insert(hop, entry);
        self.due.insert((due, hop));
        events.push(Event::Ask { hop, to: None });
        true
    }

    /// A packet went there.
    pub(crate) fn used(&mut self, hop: Hop, now: u64) {
        if let Some(entry) = self.entries.get_mut(&hop) {
            entry.used = now;
        }
    }

    /// The packet, which came from the port of that index, waits until it is known where the next hop is, or
    /// that it is nowhere.
    ///
    /// # Errors
    /// The packet comes back if nobody is asked, or too many wait and none of a port of which more do.
    pub(crate) fn wait(
        &mut self,
        hop: Hop,
        from: u16,
        packet: W,
        events: &mut Vec<Event<W>>,
    ) -> Result<(), W> {
        let asked = |entry: &&Entry<W>| entry.state == NeighborState::Incomplete;
        let Some(entry) = self.entries.get(&hop).filter(asked) else { return Err(packet) };
        let crowded = if entry.queue.len() >= self.times.waiting_each {
            Some(waiting::crowded(&entry.queue, from).map(|number| (hop, number)))
        } else {
            (self.waiting.len() >= self.times.waiting_all).then(|| self.waiting.crowded(from))
        };
        if let Some(crowded) = crowded {
            let displaced = crowded.and_then(|(hop, number)| self.displace(hop, number));
            let Some(displaced) = displaced else { return Err(packet) };
            events.push(Event::Displaced(displaced));
        }
        let Some(entry) = self.entries.get_mut(&hop) else { return Err(packet) };
        self.waiting.push(hop, &mut entry.queue, from, packet);
        Ok(())
    }

    fn displace(&mut self, hop: Hop, number: u64) -> Option<W> {
        let waiter = waiting::take(&mut self.entries.get_mut(&hop)?.queue, number)?;
        Some(self.waiting.release(waiter))
    }

    /// Somebody says where an address is. Says nothing about an address that nobody asked for.
    pub(crate) fn heard(&mut self, vtep: VtepId, answer: &Answer, now: u64, events: &mut Vec<Event<W>>) {
        let hop = (vtep, answer.address);
        let Some(entry) = self.entries.get_mut(&hop) else { return };
        let Some(mac) = answer.mac.or(entry.mac) else { return };
        let moved = entry.mac.is_some_and(|known| known != mac);
        if moved && !answer.replace {
            // Somebody else has the address too (RFC 4861 section 7.2.5): ask who is there.
            if entry.state == NeighborState::Reachable {
                self.probe(hop, now, events);
            }
            return;
        }
        if entry.mac != Some(mac) {
            entry.mac = Some(mac);
            events.push(Event::Changed(hop, Some(Neighbor::Known(mac))));
        }
        events.extend(entry.queue.drain(..).map(|waiter| Event::Released(self.waiting.release(waiter))));
        let asked = matches!(entry.state, NeighborState::Incomplete | NeighborState::Probe);
        if asked && answer.solicited {
            entry.since = now;
            let fresh = self.times.fresh;
            self.enter(hop, NeighborState::Reachable, now.saturating_add(fresh));
        } else if moved || matches!(entry.state, NeighborState::Incomplete | NeighborState::Failed) {
            // It is used from now on, and asked whether it is true.
            self.probe(hop, now, events);
        }
    }

    /// Does what is due. `depended` says whether flows depend on a next hop.
    pub(crate) fn tick(&mut self, now: u64, depended: impl Fn(Hop) -> bool, events: &mut Vec<Event<W>>) {
        while let Some(&(due, hop)) = self.due.first()
            && due <= now
        {
            let Some(entry) = self.entries.get(&hop) else { return };
            match entry.state {
                NeighborState::Incomplete | NeighborState::Probe if entry.tries < self.times.tries => {
                    self.ask_again(hop, now, events);
                }
                NeighborState::Incomplete | NeighborState::Probe => self.give_up(hop, now, events),
                NeighborState::Reachable if entry.used > entry.since || depended(hop) => {
                    self.probe(hop, now, events);
                }
                NeighborState::Reachable | NeighborState::Failed => self.remove(hop, events),
            }
        }
    }

    /// The VTEP is gone, or another by now.
    pub(crate) fn forget(&mut self, vtep: VtepId, events: &mut Vec<Event<W>>) {
        let hops: Vec<Hop> = self.entries.keys().copied().filter(|hop| hop.0 == vtep).collect();
        for hop in hops {
            self.remove(hop, events);
        }
    }

    /// What is known, in no particular order.
    pub(crate) fn views(&self, now: u64) -> impl Iterator<Item = NeighborView> + '_ {
        self.entries.iter().map(move |(&(vtep, address), entry)| NeighborView {
            network: Network::Underlay(vtep),
            address,
            mac: entry.mac,
            state: entry.state,
            age: Duration::from_nanos(now.saturating_sub(entry.since)),
        })
    }

    /// Asks whether the next hop is still there.
    fn probe(&mut self, hop: Hop, now: u64, events: &mut Vec<Event<W>>) {
        if let Some(entry) = self.entries.get_mut(&hop) {
            entry.tries = 0;
            self.enter(hop, NeighborState::Probe, now);
            self.ask_again(hop, now, events);
        }
    }

    fn ask_again(&mut self, hop: Hop, now: u64, events: &mut Vec<Event<W>>) {
        let Some(entry) = self.entries.get_mut(&hop) else { return };
        entry.tries += 1;
        // The last question goes to everybody: the address may have moved.
        let to = entry.mac.filter(|_| entry.tries < self.times.tries);
        events.push(Event::Ask { hop, to });
        let state = entry.state;
        self.enter(hop, state, now.saturating_add(self.times.interval));
    }

    fn give_up(&mut self, hop: Hop, now: u64, events: &mut Vec<Event<W>>) {
        let Some(entry) = self.entries.get_mut(&hop) else { return };
        entry.mac = None;
        events.push(Event::Changed(hop, Some(Neighbor::Failed)));
        events.extend(entry.queue.drain(..).map(|waiter| Event::GivenUp(self.waiting.release(waiter))));
        self.enter(hop, NeighborState::Failed, now.saturating_add(self.times.failed));
    }

    fn remove(&mut self, hop: Hop, events: &mut Vec<Event<W>>) {
        let Some(entry) = self.entries.remove(&hop) else { return };
        self.due.remove(&(entry.due, hop));
        events.push(Event::Changed(hop, None));
        events.extend(entry.queue.into_iter().map(|waiter| Event::GivenUp(self.waiting.release(waiter))));
        if let Some(count) = self.of_vtep.get_mut(&hop.0) {
            *count -= 1;
            if *count == 0 {
                self.of_vtep.remove(&hop.0);
            }
        }
    }

    fn enter(&mut self, hop: Hop, state: NeighborState, due: u64) {
        if let Some(entry) = self.entries.get_mut(&hop) {
            self.due.remove(&(entry.due, hop));
            entry.state = state;
            entry.due = due;
            self.due.insert((due, hop));
        }
    }
}

mod waiting;

#[cfg(test)]
mod tests;
