//! Attack credits, sessions and the public lane; the attacker's net result is at most nothing, or the stated bound.

use crate::world::*;
use std::collections::BTreeSet;
use tessera_canon::{Hash, List};
use tessera_ledger::{
    Cell, CreditRules, Parameters, Params, TxError,
    action::*,
    keys,
    payword::Chain,
    query,
    record::*,
    runs::policy::{Policy, SupplyMode},
};

const FEE: i128 = 500_000;

fn world_with(rules: CreditRules) -> World {
    World::serving_run_with(10, Parameters { credits: rules, ..Parameters::from(params()) })
}
fn world() -> World {
    world_with(CreditRules::demo())
}
fn u(world: &World, of: u32) -> i128 {
    world.balance(of) as i128
}
/// Credits that `of` has or could claim.
fn cu(world: &World, of: u32) -> u64 {
    let live = |note: &Note| query::usable(world.get(), note).is_some();
    let notes: u64 =
        query::notes_of(world.get(), &public(of)).iter().filter(|note| live(note)).map(|note| note.cu).sum();
    notes + query::due_credits(world.get(), &RUN, &public(of))
}
/// A session of account `of` with `cu` of its own credits, all used and settled by the home.
fn use_own(world: &mut World, of: u32, cu: u32) {
    if query::due_credits(world.get(), &RUN, &public(of)) > 0 {
        world.ok(of, ClaimCredits { run: RUN, to: owner(of) });
    }
    let note = query::notes_of(world.get(), &public(of)).into_iter().find(|n| n.cu > cu.into()).unwrap();
    let outputs = [u64::from(cu), note.cu - u64::from(cu)].map(|cu| NoteOutput { owner: owner(of), cu });
    let receipt = world.ok(of, reshape(world.network, vec![note.id], outputs.to_vec()));
    let chain = Chain::new([cu as u8; 32], cu);
    let order = world.order(of, vec![keys::note_id(&receipt.tx, 0)], &chain);
    let (id, home) = world.lock(of, order);
    let settlement = world.settlement(id, cu, &chain);
    world.ok(home, settlement);
    world.blocks(16);
}

/// 2: one's own credits come back by one's share only, and the machines are paid.
#[test]
fn attack_2_fake_usage() {
    let mut world = world();
    let share = query::owner(world.get(), &RUN, &public(0)).unwrap().shares;
    let all = query::credits(world.get(), &RUN).unwrap().active;
    let before = (cu(&world, 0), query::lane(world.get(), &RUN).unwrap().insurance);
    let mut used = 0u64;
    for _ in 0..5 {
        use_own(&mut world, 0, 300);
        used += 300;
    }
    let after = cu(&world, 0);
    assert!(u128::from(before.0 - after) * all >= u128::from(used) * (all - share) * 9 / 10);
    assert!(after < before.0);
    // The hosts' pay left for others and the insurance.
    assert!(query::lane(world.get(), &RUN).unwrap().insurance > before.1);
}

/// 3: even a coalition of every owner, every host and the user gains no credit, and pays the insurance.
#[test]
fn attack_3_self_dealing() {
    let mut world = world();
    let coalition = 0..4;
    let sum = |world: &World| -> (i128, u64) {
        (coalition.clone().map(|i| u(world, i)).sum(), coalition.clone().map(|i| cu(world, i)).sum())
    };
    let txs = |world: &World| -> i128 {
        coalition.clone().map(|i| query::account(world.get(), &public(i)).unwrap().nonce as i128).sum()
    };
    let pot = |world: &World| query::lane(world.get(), &RUN).unwrap().public_pot;
    let (before, count, lane) = (sum(&world), txs(&world), pot(&world));
    use_own(&mut world, 0, 1_000);
    let (after, done) = (sum(&world), txs(&world) - count);
    // Besides the fees of the transactions: 2 % of 20 000 nano-U.
    assert_eq!(after.0 - before.0 + done * FEE, -400);
    // With nobody else in the public lane, what it did not give away is all that changed.
    assert!(after.1 + pot(&world) <= before.1 + lane, "{} of {}", after.1, before.1);
}

