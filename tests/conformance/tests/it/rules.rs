use conformance::Testpmd;

use crate::number;

#[test]
fn rules_are_validated_created_listed_queried_destroyed_and_flushed() {
    let mut testpmd = Testpmd::start(None, &["net_eswitch0,vfs=2,representor=[0-1]"], &[]).unwrap();
    let patterns = [
        "represented_port ethdev_port_id is 0 / eth / ipv4 src is 10.0.0.1 dst is 10.0.0.2 / udp src is 5 dst is 53",
        "eth src is 02:00:00:00:00:01 type is 0x0806",
        "represented_port ethdev_port_id is 1 / eth has_vlan is 1 / vlan vid is 5 inner_type is 0x0800 / ipv4 ttl is 1",
        "port_id id is 2 / eth / ipv6 dst prefix 64 dst spec 2001:db8:: proto is 6 / tcp dst is 443 flags spec 2 flags mask 0x12",
        "eth / ipv4 fragment_offset spec 0 fragment_offset mask 0x3fff / icmp type is 8 code is 0",
        "eth / ipv6 / icmp6 type is 135",
        "eth / arp_eth_ipv4 spa is 10.0.0.1 tpa is 10.0.0.2",
        "eth / ipv4 fragment_offset spec 1 fragment_offset last 0x1fff fragment_offset mask 0x1fff",
    ];
    for (index, pattern) in patterns.iter().enumerate() {
        let actions =
            ["count / represented_port ethdev_port_id 2", "port_id id 1 / count", "count / drop"][index % 3];
        let rule = format!("0 priority {index} transfer pattern {pattern} / end actions {actions} / end");
        let said = testpmd.run(&format!("flow validate {rule}")).unwrap();
        assert!(said.contains("Flow rule validated"), "{rule}: {said}");
        let said = testpmd.run(&format!("flow create {rule}")).unwrap();
        assert!(said.contains(&format!("Flow rule #{index} created")), "{rule}: {said}");
    }
    let listed = testpmd.run("flow list 0").unwrap();
    assert_eq!(listed.lines().filter(|line| line.contains("=>")).count(), patterns.len(), "{listed}");
    assert!(listed.contains("--t\tREPRESENTED_PORT ETH IPV4 UDP => COUNT REPRESENTED_PORT"), "{listed}");

    let said = testpmd.run("flow query 0 0 count").unwrap();
    assert_eq!((number(&said, "hits_set:"), number(&said, "bytes_set:"), number(&said, "hits:")), (1, 1, 0));
    let said = testpmd.run("flow destroy 0 rule 0 rule 3").unwrap();
    assert!(said.contains("Flow rule #0 destroyed") && said.contains("Flow rule #3 destroyed"), "{said}");
    let listed = testpmd.run("flow list 0").unwrap();
    assert_eq!(listed.lines().filter(|line| line.contains("=>")).count(), patterns.len() - 2, "{listed}");
    // The same rule again: its match was given back. And twice: that is refused.
    let again = format!("flow create 0 transfer pattern {} / end actions drop / end", patterns[0]);
    assert!(testpmd.run(&again).unwrap().contains("created"));
    assert!(testpmd.run(&again).unwrap().contains("File exists"));
    testpmd.run("flow flush 0").unwrap();
    assert!(!testpmd.run("flow list 0").unwrap().contains("=>"));
    assert!(testpmd.run(&again).unwrap().contains("created"));
    assert!(testpmd.quit().unwrap().contains("Bye"));
}

/// What is refused, what part testpmd says is at fault, and why.
const REFUSED: [(&str, &str, &str); 15] = [
    ("0 ingress pattern eth / end actions drop / end", "transfer field", "only transfer rules"),
    ("0 transfer group 1 pattern eth / end actions drop / end", "group field", "only group 0"),
    (
        "0 transfer pattern eth / ipv4 / udp / geneve / end actions drop / end",
        "specific pattern item",
        "does not know",
    ),
    (
        "0 transfer pattern eth / ipv4 / ipv4 / end actions drop / end",
        "specific pattern item",
        "higher layer",
    ),
    (
        "0 transfer pattern eth / tcp / end actions drop / end",
        "specific pattern item",
        "IP version before it",
    ),
    (
        "0 transfer pattern port_representor port_id is 0 / end actions drop / end",
        "specific pattern item",
        "meets no rule",
    ),
    (
        "0 transfer pattern eth / ipv4 fragment_offset spec 0x2000 fragment_offset mask 0x2000 / end actions drop / end",
        "item specification mask",
        "fragments",
    ),
    (
        "0 transfer pattern eth / ipv4 src spec 10.0.0.1 src last 10.0.0.9 src mask 255.255.255.255 / end actions drop / end",
        "item specification range",
        "a range",
    ),
    (
        "0 transfer pattern eth type is 0x0800 / ipv6 / end actions drop / end",
        "item specification",
        "eth_type contradicts",
    ),
    (
        "0 transfer pattern represented_port ethdev_port_id is 9 / end actions drop / end",
        "item specification",
        "another device",
    ),
    ("0 transfer pattern eth / end actions count / end", "number of actions", "destination or a drop"),
    ("0 transfer pattern eth / end actions queue index 0 / end", "specific action", "does not know"),
    (
        "0 transfer pattern eth / end actions set_ipv4_dst ipv4_addr 10.0.0.1 / port_id id 1 / end",
        "specific action",
        "needs an ipv4 item",
    ),
    (
        "0 transfer pattern eth / end actions of_pop_vlan / port_id id 1 / end",
        "specific action",
        "needs a vlan item",
    ),
    (
        "0 transfer pattern eth / end actions represented_port ethdev_port_id 7 / end",
        "action configuration",
        "another device",
    ),
];

