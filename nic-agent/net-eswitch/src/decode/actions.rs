//! A list of `rte_flow` actions to an [`ActionList`].

use nic_flow::{Action, ActionList, MacAddr, PortId};
use nic_wire::{EtherType, IpProto};

use super::encap;
use super::fault::{At, Fault};
use super::items::{Headers, Pattern};
use super::raw::RawAction;

/// What the actions came to.
#[derive(Debug)]
pub(crate) struct Actions {
    pub(crate) list: ActionList,
    /// For each step of the list, the index of the action that it comes from.
    pub(crate) origins: Vec<usize>,
    pub(crate) count: bool,
}

/// Reads actions. `port_of` says which port a DPDK port number stands for.
pub(crate) fn decode(
    raw: &[RawAction],
    pattern: &Pattern,
    port_of: &dyn Fn(u32) -> Option<PortId>,
) -> Result<Actions, Fault> {
    let mut list = ActionList::new();
    let mut origins = Vec::new();
    let (mut count, mut dropped) = (false, false);
    let mut packet =
        Packet { headers: pattern.headers(), tunnelled: pattern.tunnelled(), encapsulated: false };
    for (index, action) in raw.iter().enumerate() {
        let invalid = |message: &'static str| Fault::invalid(At::Action { index }, message);
        match action {
            RawAction::Void => continue,
            RawAction::Count if count => return Err(invalid("a second counter")),
            RawAction::Count => {
                count = true;
                continue;
            }
            RawAction::Drop => {
                dropped = true;
                continue;
            }
            _ => {}
        }
        packet.needs(action).map_err(invalid)?;
        let step = step(action, index, port_of)?;
        packet.after(&step);
        list.push(step)
            .map_err(|_| Fault::unsupported(At::Actions, "more actions than a rule has room for"))?;
        origins.push(index);
    }
    let sends = list.iter().any(|action| matches!(action, Action::Output(_)));
    match (sends, dropped) {
        (true, true) => Err(Fault::invalid(At::Actions, "a rule drops or sends, not both")),
        (false, false) => Err(Fault::invalid(At::Actions, "a rule needs a destination or a drop")),
        _ => Ok(Actions { list, origins, count }),
    }
}

/// What is known of every packet that matches, at one step of the list.
struct Packet {
    /// The headers that actions change: those of the frame in the tunnel behind a decapsulation.
    headers: Headers,
    /// Those of the frame in the tunnel, as long as the tunnel is there.
    tunnelled: Option<Headers>,
    /// The list puts headers in front.
    encapsulated: bool,
}

impl Packet {
    /// Refuses a rewrite of a header that packets which match need not have.
    fn needs(&self, action: &RawAction) -> Result<(), &'static str> {
        let is_v4 = self.headers.l3 == Some(EtherType::IPV4);
        let is_v6 = self.headers.l3 == Some(EtherType::IPV6);
        let has_ports = matches!(self.headers.l4, Some(IpProto::TCP | IpProto::UDP));
        match action {
            RawAction::SetIpv4Src(_) | RawAction::SetIpv4Dst(_) if !is_v4 => {
                Err("the action needs an ipv4 item")
            }
            RawAction::SetIpv6Src(_) | RawAction::SetIpv6Dst(_) if !is_v6 => {
                Err("the action needs an ipv6 item")
            }
            RawAction::SetTtl(_) | RawAction::DecTtl if !is_v4 && !is_v6 => {
                Err("the action needs an ipv4 or ipv6 item")
            }
            RawAction::SetTpSrc(_) | RawAction::SetTpDst(_) if !has_ports => {
                Err("the action needs a tcp or udp item")
            }
            RawAction::PopVlan | RawAction::SetVlanVid(_) | RawAction::SetVlanPcp(_)
                if !self.headers.tagged =>
            {
                Err("the action needs a vlan item, or a push before it")
            }
            RawAction::VxlanEncap(_) if self.encapsulated => Err("a second encapsulation"),
            RawAction::VxlanDecap if self.encapsulated => {
                Err("what an encapsulation put in front cannot be taken away")
            }
            RawAction::VxlanDecap if self.tunnelled.is_none() => {
                Err("the action needs a vxlan item, and stands once")
            }
            _ => Ok(()),
        }
    }

    /// The packet behind a step.
    fn after(&mut self, step: &Action) {
        match step {
            Action::PushVlan { .. } => self.headers.tagged = true,
            // What lies under a popped tag is not known.
            Action::PopVlan => self.headers.tagged = false,
            Action::EncapVxlan(encap) => {
                let l3 = if encap.dst.is_ipv6() { EtherType::IPV6 } else { EtherType::IPV4 };
                self.headers = Headers { tagged: encap.vlan.is_some(), l3: Some(l3), l4: Some(IpProto::UDP) };
                self.tunnelled = None;
                self.encapsulated = true;
            }
            Action::DecapVxlan => {
                if let Some(inner) = self.tunnelled.take() {
                    self.headers = inner;
                }
            }
            _ => {}
        }
    }
}

