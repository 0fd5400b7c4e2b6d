//! Read and write amounts of U: people say `12.5`, the ledger counts nano-U.

/// Nano-U in one U.
pub const NANO: u128 = 1_000_000_000;

/// Text that is no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an amount of U such as 12, 0.5 or 0.000000001 (nine decimals at most), got {got:?}")]
pub struct AmountError {
    /// What came.
    pub got: String,
}

/// `text` in U as nano-U.
///
/// ```
/// use tessera_client::amount::parse;
/// assert_eq!(parse("12.5"), Ok(12_500_000_000));
/// assert!(parse("0.0000000001").is_err());
/// ```
pub fn parse(text: &str) -> Result<u128, AmountError> {
    let bad = || AmountError { got: text.chars().take(64).collect() };
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > 9 || !digits(whole) || !digits(part) || text.ends_with('.') {
        return Err(bad());
    }
    let whole: u128 = whole.parse().map_err(|_| bad())?;
    let part: u128 = format!("{part:0<9}").parse().map_err(|_| bad())?;
    whole.checked_mul(NANO).and_then(|nano| nano.checked_add(part)).ok_or_else(bad)
}

/// Nano-U as text in U, exact, without needless zeros.
///
/// ```
/// assert_eq!(tessera_client::amount::show(1_500_000_000), "1.5");
/// ```
pub fn show(nano: u128) -> String {
    let part = format!("{:09}", nano % NANO);
    match part.trim_end_matches('0') {
        "" => (nano / NANO).to_string(),
        part => format!("{}.{part}", nano / NANO),
    }
}

/// An amount in nano-U that is read and written in U.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(pub u128);
impl std::str::FromStr for Amount {
    type Err = AmountError;
    fn from_str(text: &str) -> Result<Self, AmountError> {
        parse(text).map(Self)
    }
}
impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&show(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_amount_survives_and_nonsense_is_named() {
        for nano in [0, 1, 999_999_999, NANO, NANO + 1, 7 * NANO / 2, u128::MAX] {
            assert_eq!(parse(&show(nano)), Ok(nano));
        }
        for text in
            ["", ".", ".5", "1.", "-1", "+1", "1e9", "1 ", "1,5", "1.0000000000", "1.2.3", &"9".repeat(40)]
        {
            assert!(parse(text).is_err(), "{text:?} was taken");
        }
    }
}
