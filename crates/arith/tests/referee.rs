//! Compare the referee with the processor: all combinations of hard values, and random ones of each distribution.

#[path = "../examples/referee/cases.rs"]
mod cases;

use cases::{Class, Function, Random};
use proptest::prelude::*;
use tessera_arith::{grid, referee};

/// Values at the edges of every range, each with both signs.
fn hard_values() -> Vec<u32> {
    let sizes = [
        0x0000_0000, // zero
        0x0000_0001, // the smallest subnormal number
        0x0000_0002,
        0x0000_0003,
        0x003f_ffff,
        0x0040_0000,
        0x0040_0001,
        0x007f_fffe,
        0x007f_ffff, // the largest subnormal number
        0x0080_0000, // the smallest normal number
        0x0080_0001,
        0x00ff_ffff,
        0x0100_0000,
        0x1f80_0000, // 2^-64: its square is far below every subnormal number
        0x2000_0000, // 2^-63
        0x3300_0000, // 2^-25
        0x3380_0000, // 2^-24: half the last place of one
        0x3380_0001,
        0x3400_0000, // 2^-23
        0x3eff_ffff,
        0x3f00_0000, // one half
        0x3f7f_fffe,
        0x3f7f_ffff, // just below one
        0x3f80_0000, // one
        0x3f80_0001,
        0x3f80_0002,
        0x3fb5_04f3, // the square root of two, rounded down
        0x3fff_ffff,
        0x4000_0000,
        0x4040_0000, // three
        0x4b00_0000, // 2^23
        0x4b7f_ffff,
        0x4b80_0000, // 2^24
        0x4b80_0001,
        0x5f00_0000, // 2^63
        0x5f80_0000, // 2^64
        0x7e80_0000,
        0x7eff_ffff,
        0x7f00_0000, // 2^127
        0x7f7f_fffe,
        0x7f7f_ffff, // the largest number
        0x7f80_0000, // infinity
        0x7f80_0001, // a signalling NaN
        0x7fc0_0000,
        0x7fff_ffff,
    ];
    sizes.into_iter().flat_map(|size| [size, size | 1 << 31]).collect()
}

fn check(function: Function, operands: [u32; 3]) {
    let (software, hardware) = (function.software(operands), function.hardware(operands));
    assert!(
        referee::same(software, hardware),
        "{function:?} {operands:08x?}: referee {software:08x}, processor {hardware:08x}"
    );
}

#[test]
fn all_combinations_of_hard_values_agree_with_the_processor() {
    let values = hard_values();
    for &a in &values {
        check(Function::Sqrt, [a, 0, 0]);
        for &b in &values {
            for function in [Function::Add, Function::Sub, Function::Mul, Function::Div] {
                check(function, [a, b, 0]);
            }
            for &c in &values {
                check(Function::Fma, [a, b, c]);
            }
        }
    }
}

#[test]
fn every_distribution_agrees_with_the_processor() {
    for function in Function::ALL {
        for class in Class::ALL {
            let mut random = Random(0x5eed ^ function as u64);
            for _ in 0..50_000 {
                check(function, random.operands(function, class));
            }
        }
    }
}

/// The distributions are what they are called.
#[test]
fn distributions_hold_the_hard_cases() {
    let share = |function: Function, class, good: &dyn Fn([u32; 3], u32) -> bool| {
        let mut random = Random(7);
        let hits = (0..10_000).filter(|_| {
            let operands = random.operands(function, class);
            good(operands, function.hardware(operands))
        });
        hits.count()
    };
    let subnormal = |_: [u32; 3], result: u32| result & 0x7f80_0000 == 0 && result << 1 != 0;
    for function in [Function::Fma, Function::Add, Function::Mul, Function::Div] {
        assert!(share(function, Class::Subnormal, &subnormal) > 1000, "{function:?}");
    }
    // A result whose exact value, in f64, lies exactly in the middle of two neighbours.
    let tie = |[a, b, c]: [u32; 3], result: u32| {
        let [a, b, c] = [a, b, c].map(|x| f64::from(f32::from_bits(x)));
        let near = |bits: u32| f64::from(f32::from_bits(bits));
        let (low, high) = (near(result.wrapping_sub(1)), near(result.wrapping_add(1)));
        let exact = a * b + c;
        let middle = |x: f64| exact == (near(result) + x) / 2.0;
        exact.is_finite() && (middle(low) || middle(high))
    };
    assert!(share(Function::Fma, Class::Ties, &tie) > 3000);
    assert!(share(Function::Mul, Class::Ties, &|[a, b, _], result| tie([a, b, 0], result)) > 2000);
    let sum = |[a, b, _]: [u32; 3], result| tie([a, referee::ONE, b], result);
    assert!(share(Function::Add, Class::Ties, &sum) > 3000);
    let cancelled =
        |[a, ..]: [u32; 3], result: u32| (result << 1 >> 24) + 18 < (a << 1 >> 24) || result << 1 == 0;
    assert!(share(Function::Sub, Class::Cancellation, &cancelled) > 5000);
}

