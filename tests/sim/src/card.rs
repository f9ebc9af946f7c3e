//! A card in memory: the software E-Switch behind the slow path's two seams, with seeded faults.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nic_flow::seam::{Burst, DestroyError, Errno, PacketBuf, PacketIo, Refusal, RuleSink};
use nic_flow::{Counters, PortId, Rule};
use soft_eswitch::{
    ActionFault, CreateError, Egress, Forwarder, Profile, RuleFault, RuleHandle, Switch, SwitchConfig,
    SwitchRule, Unsent,
};

use crate::frame::{Frame, Pool};
use crate::random::Random;

/// How unreliable a card is, in percent of the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Creations refused because the card is busy.
    pub busy: u64,
    /// Creations refused because the card says that it is full.
    pub full: u64,
    /// Creations that the driver refuses with an error of its own.
    pub broken: u64,
    /// Creations after which the rule forwards only some time later; the card says that it does at once.
    pub lagging: u64,
    /// Creations after which the rule is not in the card, which says that it is.
    pub lost: u64,
    /// Destructions that fail.
    pub undestroyed: u64,
    /// Queries that fail.
    pub unread: u64,
    /// Queries that give what the query before gave.
    pub stale: u64,
}

/// How often a card was unreliable, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hits {
    /// As [`Faults::busy`].
    pub busy: u64,
    /// As [`Faults::full`].
    pub full: u64,
    /// As [`Faults::broken`].
    pub broken: u64,
    /// As [`Faults::lagging`].
    pub lagging: u64,
    /// As [`Faults::lost`].
    pub lost: u64,
    /// As [`Faults::undestroyed`].
    pub undestroyed: u64,
    /// As [`Faults::unread`].
    pub unread: u64,
    /// As [`Faults::stale`].
    pub stale: u64,
    /// Packets that a port had and the slow path did not get: its queue was stalled.
    pub stalled: u64,
    /// Packets that a port did not take from the slow path.
    pub unsent: u64,
    /// Copies and packets of the agent's own for which there was no buffer.
    pub unbuffered: u64,
}

/// A packet that left the card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The port by which it left.
    pub port: PortId,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// True if a rule sent it, false if the slow path did.
    pub by_rule: bool,
}

/// A card. Clones are the same card.
#[derive(Clone)]
pub struct Card {
    state: Rc<RefCell<State>>,
    ports: Rc<[PortId]>,
}

struct State {
    forwarder: Forwarder,
    wires: Wires,
    faults: Faults,
    random: Random,
    next: u64,
    rules: BTreeMap<u64, Held>,
    /// Packets that a port takes from the slow path; no entry: any number.
    room: BTreeMap<PortId, usize>,
    /// Ports whose packets the slow path does not get.
    stalled: BTreeSet<PortId>,
    /// Buffers for copies and for the agent's own packets; `None`: any number.
    buffers: Option<usize>,
    /// Buffers in use.
    pool: Pool,
    now: Duration,
    hits: Hits,
}

#[derive(Default)]
struct Wires {
    sent: Vec<Sent>,
    missed: BTreeMap<PortId, VecDeque<Frame>>,
}

/// The longest time after which a rule that lags forwards, in microseconds.
const LAG: u64 = 60_000;

struct Held {
    rule: Rule,
    /// `None`: the rule is lost, or lags.
    handle: Option<RuleHandle>,
    /// When it forwards, if it lags.
    due: Option<Duration>,
    /// As last read.
    read: Counters,
}

impl Card {
    /// A card with these ports and no rule.
    pub fn new(profile: Profile, ports: &[PortId], max_rules: usize, seed: u64, faults: Faults) -> Card {
        let switch = Switch::new(SwitchConfig { profile, ports: ports.to_vec(), max_rules, seed });
        let state = State {
            forwarder: Forwarder::new(Arc::new(switch), 64),
            wires: Wires::default(),
            faults,
            random: Random::new(seed),
            next: 0,
            rules: BTreeMap::new(),
            room: BTreeMap::new(),
            stalled: BTreeSet::new(),
            buffers: None,
            pool: Pool::default(),
            now: Duration::ZERO,
            hits: Hits::default(),
        };
        Card { state: Rc::new(RefCell::new(state)), ports: ports.into() }
    }

