//! Frames made by scapy 2 before and after a rewrite, so that a mistake which the flow IR, the encoder
//! and the switch share does not go unseen.
//!
//! Each expression stands behind `E/`, but for those of tunnels, which begin with `O/`, where
//! `E = Ether(dst="02:00:00:00:00:02",src="02:00:00:00:00:01")` and
//! `O = Ether(dst="02:00:00:00:00:12",src="02:00:00:00:00:11")`. `????` is the source port `S` of a tunnel,
//! which is the switch's choice.

use nic_flow::PortId;
use nic_flow::action::ENTROPY_PORTS;
use nic_flow::extract::extract;
use nic_flow::seam::RuleSink;
use nic_flow::{Counters, Match, Rule, Shape, text};

use super::rig::{Exit, Rig, hex, port};

/// What goes in and what comes out, each as scapy's expression and as scapy's octets.
struct Golden {
    what: &'static str,
    shape: &'static str,
    rewrite: &'static str,
    before: (&'static str, &'static str),
    after: (&'static str, &'static str),
}

const GOLDEN: [Golden; 10] = [
    Golden {
        what: "the source of a TCP packet is translated",
        shape: "5-tuple",
        rewrite: "set_ip_src(192.0.2.1),set_l4_src(1024)",
        before: (
            r#"IP(src="10.0.0.1",dst="198.51.100.7",id=1)/TCP(sport=40000,dport=443,flags="PA",seq=7)/b"an odd load""#,
            "02000000000202000000000108004500003300010000400646890a000001c63364079c4001bb00000007 \
              0000000050182000e3730000616e206f6464206c6f6164",
        ),
        after: (
            r#"IP(src="192.0.2.1",dst="198.51.100.7",id=1)/TCP(sport=1024,dport=443,flags="PA",seq=7)/b"an odd load""#,
            "0200000000020200000000010800450000330001000040068e88c0000201c6336407040001bb00000007 \
              0000000050182000c3b30000616e206f6464206c6f6164",
        ),
    },
    Golden {
        what: "the destination of a UDP packet is translated behind a pushed tag",
        shape: "5-tuple",
        rewrite: "set_ip_dst(10.9.9.9),set_l4_dst(8053),push_vlan(0x8100/0xa064)",
        before: (
            r#"IP(src="10.0.0.1",dst="198.51.100.7",id=2,tos=0xb8)/UDP(sport=5000,dport=53)/b"question""#,
            "020000000002020000000001080045b8002400020000401145d40a000001c6336407138800350010fd14 \
              7175657374696f6e",
        ),
        after: (
            r#"Dot1Q(vlan=100,prio=5)/IP(src="10.0.0.1",dst="10.9.9.9",id=2,tos=0xb8)/UDP(sport=5000,dport=8053)/b"question""#,
            "0200000000020200000000018100a064080045b800240002000040115cfd0a0000010a09090913881f75 \
              0010f4fd7175657374696f6e",
        ),
    },
    Golden {
        what: "a UDP packet without checksum stays without",
        shape: "l3-pair",
        rewrite: "set_ip_dst(10.9.9.9)",
        before: (
            r#"IP(src="10.0.0.1",dst="198.51.100.7",id=3)/UDP(sport=5000,dport=53,chksum=0)/b"x""#,
            "02000000000202000000000108004500001d00030000401146920a000001c63364071388003500090000 \
              78",
        ),
        after: (
            r#"IP(src="10.0.0.1",dst="10.9.9.9",id=3)/UDP(sport=5000,dport=53,chksum=0)/b"x""#,
            "02000000000202000000000108004500001d0003000040115dbb0a0000010a0909091388003500090000 \
              78",
        ),
    },
    Golden {
        what: "a tag is popped off IPv6",
        shape: "l2-pair",
        rewrite: "pop_vlan",
        before: (
            r#"Dot1Q(vlan=200,prio=3)/IPv6(src="2001:db8::1",dst="2001:db8::2")/TCP(sport=1,dport=80)"#,
            "020000000002020000000001810060c886dd600000000014064020010db8000000000000000000000001 \
              20010db800000000000000000000000200010050000000000000000050022000341d0000",
        ),
        after: (
            r#"IPv6(src="2001:db8::1",dst="2001:db8::2")/TCP(sport=1,dport=80)"#,
            "02000000000202000000000186dd600000000014064020010db800000000000000000000000120010db8 \
              00000000000000000000000200010050000000000000000050022000341d0000",
        ),
    },
    Golden {
        what: "the time to live of a ping goes down",
        shape: "l3-protocol",
        rewrite: "dec_ip_ttl",
        before: (
            r#"IP(src="10.0.0.1",dst="10.0.0.2",ttl=64,id=4)/ICMP(id=1,seq=2)/b"ping""#,
            "02000000000202000000000108004500002000040000400166d70a0000010a0000020800192c00010002 \
              70696e67",
        ),
        after: (
            r#"IP(src="10.0.0.1",dst="10.0.0.2",ttl=63,id=4)/ICMP(id=1,seq=2)/b"ping""#,
            "020000000002020000000001080045000020000400003f0167d70a0000010a0000020800192c00010002 \
              70696e67",
        ),
    },
    Golden {
        what: "a first fragment has its datagram's checksum, which follows",
        shape: "l3-protocol",
        rewrite: "set_ip_dst(10.0.0.3)",
        before: (
            r#"fragment(IP(src="10.0.0.1",dst="10.0.0.2",id=5)/UDP(sport=7,dport=9)/(b"0123456789abcdef"*3),fragsize=32)[0]"#,
            "02000000000202000000000108004500003400052000401146b20a0000010a0000020007000900385dc6 \
              303132333435363738396162636465663031323334353637",
        ),
        after: (
            r#"fragment(IP(src="10.0.0.1",dst="10.0.0.3",id=5)/UDP(sport=7,dport=9)/(b"0123456789abcdef"*3),fragsize=32)[0]"#,
            "02000000000202000000000108004500003400052000401146b10a0000010a0000030007000900385dc5 \
              303132333435363738396162636465663031323334353637",
        ),
    },
    Golden {
        what: "a later fragment has only that of IPv4",
        shape: "l3-protocol",
        rewrite: "set_ip_dst(10.0.0.3)",
        before: (
            r#"fragment(IP(src="10.0.0.1",dst="10.0.0.2",id=5)/UDP(sport=7,dport=9)/(b"0123456789abcdef"*3),fragsize=32)[1]"#,
            "02000000000202000000000108004500002c00050004401166b60a0000010a0000023839616263646566 \
              30313233343536373839616263646566",
        ),
        after: (
            r#"fragment(IP(src="10.0.0.1",dst="10.0.0.3",id=5)/UDP(sport=7,dport=9)/(b"0123456789abcdef"*3),fragsize=32)[1]"#,
            "02000000000202000000000108004500002c00050004401166b50a0000010a0000033839616263646566 \
              30313233343536373839616263646566",
        ),
    },
    Golden {
        what: "ports are found behind IPv4 options",
        shape: "5-tuple",
        rewrite: "set_l4_dst(8080)",
        before: (
            r#"IP(src="10.0.0.1",dst="10.0.0.2",id=6,options=[IPOption_Router_Alert()])/TCP(sport=2000,dport=80)/b"options""#,
            "020000000002020000000001080046000033000600004006d1b80a0000010a0000029404000007d00050 \
              000000000000000050022000ad7000006f7074696f6e73",
        ),
        after: (
            r#"IP(src="10.0.0.1",dst="10.0.0.2",id=6,options=[IPOption_Router_Alert()])/TCP(sport=2000,dport=8080)/b"options""#,
            "020000000002020000000001080046000033000600004006d1b80a0000010a0000029404000007d01f90 \
              0000000000000000500220008e3000006f7074696f6e73",
        ),
    },
    Golden {
        what: "a UDP port over IPv6 changes",
        shape: "5-tuple",
        rewrite: "set_l4_dst(5353)",
        before: (
            r#"IPv6(src="2001:db8::1",dst="2001:db8::2",hlim=9)/UDP(sport=1000,dport=53)/b"six""#,
            "02000000000202000000000186dd60000000000b110920010db800000000000000000000000120010db8 \
              00000000000000000000000203e80035000bb4dc736978",
        ),
        after: (
            r#"IPv6(src="2001:db8::1",dst="2001:db8::2",hlim=9)/UDP(sport=1000,dport=5353)/b"six""#,
            "02000000000202000000000186dd60000000000b110920010db800000000000000000000000120010db8 \
              00000000000000000000000203e814e9000ba028736978",
        ),
    },
    Golden {
        what: "ports are found behind an IPv6 extension header",
        shape: "5-tuple",
        rewrite: "set_l4_dst(5353)",
        before: (
            r#"IPv6(src="2001:db8::1",dst="2001:db8::2")/IPv6ExtHdrHopByHop(options=[RouterAlert()])/UDP(sport=1000,dport=53)/b"hop""#,
            "02000000000202000000000186dd600000000013004020010db800000000000000000000000120010db8 \
              000000000000000000000002110005020000010003e80035000bc7d6686f70",
        ),
        after: (
            r#"IPv6(src="2001:db8::1",dst="2001:db8::2")/IPv6ExtHdrHopByHop(options=[RouterAlert()])/UDP(sport=1000,dport=5353)/b"hop""#,
            "02000000000202000000000186dd600000000013004020010db800000000000000000000000120010db8 \
              000000000000000000000002110005020000010003e814e9000bb322686f70",
        ),
    },
];

