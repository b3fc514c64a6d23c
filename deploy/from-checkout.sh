#!/bin/sh
# Makes the environment of an agent or a controller out of this checkout, from locked wheels:
#     from-checkout.sh agent|controller TARGET [PYTHON] [WHEELS]
# It is the one step of both containers, and of a controller's installation on a host.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
role=$1
target=$2
python=${3:-python3}
wheels=${4:-}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
wheel=$(sh "$here/build-wheel.sh" "$python" "$scratch" "$wheels")
sh "$here/make-environment.sh" "$python" "$here/locks/$role.txt" "$wheel" "$target" "$wheels"
"$target/bin/$role" --version
