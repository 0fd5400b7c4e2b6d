//! Show that the guard leaves honest steps alone, bounds bad ones, and does not depend on order.

use super::*;
use tessera_canon::{Domain, Prf};

const LEN: usize = 400;
const OFFSETS: [Range<usize>; 2] = [0..150, 150..LEN];
const EXPONENTS: [i32; 2] = [-30, -28];

fn grid() -> Grid<'static> {
    Grid { offsets: &OFFSETS, exponents: &EXPONENTS }
}

struct World {
    prf: Prf,
    truth: Vec<f64>,
}

impl World {
    fn new(seed: &[u8]) -> Self {
        let mut world = Self { prf: Prf::new(Domain::new("tessera/test-guard/v1"), seed), truth: Vec::new() };
        world.truth = world.direction();
        world
    }
    fn direction(&mut self) -> Vec<f64> {
        let mut normal =
            || (0..12).map(|_| (self.prf.next_u64() >> 11) as f64 / (1u64 << 53) as f64).sum::<f64>() - 6.0;
        let values: Vec<f64> = (0..LEN).map(|_| normal()).collect();
        let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
        values.into_iter().map(|x| x / norm).collect()
    }
    /// A gradient of the toy test: the truth with noise of twice its length.
    fn honest(&mut self) -> Vec<i64> {
        let noise = self.direction();
        let values: Vec<f64> = self.truth.iter().zip(noise).map(|(g, e)| 0.01 * (g + 2.0 * e)).collect();
        on_grid(&values)
    }
}

fn on_grid(values: &[f64]) -> Vec<i64> {
    let exponent = |at: usize| EXPONENTS[usize::from(at >= 150)];
    values.iter().enumerate().map(|(at, x)| (x * 2f64.powi(-exponent(at))).round() as i64).collect()
}

fn slots(sums: &[Vec<i64>]) -> Vec<SlotSum<'_>> {
    sums.iter().map(|values| SlotSum { values, microbatches: 1 }).collect()
}

/// A guard that has seen `steps` honest steps of `n` seats.
fn taught(world: &mut World, n: usize, steps: usize) -> Guard {
    let mut guard = Guard::default();
    for _ in 0..steps {
        let sums: Vec<Vec<i64>> = (0..n).map(|_| world.honest()).collect();
        let verified = world.honest();
        let verified = SlotSum { values: &verified, microbatches: 1 };
        let judged = guard.judge(grid(), &slots(&sums), Some(verified)).unwrap();
        let total = judged.apply(&slots(&sums));
        guard.accept(grid(), &judged, &total, n as u32).unwrap();
    }
    guard
}

#[test]
fn an_honest_step_is_the_plain_sum_bit_for_bit() {
    let mut world = World::new(b"honest");
    let guard = taught(&mut world, 4, 300);
    let (mut plain, steps) = (0, 200);
    for _ in 0..steps {
        let sums: Vec<Vec<i64>> = (0..4).map(|_| world.honest()).collect();
        let judged = guard.judge(grid(), &slots(&sums), None).unwrap();
        if judged.is_plain() {
            plain += 1;
            let expected: Vec<i64> = (0..LEN).map(|at| sums.iter().map(|sum| sum[at]).sum()).collect();
            assert_eq!(judged.apply(&slots(&sums)), expected);
        }
    }
    println!("{plain} of {steps} honest steps of 4 seats are plain sums");
    // The screen is set at one in 200 seats.
    assert!(plain >= steps * 9 / 10, "{plain}");
}

