# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes node to play with: ./dev node up|down|status, ./dev kubectl ..."""

import argparse
import os
import pathlib
import sys

TREE = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TREE / "tests/lib"))

# pylint: disable=wrong-import-position
import images
import node as nodes


def say(text):
    print(f"\033[1m==>\033[0m {text}", file=sys.stderr, flush=True)


def up(node):
    if node.running():
        print(f"The node '{node.name}' is up (containerd {node.generation}).")
    else:
        node.start()
    say("images")
    for name in images.MAKERS:
        node.image(name)
    kubectl = nodes.programs() / "kubectl"
    print(f"""
The node '{node.name}' is Ready: pods run under runc, or with `runtimeClassName: kata` in a VM of their own.

  ./dev kubectl get nodes,pods,runtimeclasses         kubectl, from this folder; or, in a shell of the node's network:
  sudo nsenter --net={node.netspace.path} bash
  export KUBECONFIG={node.kubeconfig} PATH={kubectl.parent}:$PATH

  ./dev kubectl run hello --image=nginx --overrides='{{"spec": {{"runtimeClassName": "kata"}}}}'
  ./dev kubectl exec -it hello -- uname -a

Images: {" ".join(images.MAKERS)}
Logs:   {node.folder}/*.log
End:    ./dev node down""")


def down(node):
    if not node.exists():
        print(f"There is no node '{node.name}'.")
        return
    node.stop()
    say(f"the node '{node.name}' is gone")


def status(node):
    if not node.exists():
        print(f"There is no node '{node.name}': ./dev node up")
        sys.exit(3)
    for name, part in node.daemons.items():
        print(f"{name:24} {'process ' + str(part.pid) if part.pid else 'not running'}")
    sys.stdout.flush()
    if node.running():
        node.kubectl("get", "nodes,pods", "--all-namespaces", "--output=wide", capture_output=False)
    else:
        sys.exit("The node is not Ready: ./dev node up begins anew")


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "kubectl":
        node = nodes.Node.existing(os.environ.get("KATA_NODE", "kata"))
        if node is None:
            sys.exit("kubectl: there is no node: ./dev node up")
        command = node.kubectl_command(*sys.argv[2:])
        os.execvp(command[0], command)
    parser = argparse.ArgumentParser(prog="./dev node", description="A Kubernetes node of real parts, in a network "
                                     "namespace of its own, with this tree's runtime.")
    parser.add_argument("verb", choices=("up", "down", "status"))
    parser.add_argument("--name", default=os.environ.get("KATA_NODE", "kata"), help="one of several (default: kata)")
    parser.add_argument("--containerd", choices=("1", "2"), default="2", help="its generation (default: 2)")
    parser.add_argument("--build", default=os.environ.get("KATA_BUILD", TREE / "build"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    node = nodes.Node.existing(options.name, say)
    if node is None:
        node = nodes.Node(options.name, options.containerd, options.build, say)
    elif options.verb == "up" and node.generation != options.containerd:
        sys.exit(f"the node '{node.name}' has containerd {node.generation}: ./dev node down first")
    {"up": up, "down": down, "status": status}[options.verb](node)


if __name__ == "__main__":
    main()