const INTO_TUNNELS: [Golden; 4] = [
    Golden {
        what: "a UDP packet goes into a tunnel over IPv4",
        shape: "l2-ecn",
        rewrite: "encap_vxlan(100/192.0.2.1/192.0.2.2/02:00:00:00:00:11/02:00:00:00:00:12/0x02/64)",
        before: (
            r#"IP(src="10.0.0.1",dst="10.0.0.2",id=7,tos=2)/UDP(sport=5000,dport=53)/b"question""#,
            "02000000000202000000000108004502002400070000401166be0a0000010a0000021388003500101d4e \
              7175657374696f6e",
        ),
        after: (
            r#"O/IP(src="192.0.2.1",dst="192.0.2.2",id=0,flags="DF",tos=2)/UDP(sport=S,dport=4789,chksum=0)/VXLAN(flags=8,vni=100)/E/IP(src="10.0.0.1",dst="10.0.0.2",id=7,tos=2)/UDP(sport=5000,dport=53)/b"question""#,
            "020000000012020000000011080045020056000040004011b691c0000201c0000202????12b500420000 \
              080000000000640002000000000202000000000108004502002400070000401166be0a0000010a000002 \
              1388003500101d4e7175657374696f6e",
        ),
    },
    Golden {
        what: "ARP goes into a tunnel over IPv6",
        shape: "l2-pair",
        rewrite: "encap_vxlan(0xabcdef/2001:db8::1/2001:db8::2/02:00:00:00:00:11/02:00:00:00:00:12/0xb8/9)",
        before: (
            r#"ARP(op=2,hwsrc="02:00:00:00:00:01",psrc="10.0.0.1",hwdst="02:00:00:00:00:02",pdst="10.0.0.2")"#,
            "020000000002020000000001080600010800060400020200000000010a0000010200000000020a000002",
        ),
        after: (
            r#"O/IPv6(src="2001:db8::1",dst="2001:db8::2",hlim=9,tc=0xb8)/UDP(sport=S,dport=4789,chksum=0)/VXLAN(flags=8,vni=0xabcdef)/E/ARP(op=2,hwsrc="02:00:00:00:00:01",psrc="10.0.0.1",hwdst="02:00:00:00:00:02",pdst="10.0.0.2")"#,
            "02000000001202000000001186dd6b800000003a110920010db800000000000000000000000120010db8 \
              000000000000000000000002????12b5003a000008000000abcdef000200000000020200000000010806 \
              00010800060400020200000000010a0000010200000000020a000002",
        ),
    },
    Golden {
        what: "a tag is popped off a frame that goes into a tagged tunnel",
        shape: "l2-pair",
        rewrite: "pop_vlan,encap_vxlan(1/192.0.2.1/192.0.2.2/02:00:00:00:00:11/02:00:00:00:00:12/0x00/64/0x200a)",
        before: (
            r#"Dot1Q(vlan=200,prio=3)/IPv6(src="2001:db8:1::1",dst="2001:db8:1::2")/TCP(sport=1,dport=80)/b"six""#,
            "020000000002020000000001810060c886dd600000000017064020010db8000100000000000000000001 \
              20010db80001000000000000000000020001005000000000000000005002200048ae0000736978",
        ),
        after: (
            r#"O/Dot1Q(vlan=10,prio=1)/IP(src="192.0.2.1",dst="192.0.2.2",id=0,flags="DF")/UDP(sport=S,dport=4789,chksum=0)/VXLAN(flags=8,vni=1)/E/IPv6(src="2001:db8:1::1",dst="2001:db8:1::2")/TCP(sport=1,dport=80)/b"six""#,
            "0200000000120200000000118100200a080045000071000040004011b678c0000201c0000202????12b5 \
              005d0000080000000000010002000000000202000000000186dd600000000017064020010db800010000 \
              000000000000000120010db80001000000000000000000020001005000000000000000005002200048ae \
              0000736978",
        ),
    },
    Golden {
        what: "six goes into six",
        shape: "5-tuple-ecn",
        rewrite: "encap_vxlan(100/2001:db8::1/2001:db8::2/02:00:00:00:00:11/02:00:00:00:00:12/0x01/64)",
        before: (
            r#"IPv6(src="2001:db8:1::1",dst="2001:db8:1::2",tc=1)/TCP(sport=40000,dport=443,flags="PA")/b"odd""#,
            "02000000000202000000000186dd601000000017064020010db800010000000000000000000120010db8 \
              0001000000000000000000029c4001bb000000000000000050182000c2f200006f6464",
        ),
        after: (
            r#"O/IPv6(src="2001:db8::1",dst="2001:db8::2",hlim=64,tc=1)/UDP(sport=S,dport=4789,chksum=0)/VXLAN(flags=8,vni=100)/E/IPv6(src="2001:db8:1::1",dst="2001:db8:1::2",tc=1)/TCP(sport=40000,dport=443,flags="PA")/b"odd""#,
            "02000000001202000000001186dd60100000005d114020010db800000000000000000000000120010db8 \
              000000000000000000000002????12b5005d0000080000000000640002000000000202000000000186dd \
              601000000017064020010db800010000000000000000000120010db80001000000000000000000029c40 \
              01bb000000000000000050182000c2f200006f6464",
        ),
    },
];

