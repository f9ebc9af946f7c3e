//! What nic-datapath tells, in the words of the schema version that its agent speaks; and what an agent
//! can say to a nic-datapath of a version.
//!
//! An agent refuses a whole message for one name that it does not know. One that speaks version 1 has no
//! policy with bridges or tunnels, so that nothing of what it is not told is about its own policy: tags,
//! stages and rows of tables that are there whether the policy uses them or not.

use nic_flow::seam::ActionKind;
use nic_flow::{Action, Field, FlowMask, Shape};
use nic_policy::{Attachment, Change, Object, ObjectId, Stage};
use nic_proto::datapath::v1 as pb;

use super::flow::read_match;

/// A version of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schema(pub(crate) u32);

/// Before bridges and tunnels.
const FIRST: u32 = 1;

impl Schema {
    /// The newest one.
    pub(crate) const NEWEST: Schema = Schema(2);

    fn knows_all(self) -> bool {
        self.0 > FIRST
    }

    /// True if this version can say the change as it is. What it cannot say, a nic-datapath of that version
    /// would refuse, or, where it is but a field of an object, not notice.
    pub(crate) fn can_say(self, change: &Change) -> bool {
        self.knows_all()
            || match change {
                Change::Put(Object::Port(port)) => port.bridges == Attachment::default(),
                Change::Put(Object::FlowRule(rule)) => {
                    rule.matches.mask().fields().all(|field| field < Field::Tunnel)
                        && rule.actions.iter().all(is_of_first)
                }
                Change::Put(_) => false,
                Change::Remove(_) => true,
            }
    }

    /// True if nic-datapath may have the object: only then it has to hear of its removal.
    pub(crate) const fn may_have(self, id: ObjectId) -> bool {
        self.0 > FIRST || matches!(id, ObjectId::Port(_) | ObjectId::FlowRule(_))
    }

    pub(crate) fn stats(self, mut stats: pb::GetStatsResponse) -> pb::GetStatsResponse {
        if !self.knows_all() {
            stats.stages.retain(|stage| has_stage(&stage.stage));
        }
        stats
    }

    pub(crate) fn capabilities(self, mut table: pb::CapabilityTable) -> pb::CapabilityTable {
        if !self.knows_all() {
            table.rows.retain(|row| {
                Shape::from_name(&row.shape).is_some_and(has_shape)
                    && ActionKind::from_name(&row.action).is_some_and(|kind| kind < FIRST_NEW_ACTION)
            });
        }
        table
    }

    pub(crate) fn flow(self, mut flow: pb::Flow) -> pb::Flow {
        if !self.knows_all() {
            flow.r#match.retain(|part| has_field(&part.field));
            flow.shape = shape(&flow.shape, &flow.r#match);
        }
        flow
    }

    pub(crate) fn trace(self, mut trace: pb::TraceResponse) -> pb::TraceResponse {
        if !self.knows_all() {
            trace.key.retain(|part| has_field(&part.field));
            trace.read.retain(|part| has_field(&part.field));
            trace.megaflow.retain(|part| has_field(&part.field));
            trace.steps.retain(|step| has_stage(&step.stage));
            for step in &mut trace.steps {
                step.read.retain(|part| has_field(&part.field));
            }
            trace.shape = shape(&trace.shape, &trace.megaflow);
        }
        trace
    }
}

/// Actions of version 2 stand behind those of version 1.
const FIRST_NEW_ACTION: ActionKind = ActionKind::SetIpEcn;

fn is_of_first(action: &Action) -> bool {
    ActionKind::from(action) < FIRST_NEW_ACTION
}

fn has_field(name: &str) -> bool {
    Field::from_name(name).is_some_and(|field| field < Field::Tunnel)
}

fn has_stage(name: &str) -> bool {
    !matches!(Stage::from_name(name), None | Some(Stage::Tunnel | Stage::Bridge))
}

const fn has_shape(shape: Shape) -> bool {
    !matches!(shape, Shape::L2Ecn | Shape::FiveTupleEcn | Shape::TunnelL2 | Shape::TunnelEcn)
}

/// The shape of that name, or the smallest one of version 1 that covers the match.
fn shape(name: &str, fields: &[pb::FieldMatch]) -> String {
    if Shape::from_name(name).is_some_and(has_shape) {
        return name.to_owned();
    }
    let mask = read_match(fields).map_or(FlowMask::ALL, |matches| *matches.mask());
    let covers = |shape: &&Shape| has_shape(**shape) && shape.mask().covers(&mask);
    Shape::ALL.iter().find(covers).unwrap_or(&Shape::FullKey).name().to_owned()
}
