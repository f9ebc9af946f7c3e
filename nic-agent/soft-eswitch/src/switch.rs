//! The switch as its control threads see it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nic_flow::action::outputs;
use nic_flow::seam::{Burst, PacketBuf};
use nic_flow::{Counters, PortId};

use crate::counters::AtomicCounters;
use crate::egress::Egress;
use crate::port::{DropReason, Port, PortStats};
use crate::profile::{self, Profile};
use crate::publish::{Published, Turn};
use crate::rule::{CreateError, NoRule, QueryError, RuleHandle, SwitchRule};
use crate::tables::{Installed, Rules};

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
}

/// What only control threads touch.
#[derive(Debug)]
struct Control {
    turn: Turn,
    rules: BTreeMap<RuleHandle, Placed>,
    free: Vec<u32>,
    /// Counts the rules that were ever created.
    serial: u64,
}

#[derive(Debug)]
struct Placed {
    slot: u32,
    rule: Arc<Installed>,
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
            control: Mutex::new(Control { turn, rules: BTreeMap::new(), free: Vec::new(), serial: 0 }),
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
        match self.rules.read().find(rule.priority, &rule.matches) {
            Some(other) => Err(CreateError::Exists(other.handle)),
            None => Ok(()),
        }
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
        if let Some(other) = self.rules.read().find(rule.priority, &rule.matches) {
            return Err(CreateError::Exists(other.handle));
        }
        let count = control.rules.len();
        if count >= self.max_rules {
            return Err(CreateError::Full { max_rules: self.max_rules });
        }
        control.serial += 1;
        let handle = RuleHandle::new(owner, control.serial);
        // Slots are dense: without a free one, all below `count` are taken.
        let slot = control.free.pop().unwrap_or(count as u32);
        let rule = Arc::new(Installed {
            handle,
            priority: rule.priority,
            matches: rule.matches,
            outputs: outputs(&rule.actions).filter_map(|port| self.index(port)).collect(),
            actions: rule.actions,
            counters: rule.count.then(AtomicCounters::default),
        });
        self.rules.change(&mut control.turn, |rules| {
            rules.step();
            rules.insert(slot, &rule);
        });
        control.rules.insert(handle, Placed { slot, rule });
        Ok(handle)
    }

    /// Destroys a rule and returns what it counted, zero if it does not count. No packet meets the rule
    /// any more, and none is missing in the counters.
    ///
    /// # Errors
    /// [`NoRule`] if the handle names none.
    pub fn destroy(&self, handle: RuleHandle) -> Result<Counters, NoRule> {
        let mut control = self.control();
        let placed = control.rules.remove(&handle).ok_or(NoRule)?;
        self.take_out(&mut control, &[placed.slot]);
        Ok(placed.rule.counters.as_ref().map_or(Counters::default(), AtomicCounters::get))
    }

    /// Destroys all rules that were created by a port, at once: no packet meets some of them and not
    /// the others. Returns how many there were.
    pub fn flush(&self, owner: PortId) -> usize {
        let mut control = self.control();
        let owned = control.rules.range(RuleHandle::range(owner));
        let (handles, slots): (Vec<_>, Vec<_>) = owned.map(|(handle, placed)| (*handle, placed.slot)).unzip();
        for handle in &handles {
            control.rules.remove(handle);
        }
        self.take_out(&mut control, &slots);
        handles.len()
    }

    /// What a rule has counted so far.
    ///
    /// # Errors
    /// If there is no such rule, or it does not count.
    pub fn query(&self, handle: RuleHandle) -> Result<Counters, QueryError> {
        self.read_counters(handle, AtomicCounters::get)
    }

    /// The same, and the counters start again from zero. No packet is lost between two readings.
    ///
    /// # Errors
    /// If there is no such rule, or it does not count.
    pub fn query_and_reset(&self, handle: RuleHandle) -> Result<Counters, QueryError> {
        self.read_counters(handle, AtomicCounters::take)
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

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_out(&self, control: &mut Control, slots: &[u32]) {
        if slots.is_empty() {
            return;
        }
        self.rules.change(&mut control.turn, |rules| {
            rules.step();
            for &slot in slots {
                rules.remove(slot);
            }
        });
        control.free.extend_from_slice(slots);
    }

    fn read_counters(
        &self,
        handle: RuleHandle,
        read: impl FnOnce(&AtomicCounters) -> Counters,
    ) -> Result<Counters, QueryError> {
        let control = self.control();
        let placed = control.rules.get(&handle).ok_or(QueryError::NoRule)?;
        placed.rule.counters.as_ref().map(read).ok_or(QueryError::NotCounted)
    }
}
