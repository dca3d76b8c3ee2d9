# SPDX-License-Identifier: Apache-2.0
"""kata-runtime as a person uses it: what it prints, exit codes, without an installation and without root."""

import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import socketserver
import subprocess
import threading
import time
import tomllib

import pytest

BUILD = pathlib.Path(os.environ["KATA_BUILD"])
PROGRAM = BUILD / "src/cli/kata-runtime"
COMMANDS = ("check", "env", "list", "run", "exec", "metrics", "version")


def run(*args, env=None, **kwargs):
    clean = {k: v for k, v in os.environ.items() if k != "KATA_CONF_FILE"}
    return subprocess.run([PROGRAM, *map(str, args)], capture_output=True, text=True, timeout=60, check=False,
                          env=dict(clean, **(env or {})), **kwargs)


@pytest.fixture(name="config")
def fixture_config(tmp_path):
    """A complete configuration: programs and files that exist; emulation is not allowed."""
    for name in ("vmlinux", "initrd"):
        (tmp_path / name).write_text("x")
    path = tmp_path / "configuration.toml"
    path.write_text(f"""[hypervisor.qemu]
path = "/bin/true"
kernel = "{tmp_path}/vmlinux"
initrd = "{tmp_path}/initrd"
virtio_fs_daemon = "/bin/true"
accelerator = "tcg"
allow_emulation = true
default_memory = 64
[runtime]
internetworking_model = "none"
""")
    return path


# --- the log ---


def test_log_format_of_the_environment():
    done = run("list", env={"KATA_LOG_FORMAT": "xml"})
    assert done.returncode == 1 and 'KATA_LOG_FORMAT is text or json, not "xml"' in done.stderr
    assert run("list", env={"KATA_LOG_FORMAT": "json"}).returncode == 0
    assert run("--log-format", "json", "list", env={"KATA_LOG_FORMAT": "xml"}).returncode == 0


# --- help, version, usage ---


def test_version():
    for args in (("--version",), ("-v",), ("version",), ("--config", "/nonexistent", "--version")):
        done = run(*args)
        assert done.returncode == 0 and done.stderr == ""
        lines = done.stdout.splitlines()
        assert len(lines) == 3
        assert re.fullmatch(r"kata-runtime  : \d+\.\d+\.\d+", lines[0])
        assert re.fullmatch(r"commit   : \S+", lines[1])
        assert re.fullmatch(r"OCI specs: 1\.\d+\.\d+", lines[2])


def test_help_needs_nothing():
    """Kata's --help fails without a complete installation."""
    broken = {"KATA_CONF_FILE": "/nonexistent"}
    done = run("--help", env=broken)
    assert done.returncode == 0 and done.stderr == ""
    for command in COMMANDS:
        assert f"\n  {command} " in done.stdout
        done_command = run(command, "--help", env=broken)
        assert done_command.returncode == 0 and done_command.stderr == ""
        assert done_command.stdout.startswith(f"Usage: kata-runtime {command}")
        for line in done_command.stdout.splitlines():
            assert len(line) <= 100
    assert run("help").stdout == done.stdout
    assert run("help", "run").stdout == run("run", "--help").stdout


def test_config_paths():
    for option in ("--show-default-config-paths", "--kata-show-default-config-paths"):
        done = run(option)
        assert done.stdout.startswith("/etc/kata-containers/configuration.toml\n"
                                      "/usr/share/defaults/kata-containers/configuration.toml\n")
        # This program is not installed below /usr.
        assert done.stdout.splitlines()[2:] == [f"{PROGRAM.parent.parent}/share/defaults/kata-containers/configuration.toml"]


@pytest.mark.parametrize("args, code, text", [
    ((), 2, ""),
    (("cheek",), 2, "did you mean check?"),
    (("list", "--formta", "json"), 2, "did you mean --format?"),
    (("list", "--format", "xml"), 2, "table|json"),
    (("metrics",), 2, "needs SANDBOX"),
    (("exec",), 2, "needs SANDBOX"),
    (("exec", "nosuchsandbox"), 1, 'no sandbox "nosuchsandbox"'),
    (("factory", "rebuild"), 2, "not init, status or destroy"),
    (("factory",), 2, "needs"),
    (("direct-volume", "add", "--volume-path", "/x"), 1, "not supported"),
    (("iptables", "get"), 1, "not supported"),
    (("policy", "set", "x"), 1, "not supported"),
    (("check", "--only-list-releases"), 1, "network"),
    (("--rootless", "true", "list"), 1, "root"),
    (("--log", "/nonexistent/log", "list"), 1, "open log /nonexistent/log: No such file"),
    (("--config", "/nonexistent.toml", "env"), 1, "/nonexistent.toml: No such file"),
    (("run", "--rootfs", "/nonexistent", "--", "x"), 125, "/nonexistent: No such file"),
    (("run", "--rootfs", "/etc/passwd", "--", "x"), 125, "Not a directory"),
    (("run", "--", "x"), 125, "--rootfs"),
    (("run", "--rootfs", "/"), 2, "run needs"),
    (("run", "--rootfs", "/", "--user", "root", "--", "x"), 125, "UID"),
    (("run", "--rootfs", "/", "--env", "X", "--", "x"), 125, "NAME=VALUE"),
    (("run", "--rootfs", "/", "--id", "../x", "--", "x"), 125, "--id"),
    (("run", "--rootfs", "/", "--workdir", "x", "--", "x"), 125, "absolute"),
    (("run", "--rootfs", "/", "--tty", "--", "x"), 125, "not a terminal"),
    (("run", "--rootfs", "/", "--net", "host", "--", "x"), 2, "none"),
])
def test_refused(args, code, text):
    done = run(*args, stdin=subprocess.DEVNULL)
    assert done.returncode == code
    assert text in done.stderr
    assert done.stderr.count("\n") <= 1


