//! Keys, matches and actions.

use nic_flow::action::{Flood, VxlanEncap};
use nic_flow::{Action, ActionList, Field, FlowKey, MAX_ACTIONS, Match};
use nic_proto::datapath::v1 as pb;

use super::{Bad, Problem, ip, ip_octets, mac, port, within};

/// The field's width in octets.
const fn width(field: Field) -> usize {
    (field.place().width as usize).div_ceil(8)
}

fn bytes(field: Field, bits: u128) -> Vec<u8> {
    bits.to_be_bytes()[16 - width(field)..].to_vec()
}

fn bits(name: &'static str, field: Field, bytes: &[u8]) -> Result<u128, Bad> {
    if bytes.len() != width(field) {
        return Err(Bad::new(name, Problem::Range));
    }
    let bits = bytes.iter().fold(0, |bits, &byte| bits << 8 | u128::from(byte));
    if bits > field.max() { Err(Bad::new(name, Problem::Range)) } else { Ok(bits) }
}

fn field(name: &str) -> Result<Field, Bad> {
    Field::from_name(name).ok_or_else(|| Bad::new("field", Problem::Unknown(name.to_owned())))
}

/// A match, field by field.
pub fn match_to(flow: &Match) -> Vec<pb::FieldMatch> {
    flow.mask()
        .fields()
        .map(|field| pb::FieldMatch {
            field: field.name().to_owned(),
            value: bytes(field, flow.key().get(field)),
            mask: bytes(field, flow.mask().get(field)),
        })
        .collect()
}

/// A match from its fields.
pub fn match_from(object: &str, fields: &[pb::FieldMatch]) -> Result<Match, super::ObjectError> {
    read_match(fields).map_err(|bad| bad.in_object(object))
}

pub(super) fn read_match(fields: &[pb::FieldMatch]) -> Result<Match, Bad> {
    let mut flow = Match::ANY;
    for part in fields {
        let field = field(&part.field)?;
        let (value, mask) = (bits("value", field, &part.value)?, bits("mask", field, &part.mask)?);
        if flow.mask().get(field) != 0 {
            return Err(Bad::new("field", Problem::Twice(field)));
        }
        if value & !mask != 0 {
            return Err(Bad::new("value", Problem::OutsideMask(field)));
        }
        flow = flow.and(field, value, mask);
    }
    Ok(flow)
}

/// A key; fields that are zero are left out.
pub fn key_to(key: &FlowKey) -> Vec<pb::FieldValue> {
    Field::ALL
        .iter()
        .filter(|&&field| key.get(field) != 0)
        .map(|&field| pb::FieldValue { field: field.name().to_owned(), value: bytes(field, key.get(field)) })
        .collect()
}

/// A key from its fields.
pub fn key_from(object: &str, fields: &[pb::FieldValue]) -> Result<FlowKey, super::ObjectError> {
    read_key(fields).map_err(|bad| bad.in_object(object))
}

fn read_key(fields: &[pb::FieldValue]) -> Result<FlowKey, Bad> {
    let mut key = FlowKey::ZERO;
    let mut seen = nic_flow::FlowMask::EMPTY;
    for part in fields {
        let field = field(&part.field)?;
        if seen.get(field) != 0 {
            return Err(Bad::new("field", Problem::Twice(field)));
        }
        seen.add(field, u128::MAX);
        key.set(field, bits("value", field, &part.value)?);
    }
    Ok(key)
}

/// Actions, in order.
pub fn actions_to(actions: &[Action]) -> Vec<pb::Action> {
    actions.iter().map(|action| pb::Action { kind: Some(action_to(action)) }).collect()
}

fn action_to(action: &Action) -> pb::action::Kind {
    use pb::action::Kind;
    match *action {
        Action::Output(port) => Kind::Output(port.bits().into()),
        Action::PushVlan { tpid, tci } => Kind::PushVlan(pb::PushVlan { tpid: tpid.into(), tci: tci.into() }),
        Action::PopVlan => Kind::PopVlan(pb::PopVlan {}),
        Action::SetVlanVid(vid) => Kind::SetVlanVid(vid.into()),
        Action::SetVlanPcp(pcp) => Kind::SetVlanPcp(pcp.into()),
        Action::SetEthSrc(mac) => Kind::SetEthSrc(mac.octets().to_vec()),
        Action::SetEthDst(mac) => Kind::SetEthDst(mac.octets().to_vec()),
        Action::SetIpSrc(ip) => Kind::SetIpSrc(ip_octets(ip)),
        Action::SetIpDst(ip) => Kind::SetIpDst(ip_octets(ip)),
        Action::SetIpDscp(dscp) => Kind::SetIpDscp(dscp.into()),
        Action::SetIpTtl(ttl) => Kind::SetIpTtl(ttl.into()),
        Action::DecIpTtl => Kind::DecIpTtl(pb::DecIpTtl {}),
        Action::SetL4Src(port) => Kind::SetL4Src(port.into()),
        Action::SetL4Dst(port) => Kind::SetL4Dst(port.into()),
        Action::SetIpEcn(ecn) => Kind::SetIpEcn(ecn.into()),
        Action::EncapVxlan(encap) => Kind::EncapVxlan(encap_to(&encap)),
        Action::DecapVxlan => Kind::DecapVxlan(pb::DecapVxlan {}),
        Action::Flood(Flood { list, from_tunnel }) => Kind::Flood(pb::Flood { list, from_tunnel }),
    }
}

