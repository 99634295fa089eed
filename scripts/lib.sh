# shellcheck shell=bash
# lib.sh - what the scripts of this folder share; sourced, never run.
# shellcheck disable=SC2034
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Debian's own interpreter: a version manager's may come first in PATH, slower and without a promise.
PYTHON=${PYTHON:-/usr/bin/python3}
export ROOT PYTHON

BUILD_PACKAGES=(gcc libc6-dev meson ninja-build pkg-config fuse3 libfuse3-dev libglib2.0-dev
    libsqlite3-dev libssl-dev zlib1g-dev libsecret-1-dev python3)
TEST_PACKAGES=("${BUILD_PACKAGES[@]}" libcmocka-dev dovecot-imapd file git
    libglib2.0-bin maildir-utils mutt neomutt notmuch openssl procps ripgrep rsync)
# A file manager and a display for it; what needs them is skipped where they are not.
DESKTOP_PACKAGES=(pcmanfm xdotool xvfb)
LINT_PACKAGES=("${BUILD_PACKAGES[@]}" libcmocka-dev clang-tidy clang-format cppcheck shellcheck)

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    BOLD=$'\e[1m' RED=$'\e[31m' PLAIN=$'\e[0m'
else
    BOLD='' RED='' PLAIN=''
fi

say() { printf '%s== %s%s\n' "$BOLD" "$*" "$PLAIN"; }
die() {
    printf '%serror:%s %s\n' "$RED" "$PLAIN" "$*" >&2
    exit 1
}

# as_root COMMAND...: straight when we are root, else through sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        command -v sudo >/dev/null || die "needs root or sudo: $*"
        sudo "$@"
    fi
}

package_missing() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null || true)" != installed ]
}

# A package's scripts ask policy-rc.d before they start a daemon; 101 is "no". It is put there only
# for the time of the installation, and one that the machine has of its own is left alone.
install_packages() {
    local policy=/usr/sbin/policy-rc.d ours='' log status=0
    log=$(mktemp)
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root install -m 755 /dev/stdin "$policy"
        ours=1
    fi
    apt_install() {
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y \
            -o DPkg::Lock::Timeout=300 --no-install-recommends "$@" >"$log" 2>&1
    }
    apt_install "$@" || { as_root apt-get update >"$log" 2>&1 && apt_install "$@"; } || status=$?
    [ -z "$ours" ] || as_root rm -f "$policy"
    [ "$status" = 0 ] || {
        tail -n 20 "$log" >&2
        die "apt-get could not install: $*"
    }
    rm -f "$log"
}

# need_packages PACKAGE...: installs those that are missing.
need_packages() {
    local package missing=()
    command -v dpkg-query >/dev/null || die "this script knows Debian's packages only; see README.md"
    for package in "$@"; do
        ! package_missing "$package" || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] || {
        say "installing ${missing[*]}"
        install_packages "${missing[@]}"
    }
}

# build_in DIR MESON-OPTION...: configures DIR, or changes its options, and compiles.
build_in() {
    local dir=$ROOT/$1
    shift
    if [ -e "$dir/build.ninja" ]; then
        meson configure "$dir" "$@" >/dev/null
    else
        meson setup "$dir" "$ROOT" "$@"
    fi
    ninja -C "$dir"
}
