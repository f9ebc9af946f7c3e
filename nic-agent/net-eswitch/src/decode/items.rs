//! A pattern to a [`Match`].
//!
//! An item says more than its fields: an `ipv4` item is there only if the EtherType is IPv4's and the
//! header is whole, so it matches [`Field::EthType`] and [`Field::L3`] too; a `udp` item matches
//! [`Field::IpProto`] and [`Field::L4`].
//!
//! A `type` of an `eth` item is what stands behind the addresses on the wire: a tag's protocol
//! identifier where a `vlan` item follows, else the EtherType of a frame without tag. Without `type`
//! and `has_vlan`, frames with and without tags match (rte_flow.h, RTE_FLOW_ITEM_TYPE_ETH).
//!
//! Items behind a `vxlan` item speak of the frame in the tunnel, and come to the fields of that frame
//! ([`TUNNELLED`]).

use dpdk_sys as sys;
use nic_flow::action::VXLAN_PORT;
use nic_flow::field::{Field, L3, L4, TUNNELLED, Tunnel};
use nic_flow::{Match, PortId};
use nic_wire::{EtherType, IpProto};

use super::fault::{At, Fault, Part};
use super::fragment;
use super::raw::{Item, Triple};

/// Every TPID that is parsed (0x8100, 0x88a8) has this bit, and a frame without tag has zero.
const TAGGED: u128 = 0x8000;

/// What the items so far came to.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) matches: Match,
    /// The item that each field comes from, by its place in [`Field::ALL`].
    origins: [usize; Field::ALL.len()],
    /// The index of the item that is read now.
    index: usize,
    /// The frame that the items speak of now.
    frame: Frame,
    /// The frame around the tunnel, behind a `vxlan` item.
    outer: Option<Frame>,
    port_seen: bool,
}

/// What the items of one frame came to.
#[derive(Debug, Clone, Copy, Default)]
struct Frame {
    layer: Layer,
    /// The `type` that the last Ethernet or VLAN item asks for.
    pending_type: Option<(u16, usize)>,
    /// VLAN items.
    tags: usize,
    l3: Option<EtherType>,
    l4: Option<IpProto>,
}

/// Headers that every packet which matches has, for actions that change them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Headers {
    /// A VLAN tag is there.
    pub(crate) tagged: bool,
    pub(crate) l3: Option<EtherType>,
    pub(crate) l4: Option<IpProto>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Layer {
    #[default]
    Start,
    Ethernet,
    L3,
    L4,
}

/// Reads items. `port_of` says which port a DPDK port number stands for; `default` is the source
/// of packets if no item names one.
pub(crate) fn decode(
    items: &[Item],
    default: PortId,
    port_of: &dyn Fn(u32) -> Option<PortId>,
) -> Result<Pattern, Fault> {
    let mut pattern = Pattern {
        matches: Match::ANY,
        origins: [0; Field::ALL.len()],
        index: 0,
        frame: Frame::default(),
        outer: None,
        port_seen: false,
    };
    for (index, item) in items.iter().enumerate() {
        pattern.index = index;
        pattern.item(item, port_of)?;
    }
    if !pattern.port_seen {
        pattern.is(Field::InPort, default.bits().into())?;
    }
    pattern.settle_type()?;
    Ok(pattern)
}

impl Pattern {
    /// The item that a field's match comes from.
    pub(crate) fn origin(&self, field: Field) -> usize {
        self.origins[field as usize]
    }

    /// The headers of the packets that match.
    pub(crate) fn headers(&self) -> Headers {
        self.headers_of(self.outer.as_ref().unwrap_or(&self.frame), Field::VlanTpid)
    }

    /// The headers of the frames in their tunnels, if every packet that matches has one.
    pub(crate) fn tunnelled(&self) -> Option<Headers> {
        self.outer.map(|_| self.headers_of(&self.frame, Field::TunVlanTpid))
    }

