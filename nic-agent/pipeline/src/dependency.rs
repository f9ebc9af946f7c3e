//! What a translation depends on, and what a change touches.

use nic_flow::field::Field;
use nic_flow::{FlowKey, FlowMask, Match, PortId};

/// A table that stages consult.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// The policy of ports, looked up by port. The port stands in [`Field::InPort`] of the match,
    /// whether the packet entered by it or would leave by it.
    Ports,
    /// The devices that are there, looked up by port as in [`Table::Ports`].
    Devices,
    /// Flow rules, looked up by the packet.
    FlowRules,
}

/// One consultation of a table, hit or miss: the bits by which it was consulted, *as that stage saw
/// them*. After a rewrite that is another key than the packet's at its arrival.
///
/// Equal consultations are equal values, so whoever keeps many flows interns them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dependency {
    /// The table.
    pub table: Table,
    /// The keys that the consultation stands for.
    pub matches: Match,
}

/// A part of a table in which a later snapshot may answer otherwise than an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Touched {
    /// The table.
    pub table: Table,
    /// The keys for which the answer may have changed.
    pub matches: Match,
}

impl Dependency {
    /// True if the consultation may come out otherwise after the change.
    pub fn is_touched_by(&self, touched: &Touched) -> bool {
        self.table == touched.table && self.matches.overlaps(&touched.matches)
    }
}

/// The match by which tables of ports are consulted.
pub(crate) fn by_port(port: PortId) -> Match {
    Match::new(FlowKey::ZERO.with(Field::InPort, port.bits().into()), FlowMask::exact(Field::InPort))
}
