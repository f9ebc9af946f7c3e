//! A rule in DPDK's arrays, with everything they point to in one buffer.

use core::ffi::c_void;
use core::mem::{MaybeUninit, size_of};
use core::ops::Range;
use core::ptr;

use dpdk_sys as sys;

use super::action::Action;
use super::error::{ItemPart, Place};
use super::item::{Item, Masked};
use crate::ethdev::DevId;
use structs::*;
use tunnel::Tunnel;

pub(super) mod structs;
mod tunnel;

/// A rule as `rte_flow` takes it. The arrays point into `words`, which never
/// moves once they are made.
pub(super) struct Encoded {
    items: Vec<sys::rte_flow_item>,
    actions: Vec<sys::rte_flow_action>,
    item_names: Vec<&'static str>,
    action_names: Vec<&'static str>,
    item_parts: Vec<ItemParts>,
    action_confs: Vec<Conf>,
    tunnels: Vec<Tunnel>,
    words: Vec<MaybeUninit<u64>>,
}

/// Where an action's configuration lies.
enum Conf {
    /// It has none.
    None,
    /// In these words.
    Words(Range<usize>),
    /// In `tunnels`, at this index.
    Tunnel(usize),
}

const END: sys::rte_flow_item = sys::rte_flow_item {
    type_: sys::RTE_FLOW_ITEM_TYPE_END,
    spec: ptr::null(),
    last: ptr::null(),
    mask: ptr::null(),
};

/// Where an item's structs lie, as word positions.
#[derive(Default)]
struct ItemParts {
    spec: Option<Range<usize>>,
    mask: Option<Range<usize>>,
}

impl ItemParts {
    fn hold(&self, word: usize) -> bool {
        [&self.spec, &self.mask].into_iter().flatten().any(|range| range.contains(&word))
    }
}

impl Encoded {
    /// Encodes a pattern and a list of actions, ends included.
    pub(super) fn new(pattern: &[Item], actions: &[Action]) -> Self {
        let mut encoded = Self {
            items: Vec::with_capacity(pattern.len() + 1),
            actions: Vec::with_capacity(actions.len() + 1),
            item_names: pattern.iter().map(Item::name).collect(),
            action_names: actions.iter().map(Action::name).collect(),
            item_parts: Vec::with_capacity(pattern.len()),
            action_confs: Vec::with_capacity(actions.len()),
            tunnels: Vec::new(),
            words: Vec::new(),
        };
        let item_types: Vec<_> = pattern.iter().map(|item| encoded.item(item)).collect();
        let action_types: Vec<_> = actions.iter().map(|action| encoded.action(action)).collect();
        // All structs are in place: from here on the buffer stays where it is.
        for (type_, parts) in item_types.into_iter().zip(&encoded.item_parts) {
            encoded.items.push(encoded.linked(type_, parts));
        }
        encoded.items.push(END);
        let mut tunnels = core::mem::take(&mut encoded.tunnels);
        for tunnel in &mut tunnels {
            tunnel.link(|type_, parts| encoded.linked(type_, parts));
        }
        encoded.tunnels = tunnels;
        for (type_, conf) in action_types.into_iter().zip(&encoded.action_confs) {
            let conf = match conf {
                Conf::None => ptr::null(),
                Conf::Words(range) => encoded.pointer(Some(range)),
                Conf::Tunnel(index) => encoded.tunnels.get(*index).map_or(ptr::null(), Tunnel::conf),
            };
            encoded.actions.push(sys::rte_flow_action { type_, conf });
        }
        encoded
            .actions
            .push(sys::rte_flow_action { type_: sys::RTE_FLOW_ACTION_TYPE_END, conf: ptr::null() });
        encoded
    }

    /// An item that points to its structs, which stay where they are.
    fn linked(&self, type_: sys::rte_flow_item_type, parts: &ItemParts) -> sys::rte_flow_item {
        sys::rte_flow_item {
            type_,
            spec: self.pointer(parts.spec.as_ref()),
            last: ptr::null(),
            mask: self.pointer(parts.mask.as_ref()),
        }
    }

    /// The pattern, with its end.
    pub(super) fn pattern(&self) -> *const sys::rte_flow_item {
        self.items.as_ptr()
    }

