#!/bin/sh
# Makes the environment of an agent or a controller out of this checkout, from locked wheels.
# It is the one step of both containers, and of a controller's installation on a host.
set -eu

usage() {
    cat <<'TEXT'
usage: from-checkout.sh agent|controller TARGET [PYTHON] [WHEELS]

Creates the folder TARGET, with the command in TARGET/bin, from this checkout and locked wheels.

  TARGET  a folder that does not exist yet, for example /opt/fleetmark-controller
  PYTHON  Python 3.10 or newer with venv; default: python3
  WHEELS  folder with all wheels, for an installation offline

To install an agent permanently on a device, use install-agent.sh.
Exit codes: 0 done; 1 failed; 2 usage.
TEXT
}

misused() { echo "from-checkout: $* Try --help" >&2; exit 2; }

case ${1:-} in
    -h | --help) usage && exit 0 ;;
    agent | controller) ;;
    '') misused "the first argument must be agent or controller." ;;
    *) misused "unknown part '$1': use agent or controller." ;;
esac
[ $# -ge 2 ] && [ -n "$2" ] || misused "TARGET is missing."
[ $# -le 4 ] || misused "too many arguments."
[ ! -e "$2" ] || { echo "from-checkout: $2 already exists; move it away, or give another folder" >&2; exit 1; }
here=$(cd "$(dirname "$0")" && pwd)
role=$1
target=$2
python=${3:-python3}
wheels=${4:-}
command -v "$python" >/dev/null || misused "no such program: $python."
[ -z "$wheels" ] || [ -d "$wheels" ] || misused "no such folder: $wheels."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
wheel=$(sh "$here/build-wheel.sh" "$python" "$scratch" "$wheels")
sh "$here/make-environment.sh" "$python" "$here/locks/$role.txt" "$wheel" "$target" "$wheels"
"$target/bin/$role" --version
