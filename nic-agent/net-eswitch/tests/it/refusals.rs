use dpdk::flow::{Action, Attr, Eth, Ipv4, Item, Masked, Udp, Vlan, Vxlan};
use dpdk::flow::{AttrField, ItemPart, Place};

use crate::Rig;

fn any_eth() -> Item {
    Item::Eth(Masked::any())
}

fn any_ipv4() -> Item {
    Item::Ipv4(Masked::any())
}

fn item(index: usize, name: &'static str, part: ItemPart) -> Place {
    Place::Item { index: Some(index), name: Some(name), part }
}

fn action(index: usize, name: &'static str, conf: bool) -> Place {
    Place::Action { index: Some(index), name: Some(name), conf }
}

/// What is refused, at which place, and a word of the reason.
type Case = (Vec<Item>, Vec<Action>, Place, &'static str);

fn check(rig: &Rig, cases: Vec<Case>) {
    for (items, actions, place, word) in cases {
        let pattern = [vec![Item::RepresentedPort(rig.dev("p0"))], items].concat();
        let port = rig.port("p0");
        let validated = port.validate_flow(&Attr::TRANSFER, &pattern, &actions).unwrap_err();
        let created = port.create_flow(&Attr::TRANSFER, &pattern, &actions).unwrap_err();
        assert_eq!((validated.place, &validated.message), (created.place, &created.message));
        assert_eq!(created.place, place, "{created}");
        assert!(created.message.as_deref().unwrap().contains(word), "{created}");
        assert!(matches!(created.errno.get(), libc::ENOTSUP | libc::EINVAL), "{created}");
    }
}

pub(crate) fn of_the_full_profile(rig: &Rig) {
    let out = Action::RepresentedPort(rig.dev("pf0vf0"));
    let icmp = Item::Icmp(Masked::any());
    let type_mask = |ether_type| Item::Eth(Masked::new(Eth::default(), Eth { ether_type, ..Eth::default() }));
    let to_port = |dst_port| {
        let udp = |dst_port| Udp { dst_port, ..Udp::default() };
        Item::Udp(Masked::new(udp(dst_port), udp(0xffff)))
    };
    let encap = || Action::VxlanEncap(crate::tunnels::ENCAP);
    let fragment = |spec, mask| {
        let field = |fragment_offset| Ipv4 { fragment_offset, ..Ipv4::default() };
        Item::Ipv4(Masked::new(field(spec), field(mask)))
    };
    check(
        rig,
        vec![
            (
                vec![any_eth(), any_ipv4(), to_port(8472), Item::Vxlan(Masked::any())],
                vec![out],
                item(3, "udp", ItemPart::Spec),
                "4789",
            ),
            (
                vec![any_eth(), any_ipv4(), Item::Vxlan(Masked::any())],
                vec![out],
                item(3, "vxlan", ItemPart::Whole),
                "udp item",
            ),
            (vec![any_ipv4(), any_eth()], vec![out], item(2, "eth", ItemPart::Whole), "layer"),
            (
                vec![any_eth(), Item::Udp(Masked::any())],
                vec![out],
                item(2, "udp", ItemPart::Whole),
                "IP version",
            ),
            (
                vec![any_eth(), Item::Ipv6(Masked::any()), icmp],
                vec![out],
                item(3, "icmp", ItemPart::Whole),
                "IP version",
            ),
            (vec![type_mask(0xff00)], vec![out], item(1, "eth", ItemPart::Mask), "whole"),
            (
                vec![any_eth(), fragment(0x2000, 0x2000)],
                vec![out],
                item(2, "ipv4", ItemPart::Mask),
                "fragments",
            ),
            (
                vec![Item::PortRepresentor(rig.dev("p0"))],
                vec![out],
                item(1, "port_representor", ItemPart::Whole),
                "representor",
            ),
            (vec![Item::PortId(rig.dev("p0"))], vec![out], item(1, "port_id", ItemPart::Whole), "second"),
            (vec![any_eth()], vec![Action::Count], Place::ActionsLength, "destination"),
            (vec![any_eth()], vec![out, Action::Drop], Place::ActionsLength, "not both"),
            (vec![any_eth()], vec![Action::Count, Action::Count, out], action(1, "count", false), "second"),
            (vec![any_eth()], vec![Action::VxlanDecap, out], action(0, "vxlan_decap", false), "vxlan item"),
            (
                vec![any_eth()],
                vec![encap(), encap(), out],
                action(1, "vxlan_encap", false),
                "second encapsulation",
            ),
            (
                vec![any_eth()],
                vec![Action::PortRepresentor(rig.dev("p0"))],
                action(0, "port_representor", false),
                "not know",
            ),
            (
                vec![any_eth()],
                vec![Action::SetIpv4Src([1; 4]), out],
                action(0, "set_ipv4_src", false),
                "ipv4 item",
            ),
            (
                vec![any_eth(), any_ipv4()],
                vec![Action::SetTpDst(1), out],
                action(0, "set_tp_dst", false),
                "tcp or udp",
            ),
            (vec![any_eth()], vec![Action::OfPopVlan, out], action(0, "of_pop_vlan", false), "vlan item"),
            (
                vec![any_eth()],
                vec![Action::OfPushVlan { ether_type: 0x1234 }, out],
                action(0, "of_push_vlan", true),
                "0x8100",
            ),
        ],
    );
    let elsewhere = dpdk::ethdev::discover(&rig.eal).unwrap();
    let elsewhere =
        elsewhere.iter().find(|info| info.switch.as_ref().unwrap().name.as_deref() != Some(&rig.device));
    let elsewhere = Action::RepresentedPort(elsewhere.expect("there are other devices").id);
    check(
        rig,
        vec![(vec![any_eth()], vec![elsewhere], action(0, "represented_port", true), "another device")],
    );
    attributes_are_refused_by_name(rig);
}

fn attributes_are_refused_by_name(rig: &Rig) {
    let pattern = [Item::RepresentedPort(rig.dev("p0"))];
    for (attr, field) in [
        (Attr { transfer: false, ingress: true, ..Attr::TRANSFER }, AttrField::Transfer),
        (Attr { group: 1, ..Attr::TRANSFER }, AttrField::Group),
    ] {
        let refused = rig.port("p0").create_flow(&attr, &pattern, &[Action::Drop]).unwrap_err();
        assert_eq!((refused.place, refused.errno.get()), (Place::Attr(field), libc::ENOTSUP), "{refused}");
    }
}

#[test]
fn the_portable_profile_takes_what_all_cards_take_and_no_more() {
    let rig = Rig::new("net_eswitch2");
    let out = Action::RepresentedPort(rig.dev("pf0vf0"));
    let udp = Item::Udp(Masked::new(
        Udp { dst_port: 53, ..Default::default() },
        Udp { dst_port: 0xffff, ..Default::default() },
    ));
    let untagged = Item::Eth(Masked::new(Eth::default(), Eth { has_vlan: true, ..Default::default() }));
    let tagged = Item::Eth(Masked::new(
        Eth { ether_type: 0x8100, ..Default::default() },
        Eth { ether_type: 0xffff, ..Default::default() },
    ));
    let vlan = Item::Vlan(Masked::new(
        Vlan { tci: 5, inner_type: 0x0800, ..Default::default() },
        Vlan { tci: 0x0fff, inner_type: 0xffff, ..Default::default() },
    ));
    // A bit of the ECN, a network, a destination, no tag: what an overlay's rules ask for.
    let ecn = |tos| Ipv4 { tos, ..Ipv4::default() };
    let any_ecn = Item::Ipv4(Masked::new(ecn(0), ecn(1)));
    let vni = Item::Vxlan(Masked::new(Vxlan { vni: 7 }, Vxlan { vni: 0xff_ffff }));
    let tunnel = [any_eth(), any_ecn, Item::Udp(Masked::any()), vni];
    let inner = Item::Eth(Masked::new(
        Eth { dst: [2; 6], ..Default::default() },
        Eth { dst: [0xff; 6], has_vlan: true, ..Default::default() },
    ));
    let encap = Action::VxlanEncap(crate::tunnels::ENCAP);
    let taken = [
        (vec![], vec![Action::Count, out]),
        (vec![untagged, any_ipv4(), udp], vec![Action::Count, out]),
        (vec![untagged, Item::Ipv6(Masked::any()), udp], vec![Action::Count, Action::DecTtl, out]),
        (vec![tagged, vlan, any_ipv4()], vec![Action::Count, Action::OfPopVlan, out]),
        (vec![any_eth(), any_ipv4(), udp], vec![Action::SetIpv4Dst([1; 4]), Action::SetTpDst(5), out]),
        (vec![any_eth()], vec![Action::OfPushVlan { ether_type: 0x8100 }, Action::OfSetVlanVid(7), out]),
        (vec![any_eth()], vec![Action::Count, Action::Drop]),
        ([&tunnel[..], &[inner]].concat(), vec![Action::Count, Action::VxlanDecap, out]),
        (tunnel.to_vec(), vec![Action::VxlanDecap, Action::OfPushVlan { ether_type: 0x8100 }, out]),
        (vec![untagged, any_ecn], vec![Action::Count, encap, Action::RepresentedPort(rig.dev("p0"))]),
    ];
    for (items, actions) in taken {
        let pattern = [vec![Item::RepresentedPort(rig.dev("p0"))], items].concat();
        rig.port("p0").validate_flow(&Attr::TRANSFER, &pattern, &actions).unwrap();
    }
    let ttl = |ttl| Ipv4 { ttl, ..Ipv4::default() };
    check(
        &rig,
        vec![
            (
                vec![any_eth(), Item::Ipv4(Masked::new(ttl(1), ttl(255)))],
                vec![out],
                item(2, "ipv4", ItemPart::Whole),
                "ip_ttl",
            ),
            (
                vec![any_eth(), any_ipv4(), Item::Icmp(Masked::any())],
                vec![out],
                item(3, "icmp", ItemPart::Whole),
                "l4",
            ),
            (vec![any_eth()], vec![out, out], action(1, "represented_port", false), "one destination"),
            (
                vec![any_eth()],
                vec![Action::Count, Action::SetMacDst([2; 6]), out],
                action(1, "set_mac_dst", false),
                "cannot be done",
            ),
            (
                [&tunnel[..], &[any_eth(), any_ipv4()]].concat(),
                vec![Action::VxlanDecap, out],
                item(6, "ipv4", ItemPart::Whole),
                "tun_",
            ),
            (vec![any_eth()], vec![encap, out], action(1, "represented_port", false), "uplink"),
            (
                tunnel.to_vec(),
                vec![Action::VxlanDecap, encap, out],
                action(1, "vxlan_encap", false),
                "one tunnel",
            ),
            (
                vec![any_eth()],
                vec![Action::PortId(rig.dev("pf0vf0"))],
                action(0, "port_id", false),
                "represented_port",
            ),
        ],
    );
    let port = rig.port("p0");
    let implicit = port.create_flow(&Attr::TRANSFER, &[any_eth()], &[Action::Drop]).unwrap_err();
    assert_eq!(implicit.place, Place::PatternLength, "{implicit}");
    let attr = Attr { priority: 1, ..Attr::TRANSFER };
    let pattern = [Item::RepresentedPort(rig.dev("p0"))];
    let refused = port.create_flow(&attr, &pattern, &[Action::Drop]).unwrap_err();
    assert_eq!(refused.place, Place::Attr(AttrField::Priority), "{refused}");
}
