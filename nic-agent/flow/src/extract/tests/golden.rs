//! Packets made by scapy (2.5.0), `raw(...)` of the expressions in the comments, and their keys.

use super::{hex, port};
use crate::extract::extract;

fn golden(frame: &str, key: &str) {
    assert_eq!(std::format!("{}", extract(&hex(frame), port())), key);
}

#[test]
fn arp_request() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/ARP(op=1, hwsrc='02:00:00:00:00:01',
    // psrc='10.10.1.1', hwdst='00:00:00:00:00:00', pdst='10.10.1.2')
    golden(
        "020000000002020000000001080600010800060400010200000000010a0a01010000000000000a0a0102",
        "in_port=pf0vf3,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0806,l3=1,\
         ip_src=10.10.1.1,ip_dst=10.10.1.2,ip_proto=1,arp_sha=02:00:00:00:00:01",
    );
}

#[test]
fn arp_reply_behind_two_tags() {
    // Ether(dst='02:00:00:00:00:01', src='02:00:00:00:00:02', type=0x88a8)/Dot1Q(vlan=9,
    // prio=7)/Dot1Q(vlan=100, id=1)/ARP(op=2, hwsrc='02:00:00:00:00:02', psrc='10.10.1.2',
    // hwdst='02:00:00:00:00:01', pdst='10.10.1.1')
    golden(
        "02000000000102000000000288a8e00981001064080600010800060400020200000000020a0a01020200000000
         010a0a0101",
        "in_port=pf0vf3,eth_src=02:00:00:00:00:02,eth_dst=02:00:00:00:00:01,vlan_count=2,\
         vlan_tpid=0x88a8,vlan_tci=0xe009,inner_vlan_tpid=0x8100,inner_vlan_tci=0x1064,\
         eth_type=0x0806,l3=1,ip_src=10.10.1.2,ip_dst=10.10.1.1,ip_proto=2,\
         arp_sha=02:00:00:00:00:02,arp_tha=02:00:00:00:00:01",
    );
}

#[test]
fn tcp_over_ipv4_with_options_and_padding() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IP(src='10.10.1.1', dst='10.10.1.2',
    // tos=0xb9, ttl=63, options=[IPOption_Router_Alert()])/TCP(sport=40000, dport=443,
    // flags='SEC')/Padding(b'\0\0')
    golden(
        "020000000002020000000001080046b9002c000100003f06cff70a0a01010a0a0102940400009c4001bb000000
         000000000050c22000db1000000000",
        "in_port=pf0vf3,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,l3=1,\
         ip_src=10.10.1.1,ip_dst=10.10.1.2,ip_proto=6,ip_tos=0x00b9,ip_ttl=63,l4=1,l4_src=40000,\
         l4_dst=443,tcp_flags=0x00c2",
    );
}

#[test]
fn icmp_behind_a_tag() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/Dot1Q(vlan=100)/IP(src='10.10.1.1',
    // dst='10.10.1.2')/ICMP(type=3, code=4)
    golden(
        "0200000000020200000000018100006408004500001c00010000400164ca0a0a01010a0a01020304fcfb000000
         00",
        "in_port=pf0vf3,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,vlan_count=1,\
         vlan_tpid=0x8100,vlan_tci=0x0064,eth_type=0x0800,l3=1,ip_src=10.10.1.1,ip_dst=10.10.1.2,\
         ip_proto=1,ip_ttl=64,l4=1,l4_src=3,l4_dst=4",
    );
}

