//! The switch as its control threads see it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nic_flow::action::outputs;
use nic_flow::seam::{Burst, PacketBuf};
use nic_flow::{Counters, PortId};

use crate::counters::AtomicCounters;
use crate::egress::Egress;
use crate::faults::CounterFault;
use crate::port::{DropReason, Port, PortStats};
use crate::profile::{self, Profile};
use crate::publish::{Published, Turn};
use crate::rule::{CreateError, DestroyError, QueryError, RuleHandle, SwitchRule};
use crate::tables::{Installed, Rules};
use crate::unreliable::Unreliable;
use crate::upkeep::{NEVER, RuleState};

/// What a switch is made of.
#[derive(Debug, Clone)]
pub struct SwitchConfig {
    /// How much of the flow IR it takes.
    pub profile: Profile,
    /// Its ports; one that is named twice counts once.
    pub ports: Vec<PortId>,
    /// How many rules it holds.
    pub max_rules: usize,
    /// Any random number: who sends packets must not know how they are hashed.
    pub seed: u64,
}

/// A software E-Switch. All methods may be called by any number of threads at once, while
/// [`Forwarder`](crate::Forwarder)s forward.
#[derive(Debug)]
pub struct Switch {
    profile: Profile,
    max_rules: usize,
    seed: u64,
    /// In ascending order; an index here is what the rules know of a port.
    ports: Vec<Port>,
    rules: Published<Rules>,
    control: Mutex<Control>,
    /// When [`Switch::advance`] has something to do, in microseconds.
    pub(crate) due: AtomicU64,
    /// No faults are in force.
    pub(crate) reliable: AtomicBool,
}

/// What only control threads touch.
#[derive(Debug)]
pub(crate) struct Control {
    turn: Turn,
    pub(crate) rules: BTreeMap<RuleHandle, Placed>,
    pub(crate) free: Vec<u32>,
    /// Slots that were ever used.
    pub(crate) slots: u32,
    /// Counts the rules that were ever created.
    serial: u64,
    /// How many of the rules count.
    counting: usize,
    pub(crate) unreliable: Unreliable,
}

/// A rule that exists.
#[derive(Debug)]
pub(crate) struct Placed {
    /// Its own for as long as it exists, whether packets meet it or not.
    pub(crate) slot: u32,
    pub(crate) rule: Arc<Installed>,
    pub(crate) state: RuleState,
    /// What its counters show while they are frozen or late.
    pub(crate) shown: Counters,
}

/// A change of what packets meet.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) enter: Vec<(u32, Arc<Installed>)>,
    /// Slots. One that also enters goes again.
    pub(crate) leave: Vec<u32>,
}

/// The switch has no such port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPort(pub PortId);

impl fmt::Display for NoPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the switch has no port {}", self.0)
    }
}

impl std::error::Error for NoPort {}

impl Switch {
    /// A switch without rules: every packet goes to the slow path.
    pub fn new(config: SwitchConfig) -> Switch {
        let mut ids = config.ports;
        ids.sort_unstable();
        ids.dedup();
        let (rules, turn) = Published::new(|| Rules::new(config.seed));
        Switch {
            profile: config.profile,
            max_rules: config.max_rules,
            seed: config.seed,
            ports: ids.into_iter().map(Port::new).collect(),
            rules,
            control: Mutex::new(Control {
                turn,
                rules: BTreeMap::new(),
                free: Vec::new(),
                slots: 0,
                serial: 0,
                counting: 0,
                unreliable: Unreliable::default(),
            }),
            due: AtomicU64::new(NEVER),
            reliable: AtomicBool::new(true),
        }
    }

