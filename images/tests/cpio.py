"""Lists an archive of the kind `newc`, entry by entry, and fails on anything odd. Shares no code with the writer."""

import sys

data = open(sys.argv[1], "rb").read()
at = 0
inodes = set()
while True:
    if data[at : at + 6] != b"070701":
        sys.exit(f"no magic at {at}")
    field = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
    inode, mode, uid, gid, links, mtime, size = field[:7]
    name_size = field[11]
    name = data[at + 110 : at + 110 + name_size]
    if name[-1:] != b"\0" or field[7:11] != [0, 0, 0, 0] or field[12] != 0 or (uid, gid, mtime) != (0, 0, 0):
        sys.exit(f"odd header at {at}")
    at = (at + 110 + name_size + 3) & ~3
    content = data[at : at + size]
    at = (at + size + 3) & ~3
    if name == b"TRAILER!!!\0":
        break
    if inode in inodes:
        sys.exit(f"inode {inode} twice")
    inodes.add(inode)
    print(f"{mode:o} {name[:-1].decode()} {size} {content.decode()}")
if at != len(data):
    sys.exit("octets behind the end")
