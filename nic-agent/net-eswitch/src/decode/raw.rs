//! `rte_flow`'s arrays of pointers, read into values. All `unsafe` of the decoder is here.

use std::ffi::c_void;
use std::ptr;

use dpdk_sys as sys;

use super::fault::{At, Fault, Part};

/// `spec`, `last` and `mask` of an item.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Triple<T> {
    /// What the bits of the mask are to be; without it, an item asks for its header alone.
    pub(crate) spec: T,
    pub(crate) last: Option<T>,
    /// All zero if there is no spec.
    pub(crate) mask: T,
}

/// An item of a pattern.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Item {
    Void,
    PortRepresentor,
    RepresentedPort(Triple<sys::rte_flow_item_ethdev>),
    PortId(Triple<sys::rte_flow_item_port_id>),
    Eth(Triple<sys::shim_flow_item_eth>),
    Vlan(Triple<sys::shim_flow_item_vlan>),
    Ipv4(Triple<sys::shim_flow_item_ipv4>),
    Ipv6(Triple<sys::shim_flow_item_ipv6>),
    Tcp(Triple<sys::shim_flow_item_tcp>),
    Udp(Triple<sys::shim_flow_item_udp>),
    Icmp(Triple<sys::shim_flow_item_icmp>),
    Icmp6(Triple<sys::rte_flow_item_icmp6>),
    Arp(Triple<sys::rte_flow_item_arp_eth_ipv4>),
    Vxlan(Triple<sys::shim_flow_item_vxlan>),
    Unknown,
}

/// An action with its values.
#[derive(Debug, Clone)]
pub(crate) enum RawAction {
    Void,
    Count,
    Drop,
    RepresentedPort(u16),
    PortId {
        id: u32,
        original: bool,
    },
    PushVlan {
        tpid: u16,
    },
    PopVlan,
    SetVlanVid(u16),
    SetVlanPcp(u8),
    SetMacSrc([u8; 6]),
    SetMacDst([u8; 6]),
    SetIpv4Src([u8; 4]),
    SetIpv4Dst([u8; 4]),
    SetIpv6Src([u8; 16]),
    SetIpv6Dst([u8; 16]),
    SetTpSrc(u16),
    SetTpDst(u16),
    SetTtl(u8),
    DecTtl,
    /// The headers, outermost first.
    VxlanEncap(Vec<Item>),
    VxlanDecap,
    Unknown,
}

/// More than any rule has; an array without an end does not run away with the decoder.
const MAX_LENGTH: usize = 256;

/// # Safety
/// `pointer` is null or points to a `T`, for which any bytes are a value.
unsafe fn value<T: Copy>(pointer: *const c_void) -> Option<T> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: as the caller promises; it need not be aligned.
    Some(unsafe { ptr::read_unaligned(pointer.cast()) })
}

/// # Safety
/// The item's pointers are null or point to values of type `T`.
unsafe fn triple<T: Copy + Default>(item: &sys::rte_flow_item, index: usize) -> Result<Triple<T>, Fault> {
    // SAFETY: as the caller promises.
    let spec = unsafe { value(item.spec) };
    // SAFETY: as the caller promises.
    let last = unsafe { value(item.last) };
    // SAFETY: as the caller promises.
    let mask = unsafe { value(item.mask) };
    let Some(spec) = spec else {
        let at = |part| At::Item { index, part };
        if last.is_some() {
            return Err(Fault::invalid(at(Part::Last), "last without spec"));
        }
        if mask.is_some() {
            return Err(Fault::invalid(at(Part::Mask), "mask without spec"));
        }
        return Ok(Triple { spec: T::default(), last: None, mask: T::default() });
    };
    let mask = mask.or_else(|| {
        // SAFETY: the function looks a number up.
        let default = unsafe { sys::shim_flow_item_default_mask(item.type_) };
        // SAFETY: DPDK's default mask of this item type is a value of the item's type.
        unsafe { value(default) }
    });
    Ok(Triple { spec, last, mask: mask.unwrap_or_default() })
}

