#!/usr/bin/python3
"""Makes the seeds of `bfb` and `bfb_manifest` again: streams as cards take them, and what is in their info image."""

import base64
import json
import pathlib
import struct
import subprocess
import tempfile
import zlib

HERE = pathlib.Path(__file__).parent
KEY = HERE.parents[2] / "images/formats/tests/test-key.pem"
KIND = "application/vnd.nic-agent.bfb+json"


def stream(images, tail=b""):
    """Of (id, version, payload)s in their order."""
    out = b""
    for index, (ident, version, payload) in enumerate(images):
        later = images[index + 1 :]
        following = 0
        for other in later:
            following |= 1 << other[0]
        upcoming = next((other[1] for other in later if other[0] == ident), 0)
        padded = payload + bytes(-len(payload) % 8)
        what = 0x21_1302_6642 | upcoming << 44 | version << 48 | 3 << 52 | ident << 56
        out += struct.pack("<QIIQ", what, len(payload), zlib.crc32(padded), following) + padded
    return out + tail


def manifest(board, images):
    listed = [{"id": i, "version": v, "length": len(p), "sha256": "ab" * 32} for i, v, p in images]
    return json.dumps({"board": board, "version": "0.1.0", "images": listed}).encode()


def envelope(payload, signed):
    signatures = []
    if signed:
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"DSSEv1 %d %s %d %s" % (len(KIND), KIND.encode(), len(payload), payload))
            file.flush()
            command = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", KEY, "-in", file.name]
            signature = subprocess.run(command, check=True, capture_output=True).stdout
        # The name of the key is the hash of its 32 bytes.
        command = ["openssl", "pkey", "-in", KEY, "-pubout", "-outform", "DER"]
        public = subprocess.run(command, check=True, capture_output=True).stdout[-32:]
        digest = subprocess.run(["sha256sum"], input=public, check=True, capture_output=True).stdout
        signatures.append({"keyid": digest[:64].decode(), "sig": base64.b64encode(signature).decode()})
    text = {"payloadType": KIND, "payload": base64.b64encode(payload).decode(), "signatures": signatures}
    return json.dumps(text).encode()


def put(target, name, data):
    folder = HERE / target
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)


KERNEL = [(62, 2, b"kernel"), (63, 2, b"root")]
MANIFEST = manifest("bluefield3", KERNEL)
STAGES = [(6, 0, b"certificate"), (1, 0, b"stage"), (1, 1, b"stage"), (1, 2, b"")]
put("bfb", "stages", stream(STAGES + [(59, 0, b"console=hvc0"), (59, 2, b"console=hvc0")]))
put("bfb", "ours", stream(STAGES + [(50, 2, envelope(MANIFEST, False))] + KERNEL, b"NAME=value\n"))
put("bfb", "slipped", stream(STAGES + [(54, 0, b"ramdisk"), (50, 0, b"{}")] + KERNEL))
put("bfb", "unknown", stream([(1, 0, b"stage"), (20, 3, b"?"), (48, 0, b"golden"), (16, 15, b"?")]))
put("bfb", "cut", stream(STAGES)[:-5])
put("bfb_manifest", "manifest", MANIFEST)
put("bfb_manifest", "board", manifest("stingray", []))
put("bfb_manifest", "signed", envelope(MANIFEST, True))
put("bfb_manifest", "unsigned", envelope(MANIFEST, False))
put("bfb_manifest", "others", b'{"Members": []}')
