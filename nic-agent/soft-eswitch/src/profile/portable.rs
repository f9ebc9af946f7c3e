//! What every supported card does: mlx5 with either kind of steering, and bnxt.
//!
//! | match | how |
//! |---|---|
//! | `in_port` | always, whole, a port of the switch |
//! | `eth_src`, `eth_dst`, `eth_type`, `ip_proto`, `l4_src`, `l4_dst` | whole |
//! | `vlan_count`, `vlan_tpid`, `vlan_tci` | none or one tag of type 0x8100; VID, with or without PCP |
//! | `ip_src`, `ip_dst` | a prefix, of IPv4 or IPv6 |
//! | `ip_tos` | both bits of ECN, or the lower one |
//! | `tunnel`, `vni` | VXLAN, in UDP to port 4789: what an item of `rte_flow` says |
//! | `tun_eth_src`, `tun_eth_dst`, `tun_eth_type` | whole, in a tunnel |
//! | `tun_vlan_count` | no tag, in a tunnel |
//! | `l3`, `l4` | whole headers of IPv4 and IPv6, of TCP and UDP: what an item of `rte_flow` says |
//! | all else | no |
//!
//! | action | how |
//! |---|---|
//! | output | one, at the end; without one, no action at all: the packet is dropped |
//! | push, pop | one of one tag, type 0x8100; VID and PCP only of a tag just pushed |
//! | addresses | IPv4 |
//! | ports | TCP and UDP |
//! | time to live | less one |
//! | encapsulation | one, right in front of the output, which is an uplink |
//! | decapsulation | first, of packets that an uplink received and the match calls VXLAN; nothing then but a push |
//! | all else | no |
//!
//! Rules have priority 0: megaflows agree where they overlap, so who is meant for this profile asks for
//! no other.

use nic_flow::field::{Field, L3, L4, Tunnel};
use nic_flow::seam::ActionKind;
use nic_flow::{Action, FlowMask, Match, PortId};
use nic_wire::{EtherType, IpProto, vxlan};

use crate::rule::{ActionFault, FieldFault, RuleFault, SwitchRule};

const MAX_PRIORITY: u32 = 0;

pub(super) fn check(rule: &SwitchRule, has_port: impl Fn(PortId) -> bool) -> Result<(), RuleFault> {
    if rule.priority > MAX_PRIORITY {
        return Err(RuleFault::Priority { max: MAX_PRIORITY });
    }
    let seen = Seen(&rule.matches);
    if rule.matches.mask().get(Field::InPort) == 0 {
        return Err(RuleFault::Field { field: Field::InPort, fault: FieldFault::Missing });
    }
    for field in rule.matches.mask().fields() {
        seen.field(field).map_err(|fault| RuleFault::Field { field, fault })?;
    }
    if !has_port(rule.matches.key().in_port()) {
        return Err(RuleFault::Field { field: Field::InPort, fault: FieldFault::Value });
    }
    let mut before = Before::default();
    for (index, action) in rule.actions.iter().enumerate() {
        let kind = ActionKind::from(action);
        before.action(action, seen).map_err(|fault| RuleFault::Action { index, kind, fault })?;
    }
    match rule.actions.last() {
        Some(last) if !before.output => Err(RuleFault::Action {
            index: rule.actions.len() - 1,
            kind: last.into(),
            fault: ActionFault::NoOutput,
        }),
        _ => Ok(()),
    }
}

/// A match, asked what it makes certain of a packet.
#[derive(Clone, Copy)]
struct Seen<'a>(&'a Match);