    /// The packets' seam.
    pub fn io(&self) -> CardIo {
        CardIo(self.clone())
    }

    /// The rules' seam.
    pub fn rule_sink(&self) -> CardRules {
        CardRules(self.clone())
    }

    /// A frame enters by a port. True if a rule took it; else it waits for the slow path.
    pub fn enter(&self, port: PortId, frame: &[u8]) -> bool {
        let State { forwarder, wires, pool, .. } = &mut *self.state.borrow_mut();
        let waiting = |wires: &Wires| wires.missed.get(&port).map_or(0, VecDeque::len);
        let before = waiting(wires);
        let mut burst = Burst::new();
        if burst.push(pool.frame(frame)).is_ok() {
            forwarder.forward(port, &mut burst, wires).expect("the test names ports of the card");
        }
        waiting(wires) == before
    }

    /// A frame comes to the slow path of a port, whatever the rules say.
    pub fn miss(&self, port: PortId, frame: &[u8]) {
        let State { wires, pool, .. } = &mut *self.state.borrow_mut();
        wires.missed.entry(port).or_default().push_back(pool.frame(frame));
    }

    /// Frames that wait for the slow path, by port in order.
    pub fn waiting(&self) -> BTreeMap<PortId, Vec<Vec<u8>>> {
        let state = self.state.borrow();
        let bytes = |frames: &VecDeque<Frame>| frames.iter().map(|frame| frame.data().to_vec()).collect();
        state.wires.missed.iter().map(|(port, frames)| (*port, bytes(frames))).collect()
    }

    /// What left the card since the last call.
    pub fn take_sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.state.borrow_mut().wires.sent)
    }

    /// Rules that forward.
    pub fn rules(&self) -> Vec<Rule> {
        let state = self.state.borrow();
        state.rules.values().filter(|held| held.handle.is_some()).map(|held| held.rule.clone()).collect()
    }

    /// Handles that were given out and not taken back.
    pub fn handles(&self) -> usize {
        self.state.borrow().rules.len()
    }

    /// From now on the card is as unreliable as this.
    pub fn set_faults(&self, faults: Faults) {
        self.state.borrow_mut().faults = faults;
    }

    /// Every rule goes lost, and the card does not tell.
    pub fn lose_rules(&self) {
        let State { forwarder, rules, .. } = &mut *self.state.borrow_mut();
        for held in rules.values_mut() {
            held.due = None;
            if let Some(handle) = held.handle.take() {
                held.read = forwarder.switch().destroy(handle).unwrap_or(held.read);
            }
        }
    }

    /// The card dies and is started again: no rule, no packet, no handle is left.
    pub fn restart(&self) {
        self.lose_rules();
        let State { rules, wires, .. } = &mut *self.state.borrow_mut();
        rules.clear();
        wires.missed.clear();
    }

    /// It is that late. Rules that lag forward once their time has come.
    pub fn advance(&self, now: Duration) {
        let State { forwarder, rules, now: known, .. } = &mut *self.state.borrow_mut();
        *known = now;
        for held in rules.values_mut().filter(|held| held.due.is_some_and(|due| due <= now)) {
            held.due = None;
            // A card that has no room any more has lost the rule.
            held.handle = insert(forwarder.switch(), &held.rule).ok();
        }
    }

    /// How often the card was unreliable since it was made.
    pub fn hits(&self) -> Hits {
        self.state.borrow().hits
    }

    /// A buffer of the card's with these bytes.
    pub fn buffer(&self, bytes: &[u8]) -> Frame {
        self.state.borrow().pool.frame(bytes)
    }

    /// Buffers that are in use.
    pub fn buffers_in_use(&self) -> usize {
        self.state.borrow().pool.in_use()
    }

    /// The slow path gets no packet of that port, or gets them again.
    pub fn set_stalled(&self, port: PortId, stalled: bool) {
        let state = &mut *self.state.borrow_mut();
        if stalled {
            state.stalled.insert(port)
        } else {
            state.stalled.remove(&port)
        };
    }

    /// The port takes no more than that many packets from the slow path.
    pub fn set_room(&self, port: PortId, room: usize) {
        self.state.borrow_mut().room.insert(port, room);
    }

    /// No more than that many copies and packets of the agent's own can be made.
    pub fn set_buffers(&self, buffers: usize) {
        self.state.borrow_mut().buffers = Some(buffers);
    }

    fn take_buffer(&self) -> Option<()> {
        let state = &mut *self.state.borrow_mut();
        if let Some(buffers) = &mut state.buffers {
            let left = buffers.checked_sub(1);
            state.hits.unbuffered += u64::from(left.is_none());
            *buffers = left?;
        }
        Some(())
    }
}

