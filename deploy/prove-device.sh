#!/bin/sh
# Writes a proof of this device for tests of Fleetmark: prove-device.sh [FILE.tar.gz]
#
# It makes an environment from the wheels of the kit in a folder for the moment, runs `agent proof`
# with the kit's runtimes, and removes the folder. It installs nothing, changes no setting and sends
# nothing. With root it can read more sensors. Exit codes: 0 done; 1 failed; 4 refused.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-fleetmark-proof.tar.gz}
case $out in /*) ;; *) out=$(pwd)/$out ;; esac

python=${PYTHON:-}
for name in python3.13 python3.12 python3.11 python3.10 python3; do
    [ -n "$python" ] && break
    if command -v "$name" >/dev/null && "$name" -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        python=$name
    fi
done
[ -n "$python" ] || {
    echo "prove-device: needs Python 3.10 or newer with the module venv; PYTHON=PROGRAM names one" >&2
    exit 4
}
set -- "$here"/wheels/fleetmark-*.whl
[ -f "$1" ] || {
    echo "prove-device: $here/wheels has no wheel of Fleetmark: run it from an unpacked kit" >&2
    exit 4
}
wheel=$1

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
sh "$here/make-environment.sh" "$python" "$here/locks/agent.txt" "$wheel" "$scratch/environment" \
    "$here/wheels"
set -- --home "$scratch/home" --out "$out"
[ ! -d "$here/runtimes" ] || set -- "$@" --runtimes "$here/runtimes"
"$scratch/environment/bin/agent" proof "$@"
