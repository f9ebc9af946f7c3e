//! The objects of bridges and tunnels, and the ports that take part in them.

use std::net::{Ipv4Addr, Ipv6Addr};

use nic_policy::{Attachment, Bridge, BridgeId, FdbEntry, Overlay, Place, Trunk, TunnelPeer, Vtep, VtepId};

use super::*;

fn any_station() -> impl Strategy<Value = MacAddr> {
    any_mac().prop_map(|MacAddr([first, rest @ ..])| {
        let [b, c, d, e, f] = rest;
        MacAddr([first & 0xfe | 2, b, c, d, e, f])
    })
}

fn any_endpoint() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (1u8..224, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| Ipv4Addr::new(a, b, c, d).into()),
        any::<u64>().prop_map(|low| Ipv6Addr::from_bits(0xfd << 120 | u128::from(low)).into()),
    ]
}

pub(super) fn any_place() -> impl Strategy<Value = Place> {
    prop_oneof![any_port().prop_map(Place::Port), any_endpoint().prop_map(Place::Peer)]
}

fn any_attachment() -> impl Strategy<Value = Attachment> {
    let trunk = proptest::collection::btree_map(1u16..4095, any::<u64>(), 0..5);
    (any::<Option<u64>>(), trunk).prop_map(|(access, trunk)| Attachment {
        access: access.map(BridgeId),
        trunk: trunk.into_iter().map(|(vid, bridge)| Trunk { vid, bridge: BridgeId(bridge) }).collect(),
    })
}

fn any_port_policy() -> impl Strategy<Value = Object> {
    let macs = proptest::option::of(proptest::collection::vec(any_mac(), 0..16));
    (any_port(), any::<[bool; 2]>(), macs, any_attachment(), any::<[u32; 2]>()).prop_map(
        |(id, [enabled, learning], macs, bridges, [mac_limit, flood_budget])| {
            let source_macs = macs.map(|macs| macs.into_iter().collect());
            Object::Port(Port { id, enabled, source_macs, bridges, learning, mac_limit, flood_budget })
        },
    )
}

fn any_bridge() -> impl Strategy<Value = Object> {
    let overlay = (any::<u64>(), 1u32..1 << 24).prop_map(|(vtep, vni)| Overlay { vtep: VtepId(vtep), vni });
    (any::<u64>(), proptest::option::of(overlay), any::<[bool; 2]>(), 1..=u32::MAX).prop_map(
        |(id, overlay, [flood_unknown, suppression], ageing_time)| {
            Object::Bridge(Bridge { id: BridgeId(id), overlay, flood_unknown, ageing_time, suppression })
        },
    )
}

fn any_vtep() -> impl Strategy<Value = Object> {
    let vlan = proptest::option::of(1u16..4095);
    (any::<u64>(), any_port(), vlan, any_station(), any_endpoint(), any::<bool>(), 1u8.., 0u8..64).prop_map(
        |(id, uplink, vlan, mac, address, routed, ttl, dscp)| {
            let prefix_length = if address.is_ipv4() { 31 } else { 127 };
            let gateway = routed.then(|| match address {
                IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() ^ 1).into(),
                IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() ^ 1).into(),
            });
            Object::Vtep(Vtep {
                id: VtepId(id),
                uplink,
                vlan,
                mac,
                address,
                prefix_length,
                gateway,
                ttl,
                dscp,
            })
        },
    )
}

fn any_peer() -> impl Strategy<Value = Object> {
    let bridges = proptest::collection::btree_set(any::<u64>(), 0..5);
    (any::<u64>(), any_endpoint(), bridges, any::<bool>(), any::<u32>()).prop_map(
        |(vtep, address, bridges, learning, mac_limit)| {
            let bridges = bridges.into_iter().map(BridgeId).collect();
            Object::TunnelPeer(TunnelPeer { vtep: VtepId(vtep), address, bridges, learning, mac_limit })
        },
    )
}

fn any_entry() -> impl Strategy<Value = Object> {
    let addresses = proptest::collection::vec(any::<IpAddr>(), 0..4);
    (any::<u64>(), any_station(), any_place(), addresses).prop_map(|(bridge, mac, place, addresses)| {
        Object::FdbEntry(FdbEntry { bridge: BridgeId(bridge), mac, place, addresses })
    })
}

