//! What is sent arrives as it was; what cannot be understood is refused by name.

use nic_flow::seam::{ActionKind, Errno, Refusal};
use nic_flow::{
    Action, Counters, Field, Flood, FlowKey, FlowMask, MacAddr, Match, PortId, Shape, VxlanEncap,
};
use nic_policy::trace::TraceReport;
use nic_policy::{
    Capability, CapabilityTable, Change, DropReason, FlowRule, FlowRuleId, FlowView, Object, ObjectId,
    Offload, Port, PortStats, Revision, SoftwareReason, Stage, StageStats, Stats, Step, Trace, Verdict,
};
use nic_proto::datapath::v1 as pb;
use proptest::prelude::*;

use super::*;

mod bridging;
mod reports;

fn any_match() -> impl Strategy<Value = Match> {
    proptest::collection::vec((proptest::sample::select(Field::ALL), any::<u128>(), any::<u128>()), 0..8)
        .prop_map(|parts| {
            parts.into_iter().fold(Match::ANY, |flow, (field, value, mask)| {
                flow.and(field, value, if mask & 1 == 0 { field.max() } else { mask & field.max() })
            })
        })
}

fn any_mac() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(MacAddr)
}

fn any_port() -> impl Strategy<Value = PortId> {
    any::<u16>().prop_map(PortId::from_bits)
}

fn any_encap() -> impl Strategy<Value = VxlanEncap> {
    let addresses = prop_oneof![
        any::<[std::net::Ipv4Addr; 2]>().prop_map(|two| two.map(IpAddr::from)),
        any::<[std::net::Ipv6Addr; 2]>().prop_map(|two| two.map(IpAddr::from)),
    ];
    (any::<[[u8; 6]; 2]>(), any::<Option<u16>>(), addresses, any::<[u8; 2]>(), 0u32..1 << 24).prop_map(
        |([eth_dst, eth_src], vlan, [src, dst], [tos, ttl], vni)| VxlanEncap {
            eth_dst: MacAddr(eth_dst),
            eth_src: MacAddr(eth_src),
            vlan,
            src,
            dst,
            tos,
            ttl,
            vni,
        },
    )
}

/// What a flow rule may do.
fn any_rule_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        any_port().prop_map(Action::Output),
        any::<(u16, u16)>().prop_map(|(tpid, tci)| Action::PushVlan { tpid, tci }),
        Just(Action::PopVlan),
        Just(Action::DecIpTtl),
        (0u16..4096).prop_map(Action::SetVlanVid),
        (0u8..8).prop_map(Action::SetVlanPcp),
        (0u8..64).prop_map(Action::SetIpDscp),
        (0u8..4).prop_map(Action::SetIpEcn),
        any::<u8>().prop_map(Action::SetIpTtl),
        any_mac().prop_map(Action::SetEthSrc),
        any_mac().prop_map(Action::SetEthDst),
        any::<IpAddr>().prop_map(Action::SetIpSrc),
        any::<IpAddr>().prop_map(Action::SetIpDst),
        any::<u16>().prop_map(Action::SetL4Src),
        any::<u16>().prop_map(Action::SetL4Dst),
    ]
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => any_rule_action(),
        1 => prop_oneof![
            any_encap().prop_map(Action::EncapVxlan),
            Just(Action::DecapVxlan),
            any::<(u64, bool)>().prop_map(|(list, from_tunnel)| Action::Flood(Flood { list, from_tunnel })),
        ],
    ]
}

fn any_rule() -> impl Strategy<Value = Object> {
    let actions = proptest::collection::vec(any_rule_action(), 0..16);
    (any::<u64>(), any::<u16>(), any_match(), actions).prop_map(|(id, priority, matches, actions)| {
        let actions = actions.into_iter().collect();
        Object::FlowRule(FlowRule { id: FlowRuleId(id), priority, matches, actions })
    })
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        prop_oneof![any_rule(), bridging::any_object()].prop_map(Change::Put),
        bridging::any_id().prop_map(Change::Remove),
    ]
}

proptest! {
    #[test]
    fn a_change_arrives_as_it_was(change in any_change()) {
        prop_assert_eq!(change_from(&change_to(&change)), Ok(Some(change)));
    }

    #[test]
    fn actions_arrive_as_they_were(actions in proptest::collection::vec(any_action(), 0..16)) {
        let list: nic_flow::ActionList = actions.into_iter().collect();
        prop_assert_eq!(actions_from("flow", &actions_to(&list)), Ok(list));
    }

    #[test]
    fn a_key_arrives_as_it_was(words in any::<[u64; nic_flow::field::WORDS]>()) {
        let key = FlowKey::from_words(words) & FlowMask::ALL;
        prop_assert_eq!(key_from("key", &key_to(&key)), Ok(key));
    }
}

