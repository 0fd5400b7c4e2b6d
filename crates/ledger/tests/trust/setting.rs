//! Set up a run of one stage with many seats, and play disputes in it.
#![allow(dead_code, unreachable_pub)] // each module and binary uses its own part

use crate::{
    machine::{Account, MachineReferee, name, said},
    world::*,
};
use std::sync::Arc;
use tessera_canon::{Hash, MerkleTree};
use tessera_ledger::{
    Cell, TxError,
    action::*,
    genesis::{Parameters, Params},
    keys, query,
    record::{Claim, Dispute, DisputePhase},
    runs::policy::{Bounds, Policy},
    trust::{TrustParams, kind::Kind},
};

pub const STEP: u64 = 6;
pub const BOND: u128 = 5_000_000;

pub fn trust_params() -> TrustParams {
    TrustParams {
        step_blocks: STEP,
        commit_blocks: 3,
        reveal_blocks: 3,
        slash_floor: 1_000_000,
        first_units: 2,
        forgive_windows: 10,
        watch_windows: 5,
        serving_lock: 2,
        evidence_windows: 1000,
        ..TrustParams::demo()
    }
}
pub fn parameters() -> Parameters {
    Parameters {
        base: Params { lapse_blocks: 1_000_000, ..params() },
        policy: Policy {
            pending_windows: 3,
            transfer_lock: 8,
            audit_rate: 50,
            work_price: 1_000,
            theta: 0,
            ..Policy::default()
        },
        bounds: Bounds { pending_windows_from: 1, deterrence: false, ..Bounds::default() },
        trust: trust_params(),
        ..Parameters::demo()
    }
}
/// A run of one stage, 20 windows of 12 microbatches of 10 wu, all of `seats` designers seated.
pub fn start_with(seats: u32, parameters: Parameters) -> World {
    let mut world = World::new(seats + 3, parameters);
    world.referee = Arc::new(MachineReferee);
    let mut create = create_run(RUN, 1, seats);
    create.seats = 20;
    create.steps = 40;
    create.f_star = 2400;
    create.f_min = 48;
    create.f_exclusive = 120;
    world.ok(0, create);
    let joins: Vec<_> = (0..seats).map(|i| world.tx(i, join(RUN, i))).collect();
    world.block(&joins);
    world.blocks(1);
    world
}
pub fn start(seats: u32) -> World {
    start_with(seats, parameters())
}

/// The claim of account `of` in `window`.
pub fn claim(world: &World, window: u32, of: u32) -> (u16, Claim) {
    let claims = query::claims_of_stage(world.get(), &RUN, window, 0);
    let at = claims.iter().position(|claim| claim.account == public(of)).expect("it worked");
    (at as u16, claims[at].clone())
}
pub fn claim_key(world: &World, window: u32, of: u32) -> Hash {
    keys::claim(&RUN, window, 0, claim(world, window, of).0)
}
/// Move `amount` from an account's balance into its bond.
pub fn give_bond(world: &mut World, of: u32, amount: u128) {
    let key = keys::account(&public(of));
    let mut account = query::account(world.get(), &public(of)).expect("funded");
    account.balance -= amount;
    world.state.0.insert(key, Cell::pack(&account.into()));
    let mut member = query::member(world.get(), &RUN, &public(of)).expect("a member");
    member.bond += amount;
    world.state.0.insert(keys::member(&RUN, &public(of)), Cell::pack(&member.into()));
}
pub fn bond_of(world: &World, of: u32) -> u128 {
    query::member(world.get(), &RUN, &public(of)).map_or(0, |member| member.bond)
}

/// What `told` makes an accusation against account `of` about its work in `window`.
pub fn accusation(world: &World, window: u32, of: u32, told: &Account) -> Accusation {
    accusation_of(world, window, of, told, (0, 0))
}
/// The same about work of a generation and step.
pub fn accusation_of(
    world: &World,
    window: u32,
    of: u32,
    told: &Account,
    (generation, step): (u32, u64),
) -> Accusation {
    let evidence = told.evidence();
    let tree = MerkleTree::new(vec![Hash([5; 32]), evidence, Hash([6; 32])]);
    let statement = Statement {
        network: world.network,
        run: RUN,
        window,
        stage: 0,
        account: public(of),
        generation,
        step,
        root: tree.root(),
        rest: Hash::ZERO,
    };
    Accusation {
        kind: Kind::Dot,
        evidence,
        path: tree.path(1).expect("it is there"),
        generation,
        step,
        root: tree.root(),
        rest: Hash::ZERO,
        signature: key(of).sign(STATEMENT, &statement),
    }
}
pub fn open(world: &World, window: u32, of: u32, told: Option<&Account>) -> OpenDispute {
    OpenDispute {
        run: RUN,
        window,
        stage: 0,
        index: claim(world, window, of).0,
        bond: BOND,
        accusation: told.map(|told| accusation(world, window, of, told)),
    }
}
pub fn dispute(world: &World, id: &Hash) -> Option<Dispute> {
    query::dispute(world.get(), id)
}
pub fn step(dispute: Hash, step: impl Into<Step>) -> DisputeStep {
    DisputeStep { dispute, step: step.into() }
}

/// Play an open dispute to its end; `truth` chooses for the challenger, or `random` does. Returns the refusal of the
/// proof, if any.
pub fn play(
    world: &mut World,
    id: Hash,
    told: &Account,
    mut choose: impl FnMut(&[usize], &[Hash]) -> usize,
) -> Option<TxError> {
    let mut path: Vec<usize> = Vec::new();
    loop {
        let now = dispute(world, &id).expect("it is open");
        let (accused, challenger) = (world.index_of(&now.accused), world.index_of(&now.challenger));
        if now.phase == DisputePhase::Prove {
            return world.run(accused, step(id, told.prove(&path))).error;
        }
        let committed = told.commit(&path);
        world.ok(accused, step(id, committed.clone()));
        let at = choose(&path, &said(&committed, path.len()));
        world.ok(challenger, step(id, name(&committed, path.len(), at)));
        path.push(at);
    }
}
/// Dispute the work of `of` in `window` and play it with an honest challenger.
pub fn convict(world: &mut World, challenger: u32, window: u32, of: u32, told: &Account) {
    convict_of(world, challenger, window, of, told, (0, 0));
}
/// The same about work of a generation and step.
pub fn convict_of(
    world: &mut World,
    challenger: u32,
    window: u32,
    of: u32,
    told: &Account,
    work: (u32, u64),
) {
    let id = claim_key(world, window, of);
    let mut open = open(world, window, of, None);
    open.accusation = Some(accusation_of(world, window, of, told, work));
    world.ok(challenger, open);
    let truth = Account::honest();
    let refused = play(world, id, told, |path, said| truth.first_false(path, said));
    if refused.is_some() {
        while dispute(world, &id).is_some() {
            world.blocks(1);
        }
    }
    assert!(dispute(world, &id).is_none(), "it is over");
}
/// A false account of what the program did.
pub fn a_lie(seed: u8) -> Account {
    let mut random = tessera_canon::Prf::new(tessera_canon::Domain::new("tessera/test/lie/v1"), &[seed]);
    Account::lie(&mut random)
}
/// A lie whose input stays true, so that its proof is taken.
pub fn a_plain_lie() -> Account {
    let mut told = Account::honest();
    let last = told.trace.len() - 1;
    told.trace[last][3] ^= 8;
    told.claimed = told.trace[last];
    told
}
