#!/bin/sh
# Run every measurement, each in a process of its own, so that peak memory is that of one alone.
set -eu
cd "$(dirname "$0")/.."
cargo build --quiet --release -p tessera-bench
TESSERA_REVISION=${TESSERA_REVISION:-$(git rev-parse --short HEAD 2>/dev/null || true)}
export TESSERA_REVISION
bench="${CARGO_TARGET_DIR:-target}/release/tessera-bench"
say() { printf '\n=== %s\n' "$*"; }
measure() { say "$@"; "$bench" "$@"; }
measure machine "$@"
measure gemm "$@"
for preset in d512 nano base; do
    for pass in kept recomputed; do
        measure stage --preset "$preset" --pass "$pass" "$@"
    done
done
measure decode "$@"
measure muon --preset d512 "$@"
measure muon --preset base "$@"
