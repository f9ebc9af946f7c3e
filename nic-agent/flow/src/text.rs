//! The text form of matches and actions, driven by the table of fields.
//!
//! A match is a list of `field=value` or `field=value/mask`, separated by commas, or `any`; an action
//! list is `name` or `name(argument)`, separated by commas, or `drop`. What is printed reads back as the
//! same value.
//!
//! ```
//! use nic_flow::{ActionList, Match, text};
//!
//! let flow: Match = "in_port=pf0vf0,eth_type=0x0800,l3=1,ip_dst=10.10.1.0/0xffffff00".parse()?;
//! let actions: ActionList = text::parse_actions("dec_ip_ttl,output(p0)")?;
//! assert_eq!(flow.to_string(), "in_port=pf0vf0,eth_type=0x0800,l3=1,ip_dst=10.10.1.0/0xffffff00");
//! assert_eq!(text::actions(&actions).to_string(), "dec_ip_ttl,output(p0)");
//! # Ok::<(), text::ParseError>(())
//! ```

use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use core::str::FromStr;

use nic_wire::MacAddr;

use crate::action::{Action, ActionList, Flood, VxlanEncap};
use crate::field::{Field, Kind};
use crate::key::{FlowKey, ip_to_bits, mac_from_bits, mac_to_bits};
use crate::mask::{FlowMask, Match};
use crate::port::PortId;
use crate::rule::Rule;
use crate::seam::ActionKind;

/// Why a text is no match or no action list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseError {
    /// The part at this byte is not `field=value`, or not `action` or `action(argument)`.
    Form(usize),
    /// The part at this byte names no field or no action.
    Name(usize),
    /// The part at this byte names a field a second time.
    Twice(usize),
    /// The value or argument in the part at this byte is not one of its kind, or too large.
    Value(usize),
    /// There are more actions than a list holds.
    TooMany,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseError::Form(at) => write!(f, "at byte {at}: not of the form that a part has"),
            ParseError::Name(at) => write!(f, "at byte {at}: unknown name"),
            ParseError::Twice(at) => write!(f, "at byte {at}: the field was given before"),
            ParseError::Value(at) => write!(f, "at byte {at}: not a value of that kind"),
            ParseError::TooMany => write!(f, "more than {} actions", crate::MAX_ACTIONS),
        }
    }
}

impl core::error::Error for ParseError {}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mask().is_empty() {
            return f.write_str("any");
        }
        for (index, field) in self.mask().fields().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{field}={}", Value { field, key: self.key() })?;
            let mask = self.mask().get(field);
            if mask != field.max() {
                write!(f, "/{mask:#x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut mask = FlowMask::exact(Field::InPort);
        for &field in Field::ALL {
            if self.get(field) != 0 {
                mask = mask.with(field, u128::MAX);
            }
        }
        Match::new(*self, mask).fmt(f)
    }
}

struct Value<'a> {
    field: Field,
    key: &'a FlowKey,
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.key.get(self.field);
        match self.field.kind() {
            Kind::Port => PortId::from_bits(bits as u16).fmt(f),
            Kind::Decimal => write!(f, "{bits}"),
            Kind::Hex => write!(f, "{bits:#06x}"),
            Kind::Mac => mac_from_bits(bits).fmt(f),
            // Without the EtherType in the match, the bits alone decide; both forms read back the same.
            Kind::Ip | Kind::TunIp => match self.key.ip(self.field) {
                IpAddr::V4(ip) if bits <= u128::from(u32::MAX) => ip.fmt(f),
                _ => Ipv6Addr::from_bits(bits).fmt(f),
            },
        }
    }
}

/// The parts of a comma-separated text, each with the byte at which it starts.
fn parts(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split(',').map(move |part| (part.as_ptr() as usize - text.as_ptr() as usize, part))
}

fn number(text: &str) -> Option<u128> {
    match text.strip_prefix("0x") {
        Some(hex) if !hex.starts_with('+') => u128::from_str_radix(hex, 16).ok(),
        Some(_) => None,
        None if text.starts_with('+') => None,
        None => text.parse().ok(),
    }
}

fn field_value(field: Field, text: &str) -> Option<u128> {
    let bits = match field.kind() {
        Kind::Port => port(text)?.bits().into(),
        Kind::Decimal | Kind::Hex => number(text)?,
        Kind::Mac => mac_to_bits(text.parse().ok()?),
        Kind::Ip | Kind::TunIp => ip_to_bits(text.parse().ok()?),
    };
    (bits <= field.max()).then_some(bits)
}

/// A device name, or the form that [`PortId`] prints for bits that name no device.
fn port(text: &str) -> Option<PortId> {
    if let Some(bits) = text.strip_prefix("none(").and_then(|rest| rest.strip_suffix(')')) {
        let port = PortId::from_bits(u16::try_from(number(bits)?).ok()?);
        return port.device().is_none().then_some(port);
    }
    text.parse().ok()
}

