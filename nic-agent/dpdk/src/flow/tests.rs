use core::ffi::c_void;
use core::ptr;

use dpdk_sys as sys;

use super::encode::Encoded;
use super::encode::structs::FRAGMENT_BIT;
use super::*;

/// One item of each kind, every masked one with all bits of its mask set.
fn every_item() -> Vec<Item> {
    let (mac, ip4, ip6) = ([0xff; 6], [0xff; 4], [0xff; 16]);
    let eth = Eth { dst: mac, src: mac, ether_type: 0xffff, has_vlan: true };
    let vlan = Vlan { tci: 0xffff, inner_type: 0xffff, has_more_vlan: true };
    let ipv4 = Ipv4 { tos: 0xff, ttl: 0xff, proto: 0xff, src: ip4, dst: ip4, ..Default::default() };
    let ipv6 = Ipv6 { next_header: 0xff, src: ip6, dst: ip6, ..Default::default() };
    let tcp = Tcp { src_port: 0xffff, dst_port: 0xffff, flags: 0xff };
    let udp = Udp { src_port: 0xffff, dst_port: 0xffff };
    let icmp = Icmp { icmp_type: 0xff, code: 0xff };
    let arp = Arp { operation: 0xffff, sha: mac, spa: ip4, tha: mac, tpa: ip4 };
    let vxlan = Vxlan { vni: 0xff_ffff };
    let port = DevId::from_raw(3);
    vec![
        Item::RepresentedPort(port),
        Item::PortRepresentor(port),
        Item::PortId(port),
        Item::Eth(Masked::new(eth, eth)),
        Item::Vlan(Masked::new(vlan, vlan)),
        Item::Ipv4(Masked::new(ipv4, ipv4)),
        Item::Ipv6(Masked::new(ipv6, ipv6)),
        Item::Tcp(Masked::new(tcp, tcp)),
        Item::Udp(Masked::new(udp, udp)),
        Item::Icmp(Masked::new(icmp, icmp)),
        Item::Icmp6(Masked::new(icmp, icmp)),
        Item::ArpEthIpv4(Masked::new(arp, arp)),
        Item::Vxlan(Masked::new(vxlan, vxlan)),
    ]
}

fn tunnel(ip: Addresses) -> VxlanEncap {
    VxlanEncap {
        eth_dst: [2, 0, 0, 0, 0, 2],
        eth_src: [2, 0, 0, 0, 0, 1],
        vlan: None,
        ip,
        tos: 0xb9,
        ttl: 64,
        vni: 0x01_0203,
    }
}

fn every_action() -> Vec<Action> {
    let port = DevId::from_raw(3);
    vec![
        Action::Count,
        Action::OfPopVlan,
        Action::OfPushVlan { ether_type: 0x8100 },
        Action::OfSetVlanVid(5),
        Action::OfSetVlanPcp(3),
        Action::SetMacSrc([1, 2, 3, 4, 5, 6]),
        Action::SetMacDst([1, 2, 3, 4, 5, 6]),
        Action::SetIpv4Src([10, 0, 0, 1]),
        Action::SetIpv4Dst([10, 0, 0, 2]),
        Action::SetIpv6Src([1; 16]),
        Action::SetIpv6Dst([2; 16]),
        Action::SetTpSrc(80),
        Action::SetTpDst(443),
        Action::DecTtl,
        Action::SetTtl(9),
        Action::VxlanDecap,
        Action::VxlanEncap(tunnel(Addresses::V4 { src: [192, 0, 2, 1], dst: [192, 0, 2, 2] })),
        Action::RepresentedPort(port),
        Action::PortRepresentor(port),
        Action::PortId(port),
        Action::Drop,
    ]
}

/// The items of an encoded pattern, its end left out.
fn items(rule: &Encoded, count: usize) -> Vec<sys::rte_flow_item> {
    // SAFETY: the pattern has `count` items and an end.
    let items = unsafe { core::slice::from_raw_parts(rule.pattern(), count + 1) };
    assert_eq!(items[count].type_, sys::RTE_FLOW_ITEM_TYPE_END);
    items[..count].to_vec()
}

