#!/usr/bin/env python3
"""embed.py OBJECT OUTPUT NAME: the BPF object as a C++ array, so that the loader needs no file at run time."""
import sys

with open(sys.argv[1], "rb") as f:
    octets = f.read()
with open(sys.argv[2], "w", encoding="ascii") as f:
    f.write('#include "xdp/loader/object.h"\n\nnamespace sluice::xdp {\n')
    f.write("alignas(8) static const unsigned char kOctets[] = {\n")
    for at in range(0, len(octets), 24):
        f.write(",".join(str(o) for o in octets[at : at + 24]) + ",\n")
    f.write("};\nstd::span<const unsigned char> %s_object() { return kOctets; }\n" % sys.argv[3])
    f.write("}  // namespace sluice::xdp\n")
