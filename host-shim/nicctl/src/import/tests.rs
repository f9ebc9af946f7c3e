use super::*;

const OVS: &str = include_str!("../../tests/tutorials/ovs-dpdk.txt");
const TC: &str = include_str!("../../tests/tutorials/tc-vxlan.txt");

fn devices(named: &[(&str, &str)]) -> BTreeMap<String, String> {
    named.iter().map(|(name, device)| ((*name).to_owned(), (*device).to_owned())).collect()
}

fn imported(language: Language, text: &str) -> Imported {
    translate(language, text, &BTreeMap::new()).expect("every word has a meaning")
}

fn refused(language: Language, text: &str) -> ImportError {
    translate(language, text, &BTreeMap::new()).expect_err("a word has no meaning")
}

/// What comes out is what `apply` reads.
fn names(imported: &Imported) -> Vec<String> {
    let entries = files::parse(&"import".into(), &imported.yaml).expect("a file that can be read");
    entries.into_iter().map(|entry| entry.name).collect()
}

#[test]
fn the_ovs_tutorial_becomes_three_ports_and_its_four_flows_in_their_order() {
    let imported = imported(Language::OvsOfctl, OVS);
    assert_eq!(
        names(&imported),
        [
            "ports/pf0",
            "ports/vm1",
            "ports/vm2",
            "flowRules/imported-0001",
            "flowRules/imported-0002",
            "flowRules/imported-0003",
            "flowRules/imported-0004",
        ]
    );
    for line in [
        "name: ports/pf0\nspec:\n  device: p0\n",
        "name: ports/vm2\nspec:\n  device: pf0vf1\n",
        "flow: 'in_port=pf0,ip,nw_src=10.10.1.0/255.255.255.0,action=output:vm1'",
        "flow: 'in_port=vm2,action=output:pf0'",
    ] {
        assert!(imported.yaml.contains(line), "{line}\n{}", imported.yaml);
    }
    assert_eq!(imported.notes.len(), 3, "{:#?}", imported.notes);
}

#[test]
fn the_tc_tutorial_becomes_a_bridge_with_its_two_stations() {
    let imported = imported(Language::Tc, TC);
    assert_eq!(
        names(&imported),
        [
            "ports/enp6s0f1",
            "ports/enp6s0f1_0",
            "vteps/vtep-192.168.203.51",
            "bridges/vni-16",
            "tunnelPeers/peer-192.168.203.56",
            "fdbEntries/vni-16.828a29ad4eef",
            "fdbEntries/vni-16.e41111111110",
        ]
    );
    for line in [
        "device: p1\n",
        "device: pf1vf0\n  mtu: 1450\n  macAddresses: ['e4:11:11:11:11:10']\n  antiSpoof: true\n  bridge: bridges/vni-16\n  disableLearning: true\n",
        "address: '192.168.203.51/24'\n",
        "vni: 16\n  unknownUnicast: DROP\n",
        "macAddress: '82:8a:29:ad:4e:ef'\n  tunnelPeer: tunnelPeers/peer-192.168.203.56\n",
        "macAddress: 'e4:11:11:11:11:10'\n  port: ports/enp6s0f1_0\n",
    ] {
        assert!(imported.yaml.contains(line), "{line}\n{}", imported.yaml);
    }
    let notes = imported.notes.join("\n");
    assert!(notes.contains("every EtherType") && notes.contains("prefix of 192.168.203.51"), "{notes}");
}

#[test]
fn a_device_can_be_said_where_a_name_does_not_say_it() {
    let named = devices(&[("enp6s0f1", "p0"), ("enp6s0f1_0", "pf0vf0")]);
    let imported = translate(Language::Tc, TC, &named).expect("every word has a meaning");
    assert!(imported.yaml.contains("device: p0\n") && imported.yaml.contains("device: pf0vf0\n"));
    let line = "tc filter add dev eth7 protocol ip parent ffff: flower dst_mac 02:00:00:00:00:01 action drop";
    assert_eq!(refused(Language::Tc, line), ImportError::Device { line: 1, name: "eth7".into() });
    let known = translate(Language::Tc, line, &devices(&[("eth7", "pf0vf7")])).expect("the device is known");
    assert!(
        known.yaml.contains("flow: 'priority=65535,in_port=eth7,ip,dl_dst=02:00:00:00:00:01,actions=drop'")
    );
    let twice = devices(&[("eth7", "p0"), ("eth8", "p0")]);
    let text = format!("{line}\n{}", line.replace("eth7", "eth8"));
    let error = translate(Language::Tc, &text, &twice).expect_err("one device, two names");
    assert!(matches!(error, ImportError::Conflict { line: 2, .. }), "{error}");
}

