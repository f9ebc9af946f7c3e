//! The match half of a flow: `ip,nw_src=10.10.1.0/24,tp_dst=80`.
//!
//! Words are read twice: first those that say which protocol it is, then the fields, whose meaning
//! depends on it. So the order in which they are typed does not matter.

use std::net::{Ipv4Addr, Ipv6Addr};

use nic_flow::field::{L3, L4};
use nic_flow::key::mac_from_bits;
use nic_flow::{Field, FlowKey, Match};

use super::token::{Token, Words};
use super::value::{self, Masked};
use super::{Error, Fault};
use crate::name::{Kind, ResourceId};

pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;
const RARP: u16 = 0x8035;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;
const SCTP: u8 = 132;

/// The highest bit of the tag protocol identifier is set in 0x8100 and in 0x88a8 and clear where
/// there is no tag: it alone tells a tagged packet from an untagged one.
pub(super) const TAGGED: u128 = 0x8000;
/// The bit that stands for "has a tag" in OpenFlow's `vlan_tci` and `vlan_vid`, where the header has DEI.
const PRESENT: u128 = 0x1000;
const VID: u128 = 0x0fff;
const PCP: u128 = 0xe000;

/// Words that stand for a protocol, the canonical one first.
const PROTOCOLS: &[(&str, u16, Option<u8>)] = &[
    ("ip", IPV4, None),
    ("ipv6", IPV6, None),
    ("arp", ARP, None),
    ("rarp", RARP, None),
    ("tcp", IPV4, Some(TCP)),
    ("udp", IPV4, Some(UDP)),
    ("icmp", IPV4, Some(ICMP)),
    ("sctp", IPV4, Some(SCTP)),
    ("tcp6", IPV6, Some(TCP)),
    ("udp6", IPV6, Some(UDP)),
    ("icmp6", IPV6, Some(ICMP6)),
    ("sctp6", IPV6, Some(SCTP)),
];

/// Words of OpenFlow that are known and have no meaning here.
const REFUSED: &[(&str, &str)] = &[
    ("cookie", "flows have no cookie: the resource's name tells them apart"),
    ("idle_timeout", "flows do not time out: delete the resource"),
    ("hard_timeout", "flows do not time out: delete the resource"),
    ("importance", "flows are never evicted"),
    ("send_flow_rem", "watch the resource instead"),
    ("check_overlap", "the resource's condition Accepted tells of overlaps"),
];

/// The match half of a flow.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) priority: Option<u16>,
    pub(super) in_port: Option<ResourceId>,
    pub(super) matches: Match,
    pub(super) eth_type: Option<u16>,
    pub(super) ip_proto: Option<u8>,
    table: bool,
}

/// How the value of a word is written and which bits of which field it stands for.
#[derive(Debug, Clone, Copy)]
enum Form {
    Mac(Field),
    Ipv4(Field),
    Ipv6(Field),
    /// A number up to a limit, without mask.
    Number(Field, u64),
    /// A port, with an optional mask.
    Port(Field),
    /// DSCP and two zero bits.
    Tos,
    Dscp,
    Ecn,
    TcpFlags,
    Fragment,
    VlanId,
    VlanPcp,
    /// Tag control information with [`PRESENT`], under a mask of these bits.
    VlanTci(u128),
}

/// What a word needs beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    Ipv4,
    Ipv6,
    AnyIp,
    Arp,
    Tcp,
    Udp,
    TcpOrUdp,
    Icmp,
    Icmp6,
    AnyIcmp,
}

