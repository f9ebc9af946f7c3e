use std::collections::BTreeMap;
use std::sync::Arc;

use nic_flow::{Action, MacAddr, Match, PortId};
use nic_link::{Uuid, record};
use nic_policy::{
    Attachment, BridgeId, Change, Delta, FdbEntry, FlowRule, FlowRuleId, Object, Place, Port, Revision,
};

use crate::Policy;
use crate::keeper::open_medium;
use crate::queue::{Newest, Queue};
use crate::writer::Writer;

mod faulty;
mod files;
mod golden;
mod property;
mod saving;

use faulty::Disk;

/// A policy, by the keys of its objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    store: Uuid,
    revision: u64,
    objects: BTreeMap<Vec<u8>, Object>,
}

impl State {
    /// What one delta leads to; written without the code that is tested.
    fn after(&self, store: Uuid, delta: &Delta) -> State {
        let mut objects = if delta.replace_all { BTreeMap::new() } else { self.objects.clone() };
        for change in &delta.changes {
            match change {
                Change::Put(object) => drop(objects.insert(record::key(object.id()), object.clone())),
                Change::Remove(id) => drop(objects.remove(&record::key(*id))),
            }
        }
        State { store, revision: delta.revision.0, objects }
    }

    fn of(store: Uuid, delta: &Delta) -> State {
        assert!(delta.replace_all, "what is loaded is a full sync");
        State::default().after(store, delta)
    }
}

impl Policy for State {
    fn objects(&self) -> Box<dyn Iterator<Item = Object> + '_> {
        Box::new(self.objects.values().cloned())
    }
}

/// One object of each of `kinds` by number; `content` makes them differ.
fn object(number: u16, content: u16) -> Object {
    let port = PortId::from_bits(number);
    let mac = |last: u16| MacAddr([2, 0, 0, 0, (last >> 8) as u8, last as u8]);
    match number % 3 {
        0 => {
            let mut actions = nic_flow::ActionList::new();
            actions.push(Action::Output(PortId::from_bits(content))).expect("room");
            let matches = Match::ANY.and(nic_flow::Field::EthType, 0x800, 0xffff);
            Object::FlowRule(FlowRule { id: FlowRuleId(number.into()), priority: content, matches, actions })
        }
        1 => Object::Port(Port {
            id: port,
            enabled: content & 1 == 0,
            source_macs: Some(heapless::Vec::from_slice(&[mac(content)]).expect("room")),
            bridges: Attachment { access: Some(BridgeId(content.into())), trunk: Vec::new() },
            learning: true,
            mac_limit: content.into(),
            flood_budget: 10,
        }),
        _ => Object::FdbEntry(FdbEntry {
            bridge: BridgeId(number.into()),
            mac: mac(1),
            place: Place::Port(PortId::from_bits(content)),
            addresses: Vec::new(),
        }),
    }
}

fn puts(numbers: impl IntoIterator<Item = u16>, content: u16) -> Vec<Change> {
    numbers.into_iter().map(|number| Change::Put(object(number, content))).collect()
}

fn delta(revision: u64, changes: Vec<Change>) -> Delta {
    Delta { revision: Revision(revision), replace_all: false, changes }
}

fn full(revision: u64, changes: Vec<Change>) -> Delta {
    Delta { replace_all: true, ..delta(revision, changes) }
}

const STORE: Uuid = Uuid::from_u128(0x1234);
const OTHER: Uuid = Uuid::from_u128(0x5678);

/// A keeper without its thread: the disk is written when a test says so.
struct Bench {
    queue: Arc<Queue>,
    writer: Writer,
    /// All that was published, the one of the disk first; an empty one if there was none.
    history: Vec<State>,
}

impl Bench {
    /// What a start with this disk makes.
    fn start(disk: &Disk) -> Bench {
        let opened = open_medium(Box::new(disk.clone())).expect("nobody else uses it");
        let loaded = opened.loaded().map(|loaded| State::of(loaded.store, &loaded.delta));
        let (queue, writer) = opened.into_parts(0);
        Bench { queue, writer, history: vec![loaded.unwrap_or_default()] }
    }

    fn newest(&self) -> &State {
        self.history.last().expect("never empty")
    }

    /// Publishes a policy that the worker has not applied yet.
    fn publish(&mut self, store: Uuid, delta: Delta) {
        let next = self.newest().after(store, &delta);
        let number = self.history.len() as u64;
        let policy = Arc::new(next.clone());
        self.queue.publish(Newest { number, store, revision: delta.revision, policy }, delta);
        self.history.push(next);
    }

    /// The worker has applied all that was published.
    fn settle(&self) {
        self.queue.settle(self.history.len() as u64);
    }

    fn applied(&self) -> u64 {
        self.queue.applied().borrow().0
    }
}

/// What a start with this disk would find.
fn found(disk: &Disk) -> Option<State> {
    let opened = open_medium(Box::new(disk.clone())).expect("nobody else uses it");
    opened.loaded().map(|loaded| State::of(loaded.store, &loaded.delta))
}
