#!/bin/sh
# Packs everything that installs an agent on a device without internet into one file:
#     make-agent-kit.sh KIT.tar.gz [ARCH…]
# ARCH is x86_64 or aarch64, both by default. Unpack it on the device, and run install-agent.sh.
# The wheels are fetched for Python 3.10 to 3.13, or those in PYTHONS, and checked against the lock.
# RUNTIMES="onnxruntime ai-edge-litert" adds the wheels of these runtimes for prove-device.sh.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || {
    echo "usage: make-agent-kit.sh KIT.tar.gz [x86_64] [aarch64]" >&2
    exit 2
}
mkdir -p "$(dirname "$1")"
out=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
shift
[ $# -gt 0 ] || set -- x86_64 aarch64
python=${PYTHON:-python3}
versions=${PYTHONS:-3.10 3.11 3.12 3.13}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
kit=$scratch/fleetmark-agent-kit
mkdir -p "$kit/wheels" "$kit/locks" "$kit/systemd"
cp "$here/install-agent.sh" "$here/make-environment.sh" "$here/write_config.py" \
    "$here/prove-device.sh" "$kit/"
cp "$here/locks/agent.txt" "$kit/locks/"
cp "$here"/systemd/fleetmark-agent* "$kit/systemd/"
sh "$here/build-wheel.sh" "$python" "$kit/wheels" >/dev/null

# fetch FOLDER VERSION ARCH: the wheels in lock.txt, for a Python and an architecture.
fetch() {
    "$python" -m pip download --quiet --disable-pip-version-check --no-input --no-deps \
        --only-binary=:all: --require-hashes --implementation cp --python-version "$2" \
        --platform "manylinux2014_$3" --platform "manylinux_2_27_$3" \
        --platform "manylinux_2_28_$3" --dest "$1" -r "$scratch/lock.txt"
}

for arch; do
    for version in $versions; do
        "$python" "$here/lock_for.py" "$here/locks/agent.txt" "$version" "$arch" >"$scratch/lock.txt"
        fetch "$kit/wheels" "$version" "$arch"
        for runtime in ${RUNTIMES:-}; do
            "$python" "$here/runtime_lock.py" "$runtime" "$version" "$arch" >"$scratch/lock.txt"
            [ ! -s "$scratch/lock.txt" ] || fetch "$kit/runtimes/$runtime" "$version" "$arch"
        done
    done
done
tar -C "$scratch" -czf "$out" fleetmark-agent-kit
echo "$out"