impl FromStr for Match {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Match, ParseError> {
        let mut flow = Match::ANY;
        if text == "any" {
            return Ok(flow);
        }
        for (at, part) in parts(text) {
            let (name, value) = part.split_once('=').ok_or(ParseError::Form(at))?;
            let field = Field::from_name(name).ok_or(ParseError::Name(at))?;
            if flow.mask().get(field) != 0 {
                return Err(ParseError::Twice(at));
            }
            let (value, mask) = match value.split_once('/') {
                Some((value, mask)) => (value, number(mask).ok_or(ParseError::Value(at))?),
                None => (value, field.max()),
            };
            let value = field_value(field, value).ok_or(ParseError::Value(at))?;
            if mask == 0 || mask > field.max() || value & !mask != 0 {
                return Err(ParseError::Value(at));
            }
            flow = flow.and(field, value, mask);
        }
        Ok(flow)
    }
}

/// An action list, to be printed.
pub fn actions(actions: &[Action]) -> impl fmt::Display + '_ {
    struct List<'a>(&'a [Action]);
    impl fmt::Display for List<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            if self.0.is_empty() {
                return f.write_str("drop");
            }
            for (index, action) in self.0.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                write!(f, "{comma}{action}")?;
            }
            Ok(())
        }
    }
    List(actions)
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ActionKind::from(self).name())?;
        match *self {
            Action::Output(port) => write!(f, "({port})"),
            Action::PushVlan { tpid, tci } => write!(f, "({tpid:#06x}/{tci:#06x})"),
            Action::PopVlan | Action::DecIpTtl => Ok(()),
            Action::SetVlanVid(value) | Action::SetL4Src(value) | Action::SetL4Dst(value) => {
                write!(f, "({value})")
            }
            Action::SetVlanPcp(value) | Action::SetIpDscp(value) | Action::SetIpTtl(value) => {
                write!(f, "({value})")
            }
            Action::SetEthSrc(mac) | Action::SetEthDst(mac) => write!(f, "({mac})"),
            Action::SetIpSrc(ip) | Action::SetIpDst(ip) => write!(f, "({ip})"),
            Action::SetIpEcn(value) => write!(f, "({value})"),
            Action::EncapVxlan(encap) => {
                let VxlanEncap { eth_dst, eth_src, vlan, src, dst, tos, ttl, vni } = encap;
                write!(f, "({vni}/{src}/{dst}/{eth_src}/{eth_dst}/{tos:#04x}/{ttl}")?;
                vlan.map_or(Ok(()), |tci| write!(f, "/{tci:#06x}"))?;
                f.write_str(")")
            }
            Action::DecapVxlan => Ok(()),
            Action::Flood(flood) => {
                write!(f, "({}{})", flood.list, if flood.from_tunnel { "/from_tunnel" } else { "" })
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} actions={}", self.matches, actions(&self.actions))
    }
}

/// Reads an action list.
///
/// # Errors
/// Which part is wrong, and how.
pub fn parse_actions(text: &str) -> Result<ActionList, ParseError> {
    let mut list = ActionList::new();
    if text == "drop" {
        return Ok(list);
    }
    for (at, part) in parts(text) {
        list.push(parse_action(part, at)?).map_err(|_| ParseError::TooMany)?;
    }
    Ok(list)
}