fn actions(rule: &Encoded, count: usize) -> Vec<sys::rte_flow_action> {
    // SAFETY: the list has `count` actions and an end.
    let actions = unsafe { core::slice::from_raw_parts(rule.actions(), count + 1) };
    assert_eq!(actions[count].type_, sys::RTE_FLOW_ACTION_TYPE_END);
    actions[..count].to_vec()
}

/// `N` bytes at a pointer of an encoded rule.
fn bytes<const N: usize>(pointer: *const c_void) -> [u8; N] {
    assert!(!pointer.is_null());
    // SAFETY: the tests ask for as many bytes as the struct has.
    unsafe { pointer.cast::<[u8; N]>().read() }
}

#[test]
fn flags_behind_the_headers_are_where_dpdk_has_them() {
    // SAFETY: three pure functions.
    assert_eq!(unsafe { sys::shim_flow_item_eth_has_vlan_bit() }, 1);
    // SAFETY: as above.
    assert_eq!(unsafe { sys::shim_flow_item_vlan_has_more_bit() }, 1);
    // SAFETY: as above.
    assert_eq!(unsafe { sys::shim_flow_item_ipv6_has_frag_bit() }, 1 << FRAGMENT_BIT);
}

#[test]
fn an_item_in_which_nothing_counts_carries_no_values() {
    let spec = Udp { src_port: 7, dst_port: 8 };
    let rule = Encoded::new(&[Item::Eth(Masked::any()), Item::Udp(Masked::new(spec, Udp::default()))], &[]);
    for item in items(&rule, 2) {
        assert!(item.spec.is_null() && item.mask.is_null() && item.last.is_null());
    }
}

#[test]
fn values_and_masks_are_in_the_order_of_the_wire() {
    let eth = Eth { dst: [1, 2, 3, 4, 5, 6], src: [7, 8, 9, 10, 11, 12], ether_type: 0x0800, has_vlan: true };
    let ipv6 = Ipv6 { traffic_class: 0xab, flow_label: 0xc_def0, has_fragment: true, ..Default::default() };
    let udp = Udp { src_port: 0x1234, dst_port: 0x5678 };
    let vxlan = Vxlan { vni: 0x01_0203 };
    let (spa, tpa) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let arp = Arp { operation: 2, sha: [1, 2, 3, 4, 5, 6], spa, tha: [7, 8, 9, 10, 11, 12], tpa };
    let pattern = [
        Item::Eth(Masked::new(eth, Eth { ether_type: 0xffff, ..Default::default() })),
        Item::Ipv6(Masked::new(ipv6, ipv6)),
        Item::Udp(Masked::new(udp, Udp { src_port: 0, dst_port: 0xff00 })),
        Item::Vxlan(Masked::new(vxlan, vxlan)),
        Item::ArpEthIpv4(Masked::new(arp, arp)),
    ];
    let rule = Encoded::new(&pattern, &[]);
    let items = items(&rule, 5);
    assert_eq!(bytes::<14>(items[0].spec), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 8, 0]);
    assert_eq!(bytes::<14>(items[0].mask), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    assert_eq!(bytes::<20>(items[0].spec)[14..], [1, 0, 0, 0, 0, 0]);
    assert_eq!(bytes::<20>(items[0].mask)[14..], [0; 6]);
    assert_eq!(bytes::<4>(items[1].spec), [0x0a, 0xbc, 0xde, 0xf0]);
    assert_eq!(bytes::<44>(items[1].spec)[40..], 4_u32.to_ne_bytes());
    assert_eq!(bytes::<4>(items[2].spec), [0x12, 0x34, 0x56, 0x78]);
    assert_eq!(bytes::<4>(items[2].mask), [0, 0, 0xff, 0]);
    assert_eq!(bytes::<8>(items[3].spec), [0, 0, 0, 0, 1, 2, 3, 0]);
    let spec = bytes::<32>(items[4].spec);
    assert_eq!(
        spec[6..],
        [0, 2, 1, 2, 3, 4, 5, 6, 0, 0, 10, 0, 0, 1, 7, 8, 9, 10, 11, 12, 0, 0, 10, 0, 0, 2]
    );
}

