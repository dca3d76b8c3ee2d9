#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A QEMU that only has a monitor. What it does is said on the guest's command line (-append):

fake=normal          answers what it should, knows devices and sends their events
fake=mute            never sends the greeting
fake=garbage         sends bytes that are no QMP
fake=exit            writes a line to standard error and exits 3 before the greeting
fake=exit-later      the same, a moment after the start
fake=hang            answers the first two commands, then never again (also not to quit)
fake=hangup          closes the monitor after the first two commands and lives on
fake=refuse          refuses every device_add
fake=refuse-fd       refuses every getfd and add-fd
fake=die-on-add      dies by SIGKILL in the middle of device_add
fake=keep            accepts device_del, but the guest never lets go
fake=late            accepts device_del, and the guest lets go after 0.6 s
fake=unplug-error    the guest refuses to let go
fake=flood           sends events without end
fake=power-off       the guest powers itself off a moment after the start
fake=foreign-thread  says that process 1 is a vCPU of its own
fake=idle            wakes ten times a second for a millisecond of work, as a guest that waits does
fake=starved         works all the time at the lowest priority, beside others that take the processor
fake=save-fails      cannot save its state
fake=load-dies       ends when it is to load one, as QEMU does with one that is not its own
fake=slow-load       never comes to the end of loading one
fake=console         the guest writes to its console, then as power-off