/// Every field, by its words.
const FIELDS: &[(&[&str], Form, Needs)] = &[
    (&["dl_src", "eth_src"], Form::Mac(Field::EthSrc), Needs::Nothing),
    (&["dl_dst", "eth_dst"], Form::Mac(Field::EthDst), Needs::Nothing),
    (&["dl_vlan"], Form::VlanId, Needs::Nothing),
    (&["dl_vlan_pcp", "vlan_pcp"], Form::VlanPcp, Needs::Nothing),
    (&["vlan_tci"], Form::VlanTci(0xffff), Needs::Nothing),
    (&["vlan_vid"], Form::VlanTci(0x1fff), Needs::Nothing),
    (&["nw_src", "ip_src"], Form::Ipv4(Field::IpSrc), Needs::Ipv4),
    (&["nw_dst", "ip_dst"], Form::Ipv4(Field::IpDst), Needs::Ipv4),
    (&["ipv6_src"], Form::Ipv6(Field::IpSrc), Needs::Ipv6),
    (&["ipv6_dst"], Form::Ipv6(Field::IpDst), Needs::Ipv6),
    (&["nw_tos"], Form::Tos, Needs::AnyIp),
    (&["ip_dscp"], Form::Dscp, Needs::AnyIp),
    (&["nw_ecn", "ip_ecn"], Form::Ecn, Needs::AnyIp),
    (&["nw_ttl", "ip_ttl"], Form::Number(Field::IpTtl, 255), Needs::AnyIp),
    (&["nw_frag", "ip_frag"], Form::Fragment, Needs::AnyIp),
    (&["tp_src"], Form::Port(Field::L4Src), Needs::TcpOrUdp),
    (&["tp_dst"], Form::Port(Field::L4Dst), Needs::TcpOrUdp),
    (&["tcp_src"], Form::Port(Field::L4Src), Needs::Tcp),
    (&["tcp_dst"], Form::Port(Field::L4Dst), Needs::Tcp),
    (&["udp_src"], Form::Port(Field::L4Src), Needs::Udp),
    (&["udp_dst"], Form::Port(Field::L4Dst), Needs::Udp),
    (&["tcp_flags"], Form::TcpFlags, Needs::Tcp),
    (&["icmp_type"], Form::Number(Field::L4Src, 255), Needs::AnyIcmp),
    (&["icmp_code"], Form::Number(Field::L4Dst, 255), Needs::AnyIcmp),
    (&["icmpv6_type"], Form::Number(Field::L4Src, 255), Needs::Icmp6),
    (&["icmpv6_code"], Form::Number(Field::L4Dst, 255), Needs::Icmp6),
    (&["icmpv4_type"], Form::Number(Field::L4Src, 255), Needs::Icmp),
    (&["icmpv4_code"], Form::Number(Field::L4Dst, 255), Needs::Icmp),
    (&["arp_spa"], Form::Ipv4(Field::IpSrc), Needs::Arp),
    (&["arp_tpa"], Form::Ipv4(Field::IpDst), Needs::Arp),
    (&["arp_sha"], Form::Mac(Field::ArpSha), Needs::Arp),
    (&["arp_tha"], Form::Mac(Field::ArpTha), Needs::Arp),
];

