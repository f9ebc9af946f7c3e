//! VXLAN rules as testpmd writes them, and the VXLAN device of Linux at the other end.

use conformance::{Lab, Testpmd};

use crate::number;
use crate::rules::refuses;
use crate::traffic::{datagrams, hits, stream};

/// Outer headers as testpmd knows them; the source port is the switch's choice.
const OUTER_V4: &str = "set vxlan-tos-ttl ip-version ipv4 vni 42 udp-src 0 udp-dst 4789 ip-tos 0 ip-ttl 64 \
    ip-src 10.77.0.9 ip-dst 10.77.0.1 eth-src 02:00:00:00:00:09 eth-dst 02:00:00:00:00:01";
const OUTER_V6: &str = "set vxlan ip-version ipv6 vni 43 udp-src 0 udp-dst 4789 \
    ip-src 2001:db8::9 ip-dst 2001:db8::1 eth-src 02:00:00:00:00:09 eth-dst 02:00:00:00:00:01";
const OUTER_TAGGED: &str = "set vxlan-with-vlan ip-version ipv4 vni 44 udp-src 0 udp-dst 4789 \
    ip-src 10.77.0.9 ip-dst 10.77.0.1 vlan-tci 10 eth-src 02:00:00:00:00:09 eth-dst 02:00:00:00:00:01";

const UPLINK: &str = "represented_port ethdev_port_id is 0";
const VF: &str = "represented_port ethdev_port_id is 1";
const TO_UPLINK: &str = "represented_port ethdev_port_id 0";
const TO_VF: &str = "represented_port ethdev_port_id 1";

fn created(testpmd: &mut Testpmd, rule: &str) {
    let said = testpmd.run(&format!("flow create 0 {rule}")).unwrap();
    assert!(said.contains("created"), "{rule}: {said}");
}

#[test]
fn tunnel_rules_are_created_listed_queried_and_found_twice() {
    for profile in ["portable", "full"] {
        let device = format!("net_eswitch0,vfs=1,representor=0,profile={profile}");
        let mut testpmd = Testpmd::start(None, &[&device], &[]).unwrap();
        let inner = "eth dst is 02:00:00:00:00:02 src is 02:00:00:00:00:01 type is 0x0800";
        let marked = if profile == "full" { "/ ipv4 tos spec 3 tos mask 3" } else { "" };
        let patterns = [
            format!("{UPLINK} / eth / ipv4 / udp / vxlan vni is 42"),
            format!("{UPLINK} / eth / ipv4 src is 10.77.0.1 / udp dst is 4789 / vxlan vni is 43 / {inner}"),
            format!("{UPLINK} / eth / ipv6 / udp dst is 4789 / vxlan vni is 44 / {inner} {marked}"),
            format!(
                "{UPLINK} / eth type is 0x8100 / vlan vid is 10 inner_type is 0x0800 / ipv4 / udp / vxlan vni is 45"
            ),
        ];
        for pattern in &patterns {
            created(
                &mut testpmd,
                &format!("transfer pattern {pattern} / end actions count / vxlan_decap / {TO_VF} / end"),
            );
        }
        let listed = testpmd.run("flow list 0").unwrap();
        let line = "REPRESENTED_PORT ETH IPV4 UDP VXLAN ETH => COUNT VXLAN_DECAP REPRESENTED_PORT";
        assert!(listed.contains(line), "{listed}");
        // The same match, whatever is done with it.
        let again = format!("flow create 0 transfer pattern {} / end actions drop / end", patterns[0]);
        assert!(testpmd.run(&again).unwrap().contains("File exists"));
        for (number, outer) in [OUTER_V4, OUTER_V6, OUTER_TAGGED].into_iter().enumerate() {
            testpmd.run(outer).unwrap();
            let rule = format!(
                "transfer pattern {VF} / eth dst is 02:00:00:00:00:0{number} / end actions count / vxlan_encap / {TO_UPLINK} / end"
            );
            created(&mut testpmd, &rule);
        }
        let said = testpmd.run("flow query 0 6 count").unwrap();
        assert_eq!((number(&said, "hits_set:"), number(&said, "hits:")), (1, 0), "{said}");
        testpmd.run("flow flush 0").unwrap();
        assert!(!testpmd.run("flow list 0").unwrap().contains("=>"));
        testpmd.quit().unwrap();
    }
}

