//! Look up the vectors of tokens, and add gradients back.
//!
//! [`gather`] copies: row i of the output is the row of token i, exactly. [`scatter_add`]: row = row + dout_i for the
//! row of token i, i ascending, one rounding for each addition; a row that k tokens add to is off by at most k * 2^-24
//! times the sum of the magnitudes of its terms, the old value among them. It runs on one thread: tokens may repeat,
//! and their order counts.

use crate::{
    error::{ArithError, length, positive, rows},
    parallel,
};

fn check(
    operation: &'static str,
    table: usize,
    d: usize,
    tokens: &[u32],
    values: usize,
) -> Result<(), ArithError> {
    let vocab = rows(operation, "table", table, d)?;
    positive(operation, "tokens", tokens.len())?;
    length(operation, "rows", values, tokens.len().saturating_mul(d))?;
    match tokens.iter().find(|token| **token as usize >= vocab) {
        None => Ok(()),
        Some(token) => Err(ArithError::Parameter {
            operation,
            argument: "token",
            got: i64::from(*token),
            allowed: "the vocabulary",
        }),
    }
}

/// Copies row `tokens[i]` of `table` [vocab, d] to row i of `out` [tokens, d].
pub fn gather(table: &[f32], d: usize, tokens: &[u32], out: &mut [f32]) -> Result<(), ArithError> {
    check("gather", table.len(), d, tokens, out.len())?;
    let share = parallel::share(tokens.len(), 64);
    parallel::each(out.chunks_mut(share * d).zip(tokens.chunks(share)).collect(), |(out, tokens)| {
        for (out, token) in out.chunks_exact_mut(d).zip(tokens) {
            out.copy_from_slice(&table[*token as usize * d..][..d]);
        }
    });
    Ok(())
}

/// Adds row i of `dout` [tokens, d] onto row `tokens[i]` of `dtable` [vocab, d], i ascending.
pub fn scatter_add(dtable: &mut [f32], d: usize, tokens: &[u32], dout: &[f32]) -> Result<(), ArithError> {
    check("scatter_add", dtable.len(), d, tokens, dout.len())?;
    for (dout, token) in dout.chunks_exact(d).zip(tokens) {
        for (sum, value) in dtable[*token as usize * d..][..d].iter_mut().zip(dout) {
            *sum += value;
        }
    }
    Ok(())
}
