use super::*;
use proptest::prelude::*;

fn canonical(text: &str) -> String {
    Flow::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
}

fn fault(text: &str) -> (usize, String, Fault) {
    let error = Flow::parse(text).expect_err(text);
    (error.position, error.token, error.fault)
}

fn device(id: &ResourceId) -> Option<PortId> {
    match id.as_str() {
        "pf0" => PortId::uplink(0),
        "vm1" => PortId::vf(0, 0),
        "vm2" => PortId::vf(0, 1),
        _ => None,
    }
}

#[test]
fn the_tutorial_s_four_rules_are_understood_as_typed() {
    for (typed, understood) in [
        (
            "in_port=pf0,ip,nw_src=10.10.1.0/255.255.255.0,action=output:vm1",
            "in_port=pf0,ip,nw_src=10.10.1.0/24,actions=output:vm1",
        ),
        ("in_port=vm1,action=output:pf0", "in_port=vm1,actions=output:pf0"),
        (
            "in_port=pf0,ip,nw_src=10.10.1.1/255.255.255.0,action=output:vm2",
            "in_port=pf0,ip,nw_src=10.10.1.0/24,actions=output:vm2",
        ),
        ("in_port=vm2,action=output:pf0", "in_port=vm2,actions=output:pf0"),
    ] {
        assert_eq!(canonical(typed), understood);
    }
}

#[test]
fn a_match_carries_its_prerequisites_and_nothing_about_tags() {
    let flow = Flow::parse("in_port=pf0,tcp,tp_dst=80,actions=vm1").expect("valid");
    let (matches, actions) = flow.resolve(device).expect("the ports exist");
    let expected = Match::ANY
        .is(Field::InPort, u128::from(PortId::uplink(0).expect("exists").bits()))
        .is(Field::EthType, 0x0800)
        .is(Field::L3, 1)
        .is(Field::IpProto, 6)
        .is(Field::L4, 1)
        .is(Field::L4Dst, 80);
    assert_eq!(matches, expected);
    assert_eq!(actions.as_slice(), [Action::Output(PortId::vf(0, 0).expect("exists"))]);
}

#[test]
fn a_protocol_alone_matches_later_fragments_too() {
    let (matches, _) = Flow::parse("tcp,actions=drop").expect("valid").resolve(device).expect("no port");
    assert_eq!(matches.mask().get(Field::L4), 0);
}

#[test]
fn tags_are_told_apart_by_the_identifier_s_highest_bit() {
    let matches = |text: &str| *Flow::parse(&format!("{text},actions=drop")).expect(text).matches();
    let tagged =
        FlowKey::ZERO.with(Field::VlanCount, 1).with(Field::VlanTpid, 0x88a8).with(Field::VlanTci, 0x3000);
    for (text, untagged_hits, tagged_hits) in [
        ("dl_vlan=0", false, true),
        ("dl_vlan=5", false, false),
        ("dl_vlan_pcp=1", false, true),
        ("dl_vlan=0xffff", true, false),
        ("vlan_tci=0", true, false),
        ("vlan_tci=0x1000/0x1000", false, true),
        ("vlan_tci=0/0x0fff", true, true),
        ("vlan_vid=0x1000", false, true),
        ("vlan_vid=0", true, false),
    ] {
        assert_eq!(matches(text).matches(&FlowKey::ZERO), untagged_hits, "{text} on an untagged packet");
        assert_eq!(matches(text).matches(&tagged), tagged_hits, "{text} on a tagged packet");
    }
}