/// Reads the words of a match.
pub(super) fn parse(words: &[Token<'_>]) -> Result<Parsed, Error> {
    let mut parsed = Parsed::default();
    for word in words {
        parsed.protocol(word)?;
    }
    for word in words {
        parsed.protocol_number(word)?;
    }
    parsed.match_protocols();
    for word in words {
        parsed.field(word)?;
    }
    Ok(parsed)
}

impl Parsed {
    /// A word that says what the EtherType is, and perhaps the IP protocol.
    fn protocol(&mut self, word: &Token<'_>) -> Result<(), Error> {
        if let Some(&(_, eth_type, ip_proto)) = PROTOCOLS.iter().find(|row| row.0 == word.key) {
            word.alone()?;
            agree(&mut self.eth_type, eth_type).map_err(|fault| word.fault(fault))?;
            return ip_proto
                .map_or(Ok(()), |n| agree(&mut self.ip_proto, n).map_err(|fault| word.fault(fault)));
        }
        if matches!(word.key, "dl_type" | "eth_type") {
            let value = word.value()?;
            let number = value::number(value.text, 0, 0xffff).map_err(|fault| value.fault(fault))?;
            return agree(&mut self.eth_type, number as u16).map_err(|fault| word.fault(fault));
        }
        Ok(())
    }

    /// A word that says what the IP protocol or the ARP operation is.
    fn protocol_number(&mut self, word: &Token<'_>) -> Result<(), Error> {
        let (min, fits, needs) = match (word.key, self.eth_type) {
            // An operation above 255 is kept as 0, so 0 stands for too many to be matched.
            ("nw_proto", Some(ARP)) => (1, true, ""),
            ("nw_proto" | "ip_proto", eth_type) => (0, is_ip(eth_type), "ip or ipv6"),
            ("arp_op", eth_type) => (1, eth_type == Some(ARP), "arp"),
            _ => return Ok(()),
        };
        if !fits {
            return Err(word.fault(Fault::Prerequisite(needs)));
        }
        let value = word.value()?;
        let number = value::number(value.text, min, 0xff).map_err(|fault| value.fault(fault))?;
        agree(&mut self.ip_proto, number as u8).map_err(|fault| word.fault(fault))
    }

    fn match_protocols(&mut self) {
        if let Some(eth_type) = self.eth_type {
            self.matches = self.matches.is(Field::EthType, eth_type.into());
            if matches!(eth_type, IPV4 | IPV6 | ARP) {
                self.matches = self.matches.is(Field::L3, L3::Ok as u128);
            }
        }
        if let Some(ip_proto) = self.ip_proto {
            self.matches = self.matches.is(Field::IpProto, ip_proto.into());
        }
    }

    /// Any other word.
    fn field(&mut self, word: &Token<'_>) -> Result<(), Error> {
        match word.key {
            "dl_type" | "eth_type" | "nw_proto" | "ip_proto" | "arp_op" => return Ok(()),
            name if PROTOCOLS.iter().any(|row| row.0 == name) => return Ok(()),
            "priority" => {
                let priority = value(word, |text| value::number(text, 0, 0xffff))? as u16;
                return once(&mut self.priority, priority).map_err(|fault| word.fault(fault));
            }
            "in_port" => {
                let port = value(word, |text| Kind::Port.id(text).map_err(Fault::Port))?;
                return once(&mut self.in_port, port).map_err(|fault| word.fault(fault));
            }
            "table" => {
                value(word, |text| match value::number(text, 0, 255)? {
                    0 => Ok(()),
                    _ => Err(Fault::Unsupported("there is one table, table 0")),
                })?;
                let again = std::mem::replace(&mut self.table, true);
                return if again { Err(word.fault(Fault::Repeated)) } else { Ok(()) };
            }
            _ => {}
        }
        if let Some((_, why)) = REFUSED.iter().find(|row| row.0 == word.key) {
            return Err(word.fault(Fault::Unsupported(why)));
        }
        let row = FIELDS.iter().find(|row| row.0.contains(&word.key));
        let &(_, form, needs) = row.ok_or_else(|| word.fault(Fault::UnknownField))?;
        if let Some(missing) = self.missing(needs) {
            return Err(word.fault(Fault::Prerequisite(missing)));
        }
        let found = value(word, |text| form.read(text))?;
        for (field, masked) in found.into_iter().flatten() {
            self.set(field, masked).map_err(|fault| word.fault(fault))?;
        }
        Ok(())
    }

    /// What a word lacks, if anything.
    fn missing(&self, needs: Needs) -> Option<&'static str> {
        let (eth, proto) = (self.eth_type, self.ip_proto.filter(|_| is_ip(self.eth_type)));
        let icmp = eth == Some(IPV4) && proto == Some(ICMP);
        let icmp6 = eth == Some(IPV6) && proto == Some(ICMP6);
        let (fits, text) = match needs {
            Needs::Nothing => (true, ""),
            Needs::Ipv4 => (eth == Some(IPV4), "ip"),
            Needs::Ipv6 => (eth == Some(IPV6), "ipv6"),
            Needs::AnyIp => (is_ip(eth), "ip or ipv6"),
            Needs::Arp => (eth == Some(ARP), "arp"),
            Needs::Tcp => (proto == Some(TCP), "tcp or tcp6"),
            Needs::Udp => (proto == Some(UDP), "udp or udp6"),
            Needs::TcpOrUdp => (matches!(proto, Some(TCP | UDP)), "tcp, udp, tcp6 or udp6"),
            Needs::Icmp => (icmp, "icmp"),
            Needs::Icmp6 => (icmp6, "icmp6"),
            Needs::AnyIcmp => (icmp || icmp6, "icmp or icmp6"),
        };
        (!fits).then_some(text)
    }

    /// Matches some bits of a field.
    fn set(&mut self, field: Field, masked: Masked) -> Result<(), Fault> {
        let both = self.matches.mask().get(field) & masked.mask;
        if both != 0 {
            // Every word about the tag says that there is one, or that there is none.
            if field != Field::VlanTpid {
                return Err(Fault::Repeated);
            }
            if (self.matches.key().get(field) ^ masked.value) & both != 0 {
                return Err(Fault::Conflict);
            }
        }
        self.matches = self.matches.and(field, masked.value, masked.mask);
        // All of these are behind the layer-4 header's status.
        if masked.mask != 0 && field.prerequisites().contains(&Field::L4) {
            self.matches = self.matches.is(Field::L4, L4::Ok as u128);
        }
        Ok(())
    }
}

