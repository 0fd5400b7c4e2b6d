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

# Rewrite the committed tables of formats and rules after a change that is meant; then look at the difference.
formats:
    TESSERA_REWRITE=1 cargo nextest run -p tessera-canon -p tessera-ledger --no-fail-fast formats_have_not_changed of_this_crate rules_have_not_changed
    TESSERA_REWRITE=1 cargo nextest run -p tessera-chain formats_have_not_changed
    TESSERA_REWRITE=1 cargo nextest run -p tessera-wire formats_have_not_changed

# Slow lane: votes against whole states of the past, over COUNT random histories.
votes COUNT="200":
    TESSERA_SEEDS={{COUNT}} cargo nextest run -p tessera-ledger every_vote_counts

# Slow lane: random books through the auction.
books COUNT="40000":
    TESSERA_BOOKS={{COUNT}} cargo nextest run -p tessera-ledger --no-capture random_books

# Slow lane: TXS random transactions of every kind over four histories of the ledger, every invariant after each block.
histories TXS="100000":
    TESSERA_TXS={{TXS}} cargo nextest run -p tessera-ledger --no-capture every_invariant_holds

# Slow lane: what a coalition had to contribute until it covered a run's stages, beside the report's formula.
extraction HISTORIES="4":
    cargo run --release -p tessera-ledger --example extraction -- {{HISTORIES}}

# Slow lane: GAMES disputes about units of work against somebody who does whatever the ledger takes.
disputes GAMES="100000":
    TESSERA_DISPUTES={{GAMES}} cargo nextest run -p tessera-dispute --no-capture the_honest_side_wins

# Slow lane: the test vectors of risk weights, made anew.
weight-vectors:
    python3 scripts/make_weight_vectors.py

# Slow lane: many seeds of validators in virtual time with crashes, loss, partitions, bad disks and liars.
ledger-seeds COUNT="200":
    TESSERA_SEEDS={{COUNT}} cargo nextest run -p tessera-validator --test virtual_time chaos --no-capture

# Slow lane: sizes and times of what a light client verifies in a state of CELLS cells; 2.4 GB of memory for each million.
proofs CELLS="2000000":
    TESSERA_CELLS={{CELLS}} cargo nextest run -p tessera-client --test light --no-capture sizes_and_times

# Slow lane: kill real validators with `kill -9` at random moments; nothing final may be lost.
ledger-kills COUNT="50" SEED="1":
    TESSERA_KILLS={{COUNT}} TESSERA_SEED={{SEED}} cargo nextest run -p tessera-cli --test kills --no-capture

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

# Slow lane: fuzz a decoder (targets: frames, rpc, ledger_tx, ledger_cells, ledger_block, http_query, dispute_proof, run_spec, stage_state). Needs `cargo install cargo-fuzz`; works on stable.
fuzz TARGET="frames" SECONDS="600":
    RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none {{TARGET}} -- -max_total_time={{SECONDS}} -max_len=4096

# Slow lane: logits, loss and every gradient against PyTorch, which it downloads.
gradients PRESET="tiny":
    python3 scripts/check_gradients_pytorch.py {{PRESET}}

# Slow lane: the software arithmetic of disputes against the processor, COUNT cases of each function.
referee COUNT="100000000" SEED="1":
    RUSTFLAGS="-C target-cpu=native" cargo run --release -p tessera-arith --example referee -- {{COUNT}} {{SEED}}

# Slow lane: dispute games of a small machine, and random histories of disputes and audits.
ledger-disputes GAMES="100000" TXS="100000":
    TESSERA_GAMES={{GAMES}} TESSERA_TRUST_TXS={{TXS}} cargo nextest run -p tessera-ledger --no-capture games histories_of_disputes

# Slow lane: long histories of credits from the reference model, replayed through the ledger.
credit-oracle HISTORIES="400" STEPS="400":
    mkdir -p target/credit-oracle
    python3 scripts/make_credit_fixtures.py target/credit-oracle {{HISTORIES}} {{STEPS}}
    TESSERA_CREDIT_FIXTURES="$PWD/target/credit-oracle" cargo nextest run -p tessera-ledger --lib oracle

# Slow lane: every row of the attack catalogue with TRIALS cheats each, as the table docs/attacks.md.
attacks TRIALS="100":
    rm -rf target/attacks && mkdir -p target/attacks
    TESSERA_TRIALS={{TRIALS}} TESSERA_TABLE="$PWD/target/attacks" cargo nextest run -p tessera-audit --test attacks
    cat scripts/attacks_head.md target/attacks/* > docs/attacks.md

# Slow lane: UNITS honest units, each computed as a worker does and as an auditor does.
honest-units UNITS="10000":
    TESSERA_UNITS={{UNITS}} cargo nextest run -p tessera-audit --test reexec --no-capture honest_units
