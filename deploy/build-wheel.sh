#!/bin/sh
# Builds Fleetmark's wheel from this checkout: build-wheel.sh PYTHON FOLDER [WHEELS]
# Prints the wheel's path. The build tools come from locks/build.txt, by their hashes, out of the
# folder WHEELS if one is given; a development environment (`make setup`) has them already.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
checkout=$(dirname "$here")
[ $# -ge 2 ] || {
    echo "usage: build-wheel.sh PYTHON FOLDER [WHEELS]" >&2
    exit 2
}
python=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
wheels=${3:-}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

builder=$checkout/.venv/bin/python
if ! "$builder" -I -c "import hatchling" 2>/dev/null; then
    "$python" -m venv "$scratch/build"
    builder=$scratch/build/bin/python
    "$builder" -I -m pip install --quiet --disable-pip-version-check --no-input --no-cache-dir \
        --only-binary=:all: --require-hashes ${wheels:+--no-index --find-links "$wheels"} \
        -r "$here/locks/build.txt" >&2
fi
(cd "$checkout" && "$builder" -I -m hatchling build -t wheel -d "$scratch/dist") \
    >"$scratch/log" 2>&1 || {
    cat "$scratch/log" >&2
    exit 1
}
for wheel in "$scratch"/dist/fleetmark-*.whl; do
    mv -f "$wheel" "$folder/"
    echo "$folder/$(basename "$wheel")"
done
