# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the scripts of ci/ and ./dev share. Sourced from the top of the tree.

export KATA_CACHE=${KATA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kata-c}
CONTAINERD2_VERSION=2.2.9
export CONTAINERD2_DIR=$KATA_CACHE/containerd-$CONTAINERD2_VERSION
export CRI_TESTS=$KATA_CACHE/cri-integration-$CONTAINERD2_VERSION
export CONTAINERD2_VERSION
KUBERNETES_VERSION=1.34.4
export KUBERNETES_DIR=$KATA_CACHE/kubernetes-$KUBERNETES_VERSION
export KUBERNETES_VERSION
# Not exported: the registry would take it for a setting.
REGISTRY_VERSION=3.1.2
PJDFSTEST_VERSION=0.2.2
FSX_VERSION=0.3.2
export FILESYSTEM_SUITES_DIR=$KATA_CACHE/filesystem-suites-$PJDFSTEST_VERSION-$FSX_VERSION
export PJDFSTEST_VERSION FSX_VERSION
# An older Go fetches the version that a module asks for.
export GOTOOLCHAIN=${GOTOOLCHAIN:-auto}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# say TEXT: a step that begins, for the person who waits.
say() {
    printf '\033[1m==>\033[0m %s\n' "$*" >&2
}

need_root() {
    [ "$(id -u)" -eq 0 ] || die "this needs root (VMs, containers, network namespaces): run it with sudo"
}

# pytest_counted COMMAND ...: run pytest, then say its counts as ci/test wants them; its exit status.
pytest_counted() {
    local log status=0 summary
    log=$(mktemp)
    "$@" 2>&1 | tee "$log" || status=$?
    summary=$(grep -E '(passed|failed|error)' "$log" | grep -E ' in [0-9.]+s' | tail -n 1)
    rm -f "$log"
    count() { grep -oE "[0-9]+ $1" <<<"$summary" | grep -oE '^[0-9]+' || echo 0; }
    echo "$(count passed) passed, $(($(count failed) + $(count error))) failed, $(count skipped) skipped"
    return "$status"
}

# run_pytest FOLDER [OPTION ...]: its tests.
run_pytest() {
    pytest_counted /usr/bin/python3 -m pytest -q -rsP -p no:cacheprovider --timeout=900 "$@"
}
