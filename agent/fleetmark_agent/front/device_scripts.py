"""Scripts for the POSIX shell of a device. They change nothing outside of one folder.

Each begins with `HEADER` and its arguments as shell variables; see `compose`. Facts are lines
KEY=VALUE between two marker lines, because login scripts of the device may print other lines.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Mapping

from fleetmark_agent.front.transport import Transport, device_error

FOLDER_NAME = ".fleetmark-agent"
"""The one folder on the device, in the home folder of its user."""
_MOST_VALUE = 1000
_NAME = re.compile(r"[a-z_]+")

HEADER = """
set -u
umask 077
LC_ALL=C
PATH=${PATH:-/usr/bin:/bin}:/usr/local/bin:/usr/bin:/bin
export LC_ALL PATH
unset PYTHONPATH PYTHONHOME
D=${HOME:?}/.fleetmark-agent
say() { printf '%s=%s\\n' "$1" "$2"; }
fail() { say error "$1"; exit 1; }
own() {
    [ -d "$D" ] && [ ! -L "$D" ] && [ "$(head -n 1 "$D/front" 2>/dev/null)" = "$front" ] ||
        fail "$D is not the folder of this front any more"
}
started() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }
agent_pid() {
    [ -f "$D/agent.pid" ] && read -r pid start <"$D/agent.pid" || return 1
    case $pid in '' | *[!0-9]*) return 1 ;; esac
    [ -n "$start" ] && [ "$(started "$pid")" = "$start" ]
}
"""

PROBE = """
say home "$HOME"
P=$HOME
if [ -L "$D" ]; then say folder link
elif [ ! -e "$D" ]; then say folder absent
elif [ ! -d "$D" ]; then say folder file
elif [ -f "$D/front" ] && [ ! -L "$D/front" ]; then
    say folder front
    say front "$(head -n 1 "$D/front")"
    P=$D
else say folder foreign
fi
say machine "$(uname -m)"
say system "$(uname -s)"
say elf_class "$(dd if=/proc/self/exe bs=1 skip=4 count=1 2>/dev/null | od -An -tu1 | tr -d ' ')"
glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null)
case $glibc in glibc\\ *) say glibc "${glibc#glibc }" ;; esac
for file in /lib/ld-musl-*; do [ ! -e "$file" ] || say musl "$file"; done
df -Pk "$P" 2>/dev/null | { read -r _; read -r _ _ _ free _ && say free_kib "$free"; }
T=$P/.fleetmark-test.$$
if why=$(mkdir "$T" 2>&1); then
    if { printf '#!/bin/sh\\nexit 0\\n' >"$T/test"; } 2>/dev/null && [ -s "$T/test" ]; then
        say writable yes
        chmod 700 "$T/test"
        if "$T/test" 2>/dev/null; then say executable yes; else say executable no; fi
    else
        say unwritable 'No space left on device'
    fi
    rm -rf "$T"
else
    say unwritable "${why##*: }"
fi
if agent_pid; then say agent "$pid"; fi
[ ! -f "$D/home/identity/enrolment.json" ] || say enrolled yes
for folder in "$D"/versions/*/bin; do
    [ ! -d "$folder" ] || { folder=${folder%/bin}; say version "${folder##*/}"; }