#[test]
fn a_wrong_rounding_is_noticed() {
    // The comparison is of bits: one unit in the last place is a difference, the payload of a NaN is not.
    assert!(!referee::same(0x3f80_0000, 0x3f80_0001));
    assert!(!referee::same(0, 1 << 31));
    assert!(referee::same(0x7fc0_0000, 0xffc0_1234));
    assert!(!referee::same(referee::INFINITY, referee::NAN));
}

#[test]
fn nan_is_canonical() {
    for nan in [0x7f80_0001, 0xffff_ffff, 0x7fc0_0001] {
        for result in [
            referee::fma(nan, 0, 0),
            referee::fma(0, nan, 0),
            referee::fma(0, 0, nan),
            referee::add(nan, 1),
            referee::sub(1, nan),
            referee::mul(nan, nan),
            referee::div(nan, 1),
            referee::sqrt(nan),
        ] {
            assert_eq!(result, referee::NAN);
        }
    }
    assert_eq!(referee::fma(referee::INFINITY, 0, referee::ONE), referee::NAN);
    assert_eq!(referee::sqrt(0xbf80_0000), referee::NAN);
}

#[test]
fn comparisons_agree_with_the_processor() {
    let values = hard_values();
    for &a in &values {
        for &b in &values {
            let (x, y) = (f32::from_bits(a), f32::from_bits(b));
            assert_eq!(referee::less(a, b), x < y, "{a:08x} < {b:08x}");
            assert_eq!(referee::equal(a, b), x == y, "{a:08x} == {b:08x}");
        }
        assert_eq!(referee::negate(a), (-f32::from_bits(a)).to_bits());
        assert_eq!(referee::absolute(a), f32::from_bits(a).abs().to_bits());
    }
}

#[test]
fn integers_at_the_edges_are_rounded_as_by_the_processor() {
    let edges = (0..63).map(|power| 1i64 << power).chain([i64::MAX, i64::MIN]);
    for edge in edges {
        for offset in -3i64..=3 {
            // Halfway between f32 numbers near the edge, and next to that.
            for half in [0, edge >> 24, (edge >> 24) * 3, edge >> 25] {
                let n = edge.wrapping_add(half).wrapping_add(offset);
                for n in [n, n.wrapping_neg()] {
                    assert_eq!(referee::from_integer(n), (n as f32).to_bits(), "{n}");
                }
            }
        }
    }
}

/// The grid's own rounding, one value at a time.
fn steps(g: u32, exponent: i32) -> i64 {
    let mut sum = [0];
    grid::quantise_add(&[f32::from_bits(g)], exponent, &mut sum).unwrap();
    sum[0]
}

#[test]
fn grid_steps_of_hard_values_are_those_of_the_grid() {
    for exponent in [-126, -125, -100, -24, -10, -1, 0, 1, 31, 100, 126, 127] {
        for g in hard_values().into_iter().filter(|g| f32::from_bits(*g).is_finite()) {
            assert_eq!(referee::grid_steps(g, exponent), steps(g, exponent), "{g:08x} at {exponent}");
        }
        // Total: what the grid refuses has a value all the same.
        assert_eq!(referee::grid_steps(referee::INFINITY, exponent), grid::MAX_STEPS);
        assert_eq!(referee::grid_steps(referee::INFINITY | 1 << 31, exponent), -grid::MAX_STEPS);
        assert_eq!(referee::grid_steps(referee::NAN, exponent), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]
    #[test]
    fn any_bits_agree_with_the_processor(a: u32, b: u32, c: u32) {
        for function in Function::ALL {
            check(function, [a, b, c]);
        }
    }

    #[test]
    fn any_integer_is_rounded_as_by_the_processor(n: i64, shift in 0u32..63) {
        let n = n >> shift;
        prop_assert_eq!(referee::from_integer(n), (n as f32).to_bits());
    }

    /// Near the step of the grid, where rounding happens, and anywhere.
    #[test]
    fn grid_steps_are_those_of_the_grid(g: u32, near in -30i32..35, exponent in -126i32..128) {
        let size = ((exponent + near + 127).clamp(0, 254) as u32) << 23;
        for g in [g, g & 0x807f_ffff | size] {
            if f32::from_bits(g).is_finite() {
                prop_assert_eq!(referee::grid_steps(g, exponent), steps(g, exponent));
            }
        }
    }

    /// No bits and no exponent make a function panic.
    #[test]
    fn functions_are_total(g: u32, exponent: i32) {
        let steps = referee::grid_steps(g, exponent);
        prop_assert!((-grid::MAX_STEPS..=grid::MAX_STEPS).contains(&steps));
    }
}
