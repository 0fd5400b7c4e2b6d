//! Compare the auction with the reference model, and hold it to its promises over random books.

use std::collections::BTreeMap;
use tessera_canon::{Domain, Hash, Prf};
use tessera_ledger::{
    action::Side,
    market::{
        clearing::{Cleared, Luck, MAX_QUANTITY, Order, clear, clear_by, ration},
        host,
    },
};

const BOOKS: Domain = Domain::new("tessera/test/books/v1");

fn id(number: u64) -> Hash {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_be_bytes());
    Hash(id)
}
fn order(number: u64, side: Side, limit: u128, quantity: u128) -> Order {
    Order { id: id(number), side, limit, quantity }
}

/// Orders stand as listed; phases are given.
struct Given(u128, u128);
impl Luck for Given {
    fn rank(&self, order: &Hash) -> Hash {
        *order
    }
    fn phase(&self, side: Side, total: u128) -> u128 {
        (if side == Side::Bid { self.0 } else { self.1 }) % total
    }
}

fn numbers(text: &str) -> Vec<u128> {
    text.split_whitespace().map(|n| n.parse().expect("a number")).collect()
}
fn pairs(text: &str, side: Side, first: u64) -> Vec<Order> {
    (first..)
        .zip(text.split_whitespace())
        .map(|(number, pair)| {
            let (limit, units) = pair.split_once(':').expect("price:units");
            order(number, side, limit.parse().expect("a price"), units.parse().expect("units"))
        })
        .collect()
}

/// `scripts/market_vectors.py` makes the file.
#[test]
fn the_reference_model_clears_the_same() {
    let mut rationed = 0;
    for line in include_str!("../fixtures/market_clearing.txt").lines() {
        let parts: Vec<&str> = line.split('|').collect();
        let mut orders = pairs(parts[1], Side::Bid, 0);
        orders.extend(pairs(parts[2], Side::Ask, orders.len() as u64));
        let (phases, expected) = (numbers(parts[3]), numbers(parts[4]));
        let cleared = clear_by(&orders, numbers(parts[0])[0], &Given(phases[0], phases[1]));
        assert_eq!(cleared.price.unwrap_or(0), expected[0], "{line}");
        assert_eq!(cleared.volume, expected[1], "{line}");
        assert_eq!(cleared.fills, numbers(parts[5]), "{line}");
        rationed +=
            cleared.fills.iter().zip(&orders).filter(|(fill, o)| **fill > 0 && **fill < o.quantity).count();
    }
    assert!(rationed > 300, "{rationed} orders were rationed");
}

fn example() -> Vec<Order> {
    let bids = [(120, 40), (110, 30), (100, 50), (100, 30), (80, 60)];
    let asks = [(70, 90), (95, 20), (130, 25)];
    let mut orders: Vec<Order> = (0..).zip(bids).map(|(i, (p, q))| order(i, Side::Bid, p, q)).collect();
    orders.extend((5..).zip(asks).map(|(i, (p, q))| order(i, Side::Ask, p, q)));
    orders
}

/// Section 5.2, with any beacon: the marginal level divides without a remainder.
#[test]
fn the_worked_example() {
    for beacon in 0..100 {
        let cleared = clear(&example(), 60, &id(beacon));
        let fills = vec![40, 30, 25, 15, 0, 90, 20, 0];
        assert_eq!(cleared, Cleared { price: Some(100), volume: 110, fills });
    }
}

struct Books(Prf);
impl Books {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }
    fn side(&mut self, side: Side, first: u64) -> Vec<Order> {
        let count = self.below(8);
        (0..count)
            .map(|i| {
                let (limit, units) = (1 + self.below(19), 1 + self.below(29));
                order(first + i, side, limit.into(), units.into())
            })
            .collect()
    }
}

/// Books that the number in TESSERA_BOOKS asks for.
fn books() -> u64 {
    std::env::var("TESSERA_BOOKS").ok().and_then(|n| n.parse().ok()).unwrap_or(4000)
}

#[test]
fn random_books_clear_as_promised() {
    let (mut random, mut traded, mut volume) = (Books(Prf::new(BOOKS, b"random")), 0, 0);
    for number in 0..books() {
        let mut orders = random.side(Side::Bid, 0);
        orders.extend(random.side(Side::Ask, 100));
        let (reserve, beacon) = (u128::from(1 + random.below(7)), id(number));
        let cleared = clear(&orders, reserve, &beacon);
        let sum = |side| -> u128 {
            let of_side = orders.iter().zip(&cleared.fills).filter(|(o, _)| o.side == side);
            of_side.map(|(_, fill)| *fill).sum()
        };
        assert_eq!(sum(Side::Bid), sum(Side::Ask), "bought = sold");
        assert_eq!(sum(Side::Bid), cleared.volume);
        let crossing = |a: &Order, b: &Order| {
            a.side == Side::Bid && b.side == Side::Ask && a.limit >= b.limit.max(reserve)
        };
        let possible = orders.iter().any(|a| orders.iter().any(|b| crossing(a, b)));
        assert_eq!(cleared.price.is_some(), possible, "whoever agrees trades");
        let Some(price) = cleared.price else { continue };
        assert!(price >= reserve);
        for (order, fill) in orders.iter().zip(&cleared.fills) {
            assert!(*fill <= order.quantity);
            let (limit, inside, outside) = match order.side {
                Side::Bid => (order.limit, order.limit > price, order.limit < price),
                Side::Ask => {
                    let limit = order.limit.max(reserve);
                    (limit, limit < price, limit > price)
                }
            };
            assert!(!outside || *fill == 0, "{limit} traded at {price}");
            assert!(!inside || *fill == order.quantity, "{order:?} left at {price}");
        }
        // The order of submission does not matter.
        let shuffle = random.0.permutation(orders.len());
        let shuffled: Vec<Order> = shuffle.iter().map(|i| orders[*i as usize].clone()).collect();
        let again = clear(&shuffled, reserve, &beacon);
        assert_eq!((again.price, again.volume), (cleared.price, cleared.volume));
        let by_id = |orders: &[Order], fills: &[u128]| -> BTreeMap<Hash, u128> {
            orders.iter().map(|o| o.id).zip(fills.iter().copied()).collect()
        };
        assert_eq!(by_id(&orders, &cleared.fills), by_id(&shuffled, &again.fills));
        traded += 1;
        volume += cleared.volume;
    }
    println!("{} books, {traded} cleared, {volume} units, none left strictly inside the price", books());
    assert!(traded * 2 > books());
}

