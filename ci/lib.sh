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

# counts_of LOG: how many tests pytest says have passed, failed, and were skipped.
counts_of() {
    local summary
    summary=$(grep -E '(passed|failed|error)' "$1" | grep -E ' in [0-9.]+s' | tail -n 1)
    count() { grep -oE "[0-9]+ $1" <<<"$summary" | grep -oE '^[0-9]+' || echo 0; }
    echo "$(count passed) $(($(count failed) + $(count error))) $(count skipped)"
}

# pytest_counted COMMAND ...: run pytest, then say its counts as ci/test wants them; its exit status.
pytest_counted() {
    local log status=0 p f s
    log=$(mktemp)
    "$@" 2>&1 | tee "$log" || status=$?
    read -r p f s < <(counts_of "$log")
    rm -f "$log"
    echo "$p passed, $f failed, $s skipped"
    return "$status"
}

# run_pytest TESTS [OPTION ...]: the tests of a folder or file. What failed stands last.
#
# A CI machine is shared, and now and then so slow that a limit of time fails. There one or two tests that failed get a
# second try, alone; of each that passes then a line "flaky: …" tells, which ci/test repeats at its very end. Three that
# fail, one that fails twice, and whatever fails where a person runs the tests, fails the run.
run_pytest() {
    local log status=0 p f s failures=() again
    log=$(mktemp)
    pytest() { /usr/bin/python3 -m pytest -q -rPsfE -p no:cacheprovider --timeout=900 "$@" 2>&1; }
    pytest "$@" | tee "$log" || status=$?
    read -r p f s < <(counts_of "$log")
    mapfile -t failures < <(sed -nE 's/^(FAILED|ERROR) (.*\.py::.*)$/\2/p' "$log")
    rm -f "$log"
    if [ -n "${CI:-}" ] && [ "$status" -eq 1 ] && [ "${#failures[@]}" -eq "$f" ] && [ "$f" -le 2 ]; then
        # Neither the message nor the group that pytest-xdist was told is part of the name.
        mapfile -t again < <(printf '%s\n' "${failures[@]}" | sed -E 's/ - .*//; s/@[^@]*$//' | sort -u)
        say "a second try of ${again[*]}"
        if pytest "${again[@]}" "${@:2}"; then
            printf 'flaky: %s\n' "${failures[@]}"
            p=$((p + f)) f=0 status=0
        fi
    fi
    echo "$p passed, $f failed, $s skipped"
    return "$status"
}