/// Reads a pattern up to its end.
///
/// # Safety
/// `pattern` is null or an array of items with an END, whose pointers are null or point to the item
/// structs of their types.
pub(crate) unsafe fn pattern(pattern: *const sys::rte_flow_item) -> Result<Vec<Item>, Fault> {
    if pattern.is_null() {
        return Err(Fault::invalid(At::Pattern, "no pattern"));
    }
    let mut items = Vec::new();
    for index in 0..MAX_LENGTH {
        // SAFETY: no END was found before this place, so it is in the array.
        let place = unsafe { pattern.add(index) };
        // SAFETY: as above.
        let raw = unsafe { ptr::read(place) };
        if raw.type_ == sys::RTE_FLOW_ITEM_TYPE_END {
            return Ok(items);
        }
        // SAFETY: the pointers are of the item's type, as the caller promises.
        items.push(unsafe { item(&raw, index) }?);
    }
    Err(Fault::unsupported(At::Pattern, "the pattern is too long"))
}

/// # Safety
/// The item's pointers are null or point to the item struct of its type.
unsafe fn item(raw: &sys::rte_flow_item, index: usize) -> Result<Item, Fault> {
    macro_rules! read {
        ($kind:ident) => {
            // SAFETY: the arm names the struct of the item's type.
            Item::$kind(unsafe { triple(raw, index) }?)
        };
    }
    Ok(match raw.type_ {
        sys::RTE_FLOW_ITEM_TYPE_VOID => Item::Void,
        sys::RTE_FLOW_ITEM_TYPE_PORT_REPRESENTOR => Item::PortRepresentor,
        sys::RTE_FLOW_ITEM_TYPE_REPRESENTED_PORT => read!(RepresentedPort),
        sys::RTE_FLOW_ITEM_TYPE_PORT_ID => read!(PortId),
        sys::RTE_FLOW_ITEM_TYPE_ETH => read!(Eth),
        sys::RTE_FLOW_ITEM_TYPE_VLAN => read!(Vlan),
        sys::RTE_FLOW_ITEM_TYPE_IPV4 => read!(Ipv4),
        sys::RTE_FLOW_ITEM_TYPE_IPV6 => read!(Ipv6),
        sys::RTE_FLOW_ITEM_TYPE_TCP => read!(Tcp),
        sys::RTE_FLOW_ITEM_TYPE_UDP => read!(Udp),
        sys::RTE_FLOW_ITEM_TYPE_ICMP => read!(Icmp),
        sys::RTE_FLOW_ITEM_TYPE_ICMP6 => read!(Icmp6),
        sys::RTE_FLOW_ITEM_TYPE_ARP_ETH_IPV4 => read!(Arp),
        sys::RTE_FLOW_ITEM_TYPE_VXLAN => read!(Vxlan),
        _ => Item::Unknown,
    })
}

/// Reads actions up to their end.
///
/// # Safety
/// `actions` is null or an array of actions with an END, whose pointers are null or point to the
/// action structs of their types.
pub(crate) unsafe fn actions(actions: *const sys::rte_flow_action) -> Result<Vec<RawAction>, Fault> {
    if actions.is_null() {
        return Err(Fault::invalid(At::Actions, "no actions"));
    }
    let mut list = Vec::new();
    for index in 0..MAX_LENGTH {
        // SAFETY: no END was found before this place, so it is in the array.
        let place = unsafe { actions.add(index) };
        // SAFETY: as above.
        let raw = unsafe { ptr::read(place) };
        if raw.type_ == sys::RTE_FLOW_ACTION_TYPE_END {
            return Ok(list);
        }
        // SAFETY: the pointer is of the action's type, as the caller promises.
        list.push(unsafe { action(&raw, index) }?);
    }
    Err(Fault::unsupported(At::Actions, "the list of actions is too long"))
}