    /// The actions, with their end.
    pub(super) fn actions(&self) -> *const sys::rte_flow_action {
        self.actions.as_ptr()
    }

    fn pointer(&self, range: Option<&Range<usize>>) -> *const c_void {
        range
            .and_then(|range| self.words.get(range.clone()))
            .map_or(ptr::null(), |words| words.as_ptr().cast())
    }

    /// Puts a struct into the buffer.
    fn put<T: Copy>(&mut self, value: T) -> Range<usize> {
        const { assert!(align_of::<T>() <= align_of::<u64>()) };
        let start = self.words.len();
        let end = start + size_of::<T>().div_ceil(size_of::<u64>());
        self.words.resize(end, MaybeUninit::new(0));
        if let Some(place) = self.words.get_mut(start..end) {
            // SAFETY: the place is large enough for a `T`, aligned for it (asserted
            // above), and takes any bytes, padding included.
            unsafe { place.as_mut_ptr().cast::<T>().write(value) };
        }
        start..end
    }

    /// Puts an item's values and mask, or nothing where no bit counts: every
    /// driver takes an item without values as "the header is there".
    fn masked<T: PartialEq + Default, U: Copy>(
        &mut self,
        item: &Masked<T>,
        encode: impl Fn(&T) -> U,
    ) -> ItemParts {
        if item.mask == T::default() {
            return ItemParts::default();
        }
        let spec = Some(self.put(encode(&item.spec)));
        let mask = Some(self.put(encode(&item.mask)));
        ItemParts { spec, mask }
    }

    fn ethdev_item(&mut self, port: DevId) -> ItemParts {
        let spec = Some(self.put(sys::rte_flow_item_ethdev { port_id: port.get() }));
        let mask = Some(self.put(sys::rte_flow_item_ethdev { port_id: u16::MAX }));
        ItemParts { spec, mask }
    }

    fn item(&mut self, item: &Item) -> sys::rte_flow_item_type {
        let (type_, parts) = match item {
            Item::RepresentedPort(port) => {
                (sys::RTE_FLOW_ITEM_TYPE_REPRESENTED_PORT, self.ethdev_item(*port))
            }
            Item::PortRepresentor(port) => {
                (sys::RTE_FLOW_ITEM_TYPE_PORT_REPRESENTOR, self.ethdev_item(*port))
            }
            Item::PortId(port) => {
                let spec = Some(self.put(sys::rte_flow_item_port_id { id: port.get().into() }));
                let mask = Some(self.put(sys::rte_flow_item_port_id { id: u32::MAX }));
                (sys::RTE_FLOW_ITEM_TYPE_PORT_ID, ItemParts { spec, mask })
            }
            Item::Eth(eth) => (sys::RTE_FLOW_ITEM_TYPE_ETH, self.masked(eth, encode_eth)),
            Item::Vlan(vlan) => (sys::RTE_FLOW_ITEM_TYPE_VLAN, self.masked(vlan, encode_vlan)),
            Item::Ipv4(ipv4) => (sys::RTE_FLOW_ITEM_TYPE_IPV4, self.masked(ipv4, encode_ipv4)),
            Item::Ipv6(ipv6) => (sys::RTE_FLOW_ITEM_TYPE_IPV6, self.masked(ipv6, encode_ipv6)),
            Item::Tcp(tcp) => (sys::RTE_FLOW_ITEM_TYPE_TCP, self.masked(tcp, encode_tcp)),
            Item::Udp(udp) => (sys::RTE_FLOW_ITEM_TYPE_UDP, self.masked(udp, encode_udp)),
            Item::Icmp(icmp) => (sys::RTE_FLOW_ITEM_TYPE_ICMP, self.masked(icmp, encode_icmp)),
            Item::Icmp6(icmp) => (sys::RTE_FLOW_ITEM_TYPE_ICMP6, self.masked(icmp, encode_icmp6)),
            Item::ArpEthIpv4(arp) => (sys::RTE_FLOW_ITEM_TYPE_ARP_ETH_IPV4, self.masked(arp, encode_arp)),
            Item::Vxlan(vxlan) => (sys::RTE_FLOW_ITEM_TYPE_VXLAN, self.masked(vxlan, encode_vxlan)),
        };
        self.item_parts.push(parts);
        type_
    }

