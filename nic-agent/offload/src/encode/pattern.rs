//! Matches as items, by consuming the mask.

use dpdk::DevId;
use dpdk::flow::{Arp, Eth, Icmp, Ipv4, Ipv6, Item, Masked, Tcp, Udp, Vlan, Vxlan};
use nic_flow::action::VXLAN_PORT;
use nic_flow::field::{Frag, L3, L4, TUNNELLED, Tunnel};
use nic_flow::seam::Refusal;
use nic_flow::{Field, Match, PortId};
use nic_wire::{EtherType, IpProto};

use super::rest::Rest;

/// The fragment offset and the more-fragments flag (RFC 791 section 3.1): all zero in a whole packet.
const IPV4_FRAGMENT: u16 = 0x3fff;

/// Extension headers of IPv6 that have another header behind them (RFC 8200 section 4).
const EXTENSIONS: [IpProto; 5] =
    [IpProto::HOP_BY_HOP, IpProto::ROUTING, IpProto::FRAGMENT, IpProto::AH, IpProto::DST_OPTS];

/// The items of a match.
pub(super) fn encode(
    flow: &Match,
    find: &impl Fn(PortId) -> Result<DevId, Refusal>,
) -> Result<Vec<Item>, Refusal> {
    let mut rest = Rest::new(flow);
    let in_port = rest.whole(Field::InPort)?.ok_or(Refusal::Field(Field::InPort))?;
    let mut items = vec![Item::RepresentedPort(find(PortId::from_bits(in_port as u16))?)];
    headers(&mut rest, &mut items)?;
    if tunnel(&mut rest, &mut items)? {
        rest.enter();
        headers(&mut rest, &mut items)?;
    }
    rest.end()?;
    Ok(items)
}

/// One frame's chain of headers: that of the packet, or of the frame in its tunnel.
fn headers(rest: &mut Rest<'_>, items: &mut Vec<Item>) -> Result<(), Refusal> {
    let ether_type = link(rest, items)?;
    network(rest, items, ether_type)
}

fn mac(bits: u128) -> [u8; 6] {
    nic_flow::key::mac_from_bits(bits).octets()
}

/// Ethernet and VLAN. Returns the EtherType behind the tags, if the match names it.
fn link(rest: &mut Rest<'_>, items: &mut Vec<Item>) -> Result<Option<EtherType>, Refusal> {
    let (dst, dst_mask) = rest.take(Field::EthDst);
    let (src, src_mask) = rest.take(Field::EthSrc);
    let mut eth = Masked::new(
        Eth { dst: mac(dst), src: mac(src), ..Eth::default() },
        Eth { dst: mac(dst_mask), src: mac(src_mask), ..Eth::default() },
    );
    let ether_type = rest.whole(Field::EthType)?.map(|bits| EtherType(bits as u16));
    let mut vlan = None;
    match (rest.whole(Field::VlanCount)?, ether_type) {
        (None, None) => {}
        // The type of a frame with tags is behind them: a match that does not count tags cannot say where.
        (None, Some(_)) => return Err(rest.refuse(Field::EthType)),
        (Some(0), Some(kind)) if kind.0 >= EtherType::FIRST.0 => {
            rest.absent(&[Field::VlanTpid, Field::VlanTci, Field::InnerVlanTpid, Field::InnerVlanTci])?;
            (eth.spec.ether_type, eth.mask.ether_type) = (kind.0, u16::MAX);
        }
        (Some(1), Some(kind)) if kind.0 >= EtherType::FIRST.0 => {
            let tpid = rest.whole(Field::VlanTpid)?.ok_or(rest.refuse(Field::VlanTpid))?;
            (eth.spec.ether_type, eth.mask.ether_type) = (tpid as u16, u16::MAX);
            let (tci, tci_mask) = rest.take(Field::VlanTci);
            rest.absent(&[Field::InnerVlanTpid, Field::InnerVlanTci])?;
            vlan = Some(Item::Vlan(Masked::new(
                Vlan { tci: tci as u16, inner_type: kind.0, ..Vlan::default() },
                Vlan { tci: tci_mask as u16, inner_type: u16::MAX, ..Vlan::default() },
            )));
        }
        // A frame with a length instead of a type: no item says so.
        (Some(0 | 1), Some(_)) => return Err(rest.refuse(Field::EthType)),
        // Without the type, "no tag" and "one tag" need an item field that not every card has; nor do
        // all cards take two tags.
        (Some(_), _) => return Err(rest.refuse(Field::VlanCount)),
    }
    if eth.mask != Eth::default() || vlan.is_some() || rest.has(Field::L3) {
        items.push(Item::Eth(eth));
    }
    items.extend(vlan);
    Ok(ether_type)
}

/// All fields that a packet without a layer-3 header has zero.
const ABOVE_LINK: &[Field] = &[
    Field::IpFrag,
    Field::IpProto,
    Field::IpTos,
    Field::IpTtl,
    Field::IpSrc,
    Field::IpDst,
    Field::ArpSha,
    Field::ArpTha,
    Field::L4,
    Field::L4Src,
    Field::L4Dst,
    Field::TcpFlags,
];

