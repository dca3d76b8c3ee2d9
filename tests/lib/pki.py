# SPDX-License-Identifier: Apache-2.0
"""The certificates, keys and kubeconfigs of a cluster of one node, made with openssl."""

import json
import subprocess

LIFETIME = "30"  # days

# {file name: subject}
CLIENTS = {
    "admin": "/O=system:masters/CN=admin",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "proxy": "/CN=system:kube-proxy",
    "kubelet": "/O=system:nodes/CN=system:node:{node}",
}


def _openssl(*args):
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {args[0]}: {done.stderr.strip()}")


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(mode=0o700)
        self._key("ca")
        _openssl("req", "-x509", "-new", "-key", folder / "ca.key", "-days", LIFETIME, "-subj", "/CN=kata-node",
                 "-out", folder / "ca.crt")

    def _key(self, name):
        _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                 "-out", self.folder / f"{name}.key")

    def sign(self, name, subject, extensions):
        """NAME.key and NAME.crt."""
        base = self.folder / name
        self._key(name)
        base.with_suffix(".ext").write_text(extensions)
        _openssl("req", "-new", "-key", f"{base}.key", "-subj", subject, "-out", f"{base}.csr")
        _openssl("x509", "-req", "-in", f"{base}.csr", "-CA", self.folder / "ca.crt", "-CAkey", self.folder / "ca.key",
                 "-CAcreateserial", "-days", LIFETIME, "-extfile", f"{base}.ext", "-out", f"{base}.crt")


def kubeconfig(folder, name, server):
    """NAME.kubeconfig beside the certificates. JSON is YAML, too."""
    path = folder / f"{name}.kubeconfig"
    path.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "node",
        "clusters": [{"name": "node", "cluster": {"server": server, "certificate-authority": f"{folder}/ca.crt"}}],
        "users": [{"name": name, "user": {"client-certificate": f"{folder}/{name}.crt",
                                          "client-key": f"{folder}/{name}.key"}}],
        "contexts": [{"name": "node", "context": {"cluster": "node", "user": name}}],
    }))
    return path


def make(folder, node, addresses, server):
    """All that a cluster needs: ca, apiserver, kubelet-server, the clients with their kubeconfigs, sa.key, sa.pub."""
    authority = Authority(folder)
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", node]
    alternatives = ",".join([f"DNS:{n}" for n in names] + [f"IP:{a}" for a in addresses])
    serving = f"extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName={alternatives}\n"
    authority.sign("apiserver", "/CN=kube-apiserver", serving)
    authority.sign("kubelet-server", f"/CN={node}", serving)
    for name, subject in CLIENTS.items():
        authority.sign(name, subject.format(node=node), "extendedKeyUsage=clientAuth\n")
        kubeconfig(folder, name, server)
    _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", folder / "sa.key")
    _openssl("pkey", "-in", folder / "sa.key", "-pubout", "-out", folder / "sa.pub")
