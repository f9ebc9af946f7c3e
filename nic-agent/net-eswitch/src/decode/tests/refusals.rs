//! What is refused of tunnels: where, with which number, and the message.

use dpdk_sys as sys;
use nic_flow::{Action, PortId};
use soft_eswitch::Profile;

use super::encap::{eth, ipv4, transfer, udp, vxlan};
use super::{be, masked};
use crate::decode::raw::{Item, RawAction};
use crate::decode::{At, Fault, Part, decode};

/// Items that ask for their header alone.
fn any() -> [Item; 5] {
    [
        Item::Eth(masked(Default::default(), Default::default())),
        Item::Ipv4(masked(Default::default(), Default::default())),
        Item::Udp(masked(Default::default(), Default::default())),
        Item::Vxlan(masked(Default::default(), Default::default())),
        Item::Tcp(masked(Default::default(), Default::default())),
    ]
}

fn list(items: &[Item], actions: Vec<RawAction>) -> Result<Vec<Action>, Fault> {
    let port = PortId::uplink(0).unwrap();
    let actions: Vec<_> = actions.into_iter().chain([RawAction::RepresentedPort(1)]).collect();
    let decoded = decode(transfer(), items, &actions, Profile::Full, port, &|_| Some(port))?;
    let (last, before) = decoded.rule.actions.split_last().expect("the output is there");
    assert_eq!(*last, Action::Output(port));
    Ok(before.to_vec())
}

fn refused(items: &[Item], actions: Vec<RawAction>) -> (At, i32, String) {
    let fault = list(items, actions).unwrap_err();
    (fault.at, fault.errno, fault.message.into_owned())
}

fn item(index: usize, part: Part) -> At {
    At::Item { index, part }
}

#[test]
fn a_vxlan_item_that_cannot_be_matched_is_refused_with_the_item_at_fault() {
    let [eth, ip, udp, vxlan, tcp] = any();
    let to_port = |port, mask| {
        let item = |dst_port| sys::shim_flow_item_udp { dst_port, ..Default::default() };
        Item::Udp(masked(item(be(port)), item(be(mask))))
    };
    let flags = |spec, mask| {
        let item = |flags| sys::shim_flow_item_vxlan { flags, ..Default::default() };
        Item::Vxlan(masked(item(spec), item(mask)))
    };
    let reserved = sys::shim_flow_item_vxlan { reserved1: 1, ..Default::default() };
    let reserved = Item::Vxlan(masked(Default::default(), reserved));
    let cases: [(Vec<Item>, At, i32, &str); 8] = [
        (
            vec![eth, ip, to_port(8472, 0xffff), vxlan],
            item(2, Part::Spec),
            libc::ENOTSUP,
            "a vxlan item is matched behind UDP port 4789 only",
        ),
        (
            vec![eth, ip, to_port(4788, 1), vxlan],
            item(2, Part::Spec),
            libc::ENOTSUP,
            "a vxlan item is matched behind UDP port 4789 only",
        ),
        (vec![eth, ip, tcp, vxlan], item(3, Part::Type), libc::EINVAL, "the item needs a udp item before it"),
        (vec![eth, vxlan], item(1, Part::Type), libc::EINVAL, "the item needs a udp item before it"),
        (
            vec![eth, ip, udp, vxlan, eth, ip, udp, vxlan],
            item(7, Part::Type),
            libc::ENOTSUP,
            "a tunnel in a tunnel is not parsed",
        ),
        (
            vec![eth, ip, udp, flags(0, 8)],
            item(3, Part::Spec),
            libc::ENOTSUP,
            "a VXLAN packet without a valid VNI cannot be matched",
        ),
        (
            vec![eth, ip, udp, flags(8, 0x88)],
            item(3, Part::Mask),
            libc::ENOTSUP,
            "a reserved bit cannot be matched",
        ),
        (
            vec![eth, ip, udp, reserved],
            item(3, Part::Mask),
            libc::ENOTSUP,
            "a reserved bit cannot be matched",
        ),
    ];
    for (items, at, errno, message) in cases {
        assert_eq!(refused(&items, vec![]), (at, errno, message.to_owned()));
    }
    // What contradicts itself in the tunnel is told of the inner item.
    let typed = sys::shim_flow_item_eth { ether_type: 0xffff, ..Default::default() };
    let six = sys::shim_flow_item_eth { ether_type: be(0x86dd), ..Default::default() };
    let inner = Item::Eth(masked(six, typed));
    let found = refused(&[eth, ip, udp, vxlan, inner, ip], vec![]);
    assert_eq!(found, (item(5, Part::Spec), libc::EINVAL, "tun_eth_type contradicts another item".into()));
}

#[test]
fn actions_mean_the_frame_that_the_steps_before_them_leave() {
    let [eth_any, ip, udp_any, vxlan_any, tcp] = any();
    let encap = || {
        RawAction::VxlanEncap(vec![
            Item::Eth(eth()),
            Item::Ipv4(ipv4()),
            Item::Udp(udp()),
            Item::Vxlan(vxlan([0, 0, 1])),
        ])
    };
    let outer = [eth_any, ip, udp_any, vxlan_any, eth_any];
    let through = [eth_any, ip, udp_any, vxlan_any, eth_any, ip, tcp];
    let at = |index, message: &str| (At::Action { index }, libc::EINVAL, message.to_owned());

    let decap_and_route = vec![RawAction::VxlanDecap, RawAction::SetIpv4Dst([1; 4]), RawAction::SetTpDst(5)];
    assert_eq!(
        list(&through, decap_and_route.clone()),
        Ok(vec![Action::DecapVxlan, Action::SetIpDst([1, 1, 1, 1].into()), Action::SetL4Dst(5)])
    );
    // The outer header is known and the inner one is not.
    assert_eq!(list(&outer, vec![RawAction::DecTtl]), Ok(vec![Action::DecIpTtl]));
    assert_eq!(refused(&outer, decap_and_route), at(1, "the action needs an ipv4 item"));
    assert_eq!(
        refused(&outer, vec![RawAction::VxlanDecap, RawAction::PopVlan]),
        at(1, "the action needs a vlan item, or a push before it")
    );
    let twice = "the action needs a vxlan item, and stands once";
    assert_eq!(refused(&[eth_any], vec![RawAction::VxlanDecap]), at(0, twice));
    assert_eq!(refused(&outer, vec![RawAction::VxlanDecap, RawAction::VxlanDecap]), at(1, twice));
    assert_eq!(refused(&outer, vec![encap(), encap()]), at(1, "a second encapsulation"));
    assert_eq!(
        refused(&outer, vec![encap(), RawAction::VxlanDecap]),
        at(1, "what an encapsulation put in front cannot be taken away")
    );
    // From one tunnel into another.
    let hairpin = list(&outer, vec![RawAction::VxlanDecap, encap(), RawAction::DecTtl]).unwrap();
    assert!(matches!(hairpin[..], [Action::DecapVxlan, Action::EncapVxlan(_), Action::DecIpTtl]));
    // A tag that is pushed behind the encapsulation is the outer packet's.
    let tagged = vec![encap(), RawAction::PushVlan { tpid: 0x8100 }, RawAction::SetVlanVid(7)];
    assert_eq!(list(&[eth_any], tagged).unwrap().len(), 3);
}