    fn headers_of(&self, frame: &Frame, tpid: Field) -> Headers {
        let tagged = self.matches.mask().get(tpid) & self.matches.key().get(tpid) & TAGGED != 0;
        Headers { tagged, l3: frame.l3, l4: frame.l4 }
    }

    /// The field of the frame that the items speak of now.
    fn field(&self, field: Field) -> Field {
        match self.outer {
            None => field,
            Some(_) => TUNNELLED.iter().find(|(plain, _)| *plain == field).map_or(field, |&(_, inner)| inner),
        }
    }

    fn at(&self, part: Part) -> At {
        At::Item { index: self.index, part }
    }

    fn item(&mut self, item: &Item, port_of: &dyn Fn(u32) -> Option<PortId>) -> Result<(), Fault> {
        match item {
            Item::Void => Ok(()),
            Item::PortRepresentor => Err(Fault::unsupported(
                self.at(Part::Type),
                "what the application sends on a representor meets no rule",
            )),
            Item::RepresentedPort(port) => {
                no_last(port.last.map(|last| (last.port_id, port.spec.port_id)), self.at(Part::Last))?;
                self.port(port.spec.port_id.into(), port.mask.port_id.into(), u16::MAX.into(), port_of)
            }
            Item::PortId(port) => {
                no_last(port.last.map(|last| (last.id, port.spec.id)), self.at(Part::Last))?;
                self.port(port.spec.id, port.mask.id, u32::MAX, port_of)
            }
            Item::Eth(eth) => self.eth(eth),
            Item::Vlan(vlan) => self.vlan(vlan),
            Item::Ipv4(ip) => self.ipv4(ip),
            Item::Ipv6(ip) => self.ipv6(ip),
            Item::Arp(arp) => self.arp(arp),
            Item::Tcp(tcp) => self.tcp(tcp),
            Item::Udp(udp) => self.udp(udp),
            Item::Icmp(icmp) => self.icmp(icmp),
            Item::Icmp6(icmp) => self.icmp6(icmp),
            Item::Vxlan(vxlan) => self.vxlan(vxlan),
            Item::Unknown => {
                Err(Fault::unsupported(self.at(Part::Type), "an item that the switch does not know"))
            }
        }
    }

    /// Adds bits to the match. Bits that contradict an item before make the rule void.
    fn and(&mut self, field: Field, value: u128, mask: u128) -> Result<(), Fault> {
        let field = self.field(field);
        let mask = mask & field.max();
        if mask == 0 {
            return Ok(());
        }
        let both = self.matches.mask().get(field) & mask;
        if (self.matches.key().get(field) ^ value) & both != 0 {
            let message = format!("{field} contradicts another item");
            return Err(Fault::invalid(self.at(Part::Spec), message));
        }
        self.matches = self.matches.and(field, value, mask);
        self.origins[field as usize] = self.index;
        Ok(())
    }

    fn is(&mut self, field: Field, value: u128) -> Result<(), Fault> {
        self.and(field, value, u128::MAX)
    }

    /// Refuses bits of a mask that no field of the switch stands for.
    fn none_of(&self, bits: u128, what: &'static str) -> Result<(), Fault> {
        if bits == 0 {
            return Ok(());
        }
        Err(Fault::unsupported(self.at(Part::Mask), format!("{what} cannot be matched")))
    }

    fn enter(&mut self, layer: Layer) -> Result<(), Fault> {
        if layer <= self.frame.layer {
            let message = if self.frame.layer == Layer::L4 {
                "nothing behind layer 4 can be matched but a vxlan item behind udp"
            } else {
                "the item stands behind one of the same or a higher layer"
            };
            return Err(Fault::unsupported(self.at(Part::Type), message));
        }
        self.frame.layer = layer;
        Ok(())
    }