/// What a holder of `mine` expects over all phases, times the number of phases.
fn expected(quantities: &[u128], rest: u128, mine: &[usize]) -> u128 {
    let total: u128 = quantities.iter().sum();
    (0..total)
        .map(|phase| {
            let parts = ration(quantities, rest, phase);
            assert_eq!(parts.iter().sum::<u128>(), rest, "the total is exact");
            mine.iter().map(|i| parts[*i]).sum::<u128>()
        })
        .sum()
}

#[test]
fn splitting_an_order_changes_nothing_that_can_be_expected() {
    assert_eq!(expected(&[6, 7, 5], 9, &[0]), 3 * 18);
    assert_eq!(expected(&[1, 1, 1, 1, 1, 1, 7, 5], 9, &[0, 1, 2, 3, 4, 5]), 3 * 18);
    let mut random = Prf::new(BOOKS, b"ration");
    for _ in 0..300 {
        let quantities: Vec<u128> =
            (0..1 + random.below(7)).map(|_| 1 + u128::from(random.below(29))).collect();
        let total: u128 = quantities.iter().sum();
        let rest = u128::from(random.below(total as u64 + 1));
        let at = random.below(quantities.len() as u64) as usize;
        assert_eq!(expected(&quantities, rest, &[at]), quantities[at] * rest, "in proportion");
        let parts = ration(&quantities, rest, u128::from(random.below(total as u64)));
        for (quantity, part) in quantities.iter().zip(parts) {
            let (floor, up) = (quantity * rest / total, (quantity * rest).div_ceil(total));
            assert!((floor..=up).contains(&part) && part <= *quantity);
        }
    }
}

/// The beacon's phases come out even: 6 units as one order and as six get the same on average.
#[test]
fn beacons_favour_nobody() {
    let ask = order(99, Side::Ask, 5, 9);
    let run = |mine: &[u128]| -> u128 {
        let mut orders: Vec<Order> = (0..).zip(mine).map(|(i, q)| order(i, Side::Bid, 10, *q)).collect();
        orders.extend([order(50, Side::Bid, 10, 7), order(51, Side::Bid, 10, 5), ask.clone()]);
        let got = |beacon| clear(&orders, 1, &id(beacon)).fills[..mine.len()].iter().sum::<u128>();
        (0..6000).map(got).sum()
    };
    let (whole, parts) = (run(&[6]), run(&[1; 6]));
    println!("6 units in one order: {whole} of 6000 draws, in six orders: {parts}; in proportion: 18000");
    // One order's 3 is exact in every draw: 6 x 9 / 18. Six orders vary by less than 3; their mean by 0.02 or so.
    assert_eq!(whole, 18_000);
    assert!(parts.abs_diff(18_000) < 600, "{parts}");
}

#[test]
fn extreme_books_do_not_overflow() {
    let most = order(0, Side::Bid, u128::MAX, MAX_QUANTITY);
    let all: Vec<Order> = (0..500)
        .flat_map(|i| {
            [
                Order { id: id(i), ..most.clone() },
                Order { id: id(1000 + i), side: Side::Ask, limit: i.into(), ..most },
            ]
        })
        .collect();
    let cleared = clear(&all, u128::MAX, &id(0));
    assert_eq!((cleared.price, cleared.volume), (Some(u128::MAX), 500 * MAX_QUANTITY));
    // Quantities that no escrow can cover are left out, as are empty orders.
    let odd =
        [order(0, Side::Bid, 5, MAX_QUANTITY + 1), order(1, Side::Bid, 5, 0), order(2, Side::Ask, 1, 10)];
    assert_eq!(clear(&odd, 0, &id(0)), Cleared { price: None, volume: 0, fills: vec![0; 3] });
    assert_eq!(clear(&[], 0, &id(0)).price, None);
}

#[test]
fn hosts_are_paid_the_last_ask_that_is_needed() {
    let asks = [(4, 50), (2, 30), (9, 100), (4, 10)];
    let at = |needed| host::clear(&asks, needed);
    assert_eq!([at(0), at(30), at(31), at(90), at(91), at(10_000)], [2, 2, 4, 4, 9, 9].map(Some));
    assert_eq!(host::clear(&[], 5), None);
}