#[test]
fn canonical_forms() {
    for (typed, understood) in [
        ("dl_type=0x0800,nw_proto=6,tp_src=1/1,actions=drop", "tcp,tp_src=0x0001/0x0001,actions=drop"),
        ("tp_dst=53,udp6,actions=drop", "udp6,tp_dst=53,actions=drop"),
        ("table=0 priority=3\tdl_type=0x88cc actions=drop", "priority=3,dl_type=0x88cc,actions=drop"),
        ("icmp,icmp_type=8,icmp_code=0,actions=DROP", "icmp,icmp_type=8,icmp_code=0,actions=drop"),
        ("icmp6,icmpv6_type=135,actions=drop", "icmp6,icmp_type=135,actions=drop"),
        ("arp,nw_proto=1,arp_spa=10.0.0.0/8,actions=drop", "arp,arp_op=1,arp_spa=10.0.0.0/8,actions=drop"),
        (
            "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,actions=drop",
            "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,actions=drop",
        ),
        ("ip,nw_src=10.0.0.1/255.0.255.0,actions=drop", "ip,nw_src=10.0.0.0/255.0.255.0,actions=drop"),
        ("ip,nw_src=1.2.3.4/0,actions=drop", "ip,actions=drop"),
        ("ip,ip_dscp=46,nw_ecn=1,actions=drop", "ip,nw_tos=184,nw_ecn=1,actions=drop"),
        ("tcp,tcp_flags=0x02/0x12,actions=drop", "tcp,tcp_flags=+syn-ack,actions=drop"),
        ("ip,nw_frag=not_later,actions=drop", "ip,nw_frag=not_later,actions=drop"),
        ("vlan_tci=0x1005/0x1fff,actions=strip_vlan,output=vm1", "dl_vlan=5,actions=pop_vlan,output:vm1"),
        (
            "dl_vlan=0xffff,actions=mod_vlan_vid:5,vm1",
            "dl_vlan=0xffff,actions=push_vlan:0x8100,mod_vlan_vid:5,output:vm1",
        ),
        (
            "ip,actions=set_field:10.0.0.1->ip_dst,dec_ttl,vm1",
            "ip,actions=mod_nw_dst:10.0.0.1,dec_ttl,output:vm1",
        ),
        (
            "ipv6,actions=set_field:fe80::1->ipv6_src,output(vm1)",
            "ipv6,actions=set_field:fe80::1->ipv6_src,output:vm1",
        ),
    ] {
        assert_eq!(canonical(typed), understood);
        assert_eq!(canonical(understood), understood);
    }
}

#[test]
fn a_tag_that_is_pushed_and_filled_becomes_one_action() {
    let flow =
        Flow::parse("actions=push_vlan:0x88a8,set_field:0x1005->vlan_vid,mod_vlan_pcp:3,vm1").expect("valid");
    let (_, actions) = flow.resolve(device).expect("the port exists");
    assert_eq!(actions.first(), Some(&Action::PushVlan { tpid: 0x88a8, tci: 0x6005 }));
    assert_eq!(actions.len(), 2);
}

#[test]
fn what_has_no_meaning_here_is_refused_with_its_word_and_place() {
    for (text, position, token) in [
        ("in_port=pf0,actions=NORMAL", 20, "NORMAL"),
        ("actions=flood", 8, "flood"),
        ("actions=output:vm1,resubmit(,1)", 19, "resubmit"),
        ("ip,actions=ct(commit,zone=1),vm1", 11, "ct"),
        ("actions=output:IN_PORT", 15, "IN_PORT"),
        ("cookie=0x1,actions=drop", 0, "cookie"),
        ("idle_timeout=60,actions=drop", 0, "idle_timeout"),
        ("table=1,actions=drop", 6, "1"),
        ("tun_id=5,actions=drop", 0, "tun_id"),
        ("ip,nw_frag=yes,actions=drop", 11, "yes"),
        ("ip,actions=set_field:10.0.0.0/8->ip_src", 21, "10.0.0.0/8->ip_src"),
        ("actions=set_field:1->reg0", 21, "reg0"),
        ("actions=frobnicate:3", 8, "frobnicate"),
    ] {
        let found = fault(text);
        assert_eq!((found.0, found.1.as_str()), (position, token), "{text}");
        assert_eq!(found.2.class(), FaultClass::Unsupported, "{text}: {}", found.2);
    }
}

#[test]
fn a_word_without_its_prerequisite_is_refused() {
    for (text, token) in [
        ("nw_src=10.0.0.1,actions=drop", "nw_src"),
        ("ipv6,nw_src=10.0.0.1,actions=drop", "nw_src"),
        ("ip,tp_dst=80,actions=drop", "tp_dst"),
        ("nw_proto=6,actions=drop", "nw_proto"),
        ("tcp,icmp_type=8,actions=drop", "icmp_type"),
        ("udp,tcp_dst=8,actions=drop", "tcp_dst"),
        ("ip,arp_op=1,actions=drop", "arp_op"),
        ("actions=mod_vlan_vid:5,vm1", "mod_vlan_vid"),
        ("dl_vlan=5,actions=pop_vlan,mod_vlan_vid:5,vm1", "mod_vlan_vid"),
        ("dl_vlan=0xffff,actions=set_field:0x1005->vlan_vid", "set_field"),
        ("ip,actions=mod_tp_dst:80,vm1", "mod_tp_dst"),
        ("actions=set_field:10.0.0.1->ip_src", "ip_src"),
    ] {
        let found = fault(text);
        assert_eq!(
            (found.1.as_str(), found.2.class()),
            (token, FaultClass::Prerequisite),
            "{text}: {}",
            found.2
        );
    }
}

