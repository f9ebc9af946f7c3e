"""Reads a FIT from standard input and prints its tree as JSON. Shares nothing with the writer under test."""

import hashlib
import json
import struct
import sys


def tree(blob):
    magic, total, structure, strings, reserved, version, compatible = struct.unpack_from(">7I", blob)
    assert magic == 0xD00DFEED, hex(magic)
    assert total == len(blob), (total, len(blob))
    assert version >= 17 and compatible <= 17, (version, compatible)
    assert blob[reserved : reserved + 16] == bytes(16), "reserved memory"
    at, open_nodes, root = structure, [], None
    while True:
        (token,) = struct.unpack_from(">I", blob, at)
        at += 4
        if token == 1:
            end = blob.index(0, at)
            node = {"properties": {}, "nodes": {}}
            if open_nodes:
                open_nodes[-1]["nodes"][blob[at:end].decode()] = node
            else:
                assert root is None and end == at, "one root without a name"
                root = node
            open_nodes.append(node)
            at = (end + 4) // 4 * 4
        elif token == 2:
            open_nodes.pop()
        elif token == 3:
            length, name = struct.unpack_from(">II", blob, at)
            name = blob[strings + name : blob.index(0, strings + name)].decode()
            open_nodes[-1]["properties"][name] = blob[at + 8 : at + 8 + length]
            at += 8 + (length + 3) // 4 * 4
        elif token == 9:
            assert not open_nodes, "an open node at the end"
            return root
        else:
            assert token == 4, token


def show(node):
    properties = {name: value.hex() for name, value in node["properties"].items()}
    return {"properties": properties, "nodes": {name: show(other) for name, other in node["nodes"].items()}}


root = tree(sys.stdin.buffer.read())
for name, image in root["nodes"]["images"]["nodes"].items():
    value = image["nodes"]["hash-1"]["properties"]
    assert value["algo"] == b"sha256\0", name
    assert value["value"] == hashlib.sha256(image["properties"]["data"]).digest(), name
json.dump(show(root), sys.stdout)
