//! Auction hosts' capacity: who may ask, what the stage is paid, how the owners' cap holds.

use crate::world::{market::*, *};
use tessera_ledger::{Policy, TxError, action::*, query};

/// Two stages of two hosts; 10 080 credits over a horizon of 1008 epochs need capacity for 10 an epoch.
fn hosts() -> (World, Vec<u32>) {
    let mut world = World::new(7, free_shares(params()));
    world.ok(0, CreateRun { supply: 10_080, supply_epochs: 1, ..create_run(RUN, 2, 4) });
    for i in 0..4 {
        world.ok(i, join(RUN, i));
    }
    world.blocks(1);
    for _ in 0..4 {
        world.close_window(RUN, 5_000_000);
    }
    world.next_boundary();
    let seats = query::seats_of_stage(world.get(), &RUN, 0);
    let first: Vec<u32> = seats.iter().map(|seat| world.index_of(&seat.account)).collect();
    for host in &first {
        world.ok(*host, HostBond { run: RUN, cu: 10, bond: 100 });
    }
    (world, first)
}
fn ask(price: u128, capacity: u64) -> HostAsk {
    HostAsk { run: RUN, stage: 0, price, capacity }
}
/// Blocks up to the boundary of the next auction: every 4 epochs of 4 blocks.
fn to_auction(world: &mut World) {
    world.blocks(16 - world.height % 16);
}

#[test]
fn a_stage_is_paid_the_last_ask_that_is_needed() {
    let (mut world, hosts) = hosts();
    to_auction(&mut world);
    let price = |world: &World| query::stage_price(world.get(), &RUN, 0).map(|stage| stage.price);
    assert_eq!(price(&world), None);
    world.ok(hosts[0], ask(900, 1));
    // A later ask replaces an earlier one.
    world.ok(hosts[0], ask(300, 6));
    world.ok(hosts[1], ask(500, 4));
    to_auction(&mut world);
    assert_eq!(price(&world), Some(500));
    // The cheap host alone has enough; the other is paid as much.
    world.ok(hosts[0], ask(300, 10));
    world.ok(hosts[1], ask(500, 4));
    to_auction(&mut world);
    assert_eq!(price(&world), Some(300));
    // Without asks the price stays; too little capacity is paid the dearest ask, not the cap.
    to_auction(&mut world);
    assert_eq!(price(&world), Some(300));
    world.ok(hosts[1], ask(700, 2));
    to_auction(&mut world);
    assert_eq!(price(&world), Some(700));
    assert_eq!(query::stage_price(world.get(), &RUN, 1), None);
}

#[test]
fn an_ask_counts_as_far_as_its_bond_still_covers_it() {
    let (mut world, hosts) = hosts();
    to_auction(&mut world);
    world.ok(hosts[0], ask(300, 10));
    world.ok(hosts[1], ask(500, 10));
    // It promises less from now on: 4 of the 10 that are needed, and the dearer host is needed too.
    world.ok(hosts[0], HostBond { run: RUN, cu: 4, bond: 0 });
    to_auction(&mut world);
    assert_eq!(query::stage_price(world.get(), &RUN, 0).map(|stage| stage.price), Some(500));
    world.ok(hosts[0], ask(300, 4));
    world.ok(hosts[1], ask(500, 10));
    world.ok(hosts[1], HostExit { run: RUN });
    to_auction(&mut world);
    assert_eq!(query::stage_price(world.get(), &RUN, 0).map(|stage| stage.price), Some(300));
}

#[test]
fn only_hosts_of_the_stage_ask_within_the_cap() {
    let (mut world, hosts) = hosts();
    let cap = Policy::default().host_fee_cap;
    assert_eq!(world.run(hosts[0], ask(cap + 1, 1)).error, Some(TxError::Cap { most: cap, got: cap + 1 }));
    assert!(matches!(world.run(6, ask(1, 1)).error, Some(TxError::NotMember { .. })));
    let elsewhere = HostAsk { stage: 1, ..ask(1, 1) };
    assert!(matches!(world.run(hosts[0], elsewhere).error, Some(TxError::NotMember { .. })));
    assert!(matches!(world.run(hosts[0], ask(1, 0)).error, Some(TxError::Parameter { .. })));
    // At 10 nano-U a credit, a bond of 100 covers 10.
    let error = world.run(hosts[0], ask(1, 11)).error;
    assert_eq!(error, Some(TxError::HostBond { cu: 11, needed: 110, got: 100 }));
    world.ok(hosts[0], ask(cap, 1));
    // A host that lost its seat meanwhile does not count.
    let seat = query::member(world.get(), &RUN, &public(hosts[0])).unwrap().seat.unwrap();
    world.blocks(7);
    world.ok(6, LapseSeat { run: RUN, stage: 0, seat });
    to_auction(&mut world);
    // The posted fee moves with use all the same.
    assert!(query::stage_price(world.get(), &RUN, 0).is_none_or(|stage| !stage.auctioned));
}