Besides QEMU's commands it has "x-count", which says how often a command has come.
"""

import array
import collections
import json
import os
import signal
import socket
import sys
import time


def option(name):
    return [sys.argv[i + 1] for i, a in enumerate(sys.argv[:-1]) if a == name]


class Fake:
    def __init__(self):
        words = dict(w.split("=", 1) for w in option("-append")[0].split() if "=" in w)
        self.mode = words.get("fake", "normal")
        self.seen = collections.Counter()
        fd = next(dict(p.split("=", 1) for p in o.split(",") if "=" in p)["fd"]
                  for o in option("-chardev") if "id=monitor" in o)
        self.monitor = socket.socket(fileno=int(fd))
        self.monitor.setblocking(True)
        self.buffer = b""
        self.fds = []
        self.names = {}
        self.sets = {}
        self.objects = set()
        self.cpus = 1

    def send(self, message):
        try:
            self.monitor.sendall(json.dumps(message).encode() + b"\r\n")
        except OSError:
            sys.exit(0)

    def event(self, name, **data):
        self.send({"event": name, "data": data, "timestamp": {"seconds": 0, "microseconds": 0}})

    def commands(self):
        while True:
            while b"\n" in self.buffer:
                line, self.buffer = self.buffer.split(b"\n", 1)
                yield json.loads(line)
            ancillary = socket.CMSG_SPACE(16 * 4)
            data, control, _, _ = self.monitor.recvmsg(65536, ancillary)
            if not data:
                return
            for level, kind, payload in control:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self.fds = list(array.array("i", payload))
            self.buffer += data

    def serve(self):
        self.send({"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}, "capabilities": []}})
        for number, command in enumerate(self.commands()):
            self.seen[command["execute"]] += 1
            if number >= 2 and self.mode == "hang":
                continue
            name, arguments = command["execute"], command.get("arguments", {})
            try:
                handler = getattr(self, "do_" + name.replace("-", "_"), lambda **_: {})
                self.send({"return": handler(**{k.replace("-", "_"): v for k, v in arguments.items()}),
                           "id": command["id"]})
            except ValueError as error:
                self.send({"error": {"class": "GenericError", "desc": str(error)}, "id": command["id"]})
            self.after(number, name, arguments)

    def after(self, number, name, arguments):
        if name == "quit":
            sys.exit(0)
        if name == "device_del" and self.mode == "late":
            signal.signal(signal.SIGALRM, lambda *_: self.event("DEVICE_DELETED", device=arguments["id"], path="/"))
            signal.setitimer(signal.ITIMER_REAL, 0.6)
        if name == "device_del" and self.mode not in ("keep", "late", "unplug-error"):
            self.objects.discard(arguments["id"])
            self.event("DEVICE_DELETED", device=arguments["id"], path="/machine/peripheral/" + arguments["id"])
            self.event("DEVICE_DELETED", path="/machine/peripheral/x/virtio-backend")
        if name == "device_del" and self.mode == "unplug-error":
            self.event("DEVICE_UNPLUG_GUEST_ERROR", device=arguments["id"], path="/")
        if number != 1:
            return
        if self.mode in ("hangup", "exit-later", "power-off", "console"):
            time.sleep(0.2)  # vm_start() is over by then
        if self.mode == "idle":
            signal.signal(signal.SIGALRM, lambda *_: self.work(0.001))
            signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
        if self.mode == "starved":
            self.starve()
        if self.mode == "hangup":
            self.monitor.close()
            time.sleep(60)
        if self.mode == "exit-later":
            self.die()
        if self.mode == "flood":
            while True:
                self.event("RTC_CHANGE", offset=1)
        if self.mode in ("power-off", "console"):
            if self.mode == "console":
                console = [o for o in option("-add-fd") if o.endswith("set=0")][0].split(",")[0][3:]
                os.write(int(console), b"Kernel panic - not syncing\r\n\x1b[31mend of it\r\n")
            self.event("SHUTDOWN", guest=True, reason="guest-shutdown")
            sys.exit(0)

    @staticmethod
    def work(seconds):
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    def starve(self):
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
        parent = os.getpid()
        for _ in range(2):
            if os.fork() == 0:
                self.monitor.close()
                while os.getppid() == parent:
                    self.work(0.01)
                os._exit(0)
        os.nice(19)
        self.work(60)

    def die(self):
        print("fake-qemu: something broke\nfake-qemu: and this is the last word", file=sys.stderr, flush=True)
        os._exit(3)

    # --- what it knows ---

    def take_fd(self):
        if self.mode == "refuse-fd":
            raise ValueError("No file descriptor supplied via SCM_RIGHTS")
        if not self.fds:
            raise ValueError("no descriptor came")
        return self.fds.pop(0)

    def do_getfd(self, fdname):
        self.names[fdname] = self.take_fd()
        return {}

    def migrate(self, uri, direction):
        fd = self.names.pop(uri.removeprefix("fd:"))
        self.event("MIGRATION", status="setup")
        self.event("MIGRATION", status="active")
        if direction == "save" and self.mode == "save-fails":
            self.event("MIGRATION", status="failed")
            return {}
        if direction == "save":
            os.write(fd, b"the state of a fake QEMU")
            self.event("STOP")
        elif self.mode == "load-dies" or os.read(fd, 100) != b"the state of a fake QEMU":
            print("fake-qemu: load of migration failed: Invalid argument", file=sys.stderr, flush=True)
            os._exit(1)
        elif self.mode == "slow-load":
            return {}
        self.event("MIGRATION", status="completed")
        return {}

    def do_migrate(self, uri):
        return self.migrate(uri, "save")

    def do_migrate_incoming(self, uri):
        if option("-incoming") != ["defer"]:
            raise ValueError("'-incoming' was not specified on the command line")
        return self.migrate(uri, "load")

    def do_migrate_set_capabilities(self, capabilities):
        self.capabilities = {c["capability"] for c in capabilities if c["state"]}
        return {}

    @staticmethod
    def do_query_migrate():
        return {"status": "failed", "error-desc": "fake: the disk is full"}

    def do_x_count(self, command):
        return {"n": self.seen[command]}

    def do_closefd(self, fdname):
        if fdname not in self.names:
            raise ValueError("Failed to find file descriptor '%s'" % fdname)
        os.close(self.names.pop(fdname))
        return {}

    def do_add_fd(self, fdset_id):
        self.sets[fdset_id] = self.take_fd()
        return {"fdset-id": fdset_id, "fd": self.sets[fdset_id]}

    def do_remove_fd(self, fdset_id):
        os.close(self.sets.pop(fdset_id))
        return {}

    def add(self, name):
        if name in self.objects:
            raise ValueError("Duplicate ID '%s'" % name)
        self.objects.add(name)
        return {}

    def remove(self, name):
        if name not in self.objects:
            raise ValueError("'%s' not found" % name)
        self.objects.remove(name)
        return {}

    def do_chardev_add(self, id, backend):
        self.names.pop(backend["data"]["addr"]["data"]["str"])
        return self.add(id)

    def do_netdev_add(self, id, fd, **_):
        self.names.pop(fd)
        return self.add(id)

    def do_blockdev_add(self, node_name, **_):
        return self.add(node_name)

    def do_object_add(self, id, **_):
        return self.add(id)

    def do_chardev_remove(self, id):
        return self.remove(id)

    def do_netdev_del(self, id):
        return self.remove(id)

    def do_blockdev_del(self, node_name):
        return self.remove(node_name)

    def do_object_del(self, id):
        return self.remove(id)

    def do_device_add(self, id, driver, **_):
        if self.mode == "refuse":
            raise ValueError("Bus 'pci-bridge-0' does not support hotplugging")
        if self.mode == "die-on-add":
            os.kill(os.getpid(), signal.SIGKILL)
        if driver.endswith("-cpu"):
            self.cpus += 1
        return self.add(id)

    def do_query_cpus_fast(self):
        thread = 1 if self.mode == "foreign-thread" else os.getpid()
        return [{"cpu-index": i, "thread-id": thread} for i in range(self.cpus)]

    def do_query_hotpluggable_cpus(self):
        smp = dict(p.split("=", 1) for p in option("-smp")[0].split(",")[1:])
        return [{"type": "fake-x86_64-cpu", "vcpus-count": 1, "props": {"socket-id": i, "core-id": 0, "thread-id": 0},
                 **({"qom-path": "/machine"} if i < self.cpus else {})} for i in reversed(range(int(smp["maxcpus"])))]


def main():
    fake = Fake()
    if fake.mode == "exit":
        fake.die()
    if fake.mode == "mute":
        time.sleep(60)
    if fake.mode == "garbage":
        fake.monitor.sendall(b"\0\xff{{{ this is not QMP\n")
        time.sleep(60)
    fake.serve()


main()
