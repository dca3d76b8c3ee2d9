#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A virtiofsd that serves nothing. Its name (a link to this file) says which: virtiofsd-c, virtiofsd-rust,
virtiofsd-other; with -dies behind it, it accepts the connection, complains and exits; with -leaves it exits when its peer does, as
the real ones do. It writes its arguments to the
file "args" in the shared folder, and greets whoever is connected to its socket."""

import os
import pathlib
import signal
import socket
import sys
import time

HELP = {"c": "    -o source=PATH             shared directory tree\n", "rust": "  --shared-dir <SHARED_DIR>\n", "other": "?\n"}

words = pathlib.Path(sys.argv[0]).stem.split("-")
if "--help" in sys.argv:
    sys.exit(print(HELP[words[1]]))
text = " ".join(sys.argv[1:])
fd = int(text.split("--fd=")[1].split()[0])
source = text.split("source=" if "source=" in text else "--shared-dir=")[1].split()[0]
pathlib.Path(source, "args").write_text(text)
connection, _ = socket.socket(fileno=fd).accept()
connection.sendall(b"hello")
if words[-1] == "dies":
    print("the shared folder is on fire", file=sys.stderr, flush=True)
    os._exit(1)
if words[-1] == "leaves":
    try:
        connection.recv(1)
    except ConnectionResetError:
        pass  # what we said was not read
    sys.exit(0)
if words[-1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(60)