const OUT_OF_TUNNELS: [Golden; 2] = [
    Golden {
        what: "a UDP packet comes out of a tunnel over IPv4",
        shape: "tunnel-l2",
        rewrite: "decap_vxlan",
        before: (
            r#"O/IP(src="192.0.2.2",dst="192.0.2.1",id=0,flags="DF")/UDP(sport=50000,dport=4789,chksum=0)/VXLAN(flags=8,vni=100)/E/IP(src="10.0.0.1",dst="10.0.0.2",id=7)/UDP(sport=5000,dport=53)/b"answer""#,
            "020000000012020000000011080045000054000040004011b695c0000202c0000201c35012b500400000 \
              080000000000640002000000000202000000000108004500002200070000401166c20a0000010a000002 \
              13880035000e9dba616e73776572",
        ),
        after: (
            r#"IP(src="10.0.0.1",dst="10.0.0.2",id=7)/UDP(sport=5000,dport=53)/b"answer""#,
            "02000000000202000000000108004500002200070000401166c20a0000010a00000213880035000e9dba \
              616e73776572",
        ),
    },
    Golden {
        what: "ARP comes out of a tagged tunnel over IPv6, into a VLAN",
        shape: "tunnel-l2",
        rewrite: "decap_vxlan,push_vlan(0x8100/0xa0c8)",
        before: (
            r#"O/Dot1Q(vlan=10)/IPv6(src="2001:db8::2",dst="2001:db8::1",tc=2)/UDP(sport=50000,dport=4789)/VXLAN(flags=8,vni=0xabcdef)/E/ARP(op=1,hwsrc="02:00:00:00:00:01",psrc="10.0.0.1",pdst="10.0.0.2")"#,
            "0200000000120200000000118100000a86dd60200000003a114020010db8000000000000000000000002 \
              20010db8000000000000000000000001c35012b5003afb1d08000000abcdef0002000000000202000000 \
              0001080600010800060400010200000000010a0000010000000000000a000002",
        ),
        after: (
            r#"Dot1Q(vlan=200,prio=5)/ARP(op=1,hwsrc="02:00:00:00:00:01",psrc="10.0.0.1",pdst="10.0.0.2")"#,
            "0200000000020200000000018100a0c8080600010800060400010200000000010a000001000000000000 \
              0a000002",
        ),
    },
];