impl std::fmt::Debug for Card {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Card").field("ports", &self.ports).finish_non_exhaustive()
    }
}

impl Egress<Frame> for Wires {
    fn transmit(&mut self, port: PortId, packet: Frame) -> Result<(), Unsent> {
        self.sent.push(Sent { port, bytes: packet.data().to_vec(), by_rule: true });
        Ok(())
    }

    fn to_representor(&mut self, port: PortId, packet: Frame) -> Result<(), Unsent> {
        self.missed.entry(port).or_default().push_back(packet);
        Ok(())
    }

    fn copy(&mut self, packet: &Frame) -> Option<Frame> {
        Some(packet.clone())
    }
}

/// The packets' seam of a [`Card`].
#[derive(Debug)]
pub struct CardIo(Card);

impl PacketIo for CardIo {
    type Buf = Frame;

    fn ports(&self) -> &[PortId] {
        &self.0.ports
    }

    fn receive(&mut self, port: PortId, burst: &mut Burst<Frame>) -> usize {
        let State { wires, stalled, hits, .. } = &mut *self.0.state.borrow_mut();
        let Some(waiting) = wires.missed.get_mut(&port) else { return 0 };
        if stalled.contains(&port) {
            hits.stalled += waiting.len() as u64;
            return 0;
        }
        let mut received = 0;
        while !burst.is_full()
            && let Some(frame) = waiting.pop_front()
        {
            received += usize::from(burst.push(frame).is_ok());
        }
        received
    }

    fn send(&mut self, port: PortId, burst: &mut Burst<Frame>) -> usize {
        let state = &mut *self.0.state.borrow_mut();
        let mut room = state.room.get(&port).copied().unwrap_or(usize::MAX);
        let (mut sent, mut left) = (0, Burst::new());
        for frame in std::mem::take(burst) {
            if room == 0 {
                state.hits.unsent += 1;
                left.push(frame).expect("no more than came");
                continue;
            }
            room -= 1;
            sent += 1;
            state.wires.sent.push(Sent { port, bytes: frame.data().to_vec(), by_rule: false });
        }
        if let Some(limit) = state.room.get_mut(&port) {
            *limit = room;
        }
        *burst = left;
        sent
    }

    fn copy(&mut self, packet: &Frame) -> Option<Frame> {
        self.0.take_buffer()?;
        Some(packet.clone())
    }

    fn allocate(&mut self, frame: &[u8]) -> Option<Frame> {
        self.0.take_buffer()?;
        Some(self.0.state.borrow_mut().pool.frame(frame))
    }
}

/// The rules' seam of a [`Card`].
#[derive(Debug)]
pub struct CardRules(Card);

const EIO: Errno = Errno::EIO;