#[test]
fn actions_carry_their_configuration_in_the_order_of_the_wire() {
    let list = every_action();
    let rule = Encoded::new(&[], &list);
    let raw = actions(&rule, list.len());
    let conf = |wanted: Action| {
        let index = list.iter().position(|action| *action == wanted).expect("it is in the list");
        raw[index].conf
    };
    assert_eq!(bytes::<2>(conf(Action::OfPushVlan { ether_type: 0x8100 })), [0x81, 0]);
    assert_eq!(bytes::<2>(conf(Action::OfSetVlanVid(5))), [0, 5]);
    assert_eq!(bytes::<1>(conf(Action::OfSetVlanPcp(3))), [3]);
    assert_eq!(bytes::<6>(conf(Action::SetMacDst([1, 2, 3, 4, 5, 6]))), [1, 2, 3, 4, 5, 6]);
    assert_eq!(bytes::<4>(conf(Action::SetIpv4Src([10, 0, 0, 1]))), [10, 0, 0, 1]);
    assert_eq!(bytes::<16>(conf(Action::SetIpv6Dst([2; 16]))), [2; 16]);
    assert_eq!(bytes::<2>(conf(Action::SetTpDst(443))), [1, 187]);
    assert_eq!(bytes::<2>(conf(Action::RepresentedPort(DevId::from_raw(3)))), 3_u16.to_ne_bytes());
    assert_eq!(bytes::<8>(conf(Action::PortId(DevId::from_raw(3))))[4..], 3_u32.to_ne_bytes());
    for bare in [Action::Drop, Action::DecTtl, Action::OfPopVlan, Action::VxlanDecap] {
        assert!(conf(bare).is_null());
    }
}

/// The items of a tunnel's definition, its end left out.
fn definition(action: &sys::rte_flow_action) -> Vec<sys::rte_flow_item> {
    assert_eq!(action.type_, sys::RTE_FLOW_ACTION_TYPE_VXLAN_ENCAP);
    // SAFETY: the type says which struct it is.
    let conf = unsafe { action.conf.cast::<sys::rte_flow_action_vxlan_encap>().read() };
    let mut items = Vec::new();
    loop {
        // SAFETY: no end was found before this place.
        let place = unsafe { conf.definition.add(items.len()) };
        // SAFETY: as above.
        let item = unsafe { place.read() };
        if item.type_ == sys::RTE_FLOW_ITEM_TYPE_END {
            return items;
        }
        items.push(item);
    }
}

