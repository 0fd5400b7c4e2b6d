#!/usr/bin/env bash
# Run the tests of crates/arith on aarch64, under emulation where the machine is something else: `just neon`.
#
# Opt-in, because it downloads about 400 MB of Debian packages (compiler, standard library and linker for aarch64,
# and QEMU's user-mode emulator) and unpacks them to 1.6 GB under target/neon. Nothing is installed: the packages are
# a folder that is entered with `unshare` and `chroot`. They come from the Debian mirror in this system's apt sources,
# checked by its archive keys. A second run reuses the folder and works offline.
#
# Usage: scripts/check_neon.sh [ARGUMENTS OF cargo test]
# Without arguments: the whole suite of tessera-arith, in release mode.
#
# NEON_MIRROR  a Debian mirror, instead of the one in the apt sources
# NEON_SUITE   the Debian suite to take packages from (default: testing; its rustc must satisfy rust-version)
#
# What emulation shows is the bits, not the speed.
set -euo pipefail

fail() {
    echo "check_neon: $*" >&2
    exit 1
}

root=$(cd "$(dirname "$0")/.." && pwd)
home=${CARGO_TARGET_DIR:-$root/target}/neon
system=$home/system
suite=${NEON_SUITE:-testing}
triple=aarch64-unknown-linux-gnu
test_arguments=("$@")
[ $# -gt 0 ] || test_arguments=(--release -p tessera-arith)

# On the real thing nothing needs emulating.
if [ "$(uname -m)" = aarch64 ] || [ "$(uname -m)" = arm64 ]; then
    cd "$root"
    exec cargo test --locked "${test_arguments[@]}"
fi
[ "$(uname -sm)" = "Linux x86_64" ] || fail "needs Linux on x86-64 or an aarch64 machine, not $(uname -sm)"
for tool in apt-get dpkg-deb unshare chroot cargo; do
    command -v "$tool" >/dev/null || fail "needs $tool; run it on Debian or a container of it, with Rust installed"
done

# As root, private mounts suffice; others need a user namespace as well.
enter=(unshare --mount)
[ "$(id -u)" = 0 ] || enter+=(--map-root-user)
"${enter[@]}" true 2>/dev/null ||
    fail "may not make mounts of its own: run it as root, or allow unprivileged user namespaces"

# apt with state of its own, so that the system's package lists stay as they are; the rest of its configuration holds.
apt_options=(
    -o Dir::State="$home/apt/state" -o Dir::State::status="$home/apt/status" -o Dir::Cache="$home/apt/cache"
    -o Dir::Etc::sourcelist="$home/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::Etc::preferencesparts=/dev/null -o APT::Sandbox::User= -o Acquire::Languages=none
    -o APT::Architecture=amd64 -o APT::Architectures::=amd64 -o APT::Architectures::=arm64
)

unpack() {
    local mirror=${NEON_MIRROR:-} keys=/usr/share/keyrings/debian-archive-keyring.gpg
    if [ -z "$mirror" ]; then
        # The main archive, not the one of security updates.
        mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' |
            awk '$1 == "Debian" && $2 == "Debian" && !found { found = 1; print $3 }') || mirror=
    fi
    [ -n "$mirror" ] || fail "found no Debian mirror in the apt sources: run apt-get update, or set NEON_MIRROR"
    [ -f "$keys" ] || fail "needs Debian's archive keys ($keys): install debian-archive-keyring"
    echo "Fetching the packages of Debian $suite for aarch64 (once; about 400 MB)"
    mkdir -p "$home"/apt/state/lists/partial "$home"/apt/cache/archives/partial
    : >"$home/apt/status"
    echo "deb [signed-by=$keys] $mirror $suite main" >"$home/apt/sources.list"
    apt-get "${apt_options[@]}" -o APT::Update::Error-Mode=any -q update >"$home/apt/log" 2>&1 ||
        fail "cannot read the package lists of $suite (is the network there?): $(tail -n 3 "$home/apt/log")"
    rm -f "$home"/apt/cache/archives/*.deb
    apt-get "${apt_options[@]}" -q -y --no-install-recommends --download-only install \
        base-files bash coreutils cargo gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user >"$home/apt/log" 2>&1 ||
        fail "cannot fetch the packages: $(tail -n 3 "$home/apt/log")"
    # Only the files of the target's standard library: its dependencies are for compiling on aarch64.
    (cd "$home/apt/cache/archives" && apt-get "${apt_options[@]}" -q download libstd-rust-dev:arm64) >"$home/apt/log" 2>&1 ||
        fail "cannot fetch the standard library of aarch64: $(tail -n 3 "$home/apt/log")"
    rm -rf "$system" "$system.part"
    mkdir -p "$system.part"
    # base-files first: it holds the links from /bin and /lib into /usr.
    for package in "$home"/apt/cache/archives/base-files_*.deb "$home"/apt/cache/archives/*.deb; do
        dpkg-deb -x "$package" "$system.part"
    done
    mkdir -p "$system.part"/{proc,dev,tmp,source,cargo,build}
    mv "$system.part" "$system"
    rm -rf "$home/apt"
}

[ -d "$system" ] || unpack

cd "$root"
cargo fetch --locked --quiet || fail "cannot fetch the crates of Cargo.lock (is the network there?)"
mkdir -p "$home/build"

# Inside, everything is offline, and the source is read-only.
script='
set -e
system=$1; source=$2; cargo=$3; build=$4; shift 4
mount --rbind /proc "$system/proc"
mount --rbind /dev "$system/dev"
mount --bind "$source" "$system/source"
mount -o remount,bind,ro "$system/source"
mount --bind "$cargo" "$system/cargo"
mount --bind "$build" "$system/build"
exec chroot "$system" /usr/bin/env -i "$@"
'
library=/usr/aarch64-linux-gnu
variables=(
    PATH=/usr/bin HOME=/tmp CARGO_HOME=/cargo CARGO_TARGET_DIR=/build CARGO_NET_OFFLINE=true CARGO_TERM_COLOR=never
    RUSTC=/usr/bin/rustc CC=gcc CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=gcc
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64 -L $library"
    PROPTEST_FAILURE_PERSISTENCE=off
)
[ -z "${TESSERA_ISA:-}" ] || variables+=("TESSERA_ISA=$TESSERA_ISA")
exec "${enter[@]}" bash -c "$script" enter "$system" "$root" "${CARGO_HOME:-$HOME/.cargo}" "$home/build" \
    "${variables[@]}" /usr/bin/bash -c 'cd /source && exec /usr/bin/cargo test --locked "$@"' cargo \
    --target "$triple" "${test_arguments[@]}"
