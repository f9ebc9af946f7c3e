//! Overlays: the kernel's VXLAN and Open vSwitch at the other end of the tunnels.

mod import;
mod isolation;
mod learning;
mod moves;
mod mtu;
mod operator;
mod peers;
mod scale;
mod vlan;

use std::time::Duration;

use e2e::overlay::{Endpoint, Underlay, resources};
use e2e::{LabError, Options, Place, Stats, number};
use serde_json::Value;

use crate::bench::{Bench, peer, vm1};

/// The Ports of the VMs.
pub(crate) const VMS: [(&str, &str); 2] = [("vm1", "pf0vf0"), ("vm2", "pf0vf1")];

/// An overlay in which everybody knows everybody's MAC address, and the card where everybody is.
pub(crate) fn acquainted(endpoint: Endpoint, underlay: Underlay) -> Result<Bench, LabError> {
    let mut lab = Bench::start(Options::default())?;
    lab.make_overlay(endpoint, underlay)?;
    lab.apply(&resources(underlay, &VMS))?;
    meet(&mut lab, vm1(), peer())?;
    Ok(lab)
}

/// Two stations exchange packets until each knows that the other is there, and so does the card.
pub(crate) fn meet(lab: &mut Bench, one: Place, other: Place) -> Result<(), LabError> {
    lab.until("an answer to a ping", Duration::from_secs(10), |lab| {
        let ping = lab.ping(one, other.ipv4().into(), 1, 0.5)?;
        Ok(if ping["answered"] == 1 { Ok(()) } else { Err(ping.to_string()) })
    })
}

/// Waits until frames to a station are forwarded by a rule, those that enter by a Port.
pub(crate) fn await_rule(lab: &mut Bench, port: &str, to: Place) -> Result<(), LabError> {
    lab.await_hardware(port, &format!("eth_dst={}", to.mac_text()))
}

/// Packets that were dropped, but for the multicast that the kernels around send of their own accord, which
/// reaches the uplink before the policy does or is for nobody here.
pub(crate) fn overlay_drops(stats: &Stats) -> u64 {
    let drops = stats.0["drops"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours =
        |drop: &&Value| drop["reason"] != "flow_rules.no_match" && drop["reason"] != "port.unconfigured";
    drops.iter().filter(ours).map(|drop| number(&drop["packets"])).sum()
}

/// A frame that no protocol knows.
pub(crate) fn frame(to: [u8; 6], from: [u8; 6], payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &[0x88, 0xb5], payload].concat()
}