#[test]
fn a_refused_tunnel_names_the_part_at_fault_and_the_reason() {
    let mut testpmd = Testpmd::start(None, &["net_eswitch0,vfs=1,representor=0"], &[]).unwrap();
    testpmd.run(OUTER_V4).unwrap();
    let cases = [
        (
            "0 transfer pattern eth / ipv4 / vxlan / end actions drop / end",
            "specific pattern item",
            "udp item",
        ),
        (
            "0 transfer pattern eth / ipv4 / udp dst is 53 / vxlan / end actions drop / end",
            "item specification",
            "4789",
        ),
        (
            "0 transfer pattern eth / ipv4 / udp / vxlan / eth / ipv4 / udp / vxlan / end actions drop / end",
            "specific pattern item",
            "a tunnel in a tunnel",
        ),
        (
            "0 transfer pattern eth / ipv4 / udp / end actions vxlan_decap / port_id id 1 / end",
            "specific action",
            "needs a vxlan item",
        ),
        (
            "0 transfer pattern eth / ipv4 / udp / vxlan / end actions vxlan_decap / vxlan_decap / port_id id 1 / end",
            "specific action",
            "stands once",
        ),
        (
            "0 transfer pattern eth / ipv4 / udp / vxlan / end actions vxlan_decap / set_ipv4_dst ipv4_addr 10.0.0.1 / port_id id 1 / end",
            "specific action",
            "needs an ipv4 item",
        ),
        (
            "0 transfer pattern eth / end actions vxlan_encap / vxlan_encap / port_id id 0 / end",
            "specific action",
            "a second encapsulation",
        ),
    ];
    refuses(&mut testpmd, &cases);
    for (outer, reason) in [
        (OUTER_V4.replace("udp-src 0", "udp-src 4"), "item 3 of the definition: the source port"),
        (OUTER_V4.replace("udp-dst 4789", "udp-dst 8472"), "item 3 of the definition: the destination port"),
    ] {
        testpmd.run(&outer).unwrap();
        let rule = "0 transfer pattern eth / end actions vxlan_encap / port_id id 0 / end";
        refuses(&mut testpmd, &[(rule, "action configuration", reason)]);
    }
    assert!(!testpmd.run("flow list 0").unwrap().contains("=>"));
    testpmd.quit().unwrap();
}

#[test]
fn the_portable_profile_has_tunnels_at_the_uplink_only() {
    let device = "net_eswitch0,vfs=1,representor=0,profile=portable";
    let mut testpmd = Testpmd::start(None, &[device], &[]).unwrap();
    testpmd.run(OUTER_V4).unwrap();
    let tunnel = "eth / ipv4 / udp / vxlan vni is 42";
    let cases = [
        (
            format!("{UPLINK} / end actions vxlan_encap / {TO_VF}"),
            "specific action",
            "a tunnel leaves by an uplink",
        ),
        (
            format!("{VF} / {tunnel} / end actions vxlan_decap / {TO_UPLINK}"),
            "specific action",
            "decap_vxlan",
        ),
        (
            format!("{UPLINK} / {tunnel} / end actions vxlan_decap / vxlan_encap / {TO_UPLINK}"),
            "specific action",
            "encap_vxlan",
        ),
        (
            format!("{UPLINK} / {tunnel} / eth / ipv4 ttl is 1 / end actions {TO_VF}"),
            "specific pattern item",
            "tun_l3",
        ),
    ];
    let cases = cases.map(|(rule, part, reason)| (format!("0 transfer pattern {rule} / end"), part, reason));
    let cases: Vec<_> = cases.iter().map(|(rule, part, reason)| (rule.as_str(), *part, *reason)).collect();
    refuses(&mut testpmd, &cases);
    testpmd.quit().unwrap();
}

