//! What is sent arrives as it was; what cannot be understood is refused by name.

use std::net::IpAddr;

use nic_flow::{Action, Field, FlowKey, MacAddr, Match, PortId};
use nic_policy::{Change, FlowRule, FlowRuleId, Object, ObjectId, Port};
use nic_proto::datapath::v1 as pb;
use proptest::prelude::*;

use super::*;

fn any_match() -> impl Strategy<Value = Match> {
    proptest::collection::vec((proptest::sample::select(Field::ALL), any::<u128>(), any::<u128>()), 0..8)
        .prop_map(|parts| {
            parts.into_iter().fold(Match::ANY, |flow, (field, value, mask)| {
                flow.and(field, value, if mask & 1 == 0 { field.max() } else { mask & field.max() })
            })
        })
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        any::<u16>().prop_map(|bits| Action::Output(PortId::from_bits(bits))),
        any::<(u16, u16)>().prop_map(|(tpid, tci)| Action::PushVlan { tpid, tci }),
        Just(Action::PopVlan),
        Just(Action::DecIpTtl),
        (0u16..4096).prop_map(Action::SetVlanVid),
        (0u8..8).prop_map(Action::SetVlanPcp),
        (0u8..64).prop_map(Action::SetIpDscp),
        any::<u8>().prop_map(Action::SetIpTtl),
        any::<[u8; 6]>().prop_map(|mac| Action::SetEthSrc(MacAddr(mac))),
        any::<[u8; 6]>().prop_map(|mac| Action::SetEthDst(MacAddr(mac))),
        any::<IpAddr>().prop_map(Action::SetIpSrc),
        any::<IpAddr>().prop_map(Action::SetIpDst),
        any::<u16>().prop_map(Action::SetL4Src),
        any::<u16>().prop_map(Action::SetL4Dst),
    ]
}

fn any_change() -> impl Strategy<Value = Change> {
    let port = any::<u16>().prop_map(PortId::from_bits);
    let macs = proptest::collection::vec(any::<[u8; 6]>().prop_map(MacAddr), 0..16);
    let policy = (port.clone(), any::<bool>(), proptest::option::of(macs)).prop_map(|(id, enabled, macs)| {
        Object::Port(Port { id, enabled, source_macs: macs.map(|macs| macs.into_iter().collect()) })
    });
    let actions = proptest::collection::vec(any_action(), 0..16);
    let rule =
        (any::<u64>(), any::<u16>(), any_match(), actions).prop_map(|(id, priority, matches, actions)| {
            let actions = actions.into_iter().collect();
            Object::FlowRule(FlowRule { id: FlowRuleId(id), priority, matches, actions })
        });
    prop_oneof![
        policy.prop_map(Change::Put),
        rule.prop_map(Change::Put),
        port.prop_map(|port| Change::Remove(ObjectId::Port(port))),
        any::<u64>().prop_map(|id| Change::Remove(ObjectId::FlowRule(FlowRuleId(id)))),
    ]
}

proptest! {
    #[test]
    fn a_change_arrives_as_it_was(change in any_change()) {
        prop_assert_eq!(change_from(&change_to(&change)), Ok(Some(change)));
    }

    #[test]
    fn a_key_arrives_as_it_was(words in any::<[u64; nic_flow::field::WORDS]>()) {
        let key = FlowKey::from_words(words) & nic_flow::FlowMask::ALL;
        prop_assert_eq!(key_from("key", &key_to(&key)), Ok(key));
    }
}

fn field(name: &str, value: &[u8], mask: &[u8]) -> pb::FieldMatch {
    pb::FieldMatch { field: name.to_owned(), value: value.to_vec(), mask: mask.to_vec() }
}

#[test]
fn a_match_that_cannot_be_understood_is_refused_by_name() {
    let problem = |fields: &[pb::FieldMatch]| match_from("rule 7", fields).map_err(|e| (e.field, e.problem));
    let new_field = field("vxlan_vni", &[1], &[1]);
    assert_eq!(problem(&[new_field]), Err(("field", Problem::Unknown("vxlan_vni".to_owned()))));
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
    let wide = pb::Action { kind: Some(pb::action::Kind::SetVlanVid(4096)) };
    assert_eq!(actions_from("rule 7", &[wide]).unwrap_err().problem, Problem::Range);
}
