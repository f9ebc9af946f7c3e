//! Frames made by scapy 2 before and after a rewrite, so that a mistake which the flow IR, the encoder
//! and the switch share does not go unseen.
//!
//! Each expression stands behind `Ether(dst="02:00:00:00:00:02",src="02:00:00:00:00:01")/`.

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

fn octets(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |byte: u8| (byte as char).to_digit(16).expect("hexadecimal") as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

#[test]
fn frames_come_out_as_scapy_makes_them() {
    let mut rig = Rig::new("net_eswitch3");
    let (from, to) = (port("pf0vf0"), port("p0"));
    for Golden { what, shape, rewrite, before, after } in &GOLDEN {
        let (sent, due) = (octets(before.1), octets(after.1));
        let shape = Shape::from_name(shape).expect(what);
        let actions = text::parse_actions(&format!("{rewrite},output(p0)")).expect(what);
        let rule = Rule { matches: Match::new(extract(&sent, from), shape.mask()), actions };
        let handle = rig.sink.create(&rule).unwrap_or_else(|refusal| panic!("{what}: {rule}: {refusal}"));
        rig.send(from, &sent);
        assert_eq!(hex(&rig.one(Exit::Wire(to))), hex(&due), "{what}: {} becomes {}", before.0, after.0);
        let counted = rig.sink.destroy(handle).expect(what);
        assert_eq!(counted, Counters { packets: 1, bytes: sent.len() as u64 }, "{what}");
        rig.send(from, &sent);
        assert_eq!(hex(&rig.one(Exit::Representor(from))), hex(&sent), "{what}");
    }
    assert!(rig.rest().is_empty());
}
