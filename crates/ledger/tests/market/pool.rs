//! Let the pool sell: who is paid for which credits, exactly, whatever the order of wrapping, sale and claim.

use crate::world::{market::*, *};
use tessera_canon::{Domain, Hash, Prf, PublicKey};
use tessera_ledger::{
    TxError,
    accumulator::{Part, Pot},
    action::*,
    cell::Cell,
    keys, ownership, query,
    record::*,
};

/// 100 credits an epoch for 90 epochs; account 0 owns everything and gave a quarter each to 1 and 2.
fn quarters() -> (World, u128) {
    let mut world = World::trained_run(9, free_shares(params()), 9000, 90);
    world.next_boundary();
    let quarter = world.shares(&RUN, 0) / 4;
    world.ok(0, TransferShares { run: RUN, to: public(1), amount: quarter });
    world.ok(0, TransferShares { run: RUN, to: public(2), amount: quarter });
    world.next_boundary();
    (world, quarter)
}
fn due(world: &World, who: u32) -> u128 {
    query::due_proceeds(world.get(), &RUN, &public(who))
}
fn wrap(world: &mut World, who: u32, amount: u128) {
    world.ok(who, AutoSellWrap { run: RUN, amount });
}

#[test]
fn wrapped_shares_are_paid_in_u() {
    let (mut world, quarter) = quarters();
    wrap(&mut world, 1, quarter);
    wrap(&mut world, 2, quarter / 2);
    assert_eq!(world.shares(&RUN, 1), 0);
    assert_eq!(query::wrap(world.get(), &RUN, &public(1)).unwrap().now, quarter);
    world.next_boundary();
    // From now on the pool gets 3/8 of each 100 credits.
    world.next_boundary();
    world.auction(&credits_of(RUN), &[bid(5, 1000, 20)]);
    let point = query::price_history(world.get(), Asset::Cu, &RUN).remove(0);
    assert_eq!((point.volume, world.free_credits(&RUN, 5)), (20, 20));
    let money = point.price * 20;
    let net = money - (money * 30).div_ceil(10_000);
    let (one, two) = (due(&world, 1), due(&world, 2));
    // Two thirds and one third; fractions stay in the pot.
    assert_eq!((one, two), (net * 2 / 3, net / 3));
    let before = world.balance(1);
    world.ok(1, ClaimProceeds { run: RUN });
    assert_eq!(world.balance(1), before - 500_000 + one);
    assert_eq!(world.run(1, ClaimProceeds { run: RUN }).error, Some(TxError::NothingDue));
    assert_eq!(world.run(7, ClaimProceeds { run: RUN }).error, Some(TxError::NothingDue));
    // Shares come back and earn credits again.
    world.ok(1, AutoSellUnwrap { run: RUN, amount: quarter });
    assert_eq!(world.shares(&RUN, 1), quarter);
    let got = world.run(1, AutoSellUnwrap { run: RUN, amount: 1 }).error;
    assert_eq!(got, Some(TxError::Shares { needed: 1, got: 0 }));
    let credits = query::due_credits(world.get(), &RUN, &public(1));
    world.next_boundary();
    assert_eq!(query::due_credits(world.get(), &RUN, &public(1)), credits + 25);
}

/// Credits wait unsold for some epochs; who wraps later has no part of them, who leaves keeps its part.
#[test]
fn old_credits_pay_those_who_earned_them() {
    let (mut world, quarter) = quarters();
    wrap(&mut world, 1, quarter);
    world.next_boundary();
    world.next_boundary();
    world.next_boundary();
    // 1 alone is behind 75 credits of three epochs, in lot 1.
    wrap(&mut world, 2, quarter);
    world.ok(1, AutoSellUnwrap { run: RUN, amount: quarter });
    let held = query::auto_sell(world.get(), &RUN).unwrap();
    assert_eq!((held.version, held.next), (1, quarter));
    world.auction(&credits_of(RUN), &[bid(5, 1000, 75)]);
    let money = query::price_head(world.get(), Asset::Cu, &RUN).unwrap().last * 75;
    let net = money - (money * 30).div_ceil(10_000);
    assert_eq!((due(&world, 1), due(&world, 2)), (net, 0));
    // The next credits are 2's.
    world.next_boundary();
    world.auction(&credits_of(RUN), &[bid(6, 1000, 25)]);
    assert_eq!(due(&world, 1), net);
    assert!(due(&world, 2) > 0);
    let sum = due(&world, 1) + due(&world, 2);
    let held = query::auto_sell(world.get(), &RUN).unwrap();
    assert!(held.held - sum <= 2, "{} held, {sum} due", held.held);
}

#[test]
fn a_second_change_waits_for_the_sale() {
    let (mut world, quarter) = quarters();
    wrap(&mut world, 1, quarter / 2);
    // In the same epoch changes add up.
    wrap(&mut world, 1, quarter / 4);
    world.next_boundary();
    world.next_boundary();
    world.ok(1, AutoSellUnwrap { run: RUN, amount: quarter / 4 });
    world.next_boundary();
    let refused = world.run(1, AutoSellWrap { run: RUN, amount: 1 }).error;
    assert!(matches!(refused, Some(TxError::PoolBusy { .. })), "{refused:?}");
    // Another account is free to change its part.
    wrap(&mut world, 2, 1);
    world.auction(&credits_of(RUN), &[bid(5, 1000, 1000)]);
    wrap(&mut world, 1, 1);
    let zero = world.run(1, AutoSellWrap { run: RUN, amount: 0 }).error;
    assert!(matches!(zero, Some(TxError::Parameter { .. })));
}

