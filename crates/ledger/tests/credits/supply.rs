//! Let the supply follow what hosts bonded, a little each epoch, and never touch notes in hands.

use crate::world::*;
use tessera_canon::{Domain, Prf};
use tessera_ledger::{
    Parameters,
    action::*,
    query,
    record::*,
    runs::policy::{Policy, SupplyMode},
    supply,
};

#[test]
fn a_step_is_bounded_up_and_down() {
    assert_eq!(supply::step(1_000_000, 500, 2_000_000), (244, 0));
    assert_eq!(supply::step(1_000_000, 500, 1_000_100), (100, 0));
    assert_eq!(supply::step(1_000_000, 500, 1_000_000), (0, 0));
    assert_eq!(supply::step(1_000_000, 500, 0), (0, 125));
    assert_eq!(supply::step(1_000_000, 500, 999_990), (0, 10));
    assert_eq!(supply::step(1_000_000, 0, 0), (0, 0));
    assert_eq!(supply::target(1_000, 1008), 806_400);
    assert_eq!(supply::target(u64::MAX, u32::MAX), supply::MOST_SUPPLY);
    let mut random = Prf::new(Domain::new("tessera/test/supply/v1"), b"step");
    for _ in 0..100_000 {
        let total = random.below(supply::MOST_SUPPLY);
        let (pool, target) = (random.below(total + 1), random.below(supply::MOST_SUPPLY));
        let (more, less) = supply::step(total, pool, target);
        assert!(more == 0 || less == 0);
        assert!(more <= total / 4096 && total + more <= target.max(total));
        assert!(less <= pool / 4 && total - less >= target.min(total));
    }
}

/// 10 000 credits, then as the policy says.
fn world(mode: SupplyMode) -> World {
    let mut parameters = Parameters::from(params());
    parameters.policy = Policy { supply_mode: mode, supply_horizon: 144, ..parameters.policy };
    World::serving_run_with(8, parameters)
}
fn total(world: &World) -> u64 {
    query::credits(world.get(), &RUN).unwrap().total
}

#[test]
fn a_constant_supply_stays() {
    let mut world = world(SupplyMode::Constant);
    world.ok(0, HostBond { run: RUN, cu: 1_000_000, bond: 10_000_000 });
    world.blocks(40);
    assert_eq!(total(&world), 10_000);
}

#[test]
fn a_supply_by_capacity_follows_the_weakest_stage() {
    let mut world = world(SupplyMode::Capacity);
    // Nothing bonded: the target is 0, but all credits are in hands and the pool is empty.
    world.blocks(8);
    assert_eq!(total(&world), 10_000);
    let host = |world: &World, stage: u16, at: usize| {
        world.index_of(&query::seats_of_stage(world.get(), &RUN, stage)[at].account)
    };
    let (a, b, c) = (host(&world, 0, 0), host(&world, 1, 0), host(&world, 1, 1));
    world.ok(a, HostBond { run: RUN, cu: 1_000_000, bond: 10_000_000 });
    world.blocks(8);
    assert_eq!(total(&world), 10_000, "the other stage has nothing");
    for (sender, cu) in [(b, 40), (c, 47)] {
        world.ok(sender, HostBond { run: RUN, cu, bond: u128::from(cu) * 10 });
    }
    assert_eq!(query::capacity(world.get(), &RUN, 1).unwrap().cu, 87);
    // The target is 0.8 x 87 x 144 = 10 022: two credits (10 000 / 4096) an epoch, and no further.
    let mut before = total(&world);
    for _ in 0..20 {
        world.blocks(4);
        let now = total(&world);
        assert!(now - before <= 2 && now <= 10_022, "{now}");
        before = now;
    }
    assert_eq!(before, 10_022);
    // One host leaves: the target halves; only what is in the pool at a boundary can be retired.
    world.ok(c, HostExit { run: RUN });
    world.blocks(20);
    assert_eq!(total(&world), 10_022);
    let note = world.note_for(5, 400);
    let chain = tessera_ledger::payword::Chain::new([9; 32], 400);
    let order = world.order(5, vec![note], &chain);
    let (id, home) = world.lock(5, order);
    let settlement = world.settlement(id, 400, &chain);
    world.ok(home, settlement);
    world.blocks(8);
    // 400 came back and a quarter of them was retired; what the public lane left in the pool as well.
    let retired = 10_022 - total(&world);
    assert!((100..=106).contains(&retired), "{retired}");
    let run = query::run(world.get(), &RUN).unwrap();
    assert_eq!(run.state, RunState::Serving);
}