/// The bits that a word stands for: at most two fields.
type Found = [Option<(Field, Masked)>; 2];

impl Form {
    fn read(self, text: &str) -> Result<Found, Fault> {
        let one = |field, masked| [Some((field, masked)), None];
        let exact = |value: u64, max: u64| Masked::new(value.into(), max.into());
        Ok(match self {
            Form::Mac(field) => one(field, value::masked_mac(text)?),
            Form::Ipv4(field) => one(field, value::masked_ipv4(text)?),
            Form::Ipv6(field) => one(field, value::masked_ipv6(text)?),
            Form::Number(field, max) => {
                one(field, Masked::new(value::number(text, 0, max)?.into(), field.max()))
            }
            Form::Port(field) => one(field, value::masked_number(text, 0xffff)?),
            Form::Tos => one(Field::IpTos, exact(tos(text)?.into(), 0xfc)),
            Form::Dscp => one(Field::IpTos, exact(value::number(text, 0, 63)? << 2, 0xfc)),
            Form::Ecn => one(Field::IpTos, exact(value::number(text, 0, 3)?, 0x03)),
            Form::TcpFlags => one(Field::TcpFlags, value::tcp_flags(text)?),
            Form::Fragment => one(Field::IpFrag, fragment(text)?),
            Form::VlanId => match value::number(text, 0, 0xffff)? {
                // OpenFlow 1.0 section 5.2.3: OFP_VLAN_NONE.
                0xffff => tag(0, PRESENT)?,
                vid if vid <= 0xfff => tag(PRESENT | u128::from(vid), PRESENT | VID)?,
                _ => return Err(Fault::Expected("a VLAN id in 0..=4095, or 0xffff for no tag")),
            },
            Form::VlanPcp => tag(PRESENT | u128::from(value::number(text, 0, 7)?) << 13, PRESENT | PCP)?,
            Form::VlanTci(bits) => {
                let masked = value::masked_number(text, bits as u64)?;
                tag(masked.value, masked.mask)?
            }
        })
    }
}

/// A match on tag control information in OpenFlow's terms, where [`PRESENT`] stands for a tag.
fn tag(value: u128, mask: u128) -> Result<Found, Fault> {
    let tci = Masked::new(value, mask & (VID | PCP));
    if mask & PRESENT == 0 {
        return Ok([Some((Field::VlanTci, tci)), None]);
    }
    if value & PRESENT == 0 {
        if tci.value != 0 {
            return Err(Fault::Expected("a value with 0x1000, which says that there is a tag, or 0"));
        }
        return Ok([Some((Field::VlanTpid, Masked::new(0, TAGGED))), None]);
    }
    Ok([Some((Field::VlanTpid, Masked::new(TAGGED, TAGGED))), Some((Field::VlanTci, tci))])
}

/// A type of service with the two bits of ECN zero; OpenFlow leaves those to `nw_ecn`.
pub(super) fn tos(text: &str) -> Result<u8, Fault> {
    match value::number(text, 0, 255)? {
        tos if tos & 3 == 0 => Ok(tos as u8),
        _ => Err(Fault::Expected("a multiple of 4: the two lowest bits are nw_ecn")),
    }
}

