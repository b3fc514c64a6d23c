#!/bin/sh
# Installs, upgrades or removes the agent on a device. See `install-agent.sh --help`.
#
# The script checks everything before it changes anything. It creates and tests a new version beside
# the old one, and replaces it with one rename. It never changes identity, spool and cache, which are
# stored elsewhere, except with --purge.
set -eu

usage() {
    cat <<'TEXT'
usage: install-agent.sh [options]

  --controller HOST:PORT  address of the controller
  --token-file FILE       file with the enrollment token, or - to read it from standard input
  --name NAME             name of the device; default: the host name
  --label KEY=VALUE       set a label of the device; can be repeated
  --controls              let the agent set the processor's governor (root only)

  --user                  install for the calling user only, without root
  --python PROGRAM        Python 3.10 or newer; default: the newest on this device
  --wheel FILE            Fleetmark's wheel; default: wheels/ beside this script, or its checkout
  --wheels DIR            install all wheels from DIR, offline; default: wheels/ beside this script
  --prefix DIR            folder for programs; default: /opt/fleetmark or ~/.local/lib/fleetmark
  --root DIR              install into DIR as the root folder, and start nothing
  --no-start              install the unit, and start nothing
  --dry-run               check everything, print what would be done, change nothing

  --uninstall             remove the agent, but keep its home with identity and results
  --purge                 with --uninstall: also remove its home and its user

Run it again to upgrade or to change an option; other options keep their values.
Exit codes: 0 done; 1 failed; 2 usage; 4 refused, with the requirement that is not met.
TEXT
}

say() { echo "install-agent: $*"; }
warn() { echo "install-agent: note: $*" >&2; }
fail() { echo "install-agent: $*" >&2; exit 1; }
misused() { echo "install-agent: $* Try --help" >&2; exit 2; }
refuse() { echo "install-agent: $*" >&2; exit 4; }

# --- options ---

here=$(cd "$(dirname "$0")" && pwd)
unit=fleetmark-agent.service
account=fleetmark-agent
controller='' token_file='' name='' labels='' controls=no user_mode=no python='' wheel='' wheels=''
prefix='' root='' start=yes dry=no uninstall=no purge=no newline='
'

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --controller | --token-file | --name | --label | --python | --wheel | --wheels | \
                --prefix | --root)
                [ $# -ge 2 ] && [ -n "$2" ] || misused "$1 needs a value."
                case $2 in *"$newline"*) misused "$1 has more than one line." ;; esac
                ;;
        esac
        case $1 in
            --controller) controller=$2 && shift ;;
            --token-file) token_file=$2 && shift ;;
            --name) name=$2 && shift ;;
            --label) labels=$labels$2$newline && shift ;;
            --python) python=$2 && shift ;;
            --wheel) wheel=$2 && shift ;;
            --wheels) wheels=$2 && shift ;;
            --prefix) prefix=$2 && shift ;;
            --root) root=$2 && shift ;;
            --controls) controls=yes ;;
            --user) user_mode=yes ;;
            --no-start) start=no ;;
            --dry-run) dry=yes ;;
            --uninstall) uninstall=yes ;;
            --purge) purge=yes ;;
            -h | --help) usage && exit 0 ;;
            *) misused "unknown option $1." ;;
        esac
        shift
    done
    [ "$purge" = no ] || [ "$uninstall" = yes ] || misused "--purge requires --uninstall."
    [ "$user_mode" = no ] || [ -z "$root" ] || misused "--user and --root cannot be combined."
    [ "$user_mode" = no ] || [ "$controls" = no ] || misused "--controls requires root."
}

