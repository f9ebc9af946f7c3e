//! The probe tells the truth about rewritten packets: what it returns is what the packet holds, what it
//! records is enough, and it is not more than needed.

use nic_flow::field::{TUNNELLED, WORDS};
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
        "set_ip_ecn(3)",
        "encap_vxlan(100/192.0.2.1/192.0.2.9/02:4e:00:00:00:01/02:00:00:00:00:09/0x01/64)",
        "encap_vxlan(7/2001:db8::1/2001:db8::2/02:4e:00:00:00:01/02:00:00:00:00:09/0x01/64/0x0005)",
        "decap_vxlan",
        "decap_vxlan",
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
    let status = [Field::VlanCount, Field::L3, Field::L4, Field::IpFrag];
    let frame = || (status.map(|_| 0u128..4), 0u128..5, 0usize..3, 0usize..3);
    (any::<[u64; WORDS]>(), frame(), frame(), any::<bool>()).prop_map(|(words, outer, inner, vxlan)| {
        let mut key = FlowKey::from_words(words) & FlowMask::ALL;
        set_frame(&mut key, |field| field, outer);
        let tunnelled =
            |field| TUNNELLED.iter().find(|(plain, _)| *plain == field).map_or(field, |pair| pair.1);
        set_frame(&mut key, tunnelled, inner);
        let ip = key.l3() == L3::Ok && key.eth_type() != 0x0806 && key.get(Field::VlanCount) != 3;
        if ip && key.l4() == L4::Ok && key.get(Field::IpProto) == 17 && vxlan {
            return key.with(Field::L4Dst, 4789);
        }
        for field in Field::ALL.iter().filter(|&&field| Layer::of(field) >= Layer::Tunnel) {
            key.set(*field, 0);
        }
        key
    })
}

/// The small fields of a frame: so few values that steps meet each.
fn set_frame(
    key: &mut FlowKey,
    place: impl Fn(Field) -> Field,
    ([tags, l3, l4, frag], ttl, eth_type, proto): ([u128; 4], u128, usize, usize),
) {
    // Behind a header that is not whole, parsing finds no other.
    let l4 = if L3::from_bits(l3) != L3::Ok || eth_type == 2 { L4::Other as u128 } else { l4 };
    for (field, value) in [
        (Field::VlanCount, tags),
        (Field::L3, l3),
        (Field::L4, l4),
        (Field::IpFrag, frag),
        (Field::IpTtl, ttl),
        (Field::EthType, [0x0800, 0x86dd, 0x0806][eth_type]),
        (Field::IpProto, [6, 17, 1][proto]),
    ] {
        key.set(place(field), value);
    }
}

/// All that the steps learn about a packet, and the bits that this took.
fn learn(key: &FlowKey, steps: &[Step]) -> (Vec<u128>, FlowMask) {
    let (policy, state) = (Snapshot::empty(), State::default());
    let mut probe = Probe::new(key, &policy, &state);
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
        prop_assert_eq!(read.with_prerequisites(), read);
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

#[test]
fn what_came_out_of_a_tunnel_is_read_where_it_arrived() {
    let tunnel = "eth_type=0x0800,l3=1,ip_proto=17,l4=1,l4_dst=4789,tunnel=1,tun_eth_type=0x0800,tun_l3=1";
    assert_eq!(widening(tunnel, "decap_vxlan", Field::EthDst), ["tun_eth_dst"]);
    assert_eq!(
        widening(tunnel, "decap_vxlan", Field::IpTos),
        ["tun_vlan_count", "tun_eth_type", "tun_l3", "tun_ip_tos"]
    );
    assert_eq!(widening(tunnel, "decap_vxlan", Field::TunEthDst), [""; 0]);
    assert_eq!(
        widening(&format!("{tunnel},tun_ip_ttl=9"), "decap_vxlan,dec_ip_ttl", Field::IpTtl),
        ["tun_ip_ttl"]
    );
}

#[test]
fn what_went_into_a_tunnel_is_read_where_it_arrived_and_the_headers_around_it_nowhere() {
    let encap = "encap_vxlan(100/192.0.2.1/192.0.2.9/02:4e:00:00:00:01/02:00:00:00:00:09/0x01/64)";
    let ip = "eth_type=0x0800,l3=1";
    for field in [Field::EthDst, Field::IpDst, Field::IpTos, Field::L4Dst, Field::Vni, Field::Tunnel] {
        assert_eq!(widening(ip, encap, field), [""; 0], "{field}");
    }
    assert_eq!(widening(ip, encap, Field::TunIpDst), ["vlan_count", "eth_type", "l3", "ip_dst"]);
    assert_eq!(widening(ip, &format!("{encap},decap_vxlan"), Field::EthDst), ["eth_dst"]);
}