/// 4: who promises more than it has moves the supply by 1/4096 an epoch, and only if every stage does.
#[test]
fn attack_4_capacity_over_report() {
    let mut parameters = Parameters::from(params());
    parameters.policy =
        Policy { supply_mode: SupplyMode::Capacity, supply_horizon: 144, ..parameters.policy };
    let mut world = World::serving_run_with(8, parameters);
    let total = |world: &World| query::credits(world.get(), &RUN).unwrap().total;
    let huge = HostBond { run: RUN, cu: 1 << 30, bond: 10 << 30 };
    let host = |world: &World, s| world.index_of(&query::seats_of_stage(world.get(), &RUN, s)[0].account);
    let (a, b) = (host(&world, 0), host(&world, 1));
    world.ok(a, huge.clone());
    world.blocks(8);
    assert_eq!(total(&world), 10_000, "the honest stage is the weakest");
    world.ok(b, huge);
    let epochs = 40;
    world.blocks(4 * epochs);
    assert!(total(&world) <= 10_000 + 3 * epochs, "{}", total(&world));
    // Unbonded promises are refused.
    let none = world.run(a, HostBond { run: RUN, cu: 1 << 31, bond: 0 }).error.unwrap();
    assert!(matches!(none, TxError::HostBond { .. }), "{none}");
}

/// 14: an order that was overheard is worth nothing: its owner signed all of it, and gets the change.
#[test]
fn attack_14_note_theft() {
    let mut world = world();
    let note = world.note_for(6, 40);
    let chain = Chain::new([4; 32], 40);
    let thief = 7;
    let honest = world.order(6, vec![note], &chain);
    let signed = proof(6, ORDER, &honest);
    let altered = LockOrder { refund_to: owner(thief), session_key: public(thief), ..honest.clone() };
    let stolen = LockNotes { order: altered, owners: list(vec![signed.clone()]) };
    let refused = world.run(thief, stolen).error.unwrap();
    assert!(matches!(refused, TxError::NotOwner { .. }), "{refused}");
    let before = u(&world, thief);
    // Sent as it is, the thief pays for the session of another.
    let replayed = LockNotes { order: honest.clone(), owners: list(vec![signed]) };
    world.ok(thief, replayed);
    world.blocks(20);
    let change = query::note(world.get(), &keys::note_id(&honest.id(), 0)).unwrap();
    assert_eq!((change.owner, change.cu), (owner(6), 39));
    assert!(u(&world, thief) <= before - FEE);
    assert_eq!(cu(&world, thief), 0);
}

/// 15: a payword that was overheard settles nothing for a stranger, and moves no fee to a host that is not served by it.
#[test]
fn attack_15_payword_interception() {
    let mut world = world();
    let note = world.note_for(6, 40);
    let chain = Chain::new([4; 32], 40);
    let order = world.order(6, vec![note], &chain);
    let (id, home) = world.lock(6, order);
    let settlement = world.settlement(id, 5, &chain);
    let before = u(&world, 7);
    let refused = world.run(7, settlement.clone()).error.unwrap();
    assert!(matches!(refused, TxError::Role { .. }), "{refused}");
    world.ok(home, settlement);
    // The other host of stage 1 overhears word 6 and names itself.
    let rival = world.index_of(&query::seats_of_stage(world.get(), &RUN, 1)[1].account);
    let rivals = u(&world, rival);
    let legs = list(vec![Leg { attempt: 0, hosts: list(vec![public(home), public(rival)]) }]);
    let raise = RaiseSettle { order: id, chunks: 6, payword: chain.word(6).unwrap(), legs, route: None };
    world.ok(rival, raise);
    world.blocks(8);
    // The chunk counts, as the client agreed to it; the pay goes where the home said.
    assert!(u(&world, rival) <= rivals - FEE);
    assert_eq!(u(&world, 7), before - FEE);
}

/// 16: a host that takes a payword and returns nothing has one chunk's fee, and the client stops.
#[test]
fn attack_16_payword_taken_nothing_returned() {
    let mut world = world();
    let note = world.note_for(6, 40);
    let chain = Chain::new([4; 32], 40);
    let order = world.order(6, vec![note], &chain);
    let (id, home) = world.lock(6, order);
    let before = u(&world, home);
    // One word was revealed; the second cannot be made from it.
    let forged = SettleSession { payword: chain.word(1).unwrap(), ..world.settlement(id, 2, &chain) };
    assert_eq!(world.run(home, forged).error, Some(TxError::Payword { chunks: 2 }));
    let settlement = world.settlement(id, 1, &chain);
    world.ok(home, settlement);
    world.blocks(8);
    assert!(u(&world, home) - before + 2 * FEE <= 10, "at most one chunk of its stage");
    assert_eq!(query::note(world.get(), &keys::note_id(&id, 0)).unwrap().cu, 39);
}