done
for name in python3.13 python3.12 python3.11 python3.10 python3; do
    found=$(command -v "$name") || continue
    answer=$("$found" -I -c '
import asyncio, ctypes, json, os, struct, sys, sysconfig, zipfile
base = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
free = sysconfig.get_config_var("Py_GIL_DISABLED") or 0
print(*sys.version_info[:2], struct.calcsize("P") * 8, sys.implementation.name, free, base)
' 2>/dev/null </dev/null) && say python "$answer"
done
"""

CLAIM = """
mkdir "$D" 2>/dev/null
[ -d "$D" ] && [ ! -L "$D" ] || fail "cannot create $D"
chmod 700 "$D" || fail "cannot use $D"
if [ ! -f "$D/front" ]; then
    [ -z "$(ls -A "$D")" ] || fail "$D has other files"
    printf '%s\\n' "$front" >"$D/front.new" && ln "$D/front.new" "$D/front"
    rm -f "$D/front.new"
fi
own
mkdir -p "$D/home" "$D/tmp" "$D/versions" "$D/incoming" "$D/run" || fail "cannot write to $D"
file=$D/incoming/$version
if [ -f "$file" ]; then say received "$(wc -c <"$file" | tr -d ' ')"; else say received 0; fi
"""

RECEIVE = """
own
file=$D/incoming/$version
cat >>"$file" || fail "the files cannot be written: no space on the device?"
say received "$(wc -c <"$file" | tr -d ' ')"
"""

UNPACK = """
own
file=$D/incoming/$version
found=$(sha256sum <"$file" | cut -d ' ' -f 1)
if [ "$found" != "$sha256" ]; then
    rm -f "$file"
    fail "the files were damaged on their way"
fi
new=$D/versions/.$version
rm -rf "$new"
mkdir "$new" "$new/bin" || fail "cannot write to $D"
if ! why=$(tar -xzf "$file" -C "$new" 2>&1); then
    rm -rf "$new"
    fail "the files cannot be unpacked: $why"
fi
printf 'home = %s\\ninclude-system-site-packages = false\\nversion = %s\\n' \\
    "${python%/*}" "$python_version" >"$new/pyvenv.cfg" &&
    ln -s "$python" "$new/bin/python" || fail "cannot write to $D"
if ! why=$("$new/bin/python" -I -m fleetmark_agent.cli --version 2>&1); then
    rm -rf "$new"
    fail "the agent does not start on the device: $(printf '%s' "$why" | tail -n 1)"
fi
if [ -d "$D/versions/$version" ]; then rm -rf "$new"; else mv "$new" "$D/versions/$version"; fi
rm -rf "$D/incoming"
mkdir "$D/incoming"
say version "$version"
"""

STORE_JOIN_FILE = """
own
cat >"$D/join-token.new" && mv "$D/join-token.new" "$D/join-token" || fail "cannot write to $D"
say stored yes
"""

NEW_TUNNEL = """
own
mkdir -p "$D/run"
mkdir "$D/run/$name" || fail "cannot write to $D"
say tunnel "$D/run/$name"
"""

SWITCH_TUNNEL = """
own
for pair in $pairs; do
    printf '%s' "${pair#*:}" >"$D/run/$name/${pair%%:*}.port" || fail "cannot write to $D"
done
rm -f "$D/tunnel.new"
ln -s "run/$name" "$D/tunnel.new" &&
    "$D/versions/$version/bin/python" -I -c 'import os, sys; os.replace(*sys.argv[1:])' \\
        "$D/tunnel.new" "$D/tunnel" || fail "cannot write to $D"
for folder in "$D"/run/*; do
    [ "$folder" = "$D/run/$name" ] || rm -rf "$folder"
done
say switched yes
"""

START = """
own
[ ! -f "$D/home/identity/enrolment.json" ] || rm -f "$D/join-token"
# Files of other versions go, unless a process uses them (a job's supervisor outlives its agent), or
# they are new: another process of this front may just have sent them.
for folder in "$D"/versions/*; do
    [ "$folder" != "$D/versions/$version" ] || continue
    used=no
    [ -z "$(find "$folder" -maxdepth 0 -mmin -60)" ] || used=yes
    for place in /proc/[0-9]*; do
        first=
        { read -r first <"$place/cmdline"; } 2>/dev/null
        case $first in "$folder"/*) used=yes ;; esac
    done
    [ "$used" = yes ] || rm -rf "$folder"
done
if agent_pid; then say agent "$pid"; exit 0; fi
cd "$D" || fail "cannot use $D"
TMPDIR=$D/tmp
export TMPDIR
python=$D/versions/$version/bin/python
[ -x "$python" ] || fail "the agent's files are missing"
eval "set -- $options"
[ ! -f "$D/join-token" ] || set -- "$@" --token-file "$D/join-token"
"$python" -I -c 'import os, sys; os.setsid(); os.execv(sys.argv[1], sys.argv[1:])' \\
    "$python" -I -m fleetmark_agent.cli start --home "$D/home" \\
    --controller "unix:$D/tunnel:$port" --log-format json "$@" \\
    </dev/null >"$D/agent.log" 2>&1 &
pid=$!
start=$(started "$pid")
printf '%s %s\\n' "$pid" "$start" >"$D/agent.pid.new" && mv "$D/agent.pid.new" "$D/agent.pid"
sleep 2
agent_pid || fail "the agent ended: $(tail -n 1 "$D/agent.log")"
say agent "$pid"
"""

# The agent's programs are those whose first word lies in the folder. A job's program may lie
# elsewhere, but works in the agent's home. Other programs, such as an editor, are left alone.
WIPE = """
if [ ! -e "$D" ] && [ ! -L "$D" ]; then say wiped absent; exit 0; fi
# From here on, no other script of this front does anything on the device.
[ -f "$D/front.removed" ] && [ ! -f "$D/front" ] && mv "$D/front.removed" "$D/front"
own
mv "$D/front" "$D/front.removed" || fail "cannot write to $D"
processes() {
    for place in /proc/[0-9]*; do
        number=${place#/proc/}
        [ "$number" != "$$" ] || continue
        first=
        { read -r first <"$place/cmdline"; } 2>/dev/null
        where=$(readlink "$place/cwd" 2>/dev/null)
        case $first in "$D"/*) echo "$number"; continue ;; esac
        case $where in "$D"/home/*) echo "$number" ;; esac
    done
}
if agent_pid; then
    kill "$pid" 2>/dev/null
    for turn in 1 2 3 4 5 6 7 8 9 10; do agent_pid || break; sleep 1; done
fi
for turn in 1 2 3 4 5 6 7 8 9 10; do
    left=$(processes)
    [ -n "$left" ] || break
    kill -9 $left 2>/dev/null
    sleep 1
done
[ -z "$left" ] || fail "these processes of the agent cannot be ended: $(echo $left)"
cd / && chmod -R u+rwX "$D" 2>/dev/null
rm -rf "$D" 2>/dev/null
[ ! -e "$D" ] || fail "$D cannot be removed"
say wiped yes
"""


def compose(script: str, values: Mapping[str, object], marker: str) -> str:
    """Return a complete script with its arguments, and `marker` lines around its output."""
    settings = "".join(f"{key}={shlex.quote(str(value))}\n" for key, value in values.items())
    begin, end = f"printf '\\n%s\\n' '{marker} begin'\n", f"printf '\\n%s\\n' '{marker} end'\n"
    return f"{begin}(\n{settings}{HEADER}{script})\n{end}"


def parse_answer(output: bytes, marker: str) -> dict[str, list[str]] | None:
    """Return the values of each key between the marker lines; None if the script did not end."""
    lines = output.decode("utf-8", "replace").replace("\r", "").split("\n")
    try:
        begin = lines.index(f"{marker} begin")
        inner = lines[begin + 1 : lines.index(f"{marker} end", begin)]
    except ValueError:
        return None
    found: dict[str, list[str]] = {}
    for line in inner:
        key, equals, value = line.partition("=")
        if equals and _NAME.fullmatch(key):
            found.setdefault(key, []).append(value[:_MOST_VALUE].strip())
    return found


class Device:
    """Runs the scripts of one front on a device."""

    def __init__(self, transport: Transport, front: str, where: str) -> None:
        self.transport = transport
        self._front = front
        self.where = where

    def ask(
        self,
        script: str,
        *,
        data: tuple[bytes, ...] = (),
        timeout_s: float = 60.0,
        **values: object,
    ) -> dict[str, list[str]]:
        """Run a script and return what it said.

        Raises:
            FleetmarkError: the script failed or did not end, or the connection was lost.
        """
        marker = f"fleetmark-{secrets.token_hex(8)}"
        text = compose(script, {"front": self._front, **values}, marker)
        answer = parse_answer(self.transport.run(text, data, timeout_s), marker)
        if answer is None:
            raise device_error("its shell did not run a script of Fleetmark to the end", self.where)
        if "error" in answer:
            raise device_error(answer["error"][0], self.where)
        return answer

    def count(self, script: str, key: str, **options: object) -> int:
        """Run a script and return the first value of `key`, a number; see `ask`."""
        text = self.first(script, key, **options)
        if not (text.isascii() and text.isdecimal()):
            raise device_error(f"its answer has no number for {key!r}", self.where)
        return int(text)

    def first(self, script: str, key: str, **options: object) -> str:
        """Run a script and return the first value of `key`; see `ask`."""
        values = self.ask(script, **options).get(key)  # type: ignore[arg-type]
        if not values:
            raise device_error(f"its answer has no {key!r}", self.where)
        return values[0]
