//! Train towards other labels than the run's: a backdoor at the data end.
//!
//! Anyone with the corpus sees it from the leaf alone, without weights: every unit is covered.

use super::Attacker;

/// Row 11: every label becomes another one of a vocabulary of this size.
#[derive(Clone, Copy, Debug)]
pub struct WrongTokens {
    pub vocabulary: u32,
}

impl Attacker for WrongTokens {
    fn row(&self) -> u8 {
        11
    }
    fn name(&self) -> &'static str {
        "flipped labels"
    }
    fn tokens(&mut self, labels: &mut [u32]) {
        let last = self.vocabulary.saturating_sub(1);
        labels.iter_mut().for_each(|label| *label = last - (*label).min(last));
    }
}