/// 17: a client that leaves after the prompt was read has paid for it: its paywords came first.
#[test]
fn attack_17_prefill_drained() {
    let mut world = world();
    let note = world.note_for(6, 40);
    let chain = Chain::new([4; 32], 40);
    let order = world.order(6, vec![note], &chain);
    let before = (u(&world, 6), cu(&world, 6));
    let (id, home) = world.lock(6, order);
    let (host, hosts) = (home, u(&world, home));
    let settlement = world.settlement(id, 8, &chain);
    world.ok(home, settlement);
    world.blocks(8);
    assert_eq!(u(&world, 6), before.0 - FEE - 160);
    assert_eq!(cu(&world, 6), before.1 - 8);
    assert_eq!(u(&world, host) - hosts + FEE, 78, "80 less 2 %, and dust");
}

/// 18: locking without opening costs a credit and a transaction each time, for a bounded span.
#[test]
fn attack_18_lock_griefing() {
    let mut world = world();
    let chain = Chain::new([4; 32], 10);
    let start = u(&world, 6);
    let rounds = 5;
    let mut held = 10;
    let mut note = world.note_for(6, held);
    for _ in 0..rounds {
        let endless = LockOrder { open_until: world.height + 1_000, ..world.order(6, vec![note], &chain) };
        let refused = world.run(6, LockNotes { order: endless, owners: List::default() }).error.unwrap();
        assert!(matches!(refused, TxError::OpenUntil { .. }), "{refused}");
        let order = world.order(6, vec![note], &chain);
        note = keys::note_id(&order.id(), 0);
        world.ok(6, LockNotes { order, owners: List::default() });
        world.blocks(20);
        held -= 1;
        assert_eq!(query::note(world.get(), &note).unwrap().cu, held);
    }
    assert_eq!(u(&world, 6), start - 2 * rounds * FEE);
}

/// 19: the client chooses neither its home nor, by asking again, the one it wants.
#[test]
fn attack_19_home_bias() {
    let mut world = world();
    let note = world.note_for(6, 10);
    let chain = Chain::new([4; 32], 10);
    // Whatever the salt, the home is the same, since only a later beacon and the note decide.
    let mut homes = BTreeSet::new();
    for salt in 0..16 {
        let mut world = world.clone();
        let order = LockOrder { salt, ..world.order(6, vec![note], &chain) };
        homes.insert(world.lock(6, order).1);
    }
    assert_eq!(homes.len(), 1);
    // While it waits, nothing in the state names the home.
    let order = LockOrder { open_until: world.height + 39, ..world.order(6, vec![note], &chain) };
    let id = order.id();
    world.ok(6, LockNotes { order, owners: List::default() });
    assert_eq!(query::lock(world.get(), &id).unwrap().home, Default::default());
    world.blocks(1);
    // Asking again is slow and ends: four homes at most.
    for attempt in 1..4 {
        world.blocks(5);
        let request = FailoverRequest { network: world.network, order: id, attempt, j_start: 0 };
        let before = query::lock(world.get(), &id).unwrap().home;
        world.ok(6, Failover { signature: key(6).sign(FAILOVER, &request), request });
        world.blocks(1);
        assert_ne!(query::lock(world.get(), &id).unwrap().home, before);
    }
    world.blocks(5);
    let request = FailoverRequest { network: world.network, order: id, attempt: 4, j_start: 0 };
    let refused = world.run(6, Failover { signature: key(6).sign(FAILOVER, &request), request }).error;
    assert_eq!(refused, Some(TxError::Attempt { expected: 4, most: 4, got: 4 }));
}