    fn port(
        &mut self,
        number: u32,
        mask: u32,
        whole: u32,
        port_of: &dyn Fn(u32) -> Option<PortId>,
    ) -> Result<(), Fault> {
        if self.port_seen {
            return Err(Fault::invalid(self.at(Part::Type), "a second source port"));
        }
        self.port_seen = true;
        match mask {
            0 => Ok(()),
            _ if mask == whole => match port_of(number) {
                Some(port) => self.is(Field::InPort, port.bits().into()),
                None => Err(Fault::invalid(self.at(Part::Spec), "a port of another device, or of none")),
            },
            _ => Err(Fault::unsupported(self.at(Part::Mask), "a port is matched whole or not at all")),
        }
    }

    fn eth(&mut self, eth: &Triple<sys::shim_flow_item_eth>) -> Result<(), Fault> {
        self.enter(Layer::Ethernet)?;
        let Triple { spec, mask, .. } = eth;
        let bytes = |item: &sys::shim_flow_item_eth| {
            (item.dst, item.src, item.ether_type, item.has_vlan, item.reserved)
        };
        no_last(eth.last.map(|last| (bytes(&last), bytes(spec))), self.at(Part::Last))?;
        self.none_of((mask.has_vlan & !1).into(), "a reserved bit")?;
        self.none_of(mask.reserved.into(), "a reserved bit")?;
        self.and(Field::EthDst, mac(&spec.dst), mac(&mask.dst))?;
        self.and(Field::EthSrc, mac(&spec.src), mac(&mask.src))?;
        match (mask.has_vlan & 1, spec.has_vlan & 1) {
            (0, _) => {}
            (_, 0) => self.is(Field::VlanCount, 0)?,
            _ => self.and(Field::VlanTpid, TAGGED, TAGGED)?,
        }
        self.remember_type(spec.ether_type, mask.ether_type)
    }

    fn vlan(&mut self, vlan: &Triple<sys::shim_flow_item_vlan>) -> Result<(), Fault> {
        if self.frame.layer > Layer::Ethernet {
            return self.enter(Layer::Ethernet);
        }
        self.frame.layer = Layer::Ethernet;
        let Triple { spec, mask, .. } = vlan;
        let bytes = |item: &sys::shim_flow_item_vlan| (item.tci, item.inner_type, item.has_more_vlan);
        no_last(vlan.last.map(|last| (bytes(&last), bytes(spec))), self.at(Part::Last))?;
        self.none_of((mask.has_more_vlan & !1).into(), "a reserved bit")?;
        let (tpid, tci) = match self.frame.tags {
            0 => (Field::VlanTpid, Field::VlanTci),
            1 => (Field::InnerVlanTpid, Field::InnerVlanTci),
            _ => return Err(Fault::unsupported(self.at(Part::Type), "a third VLAN tag is not parsed")),
        };
        self.frame.tags += 1;
        match self.frame.pending_type.take() {
            None => self.and(tpid, TAGGED, TAGGED)?,
            Some((value, _)) if EtherType(value).is_vlan() => self.is(tpid, value.into())?,
            Some(_) => {
                let message = "the type before it is not that of a VLAN tag";
                return Err(Fault::invalid(self.at(Part::Type), message));
            }
        }
        self.and(tci, u16::from_be(spec.tci).into(), u16::from_be(mask.tci).into())?;
        match (mask.has_more_vlan & 1, spec.has_more_vlan & 1) {
            (0, _) => {}
            (_, 0) => self.is(Field::VlanCount, self.frame.tags as u128)?,
            _ if self.frame.tags == 1 => self.and(Field::InnerVlanTpid, TAGGED, TAGGED)?,
            _ => self.is(Field::VlanCount, 3)?,
        }
        self.remember_type(spec.inner_type, mask.inner_type)
    }

    fn remember_type(&mut self, spec: u16, mask: u16) -> Result<(), Fault> {
        self.frame.pending_type = match mask {
            0 => None,
            u16::MAX => Some((u16::from_be(spec), self.index)),
            _ => {
                return Err(Fault::unsupported(self.at(Part::Mask), "a type is matched whole or not at all"));
            }
        };
        Ok(())
    }