def test_factory_where_templates_are_off(config):
    config.write_text(config.read_text() + "[factory]\nenable_template = false\n")
    done = run("--config", config, "factory", "init")
    assert done.returncode == 1 and "enable_template = true" in done.stderr
    assert run("--config", config, "factory", "init", "--if-enabled").returncode == 0


def test_factory_status(config, tmp_path):
    """What is there, as a table and as JSON, also where it cannot be told which one would be used."""
    folder = tmp_path / "templates"
    broken = folder / ("0123456789abcdef" * 4)
    config.write_text(config.read_text() + f'[factory]\nenable_template = false\ntemplate_path = "{folder}"\n')
    table = run("--config", config, "factory", "status")
    assert table.stdout.splitlines() == [f"no template in {folder}", "templates are off (enable_template of [factory])"]
    broken.mkdir(parents=True)
    table = run("--config", config, "factory", "status").stdout.splitlines()
    assert table[0].split() == ["TEMPLATE", "MEMORY", "TAKES", "AGE"]
    assert table[1] == "0123456789ab  damaged: the template has no readable info: No such file or directory"
    status = json.loads(run("--config", config, "factory", "status", "--format", "json").stdout)
    assert status == {
        "enabled": False, "path": str(folder), "key": "", "failed": False,
        "reason": "templates are off: set enable_template = true in [factory] of the configuration",
        "templates": [{"key": broken.name, "used": False, "memory_mib": 0, "file_bytes": 0, "age_seconds": 0,
                       "damaged": "the template has no readable info: No such file or directory"}],
        "spares": 0, "spares_ready": 0}
    config.write_text(config.read_text().replace("enable_template = false", "").replace(f"{tmp_path}/initrd", "/nonexistent"))
    assert "none is used by this configuration: " in run("--config", config, "factory", "status").stdout


