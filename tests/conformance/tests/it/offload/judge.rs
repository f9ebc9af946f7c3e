//! What may be refused, and what must not be: written from what each profile says that it does, and
//! not from the encoder.

use nic_flow::action::outputs;
use nic_flow::field::{Field, L3, L4, TUNNELLED, Tunnel};
use nic_flow::seam::{ActionKind, Refusal};
use nic_flow::{Action, PortId, Rule};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;
/// UDP's port for VXLAN.
const VXLAN: u128 = 4789;

/// IPv6 headers with another one behind them.
const EXTENSIONS: [u8; 5] = [0, 43, 44, 51, 60];

/// The least EtherType; what is smaller is a length (IEEE 802.3 clause 3.2.6).
const FIRST_TYPE: u16 = 0x0600;

/// The bits of ECN, of which the lower one may be matched alone.
const ECN: u128 = 3;

/// One frame's headers in a match: the packet's, or those of the frame in its tunnel under the same names.
#[derive(Clone, Copy)]
struct Headers<'a> {
    rule: &'a Rule,
    inside: bool,
}

impl<'a> Headers<'a> {
    fn outer(rule: &'a Rule) -> Headers<'a> {
        Headers { rule, inside: false }
    }

    fn inner(rule: &'a Rule) -> Headers<'a> {
        Headers { rule, inside: true }
    }

    /// The headers that a field is of, and its name there.
    fn of(rule: &'a Rule, field: Field) -> (Headers<'a>, Field) {
        match TUNNELLED.iter().find(|(_, behind)| *behind == field) {
            Some(&(plain, _)) => (Headers::inner(rule), plain),
            None => (Headers::outer(rule), field),
        }
    }

    fn at(self, field: Field) -> Field {
        let behind = TUNNELLED.iter().find(|(plain, _)| self.inside && *plain == field);
        behind.map_or(field, |&(_, behind)| behind)
    }

    fn value(self, field: Field) -> u128 {
        self.rule.matches.key().get(self.at(field))
    }

    fn bits(self, field: Field) -> u128 {
        self.rule.matches.mask().get(self.at(field))
    }

    fn counts(self, field: Field) -> bool {
        self.bits(field) != 0
    }

    fn is_whole(self, field: Field) -> bool {
        self.bits(field) == field.max()
    }

    fn eth_type(self) -> u16 {
        self.value(Field::EthType) as u16
    }

    fn l3_ok(self) -> bool {
        self.value(Field::L3) == L3::Ok as u128
    }

    fn l4_ok(self) -> bool {
        self.value(Field::L4) == L4::Ok as u128
    }

    /// Whole headers, as an item each asks for.
    fn must_take(self, portable: bool) -> bool {
        let tag = match self.value(Field::VlanCount) {
            0 => true,
            1 if self.counts(Field::VlanTpid) => !portable || self.value(Field::VlanTpid) == 0x8100,
            _ => false,
        };
        let typed = self.eth_type() >= FIRST_TYPE;
        let proto = self.value(Field::IpProto);
        let broken = self.eth_type() == IPV6 && EXTENSIONS.iter().any(|&number| u128::from(number) == proto);
        let ip = self.l3_ok()
            && matches!(self.eth_type(), IPV4 | IPV6)
            && !(self.counts(Field::IpProto) && broken);
        let operation = !self.counts(Field::IpProto) || proto != 0;
        let arp = self.l3_ok() && self.eth_type() == ARP && operation && !portable;
        let ports = matches!(proto, 6 | 17);
        let icmp = matches!(proto, 1 | 58) && !portable;
        (!self.counts(Field::EthType) || (typed && tag))
            && (!self.counts(Field::L3) || ip || (arp && !self.counts(Field::L4)))
            && (!self.counts(Field::L4) || (self.l4_ok() && (ports || icmp)))
    }

    /// Whether every packet that matches has a whole IP header of that family.
    fn is_ip(self, family: u16) -> bool {
        self.is_whole(Field::L3) && self.is_whole(Field::EthType) && self.eth_type() == family && self.l3_ok()
    }

    fn has_ports(self) -> bool {
        self.is_whole(Field::L4)
            && self.l4_ok()
            && self.is_whole(Field::IpProto)
            && matches!(self.value(Field::IpProto), 6 | 17)
    }

    fn has_tag(self) -> bool {
        self.is_whole(Field::VlanCount) && self.value(Field::VlanCount) > 0
    }
}

fn tunnel(rule: &Rule) -> Tunnel {
    rule.matches.key().tunnel()
}

/// Whether what a match says of a datagram's destination leaves open that it is a tunnel's.
fn may_be_tunnel(outer: Headers<'_>) -> bool {
    let port = (outer.value(Field::L4Dst) ^ VXLAN) & outer.bits(Field::L4Dst) == 0;
    outer.value(Field::IpProto) == 17 && port
}

/// Whether the list takes a tunnel off before all else, so that the rest is of the frame in it.
fn leaves_tunnel(rule: &Rule) -> bool {
    matches!(rule.actions.first(), Some(Action::DecapVxlan))
}

/// A device and how much its profile takes.
pub(super) struct Card<'a> {
    pub(super) ports: &'a [PortId],
    pub(super) portable: bool,
}

impl Card<'_> {
    /// True for a rule that the card has to take, if its mask is a shape of the catalogue: whole headers,
    /// and no action but a fate.
    pub(super) fn must_take(&self, rule: &Rule) -> bool {
        let fate = match rule.actions[..] {
            [] => true,
            [Action::Output(port)] => self.ports.contains(&port),
            _ => false,
        };
        let outer = Headers::outer(rule);
        let behind = match tunnel(rule) {
            _ if rule.matches.mask().get(Field::Tunnel) == 0 => true,
            Tunnel::Vxlan => {
                let inner = Headers::inner(rule);
                inner.must_take(self.portable) && !(self.portable && inner.counts(Field::L3))
            }
            Tunnel::None => !may_be_tunnel(outer),
            Tunnel::Malformed => false,
        };
        fate && outer.must_take(self.portable) && behind
    }