fn network(rest: &mut Rest<'_>, items: &mut Vec<Item>, ether_type: Option<EtherType>) -> Result<(), Refusal> {
    let Some(status) = rest.whole(Field::L3)? else {
        // What is left is refused by the caller: it has no meaning without the status.
        return Ok(());
    };
    let kind = ether_type.ok_or(rest.refuse(Field::L3))?;
    match (L3::from_bits(status), kind) {
        (L3::Ok, EtherType::IPV4) => ipv4(rest, items),
        (L3::Ok, EtherType::IPV6) => ipv6(rest, items),
        (L3::Ok, EtherType::ARP) => arp(rest, items),
        // Any other type has no header that we parse: the type alone says so.
        (L3::Other, kind) if !matches!(kind, EtherType::IPV4 | EtherType::IPV6 | EtherType::ARP) => {
            rest.absent(ABOVE_LINK)
        }
        _ => Err(rest.refuse(Field::L3)),
    }
}

/// Bits of an address field beyond 32 are zero in every packet that is not IPv6.
fn v4(bits: u128) -> [u8; 4] {
    (bits as u32).to_be_bytes()
}

fn ipv4(rest: &mut Rest<'_>, items: &mut Vec<Item>) -> Result<(), Refusal> {
    let (tos, tos_mask) = rest.take(Field::IpTos);
    let (ttl, ttl_mask) = rest.take(Field::IpTtl);
    let (src, src_mask) = rest.take(Field::IpSrc);
    let (dst, dst_mask) = rest.take(Field::IpDst);
    let (proto, proto_mask) = rest.take(Field::IpProto);
    let fragment_offset = match rest.whole(Field::IpFrag)?.map(Frag::from_bits) {
        None => 0,
        Some(Frag::No) => IPV4_FRAGMENT,
        Some(Frag::First | Frag::Later) => return Err(rest.refuse(Field::IpFrag)),
    };
    rest.absent(&[Field::ArpSha, Field::ArpTha])?;
    for (field, value) in [(Field::IpSrc, src), (Field::IpDst, dst)] {
        if value > u128::from(u32::MAX) {
            return Err(rest.refuse(field));
        }
    }
    items.push(Item::Ipv4(Masked::new(
        Ipv4 {
            tos: tos as u8,
            ttl: ttl as u8,
            proto: proto as u8,
            src: v4(src),
            dst: v4(dst),
            ..Ipv4::default()
        },
        Ipv4 {
            tos: tos_mask as u8,
            ttl: ttl_mask as u8,
            proto: proto_mask as u8,
            fragment_offset,
            src: v4(src_mask),
            dst: v4(dst_mask),
            ..Ipv4::default()
        },
    )));
    transport(rest, items, proto, proto_mask, IpProto::ICMPV4)
}

fn ipv6(rest: &mut Rest<'_>, items: &mut Vec<Item>) -> Result<(), Refusal> {
    let (tos, tos_mask) = rest.take(Field::IpTos);
    let (ttl, ttl_mask) = rest.take(Field::IpTtl);
    let (src, src_mask) = rest.take(Field::IpSrc);
    let (dst, dst_mask) = rest.take(Field::IpDst);
    let (proto, proto_mask) = rest.take(Field::IpProto);
    // The key has the last next header, and the first one only where nobody can find the last. A card may
    // compare the first: of one that is named here, it would take packets with a whole chain too.
    let wider = |number: &IpProto| u128::from(number.0) & proto_mask == proto;
    if proto_mask != 0 && EXTENSIONS.iter().any(wider) {
        return Err(rest.refuse(Field::IpProto));
    }
    rest.absent(&[Field::ArpSha, Field::ArpTha])?;
    items.push(Item::Ipv6(Masked::new(
        Ipv6 {
            traffic_class: tos as u8,
            hop_limit: ttl as u8,
            next_header: proto as u8,
            src: src.to_be_bytes(),
            dst: dst.to_be_bytes(),
            ..Ipv6::default()
        },
        Ipv6 {
            traffic_class: tos_mask as u8,
            hop_limit: ttl_mask as u8,
            next_header: proto_mask as u8,
            src: src_mask.to_be_bytes(),
            dst: dst_mask.to_be_bytes(),
            ..Ipv6::default()
        },
    )));
    transport(rest, items, proto, proto_mask, IpProto::ICMPV6)
}