impl Seen<'_> {
    fn whole(self, field: Field) -> bool {
        self.0.mask().get(field) == FlowMask::exact(field).get(field)
    }

    /// The value that the match asks of a whole field.
    fn value(self, field: Field) -> Option<u128> {
        self.whole(field).then(|| self.0.key().get(field))
    }

    fn eth_type(self) -> Option<EtherType> {
        self.value(Field::EthType).map(|value| EtherType(value as u16))
    }

    fn is_ip(self) -> bool {
        self.value(Field::L3) == Some(L3::Ok as u128)
            && matches!(self.eth_type(), Some(EtherType::IPV4 | EtherType::IPV6))
    }

    fn is_ipv4(self) -> bool {
        self.is_ip() && self.eth_type() == Some(EtherType::IPV4)
    }

    fn ip_proto(self) -> Option<IpProto> {
        self.value(Field::IpProto).map(|value| IpProto(value as u8))
    }

    fn has_ports(self) -> bool {
        self.value(Field::L4) == Some(L4::Ok as u128)
            && matches!(self.ip_proto(), Some(IpProto::TCP | IpProto::UDP))
    }

    /// Says whether the cards can match a field as this match does.
    fn field(self, field: Field) -> Result<(), FieldFault> {
        match field {
            Field::InPort | Field::EthType | Field::EthDst | Field::EthSrc => self.must_be_whole(field),
            Field::VlanCount => {
                self.must_be_whole(field)?;
                if self.0.key().get(field) > 1 { Err(FieldFault::Value) } else { Ok(()) }
            }
            Field::VlanTpid | Field::VlanTci => self.vlan(field),
            Field::L3 => {
                self.must_be_whole(field)?;
                self.l3()
            }
            Field::IpProto => {
                self.must_be_whole(field)?;
                if self.is_ip() { Ok(()) } else { Err(FieldFault::Needs(Field::L3)) }
            }
            Field::L4 => {
                self.must_be_whole(field)?;
                self.l4()
            }
            Field::L4Src | Field::L4Dst => {
                self.must_be_whole(field)?;
                if self.has_ports() { Ok(()) } else { Err(FieldFault::Needs(Field::L4)) }
            }
            Field::IpSrc | Field::IpDst => self.address(field),
            Field::IpTos if !self.is_ip() => Err(FieldFault::Needs(Field::L3)),
            Field::IpTos => match self.0.mask().get(field) {
                1 | 3 => Ok(()),
                _ => Err(FieldFault::Mask),
            },
            Field::Tunnel => {
                self.must_be_whole(field)?;
                self.tunnel()
            }
            Field::Vni | Field::TunEthSrc | Field::TunEthDst | Field::TunEthType => {
                self.must_be_whole(field)?;
                if self.is_vxlan() { Ok(()) } else { Err(FieldFault::Needs(Field::Tunnel)) }
            }
            Field::TunVlanCount => {
                self.must_be_whole(field)?;
                match self.0.key().get(field) {
                    _ if !self.is_vxlan() => Err(FieldFault::Needs(Field::Tunnel)),
                    0 => Ok(()),
                    _ => Err(FieldFault::Value),
                }
            }
            Field::TunVlanTpid
            | Field::TunVlanTci
            | Field::TunInnerVlanTpid
            | Field::TunInnerVlanTci
            | Field::TunL3
            | Field::TunIpSrc
            | Field::TunIpDst
            | Field::TunIpProto
            | Field::TunIpTos
            | Field::TunIpTtl
            | Field::TunIpFrag
            | Field::TunL4
            | Field::TunL4Src
            | Field::TunL4Dst
            | Field::TunTcpFlags
            | Field::TunArpSha
            | Field::TunArpTha
            | Field::IpFrag
            | Field::InnerVlanTci
            | Field::InnerVlanTpid
            | Field::IpTtl
            | Field::TcpFlags
            | Field::ArpSha
            | Field::ArpTha => Err(FieldFault::Unsupported),
        }
    }

    fn must_be_whole(self, field: Field) -> Result<(), FieldFault> {
        if self.whole(field) { Ok(()) } else { Err(FieldFault::Mask) }
    }

    fn vlan(self, field: Field) -> Result<(), FieldFault> {
        const VID: u128 = 0x0fff;
        const VID_AND_PCP: u128 = 0xefff;
        const WHOLE: u128 = 0xffff;
        match field {
            Field::VlanTci if !matches!(self.0.mask().get(field), VID | VID_AND_PCP | WHOLE) => {
                return Err(FieldFault::Mask);
            }
            Field::VlanTpid => self.must_be_whole(field)?,
            _ => {}
        }
        let value = self.0.key().get(field);
        match (self.value(Field::VlanCount), field) {
            // A packet without tag has zero in both.
            (Some(0), _) if value == 0 => Ok(()),
            (Some(1), Field::VlanTpid) if value == EtherType::VLAN.0.into() => Ok(()),
            (Some(1), Field::VlanTci) => Ok(()),
            (Some(_), _) => Err(FieldFault::Value),
            (None, _) => Err(FieldFault::Needs(Field::VlanCount)),
        }
    }

    /// An item says that the header is whole; no item says nothing, so only what the EtherType implies
    /// can be matched without one.
    fn l3(self) -> Result<(), FieldFault> {
        let Some(eth_type) = self.eth_type() else { return Err(FieldFault::Needs(Field::EthType)) };
        let parsed = matches!(eth_type, EtherType::IPV4 | EtherType::IPV6 | EtherType::ARP);
        match L3::from_bits(self.0.key().get(Field::L3)) {
            L3::Ok if self.is_ip() => Ok(()),
            L3::Other if !parsed => Ok(()),
            _ => Err(FieldFault::Value),
        }
    }

    fn l4(self) -> Result<(), FieldFault> {
        let Some(proto) = self.ip_proto() else { return Err(FieldFault::Needs(Field::IpProto)) };
        let parsed = matches!(proto, IpProto::TCP | IpProto::UDP | IpProto::ICMPV4 | IpProto::ICMPV6);
        match L4::from_bits(self.0.key().get(Field::L4)) {
            L4::Ok if self.has_ports() => Ok(()),
            L4::Other if !parsed => Ok(()),
            _ => Err(FieldFault::Value),
        }
    }

    /// An item says that the tunnel's header is whole; without one, only what the ports imply can be
    /// matched.
    fn tunnel(self) -> Result<(), FieldFault> {
        if !self.has_ports() {
            return Err(FieldFault::Needs(Field::L4));
        }
        let Some(port) = self.value(Field::L4Dst) else { return Err(FieldFault::Needs(Field::L4Dst)) };
        let to_tunnel = self.ip_proto() == Some(IpProto::UDP) && port == u128::from(vxlan::PORT);
        match Tunnel::from_bits(self.0.key().get(Field::Tunnel)) {
            Tunnel::Vxlan if to_tunnel => Ok(()),
            Tunnel::None if !to_tunnel => Ok(()),
            _ => Err(FieldFault::Value),
        }
    }

    fn is_vxlan(self) -> bool {
        self.value(Field::Tunnel) == Some(Tunnel::Vxlan as u128) && self.tunnel().is_ok()
    }

    fn is_from_uplink(self) -> bool {
        self.value(Field::InPort).is_some_and(|_| self.0.key().in_port().is_uplink())
    }

    fn address(self, field: Field) -> Result<(), FieldFault> {
        if !self.is_ip() {
            return Err(FieldFault::Needs(Field::L3));
        }
        let mask = self.0.mask().get(field);
        let prefix = if self.is_ipv4() {
            // The upper bits are zero in every IPv4 packet, so a mask may hold them or not.
            let mask = mask as u32;
            mask.leading_ones() + mask.trailing_zeros() == u32::BITS || mask == u32::MAX
        } else {
            mask.leading_ones() + mask.trailing_zeros() == u128::BITS || mask == u128::MAX
        };
        if prefix { Ok(()) } else { Err(FieldFault::Mask) }
    }
}