    /// True if the rule gives cause for the refusal.
    pub(super) fn may_refuse(&self, rule: &Rule, refusal: Refusal) -> bool {
        let key = rule.matches.key();
        match refusal {
            Refusal::Field(field) => may_refuse_field(rule, field),
            Refusal::Action(kind) => {
                let has = rule.actions.iter().any(|action| ActionKind::from(action) == kind);
                has && kind != ActionKind::Output && may_refuse_action(rule, kind)
            }
            Refusal::ManyOutputs => outputs(&rule.actions).count() > 1,
            Refusal::NoPort(port) => {
                !self.ports.contains(&port)
                    && (outputs(&rule.actions).any(|other| other == port) || key.in_port() == port)
            }
            // The driver's: only what the portable profile does not say that it does.
            Refusal::DriverItem { .. } => self.portable && beyond_portable_match(rule),
            Refusal::DriverAction { .. } => beyond_portable_actions(rule, self.portable),
            Refusal::Shape(_) | Refusal::Full | Refusal::Busy | Refusal::Exists | Refusal::Driver(_) => false,
        }
    }
}

fn may_refuse_field(rule: &Rule, field: Field) -> bool {
    let (headers, name) = Headers::of(rule, field);
    let bits = headers.bits(name);
    if bits == 0 {
        // A field that is missing and that another one needs.
        return match name {
            Field::VlanTpid => headers.value(Field::VlanCount) == 1,
            Field::IpProto => headers.counts(Field::L4),
            _ => false,
        };
    }
    let value = headers.value(name);
    let arp = headers.eth_type() == ARP;
    is_orphan(rule, field)
        || match name {
            // Without the type, nothing that all cards have says whether a tag is there.
            Field::VlanCount => value > 1 || !headers.is_whole(Field::EthType),
            Field::EthType => value < FIRST_TYPE.into(),
            Field::L3 => {
                let parsed = matches!(headers.eth_type(), IPV4 | IPV6 | ARP);
                parsed != headers.l3_ok()
            }
            Field::IpFrag => headers.eth_type() != IPV4 || value != 0 || !headers.is_whole(name),
            Field::L4 => !headers.l4_ok() || !headers.is_whole(name),
            // The key has eight bits of an ARP operation and none of a whole one beyond them; layer 4 is
            // that of one protocol.
            Field::IpProto if arp => value == 0 || !headers.is_whole(name),
            Field::IpProto => {
                let extension = headers.eth_type() == IPV6
                    && EXTENSIONS.iter().any(|&number| u128::from(number) & bits == value);
                extension || (headers.counts(Field::L4) && !headers.is_whole(name))
            }
            // Of a header that the rule does not say is there.
            Field::L4Src | Field::L4Dst | Field::TcpFlags => !headers.counts(Field::L4),
            Field::ArpSha | Field::ArpTha => !arp,
            Field::IpTos | Field::IpTtl => arp,
            // Nothing says that a tunnel is not whole, or that a datagram to its port has none.
            Field::Tunnel => {
                let open = value == Tunnel::None as u128 && may_be_tunnel(headers);
                open || value == Tunnel::Malformed as u128
            }
            _ => false,
        }
}

/// Whether the rule lacks something without which the field means nothing.
fn is_orphan(rule: &Rule, field: Field) -> bool {
    let mask = rule.matches.mask();
    let missing = |&before: &Field| mask.get(before) != before.max();
    match field {
        // What the items before it say decides whether it can be said.
        Field::Tunnel => {
            [Field::L3, Field::IpProto, Field::L4, Field::L4Dst].iter().any(missing) || missing(&field)
        }
        _ => field.prerequisites().iter().any(missing),
    }
}

