# Everyday commands; `just check` is what to run before a commit.

# Format, lints, docs and tests, cheap first.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
    cargo nextest run --workspace
    cargo test --workspace --doc

# What runs on a clean checkout.
ci:
    bash .ci/run

# The committed bits on every instruction set and thread count, without optimisation and with.
conformance:
    cargo run --profile plain -p tessera-arith --example conformance
    cargo run --release -p tessera-arith --example conformance

# The whole system on this machine.
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# Licences, sources and advisories of all dependencies.
deny:
    cargo deny check

# Slow lane: many seeds of swarms in virtual time with random kills.
seeds COUNT="200":
    TESSERA_SEEDS={{COUNT}} cargo nextest run -p tessera-sim random_kills

# Slow lane: matrix product speed of this machine.
gemm:
    cargo run --release -p tessera-arith --example gemm_speed

# Slow lane: fuzz a decoder (targets: frames, ledger_tx, run_spec, stage_state). Needs `cargo install cargo-fuzz`; works on stable.
fuzz TARGET="frames" SECONDS="600":
    RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none {{TARGET}} -- -max_total_time={{SECONDS}} -max_len=4096

# Slow lane: logits, loss and every gradient against PyTorch, which it downloads.
gradients PRESET="tiny":
    python3 scripts/check_gradients_pytorch.py {{PRESET}}
