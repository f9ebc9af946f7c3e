//! The table of flow rules: a persistent tuple-space classifier.
//!
//! Rules of one mask stand in one subtable; the subtables stand in the order of the best [`Rank`] in
//! each, so a lookup ends once nothing better can come. A subtable is looked up layer by layer (ingress
//! port, Ethernet, EtherType, L3, L4, and the same in a tunnel), and a packet that no rule there can match is told by the first
//! layer that says so: a rule on TCP ports of one port does not make every megaflow of the others a
//! 5-tuple. Versions share structure: a change costs what it touches.
//!
//! **What malformed headers mean.** A rule that asks for a header or for a field in it *reads* that
//! header. If the packet has it malformed and satisfies the rule in all that can be read, the rule
//! decides: were it the one of the highest rank, the packet is dropped as malformed. A rule that asks
//! for less is not concerned. (A later fragment is not malformed. It has no layer-4 header, so a rule
//! that asks for one does not match it; nor is there a tunnel in what has no whole tunnel header.)

use core::cmp::Reverse;
use std::sync::Arc;

use nic_flow::field::{L3, L4, Tunnel};
use nic_flow::{Field, FlowKey, FlowMask, Match};
use nic_policy::{DropReason, FlowRule, Rank};
use rpds::{HashTrieMapSync, RedBlackTreeMapSync};
use rustc_hash::FxBuildHasher;

use crate::probe::Layer;

/// What a lookup sees of a packet.
pub(crate) trait Reader {
    /// The bits of the packet.
    fn read(&mut self, mask: &FlowMask) -> FlowKey;
    /// Fails if a layer, or one in front of it, is malformed.
    fn whole(&mut self, layer: Layer) -> Result<(), DropReason>;
}

/// What a lookup found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'t> {
    /// The rule that decides.
    pub(crate) rule: &'t FlowRule,
    /// Whether it could be read to its end that the packet matches.
    pub(crate) matched: Result<(), DropReason>,
}

/// Rules by rank; the last one wins.
type Ranked = RedBlackTreeMapSync<Rank, Arc<FlowRule>>;

/// The flow rules.
#[derive(Clone, Default)]
pub(crate) struct RuleTable {
    /// By the best rank in each.
    subtables: RedBlackTreeMapSync<Reverse<Rank>, Arc<Subtable>>,
    /// The best rank in the subtable of a mask.
    best: HashTrieMapSync<FlowMask, Rank, FxBuildHasher>,
}

/// The rules of one mask.
#[derive(Clone)]
struct Subtable {
    levels: Vec<Level>,
    ranked: Ranked,
}

/// The rules of a subtable by what they ask of the packet up to one layer.
#[derive(Clone)]
struct Level {
    layer: Layer,
    /// The bits of this layer and of all in front of it.
    mask: FlowMask,
    rules: HashTrieMapSync<FlowKey, Ranked, FxBuildHasher>,
}

/// A rule's match, with the states of the headers that it asks for made plain.
pub(crate) fn effective(matches: &Match) -> Match {
    let mut effective = *matches;
    let deepest = matches.mask().fields().map(Layer::of).max();
    let states = [
        (Layer::L3, Field::L3, L3::Ok as u128),
        (Layer::L4, Field::L4, L4::Ok as u128),
        (Layer::Tunnel, Field::Tunnel, Tunnel::Vxlan as u128),
        (Layer::TunL3, Field::TunL3, L3::Ok as u128),
        (Layer::TunL4, Field::TunL4, L4::Ok as u128),
    ];
    for (layer, state, whole) in states {
        if deepest >= Some(layer) && matches.mask().get(state) == 0 {
            effective = effective.is(state, whole);
        }
    }
    effective
}