/// 22: who holds all credits pays a tenth of them for each series to those who have shares; waiting for an outage
/// does not help him; the public lane takes its part of what he pays.
#[test]
fn attack_22_cornered_market() {
    let mut world = world_with(CreditRules { series_epochs: 10, ..CreditRules::demo() });
    let cornerer = 6;
    // Every owner claims, and the cornerer has it all.
    for i in 0..4 {
        if query::due_credits(world.get(), &RUN, &public(i)) > 0 {
            world.ok(i, ClaimCredits { run: RUN, to: owner(cornerer) });
        }
    }
    let mut held = cu(&world, cornerer);
    assert!(held > 9_900, "{held}");
    let start = query::lane(world.get(), &RUN).unwrap().public_cut;
    for series in 1..4u16 {
        // Nothing is settled by anybody, and the clock goes on.
        while query::credits(world.get(), &RUN).unwrap().series < series {
            world.blocks(1);
        }
        for note in query::notes_of(world.get(), &public(cornerer)) {
            if note.series + 1 == series {
                world.ok(cornerer, RollNote { note: note.id });
            }
        }
        let now = cu(&world, cornerer);
        assert!(now <= held - held / 10, "{now} of {held}");
        held = now;
    }
    world.blocks(8);
    let cut = query::lane(world.get(), &RUN).unwrap().public_cut - start;
    let owners: u64 = (0..4).map(|i| cu(&world, i)).sum();
    assert!(cut * 10_000 >= (owners + cut) * 200, "{cut} {owners}");
}

/// 24: many keys cost a fee each and gain at most what the lane gives an epoch; what they gain cannot be passed on.
#[test]
fn attack_24_public_lane_farming() {
    let mut world = world();
    let farmer = 6;
    let start = u(&world, farmer);
    let keys: u32 = 40;
    while query::lane(world.get(), &RUN).unwrap().public_pot < 16 {
        use_own(&mut world, 0, 400);
        if query::lane(world.get(), &RUN).unwrap().public_pot >= 16 {
            break;
        }
        // Half of the lane's part at least is there in the block after a boundary.
        if query::lane(world.get(), &RUN).unwrap().public_cut > 20 {
            break;
        }
    }
    let before = query::lane(world.get(), &RUN).unwrap().public_cut;
    let pot = query::lane(world.get(), &RUN).unwrap().public_pot;
    for round in 0..keys / 8 {
        let txs: Vec<_> = (0..8)
            .map(|i| world.tx(farmer, PublicApply { run: RUN, owner: owner(2_000 + round * 8 + i) }))
            .collect();
        assert!(world.block(&txs).receipts.iter().all(|receipt| receipt.ok()));
    }
    world.blocks(8);
    let won: u64 =
        (0..keys).flat_map(|i| query::notes_of(world.get(), &public(2_000 + i))).map(|note| note.cu).sum();
    let cut = query::lane(world.get(), &RUN).unwrap().public_cut - before;
    assert!(won <= pot + cut, "{won} of {pot} and {cut}");
    // Deposits came back; every key cost a transaction.
    assert_eq!(u(&world, farmer), start - i128::from(keys) * FEE);
    for i in 0..keys {
        assert!(
            query::notes_of(world.get(), &public(2_000 + i)).iter().all(|note| note.flags & Note::BOUND != 0)
        );
    }
}

/// The fund's subsidy follows the posted fee: stating a higher limit draws nothing more from it.
#[test]
fn subsidised_sessions_do_not_drain_the_fund() {
    let base = Params { fee_to_fund: true, ..params() };
    let mut world = World::serving_run_with(10, Parameters::from(base));
    let fund = world.fund();
    // A note of the public lane, as the lottery makes it.
    let note = world.note_for(6, 16);
    let mut cell = query::note(world.get(), &note).unwrap();
    cell.flags = Note::BOUND | Note::PUBLIC;
    world.state.0.insert(keys::note(&note), Cell::pack(&cell.into()));
    let chain = Chain::new([4; 32], 16);
    let order = LockOrder { fee_per_cu: 1_000_000, ..world.order(6, vec![note], &chain) };
    let fees = |world: &World| world.fund() - fund;
    let before = fees(&world);
    world.ok(6, LockNotes { order: order.clone(), owners: List::default() });
    // Half of 16 x 20.
    assert_eq!(fees(&world), before + FEE as u128 - 160);
    world.blocks(20);
    assert_eq!(fees(&world), before + FEE as u128, "unused, it came back whole");
    assert_eq!(query::escrow(world.get(), &order.id()).unwrap().held, 0);
    assert_ne!(order.id(), Hash::ZERO);
}