#[test]
fn contradictions_are_refused() {
    for text in [
        "ip,arp,actions=drop",
        "tcp,udp,actions=drop",
        "ip,dl_type=0x86dd,actions=drop",
        "tcp,nw_proto=17,actions=drop",
        "dl_vlan=0xffff,dl_vlan_pcp=1,actions=drop",
    ] {
        assert_eq!(fault(text).2.class(), FaultClass::Conflict, "{text}");
    }
}

#[test]
fn malformed_texts_are_refused_with_their_place() {
    let long = format!("in_port={},actions=drop", "a".repeat(MAX_TEXT));
    for (text, position, token) in [
        ("", 0, ""),
        ("in_port=pf0", 11, ""),
        ("actions=", 8, ""),
        ("actions=,, ", 11, ""),
        ("actions=drop,vm1", 8, "drop"),
        ("actions=drop:1", 13, "1"),
        ("in_port=,actions=drop", 0, "in_port"),
        ("in_port,actions=drop", 0, "in_port"),
        ("in_port=1,actions=drop", 8, "1"),
        ("in_port=LOCAL,actions=drop", 8, "LOCAL"),
        ("=5,actions=drop", 0, "5"),
        ("ip=1,actions=drop", 3, "1"),
        ("priority=65536,actions=drop", 9, "65536"),
        ("priority=99999999999999999999999,actions=drop", 9, "99999999999999999999999"),
        ("priority=1,priority=1,actions=drop", 11, "priority"),
        ("ip,nw_src=10.0.0.1,nw_src=10.0.0.1,actions=drop", 19, "nw_src"),
        ("ip,nw_src=10.0.0.256,actions=drop", 10, "10.0.0.256"),
        ("ip,nw_src=10.0.0.0/33,actions=drop", 10, "10.0.0.0/33"),
        ("ipv6,ipv6_src=::/129,actions=drop", 14, "::/129"),
        ("dl_src=1:2:3,actions=drop", 7, "1:2:3"),
        ("tcp,tp_dst=0x,actions=drop", 11, "0x"),
        ("tcp,tp_dst=+1,actions=drop", 11, "+1"),
        ("tcp,tcp_flags=2,actions=drop", 14, "2"),
        ("tcp,tcp_flags=+syn-syn,actions=drop", 14, "+syn-syn"),
        ("tcp,tcp_flags=+,actions=drop", 14, "+"),
        ("dl_vlan=4096,actions=drop", 8, "4096"),
        ("vlan_tci=0x0005,actions=drop", 9, "0x0005"),
        ("arp,arp_op=256,actions=drop", 11, "256"),
        ("ip,nw_tos=3,actions=drop", 10, "3"),
        ("actions=output", 8, "output"),
        ("actions=output(vm1", 8, "output"),
        ("actions=push_vlan:0x9100", 18, "0x9100"),
        ("actions=push_vlan:0x8100,set_field:5->vlan_vid", 35, "5"),
        ("actions=vm\u{e9}", 8, "vm\u{e9}"),
    ] {
        let found = fault(text);
        assert_eq!((found.0, found.1.as_str()), (position, token), "{text}: {}", found.2);
        assert_eq!(found.2.class(), FaultClass::Syntax, "{text}: {}", found.2);
    }
    assert_eq!(fault(&long).2, Fault::TooLong);
    let many = vec!["output:vm1"; nic_flow::MAX_ACTIONS + 1].join(",");
    assert_eq!(fault(&format!("actions={many}")).2, Fault::TooManyActions(nic_flow::MAX_ACTIONS));
    assert!(Flow::parse(&format!("actions={}", &many[11..])).is_ok());
}

