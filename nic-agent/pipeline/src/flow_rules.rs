//! Flow rules: of the rules that match the packet the one of the highest rank says what happens.
//!
//! * **Reads:** what the rules ask, layer by layer, down to the rule that wins; and what tells whether
//!   the packet has a place for each of its actions.
//! * **Consults:** flow rules, by the packet as it arrived; if none matches, the ingress port.
//! * **Drops:** `flow_rules.no_match`, `flow_rules.drop`, `malformed.vlan`, `malformed.l3`,
//!   `malformed.l4`, `ttl.expired`.
//!
//! An action for which the packet has no place (a TCP port set in an ARP packet) is left out of the
//! plan, as it changes nothing. An action that cannot be done ends the list: what was output before
//! stands, and if nothing was, the packet is dropped. Actions behind the last output are not looked at.
//!
//! A rule that decides keeps the packet from the bridge. Without one, a packet of a port that is attached
//! to a bridge goes on to it, and any other is dropped. What came out of a tunnel meets no flow rule.

use nic_flow::field::{L3, L4, Tunnel};
use nic_flow::{Action, Field};
use nic_policy::{DropReason, Verdict};

use crate::plan::Plan;
use crate::probe::{Layer, Probe, VLANS_MALFORMED};

/// The stage.
pub(crate) fn run(probe: &mut Probe<'_>, plan: &mut Plan) -> Verdict {
    if plan.ingress.is_some() {
        return Verdict::Pass;
    }
    let Some(found) = probe.flow_rule() else {
        return if is_attached(probe) { Verdict::Pass } else { Verdict::Drop(DropReason::NoRule) };
    };
    plan.decided = true;
    if let Err(reason) = found.matched {
        return Verdict::Drop(reason);
    }
    let actions = &found.rule.actions;
    let Some(last) = actions.iter().rposition(is_output) else {
        return Verdict::Drop(DropReason::RuleDrop);
    };
    for action in &actions[..=last] {
        match has_place(probe, action) {
            // As long as the rule's own list, so there is room.
            Ok(true) => plan.act(probe, *action),
            Ok(false) => {}
            Err(_) if plan.actions.iter().any(is_output) => break,
            Err(reason) => return Verdict::Drop(reason),
        }
    }
    Verdict::Pass
}

/// Whether the packet's port takes part in a bridge, of whatever VLAN.
fn is_attached(probe: &mut Probe<'_>) -> bool {
    let ingress = probe.in_port();
    let port = probe.port(ingress);
    port.is_some_and(|port| port.bridges.access.is_some() || !port.bridges.trunk.is_empty())
}

fn is_output(action: &Action) -> bool {
    action.destination().is_some()
}

/// Whether the packet has a place for the action; an error if it cannot be done.
pub(crate) fn has_place(probe: &mut Probe<'_>, action: &Action) -> Result<bool, DropReason> {
    match action {
        Action::Output(_)
        | Action::Flood(_)
        | Action::PushVlan { .. }
        | Action::SetEthSrc(_)
        | Action::SetEthDst(_)
        | Action::EncapVxlan(_) => Ok(true),
        Action::DecapVxlan => {
            probe.whole(Layer::Tunnel)?;
            Ok(Tunnel::from_bits(probe.read(Field::Tunnel)) == Tunnel::Vxlan)
        }
        Action::SetVlanVid(_) | Action::SetVlanPcp(_) => {
            probe.whole(Layer::EtherType)?;
            Ok(probe.read(Field::VlanCount) > 0)
        }
        Action::PopVlan => {
            // The key holds two tags: what would come to light under a third is not known.
            let tags = probe.read(Field::VlanCount);
            if tags == VLANS_MALFORMED { Err(DropReason::MalformedVlan) } else { Ok(tags > 0) }
        }
        Action::SetIpSrc(ip) | Action::SetIpDst(ip) => {
            Ok(ip_version(probe)? == Some(if ip.is_ipv6() { Version::V6 } else { Version::V4 }))
        }
        Action::SetIpDscp(_) | Action::SetIpEcn(_) | Action::SetIpTtl(_) => Ok(ip_version(probe)?.is_some()),
        Action::DecIpTtl => {
            if ip_version(probe)?.is_none() {
                return Ok(false);
            }
            // One set bit above the lowest proves that it is above 1.
            if probe.any_bit(Field::IpTtl, 0xfe) { Ok(true) } else { Err(DropReason::TtlExpired) }
        }
        Action::SetL4Src(_) | Action::SetL4Dst(_) => has_ports(probe),
    }
}

#[derive(PartialEq, Eq)]
enum Version {
    V4,
    V6,
}

