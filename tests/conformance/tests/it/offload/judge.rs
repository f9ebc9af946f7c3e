//! What may be refused, and what must not be: written from what each profile says that it does, and
//! not from the encoder.

use nic_flow::action::outputs;
use nic_flow::field::{Field, L3, L4};
use nic_flow::seam::{ActionKind, Refusal};
use nic_flow::{Action, PortId, Rule};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;

/// IPv6 headers with another one behind them.
const EXTENSIONS: [u8; 5] = [0, 43, 44, 51, 60];

/// The least EtherType; what is smaller is a length (IEEE 802.3 clause 3.2.6).
const FIRST_TYPE: u16 = 0x0600;

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
        let (key, mask) = (rule.matches.key(), rule.matches.mask());
        let counts = |field| mask.get(field) != 0;
        let tag = match key.get(Field::VlanCount) {
            0 => true,
            1 => !self.portable || key.get(Field::VlanTpid) == 0x8100,
            _ => false,
        };
        let typed = key.eth_type() >= FIRST_TYPE;
        let proto = key.get(Field::IpProto);
        let broken = key.eth_type() == IPV6 && EXTENSIONS.iter().any(|&number| u128::from(number) == proto);
        let ip = key.l3() == L3::Ok
            && matches!(key.eth_type(), IPV4 | IPV6)
            && !(counts(Field::IpProto) && broken);
        let operation = !counts(Field::IpProto) || proto != 0;
        let arp = key.l3() == L3::Ok && key.eth_type() == ARP && operation && !self.portable;
        let ports = matches!(proto, 6 | 17);
        let icmp = matches!(proto, 1 | 58) && !self.portable;
        fate && (!counts(Field::EthType) || (typed && tag))
            && (!counts(Field::L3) || ip || (arp && !counts(Field::L4)))
            && (!counts(Field::L4) || (key.l4() == L4::Ok && (ports || icmp)))
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

fn is_whole(rule: &Rule, field: Field) -> bool {
    rule.matches.mask().get(field) == field.max()
}

fn may_refuse_field(rule: &Rule, field: Field) -> bool {
    let (key, mask) = (rule.matches.key(), rule.matches.mask());
    let bits = mask.get(field);
    if bits == 0 {
        // A field that is missing and that another one needs.
        return match field {
            Field::VlanTpid => key.get(Field::VlanCount) == 1,
            Field::IpProto => mask.get(Field::L4) != 0,
            _ => false,
        };
    }
    let orphan = field.prerequisites().iter().any(|&before| !is_whole(rule, before));
    let value = key.get(field);
    orphan
        || match field {
            Field::VlanCount => value > 1,
            Field::EthType => value < FIRST_TYPE.into(),
            Field::L3 => {
                let parsed = matches!(key.eth_type(), IPV4 | IPV6 | ARP);
                parsed != (key.l3() == L3::Ok)
            }
            Field::IpFrag => key.eth_type() != IPV4 || value != 0 || !is_whole(rule, field),
            Field::L4 => key.l4() != L4::Ok || !is_whole(rule, field),
            // The key has eight bits of an ARP operation and none of a whole one beyond them; layer 4 is
            // that of one protocol.
            Field::IpProto if key.eth_type() == ARP => value == 0 || !is_whole(rule, field),
            Field::IpProto => {
                let extension = key.eth_type() == IPV6
                    && EXTENSIONS.iter().any(|&number| u128::from(number) & bits == value);
                extension || (mask.get(Field::L4) != 0 && !is_whole(rule, field))
            }
            // Of a header that the rule does not say is there.
            Field::L4Src | Field::L4Dst | Field::TcpFlags => mask.get(Field::L4) == 0,
            Field::ArpSha | Field::ArpTha => key.eth_type() != ARP,
            Field::IpTos | Field::IpTtl => key.eth_type() == ARP,
            _ => false,
        }
}

fn may_refuse_action(rule: &Rule, kind: ActionKind) -> bool {
    let key = rule.matches.key();
    let ip = |family: u16| {
        is_whole(rule, Field::L3)
            && is_whole(rule, Field::EthType)
            && key.eth_type() == family
            && key.l3() == L3::Ok
    };
    let any_ip = ip(IPV4) || ip(IPV6);
    let own_family = rule.actions.iter().all(|action| match action {
        Action::SetIpSrc(address) | Action::SetIpDst(address) => {
            ip(if address.is_ipv4() { IPV4 } else { IPV6 })
        }
        _ => true,
    });
    let ports = is_whole(rule, Field::L4)
        && key.l4() == L4::Ok
        && is_whole(rule, Field::IpProto)
        && matches!(key.get(Field::IpProto), 6 | 17);
    match kind {
        ActionKind::PushVlan => rule
            .actions
            .iter()
            .any(|action| matches!(action, Action::PushVlan { tci, .. } if tci & 0x1000 != 0)),
        ActionKind::PopVlan | ActionKind::SetVlanVid | ActionKind::SetVlanPcp => {
            !(is_whole(rule, Field::VlanCount) && key.get(Field::VlanCount) > 0)
        }
        ActionKind::SetIpSrc | ActionKind::SetIpDst => !own_family,
        ActionKind::SetIpTtl | ActionKind::DecIpTtl => !any_ip,
        ActionKind::SetL4Src | ActionKind::SetL4Dst => !ports,
        ActionKind::SetIpDscp => true,
        ActionKind::Output | ActionKind::SetEthSrc | ActionKind::SetEthDst => false,
    }
}

fn beyond_portable_match(rule: &Rule) -> bool {
    let (key, mask) = (rule.matches.key(), rule.matches.mask());
    let counts = |field| mask.get(field) != 0;
    let partial = |field: Field| counts(field) && !is_whole(rule, field);
    let never = [Field::IpFrag, Field::IpTos, Field::IpTtl, Field::TcpFlags, Field::ArpSha, Field::ArpTha];
    let whole = [Field::EthSrc, Field::EthDst, Field::IpProto, Field::L4Src, Field::L4Dst];
    never.into_iter().any(counts)
        || whole.into_iter().any(partial)
        || (counts(Field::L3) && key.eth_type() == ARP)
        || (counts(Field::L4) && !matches!(key.get(Field::IpProto), 6 | 17))
        || (key.get(Field::VlanCount) == 1
            && (key.get(Field::VlanTpid) != 0x8100
                || !matches!(mask.get(Field::VlanTci), 0 | 0x0fff | 0xefff | 0xffff)))
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
    after_pop || (portable && (tags > 1 || rule.actions.iter().any(refused)))
}
