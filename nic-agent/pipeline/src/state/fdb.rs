//! The forwarding databases of all bridges: learned addresses only. Those of the configuration are in
//! the [`Snapshot`](crate::Snapshot) and come first.

use std::collections::HashMap;

use nic_flow::MacAddr;
use nic_policy::{BridgeId, Place};
use nic_table::hash::Seed;

use crate::dependency::Touched;

/// Learned addresses.
#[derive(Debug)]
pub struct Fdb {
    entries: HashMap<(BridgeId, MacAddr), Learned, Seed>,
    /// How many addresses are at each place.
    at: HashMap<Place, u32, Seed>,
    damping: Damping,
}

/// How often an address may move. Every move makes flows stale: two places that send with one address in
/// turn could otherwise have them translated again with every frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damping {
    /// Moves in one window; further ones are refused until it is over.
    pub moves: u32,
    /// The window: it begins when the address is learned, and again with the first move after it is over.
    /// Nanoseconds.
    pub window: u64,
}

impl Damping {
    /// Every move is followed.
    pub const NONE: Damping = Damping { moves: u32::MAX, window: 0 };
}

/// A learned address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Learned {
    /// Where it is.
    pub place: Place,
    /// When a packet from it was last seen, as far as is known. Nanoseconds of the worker's clock.
    pub used: u64,
    /// When the window began that moves are counted in. Nanoseconds of the worker's clock.
    pub(super) since: u64,
    /// Moves in that window.
    pub(super) moves: u32,
}

impl Learned {
    const fn new(place: Place, now: u64) -> Learned {
        Learned { place, used: now, since: now, moves: 0 }
    }

    /// The address as it is after a move; `None` if it moved as often as it may.
    fn moved(self, place: Place, now: u64, damping: Damping) -> Option<Learned> {
        let over = now.saturating_sub(self.since) >= damping.window;
        let (since, before) = if over { (now, 0) } else { (self.since, self.moves) };
        let moves = before.saturating_add(1);
        (before < damping.moves).then_some(Learned { place, used: now, since, moves })
    }
}

/// How many addresses may be learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// At the place.
    pub place: u32,
    /// In all bridges together.
    pub total: u32,
}

/// Why an address was not learned; what is known is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LearnError {
    /// The place has as many as it may have.
    #[error("the place has as many addresses as it may have")]
    Place,
    /// The table is full.
    #[error("the table of addresses is full")]
    Total,
    /// The address moved as often as it may for now.
    #[error("the address moved as often as it may for now")]
    Moves,
}

impl Fdb {
    pub(super) fn new(seed: Seed) -> Fdb {
        Fdb { entries: HashMap::with_hasher(seed), at: HashMap::with_hasher(seed), damping: Damping::NONE }
    }

    /// From now on addresses move no more often than that.
    pub const fn damp(&mut self, damping: Damping) {
        self.damping = damping;
    }

    /// What was learned of an address.
    pub fn get(&self, bridge: BridgeId, mac: MacAddr) -> Option<&Learned> {
        self.entries.get(&(bridge, mac))
    }

    /// How many addresses are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Learns an address, or that it moved. `Some(touched)` if that changes where frames go.
    ///
    /// # Errors
    /// [`LearnError`]: an address that moved stays where it was, and may move another time.
    pub fn learn(
        &mut self,
        bridge: BridgeId,
        mac: MacAddr,
        place: Place,
        now: u64,
        limits: Limits,
    ) -> Result<Option<Touched>, LearnError> {
        let known = self.entries.get_mut(&(bridge, mac));
        if let Some(known) = known.filter(|known| known.place == place) {
            known.used = known.used.max(now);
            return Ok(None);
        }
        if self.at.get(&place).copied().unwrap_or(0) >= limits.place {
            return Err(LearnError::Place);
        }
        let learned = match self.entries.get(&(bridge, mac)) {
            Some(known) => known.moved(place, now, self.damping).ok_or(LearnError::Moves)?,
            None if self.entries.len() >= limits.total as usize => return Err(LearnError::Total),
            None => Learned::new(place, now),
        };
        if let Some(old) = self.entries.insert((bridge, mac), learned) {
            self.left(old.place);
        }
        *self.at.entry(place).or_default() += 1;
        Ok(Some(Touched::Fdb(bridge, mac)))
    }

    /// A packet from that address was seen at that place.
    pub fn refresh(&mut self, bridge: BridgeId, mac: MacAddr, place: Place, used: u64) {
        if let Some(known) = self.entries.get_mut(&(bridge, mac))
            && known.place == place
        {
            known.used = known.used.max(used);
        }
    }

    /// Forgets an address.
    pub fn forget(&mut self, bridge: BridgeId, mac: MacAddr) -> Option<Touched> {
        let old = self.entries.remove(&(bridge, mac))?;
        self.left(old.place);
        Some(Touched::Fdb(bridge, mac))
    }

    /// Forgets every address for which `gone` is true; each one touched is told to `sink`. Looks at all.
    pub fn forget_where(
        &mut self,
        mut gone: impl FnMut(BridgeId, MacAddr, &Learned) -> bool,
        mut sink: impl FnMut(Touched),
    ) {
        let at = &mut self.at;
        self.entries.retain(|&(bridge, mac), learned| {
            let keep = !gone(bridge, mac, learned);
            if !keep {
                leave(at, learned.place);
                sink(Touched::Fdb(bridge, mac));
            }
            keep
        });
    }

    /// Every address, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (BridgeId, MacAddr, &Learned)> {
        self.entries.iter().map(|(&(bridge, mac), learned)| (bridge, mac, learned))
    }

    fn left(&mut self, place: Place) {
        leave(&mut self.at, place);
    }
}

fn leave(at: &mut HashMap<Place, u32, Seed>, place: Place) {
    if let Some(count) = at.get_mut(&place) {
        *count -= 1;
        if *count == 0 {
            at.remove(&place);
        }
    }
}