fn fragment(text: &str) -> Result<Masked, Fault> {
    Ok(match text {
        "no" => Masked::new(0, 3),
        "first" => Masked::new(1, 3),
        "later" => Masked::new(2, 3),
        "not_later" => Masked::new(0, 2),
        "yes" => return Err(Fault::Unsupported("write one flow with first and one with later instead")),
        _ => return Err(Fault::Expected("one of no, first, later and not_later")),
    })
}

fn is_ip(eth_type: Option<u16>) -> bool {
    matches!(eth_type, Some(IPV4 | IPV6))
}

/// Reads the value of a word.
fn value<T>(word: &Token<'_>, read: impl FnOnce(&str) -> Result<T, Fault>) -> Result<T, Error> {
    let value = word.value()?;
    read(value.text).map_err(|fault| value.fault(fault))
}

/// Keeps what is said, which may be said again.
fn agree<T: PartialEq>(slot: &mut Option<T>, value: T) -> Result<(), Fault> {
    if slot.as_ref().is_some_and(|before| *before != value) {
        return Err(Fault::Conflict);
    }
    *slot = Some(value);
    Ok(())
}

/// Keeps what may be said once.
fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Fault> {
    if slot.is_some() {
        return Err(Fault::Repeated);
    }
    *slot = Some(value);
    Ok(())
}

/// Reads the fields of a packet.
pub(super) fn parse_packet(words: &Words<'_>) -> Result<FlowKey, Error> {
    const NOT_HERE: Fault = Fault::Unsupported("a packet's fields do not include it");
    if words.actions.is_some() {
        return Err(Error::new(words.end, "actions", NOT_HERE));
    }
    for word in &words.matches {
        if matches!(word.key, "priority" | "in_port" | "table") {
            return Err(word.fault(NOT_HERE));
        }
        if let Some(value) = word.value.filter(|value| value.text.contains('/')) {
            return Err(value.fault(Fault::Expected("one value, without mask")));
        }
    }
    let parsed = parse(&words.matches)?;
    let mut key = *parsed.matches.key();
    if key.get(Field::VlanTpid) != 0 || key.get(Field::VlanTci) != 0 {
        key.set(Field::VlanTpid, 0x8100);
        key.set(Field::VlanCount, 1);
    }
    let has_ports = is_ip(parsed.eth_type) && matches!(parsed.ip_proto, Some(TCP | UDP | ICMP | ICMP6));
    if has_ports && key.get(Field::IpFrag) == 2 {
        key.set(Field::L4, L4::LaterFragment as u128);
    } else if has_ports {
        key.set(Field::L4, L4::Ok as u128);
    }
    Ok(key)
}

/// The words of a match, in canonical form.
pub(super) fn words(matches: &Match, out: &mut Vec<String>) {
    let (key, mask) = (matches.key(), matches.mask());
    let masked = |field: Field| Masked::new(key.get(field), mask.get(field));
    let eth_type = (mask.get(Field::EthType) != 0).then(|| key.eth_type());
    let proto = (mask.get(Field::IpProto) != 0).then(|| key.get(Field::IpProto) as u8);
    protocol_words(eth_type, proto, out);
    for (field, word) in [(Field::EthSrc, "dl_src"), (Field::EthDst, "dl_dst")] {
        mac_word(word, masked(field), out);
    }
    tag_words(masked(Field::VlanTpid), masked(Field::VlanTci), out);
    let (source, destination) = match eth_type {
        Some(ARP) => ("arp_spa", "arp_tpa"),
        Some(IPV6) => ("ipv6_src", "ipv6_dst"),
        _ => ("nw_src", "nw_dst"),
    };
    for (field, word) in [(Field::IpSrc, source), (Field::IpDst, destination)] {
        ip_word(word, masked(field), eth_type == Some(IPV6), out);
    }
    for (field, word) in [(Field::ArpSha, "arp_sha"), (Field::ArpTha, "arp_tha")] {
        mac_word(word, masked(field), out);
    }
    let tos = masked(Field::IpTos);
    if tos.mask & 0xfc != 0 {
        out.push(format!("nw_tos={}", tos.value & 0xfc));
    }
    if tos.mask & 0x03 != 0 {
        out.push(format!("nw_ecn={}", tos.value & 0x03));
    }
    if mask.get(Field::IpTtl) != 0 {
        out.push(format!("nw_ttl={}", key.get(Field::IpTtl)));
    }
    out.extend(fragment_word(masked(Field::IpFrag)).map(|word| format!("nw_frag={word}")));
    let (source, destination) = match proto {
        Some(ICMP | ICMP6) => ("icmp_type", "icmp_code"),
        _ => ("tp_src", "tp_dst"),
    };
    for (field, word) in [(Field::L4Src, source), (Field::L4Dst, destination)] {
        match masked(field) {
            Masked { mask: 0, .. } => {}
            Masked { value, mask: 0xffff } => out.push(format!("{word}={value}")),
            Masked { value, mask } => out.push(format!("{word}={value:#06x}/{mask:#06x}")),
        }
    }
    let flags = masked(Field::TcpFlags);
    if flags.mask != 0 {
        out.push(format!("tcp_flags={}", value::tcp_flags_text(flags)));
    }
}

