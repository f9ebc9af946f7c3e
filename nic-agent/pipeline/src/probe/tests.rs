//! The probe tells the truth about rewritten packets: what it returns is what the packet holds, what it
//! records is enough, and it is not more than needed.

use nic_flow::{ActionList, text};
use proptest::prelude::*;

use super::*;
use crate::flow_rules::has_place;

#[derive(Debug, Clone)]
enum Step {
    Do(Action),
    Read(Field),
    AnyBit(Field, u128),
}

fn actions() -> impl Strategy<Value = Action> {
    let lists = [
        "push_vlan(0x8100/0x0005)",
        "push_vlan(0x88a8/0xe006)",
        "pop_vlan",
        "pop_vlan",
        "set_vlan_vid(7)",
        "set_vlan_pcp(3)",
        "set_eth_src(02:00:00:00:00:01)",
        "set_eth_dst(02:00:00:00:00:02)",
        "set_ip_src(10.0.0.1)",
        "set_ip_dst(fe80::1)",
        "set_ip_dscp(46)",
        "set_ip_ttl(2)",
        "dec_ip_ttl",
        "dec_ip_ttl",
        "set_l4_src(53)",
        "set_l4_dst(80)",
    ];
    prop::sample::select(lists.map(|list| text::parse_actions(list).expect("an action")[0]).to_vec())
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let field = || prop::sample::select(Field::ALL);
    let step = prop_oneof![
        actions().prop_map(Step::Do),
        field().prop_map(Step::Read),
        (field(), any::<u128>(), any::<u128>()).prop_map(|(field, a, b)| Step::AnyBit(field, a & b)),
    ];
    prop::collection::vec(step, 1..16)
}

fn keys() -> impl Strategy<Value = FlowKey> {
    let small = [Field::VlanCount, Field::L3, Field::L4, Field::IpFrag].map(|field| (Just(field), 0u128..4));
    let rest = (any::<[u64; 10]>(), 0u128..5, 0usize..3, 0usize..3);
    (small, rest).prop_map(|(small, (words, ttl, eth_type, proto))| {
        let mut key = FlowKey::from_words(words) & FlowMask::ALL;
        for (field, value) in small {
            key.set(field, value);
        }
        // Behind a header that is not whole, parsing finds no other.
        if key.l3() != L3::Ok || eth_type == 2 {
            key.set(Field::L4, L4::Other as u128);
        }
        key.with(Field::IpTtl, ttl)
            .with(Field::EthType, [0x0800, 0x86dd, 0x0806][eth_type])
            .with(Field::IpProto, [6, 17, 1][proto])
    })
}

/// All that the steps learn about a packet, and the bits that this took.
fn learn(key: &FlowKey, steps: &[Step]) -> (Vec<u128>, FlowMask) {
    let policy = Snapshot::empty();
    let mut probe = Probe::new(key, &policy);
    let mut learnt = Vec::new();
    for step in steps {
        learnt.push(match *step {
            Step::Read(field) => probe.read(field),
            Step::AnyBit(field, bits) => probe.any_bit(field, bits).into(),
            Step::Do(action) => {
                let place = has_place(&mut probe, &action);
                if place == Ok(true) {
                    probe.rewrite(&action);
                }
                place.map_or_else(|reason| 2 + reason.index() as u128, u128::from)
            }
        });
    }
    (learnt, probe.finish().read)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn packets_that_agree_in_what_was_recorded_look_the_same(key in keys(), other in keys(), steps in steps()) {
        let (learnt, read) = learn(&key, &steps);
        let mut twin = other;
        for &field in Field::ALL {
            let bits = read.get(field);
            twin.set(field, (key.get(field) & bits) | (other.get(field) & !bits));
        }
        prop_assert_eq!(learn(&twin, &steps).0, learnt, "{:?} and {:?} agree in {:?}", key, twin, read);
    }

    #[test]
    fn a_stage_reads_what_the_rewritten_packet_holds(key in keys(), steps in steps()) {
        let (learnt, _) = learn(&key, &steps);
        let mut now = key;
        for (step, learnt) in steps.iter().zip(learnt) {
            match *step {
                Step::Read(field) => prop_assert_eq!(learnt, now.get(field)),
                Step::AnyBit(field, bits) => prop_assert_eq!(learnt == 1, now.get(field) & bits != 0),
                Step::Do(action) => {
                    let mut rewritten = now;
                    action.rewrite(&mut rewritten);
                    match learnt {
                        // An action without a place is one that would change nothing.
                        0 => prop_assert_eq!(rewritten, now, "{}", action),
                        1 => now = rewritten,
                        _ => {}
                    }
                }
            }
        }
    }
}

/// The fields recorded when `field` is read after the actions, and not without reading it.
fn widening(fields: &str, list: &str, field: Field) -> Vec<&'static str> {
    let actions: ActionList = text::parse_actions(list).expect("actions");
    let mut steps: Vec<Step> = actions.into_iter().map(Step::Do).collect();
    let key = crate::fixture::packet(fields);
    let before = learn(&key, &steps).1;
    steps.push(Step::Read(field));
    crate::fixture::fields(&learn(&key, &steps).1.without(&before))
}

#[test]
fn reading_what_an_action_has_set_reads_nothing_of_the_packet() {
    let ip = "eth_type=0x0800,l3=1,ip_ttl=9";
    assert_eq!(widening(ip, "set_eth_src(02:00:00:00:00:01)", Field::EthSrc), [""; 0]);
    assert_eq!(widening(ip, "set_ip_src(10.0.0.1)", Field::IpSrc), [""; 0]);
    assert_eq!(widening(ip, "set_ip_ttl(64),dec_ip_ttl", Field::IpTtl), [""; 0]);
    assert_eq!(widening(ip, "push_vlan(0x8100/0x0005)", Field::VlanTci), [""; 0]);
    assert_eq!(widening(ip, "set_eth_src(02:00:00:00:00:01)", Field::EthDst), ["eth_dst"]);
    assert_eq!(widening(ip, "dec_ip_ttl", Field::IpTtl), ["ip_ttl"]);
}

#[test]
fn a_tag_that_moved_is_read_where_it_arrived() {
    let tagged = "vlan_count=2,vlan_tci=0x0001,inner_vlan_tci=0x0002";
    assert_eq!(widening(tagged, "pop_vlan", Field::VlanTci), ["inner_vlan_tci"]);
    assert_eq!(widening(tagged, "pop_vlan,pop_vlan", Field::VlanTci), [""; 0]);
    assert_eq!(
        widening("vlan_count=1", "push_vlan(0x8100/0x0005)", Field::InnerVlanTci),
        ["vlan_count", "vlan_tci"]
    );
}
