"""Reads a file system with its tree of hashes, as dm-verity would, and checks every block of both.

    verity.py FILE ROOT_HASH DATA_BLOCKS SALT

Shares no code with what writes it. Ends with an error at the first thing that is not as it should be.
"""

import hashlib
import struct
import sys

BLOCK = 4096
file, root_hash, data_blocks, salt = sys.argv[1], sys.argv[2], int(sys.argv[3]), bytes.fromhex(sys.argv[4])

with open(file, "rb") as opened:
    octets = opened.read()
blocks = [octets[at : at + BLOCK] for at in range(0, len(octets), BLOCK)]
if len(blocks[-1]) != BLOCK:
    sys.exit("the file does not end with a whole block")

# One block that describes the tree.
magic, version, kind = struct.unpack_from("<8sII", blocks[data_blocks])
algorithm, data_size, hash_size, count, salt_size = struct.unpack_from("<32sIIQH", blocks[data_blocks], 32)
found_salt = blocks[data_blocks][88 : 88 + salt_size]
if (magic, version, kind) != (b"verity\0\0", 1, 1) or algorithm.rstrip(b"\0") != b"sha256":
    sys.exit("this is no description of a tree of SHA-256 hashes")
if (data_size, hash_size, count) != (BLOCK, BLOCK, data_blocks) or found_salt != salt:
    sys.exit("the description is of another file system")


def digest(block):
    return hashlib.sha256(salt + block).digest()


# Each level has the hashes of the level below, 128 in a block; the topmost is one block and is stored first.
level = blocks[:data_blocks]
levels = []
while True:
    hashes = b"".join(digest(block) for block in level)
    hashes += bytes(-len(hashes) % BLOCK)
    level = [hashes[at : at + BLOCK] for at in range(0, len(hashes), BLOCK)]
    levels.insert(0, level)
    if len(level) == 1:
        break
expected = [block for level in levels for block in level]
stored = blocks[data_blocks + 1 :]
if len(stored) < len(expected):
    sys.exit("the tree is cut off")
for number, (one, other) in enumerate(zip(stored, expected)):
    if one != other:
        sys.exit(f"block {number} of the tree is not the hashes of what is below it")
if digest(levels[0][0]).hex() != root_hash:
    sys.exit("the root hash is not that of the topmost block")
print(f"{data_blocks} blocks, {len(levels)} levels, {len(expected)} blocks of hashes")
