#!/usr/bin/env bash
# toolchain.sh COMMAND... - runs COMMAND where Debian 13's compiler and libraries are.
#
# On Debian 13 that is this machine: missing packages are installed with apt-get.  On an
# older Debian it is a private Debian 13 root under build/toolchain/, made with mmdebstrap
# and entered with bubblewrap; network, loopback and the checkout are shared with it, and
# nothing of this machine's own system is changed.  MAAS_TOOLCHAIN=1 marks the inside.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
list=$top/docker/packages.txt
store=$top/build/toolchain
log=$store/setup.log
certificates=/etc/ssl/certs/ca-certificates.crt # whom this machine trusts, its proxy too

say() { printf 'toolchain: %s\n' "$*" >&2; }

fail() {
    say "$*"
    [ -f "$log" ] && { say "the last lines of $log:"; tail -n 15 "$log" >&2; }
    exit 1
}

packages() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$list"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "this needs root, and sudo is not here: run it as root: $*"
        return 1
    fi
}

retry() {
    local try
    for try in 1 2 3; do
        "$@" >>"$log" 2>&1 && return 0
        say "try $try failed: ${*:1:4}"
    done
    return 1
}

# Without the descriptors that the caller left open (make -j does): the shell that mmdebstrap uses
# knows none above 9 by number, and mmdebstrap names its own.
alone() (
    local fd
    for fd in /proc/"$BASHPID"/fd/*; do
        fd=${fd##*/}
        if [ "$fd" -gt 2 ] && [ "$fd" -lt 255 ]; then exec {fd}>&-; fi
    done
    "$@"
)

# 0 when this machine is itself Debian 13 or newer.
is_native() {
    local id version
    # shellcheck disable=SC1091
    id=$(. /etc/os-release && printf '%s' "${ID:-}")
    # shellcheck disable=SC1091
    version=$(. /etc/os-release && printf '%s' "${VERSION_ID:-0}")
    [ "$id" = debian ] && [ "${version%%.*}" -ge 13 ]
}

