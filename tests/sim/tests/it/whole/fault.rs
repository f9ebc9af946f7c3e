//! What goes wrong in a run, how often it did, and what a deliberately broken run leaves out.

use sim::card::Hits;

/// Defines the kinds of faults with their names.
macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// All of them, in the order of their declaration.
            pub(crate) const ALL: &'static [Fault] = &[$(Fault::$name,)*];

            /// As a person would call it.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Fault::$name => $text,)*
                }
            }
        }
    };
}

faults! {
    /// The card says that it is full.
    CreateFull = "creation refused: full",
    /// The card says that it is busy.
    CreateBusy = "creation refused: busy",
    /// The driver has an error of its own.
    CreateErrno = "creation refused: errno",
    /// A rule forwards only some time after it was created.
    CreateLags = "creation lags",
    /// A rule is lost as it is created.
    RuleLost = "rule lost at creation",
    /// All rules of a card are lost.
    RulesLost = "all rules lost",
    /// The card does not destroy a rule.
    DestroyFails = "destruction fails",
    /// A counter is read as it was before.
    CounterLate = "counter late",
    /// All counters are read as they were before.
    CounterFrozen = "counters frozen",
    /// A counter cannot be read.
    CounterUnread = "counter unreadable",
    /// Answers of the offload thread come in another order.
    OutOfOrder = "answers out of order",
    /// The offload thread is blocked by the card.
    OffloadBlocked = "offload thread blocked",
    /// The slow path gets no packets of a port.
    ReceiveStalled = "representor queue stalled",
    /// A port takes no packets of the slow path.
    TransmitStalled = "representor takes nothing",
    /// There are no buffers for copies.
    NoBuffers = "no buffers",
    /// nic-agent dies while all is applied.
    AgentDiesIdle = "agent dies idle",
    /// nic-agent dies between a commit and its Sync.
    AgentDiesBeforeSync = "agent dies before sync",
    /// nic-agent dies within a Sync.
    AgentDiesInSync = "agent dies in mid sync",
    /// nic-agent dies when a Sync is accepted and not applied.
    AgentDiesBeforeApplied = "agent dies before applied",
    /// nic-agent dies within a commit, of which the disk may have a part.
    TornWrite = "torn write of the store",
    /// The store's disk is full.
    DiskFull = "disk full",
    /// nic-datapath dies and starts from the policy that it kept.
    DatapathDies = "datapath dies, policy kept",
    /// nic-datapath dies and starts closed.
    DatapathDiesClosed = "datapath dies, starts closed",
    /// The disk of the kept policy fails.
    KeptFails = "kept policy cannot be written",
    /// The connection is cut.
    LinkCut = "link cut",
    /// The connection is cut within a Sync.
    LinkCutInSync = "link cut in mid sync",
    /// The connection is cut right before the end of a Sync.
    LostEnd = "end of a sync lost",
    /// The connection is cut while the worker takes the policy over.
    LinkCutInPublish = "link cut while a policy is taken over",
    /// What nic-agent says is swallowed.
    HalfOpenUp = "half-open towards datapath",
    /// What nic-datapath says is swallowed.
    HalfOpenDown = "half-open towards agent",
    /// What was sent on a connection that nic-agent gave up arrives beside the next one.
    Duplicated = "duplicated connection",
    /// Another agent takes the lease.
    Fenced = "lease fenced",
    /// The clock jumps.
    ClockJump = "clock jump",
}

/// How often each kind was met.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    counts: [u64; Fault::ALL.len()],
    /// Packets that rules took.
    pub(crate) by_rules: u64,
    /// Packets that the slow path took.
    pub(crate) by_software: u64,
    /// Rules that were found lost and installed again.
    pub(crate) reinstalled: u64,
    /// Runs.
    pub(crate) runs: u64,
}

impl Default for Reach {
    fn default() -> Reach {
        Reach { counts: [0; Fault::ALL.len()], by_rules: 0, by_software: 0, reinstalled: 0, runs: 0 }
    }
}

impl Reach {
    pub(crate) const fn met(&mut self, fault: Fault) {
        self.add(fault, 1);
    }

    pub(crate) const fn add(&mut self, fault: Fault, times: u64) {
        self.counts[fault as usize] += times;
    }

    pub(crate) const fn of(&self, fault: Fault) -> u64 {
        self.counts[fault as usize]
    }

    /// What a card did of itself.
    pub(crate) const fn card(&mut self, hits: &Hits) {
        self.add(Fault::CreateFull, hits.full);
        self.add(Fault::CreateBusy, hits.busy);
        self.add(Fault::CreateErrno, hits.broken);
        self.add(Fault::CreateLags, hits.lagging);
        self.add(Fault::RuleLost, hits.lost);
        self.add(Fault::DestroyFails, hits.undestroyed);
        self.add(Fault::CounterUnread, hits.unread);
        self.add(Fault::ReceiveStalled, hits.stalled);
        self.add(Fault::TransmitStalled, hits.unsent);
        self.add(Fault::NoBuffers, hits.unbuffered);
    }

    /// Adds what another count says.
    pub(crate) fn merge(&mut self, other: &Reach) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.by_rules += other.by_rules;
        self.by_software += other.by_software;
        self.reinstalled += other.reinstalled;
        self.runs += other.runs;
    }
}

/// What a deliberately broken run does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Lost rules are not installed again.
    NoReinstall,
    /// A revision is reported applied as soon as it is accepted.
    AppliedEarly,
    /// The offload thread does not wake for what it has to try again.
    NoRetry,
    /// Every other Remove is answered and not carried out.
    NoRemove,
    /// The worker is not told what a new policy touched.
    NothingTouched,
    /// A Sync counts although its end never came.
    NoEnd,
    /// A writer whose lease is fenced may write.
    NoFence,
    /// A lease fences those before it although nobody ever used it.
    LeaseUnused,
    /// Whether a Sync may be published is asked before it waits for the one before it, and publishing
    /// stops halfway when the connection is lost.
    RacySync,
    /// A commit is acknowledged before it is on disk.
    AckEarly,
    /// A revision is reported applied before it is kept.
    KeptLate,
    /// The agent does not connect again.
    NoReconnect,
    /// A packet that cannot be sent keeps its buffer.
    LeaksBuffers,
}
