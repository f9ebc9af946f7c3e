//! What nic-datapath tells, in the words of the schema version that its agent speaks.
//!
//! An agent refuses a whole message for one name that it does not know, so what a version added is told to
//! those alone who speak it. Fields that a version added need nothing here: who does not know them passes
//! over them.

use nic_proto::datapath::v1 as pb;

/// A version of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schema(pub(crate) u32);

/// Added alarms.
const ALARMS: u32 = 3;

impl Schema {
    /// True if an agent of this version knows events of that kind.
    pub(crate) const fn knows(self, event: &pb::event::Kind) -> bool {
        match event {
            pb::event::Kind::Applied(_) | pb::event::Kind::Inventory(_) => true,
            pb::event::Kind::Alarms(_) => self.0 >= ALARMS,
        }
    }
}
