//! Give some microbatches to two seats that cannot tell, and compare what they return (`verify` 11.4 step 5).
//!
//! The sender draws by its VRF over the generation's beacon, the step and the microbatch; the beacon is later than the
//! sender's key, so a key made to draw as its owner likes does not exist. The copy travels under a label of its own.
//! After aggregation the sender reveals the draw; whoever was told of no duplicate can check that none was due.

use crate::{
    draw::{
        below,
        pick::Candidate,
        vrf::{self, Drawn, VrfProof},
    },
    unit::Label,
};
use tessera_canon::{Domain, Hash, PublicKey, SecretKey, digest, record};

const DUPLICATE: Domain = Domain::new("tessera/audit/duplicate/v1");
const SECOND: Domain = Domain::new("tessera/audit/duplicate-slot/v1");

record! {
    /// What the sender's draw depends on.
    pub struct DuplicateInput {
        pub run: Hash,
        /// Beacon of the generation in which the seats were drawn.
        pub beacon: Hash,
        pub step: u64,
        /// Stage that receives.
        pub stage: u16,
        pub microbatch: u32,
    }
}

/// The sender's draw.
pub fn draw(key: &SecretKey, input: &DuplicateInput) -> Drawn {
    vrf::draw(key, DUPLICATE, input)
}

/// Whether an output marks its microbatch, at `rate` in 1/10 000.
pub fn is_marked(output: &Hash, rate: u16) -> bool {
    below(output, rate.into())
}

/// Who gets the copy: a seat of another operator than `first`, drawn by the same output; `None` if there is none.
pub fn second_slot<'a>(output: &Hash, first: &PublicKey, seats: &'a [Candidate]) -> Option<&'a Candidate> {
    let operator = seats.iter().find(|seat| seat.account == *first)?.operator;
    let others = seats.iter().filter(|seat| seat.operator != operator);
    others.min_by_key(|seat| digest(SECOND, &(*output, seat.account)))
}

record! {
    /// What the sender publishes of a duplicate after aggregation.
    pub struct DuplicateReveal {
        pub input: DuplicateInput,
        pub sender: PublicKey,
        pub labels: [Label; 2],
        pub accounts: [PublicKey; 2],
        pub proof: VrfProof,
    }
}

/// Why a reveal was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevealError {
    #[error("the sender's proof does not hold for this microbatch")]
    Proof,
    #[error("the draw marks no duplicate here: the sender sent a copy that it should not have")]
    NotMarked,
    #[error("the copy went to another seat than the draw says")]
    WrongSeat,
    #[error("both copies have one label")]
    Labels,
}

impl DuplicateReveal {
    /// Check the draw and who was given the copy, against the seats of the step.
    pub fn verify(&self, rate: u16, seats: &[Candidate]) -> Result<(), RevealError> {
        let output =
            vrf::check(&self.sender, DUPLICATE, &self.input, &self.proof).ok_or(RevealError::Proof)?;
        if !is_marked(&output, rate) {
            return Err(RevealError::NotMarked);
        }
        let second = second_slot(&output, &self.accounts[0], seats).ok_or(RevealError::WrongSeat)?;
        if second.account != self.accounts[1] {
            return Err(RevealError::WrongSeat);
        }
        if self.labels[0] == self.labels[1] {
            return Err(RevealError::Labels);
        }
        Ok(())
    }
}

/// What two copies of a microbatch showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    Equal,
    /// They differ: a third seat computes the unit at once, and nothing of either is aggregated before it has.
    Differ,
}

/// Compare one tensor of the two copies by digest. The receiver compares y, the sender dx.
pub fn compare(first: &Hash, second: &Hash) -> Compared {
    if first == second { Compared::Equal } else { Compared::Differ }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(microbatch: u32) -> DuplicateInput {
        DuplicateInput { run: Hash([1; 32]), beacon: Hash([2; 32]), step: 3, stage: 1, microbatch }
    }

    fn seats() -> Vec<Candidate> {
        (0..4u8)
            .map(|n| Candidate {
                slot: n.into(),
                account: PublicKey([n + 1; 32]),
                operator: Hash([n / 2; 32]),
                held_state: true,
                on_probation: false,
            })
            .collect()
    }

    #[test]
    fn duplicates_come_at_their_rate_and_only_the_sender_knew() {
        let (key, other) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
        let marked = |key: &SecretKey| -> Vec<u32> {
            (0..2000).filter(|mb| is_marked(&draw(key, &input(*mb)).output, 500)).collect()
        };
        let (mine, others) = (marked(&key), marked(&other));
        // 100 expected, deviation 9.7.
        assert!((70..=130).contains(&mine.len()), "{}", mine.len());
        let shared = mine.iter().filter(|mb| others.contains(mb)).count();
        assert!(shared < 20, "two senders' draws are independent, {shared} shared");
    }

    #[test]
    fn a_reveal_holds_only_for_the_drawn_copy() {
        let (key, seats) = (SecretKey::from_seed([1; 32]), seats());
        let marked = (0..).find(|mb| is_marked(&draw(&key, &input(*mb)).output, 500)).unwrap();
        let reveal = |microbatch: u32| {
            let drawn = draw(&key, &input(microbatch));
            let second = second_slot(&drawn.output, &seats[0].account, &seats).unwrap();
            assert_ne!(second.operator, seats[0].operator);
            DuplicateReveal {
                input: input(microbatch),
                sender: key.public(),
                labels: [[1; 16], [2; 16]],
                accounts: [seats[0].account, second.account],
                proof: drawn.proof,
            }
        };
        let good = reveal(marked);
        assert_eq!(good.verify(500, &seats), Ok(()));
        let plain = (0..).find(|mb| !is_marked(&draw(&key, &input(*mb)).output, 500)).unwrap();
        assert_eq!(reveal(plain).verify(500, &seats), Err(RevealError::NotMarked));
        let moved = DuplicateReveal { input: input(marked + 1), ..good.clone() };
        assert_eq!(moved.verify(500, &seats), Err(RevealError::Proof));
        let friend = DuplicateReveal { accounts: [seats[0].account, seats[1].account], ..good.clone() };
        assert_eq!(friend.verify(500, &seats), Err(RevealError::WrongSeat));
        let same = DuplicateReveal { labels: [[1; 16]; 2], ..good };
        assert_eq!(same.verify(500, &seats), Err(RevealError::Labels));
    }
}