fn parse_action(part: &str, at: usize) -> Result<Action, ParseError> {
    let (name, argument) = match part.split_once('(') {
        Some((name, rest)) => (name, Some(rest.strip_suffix(')').ok_or(ParseError::Form(at))?)),
        None => (part, None),
    };
    let kind = ActionKind::from_name(name).ok_or(ParseError::Name(at))?;
    let argument = || argument.ok_or(ParseError::Form(at));
    let value = |max: u128| {
        let value = number(argument()?).filter(|&value| value <= max);
        value.ok_or(ParseError::Value(at))
    };
    let mac = || argument()?.parse::<MacAddr>().map_err(|_| ParseError::Value(at));
    let ip = || argument()?.parse::<IpAddr>().map_err(|_| ParseError::Value(at));
    Ok(match kind {
        ActionKind::Output => Action::Output(port(argument()?).ok_or(ParseError::Value(at))?),
        ActionKind::PushVlan => {
            let (tpid, tci) = argument()?.split_once('/').ok_or(ParseError::Form(at))?;
            let half = |text| number(text).and_then(|value| u16::try_from(value).ok());
            Action::PushVlan {
                tpid: half(tpid).ok_or(ParseError::Value(at))?,
                tci: half(tci).ok_or(ParseError::Value(at))?,
            }
        }
        ActionKind::PopVlan => Action::PopVlan,
        ActionKind::SetVlanVid => Action::SetVlanVid(value(0xfff)? as u16),
        ActionKind::SetVlanPcp => Action::SetVlanPcp(value(7)? as u8),
        ActionKind::SetEthSrc => Action::SetEthSrc(mac()?),
        ActionKind::SetEthDst => Action::SetEthDst(mac()?),
        ActionKind::SetIpSrc => Action::SetIpSrc(ip()?),
        ActionKind::SetIpDst => Action::SetIpDst(ip()?),
        ActionKind::SetIpDscp => Action::SetIpDscp(value(63)? as u8),
        ActionKind::SetIpTtl => Action::SetIpTtl(value(255)? as u8),
        ActionKind::DecIpTtl => Action::DecIpTtl,
        ActionKind::SetL4Src => Action::SetL4Src(value(0xffff)? as u16),
        ActionKind::SetL4Dst => Action::SetL4Dst(value(0xffff)? as u16),
        ActionKind::SetIpEcn => Action::SetIpEcn(value(3)? as u8),
        ActionKind::EncapVxlan => Action::EncapVxlan(encap(argument()?).ok_or(ParseError::Value(at))?),
        ActionKind::DecapVxlan => Action::DecapVxlan,
        ActionKind::Flood => {
            let text = argument()?;
            let list = text.strip_suffix("/from_tunnel");
            let from_tunnel = list.is_some();
            let list = number(list.unwrap_or(text)).and_then(|list| u64::try_from(list).ok());
            Action::Flood(Flood { list: list.ok_or(ParseError::Value(at))?, from_tunnel })
        }
    })
}