    fn action(&mut self, action: &Action) -> sys::rte_flow_action_type {
        let (type_, conf) = match *action {
            Action::VxlanEncap(encap) => {
                let tunnel = self.tunnel(&encap);
                self.tunnels.push(tunnel);
                self.action_confs.push(Conf::Tunnel(self.tunnels.len() - 1));
                return sys::RTE_FLOW_ACTION_TYPE_VXLAN_ENCAP;
            }
            Action::Count => {
                (sys::RTE_FLOW_ACTION_TYPE_COUNT, Some(self.put(sys::rte_flow_action_count { id: 0 })))
            }
            Action::RepresentedPort(port) => {
                (sys::RTE_FLOW_ACTION_TYPE_REPRESENTED_PORT, Some(self.put(ethdev_conf(port))))
            }
            Action::PortRepresentor(port) => {
                (sys::RTE_FLOW_ACTION_TYPE_PORT_REPRESENTOR, Some(self.put(ethdev_conf(port))))
            }
            Action::PortId(port) => {
                let conf = sys::rte_flow_action_port_id { id: port.get().into(), ..Default::default() };
                (sys::RTE_FLOW_ACTION_TYPE_PORT_ID, Some(self.put(conf)))
            }
            Action::Drop => (sys::RTE_FLOW_ACTION_TYPE_DROP, None),
            Action::OfPushVlan { ether_type } => {
                let conf = sys::rte_flow_action_of_push_vlan { ethertype: ether_type.to_be() };
                (sys::RTE_FLOW_ACTION_TYPE_OF_PUSH_VLAN, Some(self.put(conf)))
            }
            Action::OfSetVlanVid(vid) => {
                let conf = sys::rte_flow_action_of_set_vlan_vid { vlan_vid: vid.to_be() };
                (sys::RTE_FLOW_ACTION_TYPE_OF_SET_VLAN_VID, Some(self.put(conf)))
            }
            Action::OfSetVlanPcp(vlan_pcp) => {
                let conf = sys::rte_flow_action_of_set_vlan_pcp { vlan_pcp };
                (sys::RTE_FLOW_ACTION_TYPE_OF_SET_VLAN_PCP, Some(self.put(conf)))
            }
            Action::OfPopVlan => (sys::RTE_FLOW_ACTION_TYPE_OF_POP_VLAN, None),
            Action::DecTtl => (sys::RTE_FLOW_ACTION_TYPE_DEC_TTL, None),
            Action::VxlanDecap => (sys::RTE_FLOW_ACTION_TYPE_VXLAN_DECAP, None),
            Action::SetTtl(ttl_value) => {
                let conf = sys::rte_flow_action_set_ttl { ttl_value };
                (sys::RTE_FLOW_ACTION_TYPE_SET_TTL, Some(self.put(conf)))
            }
            Action::SetMacSrc(to) => (sys::RTE_FLOW_ACTION_TYPE_SET_MAC_SRC, Some(self.put(mac_conf(to)))),
            Action::SetMacDst(to) => (sys::RTE_FLOW_ACTION_TYPE_SET_MAC_DST, Some(self.put(mac_conf(to)))),
            Action::SetIpv4Src(to) => (sys::RTE_FLOW_ACTION_TYPE_SET_IPV4_SRC, Some(self.put(ipv4_conf(to)))),
            Action::SetIpv4Dst(to) => (sys::RTE_FLOW_ACTION_TYPE_SET_IPV4_DST, Some(self.put(ipv4_conf(to)))),
            // The configuration of SET_IPV6 is the 16 bytes of an address, however
            // a release of DPDK names them.
            Action::SetIpv6Src(to) => (sys::RTE_FLOW_ACTION_TYPE_SET_IPV6_SRC, Some(self.put(to))),
            Action::SetIpv6Dst(to) => (sys::RTE_FLOW_ACTION_TYPE_SET_IPV6_DST, Some(self.put(to))),
            Action::SetTpSrc(to) => (sys::RTE_FLOW_ACTION_TYPE_SET_TP_SRC, Some(self.put(tp_conf(to)))),
            Action::SetTpDst(to) => (sys::RTE_FLOW_ACTION_TYPE_SET_TP_DST, Some(self.put(tp_conf(to)))),
        };
        self.action_confs.push(conf.map_or(Conf::None, Conf::Words));
        type_
    }

