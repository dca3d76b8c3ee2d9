#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write an array of all message descriptors of generated protobuf-c headers.

usage: descriptors.py OUTPUT HEADER...
"""

import pathlib
import re
import sys

found = []
for header in sys.argv[2:]:
    text = pathlib.Path(header).read_text()
    found += re.findall(r"^extern const ProtobufCMessageDescriptor (\w+);", text, re.MULTILINE)
names = sorted(set(found))
lines = ["#include <protobuf-c/protobuf-c.h>", ""]
lines += [f"extern const ProtobufCMessageDescriptor {name};" for name in names]
lines += ["static const ProtobufCMessageDescriptor *const descriptors[] = {"]
lines += [f"\t&{name}," for name in names] + ["};", ""]
pathlib.Path(sys.argv[1]).write_text("\n".join(lines))
