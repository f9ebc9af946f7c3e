//! Ports and what is counted on them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use nic_flow::{Counters, PortId};

use crate::counters::AtomicCounters;
use crate::egress::Unsent;

macro_rules! reasons {
    ($( $reason:ident: $name:literal, $text:literal; )*) => {
        /// Why the switch dropped a packet. It is counted on the port by which the packet entered, or
        /// whose representor it was sent on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason { $( #[doc = $text] $reason, )* }

        impl DropReason {
            /// Every reason.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$reason),*];

            /// The stable name.
            pub const fn name(self) -> &'static str {
                match self { $( DropReason::$reason => $name, )* }
            }
        }
    };
}

reasons! {
    Undersized: "undersized", "The frame is shorter than an Ethernet header.";
    Rule: "rule", "The rule that matches the packet has no output.";
    NoHeadroom: "no_headroom", "The packet buffer has no room for the header that an action adds.";
    TooLong: "too_long", "The packet is too long for the length fields of the headers that an action adds.";
    CopyNoBuffer: "copy_no_buffer", "No packet buffer is left for the copy that a further output needs.";
    TransmitFull: "transmit_full", "The transmit queue of the output port is full.";
    TransmitNoBuffer: "transmit_no_buffer", "No packet buffer is left for sending.";
    TransmitDown: "transmit_down", "The output port is down.";
    MissFull: "miss_full", "No rule matches, and the representor's queue is full.";
    MissNoBuffer: "miss_no_buffer", "No rule matches, and the reader of the representor has no packet buffer left.";
    MissDown: "miss_down", "No rule matches, and nobody reads the representor.";
}

impl DropReason {
    /// How many reasons there are: the length of a table indexed by [`DropReason::index`].
    pub const COUNT: usize = DropReason::ALL.len();

    /// Index in [`DropReason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    pub(crate) const fn of_transmit(unsent: Unsent) -> DropReason {
        match unsent {
            Unsent::Full => DropReason::TransmitFull,
            Unsent::NoBuffer => DropReason::TransmitNoBuffer,
            Unsent::Down => DropReason::TransmitDown,
        }
    }

    pub(crate) const fn of_miss(unsent: Unsent) -> DropReason {
        match unsent {
            Unsent::Full => DropReason::MissFull,
            Unsent::NoBuffer => DropReason::MissNoBuffer,
            Unsent::Down => DropReason::MissDown,
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What was counted on a port since the switch was made.
///
/// `received` is `hits`, `misses` and the drops for [`DropReason::Undersized`] together. A packet that
/// is dropped later, or for one output of several, is counted there and also under its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortStats {
    /// Packets that entered by the port.
    pub received: Counters,
    /// Of those, packets that a rule matched.
    pub hits: Counters,
    /// Of those, packets that no rule matched.
    pub misses: Counters,
    /// Packets that were sent on the port's representor.
    pub by_representor: Counters,
    /// Packets that left by the port, by rules and by the representor.
    pub sent: Counters,
    /// Drops, by [`DropReason::index`].
    pub drops: [u64; DropReason::COUNT],
}

impl PortStats {
    /// The drops for one reason.
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason.index()]
    }
}

/// A port of the switch.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) id: PortId,
    pub(crate) received: AtomicCounters,
    pub(crate) hits: AtomicCounters,
    pub(crate) misses: AtomicCounters,
    pub(crate) by_representor: AtomicCounters,
    pub(crate) sent: AtomicCounters,
    drops: [AtomicU64; DropReason::COUNT],
}

impl Port {
    pub(crate) fn new(id: PortId) -> Port {
        Port {
            id,
            received: AtomicCounters::default(),
            hits: AtomicCounters::default(),
            misses: AtomicCounters::default(),
            by_representor: AtomicCounters::default(),
            sent: AtomicCounters::default(),
            drops: Default::default(),
        }
    }

    pub(crate) fn dropped(&self, reason: DropReason) {
        self.drops[reason.index()].fetch_add(1, Relaxed);
    }

    pub(crate) fn stats(&self) -> PortStats {
        PortStats {
            received: self.received.get(),
            hits: self.hits.get(),
            misses: self.misses.get(),
            by_representor: self.by_representor.get(),
            sent: self.sent.get(),
            drops: std::array::from_fn(|i| self.drops[i].load(Relaxed)),
        }
    }
}
