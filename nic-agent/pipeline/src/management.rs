//! The card's own management in band: what belongs to it is decided here, before any policy is asked.
//!
//! * **Reads:** the ingress port; of packets of the uplink the destination MAC address and the tag, of those
//!   to a group what tells whether the management host needs it; of packets of the exception port and of
//!   tenants' ports the source MAC address, of the first also the tag.
//! * **Consults:** nothing: what it goes by is there from the start, and no delta changes it.
//! * **Drops:** `management.source`.
//!
//! Since every packet of the uplink has its destination read here, no flow of another destination covers one
//! of the management host, in the cache or in the E-Switch: such packets always come to the slow path, by
//! whatever policy. Without a [`Management`](nic_policy::Management) nothing is read.
//!
//! A packet to a group is for policy as well: the management host gets a copy beside.

use nic_flow::field::{L3, L4};
use nic_flow::{Action, Field, MacAddr, PortId};
use nic_policy::{DropReason, Verdict};
use nic_wire::EtherType;

use crate::plan::Plan;
use crate::probe::{Layer, Probe};

const ICMPV6: u128 = 58;
const UDP: u128 = 17;
/// Where DHCP's answers go (RFC 2131 section 4.1).
const DHCP_CLIENT: u128 = 68;

/// What is decided of a packet: how its way ends, if it ends here.
pub(crate) fn run(probe: &mut Probe<'_>, plan: &mut Plan<'_>) -> Option<Verdict> {
    let management = probe.management()?;
    let ingress = probe.in_port();
    if ingress == PortId::MANAGEMENT {
        let own = probe.mac(Field::EthSrc) == management.mac && is_tagged(probe, management.vlan);
        return Some(if own { send(probe, plan, management.uplink) } else { FOREIGN });
    }
    if ingress != management.uplink {
        let claims = !ingress.is_uplink() && probe.mac(Field::EthSrc) == management.mac;
        return claims.then_some(FOREIGN);
    }
    let destination = probe.mac(Field::EthDst);
    if destination == management.mac && is_tagged(probe, management.vlan) {
        return Some(send(probe, plan, PortId::MANAGEMENT));
    }
    plan.management =
        destination.is_multicast() && is_tagged(probe, management.vlan) && is_needed(probe, destination);
    None
}

const FOREIGN: Verdict = Verdict::Drop(DropReason::ManagementSource);

/// Whether a packet, as it is now, would go out by the uplink as if the management host had sent it. To be
/// asked at each output, for what was rewritten or came out of a tunnel had no such source when it came.
pub(crate) fn is_forged(probe: &mut Probe<'_>, action: &Action) -> bool {
    let Some(management) = probe.management() else { return false };
    let leaves = match action {
        Action::Output(port) => *port == management.uplink,
        // Any port may be among the members.
        Action::Flood(_) => true,
        _ => false,
    };
    leaves && probe.in_port() != management.uplink && probe.mac(Field::EthSrc) == management.mac
}

fn send(probe: &mut Probe<'_>, plan: &mut Plan<'_>, to: PortId) -> Verdict {
    plan.ended = true;
    plan.act(probe, Action::Output(to));
    Verdict::Pass
}

/// Whether the frame is in that VLAN, by one tag, or untagged if there is none.
fn is_tagged(probe: &mut Probe<'_>, vlan: Option<u16>) -> bool {
    match vlan {
        None => probe.read(Field::VlanCount) == 0,
        Some(vid) => {
            probe.read(Field::VlanCount) == 1
                && probe.read(Field::VlanTpid) == EtherType::VLAN.0.into()
                && probe.read_bits(Field::VlanTci, 0x0fff) == vid.into()
        }
    }
}

/// Whether the management host needs what is sent to a group: ARP, answers of DHCP, and what IPv6 finds
/// neighbours and routers by.
fn is_needed(probe: &mut Probe<'_>, group: MacAddr) -> bool {
    match probe.eth_type() {
        EtherType::ARP => group == MacAddr::BROADCAST,
        EtherType::IPV4 => group == MacAddr::BROADCAST && is_of(probe, UDP) && is_for_client(probe),
        EtherType::IPV6 => group.0.starts_with(&[0x33, 0x33]) && is_of(probe, ICMPV6),
        _ => false,
    }
}

fn is_of(probe: &mut Probe<'_>, protocol: u128) -> bool {
    probe.whole(Layer::L3).is_ok()
        && L3::from_bits(probe.read(Field::L3)) == L3::Ok
        && probe.read(Field::IpProto) == protocol
}