fn protocol_words(eth_type: Option<u16>, proto: Option<u8>, out: &mut Vec<String>) {
    let Some(eth_type) = eth_type else { return };
    let row = |proto| PROTOCOLS.iter().find(|row| (row.1, row.2) == (eth_type, proto)).map(|row| row.0);
    if let Some(word) = row(proto) {
        out.push(word.to_owned());
        return;
    }
    out.push(row(None).map_or_else(|| format!("dl_type={eth_type:#06x}"), str::to_owned));
    let word = if eth_type == ARP { "arp_op" } else { "nw_proto" };
    out.extend(proto.map(|proto| format!("{word}={proto}")));
}

fn mac_word(word: &str, masked: Masked, out: &mut Vec<String>) {
    let (value, mask) = (mac_from_bits(masked.value), mac_from_bits(masked.mask));
    if mask.is_broadcast() {
        out.push(format!("{word}={value}"));
    } else if !mask.is_zero() {
        out.push(format!("{word}={value}/{mask}"));
    }
}

fn tag_words(tpid: Masked, tci: Masked, out: &mut Vec<String>) {
    if tpid.mask != 0 && tpid.value == 0 {
        out.push("dl_vlan=0xffff".to_owned());
        if tci.mask != 0 {
            out.push(format!("vlan_tci={:#06x}/{:#06x}", tci.value, tci.mask));
        }
        return;
    }
    let whole = |bits| tci.mask & bits == bits || tci.mask & bits == 0;
    if tpid.mask != 0 && tci.mask != 0 && whole(VID) && whole(PCP) {
        if tci.mask & VID != 0 {
            out.push(format!("dl_vlan={}", tci.value & VID));
        }
        if tci.mask & PCP != 0 {
            out.push(format!("dl_vlan_pcp={}", tci.value >> 13));
        }
    } else if tpid.mask != 0 {
        out.push(format!("vlan_tci={:#06x}/{:#06x}", tci.value | PRESENT, tci.mask | PRESENT));
    } else if tci.mask != 0 {
        out.push(format!("vlan_tci={:#06x}/{:#06x}", tci.value, tci.mask));
    }
}

fn ip_word(word: &str, masked: Masked, ipv6: bool, out: &mut Vec<String>) {
    if masked.mask == 0 {
        return;
    }
    let width = if ipv6 { 128 } else { 32 };
    let text = |bits: u128| {
        if ipv6 {
            Ipv6Addr::from_bits(bits).to_string()
        } else {
            Ipv4Addr::from_bits(bits as u32).to_string()
        }
    };
    let value = text(masked.value);
    out.push(match value::prefix_length(masked.mask, width) {
        Some(length) if length == width => format!("{word}={value}"),
        Some(length) => format!("{word}={value}/{length}"),
        None => format!("{word}={value}/{}", text(masked.mask)),
    });
}

fn fragment_word(masked: Masked) -> Option<&'static str> {
    match (masked.value, masked.mask) {
        (_, 0) => None,
        (_, 2) => Some("not_later"),
        (0, _) => Some("no"),
        (1, _) => Some("first"),
        _ => Some("later"),
    }
}
