# SPDX-License-Identifier: Apache-2.0
"""Programs in the background that outlive who started them, each with its pid and its log in a folder."""

import json
import os
import pathlib
import signal
import subprocess
import time

from patience import limit


def _started(pid):
    """When a process began, in ticks since the boot; None if there is none, or only its remains."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


class Daemon:
    """One program: its notes are FOLDER/NAME.pid, what it prints is in FOLDER/NAME.log."""

    def __init__(self, folder, name):
        self.name = name
        self.log = folder / f"{name}.log"
        self.notes = folder / f"{name}.pid"
        self._child = None

    def start(self, command, env=None):
        with self.log.open("ab") as log:
            self._child = subprocess.Popen([*map(str, command)], env=env, stdin=subprocess.DEVNULL, stdout=log,
                                           stderr=log, start_new_session=True)
        self.notes.write_text(json.dumps([self._child.pid, _started(self._child.pid)]))

    @property
    def pid(self):
        """The process, if it still runs and is the one that was started."""
        try:
            pid, started = json.loads(self.notes.read_text())
        except (OSError, ValueError):
            return None
        if self._child is not None:
            self._child.poll()
        return pid if started is not None and _started(pid) == started else None

    def tail(self, size=2000):
        try:
            return self.log.read_bytes()[-size:].decode(errors="replace")
        except OSError:
            return ""

    def check(self):
        if self.pid is None:
            raise RuntimeError(f"{self.name} has ended; the end of {self.log}:\n{self.tail()}")

    def stop(self, seconds=10):
        """Ask, then force."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            pid = self.pid
            if pid is None:
                break
            os.kill(pid, number)
            end = time.monotonic() + limit(seconds)
            while self.pid is not None and time.monotonic() < end:
                time.sleep(0.02)
        self.notes.unlink(missing_ok=True)
