//! Egress: the policy of the ports by which the packet would leave.
//!
//! * **Reads:** the ingress port.
//! * **Consults:** ports and devices, by each output port. Not for the members of a flood: they are
//!   looked at when it happens.
//! * **Drops:** `management.source`, `output.unconfigured`, `output.disabled`, `output.absent`,
//!   `output.ingress`.
//!
//! An output that may not be is taken out of the list, and the others stand: one closed port must not
//! silence a flood. Only if no output is left is the packet dropped, for the reason of the first. What
//! stands behind the last output that is left changes no packet and goes too.

use nic_flow::{Action, PortId};
use nic_policy::{DropReason, Verdict};

use crate::plan::Plan;
use crate::probe::Probe;

/// The stage.
pub(crate) fn run(probe: &mut Probe<'_>, plan: &mut Plan) -> Verdict {
    if plan.forged {
        return Verdict::Drop(DropReason::ManagementSource);
    }
    let mut first = None;
    plan.actions.retain(|action| match action {
        Action::Output(port) => match may_leave(probe, *port) {
            Ok(()) => true,
            Err(reason) => {
                first.get_or_insert(reason);
                false
            }
        },
        _ => true,
    });
    let last = plan.actions.iter().rposition(|action| action.destination().is_some());
    plan.actions.truncate(last.map_or(0, |last| last + 1));
    match (last, first) {
        (Some(_), _) => Verdict::Pass,
        // A plan that came here without any output was a drop already; the rule said so.
        (None, reason) => Verdict::Drop(reason.unwrap_or(DropReason::RuleDrop)),
    }
}

fn may_leave(probe: &mut Probe<'_>, egress: PortId) -> Result<(), DropReason> {
    if probe.in_port() == egress {
        return Err(DropReason::OutputIngress);
    }
    let port = probe.port(egress).ok_or(DropReason::OutputUnconfigured)?;
    if !port.enabled {
        return Err(DropReason::OutputDisabled);
    }
    if probe.device(egress) { Ok(()) } else { Err(DropReason::OutputAbsent) }
}

#[cfg(test)]
mod tests {
    use crate::Snapshot;
    use crate::dependency::Dependency;
    use crate::fixture::{disabled, fate, open, policy, port, rule, translated};

    /// `pf0vf1` is disabled, `pf0vf2` has no device, `pf0vf3` has no policy.
    fn sending(actions: &str) -> Snapshot {
        policy(&[open("p0"), open("pf0vf0"), disabled("pf0vf1"), open("pf0vf2"), rule(1, 1, "any", actions)])
    }

    #[test]
    fn an_output_that_may_not_be_drops_the_packet_if_it_was_the_only_one() {
        for (output, reason) in [
            ("p0", "output.ingress"),
            ("pf0vf1", "output.disabled"),
            ("pf0vf2", "output.absent"),
            ("pf0vf3", "output.unconfigured"),
        ] {
            assert_eq!(fate("in_port=p0", &sending(&format!("output({output})"))), reason);
        }
    }

    #[test]
    fn one_closed_port_does_not_silence_the_others() {
        let list = "output(pf0vf1),push_vlan(0x8100/0x0005),output(pf0vf0),pop_vlan,output(pf0vf2)";
        assert_eq!(fate("in_port=p0", &sending(list)), "push_vlan(0x8100/0x0005),output(pf0vf0)");
        let closed = sending("output(pf0vf2),output(pf0vf1),output(p0)");
        assert_eq!(fate("in_port=p0", &closed), "output.absent", "the first says why");
    }

    #[test]
    fn a_flow_depends_on_the_policy_and_the_device_of_each_output() {
        let translation = translated("in_port=p0", &sending("output(pf0vf2),output(pf0vf0)"));
        for name in ["pf0vf0", "pf0vf2"] {
            for dependency in [Dependency::Port(port(name)), Dependency::Device(port(name))] {
                assert!(translation.dependencies.contains(&dependency), "{dependency:?}");
            }
        }
    }

    #[test]
    fn a_device_that_comes_or_goes_touches_the_flows_that_leave_by_it() {
        let before = sending("output(pf0vf2)");
        let flow = translated("in_port=p0", &before);
        let present = ["p0", "pf0vf0", "pf0vf1", "pf0vf2"].map(port);
        let (after, touched) = before.with_devices(&present);
        assert_eq!(touched.len(), 1);
        assert!(flow.dependencies.iter().any(|dependency| dependency.is_touched_by(&touched[0])));
        assert_eq!(fate("in_port=p0", &after), "output(pf0vf2)");
        assert_eq!(after.with_devices(&present).1, []);
    }
}
