//! Name the cells of proposals, votes and voting power. `run` is [`Hash::ZERO`] for the network.

use crate::{
    cell::Key,
    keys::{LIST, key},
};
use tessera_canon::{Hash, PublicKey, digest};

/// [`crate::governance::terms::GovernanceTerms`].
pub fn governance() -> Key {
    key(100, 0u8)
}
/// [`crate::record::Proposal`].
pub fn proposal(id: &Hash) -> Key {
    key(101, *id)
}
/// [`crate::record::ProposalMotion`].
pub fn motion(id: &Hash) -> Key {
    key(102, *id)
}
/// [`crate::record::Tally`].
pub fn tally(id: &Hash) -> Key {
    key(103, *id)
}
/// [`crate::record::Ballot`] of an account.
pub fn ballot(proposal: &Hash, account: &PublicKey) -> Key {
    key(104, (*proposal, *account))
}
/// [`crate::record::VoteLock`].
pub fn vote_lock(run: &Hash, account: &PublicKey) -> Key {
    key(105, (*run, *account))
}
/// [`crate::record::Delegation`].
pub fn delegation(run: &Hash, account: &PublicKey) -> Key {
    key(106, (*run, *account))
}
/// [`crate::record::Proposer`].
pub fn proposer(account: &PublicKey) -> Key {
    key(107, *account)
}
/// [`crate::record::Assembly`].
pub fn assembly(run: &Hash) -> Key {
    key(108, *run)
}
/// [`crate::record::ChamberWork`].
pub fn chamber_work(run: &Hash, account: &PublicKey) -> Key {
    key(109, (*run, *account))
}
/// The newest [`crate::record::History`] of a subject.
pub fn history(subject: &Hash) -> Key {
    key(110, *subject)
}
/// An older [`crate::record::History`] of a subject.
pub fn history_until(subject: &Hash, until: u64) -> Key {
    key(111, (*subject, until))
}

/// Proposals that are open or wait for their delay, by id.
pub fn list_of_pending_proposals() -> Hash {
    digest(LIST, &(100u8, Hash::ZERO))
}
/// All proposals of a run, by id.
pub fn list_of_proposals(run: &Hash) -> Hash {
    digest(LIST, &(101u8, *run))
}
