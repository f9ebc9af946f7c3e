//! The definition of a tunnel's outer headers: items of its own behind an action.

use core::ffi::c_void;

use dpdk_sys as sys;

use super::structs::{encode_eth, encode_ipv4, encode_ipv6, encode_udp, encode_vlan, encode_vxlan};
use super::{END, Encoded, ItemParts, index_in};
use crate::flow::action::{Addresses, VxlanEncap};
use crate::flow::item::{Eth, Ipv4, Ipv6, Udp, Vlan, Vxlan};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const UDP: u8 = 17;
/// UDP's destination port for VXLAN (RFC 7348 section 8).
const VXLAN_PORT: u16 = 4789;
/// Version 4, five words of header.
const VERSION_IHL: u8 = 0x45;
/// IPv4's "don't fragment" (RFC 791 section 3.1).
const DONT_FRAGMENT: u16 = 0x4000;
/// Version 6, in the word that begins an IPv6 header.
const VERSION_6: u32 = 6 << 28;
/// The network identifier is valid (RFC 7348 section 5).
const VALID_VNI: u8 = 0x08;

/// The outer headers of one action.
pub(super) struct Tunnel {
    parts: Vec<(sys::rte_flow_item_type, ItemParts)>,
    /// With their end, once they are linked.
    items: Vec<sys::rte_flow_item>,
    /// One, which points to the items, once they are linked.
    conf: Vec<sys::rte_flow_action_vxlan_encap>,
}

impl Tunnel {
    /// Makes the items, of structs that stay where they are from here on.
    pub(super) fn link(&mut self, item: impl Fn(sys::rte_flow_item_type, &ItemParts) -> sys::rte_flow_item) {
        self.items = self.parts.iter().map(|(type_, parts)| item(*type_, parts)).collect();
        self.items.push(END);
        self.conf = vec![sys::rte_flow_action_vxlan_encap { definition: self.items.as_mut_ptr() }];
    }

    /// The action's configuration.
    pub(super) fn conf(&self) -> *const c_void {
        self.conf.as_ptr().cast()
    }

    /// Whether an address lies in the configuration, the items, or the structs, of which `word` is one.
    pub(super) fn holds(&self, address: *const c_void, word: Option<usize>) -> bool {
        index_in(&self.conf, address).is_some()
            || index_in(&self.items, address).is_some()
            || self.parts.iter().any(|(_, parts)| word.is_some_and(|word| parts.hold(word)))
    }
}

impl Encoded {
    /// Puts the structs of a tunnel's headers into the buffer. The mask of each has the fields that are
    /// said: of the rest a device makes what it must.
    pub(super) fn tunnel(&mut self, encap: &VxlanEncap) -> Tunnel {
        let kind = match encap.ip {
            Addresses::V4 { .. } => IPV4,
            Addresses::V6 { .. } => IPV6,
        };
        let mut parts = Vec::with_capacity(5);
        let eth = Eth {
            dst: encap.eth_dst,
            src: encap.eth_src,
            ether_type: encap.vlan.map_or(kind, |_| VLAN),
            has_vlan: false,
        };
        let all = Eth { dst: [0xff; 6], src: [0xff; 6], ether_type: u16::MAX, has_vlan: false };
        parts.push((sys::RTE_FLOW_ITEM_TYPE_ETH, self.header(encode_eth(&eth), encode_eth(&all))));
        if let Some(tci) = encap.vlan {
            let vlan = Vlan { tci, inner_type: kind, has_more_vlan: false };
            let all = Vlan { tci: u16::MAX, inner_type: u16::MAX, has_more_vlan: false };
            parts.push((sys::RTE_FLOW_ITEM_TYPE_VLAN, self.header(encode_vlan(&vlan), encode_vlan(&all))));
        }
        parts.push(self.outer_ip(encap));
        let udp = Udp { src_port: 0, dst_port: VXLAN_PORT };
        let all = Udp { src_port: 0, dst_port: u16::MAX };
        parts.push((sys::RTE_FLOW_ITEM_TYPE_UDP, self.header(encode_udp(&udp), encode_udp(&all))));
        let vxlan = sys::shim_flow_item_vxlan { flags: VALID_VNI, ..encode_vxlan(&Vxlan { vni: encap.vni }) };
        let all = sys::shim_flow_item_vxlan { flags: 0xff, ..encode_vxlan(&Vxlan { vni: 0xff_ffff }) };
        parts.push((sys::RTE_FLOW_ITEM_TYPE_VXLAN, self.header(vxlan, all)));
        Tunnel { parts, items: Vec::new(), conf: Vec::new() }
    }

    fn outer_ip(&mut self, encap: &VxlanEncap) -> (sys::rte_flow_item_type, ItemParts) {
        match encap.ip {
            Addresses::V4 { src, dst } => {
                let header = |version_ihl, fragment_offset, tos, ttl, proto, src, dst| {
                    encode_ipv4(&Ipv4 { version_ihl, tos, fragment_offset, ttl, proto, src, dst })
                };
                let spec = header(VERSION_IHL, DONT_FRAGMENT, encap.tos, encap.ttl, UDP, src, dst);
                let mask = header(0xff, u16::MAX, 0xff, 0xff, 0xff, [0xff; 4], [0xff; 4]);
                (sys::RTE_FLOW_ITEM_TYPE_IPV4, self.header(spec, mask))
            }
            Addresses::V6 { src, dst } => {
                let header = Ipv6 {
                    traffic_class: encap.tos,
                    next_header: UDP,
                    hop_limit: encap.ttl,
                    src,
                    dst,
                    ..Default::default()
                };
                let mut spec = encode_ipv6(&header);
                // Drivers copy the whole word; some give the version only to a word that is zero.
                spec.vtc_flow |= VERSION_6.to_be();
                let all = Ipv6 {
                    next_header: 0xff,
                    hop_limit: 0xff,
                    src: [0xff; 16],
                    dst: [0xff; 16],
                    ..Default::default()
                };
                let mut mask = encode_ipv6(&all);
                mask.vtc_flow = u32::MAX;
                (sys::RTE_FLOW_ITEM_TYPE_IPV6, self.header(spec, mask))
            }
        }
    }

    fn header<T: Copy>(&mut self, spec: T, mask: T) -> ItemParts {
        ItemParts { spec: Some(self.put(spec)), mask: Some(self.put(mask)) }
    }
}
