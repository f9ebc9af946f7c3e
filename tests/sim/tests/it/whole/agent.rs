//! nic-agent, as far as it speaks with nic-datapath: what `nic_link::client` does, message by message.

use std::collections::VecDeque;
use std::time::Duration;

use nic_policy::Revision;

use super::fault::Sabotage;
use super::link::{Down, Link, Up};
use super::store::{Store, everything};
use super::world::Context;

/// The first pause before another attempt to connect; it doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_millis(160);
/// How long an answer may take.
const CALL_TIMEOUT: Duration = Duration::from_millis(200);

/// One run of the process.
#[derive(Debug)]
pub(crate) struct Agent {
    /// What the last handshake gave; 0 before the first.
    lease: u64,
    session: Session,
    pause: Duration,
    /// The newest revision that is applied, as far as was told.
    pub(crate) applied: Option<Revision>,
}

#[derive(Debug)]
enum Session {
    Down { until: Duration },
    Shaking { connection: u64, since: Duration },
    Up { connection: u64, in_force: Option<Revision>, sync: Option<Sync> },
}

/// A Sync on its way.
#[derive(Debug)]
struct Sync {
    /// What was not sent yet.
    left: VecDeque<Up>,
    since: Duration,
}

/// How far an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There is no connection.
    Away,
    /// A commit was not sent yet.
    BeforeSync,
    /// A part of a Sync was sent.
    InSync,
    /// All was sent and not answered, or accepted and not applied.
    BeforeApplied,
    /// All is applied.
    Idle,
}

impl Agent {
    pub(crate) const fn new(now: Duration) -> Agent {
        Agent { lease: 0, session: Session::Down { until: now }, pause: MIN_PAUSE, applied: None }
    }

    /// The connection that it has.
    pub(crate) const fn connection(&self) -> Option<u64> {
        match self.session {
            Session::Down { .. } => None,
            Session::Shaking { connection, .. } | Session::Up { connection, .. } => Some(connection),
        }
    }

    pub(crate) fn phase(&self, newest: Revision) -> Phase {
        match &self.session {
            Session::Down { .. } | Session::Shaking { .. } => Phase::Away,
            Session::Up { sync: Some(sync), .. } if !sync.left.is_empty() => Phase::InSync,
            Session::Up { sync: Some(_), .. } => Phase::BeforeApplied,
            Session::Up { in_force, .. } if *in_force != Some(newest) => Phase::BeforeSync,
            Session::Up { .. } if self.applied != Some(newest) => Phase::BeforeApplied,
            Session::Up { .. } => Phase::Idle,
        }
    }

    /// Does a part of what there is to do.
    pub(crate) fn step(&mut self, store: &dyn Store, link: &mut Link, up: bool, ctx: &mut Context) {
        match self.session {
            Session::Down { until } if ctx.now >= until => self.connect(store, link, up, ctx),
            Session::Down { .. } => {}
            Session::Shaking { .. } | Session::Up { .. } => self.serve(store, link, ctx),
        }
    }

    fn connect(&mut self, store: &dyn Store, link: &mut Link, up: bool, ctx: &mut Context) {
        if !up {
            self.fall(ctx, "nobody listens");
            return;
        }
        let connection = link.open();
        ctx.say(format_args!("agent connects ({connection})"));
        let revision = store.state().revision();
        let due = ctx.travel();
        if let Some(opened) = link.get(connection) {
            opened.up.send(Up::Handshake { lease: self.lease, store: ctx.store(), revision }, due);
        }
        self.session = Session::Shaking { connection, since: ctx.now };
    }

    /// The connection is lost or useless.
    fn fall(&mut self, ctx: &mut Context, why: &str) {
        ctx.say(format_args!("agent is disconnected: {why}"));
        let broken = ctx.sabotage == Some(Sabotage::NoReconnect) && self.lease != 0;
        let pause = if broken { Duration::MAX / 2 } else { self.pause };
        self.session = Session::Down { until: ctx.now + pause };
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }

