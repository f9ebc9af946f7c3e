//! nic-datapath: worker, offload thread and control thread, run step by step.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use nic_flow::PortId;
use nic_pipeline::Snapshot;
use nic_policy::{Change, Delta, Revision};
use nic_slowpath::{Completion, Config, Installer, InstallerConfig, Polled, Request, Worker};
use sim::card::{Card, CardIo, CardRules};
use sim::frame::Frame;

use super::fault::{Fault, Sabotage};
use super::kept::{Kept, Policy};
use super::link::Link;
use super::resources::DEVICES;
use super::server::{InForce, Publish, Server};
use super::world::Context;
use crate::slowpath::world::subject;

/// Requests that may wait for the offload thread.
const REQUESTS: usize = 16;

/// One run of the process.
pub(crate) struct Datapath {
    pub(crate) worker: Worker<CardIo>,
    pub(crate) installer: Installer<CardRules>,
    pub(crate) server: Server,
    /// What the worker is to publish before its next round.
    commands: VecDeque<Publish>,
    requests: Vec<Request>,
    completions: Vec<Completion>,
    /// The revision that the worker translates by.
    pub(crate) translates: Revision,
    /// The newest revision that was reported applied.
    pub(crate) reported: Revision,
    /// Until when the card blocks the offload thread.
    pub(crate) blocked: Duration,
    /// Removes that came, for whoever leaves some of them out.
    removes: u64,
    /// Buffers that were lost.
    leaked: Vec<Frame>,
    /// Packets that entered since it was started, by port.
    pub(crate) entered: BTreeMap<PortId, u64>,
    /// Of those, packets that rules took.
    pub(crate) by_rules: BTreeMap<PortId, u64>,
}

impl Datapath {
    /// Starts from what was kept, or closed.
    pub(crate) fn start(
        card: &Card,
        configs: (Config, InstallerConfig),
        kept: Option<Policy>,
        now: Duration,
    ) -> Datapath {
        let (closed, _) = Snapshot::empty().with_devices(DEVICES);
        let mut worker = Worker::new(card.io(), configs.0);
        let (mut snapshot, mut in_force) = (closed, None);
        let mut touched = Vec::new();
        if let Some(policy) = kept {
            in_force = Some(InForce { store: policy.store, revision: policy.full.revision });
            (snapshot, touched) = snapshot.apply(&policy.full).expect("what was kept is sound");
        }
        worker.publish(snapshot.clone(), &touched, now);
        let revision = snapshot.revision();
        Datapath {
            worker,
            installer: Installer::new(card.rule_sink(), configs.1),
            server: Server::new(in_force, snapshot),
            commands: VecDeque::new(),
            requests: Vec::new(),
            completions: Vec::new(),
            translates: revision,
            reported: Revision(0),
            blocked: Duration::ZERO,
            removes: 0,
            leaked: Vec::new(),
            entered: BTreeMap::new(),
            by_rules: BTreeMap::new(),
        }
    }

    /// The oldest policy that may still forward: all older ones are said to be gone.
    pub(crate) fn oldest(&self) -> Revision {
        self.worker.applied().max(self.reported)
    }

    /// The control thread's turn.
    pub(crate) fn control(&mut self, link: &mut Link, kept: &mut dyn Kept, ctx: &mut Context) {
        let applied = match ctx.sabotage {
            Some(Sabotage::AppliedEarly) => self.translates,
            _ => self.worker.applied(),
        };
        self.reported = self.reported.max(applied.min(kept.reportable(ctx.now)));
        if let Some(publish) = self.server.step(link, self.reported, ctx) {
            self.commands.push_back(publish);
        }
    }

    /// The worker takes over what is to be published. True if it did.
    pub(crate) fn take_over(&mut self, kept: &mut dyn Kept, ctx: &mut Context) -> bool {
        let Some(publish) = self.commands.pop_front() else { return false };
        self.translates = publish.snapshot.revision();
        ctx.say(format_args!("worker translates by {:?}", self.translates));
        self.worker.publish(publish.snapshot, &publish.touched, ctx.now);
        self.server.published();
        self.keep(kept, ctx);
        true
    }

    /// Begins to keep the policy that the worker has.
    pub(crate) fn keep(&self, kept: &mut dyn Kept, ctx: &mut Context) {
        if self.translates == Revision(0) {
            return;
        }
        let snapshot = self.worker.snapshot();
        let objects = snapshot.ids().filter_map(|id| snapshot.object(id));
        let full = Delta {
            revision: self.translates,
            replace_all: true,
            changes: objects.map(Change::Put).collect(),
        };
        kept.keep(Policy { store: ctx.store(), full }, ctx.now, &mut ctx.random);
    }

    /// One round of the worker.
    pub(crate) fn round(&mut self, ctx: &Context) -> Polled {
        self.worker.poll(ctx.now)
    }

    /// The worker hands requests to the offload thread.
    pub(crate) fn hand_over(&mut self, room: usize, ctx: &mut Context) {
        let room = room.min(REQUESTS.saturating_sub(self.requests.len()));
        let Datapath { worker, requests, completions, removes, .. } = self;
        worker.take_requests(room, |request| {
            if let (Request::Remove { id }, Some(Sabotage::NoRemove)) = (&request, ctx.sabotage) {
                *removes += 1;
                if removes.is_multiple_of(2) {
                    completions.push(Completion::Removed { id: *id, counters: Default::default() });
                    return;
                }
            }
            requests.push(request);
        });
    }

    /// The offload thread's turn, unless the card blocks it.
    pub(crate) fn offload(&mut self, ctx: &mut Context) {
        if ctx.now < self.blocked {
            ctx.reach.met(Fault::OffloadBlocked);
            return;
        }
        if ctx.sabotage == Some(Sabotage::NoRetry) && self.requests.is_empty() {
            return;
        }
        for request in self.requests.drain(..) {
            self.installer.submit(request);
        }
        let completions = &mut self.completions;
        self.installer.poll(ctx.now, &mut |completion| completions.push(completion));
    }

    /// Delivers up to `n` answers, in any order but for those about one rule.
    pub(crate) fn deliver(&mut self, n: usize, ordered: bool, ctx: &mut Context) {
        for _ in 0..n.min(self.completions.len()) {
            let at = if ordered { 0 } else { ctx.random.below(self.completions.len() as u64) as usize };
            let id = subject(&self.completions[at]);
            let first = self.completions.iter().position(|other| id.is_some() && subject(other) == id);
            let at = first.unwrap_or(at);
            if at > 0 {
                ctx.reach.met(Fault::OutOfOrder);
            }
            let completion = self.completions.remove(at);
            self.worker.complete(completion, ctx.now);
        }
    }

    /// True if nobody waits for anybody.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.commands.is_empty()
            && self.server.is_idle()
            && self.requests.is_empty()
            && self.completions.is_empty()
    }

    /// A buffer that nobody gives back.
    pub(crate) fn leak(&mut self, frame: Frame) {
        self.leaked.push(frame);
    }
}