    /// How much of the flow IR the switch takes.
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// The ports, in ascending order.
    pub fn ports(&self) -> impl Iterator<Item = PortId> + '_ {
        self.ports.iter().map(|port| port.id)
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.control().rules.len()
    }

    /// True if there is no rule.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says whether the rule could be created now, if there is room.
    ///
    /// # Errors
    /// [`CreateError::Unsupported`] or [`CreateError::Exists`].
    pub fn validate(&self, rule: &SwitchRule) -> Result<(), CreateError> {
        profile::check(self, rule)?;
        self.is_new(&self.control(), rule)
    }

    /// Creates a rule. `owner` is the port that [`Switch::flush`] will know it by; it limits in no way
    /// which packets the rule matches. Every burst that begins after the return meets the rule.
    ///
    /// # Errors
    /// Why not; the switch is as it was.
    pub fn create(&self, owner: PortId, rule: SwitchRule) -> Result<RuleHandle, CreateError> {
        profile::check(self, &rule)?;
        let mut control = self.control();
        // Under the lock of `control` no other change comes between this look and the insertion.
        self.is_new(&control, &rule)?;
        control.has_room(self.max_rules, rule.count)?;
        if let Some(failure) = control.unreliable.create_fails() {
            return Err(CreateError::Failed(failure));
        }
        control.serial += 1;
        let handle = RuleHandle::new(owner, control.serial);
        let slot = control.take_slot();
        let rule = Arc::new(Installed {
            handle,
            priority: rule.priority,
            matches: rule.matches,
            outputs: outputs(&rule.actions).filter_map(|port| self.index(port)).collect(),
            actions: rule.actions,
            counters: rule.count.then(AtomicCounters::default),
        });
        control.counting += usize::from(rule.counters.is_some());
        let waits = control.unreliable.created(handle);
        let state = if waits {
            control.unreliable.hidden.insert((rule.priority, rule.matches), handle);
            RuleState::Waiting
        } else {
            self.rules.change(&mut control.turn, |rules| {
                rules.step();
                rules.insert(slot, &rule);
            });
            RuleState::InForce
        };
        control.rules.insert(handle, Placed { slot, rule, state, shown: Counters::default() });
        self.tell_due(&control);
        Ok(handle)
    }

    /// Destroys a rule and returns what it counted, zero if it does not count. No packet meets the rule
    /// any more, and none is missing in the counters, unless [faults](crate::Faults) let it linger.
    ///
    /// # Errors
    /// If the handle names no rule, or by a fault; the rule is as it was.
    pub fn destroy(&self, handle: RuleHandle) -> Result<Counters, DestroyError> {
        let mut control = self.control();
        if !control.rules.contains_key(&handle) {
            return Err(DestroyError::NoRule);
        }
        if let Some(failure) = control.unreliable.destroy_fails() {
            return Err(DestroyError::Failed(failure));
        }
        let placed = control.forget(handle).ok_or(DestroyError::NoRule)?;
        let matched = placed.state == RuleState::InForce;
        if matched && control.unreliable.destroyed(handle, placed.slot) {
            self.tell_due(&control);
        } else {
            self.take_out(&mut control, &[placed.slot]);
        }
        Ok(placed.rule.counters.as_ref().map_or(Counters::default(), AtomicCounters::get))
    }

    /// Destroys all rules that were created by a port, at once: no packet meets some of them and not
    /// the others. Returns how many there were. It does not fail, and leaves none that lingers.
    pub fn flush(&self, owner: PortId) -> usize {
        let mut control = self.control();
        let owned = control.rules.range(RuleHandle::range(owner));
        let (handles, mut slots): (Vec<_>, Vec<_>) =
            owned.map(|(handle, placed)| (*handle, placed.slot)).unzip();
        for handle in &handles {
            control.forget(*handle);
        }
        let lingering = control.unreliable.leaving.extract_if(RuleHandle::range(owner), |_, _| true);
        slots.extend(lingering.map(|(_, slot)| slot));
        self.take_out(&mut control, &slots);
        handles.len()
    }

    /// What a rule has counted so far.
    ///
    /// # Errors
    /// If there is no such rule, it does not count, or by a [fault](crate::Faults).
    pub fn query(&self, handle: RuleHandle) -> Result<Counters, QueryError> {
        self.read_counters(handle, false)
    }

    /// The same, and the counters start again from zero. No packet is lost between two readings.
    ///
    /// # Errors
    /// As for [`Switch::query`].
    pub fn query_and_reset(&self, handle: RuleHandle) -> Result<Counters, QueryError> {
        self.read_counters(handle, true)
    }

    /// What was counted on a port.
    ///
    /// # Errors
    /// [`NoPort`] if there is no such port.
    pub fn stats(&self, port: PortId) -> Result<PortStats, NoPort> {
        self.port(port).map(Port::stats).ok_or(NoPort(port))
    }

    /// Sends packets on the representor of a port: they leave by the port, and no rule is looked at.
    /// `burst` is empty afterwards.
    ///
    /// # Errors
    /// [`NoPort`] if there is no such port; the packets stay in `burst`.
    pub fn send_by_representor<B: PacketBuf>(
        &self,
        port: PortId,
        burst: &mut Burst<B>,
        egress: &mut impl Egress<B>,
    ) -> Result<(), NoPort> {
        let port = self.port(port).ok_or(NoPort(port))?;
        let (mut taken, mut sent) = (Counters::default(), Counters::default());
        for packet in std::mem::take(burst) {
            let bytes = packet.data().len();
            taken.add(bytes);
            match egress.transmit(port.id, packet) {
                Ok(()) => sent.add(bytes),
                Err(unsent) => port.dropped(DropReason::of_transmit(unsent)),
            }
        }
        port.by_representor.add(taken);
        port.sent.add(sent);
        Ok(())
    }

    pub(crate) const fn rules(&self) -> &Published<Rules> {
        &self.rules
    }

    pub(crate) const fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn port(&self, port: PortId) -> Option<&Port> {
        self.index(port).map(|index| self.port_at(index))
    }

    /// The port of an index that [`Switch::index`] gave.
    pub(crate) fn port_at(&self, index: u16) -> &Port {
        &self.ports[usize::from(index)]
    }

    pub(crate) fn index(&self, port: PortId) -> Option<u16> {
        let found = self.ports.binary_search_by_key(&port, |port| port.id).ok()?;
        // There are at most 2^16 port ids.
        Some(found as u16)
    }

    pub(crate) fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether no rule has this priority and match. One that was destroyed and still matches does not
    /// count: whoever destroyed it cannot know.
    fn is_new(&self, control: &Control, rule: &SwitchRule) -> Result<(), CreateError> {
        let rules = self.rules.read();
        let met = rules.same(rule.priority, &rule.matches).find(|handle| control.rules.contains_key(handle));
        let hidden = &control.unreliable.hidden;
        let hidden = || if hidden.is_empty() { None } else { hidden.get(&(rule.priority, rule.matches)) };
        match met.or_else(|| hidden().copied()) {
            Some(other) => Err(CreateError::Exists(other)),
            None => Ok(()),
        }
    }

    /// Makes a change to what packets meet.
    pub(crate) fn publish(&self, control: &mut Control, change: &Change) {
        if change.enter.is_empty() && change.leave.is_empty() {
            return;
        }
        self.rules.change(&mut control.turn, |rules| {
            rules.step();
            for (slot, rule) in &change.enter {
                rules.insert(*slot, rule);
            }
            for &slot in &change.leave {
                rules.remove(slot);
            }
        });
    }

    fn take_out(&self, control: &mut Control, slots: &[u32]) {
        self.publish(control, &Change { enter: Vec::new(), leave: slots.to_vec() });
        control.free.extend_from_slice(slots);
    }

    /// To be called after each change of what is due, under the lock.
    pub(crate) fn tell_due(&self, control: &Control) {
        self.due.store(control.unreliable.next_at().unwrap_or(NEVER), SeqCst);
    }

    fn read_counters(&self, handle: RuleHandle, reset: bool) -> Result<Counters, QueryError> {
        let mut control = self.control();
        let Control { rules, unreliable, .. } = &mut *control;
        let placed = rules.get_mut(&handle).ok_or(QueryError::NoRule)?;
        let counters = placed.rule.counters.as_ref().ok_or(QueryError::NotCounted)?;
        if let Some(failure) = unreliable.query_fails() {
            return Err(QueryError::Failed(failure));
        }
        if unreliable.faults.counters == CounterFault::None {
            return Ok(if reset { counters.take() } else { counters.get() });
        }
        let shown = placed.shown;
        unreliable.hits.counters += u64::from(shown != counters.get());
        if reset {
            placed.shown = Counters::default();
            counters.subtract(shown);
        }
        Ok(shown)
    }
}

