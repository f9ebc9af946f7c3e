//! A card in memory: the software E-Switch behind the slow path's two seams, with seeded faults.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use nic_flow::seam::{Burst, DestroyError, Errno, PacketBuf, PacketIo, Refusal, RuleSink};
use nic_flow::{Counters, PortId, Rule};
use soft_eswitch::{
    ActionFault, CreateError, Egress, Forwarder, Profile, RuleFault, RuleHandle, Switch, SwitchConfig,
    SwitchRule, Unsent,
};

use crate::frame::Frame;
use crate::random::Random;

/// How unreliable a card is, in percent of the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Creations refused because the card is busy.
    pub busy: u64,
    /// Creations after which the rule is not in the card, which says that it is.
    pub lost: u64,
    /// Destructions that fail.
    pub undestroyed: u64,
    /// Queries that fail.
    pub unread: u64,
    /// Queries that give what the query before gave.
    pub stale: u64,
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
    /// Buffers for copies and for the agent's own packets; `None`: any number.
    buffers: Option<usize>,
}

#[derive(Default)]
struct Wires {
    sent: Vec<Sent>,
    missed: BTreeMap<PortId, VecDeque<Frame>>,
}

struct Held {
    rule: Rule,
    /// `None`: the rule is lost.
    handle: Option<RuleHandle>,
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
            buffers: None,
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
        let State { forwarder, wires, .. } = &mut *self.state.borrow_mut();
        let waiting = |wires: &Wires| wires.missed.get(&port).map_or(0, VecDeque::len);
        let before = waiting(wires);
        let mut burst = Burst::new();
        if burst.push(Frame::new(frame)).is_ok() {
            forwarder.forward(port, &mut burst, wires).expect("the test names ports of the card");
        }
        waiting(wires) == before
    }

    /// A frame comes to the slow path of a port, whatever the rules say.
    pub fn miss(&self, port: PortId, frame: &[u8]) {
        self.state.borrow_mut().wires.missed.entry(port).or_default().push_back(Frame::new(frame));
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
            if let Some(handle) = held.handle.take() {
                held.read = forwarder.switch().destroy(handle).unwrap_or(held.read);
            }
        }
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
            *buffers = buffers.checked_sub(1)?;
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
        let mut state = self.0.state.borrow_mut();
        let Some(waiting) = state.wires.missed.get_mut(&port) else { return 0 };
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
        Some(Frame::new(frame))
    }
}

/// The rules' seam of a [`Card`].
#[derive(Debug)]
pub struct CardRules(Card);

const EIO: Errno = Errno(5);

impl RuleSink for CardRules {
    type Handle = u64;

    fn create(&mut self, rule: &Rule) -> Result<u64, Refusal> {
        let state = &mut *self.0.state.borrow_mut();
        if state.random.chance(state.faults.busy) {
            return Err(Refusal::Busy);
        }
        let wanted =
            SwitchRule { priority: 0, matches: rule.matches, actions: rule.actions.clone(), count: true };
        let switch = state.forwarder.switch();
        let created = switch.create(rule.matches.key().in_port(), wanted).map_err(refusal)?;
        let mut held = Held { rule: rule.clone(), handle: Some(created), read: Counters::default() };
        if state.random.chance(state.faults.lost) {
            held.handle = None;
            switch.destroy(created).expect("it was just created");
        }
        state.next += 1;
        state.rules.insert(state.next, held);
        Ok(state.next)
    }

    fn destroy(&mut self, handle: u64) -> Result<Counters, DestroyError<u64>> {
        let state = &mut *self.0.state.borrow_mut();
        if state.random.chance(state.faults.undestroyed) {
            return Err(DestroyError { handle, errno: EIO });
        }
        let held = state.rules.remove(&handle).expect("a handle is destroyed once");
        let counted = held.handle.map(|handle| state.forwarder.switch().destroy(handle));
        Ok(counted.and_then(Result::ok).unwrap_or(held.read))
    }

    fn query(&mut self, handle: &u64) -> Result<Counters, Errno> {
        let state = &mut *self.0.state.borrow_mut();
        if state.random.chance(state.faults.unread) {
            return Err(EIO);
        }
        let held = state.rules.get_mut(handle).expect("a handle is not used after its destruction");
        if !state.random.chance(state.faults.stale)
            && let Some(handle) = held.handle
        {
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
