# SPDX-License-Identifier: Apache-2.0
"""What the daemons of a test node are told: their configuration files and command lines."""

import json

from netspace import Netspace, addresses

NETWORK = 88
ADDRESS, ADDRESS6 = addresses(NETWORK)
SERVICES, SERVICES6 = "10.96.0.0/16", "fd00:96::/112"
API_ADDRESS, DNS_ADDRESS = "10.96.0.1", "10.96.0.10"
API_PORT, REGISTRY_PORT = 6443, 5000
PAUSE = "registry.k8s.io/pause:3.10"

# What a kubelet sets for the whole machine, unless it finds it so.
SYSCTLS = {"vm/overcommit_memory": 1, "vm/panic_on_oom": 0, "kernel/panic": 10, "kernel/panic_on_oops": 1,
           "kernel/keys/root_maxkeys": 1000000, "kernel/keys/root_maxbytes": 25000000}

RUNTIME_CLASSES = [
    {"kind": "RuntimeClass", "metadata": {"name": "kata"}, "handler": "kata",
     "overhead": {"podFixed": {"cpu": "250m", "memory": "350Mi"}}},
    # For more pods than processors: as many as memory holds.
    {"kind": "RuntimeClass", "metadata": {"name": "kata-many"}, "handler": "kata",
     "overhead": {"podFixed": {"cpu": "10m", "memory": "350Mi"}}},
    {"kind": "RuntimeClass", "metadata": {"name": "kata-blk"}, "handler": "kata-blk"},
    {"kind": "RuntimeClass", "metadata": {"name": "kata-unshared"}, "handler": "kata-unshared"},
    {"kind": "RuntimeClass", "metadata": {"name": "kata-userns"}, "handler": "kata-userns"},
    {"kind": "RuntimeClass", "metadata": {"name": "runc"}, "handler": "runc"},
]
# What is not on by itself in this version.
FEATURE_GATES = {"ImageVolume": True}
# The configuration of kata-unshared, beside that of the other handlers.
UNSHARED = "configuration-unshared.toml"


def _kata(cri, handler, generation, shim, more=""):
    path = f'runtime_path = "{shim}"' if generation == "2" else ""
    return f"""
[plugins."{cri}".containerd.runtimes.{handler}]
runtime_type = "io.containerd.kata.v2"
{path}
{more}
privileged_without_host_devices = true
pod_annotations = ["io.katacontainers.*"]
container_annotations = ["io.katacontainers.*"]
"""


def _options(cri, handler, kata_config):
    return f"""
[plugins."{cri}".containerd.runtimes.{handler}.options]
ConfigPath = "{kata_config}"
"""


def _handlers(cri, generation, shim, kata_config):
    """runc, kata, kata-userns, and with containerd 2 kata-blk, whose root file systems are block devices, and kata-unshared,
    which shares no folder at all with the host."""
    kata = _kata(cri, "kata", generation, shim) + _options(cri, "kata", kata_config)
    # containerd 2.2 takes a handler's options for runc's when a pod has a user namespace: kata-userns has none.
    kata += _kata(cri, "kata-userns", generation, shim)
    if generation == "2":
        for handler, file in ("kata-blk", kata_config), ("kata-unshared", kata_config.with_name(UNSHARED)):
            kata += _kata(cri, handler, generation, shim, 'snapshotter = "blockfile"') + _options(cri, handler, file)
    return f"""
[plugins."{cri}".containerd]
default_runtime_name = "runc"
[plugins."{cri}".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."{cri}".containerd.runtimes.runc.options]
SystemdCgroup = false
{kata}"""


def containerd(folder, generation, shim, kata_config):
    """config.toml. Sandboxes' network namespaces are below the folder, too; nothing needs to raise a limit or an OOM score."""
    snapshotters = ["btrfs", "zfs", "devmapper", "aufs", "erofs"] + (["blockfile"] if generation == "1" else [])
    disabled = [f"io.containerd.snapshotter.v1.{name}" for name in snapshotters] + ["io.containerd.nri.v1.nri"]
    cri = "io.containerd.grpc.v1.cri" if generation == "1" else "io.containerd.cri.v1.runtime"
    images = f"""
[plugins."{cri}"]
sandbox_image = "{PAUSE}"
""" if generation == "1" else f"""
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.images".registry]
config_path = "{folder}/certs.d"
[plugins."{cri}"]
"""
    registry = f"""
[plugins."{cri}".registry]
config_path = "{folder}/certs.d"
""" if generation == "1" else ""
    blockfile = f"""
[plugins."io.containerd.snapshotter.v1.blockfile"]
root_path = "{folder}/containerd/blockfile"
scratch_file = "{folder}/scratch.ext4"
fs_type = "ext4"
""" if generation == "2" else ""
    bin_dir = 'bin_dir = "/usr/lib/cni"' if generation == "1" else 'bin_dirs = ["/usr/lib/cni"]'
    return f"""version = {2 if generation == "1" else 3}
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
disabled_plugins = {json.dumps(disabled)}
[grpc]
address = "{folder}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/containerd/opt"
{blockfile}{images}
restrict_oom_score_adj = true
disable_apparmor = true
netns_mounts_under_state_dir = true
[plugins."{cri}".cni]
{bin_dir}
conf_dir = "{folder}/cni"
{registry}{_handlers(cri, generation, shim, kata_config)}"""