    /// Nothing but layer 3 follows: the type before is that of the payload, or of a tag about which
    /// nothing else is asked.
    fn settle_type(&mut self) -> Result<(), Fault> {
        let Some((value, index)) = self.frame.pending_type.take() else { return Ok(()) };
        let asking = std::mem::replace(&mut self.index, index);
        let done = match (EtherType(value), self.frame.tags) {
            (kind, 0) if kind.is_vlan() => self.is(Field::VlanTpid, value.into()),
            (kind, 1) if kind.is_vlan() => self.is(Field::InnerVlanTpid, value.into()),
            (kind, _) if kind.is_vlan() => {
                Err(Fault::unsupported(self.at(Part::Spec), "a third VLAN tag is not parsed"))
            }
            (kind, _) if kind.is_length() => {
                Err(Fault::unsupported(self.at(Part::Spec), "the length of an 802.3 frame cannot be matched"))
            }
            (_, tags) => {
                self.is(Field::EthType, value.into()).and_then(|()| self.is(Field::VlanCount, tags as u128))
            }
        };
        self.index = asking;
        done
    }

    fn enter_l3(&mut self, kind: EtherType) -> Result<(), Fault> {
        self.enter(Layer::L3)?;
        self.settle_type()?;
        self.is(Field::EthType, kind.0.into())?;
        self.frame.l3 = Some(kind);
        self.is(Field::L3, L3::Ok as u128)
    }

    fn enter_l4(&mut self, kind: IpProto, over: &[EtherType]) -> Result<(), Fault> {
        if !self.frame.l3.is_some_and(|l3| over.contains(&l3)) {
            return Err(Fault::invalid(
                self.at(Part::Type),
                "the item needs an item of its IP version before it",
            ));
        }
        self.enter(Layer::L4)?;
        self.is(Field::IpProto, kind.0.into())?;
        self.frame.l4 = Some(kind);
        self.is(Field::L4, L4::Ok as u128)
    }

    fn ipv4(&mut self, ip: &Triple<sys::shim_flow_item_ipv4>) -> Result<(), Fault> {
        self.enter_l3(EtherType::IPV4)?;
        let Triple { spec, mask, .. } = ip;
        let ranged = sys::shim_flow_item_ipv4 { fragment_offset: 0, ..*spec };
        let last = ip.last.map(|last| sys::shim_flow_item_ipv4 { fragment_offset: 0, ..last });
        no_last(last.map(|last| (v4_bytes(&last), v4_bytes(&ranged))), self.at(Part::Last))?;
        self.none_of(mask.version_ihl.into(), "version and header length")?;
        self.none_of(mask.total_length.into(), "the total length")?;
        self.none_of(mask.packet_id.into(), "the identification")?;
        self.none_of(mask.checksum.into(), "the checksum")?;
        self.and(Field::IpTos, spec.tos.into(), mask.tos.into())?;
        self.and(Field::IpTtl, spec.ttl.into(), mask.ttl.into())?;
        self.and(Field::IpProto, spec.proto.into(), mask.proto.into())?;
        self.and(Field::IpSrc, v4(&spec.src), v4(&mask.src))?;
        self.and(Field::IpDst, v4(&spec.dst), v4(&mask.dst))?;
        let last = ip.last.map(|last| u16::from_be(last.fragment_offset));
        let (value, bits) =
            fragment::of_ipv4(u16::from_be(spec.fragment_offset), last, u16::from_be(mask.fragment_offset))
                .map_err(|part| {
                let message = "fragments are matched as none, first, later, or all but later ones";
                Fault::unsupported(self.at(part), message)
            })?;
        self.and(Field::IpFrag, value, bits)
    }