/// The actions that stand before another.
#[derive(Default)]
struct Before {
    /// There is one.
    any: bool,
    output: bool,
    /// A tag was pushed or popped.
    tag: bool,
    /// The action right before is a push, or a change of the tag that it pushed.
    pushed: bool,
    encap: bool,
    decap: bool,
}

impl Before {
    /// Says whether the cards can do an action, there.
    fn action(&mut self, action: &Action, seen: Seen<'_>) -> Result<(), ActionFault> {
        use ActionFault::{
            AfterOutput, AfterTunnel, NotPushed, NotUplink, SecondOutput, SecondTunnel, Unsupported,
        };
        if self.output {
            let again = matches!(action, Action::Output(_));
            return Err(if again { SecondOutput } else { AfterOutput });
        }
        let pushed = std::mem::take(&mut self.pushed);
        let first = !std::mem::replace(&mut self.any, true);
        match *action {
            Action::Output(port) if self.encap && !port.is_uplink() => Err(NotUplink),
            Action::Output(_) => {
                self.output = true;
                Ok(())
            }
            Action::EncapVxlan(_) | Action::DecapVxlan if self.encap || self.decap => Err(SecondTunnel),
            _ if self.encap => Err(AfterTunnel),
            Action::EncapVxlan(_) => {
                self.encap = true;
                Ok(())
            }
            Action::DecapVxlan => {
                self.decap = true;
                decap(first, seen)
            }
            Action::PushVlan { .. } | Action::PopVlan => self.tag(action, seen),
            Action::SetVlanVid(_) | Action::SetVlanPcp(_) => {
                self.pushed = pushed;
                if pushed { Ok(()) } else { Err(NotPushed) }
            }
            Action::SetIpSrc(_)
            | Action::SetIpDst(_)
            | Action::DecIpTtl
            | Action::SetL4Src(_)
            | Action::SetL4Dst(_) => self.set(action, seen),
            Action::SetEthSrc(_)
            | Action::SetEthDst(_)
            | Action::SetIpDscp(_)
            | Action::SetIpTtl(_)
            | Action::SetIpEcn(_)
            | Action::Flood(_) => Err(Unsupported),
        }
    }