choose_places() {
    if [ "$user_mode" = yes ]; then
        [ -d "${HOME:-}" ] && [ -w "$HOME" ] || refuse "the home folder is not writable: HOME=${HOME:-}"
        default_prefix=$HOME/.local/lib/fleetmark
        home=$HOME/.local/share/fleetmark/agent
        settings=$HOME/.config/fleetmark
        units=$HOME/.config/systemd/user
        commands=$HOME/.local/bin
        unit_source=$here/systemd/fleetmark-agent-user.service
    else
        [ -n "$root" ] || [ "$(id -u)" = 0 ] || refuse "not run by root: run it as root, or with --user"
        if [ -n "$root" ]; then
            [ -d "$root" ] || refuse "no such folder: $root"
            root=$(cd "$root" && pwd)
            root=${root%/}
        fi
        default_prefix=/opt/fleetmark
        home=/var/lib/fleetmark/agent
        settings=/etc/fleetmark
        units=/etc/systemd/system
        commands=/usr/local/bin
        unit_source=$here/systemd/$unit
    fi
    prefix=${prefix:-$default_prefix}
    case $prefix in
        /*) ;;
        *) misused "--prefix must begin with /." ;;
    esac
    # Only the default may hold anything: it is the user's own home.
    [ "$prefix" = "$default_prefix" ] || case $prefix in
        *[!A-Za-z0-9/._-]*) misused "--prefix may only contain letters, digits and / . _ - characters." ;;
    esac
    settings_file=$settings/agent.env
    systemd=no
    if [ -z "$root" ] && [ -d /run/systemd/system ]; then
        if [ "$user_mode" = no ] || systemctl --user show-environment >/dev/null 2>&1; then
            systemd=yes
        fi
    fi
}

# --- changing things; with --dry-run saying so instead ---

act() {
    if [ "$dry" = yes ]; then echo "would: $*"; else "$@"; fi
}

# put MODE PATH: what comes on standard input replaces the file, whole or not at all.
put() {
    if [ "$dry" = yes ]; then
        cat >/dev/null
        echo "would: write $2"
        return
    fi
    (umask 022 && mkdir -p "$(dirname "$2")")
    rm -f "$2.new"
    (umask 077 && cat >"$2.new")
    chmod "$1" "$2.new"
    mv -f "$2.new" "$2"
}

unit_manager() {
    if [ "$user_mode" = yes ]; then act systemctl --user "$@"; else act systemctl "$@"; fi
}

# --- requirements of the device ---

find_python() {
    if [ -n "$python" ]; then
        python=$(command -v "$python") || refuse "no such program: the one given with --python"
        is_new_enough "$python" || refuse "$python is not Python 3.10 or newer"
    else
        for candidate in python3.13 python3.12 python3.11 python3.10 python3; do
            found=$(command -v "$candidate") || continue
            is_new_enough "$found" && python=$found && break
        done
        [ -n "$python" ] || refuse "Python 3.10 or newer was not found. $(how_to_get python3) Or give its path with --python"
    fi
    "$python" -I -c 'import venv, ensurepip' 2>/dev/null ||
        refuse "$python has no venv module. $(how_to_get python3-venv)"
    base=$("$python" -I -c 'import os, sys; print(os.path.realpath(sys._base_executable))')
    if [ "$user_mode" = no ]; then
        case $base in
            # ProtectHome in the unit, and the rights of most homes.
            /home/* | /root/*) refuse "the user of the agent cannot reach $base. Give a Python of the system with --python" ;;
        esac
    fi
    python=$base
}

is_new_enough() {
    "$1" -I -c 'import sys; sys.exit(sys.version_info < (3, 10) or sys.implementation.name != "cpython")' 2>/dev/null
}

how_to_get() {
    if command -v apt-get >/dev/null; then
        echo "Run: apt-get install $1."
    elif command -v dnf >/dev/null; then
        echo "Run: dnf install python3."
    else
        echo "Install it with this system's package manager."
    fi
}

# Of the Python, not of the kernel: devices with a 64-bit kernel often have 32-bit programs.
check_platform() {
    facts=$("$python" -I -c '
import platform, struct, sys
libc, version = platform.libc_ver()
print(sys.platform, platform.machine(), struct.calcsize("P") * 8, libc or "other", version or "0")')
    # shellcheck disable=SC2086  # five words
    set -- $facts
    [ "$1" = linux ] || refuse "agents run only on Linux, and this is $1"
    case $2-$3 in
        x86_64-64 | aarch64-64) ;;
        *) [ -n "$wheels" ] ||
            refuse "no wheels of the agent's libraries are published for $2 with $3-bit programs. Build them and give their folder with --wheels" ;;
    esac
    if [ "$4" != glibc ]; then
        warn "the C library is not glibc; this is not tested"
    elif ! "$python" -I -c '
import sys
sys.exit(tuple(map(int, sys.argv[1].split(".")[:2])) < (2, 17))' "$5"; then
        refuse "glibc is $5, but 2.17 or newer is required"
    fi
}

# check_room PATH MIB WHAT
check_room() {
    place=$1
    while [ ! -d "$place" ]; do place=$(dirname "$place"); done
    free=$(df -Pk "$place" | awk 'NR == 2 { print int($4 / 1024) }')
    [ "$free" -ge "$2" ] || refuse "$3 needs $2 MiB on the disk of $place, but only $free MiB are free"
}

check_files() {
    [ -n "$wheels" ] || [ ! -d "$here/wheels" ] || wheels=$here/wheels
    if [ -n "$wheels" ]; then
        [ -d "$wheels" ] || refuse "no such folder: $wheels"
        wheels=$(cd "$wheels" && pwd)
        for file in "$wheels"/fleetmark-*.whl; do
            [ -n "$wheel" ] || [ ! -f "$file" ] || wheel=$file
        done
    fi
    [ -z "$wheel" ] || [ -f "$wheel" ] || refuse "no such file: $wheel"
    [ -n "$wheel" ] || [ -f "$here/../pyproject.toml" ] ||
        refuse "this script is not in a checkout: give the wheel of Fleetmark with --wheel"
    for file in "$here/locks/agent.txt" "$here/make-environment.sh" "$here/write_config.py" "$unit_source"; do
        [ -f "$file" ] || refuse "$file is missing; it belongs to this script"
    done
}

# Reads the token once: standard input can be read only once, and a file may be removed meanwhile.
read_token() {
    [ -n "$token_file" ] || return 0
    shown=$token_file
    [ "$token_file" != - ] || shown='standard input'
    if [ "$token_file" = - ]; then
        (umask 077 && cat >"$scratch/join-token")
    else
        { [ -r "$token_file" ] && [ ! -d "$token_file" ]; } || refuse "no token in $token_file"
        (umask 077 && cat "$token_file" >"$scratch/join-token")
    fi
    grep -q '[^[:space:]]' "$scratch/join-token" ||
        refuse "no token in $shown. Create one with: controller token create"
    token_file=$scratch/join-token
}

# The agent's own rules, from its code as it is in the wheel or the checkout. What keeps that code
# from running here (a wheel that is broken, Python 3.10 without tomli) shows in later steps.
check_values() {
    code=$wheel
    if [ -z "$code" ]; then
        top=$(dirname "$here")
        code=$top/agent:$top/core:$top/cli:$top/protos
    fi
    set -- "$root$home"
    [ -z "$controller" ] || set -- "$@" --controller "$controller"
    [ -z "$name" ] || set -- "$@" --name "$name"
    [ -z "$token_file" ] || set -- "$@" --token-file "$token_file"
    while IFS= read -r label; do
        [ -z "$label" ] || set -- "$@" --label "$label"
    done <<TEXT
$labels
TEXT
    PYTHONPATH=$code PYTHONDONTWRITEBYTECODE=1 "$python" -s -S "$here/write_config.py" --check "$@" \
        2>"$scratch/fault" && return
    [ $? -ne 2 ] || misused "$(tail -n 1 "$scratch/fault")."
}

# --- the steps ---

make_environment() {
    if [ -z "$wheel" ]; then
        if [ "$dry" = yes ]; then
            say "would: build the wheel from $(dirname "$here") and install it under $root$prefix"
            return
        fi
        wheel=$(sh "$here/build-wheel.sh" "$python" "$scratch" "$wheels") ||
            fail "the wheel cannot be built from this checkout"
    fi
    version=$(basename "$wheel" | cut -d- -f2)
    content=$({
        cat "$wheel" "$here/locks/agent.txt" "$here/make-environment.sh"
        "$python" -I -VV
    } | sha256sum | cut -c1-8)
    environment=$version-$content
    target=$root$prefix/environments/$environment
    if [ -e "$target/.complete" ]; then
        say "Fleetmark $version is already installed"
        return
    fi
    say "creating the environment of Fleetmark $version with $("$python" -I -V)"
    act rm -rf "$target"
    act sh "$here/make-environment.sh" "$python" "$here/locks/agent.txt" "$wheel" "$target" "$wheels" ||
        fail "the environment cannot be created; the previous installation is unchanged"
    [ "$dry" = yes ] && return
    said=$("$target/bin/python" -I -m fleetmark_agent.cli --version) && [ "${said##* }" = "$version" ] || {
        rm -rf "$target"
        fail "the new agent does not start; the previous installation is unchanged"
    }
    : >"$target/.complete"
}

agent_knows() {
    "$target/bin/python" -I -m fleetmark_agent.cli start --help | grep -q -e "$1"
}

write_settings() {
    if [ "$dry" = yes ]; then
        echo "would: write $root$home/config.toml, $root$settings_file"
        [ -z "$token_file" ] || echo "would: write $root$home/join-token (mode 0600)"
        return
    fi
    if [ -n "$token_file" ] && ! agent_knows --token-file; then
        refuse "Fleetmark $version does not support enrollment tokens: omit --token-file"
    fi
    # The agent's user must be able to pass through the folders above.
    (umask 022 && mkdir -p "$(dirname "$root$home")")
    [ -d "$root$home" ] || mkdir -m 700 "$root$home"
    set -- "$root$home"
    [ -z "$controller" ] || set -- "$@" --controller "$controller"
    [ -z "$name" ] || set -- "$@" --name "$name"
    while IFS= read -r label; do
        [ -z "$label" ] || set -- "$@" --label "$label"
    done <<TEXT
$labels
TEXT
    "$target/bin/python" -I "$here/write_config.py" "$@" || exit $?
    options=$(setting FLEETMARK_AGENT_OPTIONS)
    if [ -n "$token_file" ]; then
        put 600 "$root$home/join-token" <"$token_file"
        case $options in
            *--token-file*) ;;
            # Relative to the home, in which the agent is started.
            *) options="${options:+$options }--token-file join-token" ;;
        esac
    fi
    controller=${controller:-$(setting FLEETMARK_CONTROLLER)}
    {
        [ ! -f "$root$settings_file" ] ||
            grep -v -e '^FLEETMARK_CONTROLLER=' -e '^FLEETMARK_AGENT_OPTIONS=' "$root$settings_file" || true
        [ -z "$controller" ] || echo "FLEETMARK_CONTROLLER=$controller"
        [ -z "$options" ] || echo "FLEETMARK_AGENT_OPTIONS=$options"
    } >"$scratch/agent.env"
    put 644 "$root$settings_file" <"$scratch/agent.env"
}

# The value that the settings have now.
setting() {
    [ ! -f "$root$settings_file" ] || sed -n "s/^$1=//p" "$root$settings_file"
}

switch_over() {
    [ "$dry" = no ] || return 0
    previous=$(readlink "$root$prefix/current" 2>/dev/null || true)
    launcher agent fleetmark_agent.cli
    launcher fleetmark fleetmark_cli.dispatch
    rm -f "$root$prefix/current.new"
    ln -s "environments/$environment" "$root$prefix/current.new"
    "$python" -I -c 'import os, sys; os.replace(*sys.argv[1:])' \
        "$root$prefix/current.new" "$root$prefix/current"
    for old in "$root$prefix"/environments/*; do
        case environments/$(basename "$old") in
            # The previous one stays: to go back to, and for an agent that still runs from it.
            "environments/$environment" | "$previous") ;;
            *) rm -rf "$old" ;;
        esac
    done
    # Where another program is called `agent`, `fleetmark agent` is the command.
    link_command agent
    link_command fleetmark
}

# launcher NAME MODULE: a program that runs MODULE of the current environment.
launcher() {
    # It resolves `current` once: an agent that runs stays with its own version.
    put 755 "$root$prefix/bin/$1" <<TEXT
#!/bin/sh
here=\$(dirname -- "\$(readlink -f -- "\$0")")
environment=\$(readlink -f -- "\$here/../current")
exec "\$environment/bin/python" -I -m $2 "\$@"
TEXT
}

# link_command NAME: make the program NAME a command, unless another program has this name.
link_command() {
    program=$prefix/bin/$1
    link=$root$commands/$1
    if [ -L "$link" ] || [ ! -e "$link" ]; then
        (umask 022 && mkdir -p "$root$commands")
        if [ "$(readlink "$link" 2>/dev/null || echo "$program")" = "$program" ]; then
            ln -sf "$program" "$link"
        else
            warn "$link points to another program and is not changed"
        fi
    else
        warn "$link is another program and is not changed; the $1 command is $program"
    fi
}

make_account() {
    [ "$user_mode" = no ] || return 0
    put 644 "$root/etc/sysusers.d/$account.conf" <"$here/systemd/$account.sysusers.conf"
    [ "$systemd" = yes ] || return 0
    act systemd-sysusers "$account.conf"
    for group in audio dialout gpio i2c plugdev render video; do
        ! getent group "$group" >/dev/null || act usermod -a -G "$group" "$account"
    done
    act chown -R "$account:" "$home"
}

install_unit() {
    if [ "$systemd" = no ] && [ -z "$root" ]; then
        return
    fi
    make_account
    case $user_mode in
        yes) sed "s|%h/.local/lib/fleetmark|$(unit_prefix '%h/.local/lib/fleetmark')|" "$unit_source" ;;
        no) sed "s|/opt/fleetmark|$prefix|" "$unit_source" ;;
    esac | put 644 "$root$units/$unit"
    if [ "$controls" = yes ]; then
        put 644 "$root$units/$unit.d/controls.conf" <"$here/systemd/fleetmark-agent-controls.conf"
    fi
    [ "$systemd" = yes ] || return 0
    unit_manager daemon-reload
    if [ "$start" = yes ]; then
        unit_manager enable "$unit"
        unit_manager restart "$unit" ||
            fail "everything is installed, but the agent does not start: see journalctl $([ "$user_mode" = no ] || echo '--user ')-u $unit"
    fi
}

unit_prefix() {
    if [ "$prefix" = "$default_prefix" ]; then echo "$1"; else echo "$prefix"; fi
}

say_what_next() {
    if [ "$dry" = yes ]; then
        say "nothing was changed"
    elif [ -n "$root" ]; then
        say "installed into $root; the unit is $units/$unit, not enabled"
    elif [ "$systemd" = yes ] && [ "$start" = yes ]; then
        say "the agent is running. Check it with: agent status --home $home"
        [ "$user_mode" = no ] || say "to keep it running without a login: loginctl enable-linger"
    elif [ "$systemd" = yes ]; then
        say "start it with: systemctl $([ "$user_mode" = no ] || echo '--user ')enable --now $unit"
    else
        more=''
        [ -z "$controller" ] || more=" --controller $controller"
        case $(setting FLEETMARK_AGENT_OPTIONS) in *--token-file*) more="$more --token-file '$home/join-token'" ;; esac
        say "systemd is not running. Start the agent with: '$prefix/bin/agent' start --home '$home'$more"
    fi
}

# --- the way back ---

remove_all() {
    if [ "$systemd" = yes ] && [ -f "$units/$unit" ]; then
        # It ends its job, tells the controller and leaves.
        unit_manager disable --now "$unit"
    fi
    if [ -x "$root$prefix/bin/agent" ] &&
        "$root$prefix/bin/agent" status --home "$root$home" --json 2>/dev/null | grep -q '"running": true'; then
        refuse "an agent is running with the home $root$home: stop it first"
    fi
    act rm -rf "$root$units/$unit" "$root$units/$unit.d" "$root$prefix/environments" \
        "$root$prefix/bin/agent" "$root$prefix/bin/fleetmark" "$root$prefix/current" \
        "$root$settings_file"
    for name in agent fleetmark; do
        if [ "$(readlink "$root$commands/$name" 2>/dev/null || true)" = "$prefix/bin/$name" ]; then
            act rm -f "$root$commands/$name"
        fi
    done
    [ "$systemd" = no ] || unit_manager daemon-reload
    if [ "$purge" = yes ]; then
        act rm -rf "$root$home" "$root/etc/sysusers.d/$account.conf"
        if [ "$systemd" = yes ] && [ "$user_mode" = no ] && getent passwd "$account" >/dev/null; then
            act userdel "$account"
        fi
    elif [ -d "$root$home" ]; then
        say "its home is kept: $root$home. Remove it with --uninstall --purge"
    fi
    # Only folders that are empty now; others contain files of other programs.
    for folder in "$prefix/bin" "$prefix" "$settings" "$(dirname "$home")"; do
        [ ! -d "$root$folder" ] || act rmdir "$root$folder" 2>/dev/null || true
    done
    say "$([ "$dry" = yes ] && echo 'nothing was changed' || echo 'the agent is removed')"
}

main() {
    read_options "$@"
    choose_places
    if [ "$uninstall" = yes ]; then
        remove_all
        return
    fi
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    trap 'exit 1' HUP INT TERM
    check_files
    read_token
    find_python
    check_values
    check_platform
    check_room "$root$prefix" 200 "the agent"
    check_room "$root$home" 64 "the agent's home"
    make_environment
    write_settings
    switch_over
    install_unit
    say_what_next
}

# Called on the last line, so that a script that was cut off on its way here does nothing.
main "$@"