    fn ipv6(&mut self, ip: &Triple<sys::shim_flow_item_ipv6>) -> Result<(), Fault> {
        const VERSION: u32 = 0xf000_0000;
        const CLASS: u32 = 0x0ff0_0000;
        self.enter_l3(EtherType::IPV6)?;
        let Triple { spec, mask, .. } = ip;
        let bytes = |item: &sys::shim_flow_item_ipv6| {
            (
                item.vtc_flow,
                item.payload_len,
                item.proto,
                item.hop_limits,
                item.src,
                item.dst,
                item.extensions,
            )
        };
        no_last(ip.last.map(|last| (bytes(&last), bytes(spec))), self.at(Part::Last))?;
        let (vtc, vtc_mask) = (u32::from_be(spec.vtc_flow), u32::from_be(mask.vtc_flow));
        // Every IPv6 packet has this version, so only another one would say anything.
        if (vtc ^ 0x6000_0000) & vtc_mask & VERSION != 0 {
            return Err(Fault::invalid(self.at(Part::Spec), "an IPv6 packet of another version"));
        }
        self.none_of((vtc_mask & !VERSION & !CLASS).into(), "the flow label")?;
        self.none_of(mask.payload_len.into(), "the payload length")?;
        self.none_of((mask.extensions & !fragment::EXTENSION).into(), "an extension header but fragment")?;
        self.and(Field::IpTos, (vtc >> 20 & 0xff).into(), (vtc_mask >> 20 & 0xff).into())?;
        self.and(Field::IpTtl, spec.hop_limits.into(), mask.hop_limits.into())?;
        self.and(Field::IpProto, spec.proto.into(), mask.proto.into())?;
        self.and(Field::IpSrc, u128::from_be_bytes(spec.src), u128::from_be_bytes(mask.src))?;
        self.and(Field::IpDst, u128::from_be_bytes(spec.dst), u128::from_be_bytes(mask.dst))?;
        let (value, bits) = fragment::of_ipv6(spec.extensions, mask.extensions)
            .map_err(|part| Fault::unsupported(self.at(part), "IPv6 fragments are matched as none"))?;
        self.and(Field::IpFrag, value, bits)
    }

    fn arp(&mut self, arp: &Triple<sys::rte_flow_item_arp_eth_ipv4>) -> Result<(), Fault> {
        self.enter_l3(EtherType::ARP)?;
        let Triple { spec, mask, .. } = arp;
        let words = |a: &sys::rte_flow_item_arp_eth_ipv4| {
            (a.hrd, a.pro, a.hln, a.pln, a.op, a.sha.addr_bytes, a.spa, a.tha.addr_bytes, a.tpa)
        };
        no_last(arp.last.map(|last| (words(&last), words(spec))), self.at(Part::Last))?;
        // A whole header is one for Ethernet and IPv4, so these say nothing more.
        let same = |value: u16, expected: u16, mask: u16| (value ^ expected) & mask == 0;
        if !same(u16::from_be(spec.hrd), 1, u16::from_be(mask.hrd))
            || !same(u16::from_be(spec.pro), EtherType::IPV4.0, u16::from_be(mask.pro))
            || !same(spec.hln.into(), 6, mask.hln.into())
            || !same(spec.pln.into(), 4, mask.pln.into())
        {
            return Err(Fault::invalid(self.at(Part::Spec), "ARP for other than Ethernet and IPv4"));
        }
        match (u16::from_be(mask.op), u16::from_be(spec.op)) {
            (0, _) => {}
            (u16::MAX, operation @ 1..=255) => self.is(Field::IpProto, operation.into())?,
            _ => {
                let message = "an ARP operation is matched whole, from 1 to 255, or not at all";
                return Err(Fault::unsupported(self.at(Part::Mask), message));
            }
        }
        self.and(Field::ArpSha, mac(&spec.sha.addr_bytes), mac(&mask.sha.addr_bytes))?;
        self.and(Field::ArpTha, mac(&spec.tha.addr_bytes), mac(&mask.tha.addr_bytes))?;
        self.and(Field::IpSrc, u32::from_be(spec.spa).into(), u32::from_be(mask.spa).into())?;
        self.and(Field::IpDst, u32::from_be(spec.tpa).into(), u32::from_be(mask.tpa).into())
    }