impl RuleTable {
    /// Adds a rule. One of the same id must have been removed before.
    pub(crate) fn insert(&mut self, rule: &Arc<FlowRule>) {
        let matches = effective(&rule.matches);
        let mut subtable =
            self.take(matches.mask()).unwrap_or_else(|| Arc::new(Subtable::new(matches.mask())));
        Arc::make_mut(&mut subtable).insert(&matches, rule);
        self.put(*matches.mask(), subtable);
    }

    /// Removes a rule that was inserted.
    pub(crate) fn remove(&mut self, rule: &FlowRule) {
        let matches = effective(&rule.matches);
        if let Some(mut subtable) = self.take(matches.mask()) {
            Arc::make_mut(&mut subtable).remove(&matches, rule.rank());
            self.put(*matches.mask(), subtable);
        }
    }

    fn take(&mut self, mask: &FlowMask) -> Option<Arc<Subtable>> {
        let rank = Reverse(*self.best.get(mask)?);
        let subtable = self.subtables.get(&rank)?.clone();
        self.subtables.remove_mut(&rank);
        self.best.remove_mut(mask);
        Some(subtable)
    }

    fn put(&mut self, mask: FlowMask, subtable: Arc<Subtable>) {
        if let Some((&best, _)) = subtable.ranked.last() {
            self.best.insert_mut(mask, best);
            self.subtables.insert_mut(Reverse(best), subtable);
        }
    }

    /// The rule that decides over a packet.
    pub(crate) fn lookup(&self, packet: &mut impl Reader) -> Option<Found<'_>> {
        let mut best: Option<(Rank, Found<'_>)> = None;
        for (&Reverse(rank), subtable) in &self.subtables {
            let floor = best.as_ref().map(|(rank, _)| *rank);
            if floor > Some(rank) {
                break;
            }
            best = subtable.lookup(packet, floor).or(best);
        }
        best.map(|(_, found)| found)
    }
}

impl Subtable {
    fn new(mask: &FlowMask) -> Subtable {
        let mut levels = Vec::new();
        let mut upto = FlowMask::EMPTY;
        for layer in Layer::ALL {
            let before = upto;
            for field in mask.fields().filter(|&field| Layer::of(field) == layer) {
                upto.add(field, mask.get(field));
            }
            if upto != before {
                levels.push(Level { layer, mask: upto, rules: HashTrieMapSync::default() });
            }
        }
        Subtable { levels, ranked: Ranked::default() }
    }

    fn insert(&mut self, matches: &Match, rule: &Arc<FlowRule>) {
        let rank = rule.rank();
        self.ranked.insert_mut(rank, Arc::clone(rule));
        for level in &mut self.levels {
            let key = *matches.key() & level.mask;
            if let Some(ranked) = level.rules.get_mut(&key) {
                ranked.insert_mut(rank, Arc::clone(rule));
            } else {
                level.rules.insert_mut(key, Ranked::default().insert(rank, Arc::clone(rule)));
            }
        }
    }

    fn remove(&mut self, matches: &Match, rank: Rank) {
        self.ranked.remove_mut(&rank);
        for level in &mut self.levels {
            let key = *matches.key() & level.mask;
            let Some(ranked) = level.rules.get_mut(&key) else { continue };
            ranked.remove_mut(&rank);
            if ranked.is_empty() {
                level.rules.remove_mut(&key);
            }
        }
    }

    /// The best rule here, if it is better than `floor`.
    fn lookup(&self, packet: &mut impl Reader, floor: Option<Rank>) -> Option<(Rank, Found<'_>)> {
        // The best of the rules that agree with the packet as far as it was read.
        let mut best = self.ranked.last()?;
        for level in &self.levels {
            if let Err(reason) = packet.whole(level.layer) {
                return Some((*best.0, Found { rule: best.1, matched: Err(reason) }));
            }
            best = level.rules.get(&packet.read(&level.mask))?.last()?;
            if floor > Some(*best.0) {
                return None;
            }
        }
        Some((*best.0, Found { rule: best.1, matched: Ok(()) }))
    }
}