#[test]
fn filters_without_a_tunnel_become_flow_rules_the_lowest_number_first() {
    let text = "\
tc filter add dev enp1s0f0_0 protocol ip parent ffff: prio 7 flower ip_proto tcp dst_port 80 dst_ip 10.0.0.0/8 action drop
tc filter add dev enp1s0f0_0 ingress protocol ipv6 prio 8 flower src_ip fd00::1 ip_proto udp action mirred egress redirect dev enp1s0f0
";
    let imported = imported(Language::Tc, text);
    for flow in [
        "flow: 'priority=65528,in_port=enp1s0f0_0,tcp,nw_dst=10.0.0.0/8,tp_dst=80,actions=drop'",
        "flow: 'priority=65527,in_port=enp1s0f0_0,udp6,ipv6_src=fd00::1,actions=output:enp1s0f0'",
    ] {
        assert!(imported.yaml.contains(flow), "{flow}\n{}", imported.yaml);
    }
}

#[test]
fn a_word_without_an_equivalent_is_refused_by_its_line() {
    let word = |line, word: &str| ImportError::Word { line, word: word.into() };
    for (text, error) in [
        ("\nfoo bar", word(2, "foo")),
        ("tc filter add dev a_0 protocol ip flower skip_hw action drop", word(1, "skip_hw")),
        (
            "tc filter add dev a_0 flower dst_mac 02:00:00:00:00:01 action police rate 1mbit",
            word(1, "police"),
        ),
        ("tc filter add dev a_0 flower action mirred egress mirror dev b", word(1, "mirror")),
        ("tc class add dev a_0", word(1, "add")),
        ("ip link set a0 vf 0 trust on", word(1, "on")),
        ("ip link add v type vxlan id 1 dev f0 ttl 3", word(1, "ttl")),
    ] {
        assert_eq!(refused(Language::Tc, text), error, "{text}");
    }
    for (text, error) in [
        ("ovs-ofctl del-flows br0", word(1, "del-flows")),
        ("ovs-vsctl add-port br0 v -- set Interface v type=vxlan", word(1, "type=vxlan")),
        ("ovs-vsctl set Open_vSwitch . other_config:pmd-cpu-mask=6", word(1, "other_config:pmd-cpu-mask=6")),
        ("ovs-ofctl add-flow br0 in_port=x,actions=drop", ImportError::Device { line: 1, name: "x".into() }),
    ] {
        assert_eq!(refused(Language::OvsOfctl, text), error, "{text}");
    }
}

#[test]
fn what_a_tunnel_must_say_is_asked_for() {
    let tunnel = "ip link add v type vxlan id 16 dev enp6s0f1\n";
    let filter = "tc filter add dev enp6s0f1_0 flower dst_mac 02:00:00:00:00:01 action tunnel_key set src_ip 10.0.0.1 dst_ip 10.0.0.2 id 17 action mirred egress redirect dev v";
    let error = refused(Language::Tc, &format!("{tunnel}{filter}"));
    assert!(matches!(error, ImportError::Conflict { line: 2, .. }), "another VNI: {error}");
    let error = refused(Language::Tc, filter);
    assert_eq!(error, ImportError::Device { line: 1, name: "v".into() });
    let without = filter.replace("id 17 ", "");
    for mac in ["/2:00:00:00:00:01", "02:00:00:00:00:01/ff:00:00:00:00:00", "2:0:0:0:0:1"] {
        let error = refused(
            Language::Tc,
            &format!("{tunnel}{}", filter.replace("id 17", "id 16").replace("02:00:00:00:00:01", mac)),
        );
        assert_eq!(error, ImportError::Value { line: 2, word: mac.into(), expected: "a MAC address" });
    }
    let error = refused(Language::Tc, &format!("{tunnel}{without}"));
    assert_eq!(error, ImportError::Missing { line: 2, what: "id" });
    let port = filter.replace("id 17", "dst_port 8472 id 16");
    let error = refused(Language::Tc, &format!("{tunnel}{port}"));
    assert!(matches!(error, ImportError::Value { line: 2, .. }), "{error}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_importers_panic(text in "(tc |ip |ovs-vsctl |ovs-ofctl )?[a-z_:./=,\\[\\]0-9\"' \\\\\n-]{0,120}") {
        for language in [Language::Tc, Language::OvsOfctl] {
            let _ = translate(language, &text, &BTreeMap::new());
        }
    }
}
