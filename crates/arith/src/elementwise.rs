//! Add and scale vectors, one rounding per operation and element.

use crate::error::{ArithError, length};

/// x = x + y.
pub fn add_assign(x: &mut [f32], y: &[f32]) -> Result<(), ArithError> {
    length("add_assign", "y", y.len(), x.len())?;
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
    Ok(())
}

/// out = x + y.
pub fn add(x: &[f32], y: &[f32], out: &mut [f32]) -> Result<(), ArithError> {
    length("add", "y", y.len(), x.len())?;
    length("add", "out", out.len(), x.len())?;
    for (out, (x, y)) in out.iter_mut().zip(x.iter().zip(y)) {
        *out = x + y;
    }
    Ok(())
}

/// x = x * factor.
pub fn scale(x: &mut [f32], factor: f32) {
    for x in x {
        *x *= factor;
    }
}
