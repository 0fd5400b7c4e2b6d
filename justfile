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

# Slow lane: speed and memory (machine, gemm, stage, decode, muon), against the last stored results of this machine.
bench KIND="gemm" *ARGS:
    cargo run --quiet --release -p tessera-bench -- {{KIND}} {{ARGS}}

# Slow lane: every measurement, each in a fresh process; about 5 minutes. `just bench-all --store` keeps the results.
bench-all *ARGS:
    sh bench/all.sh {{ARGS}}

# Slow lane: the ledger as real processes on this machine: load, finality over impaired links, a large state; about 10 minutes.
bench-ledger *ARGS:
    cargo run --quiet --release -p tessera-bench-ledger -- ledger {{ARGS}}

# Slow lane: a stage beside PyTorch, which it downloads, for example `just peer --preset base --compile --store`.
peer *ARGS:
    python3 bench/peer_pytorch.py {{ARGS}}

# Slow lane: the arithmetic's tests on 64-bit ARM, emulated where this machine is not one. Downloads Debian packages.
neon *ARGS:
    scripts/check_neon.sh {{ARGS}}

# Slow lane: fuzz a decoder (targets: frames, ledger_tx, run_spec, stage_state). Needs `cargo install cargo-fuzz`; works on stable.
fuzz TARGET="frames" SECONDS="600":
    RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none {{TARGET}} -- -max_total_time={{SECONDS}} -max_len=4096

# Slow lane: logits, loss and every gradient against PyTorch, which it downloads.
gradients PRESET="tiny":
    python3 scripts/check_gradients_pytorch.py {{PRESET}}

# Slow lane: the software arithmetic of disputes against the processor, COUNT cases of each function.
referee COUNT="100000000" SEED="1":
    RUSTFLAGS="-C target-cpu=native" cargo run --release -p tessera-arith --example referee -- {{COUNT}} {{SEED}}