/// The first host is in the underlay network, the second one behind the VF. The first one's `vx0` has the
/// second one's network.
fn overlay(lab: &Lab, device: &str, underlay: &[&str]) {
    let (peer, vm) = (lab.host(0), lab.host(1));
    peer.ip("link set eth0 address 02:00:00:00:00:01").unwrap();
    for command in underlay {
        peer.ip(command).unwrap();
    }
    peer.ip(&format!("link add vx0 type vxlan dstport 4789 dev eth0 {device}")).unwrap();
    // Linux would leave packets in a tunnel to the card to cut, which no packet socket can tell.
    peer.ip("link set vx0 gso_max_segs 1").unwrap();
    peer.ip("link set vx0 up").unwrap();
    peer.ip("addr add 10.88.0.1/24 dev vx0").unwrap();
    vm.ip("link set eth0 mtu 1430").unwrap();
    vm.ip("addr flush dev eth0").unwrap();
    vm.ip("addr add 10.88.0.2/24 dev eth0").unwrap();
}

fn through(underlay: &[&str], device: &str, outer: &str, network: &str) {
    const DATAGRAMS: u32 = 1000;
    const STREAM: usize = 4 << 20;
    let lab = Lab::new(2).unwrap();
    overlay(&lab, device, underlay);
    let (peer, vm) = (lab.host(0), lab.host(1));
    let backing = format!("backing=p0:af_packet:{}+pf0vf0:af_packet:{}", peer.far_end(), vm.far_end());
    let switch = format!("net_eswitch0,vfs=1,representor=0,profile=portable,{backing}");
    let mut testpmd = Testpmd::start(Some(lab.switch()), &[&switch], &[]).unwrap();
    testpmd.run(outer).unwrap();
    created(
        &mut testpmd,
        &format!("transfer pattern {VF} / end actions count / vxlan_encap / {TO_UPLINK} / end"),
    );
    let vni = number(outer, " vni ");
    let tunnel = format!("{network} / udp dst is 4789 / vxlan vni is {vni}");
    created(
        &mut testpmd,
        &format!("transfer pattern {UPLINK} / {tunnel} / end actions count / vxlan_decap / {TO_VF} / end"),
    );
    assert_eq!(datagrams(vm, peer, "10.88.0.1", DATAGRAMS), DATAGRAMS);
    assert_eq!(datagrams(peer, vm, "10.88.0.2", DATAGRAMS), DATAGRAMS);
    // Besides them ARP and what else hosts say.
    for rule in [0, 1] {
        let packets = hits(&mut testpmd, rule);
        assert!((1000..1100).contains(&packets), "rule {rule}: {packets}");
    }
    // Large packets, which the VM leaves to its card to cut, and back.
    assert_eq!(stream(vm, peer, "10.88.0.1", STREAM), STREAM);
    assert_eq!(stream(peer, vm, "10.88.0.2", STREAM), STREAM);
    for rule in [0, 1] {
        assert!(hits(&mut testpmd, rule) as usize > STREAM / 1430, "rule {rule}");
    }
    for port in [0, 1] {
        let stats = testpmd.run(&format!("show port xstats {port}")).unwrap();
        for counter in [
            "wire_drop_not_offloadable:",
            "wire_drop_oversized:",
            "wire_send_refused:",
            "wire_send_oversized:",
        ] {
            assert_eq!(number(&stats, counter), 0, "{counter} of port {port}: {stats}");
        }
    }
    testpmd.quit().unwrap();
}

#[test]
fn a_host_reaches_the_vxlan_device_of_linux_over_ipv4() {
    let underlay = ["neigh add 10.77.0.9 lladdr 02:00:00:00:00:09 dev eth0"];
    through(&underlay, "id 42 local 10.77.0.1 remote 10.77.0.9", OUTER_V4, "eth / ipv4 src is 10.77.0.1");
}

#[test]
fn a_host_reaches_the_vxlan_device_of_linux_over_ipv6() {
    let underlay =
        ["addr add 2001:db8::1/64 dev eth0 nodad", "neigh add 2001:db8::9 lladdr 02:00:00:00:00:09 dev eth0"];
    let device = "id 43 local 2001:db8::1 remote 2001:db8::9 udp6zerocsumrx";
    through(&underlay, device, OUTER_V6, "eth / ipv6 src is 2001:db8::1");
}