def registry(folder):
    return {"version": "0.1", "log": {"level": "warn"}, "http": {"addr": f"127.0.0.1:{REGISTRY_PORT}"},
            "storage": {"filesystem": {"rootdirectory": f"{folder}/registry"}, "delete": {"enabled": True}}}


def kubelet(folder, cgroup):
    pki = f"{folder}/pki"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "address": ADDRESS,
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                           "x509": {"clientCAFile": f"{pki}/ca.crt"}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{pki}/kubelet-server.crt", "tlsPrivateKeyFile": f"{pki}/kubelet-server.key",
        "cgroupDriver": "cgroupfs", "cgroupRoot": f"/{cgroup}", "failCgroupV1": False, "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{folder}/containerd.sock",
        # The machine's disk may be as full as it is.
        "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1Mi", "imagefs.available": "1Mi",
                         "nodefs.inodesFree": "1", "imagefs.inodesFree": "1"},
        "oomScoreAdj": 0, "maxPods": 110,
        "resolvConf": f"{folder}/resolv.conf", "clusterDNS": [DNS_ADDRESS], "clusterDomain": "cluster.local",
        "syncFrequency": "10s", "nodeStatusUpdateFrequency": "5s", "serializeImagePulls": False,
        # A pod of many containers asks as often.
        "registryPullQPS": 0,
        "volumePluginDir": f"{folder}/volume-plugins", "podLogsDir": f"{folder}/pods",
        "runtimeRequestTimeout": "10m", "featureGates": FEATURE_GATES,
    }


def proxy(folder):
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "iptables",
        "clientConnection": {"kubeconfig": f"{folder}/pki/proxy.kubeconfig"}, "bindAddress": ADDRESS,
        # The machine's table of connections is not ours to size.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"},
        "iptables": {"minSyncPeriod": "0s", "syncPeriod": "30s"},
        "detectLocalMode": "BridgeInterface", "detectLocal": {"bridgeInterface": Netspace.BRIDGE},
    }


def commands(folder, node, kube, ipv6):
    """{daemon: its command line}"""
    pki = f"{folder}/pki"

    def with_config(name, program):
        config = f"{pki}/{name}.kubeconfig"
        return [kube, program, f"--kubeconfig={config}", f"--authentication-kubeconfig={config}",
                f"--authorization-kubeconfig={config}", "--leader-elect=false", "--bind-address=127.0.0.1"]

    both = {False: lambda four, six: four, True: lambda four, six: f"{four},{six}"}[ipv6]
    return {
        "etcd": [
            kube, "etcd", f"--data-dir={folder}/etcd", "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379", "--listen-peer-urls=http://127.0.0.1:2380",
            "--unsafe-no-fsync=true", "--log-level=warn"],
        "kube-apiserver": [
            kube, "kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", f"--bind-address={ADDRESS}",
            f"--advertise-address={ADDRESS}", f"--secure-port={API_PORT}",
            f"--service-cluster-ip-range={both(SERVICES, SERVICES6)}", "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction", f"--client-ca-file={pki}/ca.crt",
            f"--tls-cert-file={pki}/apiserver.crt", f"--tls-private-key-file={pki}/apiserver.key",
            f"--kubelet-client-certificate={pki}/admin.crt", f"--kubelet-client-key={pki}/admin.key",
            f"--kubelet-certificate-authority={pki}/ca.crt",
            "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={pki}/sa.pub",
            f"--service-account-signing-key-file={pki}/sa.key", "--kubelet-preferred-address-types=InternalIP",
            "--allow-privileged=true",
            "--feature-gates=" + ",".join(f"{gate}={str(on).lower()}" for gate, on in FEATURE_GATES.items())],
        "kube-controller-manager": [
            *with_config("controller-manager", "kube-controller-manager"),
            f"--service-account-private-key-file={pki}/sa.key", f"--root-ca-file={pki}/ca.crt",
            "--use-service-account-credentials=true"],
        "kube-scheduler": with_config("scheduler", "kube-scheduler"),
        "kubelet": [
            kube, "kubelet", f"--config={folder}/kubelet.json", f"--kubeconfig={pki}/kubelet.kubeconfig",
            f"--hostname-override={node}", f"--node-ip={both(ADDRESS, ADDRESS6)}", f"--root-dir={folder}/kubelet",
            f"--cert-dir={pki}"],
        "kube-proxy": [kube, "kube-proxy", f"--config={folder}/proxy.json", f"--hostname-override={node}"],
    }