#[test]
fn a_packet_s_fields_make_a_key() {
    let key =
        parse_packet("tcp,dl_src=02:00:00:00:00:01,nw_src=10.10.1.5,tp_dst=80,dl_vlan=7").expect("valid");
    for (field, value) in [
        (Field::EthSrc, 0x0200_0000_0001),
        (Field::EthType, 0x0800),
        (Field::L3, 1),
        (Field::L4, 1),
        (Field::IpProto, 6),
        (Field::IpSrc, 0x0a0a_0105),
        (Field::L4Dst, 80),
        (Field::VlanCount, 1),
        (Field::VlanTpid, 0x8100),
        (Field::VlanTci, 7),
        (Field::IpDst, 0),
    ] {
        assert_eq!(key.get(field), value, "{field}");
    }
    for text in ["ip,nw_src=10.0.0.0/8", "in_port=vm1", "priority=1", "ip,actions=drop"] {
        assert!(parse_packet(text).is_err(), "{text}");
    }
}

#[test]
fn references_are_listed_once_and_an_unknown_one_is_named() {
    let flow = Flow::parse("in_port=vm1,actions=output:pf0,output:vm1,output:vm9").expect("valid");
    let references: Vec<&str> = flow.references().into_iter().map(ResourceId::as_str).collect();
    assert_eq!(references, ["vm1", "pf0", "vm9"]);
    assert_eq!(flow.resolve(device).map_err(ResourceId::as_str), Err("vm9"));
}

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(words).prop_map(str::to_owned)
}

/// A word or nothing.
fn maybe(word: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = Option<String>> {
    prop::option::of(word)
}

fn mac() -> impl Strategy<Value = String> {
    any::<[u8; 6]>().prop_map(|mac| nic_flow::MacAddr(mac).to_string())
}

fn ip_fields(v6: bool) -> BoxedStrategy<String> {
    let address = |field: &'static str| {
        if v6 {
            (any::<u128>(), 0u8..=128)
                .prop_map(move |(ip, n)| format!("{field}={}/{n}", std::net::Ipv6Addr::from_bits(ip)))
                .boxed()
        } else {
            (any::<u32>(), any::<u32>())
                .prop_map(move |(ip, mask)| {
                    let text = std::net::Ipv4Addr::from_bits;
                    format!("{field}={}/{}", text(ip), text(mask))
                })
                .boxed()
        }
    };
    let (source, destination) = if v6 { ("ipv6_src", "ipv6_dst") } else { ("nw_src", "nw_dst") };
    let fields = (
        maybe(address(source)),
        maybe(address(destination)),
        maybe((0u8..64).prop_map(|n| format!("ip_dscp={n}"))),
        maybe((0u8..4).prop_map(|n| format!("nw_ecn={n}"))),
        maybe(any::<u8>().prop_map(|n| format!("nw_ttl={n}"))),
        maybe(one_of(&["nw_frag=no", "nw_frag=first", "nw_frag=later", "nw_frag=not_later"])),
    );
    fields.prop_map(|f| join([f.0, f.1, f.2, f.3, f.4, f.5])).boxed()
}

fn join<const N: usize>(words: [Option<String>; N]) -> String {
    words.into_iter().flatten().collect::<Vec<_>>().join(",")
}

fn ports() -> impl Strategy<Value = String> {
    let port = |field: &'static str| {
        (any::<u16>(), prop_oneof![Just(0xffff), any::<u16>()])
            .prop_map(move |(v, m)| format!("{field}={v}/{m}"))
    };
    (maybe(port("tp_src")), maybe(port("tp_dst"))).prop_map(|f| join([f.0, f.1]))
}

fn protocol() -> impl Strategy<Value = String> {
    let tcp_flags = (any::<u8>(), any::<u8>()).prop_map(|(v, m)| format!("tcp_flags={v}/{m}"));
    let icmp = (any::<u8>(), maybe(any::<u8>().prop_map(|n| format!("icmp_code={n}"))))
        .prop_map(|(n, code)| join([Some(format!("icmp_type={n}")), code]));
    let arp = (
        maybe((1u8..).prop_map(|n| format!("arp_op={n}"))),
        maybe(mac().prop_map(|m| format!("arp_sha={m}"))),
    )
        .prop_map(|f| join([Some("arp".to_owned()), f.0, f.1]));
    prop_oneof![
        Just(String::new()),
        (0u16..).prop_map(|n| format!("dl_type={n:#x}")),
        arp,
        ip_fields(false).prop_map(|f| format!("ip,{f}")),
        ip_fields(true).prop_map(|f| format!("{f},ipv6")),
        (ip_fields(false), any::<u8>()).prop_map(|(f, n)| format!("ip,nw_proto={n},{f}")),
        (one_of(&["udp", "tcp"]), ports(), ip_fields(false)).prop_map(|(k, p, f)| format!("{p},{f},{k}")),
        (one_of(&["udp6", "tcp6"]), ports(), ip_fields(true)).prop_map(|(k, p, f)| format!("{k},{p},{f}")),
        (tcp_flags, ports()).prop_map(|(t, p)| format!("tcp,{t},{p}")),
        (one_of(&["icmp", "icmp6"]), icmp).prop_map(|(k, f)| format!("{k},{f}")),
    ]
}

