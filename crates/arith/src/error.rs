//! Say what was wrong with the arguments of an operation.

/// Why an operation refused its arguments. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArithError {
    /// A slice or matrix has the wrong size.
    #[error(
        "{operation}: {argument} holds {got} values, but {expected} are needed; check the shapes passed in"
    )]
    Length { operation: &'static str, argument: &'static str, expected: usize, got: usize },
    /// Matrices that do not fit together, or of no size.
    #[error(
        "{operation}: C is {c:?}, A is {a:?}, B is {b:?}; C must be [m, n], A [m, k], B [k, n], none of them zero"
    )]
    Shape { operation: &'static str, c: (usize, usize), a: (usize, usize), b: (usize, usize) },
    /// A parameter is outside its range.
    #[error("{operation}: {argument} is {got}, which is outside {allowed}")]
    Parameter { operation: &'static str, argument: &'static str, got: i64, allowed: &'static str },
    /// A parameter that is not a whole number is outside its range.
    #[error("{operation}: {argument} is {got}, which is outside {allowed}")]
    Number { operation: &'static str, argument: &'static str, got: String, allowed: &'static str },
    /// A NaN or an infinity: the unit of work that holds it is void.
    #[error("{operation}: value {index} is NaN or infinite; the unit of work is void")]
    NonFinite { operation: &'static str, index: usize },
    /// An integer sum is too large to add to safely.
    #[error("{operation}: sum {index} is beyond +-2^62; fewer than 2^31 gradients can be added")]
    Overflow { operation: &'static str, index: usize },
    /// A finite value too large for the wire format: it would come back infinite.
    #[error(
        "{operation}: value {index} is finite but beyond the format's largest; send it in a wider format"
    )]
    Unrepresentable { operation: &'static str, index: usize },
    /// Bytes that no encoder writes.
    #[error("{operation}: byte {index} {problem}; the sender does not follow the format, refuse its message")]
    Encoding { operation: &'static str, index: usize, problem: &'static str },
}

/// Checks that `argument` holds `expected` values.
pub(crate) fn length(
    operation: &'static str,
    argument: &'static str,
    got: usize,
    expected: usize,
) -> Result<(), ArithError> {
    if got == expected { Ok(()) } else { Err(ArithError::Length { operation, argument, expected, got }) }
}

/// Checks that `argument` is at least one.
pub(crate) fn positive(
    operation: &'static str,
    argument: &'static str,
    got: usize,
) -> Result<(), ArithError> {
    if got > 0 { Ok(()) } else { Err(ArithError::Parameter { operation, argument, got: 0, allowed: "1.." }) }
}

/// Checks that `argument` is a whole number of rows of `width`, at least one, and returns how many.
pub(crate) fn rows(
    operation: &'static str,
    argument: &'static str,
    got: usize,
    width: usize,
) -> Result<usize, ArithError> {
    positive(operation, "width", width)?;
    let rows = (got / width).max(1);
    length(operation, argument, got, rows * width)?;
    Ok(rows)
}