    /// What a driver's `cause` pointer and error type mean for this rule.
    pub(super) fn place(&self, error_type: sys::rte_flow_error_type, cause: *const c_void) -> Place {
        use super::error::AttrField as Attr;
        match error_type {
            sys::RTE_FLOW_ERROR_TYPE_HANDLE => Place::Handle,
            sys::RTE_FLOW_ERROR_TYPE_STATE => Place::State,
            sys::RTE_FLOW_ERROR_TYPE_ATTR_GROUP => Place::Attr(Attr::Group),
            sys::RTE_FLOW_ERROR_TYPE_ATTR_PRIORITY => Place::Attr(Attr::Priority),
            sys::RTE_FLOW_ERROR_TYPE_ATTR_INGRESS => Place::Attr(Attr::Ingress),
            sys::RTE_FLOW_ERROR_TYPE_ATTR_EGRESS => Place::Attr(Attr::Egress),
            sys::RTE_FLOW_ERROR_TYPE_ATTR_TRANSFER => Place::Attr(Attr::Transfer),
            sys::RTE_FLOW_ERROR_TYPE_ATTR => Place::Attr(Attr::Whole),
            sys::RTE_FLOW_ERROR_TYPE_ITEM_NUM => Place::PatternLength,
            sys::RTE_FLOW_ERROR_TYPE_ACTION_NUM => Place::ActionsLength,
            sys::RTE_FLOW_ERROR_TYPE_ITEM_SPEC => self.item_at(cause, ItemPart::Spec),
            sys::RTE_FLOW_ERROR_TYPE_ITEM_LAST => self.item_at(cause, ItemPart::Last),
            sys::RTE_FLOW_ERROR_TYPE_ITEM_MASK => self.item_at(cause, ItemPart::Mask),
            sys::RTE_FLOW_ERROR_TYPE_ITEM => self.item_at(cause, ItemPart::Whole),
            sys::RTE_FLOW_ERROR_TYPE_ACTION_CONF => self.action_at(cause, true),
            sys::RTE_FLOW_ERROR_TYPE_ACTION => self.action_at(cause, false),
            _ => Place::Unspecified,
        }
    }

    /// The item that a pointer points to: at the item itself or at a struct of it. One of a tunnel's
    /// definition is part of its action.
    fn item_at(&self, cause: *const c_void, part: ItemPart) -> Place {
        let whole = index_in(&self.items, cause);
        let word = index_in(&self.words, cause);
        let index = whole
            .or_else(|| self.item_parts.iter().position(|item| word.is_some_and(|word| item.hold(word))))
            .filter(|&index| index < self.item_names.len());
        if index.is_none() && self.tunnels.iter().any(|tunnel| tunnel.holds(cause, word)) {
            return self.action_at(cause, true);
        }
        Place::Item { index, name: index.and_then(|index| self.item_names.get(index).copied()), part }
    }

    /// The action that a pointer points to: at the action itself or at its configuration.
    fn action_at(&self, cause: *const c_void, conf: bool) -> Place {
        let whole = index_in(&self.actions, cause);
        let word = index_in(&self.words, cause);
        let holds = |conf: &Conf| match conf {
            Conf::None => false,
            Conf::Words(range) => word.is_some_and(|word| range.contains(&word)),
            Conf::Tunnel(index) => self.tunnels.get(*index).is_some_and(|tunnel| tunnel.holds(cause, word)),
        };
        let index = whole
            .or_else(|| self.action_confs.iter().position(holds))
            .filter(|&index| index < self.action_names.len());
        Place::Action { index, name: index.and_then(|index| self.action_names.get(index).copied()), conf }
    }
}

/// The element of a slice that an address lies in.
fn index_in<T>(slice: &[T], address: *const c_void) -> Option<usize> {
    let offset = address.addr().checked_sub(slice.as_ptr().addr())?;
    let index = offset / size_of::<T>();
    (index < slice.len()).then_some(index)
}