fn may_refuse_action(rule: &Rule, kind: ActionKind) -> bool {
    let headers = if leaves_tunnel(rule) { Headers::inner(rule) } else { Headers::outer(rule) };
    let any_ip = headers.is_ip(IPV4) || headers.is_ip(IPV6);
    let own_family = rule.actions.iter().all(|action| match action {
        Action::SetIpSrc(address) | Action::SetIpDst(address) => {
            headers.is_ip(if address.is_ipv4() { IPV4 } else { IPV6 })
        }
        _ => true,
    });
    let is = |action: &Action, kind| ActionKind::from(action) == kind;
    // What follows an encapsulation would change what it put in front.
    let first_tunnel = rule.actions.iter().position(|action| is(action, ActionKind::EncapVxlan));
    let late = first_tunnel.is_some_and(|at| rule.actions[at + 1..].iter().any(|action| is(action, kind)));
    late || match kind {
        ActionKind::PushVlan => rule
            .actions
            .iter()
            .any(|action| matches!(action, Action::PushVlan { tci, .. } if tci & 0x1000 != 0)),
        ActionKind::PopVlan | ActionKind::SetVlanVid | ActionKind::SetVlanPcp => !headers.has_tag(),
        ActionKind::SetIpSrc | ActionKind::SetIpDst => !own_family,
        ActionKind::SetIpTtl | ActionKind::DecIpTtl => !any_ip,
        ActionKind::SetL4Src | ActionKind::SetL4Dst => !headers.has_ports(),
        ActionKind::SetIpDscp | ActionKind::SetIpEcn | ActionKind::Flood => true,
        ActionKind::DecapVxlan => {
            let certain = rule.matches.mask().get(Field::Tunnel) == Field::Tunnel.max()
                && tunnel(rule) == Tunnel::Vxlan;
            !certain || rule.actions.iter().skip(1).any(|action| is(action, kind))
        }
        ActionKind::Output | ActionKind::SetEthSrc | ActionKind::SetEthDst | ActionKind::EncapVxlan => false,
    }
}

fn beyond_portable_match(rule: &Rule) -> bool {
    let (outer, inner) = (Headers::outer(rule), Headers::inner(rule));
    let partial_vni = !matches!(rule.matches.mask().get(Field::Vni), 0 | 0xff_ffff);
    let never_inside = [
        Field::VlanTpid,
        Field::VlanTci,
        Field::L3,
        Field::IpTos,
        Field::IpSrc,
        Field::IpDst,
        Field::IpProto,
        Field::L4,
        Field::L4Src,
        Field::L4Dst,
    ];
    headers_beyond_portable(outer)
        || headers_beyond_portable(inner)
        || never_inside.into_iter().any(|field| inner.counts(field))
        || partial_vni
}

fn headers_beyond_portable(headers: Headers<'_>) -> bool {
    let partial = |field: Field| headers.counts(field) && !headers.is_whole(field);
    let never = [Field::IpFrag, Field::IpTtl, Field::TcpFlags, Field::ArpSha, Field::ArpTha];
    let whole = [Field::EthSrc, Field::EthDst, Field::IpProto, Field::L4Src, Field::L4Dst];
    never.into_iter().any(|field| headers.counts(field))
        || whole.into_iter().any(partial)
        || !matches!(headers.bits(Field::IpTos), 0 | 1 | ECN)
        || (headers.counts(Field::L3) && headers.eth_type() == ARP)
        || (headers.counts(Field::L4) && !matches!(headers.value(Field::IpProto), 6 | 17))
        || (headers.value(Field::VlanCount) == 1
            && (headers.value(Field::VlanTpid) != 0x8100
                || !matches!(headers.bits(Field::VlanTci), 0 | 0x0fff | 0xefff | 0xffff)))
}

fn beyond_portable_actions(rule: &Rule, portable: bool) -> bool {
    let tags = rule.actions.iter().filter(|a| matches!(a, Action::PushVlan { .. } | Action::PopVlan)).count();
    // What lies under a tag that was popped is not known, in any profile.
    let after_pop = rule
        .actions
        .iter()
        .skip_while(|action| !matches!(action, Action::PopVlan))
        .skip(1)
        .any(|action| matches!(action, Action::SetVlanVid(_) | Action::SetVlanPcp(_) | Action::PopVlan));
    let refused = |action: &Action| match action {
        Action::SetIpSrc(address) | Action::SetIpDst(address) => address.is_ipv6(),
        Action::SetEthSrc(_) | Action::SetEthDst(_) | Action::SetIpDscp(_) | Action::SetIpTtl(_) => true,
        Action::SetVlanVid(_) | Action::SetVlanPcp(_) => true,
        Action::PushVlan { tpid, .. } => *tpid != 0x8100,
        _ => false,
    };
    let has = |kind| rule.actions.iter().any(|action| ActionKind::from(action) == kind);
    // Into the underlay network and out of it, never both in one rule.
    let (into, out) = (has(ActionKind::EncapVxlan), has(ActionKind::DecapVxlan));
    let astray = (into && outputs(&rule.actions).any(|port| !port.is_uplink()))
        || (out && !rule.matches.key().in_port().is_uplink())
        || (into && out);
    // Of the frame that was in a tunnel, no card is sure to know more than its addresses and its type.
    let deep = leaves_tunnel(rule)
        && rule.actions.iter().skip(1).any(|a| !matches!(a, Action::PushVlan { .. } | Action::Output(_)));
    after_pop || (portable && (tags > 1 || astray || deep || rule.actions.iter().any(refused)))
}
