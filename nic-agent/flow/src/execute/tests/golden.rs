//! Bytes before and after, both made by scapy (2.5.0): `raw(...)` of the expressions in the comments.

use std::string::String;
use std::vec::Vec;

use super::{Frame, sent};
use crate::action::Action;
use crate::port::PortId;
use crate::seam::ChecksumState;
use crate::text::parse_actions;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// `actions` make `after` of `before`.
fn golden(before: &str, actions: &str, after: &str) {
    let port = PortId::uplink(0).unwrap();
    let mut list = parse_actions(actions).unwrap();
    list.push(Action::Output(port)).unwrap();
    let mut frame = Frame::new(hex(before), ChecksumState::Complete);
    assert_eq!(sent(&list, &mut frame), [(port, hex(after))]);
}

/// The same for an encapsulation: `after` has UDP source port 49152, at that offset.
fn golden_encap(before: &str, actions: &str, port_at: usize, after: &str) {
    let mut after = hex(after);
    assert_eq!(after[port_at..port_at + 2], [0xc0, 0]);
    let chosen = crate::execute::entropy(&hex(before));
    after[port_at..port_at + 2].copy_from_slice(&chosen.to_be_bytes());
    let digits: String = after.iter().map(|byte| std::format!("{byte:02x}")).collect();
    golden(before, actions, &digits);
}

#[test]
fn both_mac_addresses_change() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IP(src='10.10.1.1',
    // dst='10.10.1.2')/ICMP(id=7, seq=1)/b'ping'
    let before = "02000000000202000000000108004500002000010000400164c60a0a01010a0a0102080019270007000170696e
        67";
    // Ether(dst='02:00:00:00:00:0b', src='02:00:00:00:00:0a')/IP(src='10.10.1.1',
    // dst='10.10.1.2')/ICMP(id=7, seq=1)/b'ping'
    let after = "02000000000b02000000000a08004500002000010000400164c60a0a01010a0a0102080019270007000170696e
        67";
    golden(before, "set_eth_src(02:00:00:00:00:0a),set_eth_dst(02:00:00:00:00:0b)", after);
}