fn ip_version(probe: &mut Probe<'_>) -> Result<Option<Version>, DropReason> {
    probe.whole(Layer::EtherType)?;
    let version = match probe.read(Field::EthType) {
        0x0800 => Version::V4,
        0x86dd => Version::V6,
        _ => return Ok(None),
    };
    probe.whole(Layer::L3)?;
    Ok((L3::from_bits(probe.read(Field::L3)) == L3::Ok).then_some(version))
}

fn has_ports(probe: &mut Probe<'_>) -> Result<bool, DropReason> {
    if ip_version(probe)?.is_none() || !matches!(probe.read(Field::IpProto), 6 | 17) {
        return Ok(false);
    }
    probe.whole(Layer::L4)?;
    Ok(L4::from_bits(probe.read(Field::L4)) == L4::Ok)
}

#[cfg(test)]
mod tests {
    use crate::fixture::{fate, fields, open, policy, rule, translated};
    use crate::{State, trace};

    const TCP: &str = "eth_type=0x0800,l3=1,l4=1,ip_proto=6,ip_ttl=64";

    #[test]
    fn the_four_rules_of_a_tutorial_work_as_written() {
        let ip = "eth_type=0x0800,l3=1";
        let policy = policy(&[
            open("p0"),
            open("pf0vf0"),
            open("pf0vf1"),
            rule(1, 32768, &format!("in_port=p0,{ip},ip_src=10.10.1.0/0xffffff00"), "output(pf0vf0)"),
            rule(2, 32768, "in_port=pf0vf0", "output(p0)"),
            rule(3, 32768, &format!("in_port=p0,{ip},ip_src=10.10.2.0/0xffffff00"), "output(pf0vf1)"),
            rule(4, 32768, "in_port=pf0vf1", "output(p0)"),
        ]);
        assert_eq!(fate(&format!("in_port=p0,{TCP},ip_src=10.10.1.9"), &policy), "output(pf0vf0)");
        assert_eq!(fate(&format!("in_port=p0,{TCP},ip_src=10.10.2.9"), &policy), "output(pf0vf1)");
        assert_eq!(fate(&format!("in_port=p0,{TCP},ip_src=10.10.3.9"), &policy), "flow_rules.no_match");
        assert_eq!(fate("in_port=p0,eth_type=0x0806,l3=1,ip_src=10.10.1.9", &policy), "flow_rules.no_match");
        assert_eq!(fate("in_port=pf0vf0,eth_type=0x88cc", &policy), "output(p0)");
        assert_eq!(fate("in_port=pf0vf1,eth_type=0x0806,l3=2", &policy), "output(p0)");
    }

    #[test]
    fn a_rule_on_ports_of_one_port_does_not_widen_the_megaflows_of_another() {
        let policy = policy(&[
            open("p0"),
            open("pf0vf0"),
            rule(1, 9, &format!("in_port=p0,{TCP},ip_dst=10.0.0.1,l4_dst=80"), "output(pf0vf0)"),
            rule(2, 1, "in_port=pf0vf0", "output(p0)"),
            rule(3, 1, "in_port=p0,eth_dst=02:00:00:00:00:01", "output(pf0vf0)"),
        ]);
        let read = |packet: &str| fields(&translated(packet, &policy).read);
        assert_eq!(read(&format!("in_port=pf0vf0,{TCP},ip_dst=10.0.0.1,l4_dst=80")), ["in_port"]);
        let arp = "in_port=p0,eth_dst=02:00:00:00:00:01,eth_type=0x0806,l3=1";
        assert_eq!(read(arp), ["in_port", "eth_dst", "vlan_count", "eth_type"]);
        let elsewhere = format!("in_port=p0,{TCP},eth_dst=02:00:00:00:00:01,ip_dst=10.0.0.2,l4_dst=80");
        let read = read(&elsewhere);
        assert!(read.contains(&"ip_dst") && !read.contains(&"l4_dst"), "{read:?}");
    }

    #[test]
    fn nothing_below_the_winner_is_looked_at() {
        let policy = policy(&[
            open("p0"),
            open("pf0vf0"),
            rule(1, 9, "in_port=p0", "output(pf0vf0)"),
            rule(2, 8, "in_port=p0,ip_dst=10.0.0.1", "drop"),
        ]);
        let packet = format!("in_port=p0,{TCP},ip_dst=10.0.0.1");
        assert_eq!(fields(&translated(&packet, &policy).read), ["in_port"]);
        assert_eq!(fate(&packet, &policy), "output(pf0vf0)");
    }

