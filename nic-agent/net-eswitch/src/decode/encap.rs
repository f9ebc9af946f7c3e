//! The headers of a VXLAN encapsulation, from the items of its definition.
//!
//! rte_flow.h leaves what a mask does not cover open, so the switch may put anything there; it puts the
//! value of the spec, as cards do. What is covered is sent as it stands, or the rule is refused. Zero
//! in a length, a checksum, a type, a protocol or a port that the encapsulation itself decides leaves
//! the value to the switch.

use dpdk_sys as sys;
use nic_flow::action::VXLAN_PORT;
use nic_flow::{MacAddr, VxlanEncap};
use nic_wire::{EtherType, IpProto};

use super::fault::{At, Fault, Part};
use super::items::vni;
use super::raw::{Item, Triple};

/// The hop limit of a definition that leaves it open (RFC 1700, "IP time to live").
const DEFAULT_TTL: u8 = 64;
/// The bit of the flags that says that the VNI is valid.
const VNI_IS_VALID: u8 = 0x08;

/// Reads a definition: `eth [vlan] ipv4|ipv6 udp vxlan`. Faults name items of the definition.
pub(super) fn decode(items: &[Item]) -> Result<VxlanEncap, Fault> {
    let mut items = items.iter().enumerate().filter(|(_, item)| !matches!(item, Item::Void)).peekable();
    let eth = match items.next() {
        Some((index, Item::Eth(eth))) => (Place(index), eth),
        other => return Err(expected("eth", other)),
    };
    let vlan = match items.next_if(|(_, item)| matches!(item, Item::Vlan(_))) {
        Some((index, Item::Vlan(vlan))) => Some((Place(index), vlan)),
        _ => None,
    };
    let (kind, network) = match items.next() {
        Some((index, Item::Ipv4(ip))) => (EtherType::IPV4, ipv4(Place(index), ip)?),
        Some((index, Item::Ipv6(ip))) => (EtherType::IPV6, ipv6(Place(index), ip)?),
        other => return Err(expected("ipv4 or ipv6", other)),
    };
    match items.next() {
        Some((index, Item::Udp(udp))) => self::udp(Place(index), udp)?,
        other => return Err(expected("udp", other)),
    }
    let vni = match items.next() {
        Some((index, Item::Vxlan(vxlan))) => self::vxlan(Place(index), vxlan)?,
        other => return Err(expected("vxlan", other)),
    };
    if let Some((index, _)) = items.next() {
        return Err(Fault::invalid(Place(index).at(Part::Type), "nothing stands behind a vxlan item"));
    }
    let behind_eth = if vlan.is_some() { EtherType::VLAN } else { kind };
    let (eth_dst, eth_src) = ethernet(eth.0, eth.1, behind_eth)?;
    let vlan = vlan.map(|(place, vlan)| tag(place, vlan, kind)).transpose()?;
    let Network { src, dst, tos, ttl } = network;
    Ok(VxlanEncap { eth_dst, eth_src, vlan, src, dst, tos, ttl, vni })
}

fn expected(what: &str, found: Option<(usize, &Item)>) -> Fault {
    let message = format!("{what} is needed here");
    match found {
        Some((index, _)) => Fault::invalid(Place(index).at(Part::Type), message),
        None => Fault::invalid(At::Pattern, format!("the definition ends where {message}")),
    }
}

/// An item's place in the definition.
#[derive(Debug, Clone, Copy)]
struct Place(usize);

impl Place {
    fn at(self, part: Part) -> At {
        At::Item { index: self.0, part }
    }

    /// A field that nobody but the rule's author can know.
    fn whole(self, mask: impl IntoIterator<Item = u8>, what: &'static str) -> Result<(), Fault> {
        if mask.into_iter().all(|octet| octet == u8::MAX) {
            return Ok(());
        }
        Err(Fault::invalid(self.at(Part::Mask), format!("{what} must be given whole")))
    }

    /// A field that the encapsulation decides: zero leaves it to the switch.
    fn filled(
        self,
        spec: impl Into<u32>,
        mask: impl Into<u32>,
        sent: u32,
        what: &'static str,
    ) -> Result<(), Fault> {
        let (spec, mask) = (spec.into(), mask.into());
        if spec & mask == 0 { Ok(()) } else { self.exactly(spec, mask, sent, what) }
    }

    /// A field that differs from packet to packet.
    fn open(self, spec: impl Into<u32>, mask: impl Into<u32>, what: &'static str) -> Result<(), Fault> {
        if spec.into() & mask.into() == 0 {
            return Ok(());
        }
        Err(Fault::unsupported(self.at(Part::Spec), format!("{what} follows the frame: 0 is needed")))
    }

    /// A field that the encapsulation decides, and of which zero says something else.
    fn exactly(
        self,
        spec: impl Into<u32>,
        mask: impl Into<u32>,
        sent: u32,
        what: &'static str,
    ) -> Result<(), Fault> {
        if (spec.into() ^ sent) & mask.into() == 0 {
            return Ok(());
        }
        Err(Fault::unsupported(self.at(Part::Spec), format!("{what} is sent as {sent:#x}")))
    }
}

