#!/bin/sh
# Makes a Python environment with Fleetmark in it:
#     make-environment.sh PYTHON LOCK WHEEL TARGET [WHEELS]
# LOCK is locks/agent.txt or locks/controller.txt; each file is checked against its hashes. With the
# folder WHEELS, nothing is fetched: all files come from it. A failure leaves no TARGET.
set -eu
umask 022
[ $# -ge 4 ] || {
    echo "usage: make-environment.sh PYTHON LOCK WHEEL TARGET [WHEELS]" >&2
    exit 2
}
python=$1
lock=$2
wheel=$3
target=$4
wheels=${5:-}

if [ -e "$target" ]; then
    echo "make-environment: $target already exists" >&2
    exit 1
fi
done=no
trap '[ "$done" = yes ] || rm -rf "$target"' EXIT
trap 'exit 1' HUP INT TERM

pip() {
    # -I: neither the user's packages nor PYTHONPATH may decide what is installed.
    "$target/bin/python" -I -m pip "$@"
}

mkdir -p "$(dirname "$target")"
"$python" -I -m venv "$target"
pip install --quiet --disable-pip-version-check --no-input --no-cache-dir --only-binary=:all: \
    --require-hashes ${wheels:+--no-index --find-links "$wheels"} -r "$lock"
pip install --quiet --disable-pip-version-check --no-input --no-cache-dir --no-deps --no-index \
    "$wheel"
# An agent needs no pip. A controller does; then the lock has brought one.
if ! grep -q '^pip==' "$lock"; then
    for name in setuptools pip; do
        pip uninstall --quiet --disable-pip-version-check --yes "$name" 2>/dev/null || true
    done
fi
done=yes