#[test]
fn a_refused_rule_names_the_part_at_fault_and_the_reason() {
    let mut testpmd = Testpmd::start(None, &["net_eswitch0,vfs=1,representor=0"], &[]).unwrap();
    refuses(&mut testpmd, &REFUSED);
    assert!(!testpmd.run("flow list 0").unwrap().contains("=>"));
    testpmd.quit().unwrap();
}

pub(crate) fn refuses(testpmd: &mut Testpmd, cases: &[(&str, &str, &str)]) {
    for (rule, part, reason) in cases {
        for verb in ["validate", "create"] {
            let said = testpmd.run(&format!("flow {verb} {rule}")).unwrap();
            let error = said.lines().find(|line| line.contains("Caught PMD error")).unwrap_or(&said);
            assert!(error.contains(&format!("({part})")), "{verb} {rule}: {said}");
            assert!(error.contains(reason), "{verb} {rule}: {said}");
        }
    }
}

#[test]
fn the_portable_profile_refuses_what_some_card_lacks() {
    let device = "net_eswitch0,vfs=1,representor=0,profile=portable,max_rules=2";
    let mut testpmd = Testpmd::start(None, &[device], &[]).unwrap();
    let source = "represented_port ethdev_port_id is 0";
    let cases = [
        (
            "0 transfer pattern eth / end actions drop / end".into(),
            "pattern length",
            "represented_port item is needed",
        ),
        (
            format!("0 transfer pattern {source} / eth / ipv4 ttl is 1 / end actions drop / end"),
            "specific pattern item",
            "ip_ttl",
        ),
        (
            format!("0 transfer priority 1 pattern {source} / end actions drop / end"),
            "priority field",
            "greatest priority is 0",
        ),
        (
            format!(
                "0 transfer pattern {source} / eth / end actions set_mac_src mac_addr 02:00:00:00:00:01 / represented_port ethdev_port_id 1 / end"
            ),
            "specific action",
            "set_eth_src",
        ),
        (
            format!(
                "0 transfer pattern {source} / eth / end actions represented_port ethdev_port_id 1 / represented_port ethdev_port_id 0 / end"
            ),
            "specific action",
            "one destination",
        ),
    ];
    let cases: Vec<_> =
        cases.iter().map(|(rule, part, reason): &(String, _, _)| (rule.as_str(), *part, *reason)).collect();
    refuses(&mut testpmd, &cases);
    for destination in ["1", "2"] {
        let rule = format!(
            "flow create 0 transfer pattern {source} / eth / ipv4 dst is 10.0.0.{destination} / end actions count / represented_port ethdev_port_id 1 / end"
        );
        assert!(testpmd.run(&rule).unwrap().contains("created"));
    }
    let third = format!("flow create 0 transfer pattern {source} / end actions drop / end");
    let said = testpmd.run(&third).unwrap();
    assert!(said.contains("holds its 2 rules") && said.contains("No space left"), "{said}");
    testpmd.quit().unwrap();
}

#[test]
fn representors_are_added_by_probing_the_device_again() {
    let mut testpmd =
        Testpmd::start(None, &["net_eswitch0,vfs=15,hpf=1,representor=[0-9]"], &["--rxq=1", "--txq=2"])
            .unwrap();
    let summary = testpmd.run("show port summary all").unwrap();
    assert_eq!(number(&summary, "Number of available ports:"), 11, "{summary}");
    for (ask, name) in [("vf10", "pf0vf10"), ("pf0vf14", "pf0vf14"), ("[11]", "pf0vf11"), ("pf0", "pf0hpf")] {
        let said = testpmd.run(&format!("port attach net_eswitch0,representor={ask}")).unwrap();
        assert!(said.contains("is attached"), "{ask}: {said}");
        let summary = testpmd.run("show port summary all").unwrap();
        assert!(summary.contains(&format!("net_eswitch0_representor_{name} ")), "{summary}");
    }
    let info = testpmd.run("show port info 11").unwrap();
    assert!(info.contains("Switch name: net_eswitch0"), "{info}");
    assert_eq!(number(&info, "Switch Port Id:"), 0x8000 + 10, "{info}");
    let said = testpmd.run("port attach net_eswitch0,representor=99").unwrap();
    assert!(said.contains("no function pf0vf99"), "{said}");
    testpmd.quit().unwrap();
}