#[test]
fn a_tag_is_pushed() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/ARP(op=1, hwsrc='02:00:00:00:00:01',
    // psrc='10.10.1.1', hwdst='00:00:00:00:00:00', pdst='10.10.1.2')
    let before = "020000000002020000000001080600010800060400010200000000010a0a01010000000000000a0a0102";
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/Dot1Q(vlan=100, prio=5)/ARP(op=1,
    // hwsrc='02:00:00:00:00:01', psrc='10.10.1.1', hwdst='00:00:00:00:00:00', pdst='10.10.1.2')
    let after = "0200000000020200000000018100a064080600010800060400010200000000010a0a01010000000000000a0a01
        02";
    golden(before, "push_vlan(0x8100/0xa064)", after);
}

#[test]
fn an_outer_tag_is_popped() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01',
    // type=0x88a8)/Dot1Q(vlan=9)/Dot1Q(vlan=100)/IP(src='10.10.1.1', dst='10.10.1.2')/UDP(sport=1,
    // dport=2)/b'x'
    let before = "02000000000202000000000188a800098100006408004500001d00010000401164b90a0a01010a0a0102000100
        02000971c278";
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/Dot1Q(vlan=100)/IP(src='10.10.1.1',
    // dst='10.10.1.2')/UDP(sport=1, dport=2)/b'x'
    let after = "0200000000020200000000018100006408004500001d00010000401164b90a0a01010a0a010200010002000971
        c278";
    golden(before, "pop_vlan", after);
}

#[test]
fn a_tag_is_renumbered() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/Dot1Q(vlan=100, prio=5,
    // id=1)/IP(src='10.10.1.1', dst='10.10.1.2')/UDP(sport=1, dport=2)/b'x'
    let before = "0200000000020200000000018100b06408004500001d00010000401164b90a0a01010a0a010200010002000971
        c278";
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/Dot1Q(vlan=200, prio=2,
    // id=1)/IP(src='10.10.1.1', dst='10.10.1.2')/UDP(sport=1, dport=2)/b'x'
    let after = "020000000002020000000001810050c808004500001d00010000401164b90a0a01010a0a010200010002000971
        c278";
    golden(before, "set_vlan_vid(200),set_vlan_pcp(2)", after);
}

#[test]
fn udp_over_ipv4_is_routed_and_translated() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IP(src='10.10.1.1', dst='10.10.1.2',
    // ttl=64, id=77)/UDP(sport=5000, dport=53)/b'question'
    let before = "020000000002020000000001080045000024004d0000401164660a0a01010a0a01021388003500101b3a717565
        7374696f6e";
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IP(src='192.0.2.7', dst='198.51.100.9',
    // ttl=63, id=77)/UDP(sport=40000, dport=5353)/b'question'
    let after = "020000000002020000000001080045000024004d00003f118f38c0000207c63364099c4014e90010a79f717565
        7374696f6e";
    golden(
        before,
        "dec_ip_ttl,set_ip_src(192.0.2.7),set_ip_dst(198.51.100.9),set_l4_src(40000),set_l4_dst(5353)",
        after,
    );
}

#[test]
fn a_udp_checksum_of_zero_stays_zero() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IP(src='10.10.1.1',
    // dst='10.10.1.2')/UDP(sport=5000, dport=53, chksum=0)/b'question'
    let before = "02000000000202000000000108004500002400010000401164b20a0a01010a0a01021388003500100000717565
        7374696f6e";
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IP(src='192.0.2.7',
    // dst='10.10.1.2')/UDP(sport=40000, dport=53, chksum=0)/b'question'
    let after = "020000000002020000000001080045000024000100004011adb5c00002070a0a01029c40003500100000717565
        7374696f6e";
    golden(before, "set_ip_src(192.0.2.7),set_l4_src(40000)", after);
}

#[test]
fn tcp_with_options_behind_ip_options_is_translated() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IP(src='10.10.1.1', dst='10.10.1.2',
    // tos=3, options=[IPOption_Router_Alert()])/TCP(sport=40000, dport=443, flags='S', seq=1,
    // options=[('MSS',1460)])
    let before = "020000000002020000000001080046030030000100004006cfa90a0a01010a0a0102940400009c4001bb000000
        010000000060022000c4130000020405b4";
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IP(src='10.10.1.1', dst='203.0.113.1',
    // tos=0xbb, ttl=9, options=[IPOption_Router_Alert()])/TCP(sport=40000, dport=8443, flags='S', seq=1,
    // options=[('MSS',1460)])
    let after = "020000000002020000000001080046bb0030000100000906d4fb0a0a0101cb007101940400009c4020fb000000
        01000000006002200073dd0000020405b4";
    golden(before, "set_ip_dscp(46),set_ip_ttl(9),set_ip_dst(203.0.113.1),set_l4_dst(8443)", after);
}

#[test]
fn icmp_over_ipv4_keeps_its_checksum() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IP(src='10.10.1.1',
    // dst='10.10.1.2')/ICMP(id=7, seq=1)/b'ping'
    let before = "02000000000202000000000108004500002000010000400164c60a0a01010a0a0102080019270007000170696e
        67";
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IP(src='192.0.2.7', dst='10.10.1.2',
    // ttl=63)/ICMP(id=7, seq=1)/b'ping'
    let after = "020000000002020000000001080045000020000100003f01aec9c00002070a0a0102080019270007000170696e
        67";
    golden(before, "set_ip_src(192.0.2.7),dec_ip_ttl", after);
}

#[test]
fn udp_over_ipv6_is_translated() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IPv6(src='2001:db8::1', dst='2001:db8::2',
    // fl=0x12345, tc=1)/UDP(sport=5000, dport=53)/b'question'
    let before = "02000000000202000000000186dd601123450010114020010db800000000000000000000000120010db8000000
        000000000000000002138800350010d5db7175657374696f6e";
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IPv6(src='2001:db8:f::7',
    // dst='2001:db8::2', fl=0x12345, tc=41, hlim=63)/UDP(sport=5000, dport=5353)/b'question'
    let after = "02000000000202000000000186dd629123450010113f20010db8000f0000000000000000000720010db8000000
        000000000000000002138814e90010c1127175657374696f6e";
    golden(before, "dec_ip_ttl,set_ip_dscp(10),set_ip_src(2001:db8:f::7),set_l4_dst(5353)", after);
}

#[test]
fn an_ipv6_neighbor_message_follows_its_addresses() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IPv6(src='fe80::1',
    // dst='ff02::1:ff00:2')/ICMPv6ND_NS(tgt='fe80::2')/ICMPv6NDOptSrcLLAddr(lladdr='02:00:00:00:00:01')
    let before = "02000000000202000000000186dd6000000000203afffe800000000000000000000000000001ff020000000000
        0000000001ff00000287007a9700000000fe8000000000000000000000000000020101020000000001";
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IPv6(src='fe80::5',
    // dst='fe80::2')/ICMPv6ND_NS(tgt='fe80::2')/ICMPv6NDOptSrcLLAddr(lladdr='02:00:00:00:00:01')
    let after = "02000000000202000000000186dd6000000000203afffe800000000000000000000000000005fe800000000000
        00000000000000000287007a1700000000fe8000000000000000000000000000020101020000000001";
    golden(before, "set_ip_src(fe80::5),set_ip_dst(fe80::2)", after);
}

#[test]
fn tcp_behind_ipv6_extensions_is_translated() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IPv6(src='2001:db8::1',
    // dst='2001:db8::2')/IPv6ExtHdrHopByHop(options=[RouterAlert()])/IPv6ExtHdrRouting(addresses=['2001:db8::3'])/TCP(sport=1,
    // dport=2)/b'z'
    let before = "02000000000202000000000186dd600000000035004020010db800000000000000000000000120010db8000000
        0000000000000000022b00050200000100060200010000000020010db800000000000000000000000300010002
        000000000000000050022000ba6800007a";
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IPv6(src='2001:db8::9',
    // dst='2001:db8::a')/IPv6ExtHdrHopByHop(options=[RouterAlert()])/IPv6ExtHdrRouting(addresses=['2001:db8::3'])/TCP(sport=7,
    // dport=2)/b'z'
    let after = "02000000000202000000000186dd600000000035004020010db800000000000000000000000920010db8000000
        00000000000000000a2b00050200000100060200010000000020010db800000000000000000000000300070002
        000000000000000050022000ba5a00007a";
    golden(before, "set_ip_src(2001:db8::9),set_ip_dst(2001:db8::a),set_l4_src(7)", after);
}

#[test]
fn a_later_fragment_changes_in_its_ip_header_alone() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IP(src='10.10.1.1', dst='10.10.1.2',
    // frag=185, proto=17)/b'tail of a datagram'
    let before = "020000000002020000000001080045000026000100b9401163f70a0a01010a0a01027461696c206f6620612064
        6174616772616d";
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IP(src='192.0.2.7', dst='10.10.1.2',
    // frag=185, proto=17)/b'tail of a datagram'
    let after = "020000000002020000000001080045000026000100b94011acfac00002070a0a01027461696c206f6620612064
        6174616772616d";
    golden(before, "set_ip_src(192.0.2.7),set_l4_src(7)", after);
}

#[test]
fn a_frame_goes_into_a_tunnel_over_ipv4() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IP(src='10.10.1.1', dst='10.10.1.2',
    // tos=2)/UDP(sport=1, dport=2)/b'x'
    let before = "02000000000202000000000108004502001d00010000401164b70a0a01010a0a010200010002000971c278";
    // Ether(dst='02:00:00:00:00:0b', src='02:00:00:00:00:0a')/IP(src='192.0.2.1', dst='192.0.2.2',
    // tos=2, ttl=64, id=0, flags='DF')/UDP(sport=49152, dport=4789, chksum=0)/VXLAN(flags=8, vni=100)/
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IP(src='10.10.1.1', dst='10.10.1.2',
    // tos=2)/UDP(sport=1, dport=2)/b'x'
    let after = "02000000000b02000000000a08004502004f000040004011b698c0000201c0000202c00012b5003b0000080000
        000000640002000000000202000000000108004502001d00010000401164b70a0a01010a0a0102000100020009
        71c278";
    golden_encap(
        before,
        "encap_vxlan(100/192.0.2.1/192.0.2.2/02:00:00:00:00:0a/02:00:00:00:00:0b/0x02/64)",
        34,
        after,
    );
}

#[test]
fn a_frame_goes_into_a_tunnel_over_ipv6_with_a_tag() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IPv6(src='2001:db8:1::1',
    // dst='2001:db8:1::2')/TCP(sport=40000, dport=443)
    let before = "02000000000202000000000186dd600000000014064020010db800010000000000000000000120010db8000100
        0000000000000000029c4001bb00000000000000005002200096700000";
    // Ether(dst='02:00:00:00:00:0b', src='02:00:00:00:00:0a')/Dot1Q(vlan=9, prio=5)/
    // IPv6(src='2001:db8::1', dst='2001:db8::2', tc=0xb8, hlim=255)/UDP(sport=49152, dport=4789,
    // chksum=0)/VXLAN(flags=8, vni=7)/Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/
    // IPv6(src='2001:db8:1::1', dst='2001:db8:1::2')/TCP(sport=40000, dport=443)
    let after = "02000000000b02000000000a8100a00986dd6b800000005a11ff20010db800000000000000000000000120010d
        b8000000000000000000000002c00012b5005a0000080000000000070002000000000202000000000186dd6000
        00000014064020010db800010000000000000000000120010db80001000000000000000000029c4001bb000000
        00000000005002200096700000";
    golden_encap(
        before,
        "encap_vxlan(7/2001:db8::1/2001:db8::2/02:00:00:00:00:0a/02:00:00:00:00:0b/0xb8/255/0xa009)",
        58,
        after,
    );
}

#[test]
fn a_frame_comes_out_of_a_tunnel_and_is_marked() {
    // Ether(dst='02:00:00:00:00:0b', src='02:00:00:00:00:0a')/Dot1Q(vlan=9)/IP(src='192.0.2.1',
    // dst='192.0.2.2', tos=3, options=[IPOption_Router_Alert()])/UDP(sport=50000, dport=4789)/
    // VXLAN(flags=8, vni=100)/Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/
    // IP(src='10.10.1.1', dst='10.10.1.2', tos=0xb9)/ICMP(id=7, seq=1)/b'ping'
    let before = "02000000000b02000000000a81000009080046030056000100004011618bc0000201c000020294040000c35012
        b5003e2d650800000000006400020000000002020000000001080045b90020000100004001640d0a0a01010a0a
        0102080019270007000170696e67";
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IP(src='10.10.1.1', dst='10.10.1.2',
    // tos=0xbb)/ICMP(id=7, seq=1)/b'ping'
    let after = "020000000002020000000001080045bb0020000100004001640b0a0a01010a0a0102080019270007000170696e
        67";
    golden(before, "decap_vxlan,set_ip_ecn(3)", after);
}

#[test]
fn an_ecn_codepoint_is_set_in_ipv6() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IPv6(src='2001:db8::1',
    // dst='2001:db8::2', tc=0xb9, fl=0x12345)/UDP(sport=1, dport=2)
    let before = "02000000000202000000000186dd6b9123450008114020010db800000000000000000000000120010db8000000
        000000000000000002000100020008a466";
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IPv6(src='2001:db8::1',
    // dst='2001:db8::2', tc=0xbb, fl=0x12345)/UDP(sport=1, dport=2)
    let after = "02000000000202000000000186dd6bb123450008114020010db800000000000000000000000120010db8000000
        000000000000000002000100020008a466";
    golden(before, "set_ip_ecn(3)", after);
}
