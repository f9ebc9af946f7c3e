//! Faults: how they begin, and how all of them end.

use std::time::Duration;

use sim::card::Faults;

use super::agent::{Agent, Phase};
use super::fault::Fault;
use super::link::Up;
use super::resources::{self, DEVICES};
use super::store::Disk;
use super::world::{Context, LATE, Node, PLENTY, World};

impl World {
    /// Anything happens.
    pub(crate) fn step(&mut self) {
        let card = self.ctx.random.below(self.nodes.len() as u64) as usize;
        if self.ctx.random.chance(self.faults) {
            self.at(card, Node::fault);
            return;
        }
        match self.ctx.random.below(90) {
            0..=27 => {
                for _ in 0..=self.ctx.random.below(3) {
                    self.at(card, Node::traffic);
                }
            }
            28..=67 => self.at(card, Node::part),
            68..=79 => {
                let time = Duration::from_micros(1 << self.ctx.random.below(17));
                self.pass(time);
                // Messages that wait for one another need more than one turn.
                for _ in 0..self.ctx.random.below(4) {
                    self.all(Node::step_all);
                    self.pass(Duration::from_millis(1));
                }
            }
            80..=87 => self.at(card, Node::change),
            _ if self.ctx.random.chance(40) => {
                self.ctx.reach.met(Fault::ClockJump);
                let seconds = 1 + self.ctx.random.below(4);
                self.ctx.say(format_args!("the clock jumps by {seconds} s"));
                self.pass(Duration::from_secs(seconds));
            }
            _ => {
                // Some peace.
                for _ in 0..20 {
                    self.all(Node::step_all);
                    self.pass(Duration::from_millis(5));
                }
            }
        }
    }
}

impl Node {
    /// A client changes something, or changes it back.
    fn change(&mut self, ctx: &mut Context) {
        let undo = if ctx.random.chance(35) { self.undo.take() } else { None };
        let time = ctx.now.as_micros() as u64;
        let transaction = undo.unwrap_or_else(|| resources::any(&mut ctx.random, &self.store.state(), time));
        self.submit(transaction, ctx);
    }

    /// One part of the card, or all of them, have a turn.
    fn part(&mut self, ctx: &mut Context) {
        match ctx.random.below(9) {
            0 if self.agent.is_none() && ctx.random.chance(50) => self.start_agent(ctx),
            0 => self.step_agent(ctx),
            1 if self.datapath.is_none() && ctx.random.chance(50) => self.start_datapath(ctx),
            1 => self.step_control(ctx),
            2 => self.step_commands(ctx),
            3 | 4 => drop(self.round(ctx)),
            5 | 6 => self.step_all(ctx),
            part => {
                let n = ctx.random.below(8) as usize;
                let Some(datapath) = &mut self.datapath else { return };
                if part == 7 {
                    datapath.hand_over(n, ctx);
                    datapath.offload(ctx);
                } else {
                    datapath.deliver(n, false, ctx);
                }
            }
        }
    }

    /// A fault begins, or ends.
    fn fault(&mut self, ctx: &mut Context) {
        match ctx.random.below(20) {
            0..=3 => self.card_faults(ctx),
            4 => {
                ctx.say(format_args!("all rules are lost"));
                ctx.reach.met(Fault::RulesLost);
                self.card.lose_rules();
            }
            5 => {
                let port = ctx.random.pick(DEVICES);
                let stalled = ctx.random.chance(50);
                ctx.say(format_args!("the queue of {port} is stalled: {stalled}"));
                self.card.set_stalled(port, stalled);
            }
            6 => {
                let room = ctx.random.pick(&[0, 1, PLENTY]);
                ctx.say(format_args!("ports take {room} packets"));
                DEVICES.iter().for_each(|&port| self.card.set_room(port, room));
            }
            7 => self.card.set_buffers(ctx.random.pick(&[0, 0, 2, PLENTY])),
            8 => {
                let until = ctx.now + Duration::from_micros(ctx.random.below(50_000));
                if let Some(datapath) = &mut self.datapath {
                    ctx.say(format_args!("the card blocks the offload thread until {until:?}"));
                    datapath.blocked = until;
                }
            }
            9 | 10 => self.agent_faults(ctx),
            11 | 12 => self.datapath_faults(ctx),
            13 => self.disk = ctx.random.pick(&[Disk::Full, Disk::Full, Disk::Torn, Disk::Well]),
            14 => {
                let failed = self.keeps && ctx.random.chance(60);
                self.fail_kept(failed, ctx);
            }
            _ => self.link_faults(ctx),
        }
    }

    fn card_faults(&mut self, ctx: &mut Context) {
        self.note_hits(ctx);
        let random = &mut ctx.random;
        let mut faults = Faults::default();
        for _ in 0..=random.below(3) {
            match random.below(9) {
                0 => faults.busy = random.pick(&[20, 100]),
                1 => faults.full = random.pick(&[20, 100]),
                2 => faults.broken = 20,
                3 => faults.lagging = random.pick(&[30, 100]),
                4 => faults.lost = 20,
                5 => faults.undestroyed = random.pick(&[30, 100]),
                6 => faults.unread = random.pick(&[30, 100]),
                7 => faults.stale = 50,
                _ => faults.stale = 100,
            }
        }
        self.frozen = faults.stale == 100;
        self.card.set_faults(faults);
        ctx.say(format_args!("the card: {faults:?}"));
    }