#[test]
fn a_tunnel_over_ipv4_is_defined_by_whole_headers() {
    let encap = tunnel(Addresses::V4 { src: [192, 0, 2, 1], dst: [192, 0, 2, 2] });
    let rule = Encoded::new(&[], &[Action::Count, Action::VxlanEncap(encap)]);
    let items = definition(&actions(&rule, 2)[1]);
    let types: Vec<_> = items.iter().map(|item| item.type_).collect();
    assert_eq!(
        types,
        [
            sys::RTE_FLOW_ITEM_TYPE_ETH,
            sys::RTE_FLOW_ITEM_TYPE_IPV4,
            sys::RTE_FLOW_ITEM_TYPE_UDP,
            sys::RTE_FLOW_ITEM_TYPE_VXLAN
        ]
    );
    assert!(items.iter().all(|item| item.last.is_null()));
    assert_eq!(bytes::<14>(items[0].spec), [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
    assert_eq!(bytes::<14>(items[0].mask), [0xff; 14]);
    assert_eq!(
        bytes::<20>(items[1].spec),
        [0x45, 0xb9, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]
    );
    // Length, identification and checksum are the device's.
    let all = 0xff;
    assert_eq!(
        bytes::<20>(items[1].mask),
        [all, all, 0, 0, 0, 0, all, all, all, all, 0, 0, all, all, all, all, all, all, all, all]
    );
    assert_eq!(bytes::<8>(items[2].spec), [0, 0, 0x12, 0xb5, 0, 0, 0, 0]);
    assert_eq!(bytes::<8>(items[2].mask), [0, 0, 0xff, 0xff, 0, 0, 0, 0]);
    assert_eq!(bytes::<8>(items[3].spec), [8, 0, 0, 0, 1, 2, 3, 0]);
    assert_eq!(bytes::<8>(items[3].mask), [0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0]);
}

#[test]
fn a_tagged_tunnel_over_ipv6_has_its_version_and_its_tag() {
    let (src, dst) = ([1; 16], [2; 16]);
    let encap = VxlanEncap { vlan: Some(0x6064), ..tunnel(Addresses::V6 { src, dst }) };
    let rule = Encoded::new(&[], &[Action::VxlanEncap(encap)]);
    let items = definition(&actions(&rule, 1)[0]);
    assert_eq!(items.len(), 5);
    assert_eq!(bytes::<14>(items[0].spec)[12..], [0x81, 0]);
    assert_eq!(bytes::<4>(items[1].spec), [0x60, 0x64, 0x86, 0xdd]);
    assert_eq!(bytes::<4>(items[1].mask), [0xff; 4]);
    assert_eq!(bytes::<8>(items[2].spec), [0x6b, 0x90, 0, 0, 0, 0, 17, 64]);
    assert_eq!(bytes::<8>(items[2].mask), [0xff, 0xff, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    assert_eq!(bytes::<40>(items[2].spec)[8..24], src);
    assert_eq!(bytes::<40>(items[2].spec)[24..], dst);
    assert_eq!(items[4].type_, sys::RTE_FLOW_ITEM_TYPE_VXLAN);
}

#[test]
fn an_inner_frame_is_a_second_chain_of_items() {
    let inner = Eth { dst: [2, 0, 0, 0, 0, 9], ether_type: 0x0800, ..Eth::default() };
    let pattern = [
        Item::Eth(Masked::any()),
        Item::Ipv4(Masked::any()),
        Item::Udp(Masked::any()),
        Item::Vxlan(Masked::new(Vxlan { vni: 7 }, Vxlan { vni: 0xff_ffff })),
        Item::Eth(Masked::new(inner, inner)),
    ];
    let rule = Encoded::new(&pattern, &[]);
    let items = items(&rule, 5);
    assert!(items[0].spec.is_null());
    assert_eq!(items[4].type_, sys::RTE_FLOW_ITEM_TYPE_ETH);
    assert_eq!(bytes::<14>(items[4].spec), [2, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 8, 0]);
}

#[test]
fn what_is_wrong_with_a_tunnel_is_wrong_with_its_action() {
    let v4 = tunnel(Addresses::V4 { src: [192, 0, 2, 1], dst: [192, 0, 2, 2] });
    let v6 = tunnel(Addresses::V6 { src: [1; 16], dst: [2; 16] });
    let list = [Action::VxlanEncap(v4), Action::Count, Action::VxlanEncap(v6)];
    let rule = Encoded::new(&every_item(), &list);
    let raw = actions(&rule, 3);
    for index in [0, 2] {
        let at = Place::Action { index: Some(index), name: Some("vxlan_encap"), conf: true };
        assert_eq!(rule.place(sys::RTE_FLOW_ERROR_TYPE_ACTION_CONF, raw[index].conf), at);
        for (place, item) in definition(&raw[index]).into_iter().enumerate() {
            for cause in [item.spec, item.mask] {
                assert_eq!(rule.place(sys::RTE_FLOW_ERROR_TYPE_ITEM_SPEC, cause), at);
                assert_eq!(rule.place(sys::RTE_FLOW_ERROR_TYPE_ACTION_CONF, cause), at);
            }
            // SAFETY: the type says which struct it is.
            let conf = unsafe { raw[index].conf.cast::<sys::rte_flow_action_vxlan_encap>().read() };
            let whole = conf.definition.wrapping_add(place);
            assert_eq!(rule.place(sys::RTE_FLOW_ERROR_TYPE_ITEM, whole.cast()), at);
        }
    }
}

#[test]
fn every_kind_has_a_type_of_its_own() {
    let (pattern, list) = (every_item(), every_action());
    let rule = Encoded::new(&pattern, &list);
    let mut types: Vec<_> = items(&rule, pattern.len()).iter().map(|item| item.type_).collect();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), pattern.len());
    let mut types: Vec<_> = actions(&rule, list.len()).iter().map(|action| action.type_).collect();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), list.len());
}