def test_full_device():
    """An output that cannot be written is a failure, as with every other tool."""
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([PROGRAM, "--version"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "No space left" in done.stderr


# --- env ---


def test_env(config):
    toml = run("--config", config, "env")
    assert toml.returncode == 0, toml.stderr
    from_toml = tomllib.loads(toml.stdout)
    from_json = json.loads(run("kata-env", "--json", "--config", config).stdout)
    assert from_toml.keys() == from_json.keys()
    for tree in (from_toml, from_json):
        assert tree["Runtime"]["Config"]["Path"] == str(config)
        assert tree["Hypervisor"]["AllowEmulation"] is True
        assert tree["Configuration"]["hypervisor"]["qemu"]["default_memory"] == 64
        assert tree["Initrd"]["Exists"] is True
        assert tree["Host"]["CPU"]["CPUs"] >= 1


def test_env_without_anything(tmp_path):
    """A file that names nothing that exists: everything is shown all the same."""
    path = tmp_path / "c.toml"
    path.write_text('[hypervisor.qemu]\npath = "/no/qemu"\nkernel = "/no/kernel"\nimage = "/no/ \\"image\\""\n')
    tree = tomllib.loads(run("env", env={"KATA_CONF_FILE": str(path)}).stdout)
    assert tree["Hypervisor"]["Version"] == ""
    assert tree["Kernel"]["Exists"] is False
    assert tree["Image"]["Path"] == '/no/ "image"'


def test_env_names_a_bad_line(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("[hypervisor.qemu]\n  defualt_memory = 5\n")
    done = run("--config", path, "env")
    assert done.returncode == 1
    assert done.stderr == (f"kata-runtime: {path}:2:3: unknown key defualt_memory in [hypervisor.qemu]: "
                           "did you mean default_memory?\n")


# --- check ---


def test_check(config):
    done = run("--config", config, "check", "--verbose")
    if os.geteuid() == 0:
        assert done.returncode == 0, done.stdout
        assert done.stdout.endswith("System is capable of running Kata Containers\n"
                                    "System can currently create Kata Containers\n")
    else:
        assert done.returncode == 1
        assert "sudo" in done.stdout
    assert "without an isolation guarantee" in done.stdout
    assert "never tried" in done.stdout
    assert "ok:" in done.stdout


def test_check_goes_on(tmp_path):
    """Kata's check ends with the first thing that is missing; ours names all, each with its remedy."""
    path = tmp_path / "c.toml"
    path.write_text('[hypervisor.qemu]\npath = "/no/qemu"\nkernel = "/no/kernel"\ninitrd = "/no/initrd"\n'
                    'virtio_fs_daemon = "/no/virtiofsd"\nentropy_source = "/no/entropy"\n'
                    'accelerator = "tcg"\nallow_emulation = true\n')
    done = run("kata-check", "-n", "--config", path)
    assert done.returncode == 1
    for missing in ("/no/qemu", "/no/kernel", "/no/initrd", "/no/virtiofsd", "/no/entropy"):
        assert re.search(rf"problem: .*{missing}", done.stdout)
    assert done.stdout.count("remedy:") >= 5
    assert "System cannot currently create Kata Containers" in done.stdout


def test_check_empty_kernel(config):
    (config.parent / "vmlinux").write_text("")
    done = run("--config", config, "check")
    assert done.returncode == 1
    assert "vmlinux is empty" in done.stdout


def test_initrd_of_an_image(config):
    """What an image brings along is looked at, too."""
    image = config.parent / "initrd"
    config.write_text(config.read_text().replace("initrd = ", f'initrd = "{image}.initrd"\nimage = '))
    assert re.search(r"problem: the guest initrd .*initrd\.initrd", run("--config", config, "check").stdout)
    tree = tomllib.loads(run("--config", config, "env").stdout)
    assert tree["Image"] == {"Path": str(image), "Exists": True}
    assert tree["Initrd"] == {"Path": f"{image}.initrd", "Exists": False}


def test_check_bad_configuration(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("[runtime]\nzzz = 1\n")
    done = run("check", "--config", path)
    assert done.returncode == 1
    assert f"problem: {path}:2:1: unknown key zzz" in done.stdout
    assert "System" in done.stdout


def test_check_strict(config):
    if run("--config", config, "check").returncode != 0:
        pytest.skip("needs root")
    notes = "note:    /dev/" in run("--config", config, "check").stdout
    assert run("--config", config, "check", "--strict").returncode == (1 if notes else 0)


# --- sandboxes ---


@pytest.fixture(name="root")
def fixture_root(tmp_path):
    """State of two sandboxes: "alpha" has a process that looks like its QEMU, "beta" crashed."""
    program = tmp_path / "qemu"
    shutil.copy("/bin/sleep", program)
    for name in ("alpha", "beta"):
        (tmp_path / "sbs" / name).mkdir(parents=True)
        (tmp_path / "vm" / name).mkdir(parents=True)
    command = ["sh", "-c", "sleep 60; :", "-name", "sandbox-alpha,debug-threads=on", "-m", "512M,slots=10,maxmem=8192M",
               "-device", "virtio-rng-pci,id=rng0"]
    with subprocess.Popen(command, executable="/bin/sh") as process:
        # A program shows its arguments a moment after exec has succeeded.
        while b"sandbox-alpha" not in pathlib.Path(f"/proc/{process.pid}/cmdline").read_bytes():
            time.sleep(0.001)
        (tmp_path / "vm/alpha/pid").write_text(f"{process.pid}\n")
        (tmp_path / "vm/beta/pid").write_text(f"{process.pid}\n")  # somebody else's by now
        (tmp_path / "sbs/beta/state.json").write_text("{ not json")
        (tmp_path / "sbs/.hidden").mkdir()
        yield tmp_path
        process.kill()


def test_list(root):
    done = run("--root", root, "list")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert re.match(r"alpha +running +\d+ +\d+s +\d+/512M +0", lines[1])
    assert re.match(r"beta +stopped +- +- +- +0", lines[2])
    assert run("--root", root, "list", "-q").stdout == "alpha\nbeta\n"
    alpha, beta = json.loads(run("list", "--format", "json", "--root", root).stdout)
    assert alpha["id"] == "alpha" and alpha["memory_mib"] == 512 and alpha["resident_bytes"] > 0
    assert beta["pid"] == 0 and beta["state"] == "stopped"


def test_list_nothing(tmp_path):
    done = run("--root", tmp_path / "none", "list")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1
    assert json.loads(run("--root", tmp_path, "list", "--format=json").stdout) == []


def test_env_of_a_sandbox(root):
    tree = tomllib.loads(run("--root", root, "env", "al").stdout)
    assert tree["Sandbox"]["ID"] == "alpha" and tree["Sandbox"]["State"] == "running"
    assert "sandbox-alpha,debug-threads=on" in tree["Hypervisor"]["CommandLine"]
    done = run("--root", root, "env", "gamma")
    assert done.returncode == 1 and 'no sandbox "gamma"' in done.stderr
    (root / "sbs/alpha2").mkdir()
    assert "more than one sandbox" in run("--root", root, "env", "alp").stderr
    assert run("--root", root, "env", "alpha").returncode == 0


def play_monitor(path):
    """QEMU's side of the monitor: greeting, capabilities, and a list of devices."""
    answers = [{"return": {}}, {"return": [{"name": "type", "type": "string"},
                                           {"name": "net0", "type": "child<virtio-net-pci>"},
                                           {"name": "rng0", "type": "child<virtio-rng-pci>"}]}]

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b'{"QMP": {"version": {}, "capabilities": ["oob"]}}\r\n')
            for answer in answers:
                request = json.loads(self.rfile.readline())
                if "id" in request:
                    answer["id"] = request["id"]
                self.wfile.write(json.dumps(answer).encode() + b"\r\n")

    server = socketserver.UnixStreamServer(str(path), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_env_shows_devices(root):
    server = play_monitor(root / "vm/alpha/qmp.sock")
    tree = json.loads(run("--root", root, "env", "--json", "alpha").stdout)
    server.shutdown()
    assert tree["Hypervisor"]["Devices"] == {"net0": "virtio-net-pci", "rng0": "virtio-rng-pci"}
    assert tree["Hypervisor"]["HotPlugged"] == ["net0"]


def serve(path, status, body):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

        def address_string(self):
            return "unix"

    server = socketserver.UnixStreamServer(str(path), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_metrics(root):
    body = b"kata_shim_fds 7\n" * 20000
    server = serve(root / "sbs/alpha/shim-monitor.sock", 200, body)
    done = run("--root", root, "metrics", "alpha")
    server.shutdown()
    assert done.returncode == 0, done.stderr
    assert done.stdout.encode() == body


def test_metrics_refused(root):
    done = run("--root", root, "metrics", "beta")
    assert done.returncode == 1 and "connect to the shim of sandbox beta" in done.stderr
    server = serve(root / "sbs/alpha/shim-monitor.sock", 500, b"broken")
    done = run("--root", root, "metrics", "alpha")
    server.shutdown()
    assert done.returncode == 1 and done.stdout == "" and "500" in done.stderr
    assert run("--root", root, "metrics", "gamma").returncode == 1


def test_spare(root):
    """One that waits for its pod is listed, and has nobody yet who answers."""
    strings = dict.fromkeys(("netns", "reason", "config_file", "owner", "socket", "vm_name"), "")
    state = {"version": 1, "id": "alpha", "state": "spare", **strings, "created_at": 1, "emulated": True}
    (root / "sbs/alpha/state.json").write_text(json.dumps(state))
    assert [one["state"] for one in json.loads(run("--root", root, "list", "--format", "json").stdout)
            if one["id"] == "alpha"] == ["spare"]
    for command in ("metrics", "exec"):
        done = run("--root", root, command, "alpha", stdin=subprocess.DEVNULL)
        assert done.returncode == 1 and "sandbox alpha is a spare: it waits for its pod" in done.stderr


def test_exec(root):
    """The console's socket is played by us: what is typed arrives, what comes back is printed, silence is the end."""
    done = run("--root", root, "exec", "alpha", stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and "debug_console_enabled" in done.stderr
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "sbs/alpha/debug-console.sock"))
        server.listen()

        def play():
            client, _ = server.accept()
            typed = client.recv(100)
            client.sendall(b"# " + typed + b"42\n# ")
            client.recv(100)  # until it leaves
            client.close()

        thread = threading.Thread(target=play)
        thread.start()
        done = run("--root", root, "exec", "alpha", "--kata-debug-port", "1026", input="echo 42\n")
        thread.join()
    assert done.returncode == 0
    assert done.stdout == "# echo 42\n42\n# "


# --- completion ---


def test_completion_bash():
    script = run("completion", "bash").stdout
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)

    def complete(*words):
        probe = f"{script}\nCOMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _kata_runtime\n"
        probe += 'printf "%s\\n" "${COMPREPLY[@]}"\n'
        return subprocess.run(["bash", "-c", probe], capture_output=True, text=True, check=True).stdout.split()

    assert complete("kata-runtime", "ch") == ["check"]
    assert complete("kata-runtime", "run", "--mem") == ["--memory"]
    assert complete("kata-runtime", "list", "--fo") == ["--format"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_others(shell):
    script = run("completion", shell).stdout
    for command in COMMANDS:
        assert command in script
    assert script.replace("\\'", "").count("'") % 2 == 0
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_completion_unknown_shell():
    assert run("completion", "tcsh").returncode == 2
