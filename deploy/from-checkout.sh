#!/bin/sh
# Makes the environment of an agent or a controller out of this checkout, from locked wheels.
# It is the one step of both containers, and of a controller's installation on a host.
set -eu

usage() {
    cat <<'TEXT'
usage: from-checkout.sh agent|controller TARGET [PYTHON] [WHEELS]

Makes the folder TARGET, with the command in TARGET/bin, from this checkout and locked wheels.

  TARGET  a folder that does not exist yet, for example /opt/fleetmark-controller
  PYTHON  Python 3.10 or newer with venv; default: python3
  WHEELS  fetch nothing: all wheels are in this folder

An agent that stays on a device is installed with install-agent.sh instead.
Exit codes: 0 done; 1 failed; 2 usage.
TEXT
}

misused() { echo "from-checkout: $* Try --help" >&2; exit 2; }

case ${1:-} in
    -h | --help) usage && exit 0 ;;
    agent | controller) ;;
    '') misused "which one, agent or controller?" ;;
    *) misused "unknown part '$1': agent or controller." ;;
esac
[ $# -ge 2 ] && [ -n "$2" ] || misused "name the folder to make."
[ $# -le 4 ] || misused "too many arguments."
[ ! -e "$2" ] || { echo "from-checkout: $2 exists already; move it away, or name another" >&2; exit 1; }
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
