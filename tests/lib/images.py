# SPDX-License-Identifier: Apache-2.0
"""The images that pods of the tests are made of, from this machine's own packages: no registry of the world is asked."""

import contextlib
import errno
import hashlib
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import containerd
import ociimage

CACHE = containerd.CACHE
NGINX_CONFIG = """
daemon off;
worker_processes 1;
pid /tmp/nginx.pid;
error_log /dev/stderr;
events { worker_connections 64; }
http {
    access_log /dev/stdout;
    server {
        listen 80;
        listen [::]:80;
        root /usr/share/nginx/html;
    }
}
"""
PJDFSTEST_CONFIG = """
[features]
posix_fallocate = {}
rename_ctime = {}
stat_st_birthtime = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.02
[dummy_auth]
entries = [["nobody", "nobody"], ["tests", "tests"]]
"""
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def libraries(programs):
    """The shared libraries, with the loader, that programs of this machine need."""
    done = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False)
    return set(re.findall(r"(/\S+) \(0x", done.stdout))


def add(root, *paths, source=pathlib.Path("/")):
    """Copy files or folders, with the shared libraries of the programs among them, to where they are in `source`."""
    wanted = {source / str(path).lstrip("/") for path in paths}
    for path in wanted:
        target = root / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target, symlinks=True, dirs_exist_ok=True,
                            ignore=shutil.ignore_patterns("__pycache__", "test", "dist-packages", "site-packages"))
        else:
            shutil.copy2(path, target)
    files = [f for path in wanted for f in ([path] if path.is_file() else path.rglob("*.so*"))]
    for library in libraries(files):
        target = root / library.lstrip("/")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(library, target)


def base(root):
    """Busybox for what nothing else is there, as Debian lays its folders out."""
    for folder in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / folder).mkdir(parents=True, exist_ok=True)
        (root / folder).symlink_to(f"usr/{folder}")
    ociimage.busybox_tree(root)


def installed(*packages):
    """The programs in the folders of commands that Debian packages have brought."""
    done = subprocess.run(["dpkg-query", "-L", *packages], capture_output=True, text=True, check=True)
    files = (pathlib.Path(line) for line in done.stdout.splitlines() if re.match(r"(/usr)?/s?bin/", line))
    return sorted({f for f in files if f.is_file()})


