//! The connection between the two processes, and what they say on it: nic.datapath.v1 as messages of
//! which each may be the last that arrives.

use std::collections::VecDeque;
use std::time::Duration;

use nic_policy::{Change, Revision};

/// From nic-agent.
#[derive(Debug, Clone)]
pub(crate) enum Up {
    /// The first message.
    Handshake { lease: u64, store: u64, revision: Revision },
    /// The writer wants to hear of events. It has the lease from now on, and all before it are fenced.
    Events { lease: u64 },
    /// A Sync begins. `from`: what it leads from; `None`: it is the whole policy.
    Header { lease: u64, store: u64, from: Option<Revision>, revision: Revision },
    /// One change of it.
    Change(Box<Change>),
    /// It is whole.
    End,
}

/// From nic-datapath.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Down {
    /// The writer has that lease; this revision of its store is in force.
    Welcome { lease: u64, in_force: Option<Revision> },
    /// The Sync is in force.
    Accepted { revision: Revision },
    /// The Sync leads from another revision than the one in force.
    Gap,
    /// Why the writer, or its Sync, is refused.
    Refused(&'static str),
    /// This revision is applied.
    Applied { revision: Revision },
    /// Another writer took the lease.
    Fenced,
}

/// One direction: in order, each message some time after it was sent.
#[derive(Debug)]
pub(crate) struct Way<M> {
    messages: VecDeque<(Duration, M)>,
    /// What is said is swallowed, and nobody is told.
    pub(crate) swallows: bool,
}

impl<M> Default for Way<M> {
    fn default() -> Way<M> {
        Way { messages: VecDeque::new(), swallows: false }
    }
}

impl<M> Way<M> {
    pub(crate) fn send(&mut self, message: M, due: Duration) {
        if !self.swallows {
            let due = self.messages.back().map_or(due, |(last, _)| due.max(*last));
            self.messages.push_back((due, message));
        }
    }

    pub(crate) fn receive(&mut self, now: Duration) -> Option<M> {
        self.messages.pop_front_if(|(due, _)| *due <= now).map(|(_, message)| message)
    }

    /// What is on its way takes longer.
    fn delay(&mut self, time: Duration) {
        for (due, _) in &mut self.messages {
            *due += time;
        }
    }

    /// What arrives next.
    pub(crate) fn next(&self) -> Option<&M> {
        self.messages.front().map(|(_, message)| message)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

/// A connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) up: Way<Up>,
    pub(crate) down: Way<Down>,
    /// nic-agent still has it. What it sent before may arrive all the same.
    pub(crate) agent: bool,
    /// nic-datapath still has it.
    pub(crate) datapath: bool,
}

/// All connections to one card's nic-datapath, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Link {
    connections: Vec<Connection>,
    last: u64,
}

impl Link {
    /// nic-agent connects.
    pub(crate) fn open(&mut self) -> u64 {
        self.last += 1;
        let connection = Connection { id: self.last, agent: true, datapath: true, ..Connection::default() };
        self.connections.push(connection);
        self.last
    }

    pub(crate) fn get(&mut self, id: u64) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.id == id)
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.connections.iter().map(|connection| connection.id).collect()
    }

    /// The connection is gone for both, with all that was on its way.
    pub(crate) fn cut(&mut self, id: u64) {
        self.connections.retain(|connection| connection.id != id);
    }

    /// Every connection is gone.
    pub(crate) fn cut_all(&mut self) {
        self.connections.clear();
    }

    /// nic-agent lets go of it; what it sent still arrives, that much later.
    pub(crate) fn abandon(&mut self, id: u64, late: Duration) {
        if let Some(connection) = self.get(id) {
            connection.agent = false;
            connection.up.delay(late);
        }
        self.connections.retain(|connection| connection.agent || !connection.up.is_empty());
    }
}