/// `vni/src/dst/eth_src/eth_dst/tos/ttl`, and `/tci` if there is a tag.
fn encap(text: &str) -> Option<VxlanEncap> {
    let mut parts = text.split('/');
    let mut next = || parts.next();
    let encap = VxlanEncap {
        vni: number(next()?).filter(|&vni| vni < 1 << 24)? as u32,
        src: next()?.parse().ok()?,
        dst: next()?.parse().ok()?,
        eth_src: next()?.parse().ok()?,
        eth_dst: next()?.parse().ok()?,
        tos: u8::try_from(number(next()?)?).ok()?,
        ttl: u8::try_from(number(next()?)?).ok()?,
        vlan: match next() {
            Some(tci) => Some(u16::try_from(number(tci)?).ok()?),
            None => None,
        },
    };
    (next().is_none() && encap.src.is_ipv4() == encap.dst.is_ipv4()).then_some(encap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use proptest::prelude::*;
    use std::string::ToString;
    use std::vec;
    use std::vec::Vec;

    fn any_match() -> impl Strategy<Value = Match> {
        proptest::collection::vec((proptest::sample::select(Field::ALL), any::<u128>(), any::<u128>()), 0..8)
            .prop_map(|parts| {
                parts.into_iter().fold(Match::ANY, |flow, (field, value, mask)| {
                    let mask = if mask & 1 == 0 { field.max() } else { mask & field.max() };
                    flow.and(field, value, mask)
                })
            })
    }

    fn any_action() -> impl Strategy<Value = Action> {
        let ip = any::<IpAddr>();
        let mac = any::<[u8; 6]>().prop_map(MacAddr);
        prop_oneof![
            any::<u16>().prop_map(|bits| Action::Output(PortId::from_bits(bits))),
            any::<(u16, u16)>().prop_map(|(tpid, tci)| Action::PushVlan { tpid, tci }),
            Just(Action::PopVlan),
            (0u16..4096).prop_map(Action::SetVlanVid),
            (0u8..8).prop_map(Action::SetVlanPcp),
            mac.clone().prop_map(Action::SetEthSrc),
            mac.prop_map(Action::SetEthDst),
            ip.clone().prop_map(Action::SetIpSrc),
            ip.prop_map(Action::SetIpDst),
            (0u8..64).prop_map(Action::SetIpDscp),
            any::<u8>().prop_map(Action::SetIpTtl),
            Just(Action::DecIpTtl),
            any::<u16>().prop_map(Action::SetL4Src),
            any::<u16>().prop_map(Action::SetL4Dst),
            (0u8..4).prop_map(Action::SetIpEcn),
            any_encap().prop_map(Action::EncapVxlan),
            Just(Action::DecapVxlan),
            any::<(u64, bool)>().prop_map(|(list, from_tunnel)| Action::Flood(Flood { list, from_tunnel })),
        ]
    }

    fn any_encap() -> impl Strategy<Value = VxlanEncap> {
        let ips = prop_oneof![
            any::<[Ipv4Addr; 2]>().prop_map(|ips| ips.map(IpAddr::V4)),
            any::<[Ipv6Addr; 2]>().prop_map(|ips| ips.map(IpAddr::V6)),
        ];
        (any::<[[u8; 6]; 2]>(), any::<Option<u16>>(), ips, any::<[u8; 2]>(), 0u32..1 << 24).prop_map(
            |([eth_dst, eth_src], vlan, [src, dst], [tos, ttl], vni)| {
                let [eth_dst, eth_src] = [eth_dst, eth_src].map(MacAddr);
                VxlanEncap { eth_dst, eth_src, vlan, src, dst, tos, ttl, vni }
            },
        )
    }

    proptest! {
        #[test]
        fn a_match_reads_back_from_its_text(flow in any_match()) {
            prop_assert_eq!(flow.to_string().parse(), Ok(flow), "{}", flow);
        }

        #[test]
        fn actions_read_back_from_their_text(list in proptest::collection::vec(any_action(), 0..16)) {
            let parsed = parse_actions(&actions(&list).to_string()).map(|l| l.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(parsed, Ok(list));
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in "[a-z_=/,()0-9x:.]{0,40}|\\PC{0,20}") {
            let _ = text.parse::<Match>();
            let _ = parse_actions(&text);
        }
    }

    #[test]
    fn an_address_of_the_frame_in_the_tunnel_follows_that_frames_type() {
        let flow = Match::ANY
            .and(Field::EthType, 0x86dd, 0xffff)
            .and(Field::TunEthType, 0x0800, 0xffff)
            .and(Field::IpSrc, 1, u128::MAX)
            .and(Field::TunIpSrc, 1, u128::MAX);
        assert_eq!(flow.to_string(), "eth_type=0x86dd,ip_src=::1,tun_eth_type=0x0800,tun_ip_src=0.0.0.1");
    }

    #[test]
    fn a_tunnel_reads_as_it_is_written() {
        let text = "encap_vxlan(7/192.0.2.1/192.0.2.2/02:00:00:00:00:0a/02:00:00:00:00:0b/0x02/64/0x0064),\
                    decap_vxlan,set_ip_ecn(3),flood(9/from_tunnel),flood(10)";
        let list = parse_actions(text).unwrap();
        assert_eq!(actions(&list).to_string(), text);
        let Action::EncapVxlan(encap) = list[0] else { panic!("{list:?}") };
        assert_eq!((encap.vni, encap.vlan, encap.tos, encap.ttl), (7, Some(100), 2, 64));
        assert_eq!(encap.eth_src, MacAddr([2, 0, 0, 0, 0, 10]));
        assert_eq!(list[3], Action::Flood(Flood { list: 9, from_tunnel: true }));
        let macs = "02:00:00:00:00:0a/02:00:00:00:00:0b";
        for bad in [
            std::format!("encap_vxlan(16777216/192.0.2.1/192.0.2.2/{macs}/0/64)"),
            std::format!("encap_vxlan(7/192.0.2.1/2001:db8::1/{macs}/0/64)"),
            std::format!("encap_vxlan(7/192.0.2.1/192.0.2.2/{macs}/0)"),
            std::format!("encap_vxlan(7/192.0.2.1/192.0.2.2/{macs}/0/64/1/1)"),
            "set_ip_ecn(4)".into(),
            "flood(x)".into(),
        ] {
            assert_eq!(parse_actions(&bad), Err(ParseError::Value(0)), "{bad}");
        }
        assert_eq!(parse_actions("encap_vxlan"), Err(ParseError::Form(0)));
    }

    #[test]
    fn errors_name_the_place() {
        for (text, error) in [
            ("", ParseError::Form(0)),
            ("in_port=p0,eth", ParseError::Form(11)),
            ("in_port=p0,size=3", ParseError::Name(11)),
            ("in_port=p0,in_port=p1", ParseError::Twice(11)),
            ("ip_ttl=256", ParseError::Value(0)),
            ("ip_ttl=+1", ParseError::Value(0)),
            ("ip_ttl=3/0xf0", ParseError::Value(0)),
            ("ip_ttl=0/0", ParseError::Value(0)),
        ] {
            assert_eq!(text.parse::<Match>(), Err(error), "{text:?}");
        }
        for (text, error) in [
            ("", ParseError::Name(0)),
            ("pop_vlan,output", ParseError::Form(9)),
            ("output(p0", ParseError::Form(0)),
            ("output(x)", ParseError::Value(0)),
            ("set_vlan_vid(4096)", ParseError::Value(0)),
        ] {
            assert_eq!(parse_actions(text), Err(error), "{text:?}");
        }
        let long = "pop_vlan,".repeat(crate::MAX_ACTIONS) + "pop_vlan";
        assert_eq!(parse_actions(&long), Err(ParseError::TooMany));
    }
}