install_native() {
    local missing=() package
    while read -r package; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done < <(packages)
    [ ${#missing[@]} = 0 ] && return 0
    say "installing ${#missing[@]} packages"
    retry as_root apt-get update || fail "apt-get update failed"
    retry as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        "${missing[@]}" || fail "apt-get install failed"
}

install_tools() {
    local tools=(mmdebstrap bubblewrap)
    [ "$(id -u)" = 0 ] || tools+=(uidmap)
    command -v mmdebstrap >/dev/null && command -v bwrap >/dev/null &&
        { [ "$(id -u)" = 0 ] || command -v newuidmap >/dev/null; } && return 0
    say "installing ${tools[*]}"
    retry as_root apt-get update || fail "apt-get update failed"
    retry as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        "${tools[@]}" || fail "cannot install ${tools[*]}"
}

# The Debian mirror that this machine uses; nothing when apt knows none.
mirror() {
    # shellcheck disable=SC2016 # apt-get expands these
    apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk '$1 == "Debian" && $2 == "Debian" { print $3; exit }'
}

# Passes a signal on to COMMAND, whose process id bwrap has written down.
pass_on() {
    local inner
    inner=$(sed -n 's/.*"child-pid": *\([0-9]*\).*/\1/p' "$2")
    [ -z "$inner" ] || kill -s "$1" "$inner" 2>/dev/null || true
}

# Runs COMMAND in the root and ends as it ends.  Ctrl-C reaches COMMAND from the terminal; this
# script and bwrap must outlive it while COMMAND drains, so they ignore it, and `env` gives it
# back to COMMAND.  TERM and HUP come to this script alone, so they are passed on.
enter() {
    local root=$1 extra=() info bwrap
    shift
    [ -S /run/docker.sock ] && extra+=(--bind /run/docker.sock /run/docker.sock)
    [ -n "${MAAS_BIND:-}" ] && mkdir -p "$MAAS_BIND" && extra+=(--bind "$MAAS_BIND" "$MAAS_BIND")
    [ "$(id -u)" = 0 ] || extra+=(--unshare-user --uid "$(id -u)" --gid "$(id -g)")
    info=$(mktemp)
    # shellcheck disable=SC2064 # this very file
    trap "rm -f '$info'" EXIT
    (
        trap '' INT QUIT TERM HUP
        exec bwrap --die-with-parent --info-fd 7 --bind "$root" / --dev-bind /dev /dev \
            --proc /proc --ro-bind /sys /sys --bind /tmp /tmp \
            --ro-bind-try /etc/resolv.conf /etc/resolv.conf --ro-bind-try /etc/hosts /etc/hosts \
            --ro-bind-try "$certificates" "$certificates" --ro-bind-try /etc/pip.conf /etc/pip.conf \
            --bind "$top" "$top" "${extra[@]}" --chdir "$PWD" \
            --setenv PATH /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            --setenv HOME /tmp --setenv MAAS_TOOLCHAIN 1 --setenv LC_ALL C.UTF-8 \
            -- env --default-signal=INT,QUIT,TERM,HUP "$@" 7>"$info"
    ) <&0 &
    bwrap=$!
    trap '' INT QUIT
    trap 'pass_on TERM "$info"' TERM
    trap 'pass_on HUP "$info"' HUP
    while kill -0 "$bwrap" 2>/dev/null; do
        wait "$bwrap" || true
    done
    local status=0
    wait "$bwrap" || status=$?
    return "$status"
}

# mmdebstrap into a new folder.  A plain user's root is unpacked from a tar file, so that every
# file in it is the user's own: nothing needs other ids later, and `rm -rf` removes it.
bootstrap() {
    local new=$1 from mode names
    rm -rf "$new" && mkdir "$new" || return 1
    names=$(packages | paste -sd,)
    from=$(mirror)
    mode=(mmdebstrap --mode=root)
    if [ "$(id -u)" != 0 ]; then
        mode=(mmdebstrap --mode=unshare)
        grep -qE "^($(id -un)|$(id -u)):" /etc/subuid 2>/dev/null || mode=(as_root mmdebstrap --mode=root)
    fi
    mode+=(--variant=apt --aptopt='APT::Install-Recommends "false"' --dpkgopt=force-unsafe-io
        --include="$names" --skip=cleanup/apt/lists trixie)
    if [ "$(id -u)" = 0 ]; then
        "${mode[@]}" "$new" ${from:+"$from"}
    else
        "${mode[@]}" - ${from:+"$from"} |
            tar -x --no-same-owner --exclude='./dev/*' --delay-directory-restore -C "$new"
    fi
}

# Makes the root in a folder of its own and renames it when it is whole.
make_root() {
    local root=$1
    rm -rf "$store"/root-* 2>>"$log" || fail "cannot remove the old root: sudo rm -rf $store"
    say "making a private Debian 13 under build/toolchain (once, about a minute)"
    retry alone bootstrap "$root.new" || fail "cannot make the private root; run the same again to retry"
    mv "$root.new" "$root"
}

main() {
    [ $# -gt 0 ] || fail "usage: toolchain.sh COMMAND..."
    [ "${MAAS_TOOLCHAIN:-}" = 1 ] && exec "$@"
    mkdir -p "$store"
    export MAAS_TOOLCHAIN=1
    exec 9>"$store/lock"
    flock 9
    if is_native; then
        install_native
        exec 9>&-
        exec "$@"
    fi
    local root
    root=$store/root-$(packages | sort | sha256sum | cut -c1-12)
    if [ ! -d "$root" ]; then
        : >"$log"
        install_tools
        make_root "$root"
    fi
    command -v bwrap >/dev/null || install_tools
    exec 9>&-
    enter "$root" "$@"
}

main "$@"
