#!/usr/bin/python3
"""Makes the seeds of the targets that read text, messages and structs: one file an input, in the folder of its
target. What the packets of slow_path are comes from seeds/extract, which make.py makes with scapy."""

import pathlib
import struct

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[2]


def put(target, name, data):
    folder = HERE / target
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


# --- text -----------------------------------------------------------------------------------------------------

for path in sorted((ROOT / "docs/examples").glob("*.yaml")):
    for number, document in enumerate(path.read_text().split("---\n")[1:]):
        put("resource_file", f"{path.stem}-{number}", document)
put(
    "resource_file",
    "list.json",
    '[{"apiVersion": "nic.v1", "kind": "Port", "name": "vm1", "etag": "a",\n  "spec": {"device": "pf0vf0", "macAddresses":'
    ' ["02:00:00:00:00:01"], "trunks": [{"vlan": 20, "bridge": "bridges/b"}]}},\n {"apiVersion": "nic.v1", "kind": "FlowRule",'
    ' "name": "out", "spec": {"flow": "in_port=vm1,actions=drop", "priority": 7}}]',
)
put("resource_file", "alias", "a: &a {x: 1, y: [*a]}\n---\napiVersion: nic.v1\nkind: Bridge\nname: b\nspec: !!map {vni: 0x10}\n")
put(
    "resource_file",
    "status",
    "apiVersion: nic.v1\nkind: Port\nname: p\nmetadata: {uid: '3', createTime: 2026-01-01T00:00:00Z}\nspec:\n  mtu: 1500\n"
    "  admin_state: UP\nstatus:\n  conditions: []\n",
)
tutorials = ROOT / "host-shim/nicctl/tests/tutorials"
put("import", "tc", b"\0" + (tutorials / "tc-vxlan.txt").read_bytes())
put("import", "ovs", b"\1" + (tutorials / "ovs-dpdk.txt").read_bytes())
FLOWER = "tc filter add dev eth7 protocol ip parent ffff: prio 7 flower ip_proto tcp dst_port 80 dst_ip 10.0.0.0/8 action "
put("import", "flower", "\0" + FLOWER + "mirred egress redirect dev eth8\n" + FLOWER + "drop\n")
put("import", "quotes", "\1# ovs-vsctl add-port br0 eth7 -- set Interface eth7 type=dpdk \\\n options:dpdk-devargs='0000:85:00.0'\n")
put("import", "flow", "\1sudo ovs-ofctl add-flow br0 'priority=3,in_port=eth7,tcp6,tp_dst=0x50/0xfff0,actions=mod_vlan_vid:7,eth8'\n")
put("import", "regression-mac", b"\0" + (tutorials / "tc-vxlan.txt").read_bytes().replace(b"dst_mac 82", b"dst_mac /2"))
put("import", "regression-control-character", "\1ovs-ofctl add-flow br0 'in_port=eth7,ac\5tions=eth8'\n")

# --- nic.datapath.v1 and the store ----------------------------------------------------------------------------


def varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def message(*fields):
    """Fields as (number, value): a number, bytes or a text."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


MAC = bytes([2, 0, 0, 0, 0, 1])
VTEP_ADDRESS, PEER_ADDRESS = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])
MATCH = message((1, "ip_dst"), (2, bytes([10, 0, 0, 1])), (3, bytes([255] * 4)))
IN_PORT = message((1, "in_port"), (2, b"\x80\0"), (3, b"\xff\xff"))
ENCAP = message((1, MAC), (2, MAC), (3, 5), (4, VTEP_ADDRESS), (5, PEER_ADDRESS), (7, 64), (8, 16))
RULE_ACTIONS = [
    message((2, message((1, 0x8100), (2, 100)))),
    message((7, MAC)),
    message((9, bytes([10, 0, 0, 2]))),
    message((12, b"")),
    message((14, 80)),
    message((1, 0)),
]
FLOW_ACTIONS = [message((17, b"")), message((18, message((1, 4), (2, 1)))), message((16, ENCAP)), message((1, 0))]
OBJECTS = {
    "uplink": (1, message((1, 0), (2, 1), (6, 1), (7, 7), (8, 8))),
    "port": (1, message((1, 0x8000), (2, 1), (3, message((1, MAC))), (4, 1), (5, message((1, 20), (2, 2))), (6, 1))),
    "rule": (2, message((1, 9), (2, 7), (3, IN_PORT), (3, MATCH), *[(4, action) for action in RULE_ACTIONS])),
    "vtep": (4, message((1, 3), (2, 0), (3, 5), (4, MAC), (5, VTEP_ADDRESS), (6, 24), (7, PEER_ADDRESS), (8, 64), (9, 46))),
    "bridge": (3, message((1, 1), (2, message((1, 3), (2, 16))), (3, 1), (4, 300), (5, 1))),
    "plain-bridge": (3, message((1, 2), (3, 1), (4, 300))),
    "peer": (5, message((1, 3), (2, PEER_ADDRESS), (3, b"\1"), (4, 1), (5, 9))),
    "entry": (6, message((1, 1), (2, MAC), (3, message((1, 0x8000))), (4, bytes([10, 0, 0, 1])))),
    "far-entry": (6, message((1, 1), (2, MAC[:5] + b"\2"), (3, message((2, PEER_ADDRESS))))),
}
REFERENCES = {
    "port": (1, 0x8000),
    "rule": (2, 9),
    "bridge": (3, 1),
    "vtep": (4, 3),
    "peer": (5, message((1, 3), (2, PEER_ADDRESS))),
    "entry": (6, message((1, 1), (2, MAC))),
}
OFFLOAD = message((1, 3), (2, "refused"), (3, message((9, message((1, 2), (2, 95))))))
COUNTERS = message((1, 3), (2, 300))
for name, thing in OBJECTS.items():
    put("datapath_message", "put-" + name, b"\0" + message((2, message(thing))))
for name, thing in REFERENCES.items():
    put("datapath_message", "remove-" + name, b"\0" + message((3, message(thing))))
put("datapath_message", "device", b"\1" + message((1, 0x8000), (2, 1), (3, 1500), (4, MAC)))
row = message((1, "l3_pair"), (2, "output"), (3, 1), (4, message((5, "full_key"))))
put("datapath_message", "capabilities", b"\2" + message((1, "net_eswitch"), (2, "22.11"), (3, row)))
flow = message((1, IN_PORT), *[(2, action) for action in FLOW_ACTIONS], (4, "l3_pair"), (5, OFFLOAD), (6, COUNTERS), (7, COUNTERS))
put("datapath_message", "flow", b"\3" + flow + message((8, 5), (9, 4), (10, message((2, 9)))))
put("datapath_message", "fdb", b"\4" + message((1, 1), (2, MAC), (3, message((1, 0x8000))), (4, 5)))
put("datapath_message", "neighbor", b"\5" + message((1, 3), (3, PEER_ADDRESS), (4, MAC), (5, 2), (6, 5)))
step = message((1, "ingress"), (2, message((1, 0x8000))), (3, IN_PORT), (5, 1))
trace = message((1, 4), (2, message((1, "in_port"), (2, b"\x80\0"))), (3, step), (4, message((1, 0))), (6, IN_PORT), (7, IN_PORT))
put("datapath_message", "trace", b"\6" + trace + message((8, "l3_pair"), (9, message((1, 1))), (10, 1)))
ports = message((1, 0), (2, 1), (3, COUNTERS), (4, COUNTERS), (5, 1), (6, 2), (7, COUNTERS), (8, message((1, "no_policy"), (2, 3))))
put("datapath_message", "stats", b"\7" + message((1, ports), (2, message((1, "ingress"), (2, 1))), (3, 1), (4, 1), (5, 1)))


def call(method, *messages):
    return bytes([method, len(messages)]) + b"".join(struct.pack("<H", len(m)) + m for m in messages)


UUID = bytes(range(16))


def shake(*more):
    return call(0, message((1, UUID), (3, b"\1\2\3"), *more))


def sync(revision, base, *changes):
    header = message((1, message((1, 1), (2, UUID), (3, revision), base)))
    return call(1, header, *changes, message((4, b"")))


EVERYTHING = [message((2, message(thing))) for thing in OBJECTS.values()]
FULL = shake() + sync(1, (4, b""), *EVERYTHING)
frame = (HERE / "extract/tcp").read_bytes()
key = message((1, message((1, "eth_type"), (2, b"\x08\0"))))
put("datapath_service", "full", FULL + call(3, message((1, 0x8000), (2, frame))) + call(3, message((1, 0), (3, key))))
put("datapath_service", "delta", FULL + sync(2, (5, 1), *[message((3, message(thing))) for thing in REFERENCES.values()]))
put("datapath_service", "adopt", shake((4, 7), (5, 1)) + shake((2, 9), (4, 8)) + call(2, message((1, 8))) + call(10, b""))
put("datapath_service", "regression-last-lease", shake((4, 2**64 - 1)) + shake())
put("datapath_service", "reads", shake() + b"".join(call(method, message((1, 1))) for method in (4, 5, 6, 7, 8, 9, 10)))


def store_row(table, name, value):
    return bytes([table, len(name)]) + name.encode() + struct.pack("<H", len(value)) + value


def resource(name, uid, number, *spec):
    meta = message((1, uid), (2, 1), (3, 1), (4, 1), (5, "lab"), (6, 3), (7, 3))
    return store_row(2, name, message((1, name.split("/")[1]), (2, meta), (number, message(*spec))))


def bundle(files, *targets):
    """An update bundle: metadata by name, and targets."""
    metadata = b"".join(bytes([len(name)]) + name + struct.pack("<I", len(data)) + data for name, data in files)
    parts = (bytes([len(name)]) + name + struct.pack("<Q", len(data)) + data for name, data in targets)
    return b"nicbndl\1" + struct.pack("<I", len(metadata)) + metadata + b"".join(parts)


WHOLE = bundle([(b"1.root.json", b"{}"), (b"timestamp.json", b"{}")], (b"root.img", b"image"), (b"uki.efi", b"uki"))
put("update_bundle", "whole", WHOLE)
put("update_bundle", "cut", WHOLE[:-2])
put("update_bundle", "endless", WHOLE + b"\4more")
put("update_bundle", "empty", bundle([]))
put("update_bundle", "path", bundle([(b"../x", b"")], (b"a/b", b"")))

put("store_file", "port", b"\2" + resource("ports/x", 8, 3, (1, "pf0vf9"), (2, 1), (3, 1400), (4, "02:00:00:00:00:07"), (6, "bridges/a"), (7, message((1, 20), (2, "bridges/c")))) + resource("bridges/c", 9, 5))
put("store_file", "rule", b"\2" + resource("flowRules/out", 3, 4, (1, "in_port=vm1,actions=drop"), (2, 9)))
put("store_file", "fdb", b"\2" + resource("fdbEntries/a.020000000009", 8, 8, (1, "bridges/a"), (2, "02:00:00:00:00:09"), (4, "tunnelPeers/p"), (5, "192.0.2.9")))
put("store_file", "vtep", b"\2" + resource("vteps/w", 8, 6, (1, "ports/pf0"), (2, 7), (3, "2001:db8::1/64"), (4, "2001:db8::2"), (6, 9), (7, 46)))
put("store_file", "gone", b"\2" + store_row(2, "ports/vm1", b""))
put("store_file", "header", b"\0" + store_row(1, "", message((1, 2), (2, UUID), (3, 5), (4, 9), (5, 7))))
put("store_file", "request", b"\2" + store_row(0, "\1", message((1, UUID), (2, UUID), (3, 1), (4, b""))))
put("store_file", "bytes", b"\1" + b"\0\0\x09\x02" + b"\0\x10\x40\xff")
put("store_file", "cut", b"\1" + b"\xff\xff\xff\0")

# --- rte_flow, device arguments, memif ------------------------------------------------------------------------

# Types as their places in the tables of nic-agent/net-eswitch/src/fuzzing.rs.
PORT, ETH, VLAN, IPV4, IPV6, TCP, UDP, ICMP, ARP, VXLAN = 2, 4, 5, 6, 7, 8, 9, 10, 12, 13
ONES = b"\xff"


def item(kind, spec=None, mask=None, last=None):
    parts = [part for part in (spec, last, mask) if part is not None]
    there = (spec is not None) | (last is not None) << 1 | (mask is not None) << 2
    return bytes([kind, there]) + b"".join(parts)


def listed(*parts):
    return bytes([len(parts)]) + b"".join(parts)


def rule(items, actions, attributes=b"\0\0\0"):
    return attributes + listed(*items) + listed(*actions)


def action(kind, conf=None):
    return bytes([kind, conf is not None]) + (conf or b"")


FROM = item(PORT, b"\1\0")
ANY = [item(kind) for kind in (ETH, IPV4, UDP)]
ETH_BOTH = item(ETH, MAC + MAC + b"\x08\0" + b"\0" * 6, ONES * 14 + b"\0" * 6)
V4 = item(IPV4, b"\0" * 12 + VTEP_ADDRESS + PEER_ADDRESS, b"\0" * 12 + ONES * 8)
V6 = item(IPV6, b"\0" * 6 + b"\x11" + b"\0" + bytes(32) + b"\0" * 4, b"\0" * 6 + b"\xff\0" + ONES * 32 + b"\0" * 4)
L4 = item(UDP, b"\0\0\x12\xb5\0\0\0\0", b"\0\0\xff\xff\0\0\0\0")
VNI = item(VXLAN, b"\x08\0\0\0\0\0\x10\0", b"\0\0\0\0\xff\xff\xff\0")
TO = action(7, b"\0\0")
DEFINITION = bytes([6, 2]) + listed(ETH_BOTH, V4, L4, VNI)
put("rte_flow", "pair", rule([FROM, ETH_BOTH, V4], [action(1), TO]))
put("rte_flow", "six", rule([FROM, item(ETH), V6, L4], [action(16, bytes(16)), action(4), TO]))
put("rte_flow", "vlan", rule([FROM, item(ETH), item(VLAN, b"\0\x64\x08\0\0\0\0\0", b"\x0f\xff\0\0\0\0\0\0")], [action(3), TO]))
put("rte_flow", "push", rule([FROM, item(ETH)], [action(9, b"\x81\0"), action(10, b"\0\x64"), action(11, b"\5"), TO]))
put("rte_flow", "drop", rule([FROM, item(ETH), item(ARP)], [action(2)], b"\0\1\0"))
put("rte_flow", "range", rule([FROM, item(ETH), item(IPV4, bytes(20), ONES * 20, bytes(20))], [TO]))
put("rte_flow", "encap", rule([FROM, ETH_BOTH], [DEFINITION, TO]))
put("rte_flow", "decap", rule([FROM, *ANY, VNI, ETH_BOTH, V4, item(TCP)], [action(5), action(12, MAC), TO]))
put("rte_flow", "ingress", rule([item(ETH)], [action(2)], b"\5\0\0"))
for number, text in enumerate(
    [
        "profile=portable,uplinks=2,vfs=3,hpf=1,max_rules=10,buffers=64,cache=2",
        "vfs=2,representor=[0-1],backing=p0:af_packet:eth7+pf0vf0:tap:t0+*:inject",
        "vfs=4,representor=pf0vf[0-3],backing=p0:pcap:in.pcap:out.pcap+pf0vf1:memif:/run/s",
        "hpf=1,representor=pf0",
    ]
):
    put("device_arguments", str(number), text)
put("device_arguments", "regression-many", "representor=[[]" + ",a=b" * 64)
put("device_arguments", "regression-unknown", "a=b" + ",a=b" * 64)
descriptor = struct.pack("<HHII", 0, 0, 60, 0x1000)
linked = struct.pack("<HHII", 1, 0, 60, 0x1000)
put("memif", "frame", b"\0" + b"\1\0\x80\x0c" + descriptor + b"\3\1\0" + b"\7" + b"\4")
put("memif", "two", b"\0" + b"\1\0\x80\x0c" + linked + b"\1\0\x90\x0c" + descriptor + b"\3\2\0\7\4")
put("memif", "send", b"\0" + b"\1\2\x80\x0c" + descriptor + b"\1\2\x90\x0c" + descriptor + b"\x83\2\0" + b"\5\0\x20")
put("memif", "script", b"\1" + b"\4" + b"\0\3\2\0\2" + b"\x08\4\x0a\0\0" + struct.pack("<Q", 0x2000) + b"\6\4")

# --- frames through the slow path -----------------------------------------------------------------------------

for seed, name in enumerate(["tcp", "udp6", "arp", "vlan", "vxlan", "solicit", "first-fragment", "extensions"]):
    frame = (HERE / "extract" / name).read_bytes()[:255]
    enter = b"\x20" + bytes([len(frame)]) + frame
    install = b"\x08\xfa\x0b\xfc"
    put("slow_path", name, struct.pack("<I", seed) + enter + install + enter * 2 + b"\x08\x6d\x4e" + enter + install + b"\x0f" + enter + install)
