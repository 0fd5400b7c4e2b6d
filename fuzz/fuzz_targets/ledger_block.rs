//! Run blocks of arbitrary transactions on a small state: no panic, every invariant holds after each block, and the
//! same blocks give the same state.
//!
//! Actions are decoded from the input. The hashes and keys in them are replaced by such that stand in the state, and
//! signatures by true ones, because random ones would be refused at the first look; a part is left as it came.
#![no_main]

#[path = "../../crates/ledger/tests/world/mod.rs"]
mod world;

use bytes::{Buf as _, Bytes};
use libfuzzer_sys::fuzz_target;
use std::{collections::BTreeSet, sync::LazyLock};
use tessera_canon::{Describe as _, Hash, codec::Read as _, decode, digest, encode};
use tessera_ledger::{Action, action::*, invariants, payword::Chain, query, record::*};
use world::{RUN, World, join, list, market, owner, public};

/// A state and the names that stand in it.
struct Start {
    world: World,
    names: Vec<Hash>,
}

fn names(world: &World) -> Vec<Hash> {
    let mut found = BTreeSet::new();
    for cell in world.state.0.values() {
        let Some(record) = cell.unpack() else { continue };
        // Upkeep of lists names nothing that an action could.
        if !matches!(record, Record::ListLength(_) | Record::ListSlot(_) | Record::ListPosition(_)) {
            found.extend(record.describe().hashes());
        }
    }
    let fixed = [RUN, RUN, world.network, Hash::ZERO].into_iter().chain((0..6).map(|i| Hash(public(i).0)));
    fixed.chain(found.into_iter().take(200)).collect()
}

static STARTS: LazyLock<Vec<Start>> = LazyLock::new(|| {
    let mut training = World::new(6, world::params());
    training.seated_run(RUN, 2, 4);
    training.close_window(RUN, 10_000_000);
    training.ok(5, join(RUN, 5));
    let mut serving = World::serving_run(6);
    let note = serving.note_for(4, 20);
    serving.note_for(5, 30);
    let order = serving.order(4, vec![note], &Chain::new([1; 32], 20));
    serving.ok(4, LockNotes { order, owners: list(vec![]) });
    let mut trading = World::trained_run(6, market::free_shares(world::params()), 1000, 2);
    trading.blocks(12);
    trading.ok(0, TransferShares { run: RUN, to: public(1), amount: 1 << 20 });
    trading.ok(0, AutoSellWrap { run: RUN, amount: 1 << 20 });
    trading.ok(0, ClaimCredits { run: RUN, to: owner(0) });
    let wanted = [market::bid(2, 50, 10), market::ask_shares(1, 1, 1 << 10)];
    trading.put_in(&market::shares_of(RUN), &wanted);
    let worlds = [training, serving, trading];
    worlds.into_iter().map(|world| Start { names: names(&world), world }).collect()
});

/// Replace what `action` names by what stands in the state.
fn rename(action: Action, names: &[Hash]) -> Action {
    let mut bytes = encode(&action).to_vec();
    for hash in action.describe().hashes() {
        // A quarter stays as it came.
        if hash.0[1] >= 192 {
            continue;
        }
        let name = names[usize::from(u16::from_be_bytes([hash.0[0], hash.0[2]])) % names.len()];
        if let Some(at) = bytes.windows(32).position(|window| window == hash.0) {
            bytes[at..at + 32].copy_from_slice(&name.0);
        }
    }
    decode(&bytes).unwrap_or(action)
}

/// Sign what is signed inside of `action`, so that it is not refused for that.
fn endorse(world: &World, sender: u32, action: &mut Action) {
    let network = world.network;
    let account = public(sender);
    match action {
        Action::RotateKey(rotate) => {
            let key = world::key(u32::from(rotate.key.0[0] % 12));
            rotate.key = key.public();
            rotate.signature = key.sign(ROTATION, &Rotation { network, account, key: rotate.key });
        }
        Action::ValidatorBond(bond) => {
            let key = world::key(1000 + u32::from(bond.key.0[0] % 3));
            bond.key = key.public();
            bond.signature = key.sign(BONDING, &Bonding { network, account, key: bond.key });
        }
        Action::DeclareOperator(declare) => {
            let key = world::key(u32::from(declare.operator.0[0] % 6));
            declare.operator = key.public();
            let affiliated = Affiliated { network, run: declare.run, account, operator: declare.operator };
            declare.signature = key.sign(AFFILIATED, &affiliated);
        }
        Action::ReportWindow(report) => {
            report.report.network = network;
            report.report.run = RUN;
            report.report.stage %= 3;
            let seats = query::seats_of_stage(world.get(), &RUN, report.report.stage);
            let known = |seat: &Seat| (0..6).any(|index| public(index) == seat.account);
            if seats.iter().all(known) {
                *report = world.sign_report(report.report.clone(), &seats);
            }
        }
        Action::Reshape(reshape) => reshape.reshaping.network = network,
        Action::LockNotes(lock) => lock.order.network = network,
        Action::EvalCommit(commit) => {
            let (run, window) = (commit.run, commit.window);
            let loss = u32::from(commit.hash.0[0]);
            commit.hash =
                digest(EVALUATED, &Evaluated { network, run, window, account, loss, salt: Hash::ZERO });
        }
        _ => {}
    }
}

/// The next action of the input; bytes that are none are skipped.
fn next(bytes: &mut &[u8]) -> Option<Action> {
    while !bytes.is_empty() {
        let mut padded = Bytes::from([*bytes, &[1; 512]].concat());
        let whole = padded.remaining();
        match Action::read_cfg(&mut padded, &()) {
            Ok(action) => {
                let used = (whole - padded.remaining()).min(bytes.len());
                *bytes = &bytes[used..];
                return Some(action);
            }
            Err(_) => *bytes = &bytes[1..],
        }
    }
    None
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, mut rest)) = bytes.split_first() else { return };
    let start = &STARTS[usize::from(*first) % STARTS.len()];
    let (mut world, mut names, mut blocks) = (start.world.clone(), start.names.clone(), Vec::new());
    // Four blocks at most, of sixteen transactions at most, with some empty ones after each.
    for _ in 0..4 {
        let Some((head, more)) = rest.split_first() else { break };
        rest = more;
        let mut txs = Vec::new();
        for _ in 0..=(head & 15) {
            let Some((sender, more)) = rest.split_first() else { break };
            rest = more;
            let Some(action) = next(&mut rest) else { break };
            let sender = u32::from(*sender % 6);
            let mut action = rename(action, &names);
            endorse(&world, sender, &mut action);
            txs.push(world.tx(sender, action));
        }
        // Panics if an invariant is broken.
        let outcome = world.block(&txs);
        names.extend(outcome.receipts.iter().map(|receipt| receipt.tx));
        blocks.push(txs);
        for _ in 0..(head >> 4) {
            world.block(&[]);
            blocks.push(vec![]);
        }
    }
    let mut again = start.world.clone();
    for txs in &blocks {
        again.height += 1;
        again.state.run_block_with(again.context(), again.referee.clone(), txs);
    }
    assert_eq!(again.state, world.state);
    invariants::check(&world.state).expect("checked after every block");
});
