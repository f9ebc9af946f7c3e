//! Any items and actions, as an application that errs may hand them over.

use std::ffi::c_void;
use std::ptr;

use dpdk_sys as sys;
use nic_flow::PortId;
use proptest::prelude::*;
use soft_eswitch::Profile;

use super::encap::transfer;
use crate::decode::{decode, raw};

/// More bytes than the longest of the structs, in an alignment that suits all.
#[derive(Debug, Clone)]
#[repr(C, align(8))]
struct Bytes([u8; 128]);

/// Words of which most are all zeroes or all ones, as masks are.
fn bytes() -> impl Strategy<Value = Bytes> {
    any::<[u8; 32]>().prop_map(|seed| {
        let octet = |index: usize| match seed[index / 4] {
            0..128 => 0,
            128..192 => 0xff,
            seed => seed.rotate_left(index as u32 % 4),
        };
        Bytes(std::array::from_fn(octet))
    })
}

/// The types that the decoder knows, and their neighbours.
fn types(known: &'static [u32]) -> impl Strategy<Value = u32> {
    prop_oneof![12 => prop::sample::select(known), 1 => 1u32..120]
}

const ITEMS: &[u32] = &[
    sys::RTE_FLOW_ITEM_TYPE_VOID,
    sys::RTE_FLOW_ITEM_TYPE_ETH,
    sys::RTE_FLOW_ITEM_TYPE_VLAN,
    sys::RTE_FLOW_ITEM_TYPE_IPV4,
    sys::RTE_FLOW_ITEM_TYPE_IPV6,
    sys::RTE_FLOW_ITEM_TYPE_UDP,
    sys::RTE_FLOW_ITEM_TYPE_TCP,
    sys::RTE_FLOW_ITEM_TYPE_VXLAN,
    sys::RTE_FLOW_ITEM_TYPE_ARP_ETH_IPV4,
    sys::RTE_FLOW_ITEM_TYPE_ICMP6,
];

const ACTIONS: &[u32] = &[
    sys::RTE_FLOW_ACTION_TYPE_VOID,
    sys::RTE_FLOW_ACTION_TYPE_COUNT,
    sys::RTE_FLOW_ACTION_TYPE_DROP,
    sys::RTE_FLOW_ACTION_TYPE_REPRESENTED_PORT,
    sys::RTE_FLOW_ACTION_TYPE_OF_PUSH_VLAN,
    sys::RTE_FLOW_ACTION_TYPE_OF_POP_VLAN,
    sys::RTE_FLOW_ACTION_TYPE_SET_TP_DST,
    sys::RTE_FLOW_ACTION_TYPE_SET_IPV6_DST,
    sys::RTE_FLOW_ACTION_TYPE_VXLAN_ENCAP,
    sys::RTE_FLOW_ACTION_TYPE_VXLAN_DECAP,
];

type Parts = (u32, Option<Bytes>, Option<Bytes>, Option<Bytes>);

fn parts() -> impl Strategy<Value = Vec<Parts>> {
    let part = || prop::option::weighted(0.6, bytes());
    let last = prop::option::weighted(0.05, bytes());
    prop::collection::vec((types(ITEMS), part(), last, part()), 0..8)
}

fn pointer(bytes: &Option<Bytes>) -> *const c_void {
    bytes.as_ref().map_or(ptr::null(), |bytes| ptr::from_ref(bytes).cast())
}

/// An array with an END.
fn items(parts: &[Parts]) -> Vec<sys::rte_flow_item> {
    let item = |(kind, spec, last, mask): &Parts| sys::rte_flow_item {
        type_: *kind,
        spec: pointer(spec),
        last: pointer(last),
        mask: pointer(mask),
    };
    let end = sys::rte_flow_item {
        type_: sys::RTE_FLOW_ITEM_TYPE_END,
        spec: ptr::null(),
        last: ptr::null(),
        mask: ptr::null(),
    };
    parts.iter().map(item).chain([end]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    #[test]
    fn whatever_is_handed_over_is_taken_or_refused_with_a_reason(
        pattern in parts(),
        definition in parts(),
        list in prop::collection::vec((types(ACTIONS), prop::option::weighted(0.9, bytes())), 0..20),
    ) {
        let port = PortId::uplink(0).unwrap();
        let (pattern, mut definition) = (items(&pattern), items(&definition));
        let encap = sys::rte_flow_action_vxlan_encap { definition: definition.as_mut_ptr() };
        let action = |(kind, conf): &(u32, Option<Bytes>)| sys::rte_flow_action {
            type_: *kind,
            conf: match *kind {
                sys::RTE_FLOW_ACTION_TYPE_VXLAN_ENCAP => ptr::from_ref(&encap).cast(),
                _ => pointer(conf),
            },
        };
        let end = sys::rte_flow_action { type_: sys::RTE_FLOW_ACTION_TYPE_END, conf: ptr::null() };
        let list: Vec<_> = list.iter().map(action).chain([end]).collect();
        // SAFETY: the array has an END, and each pointer has more bytes behind it than any item's struct.
        let items = unsafe { raw::pattern(pattern.as_ptr()) };
        // SAFETY: as above; the definition of an encapsulation is such an array too.
        let actions = unsafe { raw::actions(list.as_ptr()) };
        let (Ok(items), Ok(actions)) = (items, actions) else { return Ok(()) };
        for profile in [Profile::Full, Profile::Portable] {
            match decode(transfer(), &items, &actions, profile, port, &|number| (number == 0).then_some(port)) {
                Ok(decoded) => prop_assert!(decoded.rule.actions.len() <= actions.len()),
                Err(fault) => prop_assert!(!fault.message.is_empty() && fault.errno > 0),
            }
        }
    }
}