/// P4 for U: parts of a wrapper never earn more than the whole, and less than one unit each less.
#[test]
fn splitting_wrapped_shares_never_earns_more() {
    let mut random = Prf::new(Domain::new("tessera/test/split/v1"), b"");
    for _ in 0..2000 {
        let parts: Vec<u128> = (0..1 + random.below(6)).map(|_| 1 + u128::from(random.below(1000))).collect();
        let whole: u128 = parts.iter().sum();
        let others = u128::from(random.below(5000));
        let mut pot = Pot::new();
        let start = pot.acc;
        let mut split: Vec<(u128, Part)> = parts.iter().map(|p| (*p, Part::at(start))).collect();
        let (mut mine, mut one, mut many, mut paid) = (Part::at(start), 0, 0, 0);
        for _ in 0..1 + random.below(10) {
            let amount = u128::from(random.below(1 << 40));
            paid += amount;
            pot.allot(amount, whole + others);
            // The parts claim at any time, the whole at the end.
            for (shares, part) in &mut split {
                if random.below(2) == 0 {
                    many += part.earn(*shares, pot.acc);
                }
            }
        }
        one += mine.earn(whole, pot.acc);
        many += split.iter_mut().map(|(shares, part)| part.earn(*shares, pot.acc)).sum::<u128>();
        assert!(many <= one && one - many < parts.len() as u128, "{many} of {one} in {} parts", parts.len());
        assert!(one <= paid * whole / (whole + others), "at most in proportion");
        assert!(one + 1 >= paid * whole / (whole + others));
    }
}

/// A pot through which more U has passed than its accumulator can hold still pays to the unit.
#[test]
fn a_pot_may_wrap_around() {
    let mut pot = Pot::new();
    let mut other = Part::at(pot.acc);
    let mut got = 0;
    for _ in 0..5 {
        pot.allot(u128::MAX, 1);
        got = other.earn(1, pot.acc);
    }
    assert_eq!(got, u128::MAX);
    let mut late = Part::at(pot.acc);
    pot.allot(7, 2);
    assert_eq!((late.earn(1, pot.acc), other.earn(1, pot.acc)), (3, 3));
    pot.allot(1, 2);
    assert_eq!((late.earn(1, pot.acc), other.earn(1, pot.acc)), (1, 1));
    pot.allot(5, 0);
    assert_eq!(late.earn(1, pot.acc), 0);
}

/// The class of a parent's owners sells what its shares of the child earn; owners and wrappers of the parent
/// are paid, and shares that move take their past with them.
#[test]
fn a_child_pays_the_owners_of_its_parent() {
    let (mut world, quarter) = quarters();
    let child = Hash([4; 32]);
    world.train(child, 100_000, 1000);
    world.next_boundary();
    // Half of the child belongs to the class; forking a run will put it there.
    let half = world.shares(&child, 0) / 2;
    let class: PublicKey = ownership::class_account(&RUN, &child);
    world.ok(0, TransferShares { run: child, to: class, amount: half });
    let lineage = Lineage { child, parent: RUN, depth: 1, shares: 0, inherited: 0 };
    let cell = Cell::pack(&lineage.into());
    world.state.0.insert(keys::lineage(&child), cell);
    wrap(&mut world, 1, quarter);
    world.next_boundary();
    world.next_boundary();
    let dues = |world: &World| [0, 1, 2, 3].map(|who| due(world, who));
    assert_eq!(dues(&world), [0; 4]);
    world.auction(&credits_of(child), &[bid(5, 1000, 30)]);
    let money = query::price_head(world.get(), Asset::Cu, &child).unwrap().last * 30;
    let net = money - (money * 30).div_ceil(10_000);
    // 0 holds half of the parent, 1 (wrapped) and 2 a quarter each; the quarters were rounded down.
    let [zero, one, two, three] = dues(&world);
    assert!(zero.abs_diff(net / 2) <= 1 && one.abs_diff(net / 4) <= 1 && two.abs_diff(net / 4) <= 1);
    assert!(net - zero - one - two <= 3 && three == 0);
    // 2 sells out to 3 by the market: what was earned before stays 2's, what comes later is 3's.
    let all = world.shares(&RUN, 2);
    world.auction(&shares_of(RUN), &[ask_shares(2, 1, all), bid(3, 1, all)]);
    assert_eq!(world.shares(&RUN, 3), all);
    assert_eq!(dues(&world), [zero, one, two, 0]);
    world.auction(&credits_of(child), &[bid(5, 1000, 30)]);
    let after = dues(&world);
    assert!(after[0] > zero && after[1] > one && after[3] > 0);
    assert_eq!(after[2], two);
    for who in 0..4 {
        let before = world.balance(who);
        world.ok(who, ClaimProceeds { run: RUN });
        assert_eq!(world.balance(who), before - 500_000 + after[who as usize]);
        assert_eq!(due(&world, who), 0);
    }
}