    fn tcp(&mut self, tcp: &Triple<sys::shim_flow_item_tcp>) -> Result<(), Fault> {
        self.enter_l4(IpProto::TCP, &[EtherType::IPV4, EtherType::IPV6])?;
        let Triple { spec, mask, .. } = tcp;
        let words = |t: &sys::shim_flow_item_tcp| {
            (
                t.src_port, t.dst_port, t.sent_seq, t.recv_ack, t.data_off, t.flags, t.rx_win, t.checksum,
                t.urgent,
            )
        };
        no_last(tcp.last.map(|last| (words(&last), words(spec))), self.at(Part::Last))?;
        self.none_of(mask.sent_seq.into(), "the sequence number")?;
        self.none_of(mask.recv_ack.into(), "the acknowledgement number")?;
        self.none_of(mask.data_off.into(), "the data offset")?;
        self.none_of(mask.rx_win.into(), "the window")?;
        self.none_of(mask.checksum.into(), "the checksum")?;
        self.none_of(mask.urgent.into(), "the urgent pointer")?;
        self.and(Field::TcpFlags, spec.flags.into(), mask.flags.into())?;
        self.ports(spec.src_port, mask.src_port, spec.dst_port, mask.dst_port)
    }

    fn udp(&mut self, udp: &Triple<sys::shim_flow_item_udp>) -> Result<(), Fault> {
        self.enter_l4(IpProto::UDP, &[EtherType::IPV4, EtherType::IPV6])?;
        let Triple { spec, mask, .. } = udp;
        let words = |u: &sys::shim_flow_item_udp| (u.src_port, u.dst_port, u.length, u.checksum);
        no_last(udp.last.map(|last| (words(&last), words(spec))), self.at(Part::Last))?;
        self.none_of(mask.length.into(), "the length")?;
        self.none_of(mask.checksum.into(), "the checksum")?;
        self.ports(spec.src_port, mask.src_port, spec.dst_port, mask.dst_port)
    }

    /// A tunnel is looked for behind UDP to its port alone, and the items that follow speak of the frame in it.
    fn vxlan(&mut self, vxlan: &Triple<sys::shim_flow_item_vxlan>) -> Result<(), Fault> {
        const VNI_IS_VALID: u8 = 0x08;
        if self.outer.is_some() {
            return Err(Fault::unsupported(self.at(Part::Type), "a tunnel in a tunnel is not parsed"));
        }
        if self.frame.l4 != Some(IpProto::UDP) {
            return Err(Fault::invalid(self.at(Part::Type), "the item needs a udp item before it"));
        }
        let Triple { spec, mask, .. } = vxlan;
        let bytes = |v: &sys::shim_flow_item_vxlan| (v.flags, v.reserved0, v.vni, v.reserved1);
        no_last(vxlan.last.map(|last| (bytes(&last), bytes(spec))), self.at(Part::Last))?;
        self.none_of((mask.flags & !VNI_IS_VALID).into(), "a reserved bit")?;
        self.none_of(vni(&mask.reserved0) | u128::from(mask.reserved1), "a reserved bit")?;
        if mask.flags & !spec.flags & VNI_IS_VALID != 0 {
            let message = "a VXLAN packet without a valid VNI cannot be matched";
            return Err(Fault::unsupported(self.at(Part::Spec), message));
        }
        let (port, asked) = (self.matches.key().get(Field::L4Dst), self.matches.mask().get(Field::L4Dst));
        if (port ^ u128::from(VXLAN_PORT)) & asked != 0 {
            let at = At::Item { index: self.origin(Field::L4Dst), part: Part::Spec };
            return Err(Fault::unsupported(at, "a vxlan item is matched behind UDP port 4789 only"));
        }
        self.is(Field::L4Dst, VXLAN_PORT.into())?;
        self.is(Field::Tunnel, Tunnel::Vxlan as u128)?;
        self.and(Field::Vni, vni(&spec.vni), vni(&mask.vni))?;
        self.outer = Some(std::mem::take(&mut self.frame));
        Ok(())
    }

