//! nic-datapath's end of the connection, and its view of the policy: what `nic_link::server` and the
//! control thread do, message by message.

use std::collections::{BTreeMap, VecDeque};

use nic_pipeline::{Snapshot, Touched};
use nic_policy::{Change, Delta, Revision};

use super::agent::FENCED;
use super::fault::Sabotage;
use super::link::{Connection, Down, Link, Up};
use super::world::Context;

/// What the worker is to do between two rounds.
#[derive(Debug)]
pub(crate) struct Publish {
    /// The next snapshot.
    pub(crate) snapshot: Snapshot,
    /// What differs.
    pub(crate) touched: Vec<Touched>,
}

/// The policy in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InForce {
    pub(crate) store: u64,
    pub(crate) revision: Revision,
}

#[derive(Debug, Default)]
pub(crate) struct Server {
    /// The greatest lease that was used.
    lease: u64,
    /// The greatest that was given out.
    issued: u64,
    /// It is another agent's.
    rivalled: bool,
    in_force: Option<InForce>,
    snapshot: Snapshot,
    /// What was read to its end and waits for its turn.
    calls: VecDeque<Call>,
    /// What the worker has and did not confirm.
    publishing: Option<Publishing>,
    sessions: BTreeMap<u64, Incoming>,
}

/// One connection, as far as it was read.
#[derive(Debug, Default)]
struct Incoming {
    sync: Option<(Header, Vec<Change>)>,
    /// The lease under which it hears of events.
    events: Option<u64>,
    told: Option<Revision>,
}

#[derive(Debug, Clone, Copy)]
struct Header {
    lease: u64,
    store: u64,
    from: Option<Revision>,
    revision: Revision,
}

#[derive(Debug)]
enum Call {
    Handshake {
        connection: u64,
        lease: u64,
        store: u64,
        revision: Revision,
    },
    /// `judged`: whether it may be, if that was asked before its turn.
    Sync {
        connection: u64,
        header: Header,
        changes: Vec<Change>,
        judged: Option<Result<(), Down>>,
    },
}

#[derive(Debug)]
struct Publishing {
    connection: u64,
    next: InForce,
    snapshot: Snapshot,
    done: bool,
}

impl Server {
    /// Starts with a policy in force, or closed.
    pub(crate) fn new(in_force: Option<InForce>, snapshot: Snapshot) -> Server {
        Server { in_force, snapshot, ..Server::default() }
    }

    pub(crate) const fn in_force(&self) -> Option<InForce> {
        self.in_force
    }

    /// True if another agent has the lease.
    pub(crate) const fn is_rivalled(&self) -> bool {
        self.rivalled
    }

    /// True if the worker has a policy that it did not confirm.
    pub(crate) const fn is_publishing(&self) -> bool {
        self.publishing.is_some()
    }

