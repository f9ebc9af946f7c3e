//! Traffic through tunnels, counted packet by packet.

use std::net::IpAddr;

use e2e::overlay::{Endpoint, Underlay, resources};
use e2e::{Lab, Options, Place, Received, Stats, number};

use super::{VMS, acquainted, await_rule, overlay_drops};
use crate::bench::{Bench, Outcome, peer, vm1, vm2};

const RATE: u64 = 20_000;

#[test]
fn through_the_kernels_tunnel_over_ipv4_all_arrives_and_the_eswitch_carries_it() -> Outcome {
    carries(Endpoint::Kernel, Underlay::Ipv4, 100_000)
}

#[test]
fn through_the_kernels_tunnel_over_ipv6_all_arrives_and_the_eswitch_carries_it() -> Outcome {
    carries(Endpoint::Kernel, Underlay::Ipv6, 100_000)
}

#[test]
fn through_open_vswitchs_tunnel_over_ipv4_all_arrives_and_the_eswitch_carries_it() -> Outcome {
    carries(Endpoint::OpenVSwitch, Underlay::Ipv4, 20_000)
}

#[test]
fn through_open_vswitchs_tunnel_over_ipv6_all_arrives_and_the_eswitch_carries_it() -> Outcome {
    carries(Endpoint::OpenVSwitch, Underlay::Ipv6, 20_000)
}

/// Open vSwitch's datapath in user space and two busy cores: slower, so that nothing is lost over there.
const fn rate(endpoint: Endpoint) -> u64 {
    match endpoint {
        Endpoint::Kernel => RATE,
        Endpoint::OpenVSwitch => 5_000,
    }
}

fn carries(endpoint: Endpoint, underlay: Underlay, packets: u64) -> Outcome {
    let mut lab = acquainted(endpoint, underlay)?;
    let overhead = if underlay == Underlay::Ipv4 { 50 } else { 70 };
    // 42 octets of headers, 64 of payload.
    for (from, to, port, size) in [(vm1(), peer(), "vm1", 106), (peer(), vm1(), "uplink", 106 + overhead)] {
        lab.udp(from, to, 5001, 1, RATE)?;
        await_rule(&mut lab, port, to)?;
        let before = lab.settled_stats()?;
        let received = lab.udp(from, to, 5001, packets, rate(endpoint))?;
        let after = lab.settled_stats()?;
        assert_eq!(received, Received { distinct: packets, lost: 0, duplicates: 0, reordered: 0 });
        counted(&lab, &before, &after, from, packets, size);
        await_rule(&mut lab, port, to)?;
    }
    Ok(())
}

/// The counters of the port by which the packets entered. Others may come by it, too: its endpoint asks
/// for addresses.
fn counted(lab: &Lab, before: &Stats, after: &Stats, from: Place, packets: u64, size: u64) {
    let grown = |counter: &str| after.port(from.device, counter) - before.port(from.device, counter);
    let (hardware, slow_path) = (grown("hardwarePackets"), grown("rxPackets"));
    println!("{}: {packets} sent, {hardware} by the E-Switch, {slow_path} by the slow path", from.device);
    assert!(hardware * 1000 >= packets * 999, "by the E-Switch: {hardware}");
    assert!(hardware <= packets && hardware + slow_path >= packets, "{hardware} and {slow_path}");
    assert_eq!(grown("hardwareBytes"), hardware * size, "octets of the frames as they entered");
    assert!(
        slow_path <= 32,
        "the slow path's own: {slow_path}\n{}",
        lab.show(&["stats"]).unwrap_or_default()
    );
    assert_eq!(overlay_drops(after), overlay_drops(before), "{:#}", after.0);
}

#[test]
fn what_is_reordered_when_a_flow_is_offloaded_is_counted_and_nothing_is_lost() -> Outcome {
    const PACKETS: u64 = 20_000;
    let mut lab = acquainted(Endpoint::Kernel, Underlay::Ipv4)?;
    for (from, to, port) in [(vm1(), peer(), "vm1"), (peer(), vm1(), "uplink")] {
        lab.show(&["flows", "flush"])?;
        let before = lab.settled_stats()?;
        // The flow is made and goes into the E-Switch while its packets come.
        let received = lab.udp(from, to, 5001, PACKETS, RATE)?;
        await_rule(&mut lab, port, to)?;
        let after = lab.settled_stats()?;
        println!("{port}: of {PACKETS} packets {} came behind a later one", received.reordered);
        assert_eq!((received.lost, received.duplicates), (0, 0));
        assert!(received.reordered <= PACKETS / 100, "{}", received.reordered);
        let grown = |counter: &str| after.port(from.device, counter) - before.port(from.device, counter);
        assert!(grown("rxPackets") > 0, "the first ones went by the slow path");
        assert!(grown("hardwarePackets") > 0, "and the last ones did not");
    }
    Ok(())
}

#[test]
fn strangers_find_each_other_by_arp_and_neighbor_discovery_over_both_underlays() -> Outcome {
    for underlay in [Underlay::Ipv4, Underlay::Ipv6] {
        let options = Options { ipv6: true, neighbours: false, ..Options::default() };
        let mut lab = Bench::start(options)?;
        lab.make_overlay(Endpoint::Kernel, underlay)?;
        lab.apply(&resources(underlay, &VMS))?;
        for (from, to) in [(vm1(), peer()), (peer(), vm2()), (vm2(), vm1())] {
            for address in [IpAddr::V4(to.ipv4()), IpAddr::V6(to.ipv6())] {
                let ping = lab.ping(from, address, 3, 1.0)?;
                assert_eq!(
                    number(&ping["answered"]),
                    3,
                    "{underlay:?}, {} to {address}: {ping}",
                    from.device
                );
            }
        }
        let to = (peer().ipv4(), 5002).into();
        let result = lab.tcp(vm1(), to, peer(), 8 << 20)?;
        assert_eq!((number(&result["received"]), number(&result["wrong"])), (8 << 20, 0), "{result}");
        let neighbors = lab.json(&["neighbors"])?.to_string();
        assert!(neighbors.contains(&underlay.wire().to_string()), "{neighbors}");
        let fdb = lab.json(&["fdb"])?.to_string();
        for station in [vm1(), vm2(), peer()] {
            assert!(fdb.contains(&station.mac_text()), "{fdb}");
        }
    }
    Ok(())
}