fn field(name: &str, value: &[u8], mask: &[u8]) -> pb::FieldMatch {
    pb::FieldMatch { field: name.to_owned(), value: value.to_vec(), mask: mask.to_vec() }
}

#[test]
fn a_match_that_cannot_be_understood_is_refused_by_name() {
    let problem = |fields: &[pb::FieldMatch]| match_from("rule 7", fields).map_err(|e| (e.field, e.problem));
    let new_field = field("gre_key", &[1], &[1]);
    assert_eq!(problem(&[new_field]), Err(("field", Problem::Unknown("gre_key".to_owned()))));
    assert_eq!(problem(&[field("ip_ttl", &[1, 2], &[1])]), Err(("value", Problem::Range)));
    assert_eq!(problem(&[field("l3", &[4], &[3])]), Err(("value", Problem::Range)));
    let outside = field("ip_ttl", &[3], &[1]);
    assert_eq!(problem(&[outside]), Err(("value", Problem::OutsideMask(Field::IpTtl))));
    let twice = [field("ip_ttl", &[1], &[1]), field("ip_ttl", &[2], &[2])];
    assert_eq!(problem(&twice), Err(("field", Problem::Twice(Field::IpTtl))));
    let text = match_from("rule 7", &[field("ip_ttl", &[], &[])]).unwrap_err().to_string();
    assert_eq!(text, "rule 7: value: out of range");
}

#[test]
fn an_action_of_an_unknown_kind_is_refused() {
    let unknown = pb::Action { kind: None };
    let error = actions_from("rule 7", &[unknown]).unwrap_err();
    assert_eq!((error.field, error.problem), ("actions", Problem::Missing));
    let many = vec![pb::Action { kind: Some(pb::action::Kind::Output(1)) }; 17];
    assert_eq!(actions_from("rule 7", &many).unwrap_err().problem, Problem::TooMany(16));
}

#[test]
fn an_action_with_a_value_out_of_range_is_refused_by_field() {
    use pb::action::Kind;
    let bad = |kind| actions_from("rule 7", &[pb::Action { kind: Some(kind) }]).unwrap_err();
    for (kind, field) in [
        (Kind::Output(0x1_0000), "output"),
        (Kind::SetVlanVid(4096), "set_vlan_vid"),
        (Kind::SetVlanPcp(8), "set_vlan_pcp"),
        (Kind::SetEthDst(vec![0; 5]), "set_eth_dst"),
        (Kind::SetIpSrc(vec![0; 5]), "set_ip_src"),
        (Kind::SetIpDscp(64), "set_ip_dscp"),
        (Kind::SetIpEcn(4), "set_ip_ecn"),
        (Kind::SetIpTtl(256), "set_ip_ttl"),
        (Kind::SetL4Dst(0x1_0000), "set_l4_dst"),
    ] {
        let error = bad(kind);
        assert_eq!((error.field, error.problem), (field, Problem::Range));
    }
    let encap = pb::EncapVxlan {
        eth_dst: vec![2; 6],
        eth_src: vec![2; 6],
        src: vec![10, 0, 0, 1],
        dst: vec![10, 0, 0, 2],
        ..pb::EncapVxlan::default()
    };
    let good = pb::Action { kind: Some(Kind::EncapVxlan(encap.clone())) };
    assert!(actions_from("rule 7", &[good]).is_ok());
    for (encap, field, problem) in [
        (pb::EncapVxlan { eth_dst: vec![], ..encap.clone() }, "encap_vxlan.eth_dst", Problem::Range),
        (pb::EncapVxlan { eth_src: vec![], ..encap.clone() }, "encap_vxlan.eth_src", Problem::Range),
        (pb::EncapVxlan { vlan_tci: Some(1 << 16), ..encap.clone() }, "encap_vxlan.vlan_tci", Problem::Range),
        (pb::EncapVxlan { src: vec![1; 3], ..encap.clone() }, "encap_vxlan.src", Problem::Range),
        (pb::EncapVxlan { dst: vec![1; 17], ..encap.clone() }, "encap_vxlan.dst", Problem::Range),
        (pb::EncapVxlan { src: vec![1; 16], ..encap.clone() }, "encap_vxlan.src", Problem::Network),
        (pb::EncapVxlan { tos: 256, ..encap.clone() }, "encap_vxlan.tos", Problem::Range),
        (pb::EncapVxlan { ttl: 256, ..encap.clone() }, "encap_vxlan.ttl", Problem::Range),
        (pb::EncapVxlan { vni: 1 << 24, ..encap }, "encap_vxlan.vni", Problem::Range),
    ] {
        let error = bad(Kind::EncapVxlan(encap));
        assert_eq!((error.field, error.problem), (field, problem));
    }
}