fn step(action: &RawAction, index: usize, port_of: &dyn Fn(u32) -> Option<PortId>) -> Result<Action, Fault> {
    let conf = At::ActionConf { index };
    let output = |number: u32| match port_of(number) {
        Some(port) => Ok(Action::Output(port)),
        None => Err(Fault::invalid(conf, "a port of another device, or of none")),
    };
    Ok(match *action {
        RawAction::VxlanEncap(ref definition) => {
            Action::EncapVxlan(encap::decode(definition).map_err(|fault| fault.in_definition(index))?)
        }
        RawAction::VxlanDecap => Action::DecapVxlan,
        RawAction::RepresentedPort(number) => output(number.into())?,
        RawAction::PortId { original: true, .. } => {
            return Err(Fault::unsupported(conf, "the original port is not known to the switch"));
        }
        RawAction::PortId { id, .. } => output(id)?,
        RawAction::PushVlan { tpid } if !EtherType(tpid).is_vlan() => {
            return Err(Fault::unsupported(conf, "a tag's protocol is 0x8100 or 0x88a8"));
        }
        RawAction::PushVlan { tpid } => Action::PushVlan { tpid, tci: 0 },
        RawAction::PopVlan => Action::PopVlan,
        RawAction::SetVlanVid(vid) if vid > 0x0fff => {
            return Err(Fault::invalid(conf, "a VLAN identifier has 12 bits"));
        }
        RawAction::SetVlanVid(vid) => Action::SetVlanVid(vid),
        RawAction::SetVlanPcp(pcp) if pcp > 7 => {
            return Err(Fault::invalid(conf, "a VLAN priority has 3 bits"));
        }
        RawAction::SetVlanPcp(pcp) => Action::SetVlanPcp(pcp),
        RawAction::SetMacSrc(mac) => Action::SetEthSrc(MacAddr(mac)),
        RawAction::SetMacDst(mac) => Action::SetEthDst(MacAddr(mac)),
        RawAction::SetIpv4Src(ip) => Action::SetIpSrc(ip.into()),
        RawAction::SetIpv4Dst(ip) => Action::SetIpDst(ip.into()),
        RawAction::SetIpv6Src(ip) => Action::SetIpSrc(ip.into()),
        RawAction::SetIpv6Dst(ip) => Action::SetIpDst(ip.into()),
        RawAction::SetTpSrc(port) => Action::SetL4Src(port),
        RawAction::SetTpDst(port) => Action::SetL4Dst(port),
        RawAction::SetTtl(ttl) => Action::SetIpTtl(ttl),
        RawAction::DecTtl => Action::DecIpTtl,
        RawAction::Void | RawAction::Count | RawAction::Drop | RawAction::Unknown => {
            return Err(Fault::unsupported(At::Action { index }, "an action that the switch does not know"));
        }
    })
}
