//! A rule in DPDK's arrays, with everything they point to in one buffer.

use core::ffi::c_void;
use core::mem::{MaybeUninit, size_of};
use core::ops::Range;
use core::ptr;

use dpdk_sys as sys;

use super::action::Action;
use super::error::{ItemPart, Place};
use super::item::{Arp, Eth, Icmp, Ipv4, Ipv6, Item, Masked, Tcp, Udp, Vlan, Vxlan};
use crate::ethdev::DevId;

/// A rule as `rte_flow` takes it. The arrays point into `words`, which never
/// moves once they are made.
pub(super) struct Encoded {
    items: Vec<sys::rte_flow_item>,
    actions: Vec<sys::rte_flow_action>,
    item_names: Vec<&'static str>,
    action_names: Vec<&'static str>,
    item_parts: Vec<ItemParts>,
    action_confs: Vec<Option<Range<usize>>>,
    words: Vec<MaybeUninit<u64>>,
}

/// Where an item's structs lie, as word positions.
#[derive(Default)]
struct ItemParts {
    spec: Option<Range<usize>>,
    mask: Option<Range<usize>>,
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
            words: Vec::new(),
        };
        let item_types: Vec<_> = pattern.iter().map(|item| encoded.item(item)).collect();
        let action_types: Vec<_> = actions.iter().map(|action| encoded.action(action)).collect();
        // All structs are in place: from here on the buffer stays where it is.
        for (type_, parts) in item_types.into_iter().zip(&encoded.item_parts) {
            encoded.items.push(sys::rte_flow_item {
                type_,
                spec: encoded.pointer(parts.spec.as_ref()),
                last: ptr::null(),
                mask: encoded.pointer(parts.mask.as_ref()),
            });
        }
        encoded.items.push(sys::rte_flow_item {
            type_: sys::RTE_FLOW_ITEM_TYPE_END,
            spec: ptr::null(),
            last: ptr::null(),
            mask: ptr::null(),
        });
        for (type_, conf) in action_types.into_iter().zip(&encoded.action_confs) {
            encoded.actions.push(sys::rte_flow_action { type_, conf: encoded.pointer(conf.as_ref()) });
        }
        encoded
            .actions
            .push(sys::rte_flow_action { type_: sys::RTE_FLOW_ACTION_TYPE_END, conf: ptr::null() });
        encoded
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
        self.action_confs.push(conf);
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

    /// The item that a pointer points to: at the item itself or at a struct of it.
    fn item_at(&self, cause: *const c_void, part: ItemPart) -> Place {
        let whole = index_in(&self.items, cause);
        let word = index_in(&self.words, cause);
        let holds = |range: &Option<Range<usize>>| matches!((range, word), (Some(range), Some(word)) if range.contains(&word));
        let index = whole
            .or_else(|| self.item_parts.iter().position(|item| holds(&item.spec) || holds(&item.mask)))
            .filter(|&index| index < self.item_names.len());
        Place::Item { index, name: index.and_then(|index| self.item_names.get(index).copied()), part }
    }

    /// The action that a pointer points to: at the action itself or at its configuration.
    fn action_at(&self, cause: *const c_void, conf: bool) -> Place {
        let whole = index_in(&self.actions, cause);
        let word = index_in(&self.words, cause);
        let holds = |range: &Option<Range<usize>>| matches!((range, word), (Some(range), Some(word)) if range.contains(&word));
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

const _: () = assert!(size_of::<sys::rte_flow_action_set_ipv6>() == size_of::<[u8; 16]>());

fn ethdev_conf(port: DevId) -> sys::rte_flow_action_ethdev {
    sys::rte_flow_action_ethdev { port_id: port.get() }
}

fn mac_conf(mac_addr: [u8; 6]) -> sys::rte_flow_action_set_mac {
    sys::rte_flow_action_set_mac { mac_addr }
}

fn ipv4_conf(addr: [u8; 4]) -> sys::rte_flow_action_set_ipv4 {
    sys::rte_flow_action_set_ipv4 { ipv4_addr: u32::from_ne_bytes(addr) }
}

fn tp_conf(port: u16) -> sys::rte_flow_action_set_tp {
    sys::rte_flow_action_set_tp { port: port.to_be() }
}

fn encode_eth(eth: &Eth) -> sys::shim_flow_item_eth {
    sys::shim_flow_item_eth {
        dst: eth.dst,
        src: eth.src,
        ether_type: eth.ether_type.to_be(),
        has_vlan: u16::from(eth.has_vlan),
        reserved: 0,
    }
}

fn encode_vlan(vlan: &Vlan) -> sys::shim_flow_item_vlan {
    sys::shim_flow_item_vlan {
        tci: vlan.tci.to_be(),
        inner_type: vlan.inner_type.to_be(),
        has_more_vlan: u32::from(vlan.has_more_vlan),
    }
}

fn encode_ipv4(ipv4: &Ipv4) -> sys::shim_flow_item_ipv4 {
    sys::shim_flow_item_ipv4 {
        version_ihl: ipv4.version_ihl,
        tos: ipv4.tos,
        fragment_offset: ipv4.fragment_offset.to_be(),
        ttl: ipv4.ttl,
        proto: ipv4.proto,
        src: ipv4.src,
        dst: ipv4.dst,
        ..Default::default()
    }
}

fn encode_ipv6(ipv6: &Ipv6) -> sys::shim_flow_item_ipv6 {
    let vtc_flow = u32::from(ipv6.traffic_class) << 20 | ipv6.flow_label & 0xf_ffff;
    sys::shim_flow_item_ipv6 {
        vtc_flow: vtc_flow.to_be(),
        payload_len: 0,
        proto: ipv6.next_header,
        hop_limits: ipv6.hop_limit,
        src: ipv6.src,
        dst: ipv6.dst,
        extensions: u32::from(ipv6.has_fragment) << FRAGMENT_BIT,
    }
}

/// Where `has_frag_ext` is in the word behind an IPv6 item's header.
pub(super) const FRAGMENT_BIT: u32 = 2;

fn encode_tcp(tcp: &Tcp) -> sys::shim_flow_item_tcp {
    sys::shim_flow_item_tcp {
        src_port: tcp.src_port.to_be(),
        dst_port: tcp.dst_port.to_be(),
        flags: tcp.flags,
        ..Default::default()
    }
}

fn encode_udp(udp: &Udp) -> sys::shim_flow_item_udp {
    sys::shim_flow_item_udp {
        src_port: udp.src_port.to_be(),
        dst_port: udp.dst_port.to_be(),
        ..Default::default()
    }
}

fn encode_icmp(icmp: &Icmp) -> sys::shim_flow_item_icmp {
    sys::shim_flow_item_icmp { type_: icmp.icmp_type, code: icmp.code, ..Default::default() }
}

fn encode_icmp6(icmp: &Icmp) -> sys::rte_flow_item_icmp6 {
    sys::rte_flow_item_icmp6 { type_: icmp.icmp_type, code: icmp.code, checksum: 0 }
}

fn encode_arp(arp: &Arp) -> sys::rte_flow_item_arp_eth_ipv4 {
    sys::rte_flow_item_arp_eth_ipv4 {
        op: arp.operation.to_be(),
        sha: sys::rte_ether_addr { addr_bytes: arp.sha },
        spa: u32::from_ne_bytes(arp.spa),
        tha: sys::rte_ether_addr { addr_bytes: arp.tha },
        tpa: u32::from_ne_bytes(arp.tpa),
        ..Default::default()
    }
}

fn encode_vxlan(vxlan: &Vxlan) -> sys::shim_flow_item_vxlan {
    let [_, high, middle, low] = vxlan.vni.to_be_bytes();
    sys::shim_flow_item_vxlan { vni: [high, middle, low], ..Default::default() }
}