    fn tag(&mut self, action: &Action, seen: Seen<'_>) -> Result<(), ActionFault> {
        if std::mem::replace(&mut self.tag, true) {
            return Err(ActionFault::SecondTag);
        }
        match *action {
            Action::PushVlan { tpid, .. } if tpid != EtherType::VLAN.0 => Err(ActionFault::Value),
            Action::PushVlan { .. } => {
                self.pushed = true;
                Ok(())
            }
            // Behind a decapsulation the tag would be that of the frame in the tunnel.
            _ => need(!self.decap && seen.value(Field::VlanCount) == Some(1), Field::VlanCount),
        }
    }

    /// Changes of layers 3 and 4. Behind a decapsulation they are not those that were matched.
    fn set(&self, action: &Action, seen: Seen<'_>) -> Result<(), ActionFault> {
        let here = !self.decap;
        match *action {
            Action::SetIpSrc(ip) | Action::SetIpDst(ip) if ip.is_ipv6() => Err(ActionFault::Value),
            Action::SetIpSrc(_) | Action::SetIpDst(_) => need(here && seen.is_ipv4(), Field::L3),
            Action::DecIpTtl => need(here && seen.is_ip(), Field::L3),
            _ => need(here && seen.has_ports(), Field::L4),
        }
    }
}

fn need(known: bool, field: Field) -> Result<(), ActionFault> {
    if known { Ok(()) } else { Err(ActionFault::Needs(field)) }
}

fn decap(first: bool, seen: Seen<'_>) -> Result<(), ActionFault> {
    if !first {
        return Err(ActionFault::NotFirst);
    }
    need(seen.is_vxlan(), Field::Tunnel)?;
    need(seen.is_from_uplink(), Field::InPort)
}