/// For a card that matches an IP header in a tunnel.
const OUT_OF_MARKED_TUNNELS: [Golden; 2] = [
    Golden {
        what: "a packet that is marked as congested comes out of a tunnel behind IPv4 options",
        shape: "tunnel-ecn",
        rewrite: "decap_vxlan",
        before: (
            r#"O/IP(src="192.0.2.2",dst="192.0.2.1",id=9,tos=3,options=[IPOption_Router_Alert()])/UDP(sport=50000,dport=4789)/VXLAN(flags=8,vni=100)/E/IP(src="10.0.0.1",dst="10.0.0.2",id=7,tos=3)/TCP(sport=80,dport=40000,flags="A")/b"congested""#,
            "0200000000120200000000110800460300670009000040116172c0000202c000020194040000c35012b5 \
              004f4169080000000000640002000000000202000000000108004503003100070000400666bb0a000001 \
              0a00000200509c40000000000000000050102000cf880000636f6e676573746564",
        ),
        after: (
            r#"IP(src="10.0.0.1",dst="10.0.0.2",id=7,tos=3)/TCP(sport=80,dport=40000,flags="A")/b"congested""#,
            "02000000000202000000000108004503003100070000400666bb0a0000010a00000200509c4000000000 \
              0000000050102000cf880000636f6e676573746564",
        ),
    },
    Golden {
        what: "six comes out of six",
        shape: "tunnel-ecn",
        rewrite: "decap_vxlan",
        before: (
            r#"O/IPv6(src="2001:db8::2",dst="2001:db8::1",tc=1)/UDP(sport=50000,dport=4789,chksum=0)/VXLAN(flags=8,vni=100)/E/IPv6(src="2001:db8:1::1",dst="2001:db8:1::2",tc=1)/UDP(sport=1000,dport=2000)/b"six in six""#,
            "02000000001202000000001186dd601000000058114020010db800000000000000000000000220010db8 \
              000000000000000000000001c35012b500580000080000000000640002000000000202000000000186dd \
              601000000012114020010db800010000000000000000000120010db800010000000000000000000203e8 \
              07d00012b9b773697820696e20736978",
        ),
        after: (
            r#"IPv6(src="2001:db8:1::1",dst="2001:db8:1::2",tc=1)/UDP(sport=1000,dport=2000)/b"six in six""#,
            "02000000000202000000000186dd601000000012114020010db800010000000000000000000120010db8 \
              00010000000000000000000203e807d00012b9b773697820696e20736978",
        ),
    },
];