pub(super) fn any_object() -> impl Strategy<Value = Object> {
    prop_oneof![any_port_policy(), any_bridge(), any_vtep(), any_peer(), any_entry()]
}

pub(super) fn any_id() -> impl Strategy<Value = ObjectId> {
    prop_oneof![
        any_object().prop_map(|object| object.id()),
        any::<u64>().prop_map(|id| ObjectId::FlowRule(FlowRuleId(id)))
    ]
}

fn refusal(kind: pb::policy_object::Kind) -> (String, &'static str, Problem) {
    let message = pb::sync_request::Message::Upsert(pb::PolicyObject { kind: Some(kind) });
    let error = change_from(&message).unwrap_err();
    (error.object, error.field, error.problem)
}

#[test]
fn a_port_with_bad_trunks_is_refused() {
    let with = |vlans: &[u32]| {
        let trunks = vlans.iter().map(|&vlan| pb::Trunk { vlan, bridge: 1 }).collect();
        let port = pb::PortPolicy { port: 3, trunks, ..pb::PortPolicy::default() };
        refusal(pb::policy_object::Kind::Port(port))
    };
    assert_eq!(with(&[0]), ("port 3".to_owned(), "trunks.vlan", Problem::Range));
    assert_eq!(with(&[4095]), ("port 3".to_owned(), "trunks.vlan", Problem::Range));
    assert_eq!(with(&[5, 5]), ("port 3".to_owned(), "trunks", Problem::Order));
    assert_eq!(with(&[6, 5]), ("port 3".to_owned(), "trunks", Problem::Order));
}

#[test]
fn a_bridge_out_of_range_is_refused() {
    let good = pb::BridgePolicy { id: 9, ageing_time: 300, ..pb::BridgePolicy::default() };
    let with = |vni| pb::BridgePolicy { overlay: Some(pb::Overlay { vtep: 1, vni }), ..good };
    for (bridge, field) in [
        (with(0), "overlay.vni"),
        (with(1 << 24), "overlay.vni"),
        (pb::BridgePolicy { ageing_time: 0, ..good }, "ageing_time"),
    ] {
        let refused = refusal(pb::policy_object::Kind::Bridge(bridge));
        assert_eq!(refused, ("bridge 9".to_owned(), field, Problem::Range));
    }
}

#[test]
fn a_vtep_that_cannot_be_is_refused_by_field() {
    let good = pb::VtepPolicy {
        id: 4,
        mac_address: vec![2, 0, 0, 0, 0, 1],
        address: vec![192, 0, 2, 1],
        prefix_length: 24,
        gateway: vec![192, 0, 2, 254],
        ttl: 64,
        ..pb::VtepPolicy::default()
    };
    assert!(bridging_vtep(&good).is_ok());
    let edited = |edit: fn(&mut pb::VtepPolicy)| {
        let mut vtep = good.clone();
        edit(&mut vtep);
        bridging_vtep(&vtep).unwrap_err()
    };
    let range = |field| ("VTEP 4".to_owned(), field, Problem::Range);
    assert_eq!(edited(|vtep| vtep.uplink = 1 << 16), range("uplink"));
    assert_eq!(edited(|vtep| vtep.vlan = Some(0)), range("vlan"));
    assert_eq!(edited(|vtep| vtep.vlan = Some(4095)), range("vlan"));
    assert_eq!(edited(|vtep| vtep.mac_address = vec![0; 6]), range("mac_address"));
    assert_eq!(edited(|vtep| vtep.mac_address = vec![0xff; 6]), range("mac_address"));
    assert_eq!(edited(|vtep| vtep.address = vec![0; 4]), range("address"));
    assert_eq!(edited(|vtep| vtep.address = vec![224, 0, 0, 1]), range("address"));
    assert_eq!(edited(|vtep| vtep.address = vec![255; 4]), range("address"));
    assert_eq!(edited(|vtep| vtep.address = vec![1; 5]), range("address"));
    assert_eq!(edited(|vtep| vtep.prefix_length = 33), range("prefix_length"));
    assert_eq!(edited(|vtep| vtep.ttl = 0), range("ttl"));
    assert_eq!(edited(|vtep| vtep.ttl = 256), range("ttl"));
    assert_eq!(edited(|vtep| vtep.dscp = 64), range("dscp"));
    let network = ("VTEP 4".to_owned(), "gateway", Problem::Network);
    assert_eq!(edited(|vtep| vtep.gateway = vec![192, 0, 3, 1]), network);
    assert_eq!(edited(|vtep| vtep.gateway = vec![0xfd; 16]), network);
}