#[test]
fn first_fragment_of_a_udp_datagram() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/fragment(IP(src='10.10.1.1',
    // dst='10.10.1.2', id=1)/UDP(sport=5000, dport=53)/(b'x'*100), 64)[0]
    golden(
        "02000000000202000000000108004500005400012000401144820a0a01010a0a010213880035006c4dbb787878
         787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878
         7878787878787878",
        "in_port=pf0vf3,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,l3=1,\
         ip_src=10.10.1.1,ip_dst=10.10.1.2,ip_proto=17,ip_ttl=64,ip_frag=1,l4=1,l4_src=5000,\
         l4_dst=53",
    );
}

#[test]
fn later_fragment_of_a_udp_datagram() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/fragment(IP(src='10.10.1.1',
    // dst='10.10.1.2', id=1)/UDP(sport=5000, dport=53)/(b'x'*100), 64)[1]
    golden(
        "020000000002020000000001080045000040000100084011648e0a0a01010a0a01027878787878787878787878
         787878787878787878787878787878787878787878787878787878787878787878",
        "in_port=pf0vf3,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x0800,l3=1,\
         ip_src=10.10.1.1,ip_dst=10.10.1.2,ip_proto=17,ip_ttl=64,ip_frag=2,l4=3",
    );
}

#[test]
fn udp_behind_ipv6_extensions() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IPv6(src='2001:db8::1', dst='2001:db8::2',
    // tc=0xb9, hlim=9)/IPv6ExtHdrHopByHop(options=[RouterAlert()])/IPv6ExtHdrFragment(offset=0, m=1,
    // id=7)/IPv6ExtHdrDestOpt(options=[PadN(optdata=b'\0'*4)])/UDP(sport=5000, dport=53)/b'question'
    golden(
        "02000000000202000000000186dd6b9000000028000920010db800000000000000000000000120010db8000000
         0000000000000000022c000502000001003c000001000000071100010400000000138800350010d5db71756573
         74696f6e",
        "in_port=pf0vf3,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x86dd,l3=1,\
         ip_src=2001:db8::1,ip_dst=2001:db8::2,ip_proto=17,ip_tos=0x00b9,ip_ttl=9,ip_frag=1,l4=1,\
         l4_src=5000,l4_dst=53",
    );
}

#[test]
fn ipv6_neighbor_solicitation() {
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IPv6(src='fe80::1',
    // dst='ff02::1:ff00:2')/ICMPv6ND_NS(tgt='fe80::2')/ICMPv6NDOptSrcLLAddr(lladdr='02:00:00:00:00:01')
    golden(
        "02000000000202000000000186dd6000000000203afffe800000000000000000000000000001ff020000000000
         0000000001ff00000287007a9700000000fe8000000000000000000000000000020101020000000001",
        "in_port=pf0vf3,eth_src=02:00:00:00:00:01,eth_dst=02:00:00:00:00:02,eth_type=0x86dd,l3=1,\
         ip_src=fe80::1,ip_dst=ff02::1:ff00:2,ip_proto=58,ip_ttl=255,l4=1,l4_src=135",
    );
}

#[test]
fn spanning_tree_frame() {
    // Dot3(dst='01:80:c2:00:00:00', src='02:00:00:00:00:01')/LLC(dsap=0x42, ssap=0x42, ctrl=3)/STP()
    golden(
        "0180c2000000020000000001002642420300000000000000000000000000000000000000000000000000000001
         00140002000f00",
        "in_port=pf0vf3,eth_src=02:00:00:00:00:01,eth_dst=01:80:c2:00:00:00,eth_type=0x05ff",
    );
}

#[test]
fn vxlan_over_ipv4() {
    // Ether(dst='02:00:00:00:00:0b', src='02:00:00:00:00:0a')/IP(src='192.0.2.1', dst='192.0.2.2',
    // tos=3)/UDP(sport=50000, dport=4789, chksum=0)/VXLAN(flags=8, vni=100)/
    // Ether(dst='02:00:00:00:00:02', src='02:00:00:00:00:01')/IP(src='10.10.1.1', dst='10.10.1.2',
    // tos=1)/TCP(sport=40000, dport=443, flags='S')
    golden(
        "02000000000b02000000000a08004503005a000100004011f68bc0000201c0000202c35012b500460000080000
         000000640002000000000202000000000108004501002800010000400664b80a0a01010a0a01029c4001bb0000
         00000000000050022000dbd00000",
        "in_port=pf0vf3,eth_src=02:00:00:00:00:0a,eth_dst=02:00:00:00:00:0b,eth_type=0x0800,l3=1,\
         ip_src=192.0.2.1,ip_dst=192.0.2.2,ip_proto=17,ip_tos=0x0003,ip_ttl=64,l4=1,l4_src=50000,\
         l4_dst=4789,tunnel=1,vni=100,tun_eth_src=02:00:00:00:00:01,tun_eth_dst=02:00:00:00:00:02,\
         tun_eth_type=0x0800,tun_l3=1,tun_ip_src=10.10.1.1,tun_ip_dst=10.10.1.2,tun_ip_proto=6,\
         tun_ip_tos=0x0001,tun_ip_ttl=64,tun_l4=1,tun_l4_src=40000,tun_l4_dst=443,\
         tun_tcp_flags=0x0002",
    );
}

#[test]
fn vxlan_over_ipv6_behind_a_tag_with_a_tag_inside() {
    // Ether(dst='02:00:00:00:00:0b', src='02:00:00:00:00:0a')/Dot1Q(vlan=9, prio=5)/
    // IPv6(src='2001:db8::1', dst='2001:db8::2', hlim=63)/UDP(sport=50000, dport=4789)/VXLAN(flags=8,
    // vni=0xffffff)/Ether(dst='ff:ff:ff:ff:ff:ff', src='02:00:00:00:00:01')/Dot1Q(vlan=100)/ARP(op=1,
    // hwsrc='02:00:00:00:00:01', psrc='10.10.1.1', hwdst='00:00:00:00:00:00', pdst='10.10.1.2')
    golden(
        "02000000000b02000000000a8100a00986dd60000000003e113f20010db800000000000000000000000120010d
         b8000000000000000000000002c35012b5003e156d08000000ffffff00ffffffffffff02000000000181000064
         080600010800060400010200000000010a0a01010000000000000a0a0102",
        "in_port=pf0vf3,eth_src=02:00:00:00:00:0a,eth_dst=02:00:00:00:00:0b,vlan_count=1,\
         vlan_tpid=0x8100,vlan_tci=0xa009,eth_type=0x86dd,l3=1,ip_src=2001:db8::1,\
         ip_dst=2001:db8::2,ip_proto=17,ip_ttl=63,l4=1,l4_src=50000,l4_dst=4789,tunnel=1,\
         vni=16777215,tun_eth_src=02:00:00:00:00:01,tun_eth_dst=ff:ff:ff:ff:ff:ff,\
         tun_vlan_count=1,tun_vlan_tpid=0x8100,tun_vlan_tci=0x0064,tun_eth_type=0x0806,tun_l3=1,\
         tun_ip_src=10.10.1.1,tun_ip_dst=10.10.1.2,tun_ip_proto=1,\
         tun_arp_sha=02:00:00:00:00:01",
    );
}
