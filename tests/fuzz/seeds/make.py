#!/usr/bin/python3
"""Makes the seeds of the byte targets again, with scapy: one file a packet, in the folder of its target."""

import logging
import pathlib

logging.getLogger("scapy").setLevel(logging.CRITICAL)
from scapy.all import *  # noqa: E402,F403

HERE = pathlib.Path(__file__).parent
ETH = Ether(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
V4 = IP(src="10.10.1.1", dst="10.10.1.2")
V6 = IPv6(src="2001:db8::1", dst="2001:db8::2")
NS = IPv6(src="fe80::1", dst="ff02::1:ff00:2") / ICMPv6ND_NS(tgt="fe80::2") / ICMPv6NDOptSrcLLAddr()
NA = IPv6(src="fe80::2", dst="fe80::1") / ICMPv6ND_NA(tgt="fe80::2") / ICMPv6NDOptDstLLAddr()
TCP_OPTIONS = TCP(flags="SEC", options=[("MSS", 1460), ("NOP", None), ("WScale", 7)])
CHAIN = (
    V6
    / IPv6ExtHdrHopByHop(options=[RouterAlert()])
    / IPv6ExtHdrRouting(addresses=["2001:db8::3"])
    / IPv6ExtHdrFragment(m=1, id=7)
    / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
    / UDP()
)
INNER = Ether(dst="02:00:00:00:00:04", src="02:00:00:00:00:03")
NOT_ETHERNET = UDP(sport=50000, dport=4789) / b"\x08\0\0\0\0\0\x07\0short"
PACKETS = {
    "arp": ETH / ARP(op=1, psrc="10.10.1.1", pdst="10.10.1.2"),
    "icmp": ETH / V4 / ICMP(id=7, seq=1) / b"ping",
    "unreachable": ETH / V4 / ICMP(type=3, code=4, nexthopmtu=1450) / V4 / UDP(),
    "udp": ETH / V4 / UDP(sport=5000, dport=53) / b"question",
    "tcp": ETH / V4 / TCP_OPTIONS / b"data",
    "options": ETH / IP(src="10.10.1.1", options=[IPOption_Router_Alert()]) / TCP(),
    "first-fragment": ETH / IP(flags="MF") / UDP(len=1000) / b"head",
    "later-fragment": ETH / IP(frag=185, proto=17) / b"tail",
    "vlan": ETH / Dot1Q(vlan=100, prio=5, id=1) / V4 / UDP(),
    "qinq": Ether(type=0x88A8) / Dot1Q(vlan=9) / Dot1Q(vlan=100) / V6 / TCP(),
    "three-tags": ETH / Dot1Q(vlan=1) / Dot1Q(vlan=2) / Dot1Q(vlan=3) / V4 / UDP(),
    "udp6": ETH / V6 / UDP(sport=53, dport=5353) / b"odd",
    "echo6": ETH / V6 / ICMPv6EchoRequest(data=b"ping"),
    "too-big6": ETH / V6 / ICMPv6PacketTooBig(mtu=1280) / b"original",
    "solicit": ETH / NS,
    "advert": ETH / NA,
    "extensions": ETH / CHAIN,
    "vxlan": ETH / V4 / UDP(sport=50000, dport=4789, chksum=0) / VXLAN(flags=8, vni=7) / INNER / V4 / TCP_OPTIONS,
    "vxlan6": ETH
    / Dot1Q(vlan=9)
    / V6
    / UDP(sport=50000, dport=4789)
    / VXLAN(flags=8, vni=7)
    / INNER
    / Dot1Q(vlan=100)
    / V6
    / UDP(),
    "vxlan-arp": ETH / V4 / UDP(sport=50000, dport=4789) / VXLAN(flags=8, vni=7) / INNER / ARP(psrc="10.10.1.1", pdst="10.10.1.2"),
    "vxlan-twice": ETH / V4 / UDP(dport=4789) / VXLAN(flags=8) / INNER / V4 / UDP(dport=4789) / VXLAN(flags=8) / INNER / V4 / UDP(),
    "vxlan-short": ETH / V4 / NOT_ETHERNET,
    "vxlan-no-vni": ETH / V4 / UDP(dport=4789) / VXLAN(flags=0, vni=7) / INNER / V4 / UDP(),
    "llc": Dot3(dst="01:80:c2:00:00:00") / LLC() / STP(),
}
LAYERS = {
    "vlan": Dot1Q,
    "arp": ARP,
    "ipv4": IP,
    "ipv6": IPv6,
    "tcp": TCP,
    "udp": UDP,
    "vxlan": VXLAN,
    "icmpv4": ICMP,
}
# Kind, then sixteen bytes of argument: as `execute` in src/flow.rs reads them. Push a tag, take one from the
# time to live, both addresses, output, a port; out of a tunnel, mark, into one, output, out of it.


def actions(*steps):
    return bytes([len(steps)]) + b"".join(bytes([kind]) + argument.ljust(16, b"\1") for kind, argument in steps)


# The high bit of a kind chooses IPv6.
REWRITE = actions(
    (1, b"\0\x64\0"), (11, b""), (7, b"\xc0\0\2\7"), (8 + 17 * 8, b"\x20\1\r\xb8"), (0, b""), (13, b"")
)
TUNNEL = actions((16, b""), (14, b"\3"), (15, b"\2\0"), (0, b""), (16, b""), (15 + 17 * 8, b"\2\1"))


def put(target, name, data):
    folder = HERE / target
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)


for name, packet in PACKETS.items():
    frame = raw(packet)
    packet = packet.__class__(frame)
    put("ethernet", name, frame)
    put("extract", name, frame)
    put("execute", name, REWRITE + frame)
    put("execute", name + "-tunnel", TUNNEL + frame)
    for target, layer in LAYERS.items():
        if layer in packet:
            put(target, name, raw(packet[layer]))
    if IPv6 in packet and packet[IPv6].nh == 58:
        put("icmpv6", name, raw(packet[IPv6].payload))