impl State {
    /// True if this fault happens now, in `percent` of 100 cases.
    fn hit(&mut self, percent: u64, count: impl FnOnce(&mut Hits) -> &mut u64) -> bool {
        let hit = percent > 0 && self.random.chance(percent);
        *count(&mut self.hits) += u64::from(hit);
        hit
    }
}

fn insert(switch: &Switch, rule: &Rule) -> Result<RuleHandle, CreateError> {
    let wanted =
        SwitchRule { priority: 0, matches: rule.matches, actions: rule.actions.clone(), count: true };
    switch.create(rule.matches.key().in_port(), wanted)
}

impl RuleSink for CardRules {
    type Handle = u64;

    fn create(&mut self, rule: &Rule) -> Result<u64, Refusal> {
        let state = &mut *self.0.state.borrow_mut();
        let faults = state.faults;
        if state.hit(faults.busy, |hits| &mut hits.busy) {
            return Err(Refusal::Busy);
        }
        if state.hit(faults.full, |hits| &mut hits.full) {
            return Err(Refusal::Full);
        }
        if state.hit(faults.broken, |hits| &mut hits.broken) {
            return Err(Refusal::Driver(EIO));
        }
        let created = insert(state.forwarder.switch(), rule).map_err(refusal)?;
        let mut held =
            Held { rule: rule.clone(), handle: Some(created), due: None, read: Counters::default() };
        let lags = state.hit(faults.lagging, |hits| &mut hits.lagging);
        if lags || state.hit(faults.lost, |hits| &mut hits.lost) {
            held.handle = None;
            held.due = lags.then(|| state.now + Duration::from_micros(1 + state.random.below(LAG)));
            state.forwarder.switch().destroy(created).expect("it was just created");
        }
        state.next += 1;
        state.rules.insert(state.next, held);
        Ok(state.next)
    }

    fn destroy(&mut self, handle: u64) -> Result<Counters, DestroyError<u64>> {
        let state = &mut *self.0.state.borrow_mut();
        if state.hit(state.faults.undestroyed, |hits| &mut hits.undestroyed) {
            return Err(DestroyError { handle, errno: EIO });
        }
        let held = state.rules.remove(&handle).expect("a handle is destroyed once");
        let counted = held.handle.map(|handle| state.forwarder.switch().destroy(handle));
        Ok(counted.and_then(Result::ok).unwrap_or(held.read))
    }

    fn query(&mut self, handle: &u64) -> Result<Counters, Errno> {
        let state = &mut *self.0.state.borrow_mut();
        if state.hit(state.faults.unread, |hits| &mut hits.unread) {
            return Err(EIO);
        }
        let stale = state.hit(state.faults.stale, |hits| &mut hits.stale);
        let held = state.rules.get_mut(handle).expect("a handle is not used after its destruction");
        if !stale && let Some(handle) = held.handle {
            held.read = state.forwarder.switch().query(handle).unwrap_or(held.read);
        }
        Ok(held.read)
    }
}

fn refusal(error: CreateError) -> Refusal {
    match error {
        CreateError::Full { .. } | CreateError::NoCounter { .. } => Refusal::Full,
        CreateError::Failed(failure) => Refusal::Driver(Errno(failure.errno())),
        CreateError::Exists(_) => Refusal::Exists,
        CreateError::Unsupported(RuleFault::Field { field, .. }) => Refusal::Field(field),
        CreateError::Unsupported(RuleFault::Action { fault: ActionFault::SecondOutput, .. }) => {
            Refusal::ManyOutputs
        }
        CreateError::Unsupported(RuleFault::Action { fault: ActionFault::NoPort(port), .. }) => {
            Refusal::NoPort(port)
        }
        CreateError::Unsupported(RuleFault::Action { kind, .. }) => Refusal::Action(kind),
        CreateError::Unsupported(RuleFault::Priority { .. }) => Refusal::Driver(Errno(22)),
    }
}