    fn agent_faults(&mut self, ctx: &mut Context) {
        if ctx.random.chance(50) {
            self.change(ctx);
            (0..ctx.random.below(6)).for_each(|_| self.step_agent(ctx));
        }
        let Some(agent) = &self.agent else {
            self.start_agent(ctx);
            return;
        };
        let phase = agent.phase(self.newest());
        match phase {
            Phase::Away => {}
            Phase::BeforeSync => ctx.reach.met(Fault::AgentDiesBeforeSync),
            Phase::InSync => ctx.reach.met(Fault::AgentDiesInSync),
            Phase::BeforeApplied => ctx.reach.met(Fault::AgentDiesBeforeApplied),
            Phase::Idle => ctx.reach.met(Fault::AgentDiesIdle),
        }
        ctx.say(format_args!("agent dies ({phase:?})"));
        self.kill_agent(ctx);
    }

    fn datapath_faults(&mut self, ctx: &mut Context) {
        if self.datapath.is_none() {
            self.start_datapath(ctx);
            return;
        }
        ctx.reach.met(if self.keeps { Fault::DatapathDies } else { Fault::DatapathDiesClosed });
        self.kill_datapath(ctx);
        if ctx.random.chance(50) {
            self.start_datapath(ctx);
        }
    }

    fn fail_kept(&mut self, failed: bool, ctx: &mut Context) {
        if failed {
            ctx.reach.met(Fault::KeptFails);
        }
        self.kept.set_failed(failed);
        // Whoever finds the disk well again writes what is in force.
        if let (false, Some(datapath)) = (failed, &self.datapath) {
            datapath.keep(self.kept.as_mut(), ctx);
        }
    }

    fn link_faults(&mut self, ctx: &mut Context) {
        if ctx.random.chance(50) {
            // Most connections are silent most of the time: something is on its way when it breaks.
            self.change(ctx);
            (0..ctx.random.below(6)).for_each(|_| self.step_agent(ctx));
        }
        let Some(id) = self.agent.as_ref().and_then(Agent::connection) else { return };
        let in_sync = self.agent.as_ref().map(|agent| agent.phase(self.newest())) == Some(Phase::InSync);
        let publishing = self.datapath.as_ref().is_some_and(|datapath| datapath.server.is_publishing());
        let late = Duration::from_micros(ctx.random.below(LATE));
        let Some(connection) = self.link.get(id) else { return };
        let fault = match ctx.random.below(6) {
            0 => {
                connection.up.swallows = true;
                Fault::HalfOpenUp
            }
            1 => {
                connection.down.swallows = true;
                Fault::HalfOpenDown
            }
            2 | 3 => {
                self.link.abandon(id, late);
                Fault::Duplicated
            }
            4 if ctx.random.chance(30) => {
                let Some(datapath) = &mut self.datapath else { return };
                if !datapath.server.rival() {
                    return;
                }
                Fault::Fenced
            }
            _ => {
                let end = matches!(connection.up.next(), Some(Up::End));
                self.link.cut(id);
                match (publishing, end, in_sync) {
                    (true, ..) => Fault::LinkCutInPublish,
                    (_, true, _) => Fault::LostEnd,
                    (.., true) => Fault::LinkCutInSync,
                    _ => Fault::LinkCut,
                }
            }
        };
        ctx.reach.met(fault);
        ctx.say(format_args!("{}", fault.name()));
    }

    /// All faults end. What died is started, what hangs is cut.
    pub(crate) fn heal(&mut self, ctx: &mut Context) {
        self.note_hits(ctx);
        ctx.say(format_args!("the last fault is over"));
        self.card.set_faults(Faults::default());
        self.card.set_buffers(PLENTY);
        for &port in DEVICES {
            self.card.set_stalled(port, false);
            self.card.set_room(port, PLENTY);
        }
        self.disk = Disk::Well;
        self.start_datapath(ctx);
        if let Some(datapath) = &mut self.datapath {
            datapath.blocked = ctx.now;
        }
        self.fail_kept(false, ctx);
        for id in self.link.ids() {
            if self.link.get(id).is_some_and(|connection| connection.up.swallows || connection.down.swallows)
            {
                self.link.cut(id);
            }
        }
        // Only a new run takes the lease back from another.
        if self.datapath.as_ref().is_some_and(|datapath| datapath.server.is_rivalled()) {
            self.kill_agent(ctx);
        }
        self.start_agent(ctx);
    }

    /// What is left to do until all is as the newest revision says, everywhere.
    pub(crate) fn unfinished(&self) -> Option<String> {
        let newest = self.newest();
        let (Some(agent), Some(datapath)) = (&self.agent, &self.datapath) else {
            return Some("somebody is dead".to_owned());
        };
        if agent.applied != Some(newest) || agent.phase(newest) != Phase::Idle {
            return Some(format!(
                "{newest:?} is not applied: {agent:?}; datapath: {:?}, worker {:?}, reported {:?}, {:?}",
                datapath.server.in_force(),
                datapath.worker.applied(),
                datapath.reported,
                datapath.installer
            ));
        }
        // A card that is full is asked again and again.
        if !datapath.is_at_rest() || !(datapath.installer.is_idle() || self.is_full()) {
            return Some(format!("not at rest: {:?}", datapath.installer));
        }
        self.tiers()
    }
}