    /// True if nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.publishing.is_none() && self.calls.is_empty()
    }

    /// Another agent, of the same store, takes the lease and goes away.
    pub(crate) fn rival(&mut self) -> bool {
        if self.lease == 0 {
            return false;
        }
        self.issued += 1;
        self.lease = self.issued;
        self.rivalled = true;
        true
    }

    /// The worker has the policy.
    pub(crate) fn published(&mut self) {
        if let Some(publishing) = &mut self.publishing {
            publishing.done = true;
        }
    }

    /// Reads what arrived, answers, and tells what is applied. Returns what the worker is to publish.
    pub(crate) fn step(&mut self, link: &mut Link, applied: Revision, ctx: &mut Context) -> Option<Publish> {
        for id in link.ids() {
            while let Some(message) = link.get(id).and_then(|connection| connection.up.receive(ctx.now)) {
                self.read(id, message, ctx);
            }
            // What an agent left behind has been read to its end.
            if link.get(id).is_some_and(|connection| !connection.agent && connection.up.is_empty()) {
                link.cut(id);
            }
        }
        self.lose_sessions(link, ctx);
        self.finish(link, ctx);
        let publish = self.serve(link, ctx);
        self.tell(link, applied, ctx);
        publish
    }

    /// What was read of connections that are gone is forgotten, but for what was read whole.
    fn lose_sessions(&mut self, link: &mut Link, ctx: &mut Context) {
        self.sessions.retain(|&id, incoming| {
            let lives = link.get(id).is_some_and(|connection| connection.datapath);
            if !lives
                && ctx.sabotage == Some(Sabotage::NoEnd)
                && let Some((header, changes)) = incoming.sync.take()
            {
                self.calls.push_back(Call::Sync { connection: id, header, changes, judged: None });
            }
            lives
        });
        if ctx.sabotage == Some(Sabotage::RacySync) {
            // Whoever handles a call is gone with its connection.
            let lives = |link: &mut Link, id| link.get(id).is_some_and(|connection| connection.agent);
            self.calls.retain(|call| match call {
                Call::Handshake { .. } => true,
                Call::Sync { connection, .. } => lives(link, *connection),
            });
            self.publishing.take_if(|publishing| !lives(link, publishing.connection));
        }
    }

    fn read(&mut self, id: u64, message: Up, ctx: &mut Context) {
        let incoming = self.sessions.entry(id).or_default();
        match message {
            Up::Handshake { lease, store, revision } => {
                self.calls.push_back(Call::Handshake { connection: id, lease, store, revision });
            }
            Up::Events { lease } => {
                incoming.events = Some(lease);
                if lease > self.lease {
                    self.lease = lease;
                    self.rivalled = false;
                    ctx.say(format_args!("lease {lease} is used"));
                }
            }
            Up::Header { lease, store, from, revision } => {
                incoming.sync = Some((Header { lease, store, from, revision }, Vec::new()));
            }
            Up::Change(change) => {
                if let Some((_, changes)) = &mut incoming.sync {
                    changes.push(*change);
                }
            }
            Up::End => {
                let Some((header, changes)) = incoming.sync.take() else { return };
                ctx.say(format_args!("datapath has read {:?} to {:?}", header.from, header.revision));
                // Whether it may be is to be asked when its turn has come.
                let judged = (ctx.sabotage == Some(Sabotage::RacySync)).then(|| self.may(&header, ctx));
                self.calls.push_back(Call::Sync { connection: id, header, changes, judged });
            }
        }
    }

    /// The worker has the policy: it is in force.
    fn finish(&mut self, link: &mut Link, ctx: &mut Context) {
        let Some(publishing) = self.publishing.take_if(|publishing| publishing.done) else { return };
        self.in_force = Some(publishing.next);
        self.snapshot = publishing.snapshot;
        ctx.say(format_args!("datapath accepted {:?}", publishing.next.revision));
        answer(link, publishing.connection, Down::Accepted { revision: publishing.next.revision }, ctx);
    }

    /// Does what waits, one after the other; nobody overtakes what is being published.
    fn serve(&mut self, link: &mut Link, ctx: &mut Context) -> Option<Publish> {
        while self.publishing.is_none() || ctx.sabotage == Some(Sabotage::RacySync) {
            let shakes = matches!(self.calls.front(), Some(Call::Handshake { .. }));
            if self.publishing.is_some() && !shakes {
                return None;
            }
            match self.calls.pop_front()? {
                Call::Handshake { connection, lease, store, revision } => {
                    let reply = self.shake(lease, store, revision, ctx);
                    answer(link, connection, reply, ctx);
                }
                Call::Sync { connection, header, changes, judged } => {
                    match judged.unwrap_or_else(|| self.may(&header, ctx)) {
                        Err(reply) => answer(link, connection, reply, ctx),
                        Ok(()) => return Some(self.begin(connection, header, changes, ctx)),
                    }
                }
            }
        }
        None
    }

    fn begin(&mut self, connection: u64, header: Header, changes: Vec<Change>, ctx: &mut Context) -> Publish {
        let delta = Delta { revision: header.revision, replace_all: header.from.is_none(), changes };
        let (snapshot, touched) = self.snapshot.apply(&delta).expect("an agent sends sound deltas");
        let next = InForce { store: header.store, revision: header.revision };
        self.publishing = Some(Publishing { connection, next, snapshot: snapshot.clone(), done: false });
        let touched = if ctx.sabotage == Some(Sabotage::NothingTouched) { Vec::new() } else { touched };
        Publish { snapshot, touched }
    }

    fn shake(&mut self, lease: u64, store: u64, revision: Revision, ctx: &Context) -> Down {
        if let Some(refusal) = self.misfit(store, revision) {
            return refusal;
        }
        let lease = match lease {
            0 => self.issued.max(self.lease) + 1,
            lease if self.lease > lease => return Down::Refused(FENCED),
            lease => lease,
        };
        self.issued = self.issued.max(lease);
        if ctx.sabotage == Some(Sabotage::LeaseUnused) {
            self.lease = lease;
        }
        let ours = self.in_force.filter(|in_force| in_force.store == store);
        Down::Welcome { lease, in_force: ours.map(|in_force| in_force.revision) }
    }

    /// A policy of another store or an older one is not taken.
    fn misfit(&self, store: u64, revision: Revision) -> Option<Down> {
        let in_force = self.in_force?;
        if in_force.store != store {
            return Some(Down::Refused("another store"));
        }
        (revision < in_force.revision).then_some(Down::Refused("an older revision"))
    }

    /// Whether a Sync may be published now.
    fn may(&self, header: &Header, ctx: &Context) -> Result<(), Down> {
        if self.lease != header.lease && ctx.sabotage != Some(Sabotage::NoFence) {
            return Err(Down::Refused(FENCED));
        }
        if let Some(refusal) = self.misfit(header.store, header.revision)
            && ctx.sabotage != Some(Sabotage::NoFence)
        {
            return Err(refusal);
        }
        let in_force = self.in_force.map(|in_force| in_force.revision);
        match header.from {
            Some(from) if in_force != Some(from) => Err(Down::Gap),
            _ => Ok(()),
        }
    }

    /// Tells who listens what is applied, or that another writes.
    fn tell(&mut self, link: &mut Link, applied: Revision, ctx: &mut Context) {
        for (&id, incoming) in &mut self.sessions {
            let Some(lease) = incoming.events else { continue };
            if self.lease > lease {
                incoming.events = None;
                answer(link, id, Down::Fenced, ctx);
            } else if incoming.told != Some(applied) {
                incoming.told = Some(applied);
                answer(link, id, Down::Applied { revision: applied }, ctx);
            }
        }
    }
}

fn answer(link: &mut Link, id: u64, message: Down, ctx: &mut Context) {
    let due = ctx.travel();
    if let Some(Connection { down, agent: true, .. }) = link.get(id) {
        down.send(message, due);
    }
}