/// # Safety
/// The action's pointer is null or points to the action struct of its type.
unsafe fn action(raw: &sys::rte_flow_action, index: usize) -> Result<RawAction, Fault> {
    /// # Safety
    /// As for the action.
    unsafe fn conf<T: Copy>(raw: &sys::rte_flow_action, index: usize) -> Result<T, Fault> {
        // SAFETY: as the caller promises.
        let conf = unsafe { value(raw.conf) };
        conf.ok_or_else(|| Fault::invalid(At::ActionConf { index }, "the action needs a value"))
    }
    macro_rules! read {
        ($kind:ident) => {{
            // SAFETY: the arm names the struct of the action's type.
            let conf: sys::$kind = unsafe { conf(raw, index) }?;
            conf
        }};
    }
    Ok(match raw.type_ {
        sys::RTE_FLOW_ACTION_TYPE_VOID => RawAction::Void,
        sys::RTE_FLOW_ACTION_TYPE_COUNT => RawAction::Count,
        sys::RTE_FLOW_ACTION_TYPE_DROP => RawAction::Drop,
        sys::RTE_FLOW_ACTION_TYPE_REPRESENTED_PORT => {
            RawAction::RepresentedPort(read!(rte_flow_action_ethdev).port_id)
        }
        sys::RTE_FLOW_ACTION_TYPE_PORT_ID => {
            let conf = read!(rte_flow_action_port_id);
            RawAction::PortId { id: conf.id, original: conf.original() != 0 }
        }
        sys::RTE_FLOW_ACTION_TYPE_OF_PUSH_VLAN => {
            RawAction::PushVlan { tpid: u16::from_be(read!(rte_flow_action_of_push_vlan).ethertype) }
        }
        sys::RTE_FLOW_ACTION_TYPE_OF_POP_VLAN => RawAction::PopVlan,
        sys::RTE_FLOW_ACTION_TYPE_OF_SET_VLAN_VID => {
            RawAction::SetVlanVid(u16::from_be(read!(rte_flow_action_of_set_vlan_vid).vlan_vid))
        }
        sys::RTE_FLOW_ACTION_TYPE_OF_SET_VLAN_PCP => {
            RawAction::SetVlanPcp(read!(rte_flow_action_of_set_vlan_pcp).vlan_pcp)
        }
        sys::RTE_FLOW_ACTION_TYPE_SET_MAC_SRC => {
            RawAction::SetMacSrc(read!(rte_flow_action_set_mac).mac_addr)
        }
        sys::RTE_FLOW_ACTION_TYPE_SET_MAC_DST => {
            RawAction::SetMacDst(read!(rte_flow_action_set_mac).mac_addr)
        }
        // Network order in memory is the order of the octets.
        sys::RTE_FLOW_ACTION_TYPE_SET_IPV4_SRC => {
            RawAction::SetIpv4Src(read!(rte_flow_action_set_ipv4).ipv4_addr.to_ne_bytes())
        }
        sys::RTE_FLOW_ACTION_TYPE_SET_IPV4_DST => {
            RawAction::SetIpv4Dst(read!(rte_flow_action_set_ipv4).ipv4_addr.to_ne_bytes())
        }
        sys::RTE_FLOW_ACTION_TYPE_SET_IPV6_SRC => {
            // SAFETY: the struct is an address, under types that differ between DPDK releases.
            RawAction::SetIpv6Src(unsafe { conf(raw, index) }?)
        }
        sys::RTE_FLOW_ACTION_TYPE_SET_IPV6_DST => {
            // SAFETY: the struct is an address, under types that differ between DPDK releases.
            RawAction::SetIpv6Dst(unsafe { conf(raw, index) }?)
        }
        sys::RTE_FLOW_ACTION_TYPE_SET_TP_SRC => {
            RawAction::SetTpSrc(u16::from_be(read!(rte_flow_action_set_tp).port))
        }
        sys::RTE_FLOW_ACTION_TYPE_SET_TP_DST => {
            RawAction::SetTpDst(u16::from_be(read!(rte_flow_action_set_tp).port))
        }
        sys::RTE_FLOW_ACTION_TYPE_SET_TTL => RawAction::SetTtl(read!(rte_flow_action_set_ttl).ttl_value),
        sys::RTE_FLOW_ACTION_TYPE_DEC_TTL => RawAction::DecTtl,
        sys::RTE_FLOW_ACTION_TYPE_VXLAN_ENCAP => {
            let definition = read!(rte_flow_action_vxlan_encap).definition;
            // SAFETY: the definition is an array of items with an END, as rte_flow.h asks for.
            let items = unsafe { pattern(definition) };
            RawAction::VxlanEncap(items.map_err(|fault| fault.in_definition(index))?)
        }
        sys::RTE_FLOW_ACTION_TYPE_VXLAN_DECAP => RawAction::VxlanDecap,
        _ => RawAction::Unknown,
    })
}