    fn give_up(&mut self, link: &mut Link, ctx: &mut Context, why: &str) {
        if let Some(connection) = self.connection() {
            link.abandon(connection, Duration::ZERO);
        }
        self.fall(ctx, why);
    }

    fn serve(&mut self, store: &dyn Store, link: &mut Link, ctx: &mut Context) {
        let Some(id) = self.connection() else { return };
        while let Some(message) = link.get(id).and_then(|connection| connection.down.receive(ctx.now)) {
            self.heed(message, store, link, ctx);
            if self.connection() != Some(id) {
                return;
            }
        }
        if !link.get(id).is_some_and(|connection| connection.datapath) {
            link.cut(id);
            self.fall(ctx, "the other end closed");
            return;
        }
        let since = match &self.session {
            Session::Shaking { since, .. } | Session::Up { sync: Some(Sync { since, .. }), .. } => *since,
            _ => ctx.now,
        };
        if ctx.now.saturating_sub(since) > CALL_TIMEOUT {
            self.give_up(link, ctx, "no answer");
            return;
        }
        self.bring(store, link, ctx);
    }

    /// Sends what leads to the newest revision, bit by bit.
    fn bring(&mut self, store: &dyn Store, link: &mut Link, ctx: &mut Context) {
        let newest = store.state().revision();
        let lease = self.lease;
        let Session::Up { connection, in_force, sync } = &mut self.session else { return };
        if sync.is_none() && *in_force != Some(newest) {
            let from = in_force.filter(|&from| store.since(from).is_some());
            *sync = Some(begin(store, from, lease, ctx));
        }
        let Some(sync) = sync else { return };
        let room = ctx.random.below(8);
        for _ in 0..room {
            let Some(message) = sync.left.pop_front() else { return };
            let due = ctx.travel();
            if let Some(connection) = link.get(*connection) {
                connection.up.send(message, due);
            }
        }
    }

    fn heed(&mut self, message: Down, store: &dyn Store, link: &mut Link, ctx: &mut Context) {
        match (message, &mut self.session) {
            (Down::Welcome { lease, in_force }, Session::Shaking { connection, .. }) => {
                self.lease = lease;
                self.applied = None;
                let due = ctx.travel();
                if let Some(connection) = link.get(*connection) {
                    connection.up.send(Up::Events { lease }, due);
                }
                self.session = Session::Up { connection: *connection, in_force, sync: None };
                ctx.say(format_args!("agent holds lease {lease}, in force: {in_force:?}"));
            }
            (Down::Accepted { revision }, Session::Up { in_force, sync, .. }) => {
                *in_force = Some(revision);
                *sync = None;
                self.pause = MIN_PAUSE;
            }
            (Down::Gap, Session::Up { sync, .. }) => {
                *sync = Some(begin(store, None, self.lease, ctx));
            }
            (Down::Applied { revision }, Session::Up { .. }) => self.applied = Some(revision),
            (Down::Fenced, _) => self.give_up(link, ctx, FENCED),
            (Down::Refused(why), _) => self.give_up(link, ctx, why),
            _ => self.give_up(link, ctx, "an answer to nothing"),
        }
    }
}

/// Why a writer is refused whose lease another took.
pub(crate) const FENCED: &str = "the lease is fenced";

fn begin(store: &dyn Store, from: Option<Revision>, lease: u64, ctx: &mut Context) -> Sync {
    let incremental = from.and_then(|from| store.since(from));
    let from = from.filter(|_| incremental.is_some());
    let delta = incremental.unwrap_or_else(|| everything(&store.state()));
    ctx.say(format_args!("agent sends {from:?} to {:?}, {} changes", delta.revision, delta.changes.len()));
    let header = Up::Header { lease, store: ctx.store(), from, revision: delta.revision };
    let changes = delta.changes.into_iter().map(|change| Up::Change(Box::new(change)));
    Sync { left: [header].into_iter().chain(changes).chain([Up::End]).collect(), since: ctx.now }
}