fn ethernet(
    place: Place,
    eth: &Triple<sys::shim_flow_item_eth>,
    behind: EtherType,
) -> Result<(MacAddr, MacAddr), Fault> {
    let Triple { spec, mask, .. } = eth;
    place.whole(mask.dst, "the destination MAC address")?;
    place.whole(mask.src, "the source MAC address")?;
    let (kind, kind_mask) = (u16::from_be(spec.ether_type), u16::from_be(mask.ether_type));
    place.filled(kind, kind_mask, behind.0.into(), "the type")?;
    place.exactly(spec.has_vlan, mask.has_vlan, u32::from(behind.is_vlan()), "has_vlan")?;
    place.exactly(spec.reserved, mask.reserved, 0, "a reserved field")?;
    Ok((MacAddr(spec.dst), MacAddr(spec.src)))
}

fn tag(place: Place, vlan: &Triple<sys::shim_flow_item_vlan>, behind: EtherType) -> Result<u16, Fault> {
    const VID: u16 = 0x0fff;
    let Triple { spec, mask, .. } = vlan;
    if u16::from_be(mask.tci) & VID != VID {
        return Err(Fault::invalid(place.at(Part::Mask), "the VLAN identifier must be given whole"));
    }
    let (kind, kind_mask) = (u16::from_be(spec.inner_type), u16::from_be(mask.inner_type));
    place.filled(kind, kind_mask, behind.0.into(), "the type")?;
    place.exactly(spec.has_more_vlan, mask.has_more_vlan, 0, "has_more_vlan")?;
    Ok(u16::from_be(spec.tci))
}

/// What the two versions of IP have in common.
struct Network {
    src: std::net::IpAddr,
    dst: std::net::IpAddr,
    tos: u8,
    ttl: u8,
}

fn ipv4(place: Place, ip: &Triple<sys::shim_flow_item_ipv4>) -> Result<Network, Fault> {
    const DONT_FRAGMENT: u32 = 0x4000;
    let Triple { spec, mask, .. } = ip;
    place.whole(mask.src, "the source address")?;
    place.whole(mask.dst, "the destination address")?;
    place.filled(spec.version_ihl, mask.version_ihl, 0x45, "version and header length")?;
    place.open(spec.total_length, mask.total_length, "the total length")?;
    place.exactly(spec.packet_id, mask.packet_id, 0, "the identification")?;
    let (fragment, fragment_mask) = (u16::from_be(spec.fragment_offset), u16::from_be(mask.fragment_offset));
    place.exactly(fragment, fragment_mask, DONT_FRAGMENT, "the fragment field")?;
    place.filled(spec.proto, mask.proto, IpProto::UDP.0.into(), "the protocol")?;
    place.open(spec.checksum, mask.checksum, "the checksum")?;
    let (src, dst) = (spec.src.into(), spec.dst.into());
    Ok(Network { src, dst, tos: spec.tos, ttl: hop_limit(spec.ttl, mask.ttl) })
}

fn ipv6(place: Place, ip: &Triple<sys::shim_flow_item_ipv6>) -> Result<Network, Fault> {
    const VERSION: u32 = 0xf000_0000;
    const LABEL: u32 = 0x000f_ffff;
    let Triple { spec, mask, .. } = ip;
    place.whole(mask.src, "the source address")?;
    place.whole(mask.dst, "the destination address")?;
    let (vtc, vtc_mask) = (u32::from_be(spec.vtc_flow), u32::from_be(mask.vtc_flow));
    place.filled((vtc & VERSION) >> 28, (vtc_mask & VERSION) >> 28, 6, "the version")?;
    place.exactly(vtc & LABEL, vtc_mask & LABEL, 0, "the flow label")?;
    place.open(spec.payload_len, mask.payload_len, "the payload length")?;
    place.filled(spec.proto, mask.proto, IpProto::UDP.0.into(), "the protocol")?;
    place.exactly(spec.extensions, mask.extensions, 0, "the set of extension headers")?;
    let (src, dst) = (spec.src.into(), spec.dst.into());
    Ok(Network { src, dst, tos: (vtc >> 20) as u8, ttl: hop_limit(spec.hop_limits, mask.hop_limits) })
}

fn hop_limit(spec: u8, mask: u8) -> u8 {
    if spec == 0 && mask == 0 { DEFAULT_TTL } else { spec }
}

fn udp(place: Place, udp: &Triple<sys::shim_flow_item_udp>) -> Result<(), Fault> {
    let Triple { spec, mask, .. } = udp;
    let (port, port_mask) = (u16::from_be(spec.dst_port), u16::from_be(mask.dst_port));
    place.filled(port, port_mask, VXLAN_PORT.into(), "the destination port")?;
    place.open(spec.src_port, mask.src_port, "the source port")?;
    place.open(spec.length, mask.length, "the length")?;
    place.exactly(spec.checksum, mask.checksum, 0, "the checksum")
}

fn vxlan(place: Place, vxlan: &Triple<sys::shim_flow_item_vxlan>) -> Result<u32, Fault> {
    let Triple { spec, mask, .. } = vxlan;
    place.whole(mask.vni, "the VNI")?;
    place.filled(spec.flags, mask.flags, VNI_IS_VALID.into(), "the byte of flags")?;
    place.exactly(vni(&spec.reserved0) as u32, vni(&mask.reserved0) as u32, 0, "a reserved field")?;
    place.exactly(spec.reserved1, mask.reserved1, 0, "a reserved field")?;
    Ok(vni(&spec.vni) as u32)
}
