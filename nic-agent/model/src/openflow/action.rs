//! The action half of a flow: `actions=mod_dl_dst:02:00:00:00:00:01,output:vm1`.

use std::net::IpAddr;

use nic_flow::{Action, Field, MAX_ACTIONS, MacAddr};

use super::matches::{self, IPV4, IPV6, Parsed, TAGGED, TCP, UDP};
use super::token::{Token, Value};
use super::{Error, Fault, Step, value};
use crate::name::{Kind, RESERVED_PORTS, ResourceId};

/// Actions of OpenFlow and Open vSwitch that are known and not done by this version.
const REFUSED: &[&str] = &[
    "all",
    "bundle",
    "bundle_load",
    "check_pkt_larger",
    "clone",
    "conjunction",
    "controller",
    "ct",
    "ct_clear",
    "dec_mpls_ttl",
    "dec_nsh_ttl",
    "decap",
    "delete_field",
    "encap",
    "enqueue",
    "exit",
    "fin_timeout",
    "flood",
    "goto_table",
    "group",
    "in_port",
    "learn",
    "load",
    "local",
    "meter",
    "move",
    "multipath",
    "nat",
    "normal",
    "note",
    "pop",
    "pop_mpls",
    "pop_queue",
    "push",
    "push_mpls",
    "reg_load",
    "resubmit",
    "sample",
    "set_mpls_label",
    "set_mpls_tc",
    "set_mpls_ttl",
    "set_queue",
    "set_tunnel",
    "set_tunnel64",
    "table",
    "write_actions",
    "write_metadata",
];

/// What is known of the packet's VLAN tags at an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tags {
    /// There is none.
    None,
    /// There are so many, and perhaps more.
    AtLeast(usize),
}

/// What is known of the packet at an action.
struct Packet {
    eth_type: Option<u16>,
    ip_proto: Option<u8>,
    tags: Tags,
}