fn link() -> impl Strategy<Value = String> {
    let tag = prop_oneof![
        Just("dl_vlan=0xffff".to_owned()),
        (0u16..4096).prop_map(|n| format!("dl_vlan={n}")),
        (0u16..4096, 0u8..8).prop_map(|(n, pcp)| format!("dl_vlan={n},dl_vlan_pcp={pcp}")),
        (any::<u16>(), any::<u16>()).prop_map(|(v, m)| format!("vlan_tci={}/{m}", v | 0x1000)),
    ];
    let mask = (mac(), mac()).prop_map(|(v, m)| format!("dl_dst={v}/{m}"));
    (maybe(tag), maybe(mac().prop_map(|m| format!("dl_src={m}"))), maybe(mask))
        .prop_map(|f| join([f.0, f.1, f.2]))
}

fn action_word() -> impl Strategy<Value = String> {
    prop_oneof![
        one_of(&[
            "output:vm1",
            "vm2",
            "pop_vlan",
            "dec_ttl",
            "push_vlan:0x88a8",
            "push_vlan:0x8100,mod_vlan_vid:9"
        ]),
        mac().prop_map(|m| format!("mod_dl_src:{m}")),
        mac().prop_map(|m| format!("set_field:{m}->eth_dst")),
        any::<u32>().prop_map(|ip| format!("mod_nw_dst:{}", std::net::Ipv4Addr::from_bits(ip))),
        (0u8..64).prop_map(|n| format!("mod_nw_tos:{}", n << 2)),
        any::<u8>().prop_map(|n| format!("mod_nw_ttl:{n}")),
    ]
}

/// Texts that are valid.
fn flow_text() -> impl Strategy<Value = String> {
    let priority = maybe(any::<u16>().prop_map(|n| format!("priority={n}")));
    let port = maybe(one_of(&["in_port=pf0", "in_port=vm1"]));
    let actions = prop_oneof![
        Just("drop".to_owned()),
        prop::collection::vec(action_word(), 1..7).prop_map(|w| w.join(","))
    ];
    (priority, port, link(), protocol(), actions)
        .prop_map(|(p, i, l, m, a)| format!("{},actions={a}", join([p, i, Some(l), Some(m)])))
}

proptest! {
    #[test]
    fn the_canonical_form_reads_back_as_the_same_flow(text in flow_text()) {
        let flow = Flow::parse(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        let again = flow.to_string();
        prop_assert_eq!(Flow::parse(&again), Ok(flow.clone()), "{}", again);
        prop_assert_eq!(flow.matches().mask().without(&nic_flow::FlowMask::ALL), nic_flow::FlowMask::EMPTY);
        // Every field but those of VLAN tags brings its prerequisites with it.
        let mask = *flow.matches().mask();
        let missing = mask.with_prerequisites().without(&mask);
        prop_assert!(missing.fields().all(|field| field == Field::VlanCount), "{:?}", missing);
    }

    #[test]
    fn any_text_is_read_or_refused_at_a_place_within_it(text in ".{0,80}") {
        if let Err(error) = Flow::parse(&text) {
            prop_assert!(error.position <= text.len());
            prop_assert!(text.is_char_boundary(error.position));
        }
    }

    #[test]
    fn a_valid_text_with_one_byte_changed_is_read_or_refused(text in flow_text(), at in any::<prop::sample::Index>(), byte in 32u8..127) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let text = String::from_utf8(bytes).expect("ASCII");
        match Flow::parse(&text) {
            Ok(flow) => prop_assert_eq!(Flow::parse(&flow.to_string()), Ok(flow)),
            Err(error) => prop_assert!(error.position <= text.len()),
        }
    }
}
