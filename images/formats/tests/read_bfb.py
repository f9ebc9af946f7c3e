"""Reads a BFB from standard input and prints what is in it as JSON. Shares nothing with the writer under test."""

import base64
import hashlib
import json
import struct
import sys
import zlib


def read(stream):
    images, at = [], 0
    while stream[at : at + 4] == b"\x42\x66\x02\x13":
        magic, form, versions, ident, length, crc, following = struct.unpack_from("<IBxBBIIQ", stream, at)
        assert form == 0x21, form
        assert versions >> 4 == 3, versions
        # The byte that struct skips: reserved bits below, the version of the next image above.
        upcoming = stream[at + 5]
        assert upcoming & 0xF == 0, upcoming
        begin = at + 24
        end = begin + (length + 7) // 8 * 8
        payload = stream[begin:end]
        assert len(payload) == end - begin, "cut off"
        assert zlib.crc32(payload) == crc, f"checksum of image {ident}"
        assert not any(payload[length:]), "what fills an image up is zero"
        images.append(
            {
                "id": ident,
                "version": versions & 0xF,
                "next": upcoming >> 4,
                "length": length,
                "sha256": hashlib.sha256(payload[:length]).hexdigest(),
                "following": following,
                "payload": payload[:length].hex() if length < 4096 else None,
            }
        )
        at = end
    for index, image in enumerate(images):
        later = images[index + 1 :]
        bits = 0
        for other in later:
            bits |= 1 << other["id"]
        assert image["following"] == bits, f"images after {image['id']}"
        versions = [other["version"] for other in later if other["id"] == image["id"]]
        assert image["next"] == (versions[0] if versions else 0), f"next version of {image['id']}"
    return {"images": images, "trailer": stream[at:].hex()}


def envelope(found):
    """Of the last info image: what is signed, the manifest in it, and the signatures."""
    infos = [image for image in found["images"] if image["id"] == 50 and image["payload"]]
    if not infos:
        return None
    text = json.loads(bytes.fromhex(infos[-1]["payload"]))
    kind, payload = text["payloadType"], base64.b64decode(text["payload"])
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
    manifest = json.loads(payload)
    for listed in manifest["images"]:
        same = [i for i in found["images"] if (i["id"], i["version"]) == (listed["id"], listed["version"])]
        assert [(i["length"], i["sha256"]) for i in same] == [(listed["length"], listed["sha256"])], listed
    signatures = [base64.b64decode(one["sig"]).hex() for one in text["signatures"]]
    return {"signed": signed.hex(), "manifest": manifest, "signatures": signatures}


found = read(sys.stdin.buffer.read())
found["envelope"] = envelope(found) if "--envelope" in sys.argv else None
json.dump(found, sys.stdout)
