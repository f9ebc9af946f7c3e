//! Ingress: the policy of the port by which the packet entered; before that, what belongs to the card's own
//! management (see `management.rs`).
//!
//! * **Reads:** the ingress port; on a port with a list of source MAC addresses also the source MAC
//!   address and the EtherType, and of ARP packets the sender hardware address.
//! * **Consults:** ports, by the ingress port.
//! * **Drops:** `port.unconfigured`, `port.disabled`, `port.source_mac`, `port.arp_sender`;
//!   `malformed.vlan` and `malformed.l3` where the check of ARP packets has to read behind them.

use nic_flow::field::L3;
use nic_flow::{Field, MacAddr};
use nic_policy::{DropReason, Verdict};
use nic_wire::EtherType;

use crate::management;
use crate::plan::Plan;
use crate::probe::{Layer, Probe};

/// The stage.
pub(crate) fn run(probe: &mut Probe<'_>, plan: &mut Plan<'_>) -> Verdict {
    if let Some(verdict) = management::run(probe, plan) {
        return verdict;
    }
    match admit(probe) {
        Ok(()) => Verdict::Pass,
        Err(reason) => Verdict::Drop(reason),
    }
}

fn admit(probe: &mut Probe<'_>) -> Result<(), DropReason> {
    let ingress = probe.in_port();
    let port = probe.port(ingress).ok_or(DropReason::PortUnconfigured)?;
    if !port.enabled {
        return Err(DropReason::PortDisabled);
    }
    match &port.source_macs {
        Some(macs) => check_source(probe, macs),
        None => Ok(()),
    }
}

/// A tenant that may not use another's address may not claim it by ARP either.
fn check_source(probe: &mut Probe<'_>, macs: &[MacAddr]) -> Result<(), DropReason> {
    if !macs.contains(&probe.mac(Field::EthSrc)) {
        return Err(DropReason::SourceMac);
    }
    probe.whole(Layer::EtherType)?;
    if probe.eth_type() != EtherType::ARP {
        return Ok(());
    }
    if L3::from_bits(probe.read(Field::L3)) != L3::Ok {
        return Err(DropReason::MalformedL3);
    }
    if macs.contains(&probe.mac(Field::ArpSha)) { Ok(()) } else { Err(DropReason::ArpSender) }
}

#[cfg(test)]
mod tests {
    use crate::Snapshot;
    use crate::fixture::{disabled, fate, fields, open, policy, restricted, rule, translated};

    const MINE: &str = "02:00:00:00:00:01";

    fn guarded(macs: &[&str]) -> Snapshot {
        policy(&[restricted("pf0vf0", macs), open("p0"), rule(1, 1, "in_port=pf0vf0", "output(p0)")])
    }

    #[test]
    fn a_port_without_policy_and_a_disabled_one_let_nothing_in() {
        let policy = policy(&[disabled("pf0vf0"), rule(1, 1, "any", "output(p0)")]);
        assert_eq!(fate("in_port=pf0vf0", &policy), "port.disabled");
        assert_eq!(fate("in_port=pf0vf1", &policy), "port.unconfigured");
        assert_eq!(fate("in_port=pf0vf1", &Snapshot::empty()), "port.unconfigured");
        assert_eq!(fields(&translated("in_port=pf0vf0", &policy).read), ["in_port"]);
    }

    #[test]
    fn a_source_address_that_is_not_the_tenants_is_dropped() {
        let policy = guarded(&["02:00:00:00:00:09", MINE]);
        assert_eq!(fate(&format!("in_port=pf0vf0,eth_src={MINE}"), &policy), "output(p0)");
        assert_eq!(fate("in_port=pf0vf0,eth_src=02:00:00:00:00:02", &policy), "port.source_mac");
        assert_eq!(fate(&format!("in_port=pf0vf0,eth_src={MINE}"), &guarded(&[])), "port.source_mac");
    }

    #[test]
    fn the_sender_of_an_arp_packet_is_checked_and_a_malformed_one_is_not_let_by() {
        let policy = guarded(&[MINE]);
        let arp = format!("in_port=pf0vf0,eth_src={MINE},eth_type=0x0806");
        assert_eq!(fate(&format!("{arp},l3=1,arp_sha={MINE}"), &policy), "output(p0)");
        assert_eq!(fate(&format!("{arp},l3=1,arp_sha=02:00:00:00:00:02"), &policy), "port.arp_sender");
        assert_eq!(fate(&format!("{arp},l3=2"), &policy), "malformed.l3");
        let deep = format!("in_port=pf0vf0,eth_src={MINE},vlan_count=3");
        assert_eq!(fate(&deep, &policy), "malformed.vlan");
    }

    #[test]
    fn only_arp_pays_for_the_check_of_arp() {
        let read =
            translated(&format!("in_port=pf0vf0,eth_src={MINE},eth_type=0x0800,l3=2"), &guarded(&[MINE]));
        assert_eq!(fields(&read.read), ["in_port", "eth_src", "vlan_count", "eth_type"]);
    }
}
