//! Break one rule each of what rounds to integers: the quantisers and the gradient grid.

use super::{each, flush, found_out};
use crate::{
    ArithError,
    conform::operations::{CANON, Operations},
    quantise::{BLOCK, Format},
};

/// Encodes an integer format with any rounding.
fn encode(
    format: Format,
    x: &[f32],
    width: usize,
    bytes: &mut [u8],
    round: fn(f32) -> f32,
) -> Result<(), ArithError> {
    // The scales are right; the integers are written anew.
    (CANON.encode)(format, x, width, bytes)?;
    if format == Format::Bf16 {
        return Ok(());
    }
    let mut rest = bytes;
    for row in x.chunks(width) {
        for block in row.chunks(BLOCK) {
            let packed = if format == Format::Int8 { block.len() } else { block.len().div_ceil(2) };
            let (coded, after) = rest.split_at_mut(1 + packed);
            rest = after;
            let inverse = f32::from_bits((254 - u32::from(coded[0])) << 23);
            let n: Vec<u8> = block.iter().map(|x| round(x * inverse) as i8 as u8).collect();
            for (at, byte) in coded[1..].iter_mut().enumerate() {
                *byte = if format == Format::Int8 {
                    n[at]
                } else {
                    n[2 * at] & 15 | n.get(2 * at + 1).map_or(0, |n| n << 4)
                };
            }
        }
    }
    Ok(())
}

#[test]
fn wrong_roundings_on_the_wire_are_found_out() {
    let right = Operations {
        encode: |format, x, width, bytes| encode(format, x, width, bytes, f32::round_ties_even),
        ..CANON
    };
    assert_eq!(found_out(&right), [""; 0]);
    let wrong: [(&str, Operations); 6] = [
        (
            "ties of int8 away from zero",
            Operations {
                encode: |format, x, width, bytes| match format {
                    Format::Int8 => encode(format, x, width, bytes, f32::round),
                    _ => (CANON.encode)(format, x, width, bytes),
                },
                ..CANON
            },
        ),
        (
            "ties of int4 away from zero",
            Operations {
                encode: |format, x, width, bytes| match format {
                    Format::Int4 => encode(format, x, width, bytes, f32::round),
                    _ => (CANON.encode)(format, x, width, bytes),
                },
                ..CANON
            },
        ),
        (
            "ties upwards",
            Operations {
                encode: |format, x, width, bytes| encode(format, x, width, bytes, |x| (x + 0.5).floor()),
                ..CANON
            },
        ),
        (
            "cut off",
            Operations {
                encode: |format, x, width, bytes| encode(format, x, width, bytes, f32::trunc),
                ..CANON
            },
        ),
        (
            "bf16 ties away from zero",
            Operations {
                encode: |format, x, width, bytes| {
                    (CANON.encode)(format, x, width, bytes)?;
                    if format == Format::Bf16 {
                        for (bytes, x) in bytes.chunks_mut(2).zip(x) {
                            bytes.copy_from_slice(&(x.to_bits() + 0x8000).to_le_bytes()[2..]);
                        }
                    }
                    Ok(())
                },
                ..CANON
            },
        ),
        (
            "decoding that flushes",
            Operations {
                decode_wire: |format, bytes, width, x| {
                    (CANON.decode_wire)(format, bytes, width, x)?;
                    each(x, flush);
                    Ok(())
                },
                ..CANON
            },
        ),
    ];
    for (what, operations) in wrong {
        let rows = found_out(&operations);
        assert!(rows.contains(&"quantise"), "{what} passes: {rows:?}");
    }
}

#[test]
fn wrong_steps_back_from_the_grid_are_found_out() {
    let wrong: [(&str, Operations); 3] = [
        (
            "scale and step multiplied first",
            Operations {
                dequantise: |sum, exponent, scale, out| {
                    let factor = 2f32.powi(exponent) * scale;
                    out.iter_mut().zip(sum).for_each(|(out, n)| *out = *n as f32 * factor);
                    Ok(())
                },
                ..CANON
            },
        ),
        (
            "one rounding in f64",
            Operations {
                dequantise: |sum, exponent, scale, out| {
                    let factor = 2f64.powi(exponent) * f64::from(scale);
                    out.iter_mut().zip(sum).for_each(|(out, n)| *out = (*n as f64 * factor) as f32);
                    Ok(())
                },
                ..CANON
            },
        ),
        (
            "flush to zero",
            Operations {
                dequantise: |sum, exponent, scale, out| {
                    (CANON.dequantise)(sum, exponent, scale, out)?;
                    each(out, flush);
                    Ok(())
                },
                ..CANON
            },
        ),
    ];
    for (what, operations) in wrong {
        let rows = found_out(&operations);
        assert!(rows.contains(&"grid"), "{what} passes: {rows:?}");
    }
}
