//! Multiply gradients exactly, and take the few order statistics that the guard needs.

use super::Grid;

/// The inner product of two vectors of grid steps, in the gradients' own unit squared: exact per tensor, then added in
/// the order of the tensors.
pub(super) fn dot(grid: Grid<'_>, a: &[i64], b: &[i64]) -> f64 {
    let mut total = 0.0;
    for (range, exponent) in grid.offsets.iter().zip(grid.exponents) {
        // Below 2^24 values of at most 2^50 the sum stays under 2^124; longer or larger ones are a hostile seat's, and
        // wrapping is the same for everybody.
        let sum = a[range.clone()]
            .iter()
            .zip(&b[range.clone()])
            .fold(0i128, |sum, (x, y)| sum.wrapping_add(i128::from(*x).wrapping_mul(i128::from(*y))));
        total += sum as f64 * power_of_two(2 * exponent);
    }
    total
}

/// 2^`exponent`, exactly, for normal results.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent.clamp(-1022, 1023) + 1023) as u64) << 52)
}

/// The cosine of two vectors from their product and norms; -1 where one has no direction.
pub(super) fn cosine(inner: f64, norm: f64, other: f64) -> f64 {
    let product = norm * other;
    if product > 0.0 { (inner / product).clamp(-1.0, 1.0) } else { -1.0 }
}

/// The lower median; 0 of nothing.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    ordered(values, |len| (len - 1) / 2)
}

/// The value below which `thousandths` of 1000 lie; 0 of nothing.
pub(super) fn percentile(values: impl Iterator<Item = f64>, thousandths: usize) -> f64 {
    ordered(values, |len| len * thousandths / 1000)
}

fn ordered(values: impl Iterator<Item = f64>, at: impl Fn(usize) -> usize) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    if values.is_empty() { 0.0 } else { values[at(values.len()).min(values.len() - 1)] }
}

/// `value / 2^bits`, rounded to nearest, ties to even. `bits` is below 127.
pub(super) fn rounded_shift(value: i128, bits: u32) -> i128 {
    if bits == 0 {
        return value;
    }
    let floor = value >> bits;
    let (rest, half) = (value - (floor << bits), 1i128 << (bits - 1));
    if rest > half || (rest == half && floor & 1 == 1) { floor + 1 } else { floor }
}