    #[test]
    fn a_malformed_header_drops_only_where_a_better_rule_reads_it() {
        let forward = |priority| {
            policy(&[
                open("p0"),
                open("pf0vf0"),
                rule(1, priority, "in_port=p0", "output(pf0vf0)"),
                rule(2, 5, "eth_type=0x0800,l3=1,ip_src=10.0.0.1", "drop"),
                rule(3, 5, "eth_type=0x86dd,l3=1,ip_proto=17,l4=1,l4_dst=53", "drop"),
            ])
        };
        let (first, last) = (forward(9), forward(1));
        for (packet, reason) in [
            ("in_port=p0,eth_type=0x0800,l3=2", "malformed.l3"),
            ("in_port=p0,eth_type=0x86dd,l3=1,ip_proto=17,l4=2", "malformed.l4"),
            ("in_port=p0,eth_type=0x8100,vlan_count=3", "malformed.vlan"),
        ] {
            assert_eq!(fate(packet, &first), "output(pf0vf0)", "{packet}");
            assert_eq!(fate(packet, &last), reason, "{packet}");
        }
        // Whatever the rules could not be about passes.
        for packet in [
            "in_port=p0,eth_type=0x0806,l3=2",
            "in_port=p0,eth_type=0x0800,l3=1,ip_proto=17,l4=2,ip_src=10.0.0.2",
            "in_port=p0,eth_type=0x86dd,l3=1,ip_proto=6,l4=2",
        ] {
            assert_eq!(fate(packet, &last), "output(pf0vf0)", "{packet}");
        }
    }

    #[test]
    fn a_later_fragment_has_no_layer_4_to_match_or_to_rewrite() {
        let policy = policy(&[
            open("p0"),
            open("pf0vf0"),
            rule(1, 9, "in_port=p0,ip_proto=17,l4_dst=0", "drop"),
            rule(2, 1, "in_port=p0", "set_l4_dst(7),output(pf0vf0)"),
        ]);
        let later = "in_port=p0,eth_type=0x0800,l3=1,ip_proto=17,ip_frag=2,l4=3";
        assert_eq!(fate(later, &policy), "output(pf0vf0)");
        let whole = "in_port=p0,eth_type=0x0800,l3=1,ip_proto=17,l4=1,l4_dst=5";
        assert_eq!(fate(whole, &policy), "set_l4_dst(7),output(pf0vf0)");
    }

    #[test]
    fn an_action_without_a_place_is_left_out_and_one_that_cannot_be_done_ends_the_list() {
        let list = "set_ip_src(10.9.9.9),pop_vlan,output(pf0vf0),dec_ip_ttl,output(pf0vf1),set_ip_ttl(3)";
        let only = "dec_ip_ttl,output(pf0vf0)";
        let policy = policy(&[
            open("p0"),
            open("pf0vf0"),
            open("pf0vf1"),
            rule(1, 1, "in_port=p0,eth_dst=02:00:00:00:00:01", list),
            rule(2, 1, "in_port=p0,eth_dst=02:00:00:00:00:02", only),
        ]);
        let (one, two) = ("in_port=p0,eth_dst=02:00:00:00:00:01", "in_port=p0,eth_dst=02:00:00:00:00:02");
        assert_eq!(fate(&format!("{one},eth_type=0x0806,l3=1"), &policy), "output(pf0vf0),output(pf0vf1)");
        assert_eq!(
            fate(&format!("{one},eth_type=0x0800,l3=1,ip_ttl=2,vlan_count=1"), &policy),
            "set_ip_src(10.9.9.9),pop_vlan,output(pf0vf0),dec_ip_ttl,output(pf0vf1)"
        );
        let expiring = "eth_type=0x0800,l3=1,ip_ttl=1";
        assert_eq!(fate(&format!("{one},{expiring}"), &policy), "set_ip_src(10.9.9.9),output(pf0vf0)");
        assert_eq!(fate(&format!("{two},{expiring}"), &policy), "ttl.expired");
        assert_eq!(fate(&format!("{one},eth_type=0x0800,l3=2"), &policy), "malformed.l3");
        assert_eq!(fate(&format!("{two},vlan_count=3"), &policy), "malformed.vlan");
    }

    #[test]
    fn the_trace_names_the_rule_that_decided() {
        let policy = policy(&[open("p0"), rule(7, 1, "in_port=p0,ip_dst=10.0.0.1", "drop")]);
        let packet = crate::fixture::packet(&format!("in_port=p0,{TCP},ip_dst=10.0.0.1"));
        let trace = trace(&packet, &policy, &State::default());
        let step = trace.steps.last().expect("a step");
        assert_eq!(step.stage, nic_policy::Stage::FlowRules);
        assert_eq!(step.objects, [nic_policy::ObjectId::FlowRule(nic_policy::FlowRuleId(7))]);
        assert_eq!(step.verdict, nic_policy::Verdict::Drop(nic_policy::DropReason::RuleDrop));
        assert_eq!(fields(&step.read), ["vlan_count", "eth_type", "l3", "ip_dst"]);
    }
}