fn is_for_client(probe: &mut Probe<'_>) -> bool {
    L4::from_bits(probe.read(Field::L4)) == L4::Ok && probe.read(Field::L4Dst) == DHCP_CLIENT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Snapshot;
    use crate::fixture::{access, bridge, fate, fields, open, packet, policy, port, rule, translated};
    use nic_policy::{Change, Delta, Management, Object};

    const MAC: &str = "02:00:00:00:00:99";

    fn managed(policy: Snapshot, vlan: Option<u16>) -> Snapshot {
        let mac = MAC.parse().expect("an address");
        policy.with_management(Some(Management { uplink: port("p0"), mac, vlan }))
    }

    fn wires() -> Snapshot {
        policy(&[
            open("p0"),
            open("pf0vf0"),
            rule(1, 1, "in_port=p0", "output(pf0vf0)"),
            rule(2, 1, "in_port=pf0vf0", "output(p0)"),
        ])
    }

    #[test]
    fn its_frames_come_and_go_without_any_policy_and_before_every_rule() {
        for policy in [managed(Snapshot::empty(), None), managed(wires(), None)] {
            assert_eq!(fate(&format!("in_port=p0,eth_dst={MAC}"), &policy), "output(mgmt)");
            assert_eq!(fate(&format!("in_port=mgmt,eth_src={MAC}"), &policy), "output(p0)");
        }
        assert_eq!(fate(&format!("in_port=p0,eth_dst={MAC}"), &wires()), "output(pf0vf0)");
    }

    #[test]
    fn no_flow_of_the_uplink_covers_its_frames() {
        let flow = translated("in_port=p0,eth_dst=02:00:00:00:00:01", &managed(wires(), None));
        assert_eq!(fields(&flow.read), ["in_port", "eth_dst"]);
        let without = translated("in_port=p0,eth_dst=02:00:00:00:00:01", &wires());
        assert_eq!(fields(&without.read), ["in_port"], "and without it nothing is read");
    }

    #[test]
    fn a_tenant_cannot_send_as_it_and_it_cannot_send_as_a_tenant() {
        let policy = managed(wires(), None);
        assert_eq!(fate(&format!("in_port=pf0vf0,eth_src={MAC}"), &policy), "management.source");
        assert_eq!(fate("in_port=pf0vf0,eth_src=02:00:00:00:00:01", &policy), "output(p0)");
        assert_eq!(fate("in_port=mgmt,eth_src=02:00:00:00:00:01", &policy), "management.source");
        let tagged = format!("in_port=mgmt,eth_src={MAC},vlan_count=1,vlan_tpid=0x8100,vlan_tci=7");
        assert_eq!(fate(&tagged, &policy), "management.source", "a VLAN that is not its own");
    }

    #[test]
    fn a_rule_that_makes_a_packet_look_like_its_drops_it_at_its_uplink_only() {
        let forging = |to: &str| {
            let actions = format!("set_eth_src({MAC}),output({to})");
            let rules = [rule(1, 1, "in_port=pf0vf0", &actions)];
            managed(policy(&[&[open("p0"), open("pf0vf0"), open("pf0vf1")][..], &rules].concat()), None)
        };
        assert_eq!(fate("in_port=pf0vf0", &forging("p0")), "management.source");
        assert_eq!(fate("in_port=pf0vf0", &forging("pf0vf1")), format!("set_eth_src({MAC}),output(pf0vf1)"));
    }

    #[test]
    fn what_it_needs_of_groups_it_gets_beside_what_policy_does_with_it() {
        let policy = managed(wires(), None);
        let all = "in_port=p0,eth_dst=ff:ff:ff:ff:ff:ff";
        let six = "in_port=p0,eth_dst=33:33:00:00:00:01,eth_type=0x86dd,l3=1";
        for (fields, copied) in [
            (format!("{all},eth_type=0x0806,l3=1,ip_proto=1"), true),
            (format!("{all},eth_type=0x0800,l3=1,ip_proto=17,l4=1,l4_dst=68"), true),
            (format!("{all},eth_type=0x0800,l3=1,ip_proto=17,l4=1,l4_dst=67"), false),
            (format!("{all},eth_type=0x0806,l3=1,ip_proto=1,vlan_count=1"), false),
            (format!("{six},ip_proto=58"), true),
            (format!("{six},ip_proto=17"), false),
            ("in_port=p0,eth_dst=01:80:c2:00:00:0e,eth_type=0x88cc".to_owned(), false),
        ] {
            let translation = translated(&fields, &policy);
            assert_eq!(translation.management, copied, "{fields}");
            assert_eq!(translation.is_cacheable(), !copied, "{fields}");
            assert_eq!(fate(&fields, &policy), "output(pf0vf0)", "{fields}");
        }
        let closed = managed(Snapshot::empty(), None);
        assert!(translated(&format!("{all},eth_type=0x0806,l3=1"), &closed).management);
    }

    #[test]
    fn in_a_vlan_its_frames_have_that_tag_and_no_other() {
        let policy = managed(wires(), Some(7));
        let at = |tags: &str| fate(&format!("in_port=p0,eth_dst={MAC},{tags}"), &policy);
        assert_eq!(at("vlan_count=1,vlan_tpid=0x8100,vlan_tci=0x6007"), "output(mgmt)");
        assert_eq!(at("vlan_count=1,vlan_tpid=0x8100,vlan_tci=8"), "output(pf0vf0)");
        assert_eq!(at("vlan_count=1,vlan_tpid=0x88a8,vlan_tci=7"), "output(pf0vf0)");
        assert_eq!(at("vlan_count=0"), "output(pf0vf0)");
        assert_eq!(fate(&format!("in_port=mgmt,eth_src={MAC}"), &policy), "management.source");
    }

    #[test]
    fn to_policy_its_port_is_closed_whatever_policy_says() {
        let mut attached = access("pf0vf0", 5);
        attached.id = PortId::MANAGEMENT;
        let objects = [open("p0"), open("pf0vf0"), Object::Port(attached), Object::Bridge(bridge(5))];
        let policy = managed(policy(&objects), None);
        assert_eq!(policy.members(nic_policy::BridgeId(5)).count(), 0);
        assert!(policy.port(PortId::MANAGEMENT).is_none());
        let rules = vec![Change::Put(rule(1, 1, "any", "output(mgmt)"))];
        let (policy, _) = policy.apply(&Delta { changes: rules, ..Delta::default() }).expect("one rule");
        assert_eq!(fate("in_port=pf0vf0,eth_src=02:00:00:00:00:01", &policy), "output.unconfigured");
        assert_eq!(packet("in_port=mgmt").in_port(), PortId::MANAGEMENT);
    }
}