/// The octets of hexadecimal digits; `None` for one that may be anything.
fn pattern(hex: &str) -> Vec<Option<u8>> {
    let digits: Vec<char> = hex.chars().filter(|c| c.is_ascii_hexdigit() || *c == '?').collect();
    let octet = |pair: &[char]| Some(pair[0].to_digit(16)? as u8 * 16 + pair[1].to_digit(16)? as u8);
    digits.chunks(2).map(octet).collect()
}

fn octets(hex: &str) -> Vec<u8> {
    pattern(hex).into_iter().map(|octet| octet.expect("no octet is open")).collect()
}

/// Whether a frame is as due. What is open in it is a tunnel's source port.
fn is_due(frame: &[u8], due: &[Option<u8>]) -> bool {
    let open: Vec<u8> =
        frame.iter().zip(due).filter(|(_, due)| due.is_none()).map(|(octet, _)| *octet).collect();
    let port = match open[..] {
        [] => None,
        [high, low] => Some(u16::from_be_bytes([high, low])),
        _ => return false,
    };
    frame.len() == due.len()
        && frame.iter().zip(due).all(|(octet, due)| due.is_none_or(|due| due == *octet))
        && port.is_none_or(|port| ENTROPY_PORTS.contains(&port))
}

/// Each frame becomes what is due on its way, hits no rule that is gone, and is counted once.
fn become_what_is_due(rig: &mut Rig, cases: &[Golden], from: PortId, to: PortId) {
    for Golden { what, shape, rewrite, before, after } in cases {
        let (sent, due) = (octets(before.1), pattern(after.1));
        let shape = Shape::from_name(shape).expect(what);
        let actions = text::parse_actions(&format!("{rewrite},output({to})")).expect(what);
        let rule = Rule { matches: Match::new(extract(&sent, from), shape.mask()), actions };
        let handle = rig.sink.create(&rule).unwrap_or_else(|refusal| panic!("{what}: {rule}: {refusal}"));
        rig.send(from, &sent);
        let got = rig.one(Exit::Wire(to));
        assert!(
            is_due(&got, &due),
            "{what}: {} becomes {}, which is\n{} but came as\n{}",
            before.0,
            after.0,
            after.1,
            hex(&got)
        );
        let counted = rig.sink.destroy(handle).expect(what);
        assert_eq!(counted, Counters { packets: 1, bytes: sent.len() as u64 }, "{what}");
        rig.send(from, &sent);
        assert_eq!(hex(&rig.one(Exit::Representor(from))), hex(&sent), "{what}");
    }
    assert!(rig.rest().is_empty());
}

#[test]
fn frames_come_out_as_scapy_makes_them() {
    let mut rig = Rig::new("net_eswitch3");
    let (vf, uplink) = (port("pf0vf0"), port("p0"));
    become_what_is_due(&mut rig, &GOLDEN, vf, uplink);
    become_what_is_due(&mut rig, &INTO_TUNNELS, vf, uplink);
    become_what_is_due(&mut rig, &OUT_OF_TUNNELS, uplink, vf);
    let mut full = Rig::new("net_eswitch5");
    become_what_is_due(&mut full, &OUT_OF_MARKED_TUNNELS, uplink, vf);
}
