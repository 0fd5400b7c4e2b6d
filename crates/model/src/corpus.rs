//! Hold the embedded default corpus and cut a text into its training and held-out parts.
//!
//! One rule for every corpus, so that a tokenizer trained elsewhere never sees held-out text. It does
//! not tokenise; see [`crate::Dataset`].

/// *Moby-Dick*, 1.2 MB of plain UTF-8 English (CC0; see `data/PROVENANCE.md`).
pub const MOBY_DICK: &str = include_str!("../data/moby.txt");

/// One part in this many of a corpus's bytes, at its end, is held out.
pub const HELD_OUT_PART: usize = 10;

/// Cut `text` into (training part, held-out part): the last tenth of its bytes is held out, and the cut
/// moves back to the nearest character boundary.
pub fn split(text: &str) -> (&str, &str) {
    let mut cut = text.len() - text.len() / HELD_OUT_PART;
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    text.split_at(cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cut_respects_characters_and_loses_nothing() {
        for text in ["", "a", "0123456789", "ééééééééééééééééééééé", MOBY_DICK] {
            let (train, held_out) = split(text);
            assert_eq!(format!("{train}{held_out}"), text);
            assert!(held_out.len() <= text.len() / 10 + 3);
        }
    }
}