/// Reads the words of an action list. `end` is the length of the text.
pub(super) fn parse(words: &[Token<'_>], matched: &Parsed, end: usize) -> Result<Vec<Step>, Error> {
    if words.is_empty() {
        return Err(Error::new(end, "", Fault::EmptyActions));
    }
    let mut packet = Packet { eth_type: matched.eth_type, ip_proto: matched.ip_proto, tags: tags(matched) };
    let mut steps = Vec::new();
    for word in words {
        if word.key.eq_ignore_ascii_case("drop") {
            word.alone()?;
            return if words.len() == 1 { Ok(steps) } else { Err(word.fault(Fault::DropBesides)) };
        }
        packet.action(word, &mut steps)?;
        if steps.len() > MAX_ACTIONS {
            return Err(word.fault(Fault::TooManyActions(MAX_ACTIONS)));
        }
    }
    Ok(steps)
}

fn tags(matched: &Parsed) -> Tags {
    let (key, mask) = (matched.matches.key(), matched.matches.mask());
    let tagged = key.get(Field::VlanTpid) & TAGGED != 0 || key.get(Field::VlanTci) != 0;
    match mask.get(Field::VlanTpid) {
        _ if tagged => Tags::AtLeast(1),
        0 => Tags::AtLeast(0),
        _ => Tags::None,
    }
}

impl Packet {
    /// Reads one action and adds what it does.
    fn action(&mut self, word: &Token<'_>, steps: &mut Vec<Step>) -> Result<(), Error> {
        let name = word.key.to_ascii_lowercase();
        let action = match name.as_str() {
            "output" => {
                steps.push(Step::Output(read(word, port)?));
                return Ok(());
            }
            "push_vlan" => Action::PushVlan { tpid: read(word, tpid)?, tci: 0 },
            "pop_vlan" | "strip_vlan" => {
                word.alone()?;
                Action::PopVlan
            }
            "mod_vlan_vid" | "set_vlan_vid" => Action::SetVlanVid(read(word, |t| small(t, 0xfff))? as u16),
            "mod_vlan_pcp" | "set_vlan_pcp" => Action::SetVlanPcp(read(word, |t| small(t, 7))? as u8),
            "mod_dl_src" => Action::SetEthSrc(read(word, value::mac)?),
            "mod_dl_dst" => Action::SetEthDst(read(word, value::mac)?),
            "mod_nw_src" => Action::SetIpSrc(read(word, value::ipv4)?.into()),
            "mod_nw_dst" => Action::SetIpDst(read(word, value::ipv4)?.into()),
            "mod_nw_tos" => Action::SetIpDscp(read(word, matches::tos)? >> 2),
            "mod_nw_ttl" => Action::SetIpTtl(read(word, |t| small(t, 255))? as u8),
            "dec_ttl" => {
                word.alone()?;
                Action::DecIpTtl
            }
            "mod_tp_src" => Action::SetL4Src(read(word, |t| small(t, 0xffff))? as u16),
            "mod_tp_dst" => Action::SetL4Dst(read(word, |t| small(t, 0xffff))? as u16),
            "set_field" => self.set_field(word)?,
            name if REFUSED.contains(&name) => return Err(word.fault(Fault::UnknownAction)),
            // A bare word is a port.
            _ if word.value.is_none() => {
                let id = port(word.key).map_err(|fault| word.fault(fault))?;
                steps.push(Step::Output(id));
                return Ok(());
            }
            _ => return Err(word.fault(Fault::UnknownAction)),
        };
        self.add(action, name.starts_with("mod_"), steps).map_err(|fault| word.fault(fault))
    }

    /// Adds an action if what is known of the packet gives it one exact meaning.
    fn add(&mut self, action: Action, may_push: bool, steps: &mut Vec<Step>) -> Result<(), Fault> {
        match action {
            Action::PushVlan { .. } => {
                self.tags = match self.tags {
                    Tags::None => Tags::AtLeast(1),
                    Tags::AtLeast(n) => Tags::AtLeast(n + 1),
                };
            }
            Action::PopVlan => {
                if let Tags::AtLeast(n) = self.tags {
                    self.tags = Tags::AtLeast(n.saturating_sub(1));
                }
            }
            Action::SetVlanVid(_) | Action::SetVlanPcp(_) => match self.tags {
                Tags::AtLeast(1..) => {}
                // OpenFlow 1.0 section 5.3: a packet without a tag gets one.
                Tags::None if may_push => {
                    steps.push(Step::Modify(Action::push_ctag(0)));
                    self.tags = Tags::AtLeast(1);
                }
                _ => {
                    return Err(Fault::Prerequisite(
                        "dl_vlan in the match or push_vlan before it: it must be known whether there is a tag",
                    ));
                }
            },
            Action::SetL4Src(_) | Action::SetL4Dst(_) if !self.has_ports() => {
                return Err(Fault::Prerequisite("tcp, udp, tcp6 or udp6 in the match"));
            }
            _ => {}
        }
        steps.push(Step::Modify(action));
        Ok(())
    }

    fn has_ports(&self) -> bool {
        matches!((self.eth_type, self.ip_proto), (Some(IPV4 | IPV6), Some(TCP | UDP)))
    }

    /// `set_field:VALUE->FIELD`; unlike the older actions it must have its prerequisites
    /// (OpenFlow 1.3 section 7.2.5).
    fn set_field(&self, word: &Token<'_>) -> Result<Action, Error> {
        let whole = word.value()?;
        let arrow = Fault::Expected("VALUE->FIELD, such as 10.10.1.5->ip_src");
        let (text, name) = whole.text.split_once("->").ok_or_else(|| whole.fault(arrow))?;
        let field = Value { at: whole.at + text.len() + 2, text: name };
        if text.contains('/') {
            return Err(whole.fault(Fault::Unsupported("only whole fields can be set")));
        }
        let number = |max| small(text, max);
        let ip = |eth_type: Option<u16>| matches!(eth_type, Some(IPV4 | IPV6));
        let (has, needs, action) = match name {
            "eth_src" | "dl_src" => (true, "", value::mac(text).map(Action::SetEthSrc)),
            "eth_dst" | "dl_dst" => (true, "", value::mac(text).map(Action::SetEthDst)),
            "ip_src" | "nw_src" => (self.eth_type == Some(IPV4), "ip", ipv4(text).map(Action::SetIpSrc)),
            "ip_dst" | "nw_dst" => (self.eth_type == Some(IPV4), "ip", ipv4(text).map(Action::SetIpDst)),
            "ipv6_src" => (self.eth_type == Some(IPV6), "ipv6", ipv6(text).map(Action::SetIpSrc)),
            "ipv6_dst" => (self.eth_type == Some(IPV6), "ipv6", ipv6(text).map(Action::SetIpDst)),
            "ip_dscp" => (ip(self.eth_type), "ip or ipv6", number(63).map(|n| Action::SetIpDscp(n as u8))),
            "nw_tos" => {
                (ip(self.eth_type), "ip or ipv6", matches::tos(text).map(|n| Action::SetIpDscp(n >> 2)))
            }
            "ip_ttl" | "nw_ttl" => {
                (ip(self.eth_type), "ip or ipv6", number(255).map(|n| Action::SetIpTtl(n as u8)))
            }
            "tp_src" => (self.has_ports(), "tcp or udp", number(0xffff).map(|n| Action::SetL4Src(n as u16))),
            "tp_dst" => (self.has_ports(), "tcp or udp", number(0xffff).map(|n| Action::SetL4Dst(n as u16))),
            "tcp_src" => (self.ports_of(TCP), "tcp", number(0xffff).map(|n| Action::SetL4Src(n as u16))),
            "tcp_dst" => (self.ports_of(TCP), "tcp", number(0xffff).map(|n| Action::SetL4Dst(n as u16))),
            "udp_src" => (self.ports_of(UDP), "udp", number(0xffff).map(|n| Action::SetL4Src(n as u16))),
            "udp_dst" => (self.ports_of(UDP), "udp", number(0xffff).map(|n| Action::SetL4Dst(n as u16))),
            "vlan_vid" => (true, "", vid(text).map(Action::SetVlanVid)),
            "vlan_pcp" => (true, "", number(7).map(|n| Action::SetVlanPcp(n as u8))),
            _ => return Err(field.fault(Fault::UnknownField)),
        };
        if !has {
            return Err(field.fault(Fault::Prerequisite(needs)));
        }
        action.map_err(|fault| Value { at: whole.at, text }.fault(fault))
    }

    fn ports_of(&self, proto: u8) -> bool {
        self.has_ports() && self.ip_proto == Some(proto)
    }
}

fn read<T>(word: &Token<'_>, read: impl FnOnce(&str) -> Result<T, Fault>) -> Result<T, Error> {
    let value = word.value()?;
    read(value.text).map_err(|fault| value.fault(fault))
}

fn small(text: &str, max: u64) -> Result<u64, Fault> {
    value::number(text, 0, max)
}

fn ipv4(text: &str) -> Result<IpAddr, Fault> {
    value::ipv4(text).map(IpAddr::from)
}

fn ipv6(text: &str) -> Result<IpAddr, Fault> {
    value::ipv6(text).map(IpAddr::from)
}

/// A VLAN id with OpenFlow's OFPVID_PRESENT.
fn vid(text: &str) -> Result<u16, Fault> {
    match small(text, 0x1fff)? {
        vid if vid & 0x1000 != 0 => Ok(vid as u16 & 0xfff),
        _ => Err(Fault::Expected("a VLAN id plus 4096, which says that there is a tag, such as 0x1005")),
    }
}

fn tpid(text: &str) -> Result<u16, Fault> {
    match small(text, 0xffff)? {
        tpid @ (0x8100 | 0x88a8) => Ok(tpid as u16),
        _ => Err(Fault::Expected("0x8100 or 0x88a8")),
    }
}

fn port(text: &str) -> Result<ResourceId, Fault> {
    if RESERVED_PORTS.iter().any(|word| word.eq_ignore_ascii_case(text)) {
        return Err(Fault::UnknownAction);
    }
    Kind::Port.id(text).map_err(Fault::Port)
}

/// Merges an action into the one before it where both together push one tag. Returns whether it did.
pub(super) fn fold(last: Option<&mut Action>, action: Action) -> bool {
    match (last, action) {
        (Some(Action::PushVlan { tci, .. }), Action::SetVlanVid(vid)) => *tci = (*tci & 0xf000) | vid,
        (Some(Action::PushVlan { tci, .. }), Action::SetVlanPcp(pcp)) => {
            *tci = (*tci & 0x1fff) | (u16::from(pcp) << 13);
        }
        _ => return false,
    }
    true
}

/// An action list in canonical form.
pub(super) fn text(steps: &[Step]) -> String {
    if steps.is_empty() {
        return "drop".to_owned();
    }
    let words = steps.iter().map(|step| match step {
        Step::Output(port) => format!("output:{port}"),
        Step::Modify(action) => modify_text(action),
    });
    words.collect::<Vec<_>>().join(",")
}

fn modify_text(action: &Action) -> String {
    let mac = |name: &str, mac: &MacAddr| format!("{name}:{mac}");
    match action {
        Action::Output(device) => format!("output:{device}"),
        Action::PushVlan { tpid, .. } => format!("push_vlan:{tpid:#06x}"),
        Action::PopVlan => "pop_vlan".to_owned(),
        Action::SetVlanVid(vid) => format!("mod_vlan_vid:{vid}"),
        Action::SetVlanPcp(pcp) => format!("mod_vlan_pcp:{pcp}"),
        Action::SetEthSrc(address) => mac("mod_dl_src", address),
        Action::SetEthDst(address) => mac("mod_dl_dst", address),
        Action::SetIpSrc(IpAddr::V4(ip)) => format!("mod_nw_src:{ip}"),
        Action::SetIpDst(IpAddr::V4(ip)) => format!("mod_nw_dst:{ip}"),
        Action::SetIpSrc(IpAddr::V6(ip)) => format!("set_field:{ip}->ipv6_src"),
        Action::SetIpDst(IpAddr::V6(ip)) => format!("set_field:{ip}->ipv6_dst"),
        Action::SetIpDscp(dscp) => format!("mod_nw_tos:{}", dscp << 2),
        Action::SetIpTtl(ttl) => format!("mod_nw_ttl:{ttl}"),
        Action::DecIpTtl => "dec_ttl".to_owned(),
        Action::SetL4Src(port) => format!("mod_tp_src:{port}"),
        Action::SetL4Dst(port) => format!("mod_tp_dst:{port}"),
        // The parser makes none of these: they are how bridges forward.
        Action::SetIpEcn(_) | Action::EncapVxlan(_) | Action::DecapVxlan | Action::Flood(_) => {
            action.to_string()
        }
    }
}