def _download(package):
    """A Debian package's file, from the cache or a mirror."""
    cache = CACHE / "packages"
    cache.mkdir(parents=True, exist_ok=True)
    known = subprocess.run(["apt-cache", "show", "--no-all-versions", package], capture_output=True, text=True, check=False)
    if known.returncode:
        subprocess.run(["apt-get", "update"], capture_output=True, text=True, check=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        options = ["-o", "APT::Sandbox::User=root"]
        name = subprocess.run(["apt-get", *options, "--print-uris", "download", package], capture_output=True, text=True,
                              check=True).stdout.split()[1]
        if not (cache / name).exists():
            subprocess.run(["apt-get", *options, "download", package], cwd=folder, capture_output=True, text=True, check=True)
            (pathlib.Path(folder) / name).rename(cache / name)
    return cache / name


@contextlib.contextmanager
def unpacked(package):
    """The folder of a Debian package's files, without installing it."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg", "-x", _download(package), folder], check=True)
        yield pathlib.Path(folder)


def _replace(root, programs):
    """Put real programs where busybox has links."""
    for program in programs:
        target = root / str(program).lstrip("/")
        if target.is_symlink():
            target.unlink()
    add(root, *programs)


def pause(root):
    ociimage.program(ociimage.PAUSE, root / "pause")
    return {"Entrypoint": ["/pause"], "User": "65535:65535"}


def busybox(root):
    """Its wget of Debian 12 crashes with -T."""
    ociimage.busybox_tree(root)
    return {"Env": ["PATH=/bin"], "Cmd": ["sh"]}


def python(root):
    """Python with its standard library: python3 -m http.server and whatever a test passes with -c."""
    base(root)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    program = pathlib.Path(shutil.which("python3", path="/usr/bin")).resolve()
    add(root, program, f"/usr/lib/{program.name or version}")
    (root / "usr/bin/python3").symlink_to(program.name)
    return {"Env": [PATH], "Cmd": ["python3"]}


def net_toolbox(root):
    base(root)
    _replace(root, installed("bash", "iproute2", "net-tools"))
    return {"Env": [PATH], "Cmd": ["bash"]}


def nginx(root):
    base(root)
    (root / "usr/share/nginx/html").mkdir(parents=True)
    (root / "usr/share/nginx/html/index.html").write_text("<h1>Welcome to nginx!</h1>\n")
    (root / "etc/nginx").mkdir()
    (root / "etc/nginx/nginx.conf").write_text(NGINX_CONFIG)
    for folder in ("var/lib/nginx", "var/log/nginx"):
        (root / folder).mkdir(parents=True)
    (root / "etc/passwd").write_text((root / "etc/passwd").read_text() + "nobody:x:65534:65534::/:/bin/sh\n")
    (root / "etc/group").write_text((root / "etc/group").read_text() + "nogroup:x:65534:\n")
    with unpacked("nginx") as source:
        add(root, "/usr/sbin/nginx", source=source)
    return {"Env": [PATH], "Cmd": ["nginx"], "ExposedPorts": {"80/tcp": {}}}


def suites():
    """The folder of what ci/filesystem-suites builds; None where it cannot."""
    versions = [re.search(rf"^{name}_VERSION=(\S+)", (containerd.TREE / "ci/lib.sh").read_text(), re.MULTILINE)[1]
                for name in ("PJDFSTEST", "FSX")]
    folder = CACHE / "-".join(["filesystem-suites", *versions])
    return folder if folder.exists() else None


def filesystem_suites(root):
    """pjdfstest, with the users that it wants and its /etc/pjdfstest.toml, and fsx."""
    base(root)
    for program in suites().iterdir():
        shutil.copy2(program, root / "usr/bin")
        add(root, *libraries([program]))
    for name, number in (("nobody", 65534), ("tests", 1001)):
        for file, line in (("passwd", f"{name}:x:{number}:{number}::/:/bin/sh\n"), ("group", f"{name}:x:{number}:\n")):
            with (root / "etc" / file).open("a") as out:
                out.write(line)
    (root / "etc/pjdfstest.toml").write_text(PJDFSTEST_CONFIG)
    return {"Env": [PATH], "Cmd": ["sh"]}


# {name that pods use: how it is made}; a maker fills a root folder and returns the configuration
MAKERS = {
    "registry.k8s.io/pause:3.10": pause,
    "localhost/busybox:latest": busybox,
    "localhost/python:latest": python,
    "localhost/net-toolbox:latest": net_toolbox,
    "localhost/filesystem-suites:latest": filesystem_suites,
    "nginx:latest": nginx,
    "registry.fedoraproject.org/fedora:latest": python,
}


def repository(name):
    """What a registry calls an image: without its host, and with what Docker's adds."""
    host, _, rest = name.partition("/")
    if rest and ("." in host or ":" in host or host == "localhost"):
        return rest
    return name if rest else f"library/{name}"


def _key():
    """Changes with whatever goes into the images."""
    sources = [pathlib.Path(__file__), pathlib.Path(ociimage.__file__), ociimage.PAUSE, pathlib.Path("/var/lib/dpkg/status")]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]


def made(name):
    """An image of MAKERS as of ociimage.build(), from the cache if it was made before."""
    plain = name.replace("/", "+")
    folder = CACHE / "images" / f"{plain}-{_key()}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        for old in set(folder.parent.glob(f"{plain}-*")) - {folder}:
            shutil.rmtree(old, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            root, out = pathlib.Path(work) / "root", pathlib.Path(work) / "out"
            root.mkdir()
            out.mkdir()
            manifest, blobs = ociimage.build(root, MAKERS[name](root))
            for part, data in zip(("manifest", "config", "layer"), (manifest, *blobs)):
                (out / part).write_bytes(data)
            try:
                out.rename(folder)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # somebody else was faster
                    raise
    manifest, *blobs = ((folder / part).read_bytes() for part in ("manifest", "config", "layer"))
    return manifest, blobs


def push(request, name):
    """Give an image of MAKERS to the registry."""
    ociimage.push(request, repository(name), *made(name))
