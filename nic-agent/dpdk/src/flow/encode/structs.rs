//! Our values as DPDK's structs.

use core::mem::size_of;

use dpdk_sys as sys;

use crate::ethdev::DevId;
use crate::flow::item::{Arp, Eth, Icmp, Ipv4, Ipv6, Tcp, Udp, Vlan, Vxlan};

const _: () = assert!(size_of::<sys::rte_flow_action_set_ipv6>() == size_of::<[u8; 16]>());

pub(super) fn ethdev_conf(port: DevId) -> sys::rte_flow_action_ethdev {
    sys::rte_flow_action_ethdev { port_id: port.get() }
}

pub(super) fn mac_conf(mac_addr: [u8; 6]) -> sys::rte_flow_action_set_mac {
    sys::rte_flow_action_set_mac { mac_addr }
}

pub(super) fn ipv4_conf(addr: [u8; 4]) -> sys::rte_flow_action_set_ipv4 {
    sys::rte_flow_action_set_ipv4 { ipv4_addr: u32::from_ne_bytes(addr) }
}

pub(super) fn tp_conf(port: u16) -> sys::rte_flow_action_set_tp {
    sys::rte_flow_action_set_tp { port: port.to_be() }
}

pub(super) fn encode_eth(eth: &Eth) -> sys::shim_flow_item_eth {
    sys::shim_flow_item_eth {
        dst: eth.dst,
        src: eth.src,
        ether_type: eth.ether_type.to_be(),
        has_vlan: u16::from(eth.has_vlan),
        reserved: 0,
    }
}

pub(super) fn encode_vlan(vlan: &Vlan) -> sys::shim_flow_item_vlan {
    sys::shim_flow_item_vlan {
        tci: vlan.tci.to_be(),
        inner_type: vlan.inner_type.to_be(),
        has_more_vlan: u32::from(vlan.has_more_vlan),
    }
}

pub(super) fn encode_ipv4(ipv4: &Ipv4) -> sys::shim_flow_item_ipv4 {
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

pub(super) fn encode_ipv6(ipv6: &Ipv6) -> sys::shim_flow_item_ipv6 {
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
pub(in crate::flow) const FRAGMENT_BIT: u32 = 2;

pub(super) fn encode_tcp(tcp: &Tcp) -> sys::shim_flow_item_tcp {
    sys::shim_flow_item_tcp {
        src_port: tcp.src_port.to_be(),
        dst_port: tcp.dst_port.to_be(),
        flags: tcp.flags,
        ..Default::default()
    }
}

pub(super) fn encode_udp(udp: &Udp) -> sys::shim_flow_item_udp {
    sys::shim_flow_item_udp {
        src_port: udp.src_port.to_be(),
        dst_port: udp.dst_port.to_be(),
        ..Default::default()
    }
}

pub(super) fn encode_icmp(icmp: &Icmp) -> sys::shim_flow_item_icmp {
    sys::shim_flow_item_icmp { type_: icmp.icmp_type, code: icmp.code, ..Default::default() }
}

pub(super) fn encode_icmp6(icmp: &Icmp) -> sys::rte_flow_item_icmp6 {
    sys::rte_flow_item_icmp6 { type_: icmp.icmp_type, code: icmp.code, checksum: 0 }
}

pub(super) fn encode_arp(arp: &Arp) -> sys::rte_flow_item_arp_eth_ipv4 {
    sys::rte_flow_item_arp_eth_ipv4 {
        op: arp.operation.to_be(),
        sha: sys::rte_ether_addr { addr_bytes: arp.sha },
        spa: u32::from_ne_bytes(arp.spa),
        tha: sys::rte_ether_addr { addr_bytes: arp.tha },
        tpa: u32::from_ne_bytes(arp.tpa),
        ..Default::default()
    }
}

pub(super) fn encode_vxlan(vxlan: &Vxlan) -> sys::shim_flow_item_vxlan {
    let [_, high, middle, low] = vxlan.vni.to_be_bytes();
    sys::shim_flow_item_vxlan { vni: [high, middle, low], ..Default::default() }
}
