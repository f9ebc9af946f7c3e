//! The FlowRule resource.

use std::fmt;
use std::sync::Arc;

use nic_flow::PortId;
use nic_policy::FlowRuleId;

use crate::name::ResourceId;
use crate::openflow::{DEFAULT_PRIORITY, Flow};
use crate::violation::{Part, Reason, Violation};

/// What a client wants of a flow rule. Always valid but for its references, which the
/// [`State`](crate::State) resolves.
#[derive(Debug, Clone)]
pub struct FlowRuleSpec {
    text: String,
    priority: Option<u16>,
    flow: Arc<Flow>,
}

/// Two specs are equal if the client typed the same.
impl PartialEq for FlowRuleSpec {
    fn eq(&self, other: &FlowRuleSpec) -> bool {
        (&self.text, self.priority) == (&other.text, other.priority)
    }
}

impl Eq for FlowRuleSpec {}

impl FlowRuleSpec {
    /// Checks a spec: the flow's text and the priority beside it.
    ///
    /// # Errors
    /// Every fault that was found.
    pub fn parse(text: &str, priority: Option<u32>) -> Result<FlowRuleSpec, Vec<Violation>> {
        let mut faults = Vec::new();
        let priority = priority.map(|priority| {
            u16::try_from(priority).unwrap_or_else(|_| {
                let reason = Reason::OutOfRange { min: 0, max: u16::MAX.into() };
                faults.push(Violation::new(Part::Priority, reason));
                0
            })
        });
        if text.trim().is_empty() {
            faults.push(Violation::new(Part::Flow, Reason::Required));
            return Err(faults);
        }
        let flow = match Flow::parse(text) {
            Ok(flow) => flow,
            Err(error) => {
                faults.push(Violation::new(Part::Flow, Reason::Flow(error)));
                return Err(faults);
            }
        };
        if let (true, Some(beside), Some(inside)) = (faults.is_empty(), priority, flow.priority())
            && beside != inside
        {
            let reason = Reason::Conflict("the flow's text has another priority");
            faults.push(Violation::new(Part::Priority, reason));
        }
        if faults.is_empty() {
            Ok(FlowRuleSpec { text: text.to_owned(), priority, flow: Arc::new(flow) })
        } else {
            Err(faults)
        }
    }

    /// The flow as typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The priority as set beside the text.
    pub const fn set_priority(&self) -> Option<u16> {
        self.priority
    }

    /// The priority that counts.
    pub fn priority(&self) -> u16 {
        self.priority.or(self.flow.priority()).unwrap_or(DEFAULT_PRIORITY)
    }

    /// The flow as understood.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// The rule as understood, in canonical text, priority included.
    pub fn effective(&self) -> impl fmt::Display + '_ {
        self.flow.display(self.priority())
    }

    /// The policy that this spec becomes.
    ///
    /// # Errors
    /// The first port that `device` does not know.
    pub fn policy(
        &self,
        id: FlowRuleId,
        device: impl Fn(&ResourceId) -> Option<PortId>,
    ) -> Result<nic_policy::FlowRule, &ResourceId> {
        let (matches, actions) = self.flow.resolve(device)?;
        Ok(nic_policy::FlowRule { id, priority: self.priority(), matches, actions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str, priority: Option<u32>) -> Vec<String> {
        let violations = FlowRuleSpec::parse(text, priority).expect_err("the spec is invalid");
        violations.iter().map(Violation::field).collect()
    }

    #[test]
    fn the_priority_comes_from_the_spec_or_the_text_or_is_the_default() {
        let priority = |text, priority| FlowRuleSpec::parse(text, priority).map(|spec| spec.priority());
        assert_eq!(priority("actions=drop", None), Ok(32_768));
        assert_eq!(priority("priority=7,actions=drop", None), Ok(7));
        assert_eq!(priority("actions=drop", Some(9)), Ok(9));
        assert_eq!(priority("priority=9,actions=drop", Some(9)), Ok(9));
        assert_eq!(faults("priority=7,actions=drop", Some(9)), ["spec.priority"]);
    }

    #[test]
    fn faults_name_the_flow_and_the_priority() {
        assert_eq!(faults("", None), ["spec.flow"]);
        assert_eq!(faults("actions=normal", Some(65_536)), ["spec.priority", "spec.flow"]);
        assert_eq!(faults("actions=drop", Some(65_536)), ["spec.priority"]);
    }

    #[test]
    fn the_effective_text_has_the_priority_that_counts() {
        let spec = FlowRuleSpec::parse(" in_port=pf0 , ip actions=vm1", Some(5)).expect("valid");
        assert_eq!(spec.effective().to_string(), "priority=5,in_port=pf0,ip,actions=output:vm1");
    }
}