fn bridging_vtep(vtep: &pb::VtepPolicy) -> Result<(), (String, &'static str, Problem)> {
    let kind = pb::policy_object::Kind::Vtep(vtep.clone());
    let message = pb::sync_request::Message::Upsert(pb::PolicyObject { kind: Some(kind) });
    change_from(&message).map(|_| ()).map_err(|error| (error.object, error.field, error.problem))
}

#[test]
fn a_tunnel_peer_is_named_by_its_address() {
    let peer = pb::TunnelPeerPolicy {
        vtep: 4,
        address: vec![192, 0, 2, 9],
        bridges: vec![2, 2],
        ..pb::TunnelPeerPolicy::default()
    };
    let object = "tunnel peer 192.0.2.9 of VTEP 4".to_owned();
    let refused = refusal(pb::policy_object::Kind::TunnelPeer(peer.clone()));
    assert_eq!(refused, (object, "bridges", Problem::Order));
    let nameless = pb::TunnelPeerPolicy { address: vec![], bridges: vec![], ..peer };
    let refused = refusal(pb::policy_object::Kind::TunnelPeer(nameless));
    assert_eq!(refused, ("tunnel peer ? of VTEP 4".to_owned(), "address", Problem::Range));
}

#[test]
fn an_entry_is_of_one_station_at_one_place() {
    let entry = pb::FdbEntryPolicy {
        bridge: 9,
        mac_address: vec![2, 0, 0, 0, 0, 1],
        place: Some(pb::Place { kind: Some(pb::place::Kind::Port(1)) }),
        addresses: vec![vec![10, 0, 0, 1]],
    };
    let object = "FDB entry 02:00:00:00:00:01 of bridge 9".to_owned();
    let refused = |entry| refusal(pb::policy_object::Kind::FdbEntry(entry));
    let nowhere = pb::FdbEntryPolicy { place: None, ..entry.clone() };
    assert_eq!(refused(nowhere), (object.clone(), "place", Problem::Missing));
    let short = pb::FdbEntryPolicy { addresses: vec![vec![10]], ..entry.clone() };
    assert_eq!(refused(short), (object, "addresses", Problem::Range));
    let group = pb::FdbEntryPolicy { mac_address: vec![0xff; 6], ..entry };
    let object = "FDB entry ff:ff:ff:ff:ff:ff of bridge 9".to_owned();
    assert_eq!(refused(group), (object, "mac_address", Problem::Range));
}

#[test]
fn a_flow_rule_does_nothing_with_tunnels() {
    use pb::action::Kind;
    for (kind, name) in [
        (Kind::DecapVxlan(pb::DecapVxlan {}), "decap_vxlan"),
        (Kind::Flood(pb::Flood { list: 1, from_tunnel: false }), "flood"),
    ] {
        let actions = vec![pb::Action { kind: Some(kind) }];
        let rule = pb::FlowRulePolicy { id: 7, actions, ..pb::FlowRulePolicy::default() };
        let refused = refusal(pb::policy_object::Kind::FlowRule(rule));
        assert_eq!(refused, ("flow rule 7".to_owned(), "actions", Problem::Misplaced(name)));
    }
}

#[test]
fn an_object_of_an_unknown_kind_is_refused() {
    let message = pb::sync_request::Message::Upsert(pb::PolicyObject { kind: None });
    assert_eq!(change_from(&message).unwrap_err().problem, Problem::Missing);
    let message = pb::sync_request::Message::Remove(pb::ObjectRef { kind: None });
    assert_eq!(change_from(&message).unwrap_err().problem, Problem::Missing);
}