fn encap_to(encap: &VxlanEncap) -> pb::EncapVxlan {
    pb::EncapVxlan {
        eth_dst: encap.eth_dst.octets().to_vec(),
        eth_src: encap.eth_src.octets().to_vec(),
        vlan_tci: encap.vlan.map(u32::from),
        src: ip_octets(encap.src),
        dst: ip_octets(encap.dst),
        tos: encap.tos.into(),
        ttl: encap.ttl.into(),
        vni: encap.vni,
    }
}

/// Actions from their messages.
pub fn actions_from(object: &str, actions: &[pb::Action]) -> Result<ActionList, super::ObjectError> {
    read_actions(actions).map_err(|bad| bad.in_object(object))
}

pub(super) fn read_actions(actions: &[pb::Action]) -> Result<ActionList, Bad> {
    let mut list = ActionList::new();
    for action in actions {
        // A kind that a newer version added arrives as no kind at all.
        let kind = action.kind.as_ref().ok_or(Bad::new("actions", Problem::Missing))?;
        list.push(read_action(kind)?).map_err(|_| Bad::new("actions", Problem::TooMany(MAX_ACTIONS)))?;
    }
    Ok(list)
}

fn read_action(kind: &pb::action::Kind) -> Result<Action, Bad> {
    use pb::action::Kind;
    Ok(match kind {
        Kind::Output(bits) => Action::Output(port("output", *bits)?),
        Kind::PushVlan(tag) => Action::PushVlan {
            tpid: within("push_vlan.tpid", tag.tpid, 0..=0xffff)?,
            tci: within("push_vlan.tci", tag.tci, 0..=0xffff)?,
        },
        Kind::PopVlan(_) => Action::PopVlan,
        Kind::SetVlanVid(vid) => Action::SetVlanVid(within("set_vlan_vid", *vid, 0..=0xfff)?),
        Kind::SetVlanPcp(pcp) => Action::SetVlanPcp(within("set_vlan_pcp", *pcp, 0..=7)?),
        Kind::SetEthSrc(octets) => Action::SetEthSrc(mac("set_eth_src", octets)?),
        Kind::SetEthDst(octets) => Action::SetEthDst(mac("set_eth_dst", octets)?),
        Kind::SetIpSrc(octets) => Action::SetIpSrc(ip("set_ip_src", octets)?),
        Kind::SetIpDst(octets) => Action::SetIpDst(ip("set_ip_dst", octets)?),
        Kind::SetIpDscp(dscp) => Action::SetIpDscp(within("set_ip_dscp", *dscp, 0..=63)?),
        Kind::SetIpTtl(ttl) => Action::SetIpTtl(within("set_ip_ttl", *ttl, 0..=255)?),
        Kind::DecIpTtl(_) => Action::DecIpTtl,
        Kind::SetL4Src(value) => Action::SetL4Src(within("set_l4_src", *value, 0..=0xffff)?),
        Kind::SetL4Dst(value) => Action::SetL4Dst(within("set_l4_dst", *value, 0..=0xffff)?),
        Kind::SetIpEcn(ecn) => Action::SetIpEcn(within("set_ip_ecn", *ecn, 0..=3)?),
        Kind::EncapVxlan(encap) => Action::EncapVxlan(read_encap(encap)?),
        Kind::DecapVxlan(_) => Action::DecapVxlan,
        Kind::Flood(flood) => Action::Flood(Flood { list: flood.list, from_tunnel: flood.from_tunnel }),
    })
}

fn read_encap(encap: &pb::EncapVxlan) -> Result<VxlanEncap, Bad> {
    let (src, dst) = (ip("encap_vxlan.src", &encap.src)?, ip("encap_vxlan.dst", &encap.dst)?);
    if src.is_ipv4() != dst.is_ipv4() {
        return Err(Bad::new("encap_vxlan.src", Problem::Network));
    }
    let vlan = encap.vlan_tci.map(|tci| within("encap_vxlan.vlan_tci", tci, 0..=0xffff)).transpose()?;
    Ok(VxlanEncap {
        eth_dst: mac("encap_vxlan.eth_dst", &encap.eth_dst)?,
        eth_src: mac("encap_vxlan.eth_src", &encap.eth_src)?,
        vlan,
        src,
        dst,
        tos: within("encap_vxlan.tos", encap.tos, 0..=255)?,
        ttl: within("encap_vxlan.ttl", encap.ttl, 0..=255)?,
        vni: within("encap_vxlan.vni", encap.vni, 0..=0xff_ffff)?,
    })
}