#[test]
fn one_bad_seat_is_bounded_in_every_way_it_can_turn() {
    type Attack = fn(&[i64]) -> Vec<i64>;
    let attacks: [(&str, Attack); 5] = [
        ("flip", |g| g.iter().map(|x| -x).collect()),
        ("flip x10", |g| g.iter().map(|x| -10 * x).collect()),
        ("flip x1000", |g| g.iter().map(|x| -1000 * x).collect()),
        ("zero", |g| vec![0; g.len()]),
        ("x1000", |g| g.iter().map(|x| 1000 * x).collect()),
    ];
    for n in [2usize, 4, 5, 8] {
        let mut world = World::new(&[n as u8]);
        let guard = taught(&mut world, n, 300);
        for (name, attack) in attacks {
            let (mut cosine_sum, mut progress, mut caught) = (0.0, 0.0, 0);
            let trials = 60;
            for _ in 0..trials {
                let mut sums: Vec<Vec<i64>> = (0..n).map(|_| world.honest()).collect();
                sums[0] = attack(&sums[0]);
                let verified = world.honest();
                let verified = Some(SlotSum { values: &verified, microbatches: 1 });
                let judged = guard.judge(grid(), &slots(&sums), verified).unwrap();
                caught += u32::from(judged.treatments[0] != Treatment::Kept);
                let total = judged.apply(&slots(&sums));
                let truth = on_grid(&world.truth.iter().map(|x| 0.01 * x).collect::<Vec<f64>>());
                let (own, norm) = (dot(grid(), &total, &truth), dot(grid(), &total, &total).sqrt());
                let length = dot(grid(), &truth, &truth).sqrt();
                cosine_sum += own / (norm * length);
                progress += own / (length * length * n as f64);
            }
            let (cosine, progress) = (cosine_sum / 60.0, progress / 60.0);
            println!("n={n} {name:10} cosine {cosine:5.2} progress {progress:5.2} treated {caught}/{trials}");
            assert!(progress > 0.6, "n={n} {name}: {progress}");
            assert!(caught >= 55, "n={n} {name}: treated {caught} of {trials}");
        }
    }
}

#[test]
fn the_result_does_not_depend_on_the_order_of_seats() {
    let mut world = World::new(b"order");
    let guard = taught(&mut world, 4, 250);
    let mut sums: Vec<Vec<i64>> = (0..4).map(|_| world.honest()).collect();
    sums[2].iter_mut().for_each(|x| *x *= -50);
    let forward = guard.judge(grid(), &slots(&sums), None).unwrap();
    assert!(!forward.is_plain());
    let total = forward.apply(&slots(&sums));
    sums.reverse();
    let backward = guard.judge(grid(), &slots(&sums), None).unwrap();
    let difference = backward.apply(&slots(&sums)).iter().zip(&total).map(|(a, b)| (a - b).abs()).max();
    // Scalars are added in the order of seats, which the ledger fixes: another order may round the last bit.
    assert!(difference <= Some(1), "{difference:?}");
    assert_eq!(
        forward,
        guard
            .clone()
            .judge(
                grid(),
                &slots(&{
                    sums.reverse();
                    sums
                }),
                None
            )
            .unwrap()
    );
}

#[test]
fn a_new_grid_moves_the_memory_with_it() {
    let mut world = World::new(b"grid");
    let guard = taught(&mut world, 3, 20);
    let coarser = [EXPONENTS[0] + 5, EXPONENTS[1]];
    let moved = guard.running_on(Grid { offsets: &OFFSETS, exponents: &coarser }).unwrap().unwrap();
    let near = |a: i64, b: i64| (a * 32 - b).abs() <= 16;
    assert!(moved[..150].iter().zip(&guard.running[..150]).all(|(a, b)| near(*a, *b)));
    assert_eq!(moved[150..], guard.running[150..]);
    let finer = [EXPONENTS[0] - 7, EXPONENTS[1]];
    let moved = guard.running_on(Grid { offsets: &OFFSETS, exponents: &finer }).unwrap().unwrap();
    assert!(moved[..150].iter().zip(&guard.running[..150]).all(|(a, b)| *a == b << 7));
}

#[test]
fn what_does_not_fit_is_refused() {
    let guard = Guard::default();
    let short = vec![0; LEN - 1];
    let slot = SlotSum { values: &short, microbatches: 1 };
    assert!(matches!(guard.judge(grid(), &[slot], None), Err(GuardError::Size { .. })));
    let idle = vec![0; LEN];
    let slot = SlotSum { values: &idle, microbatches: 0 };
    assert_eq!(guard.judge(grid(), &[slot], None), Err(GuardError::Empty));
    let hostile = vec![i64::MAX; LEN];
    let slot = SlotSum { values: &hostile, microbatches: 1 };
    let other = vec![1; LEN];
    let other = SlotSum { values: &other, microbatches: 1 };
    let judged = guard.judge(grid(), &[slot, other, other], None).unwrap();
    assert_eq!(judged.apply(&[slot, other, other]).len(), LEN);
}