    /// Ports as they lie in memory, in network order.
    fn ports(&mut self, src: u16, src_mask: u16, dst: u16, dst_mask: u16) -> Result<(), Fault> {
        self.and(Field::L4Src, u16::from_be(src).into(), u16::from_be(src_mask).into())?;
        self.and(Field::L4Dst, u16::from_be(dst).into(), u16::from_be(dst_mask).into())
    }

    fn icmp(&mut self, icmp: &Triple<sys::shim_flow_item_icmp>) -> Result<(), Fault> {
        self.enter_l4(IpProto::ICMPV4, &[EtherType::IPV4])?;
        let Triple { spec, mask, .. } = icmp;
        let words = |i: &sys::shim_flow_item_icmp| (i.type_, i.code, i.checksum, i.ident, i.seq);
        no_last(icmp.last.map(|last| (words(&last), words(spec))), self.at(Part::Last))?;
        self.none_of((mask.checksum | mask.ident | mask.seq).into(), "what follows the ICMP code")?;
        self.type_and_code(spec.type_, mask.type_, spec.code, mask.code)
    }

    fn icmp6(&mut self, icmp: &Triple<sys::rte_flow_item_icmp6>) -> Result<(), Fault> {
        self.enter_l4(IpProto::ICMPV6, &[EtherType::IPV6])?;
        let Triple { spec, mask, .. } = icmp;
        let words = |i: &sys::rte_flow_item_icmp6| (i.type_, i.code, i.checksum);
        no_last(icmp.last.map(|last| (words(&last), words(spec))), self.at(Part::Last))?;
        self.none_of(mask.checksum.into(), "the checksum")?;
        self.type_and_code(spec.type_, mask.type_, spec.code, mask.code)
    }

    /// The key has a type in the sixteen bits of a port; its upper eight are zero in every packet.
    fn type_and_code(&mut self, kind: u8, kind_mask: u8, code: u8, code_mask: u8) -> Result<(), Fault> {
        let wide = |mask: u8| if mask == u8::MAX { u128::from(u16::MAX) } else { mask.into() };
        self.and(Field::L4Src, kind.into(), wide(kind_mask))?;
        self.and(Field::L4Dst, code.into(), wide(code_mask))
    }
}

/// A range is understood only where it is one value.
fn no_last<T: PartialEq + Default>(last: Option<(T, T)>, at: At) -> Result<(), Fault> {
    match last {
        Some((last, spec)) if last != spec && last != T::default() => {
            Err(Fault::unsupported(at, "a range cannot be matched"))
        }
        _ => Ok(()),
    }
}

type V4Bytes = ((u8, u8, u16, u16, u16), (u8, u8, u16), ([u8; 4], [u8; 4]));

fn v4_bytes(ip: &sys::shim_flow_item_ipv4) -> V4Bytes {
    let first = (ip.version_ihl, ip.tos, ip.total_length, ip.packet_id, ip.fragment_offset);
    (first, (ip.ttl, ip.proto, ip.checksum), (ip.src, ip.dst))
}

fn mac(octets: &[u8; 6]) -> u128 {
    octets.iter().fold(0, |bits, &octet| bits << 8 | u128::from(octet))
}

pub(super) fn vni(octets: &[u8; 3]) -> u128 {
    octets.iter().fold(0, |bits, &octet| bits << 8 | u128::from(octet))
}

fn v4(octets: &[u8; 4]) -> u128 {
    u32::from_be_bytes(*octets).into()
}