impl Control {
    /// Says whether there is room for one more rule.
    fn has_room(&mut self, max_rules: usize, counts: bool) -> Result<(), CreateError> {
        let Unreliable { faults, hits, .. } = &mut self.unreliable;
        let limit = |limit: Option<u32>| limit.map_or(usize::MAX, |limit| limit as usize);
        let (rules, counters) = (limit(faults.max_rules), limit(faults.max_counters));
        if self.rules.len() >= max_rules.min(rules) {
            hits.max_rules += u64::from(self.rules.len() >= rules);
            return Err(CreateError::Full { max_rules: max_rules.min(rules) });
        }
        if counts && self.counting >= counters {
            hits.max_counters += 1;
            return Err(CreateError::NoCounter { max_counters: counters });
        }
        Ok(())
    }

    fn take_slot(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.slots += 1;
            self.slots - 1
        })
    }

    /// The rule exists no more. Its slot stays taken, and packets that met it still do.
    fn forget(&mut self, handle: RuleHandle) -> Option<Placed> {
        let placed = self.rules.remove(&handle)?;
        self.counting -= usize::from(placed.rule.counters.is_some());
        if placed.state != RuleState::InForce {
            self.unreliable.hidden.remove(&(placed.rule.priority, placed.rule.matches));
        }
        Some(placed)
    }
}