#[test]
fn the_part_at_fault_is_found_wherever_the_driver_points() {
    let (pattern, list) = (every_item(), every_action());
    let rule = Encoded::new(&pattern, &list);
    // SAFETY: the pattern has that many items.
    let raw = unsafe { core::slice::from_raw_parts(rule.pattern(), pattern.len()) };
    for (index, (item, named)) in raw.iter().zip(&pattern).enumerate() {
        let at = |part| Place::Item { index: Some(index), name: Some(named.name()), part };
        let whole: *const sys::rte_flow_item = item;
        assert_eq!(rule.place(sys::RTE_FLOW_ERROR_TYPE_ITEM, whole.cast()), at(ItemPart::Whole));
        assert_eq!(rule.place(sys::RTE_FLOW_ERROR_TYPE_ITEM_SPEC, item.spec), at(ItemPart::Spec));
        assert_eq!(rule.place(sys::RTE_FLOW_ERROR_TYPE_ITEM_MASK, item.mask), at(ItemPart::Mask));
        // Some drivers point at the item for whatever is wrong with it, or at its mask.
        assert_eq!(rule.place(sys::RTE_FLOW_ERROR_TYPE_ITEM_MASK, whole.cast()), at(ItemPart::Mask));
        assert_eq!(rule.place(sys::RTE_FLOW_ERROR_TYPE_ITEM, item.mask), at(ItemPart::Whole));
    }
    // SAFETY: the list has that many actions.
    let raw = unsafe { core::slice::from_raw_parts(rule.actions(), list.len()) };
    for (index, (action, named)) in raw.iter().zip(&list).enumerate() {
        let at = |conf| Place::Action { index: Some(index), name: Some(named.name()), conf };
        let whole: *const sys::rte_flow_action = action;
        assert_eq!(rule.place(sys::RTE_FLOW_ERROR_TYPE_ACTION, whole.cast()), at(false));
        if !action.conf.is_null() {
            assert_eq!(rule.place(sys::RTE_FLOW_ERROR_TYPE_ACTION_CONF, action.conf), at(true));
        }
    }
}

#[test]
fn a_pointer_to_nowhere_names_no_part() {
    let rule = Encoded::new(&every_item(), &every_action());
    let elsewhere = 0_u64;
    for cause in [ptr::null(), (&raw const elsewhere).cast()] {
        assert_eq!(
            rule.place(sys::RTE_FLOW_ERROR_TYPE_ITEM, cause),
            Place::Item { index: None, name: None, part: ItemPart::Whole }
        );
        assert_eq!(
            rule.place(sys::RTE_FLOW_ERROR_TYPE_ACTION, cause),
            Place::Action { index: None, name: None, conf: false }
        );
    }
    assert_eq!(rule.place(sys::RTE_FLOW_ERROR_TYPE_NONE, ptr::null()), Place::Unspecified);
    assert_eq!(rule.place(sys::RTE_FLOW_ERROR_TYPE_STATE, ptr::null()), Place::State);
    let group = rule.place(sys::RTE_FLOW_ERROR_TYPE_ATTR_GROUP, ptr::null());
    assert_eq!(group, Place::Attr(AttrField::Group));
}

#[test]
fn an_error_reads_as_a_sentence() {
    let error = FlowError {
        port: DevId::from_raw(2),
        call: FlowCall::Create,
        place: Place::Item { index: Some(1), name: Some("ipv4"), part: ItemPart::Mask },
        errno: Errno::ENOTSUP,
        message: Some("partial mask".into()),
    };
    assert_eq!(
        error.to_string(),
        "DPDK port 2 refused to create: the mask of item 1 (ipv4) is at fault, ENOTSUP: partial mask"
    );
}