fn arp(rest: &mut Rest<'_>, items: &mut Vec<Item>) -> Result<(), Refusal> {
    let (operation, operation_mask) = rest.take(Field::IpProto);
    // The key cuts the operation to 8 bits; one that reads zero there may be larger in the packet.
    if operation_mask != 0 && (operation == 0 || operation_mask != Field::IpProto.max()) {
        return Err(rest.refuse(Field::IpProto));
    }
    let (sha, sha_mask) = rest.take(Field::ArpSha);
    let (tha, tha_mask) = rest.take(Field::ArpTha);
    let (spa, spa_mask) = rest.take(Field::IpSrc);
    let (tpa, tpa_mask) = rest.take(Field::IpDst);
    rest.absent(&[
        Field::IpFrag,
        Field::IpTos,
        Field::IpTtl,
        Field::L4,
        Field::L4Src,
        Field::L4Dst,
        Field::TcpFlags,
    ])?;
    let operation_mask = if operation_mask == 0 { 0 } else { u16::MAX };
    items.push(Item::ArpEthIpv4(Masked::new(
        Arp { operation: operation as u16, sha: mac(sha), spa: v4(spa), tha: mac(tha), tpa: v4(tpa) },
        Arp {
            operation: operation_mask,
            sha: mac(sha_mask),
            spa: v4(spa_mask),
            tha: mac(tha_mask),
            tpa: v4(tpa_mask),
        },
    )));
    Ok(())
}

/// The layer-4 header. `icmp` is the protocol that counts as ICMP in this family.
fn transport(
    rest: &mut Rest<'_>,
    items: &mut Vec<Item>,
    proto: u128,
    proto_mask: u128,
    icmp: IpProto,
) -> Result<(), Refusal> {
    let Some(status) = rest.whole(Field::L4)? else { return Ok(()) };
    if proto_mask != Field::IpProto.max() {
        return Err(rest.refuse(Field::IpProto));
    }
    // "No header that we parse", "malformed" and "a later fragment" are things that no item says.
    if L4::from_bits(status) != L4::Ok {
        return Err(rest.refuse(Field::L4));
    }
    let (src, src_mask) = rest.take(Field::L4Src);
    let (dst, dst_mask) = rest.take(Field::L4Dst);
    let ports = (src as u16, dst as u16, src_mask as u16, dst_mask as u16);
    match IpProto(proto as u8) {
        IpProto::TCP => {
            let (flags, flags_mask) = rest.take(Field::TcpFlags);
            items.push(Item::Tcp(Masked::new(
                Tcp { src_port: ports.0, dst_port: ports.1, flags: flags as u8 },
                Tcp { src_port: ports.2, dst_port: ports.3, flags: flags_mask as u8 },
            )));
        }
        IpProto::UDP => {
            rest.absent(&[Field::TcpFlags])?;
            items.push(Item::Udp(Masked::new(
                Udp { src_port: ports.0, dst_port: ports.1 },
                Udp { src_port: ports.2, dst_port: ports.3 },
            )));
        }
        proto if proto == icmp => {
            rest.absent(&[Field::TcpFlags])?;
            let item = Masked::new(
                icmp_header(rest, src, dst)?,
                icmp_header(rest, src_mask & 0xff, dst_mask & 0xff)?,
            );
            items.push(if icmp == IpProto::ICMPV4 { Item::Icmp(item) } else { Item::Icmp6(item) });
        }
        _ => return Err(rest.refuse(Field::L4)),
    }
    Ok(())
}

/// The VXLAN header. True if items of the frame in it may follow.
fn tunnel(rest: &mut Rest<'_>, items: &mut Vec<Item>) -> Result<bool, Refusal> {
    let Some(status) = rest.whole(Field::Tunnel)? else {
        // What is left is refused by the caller: it has no meaning without the status.
        return Ok(false);
    };
    let (is_port, may_be_port) = match items.last() {
        Some(Item::Udp(udp)) => {
            let same = (udp.spec.dst_port ^ VXLAN_PORT) & udp.mask.dst_port == 0;
            (same && udp.mask.dst_port == u16::MAX, same)
        }
        Some(Item::Tcp(_) | Item::Icmp(_) | Item::Icmp6(_) | Item::ArpEthIpv4(_)) => (false, false),
        // The items of a type that has no header which we parse.
        Some(Item::Eth(_) | Item::Vlan(_)) => (false, !rest.names(Field::L3)),
        _ => (false, true),
    };
    match Tunnel::from_bits(status) {
        // A VXLAN item says that its header is there and whole.
        Tunnel::Vxlan if is_port => {
            let (vni, vni_mask) = rest.take(Field::Vni);
            items.push(Item::Vxlan(Masked::new(Vxlan { vni: vni as u32 }, Vxlan { vni: vni_mask as u32 })));
            Ok(true)
        }
        // All packets that go elsewhere have no tunnel. Of those that go there, fragments have none
        // either, and what is malformed has none that is whole: no item says so.
        Tunnel::None if !may_be_port => {
            rest.absent(&[Field::Vni])?;
            for &(_, behind) in TUNNELLED {
                rest.absent(&[behind])?;
            }
            Ok(false)
        }
        _ => Err(rest.refuse(Field::Tunnel)),
    }
}

/// Type and code have 8 bits; the fields' other bits are zero in every packet.
fn icmp_header(rest: &Rest<'_>, kind: u128, code: u128) -> Result<Icmp, Refusal> {
    let narrow = |field, bits: u128| u8::try_from(bits).map_err(|_| rest.refuse(field));
    Ok(Icmp { icmp_type: narrow(Field::L4Src, kind)?, code: narrow(Field::L4Dst, code)? })
}
