//! Provoke every refusal of these rooms by name.

use crate::{accounts::bond, hall::*, world::*};
use std::collections::BTreeSet;
use tessera_canon::Hash;
use tessera_ledger::{
    action::*,
    governance::parameter::{Class, Parameter},
};

/// The variants of `TxError` in the block of these rooms, from the source.
fn names() -> BTreeSet<String> {
    let source = include_str!("../../src/error.rs");
    let body = source.split("    // Accounts, validators and governance.").nth(1).expect("the block");
    let body = body.split("\n    // ").next().expect("its end").split("\n}").next().expect("the enum's end");
    body.lines()
        .filter(|line| line.starts_with("    ") && line.as_bytes().get(4).is_some_and(u8::is_ascii_uppercase))
        .map(|line| line.trim().split([' ', ',', '{']).next().unwrap_or_default().to_string())
        .collect()
}

#[test]
fn every_refusal_has_its_case() {
    let mut world = World::voting_run(8);
    let mut seen = BTreeSet::new();
    let mut case = |world: &mut World, sender: u32, action: Action, expected: &str| {
        assert_eq!(world.refused(sender, action), expected);
        seen.insert(expected.to_string());
    };
    let w = &mut world;
    let reserve = |new| change(Parameter::Reserve, 0, new);
    // What a motion may not ask for.
    case(w, 0, motion(RUN, change(Parameter::PublicPart, 500, 199)).into(), "Forbidden");
    case(w, 0, motion(RUN, change(Parameter::PublicPart, 500, 499)).into(), "Forbidden");
    case(w, 0, motion(RUN, change(Parameter::PublicPart, 500, 2001)).into(), "Parameter");
    case(w, 0, motion(RUN, change(Parameter::GeneratedTokens, 64, 77)).into(), "Parameter");
    case(w, 0, motion(RUN, change(Parameter::RollHaircut, 1000, 100_000)).into(), "Parameter");
    case(w, 0, motion(RUN, change(Parameter::SupplyMode, 1, 2)).into(), "Parameter");
    case(w, 0, motion(RUN, change(Parameter::Theta, 5000, 10_001)).into(), "Parameter");
    case(w, 0, motion(RUN, reserve(0)).into(), "Parameter");
    case(w, 0, motion(RUN, changes(&[])).into(), "Parameter");
    let twice = changes(&[(Parameter::Reserve, 0, 1), (Parameter::Reserve, 0, 2)]);
    case(w, 0, motion(RUN, twice).into(), "Duplicate");
    // The wrong scope, class, run, deposit.
    case(w, 0, motion(RUN, change(Parameter::FeeFlat, 1000, 1)).into(), "Parameter");
    case(w, 0, motion(Hash::ZERO, reserve(1)).into(), "Parameter");
    case(w, 0, motion(Hash::ZERO, PauseRun {}).into(), "Parameter");
    case(w, 0, motion(Hash([5; 32]), reserve(1)).into(), "Unknown");
    case(w, 0, Propose { class: Class::C, ..motion(RUN, reserve(1)) }.into(), "Parameter");
    case(w, 0, Propose { deposit: DEPOSIT - 1, ..motion(RUN, reserve(1)) }.into(), "Parameter");
    case(w, 0, Propose { deposit: RICH * 2, ..motion(RUN, reserve(1)) }.into(), "Funds");
    case(w, 0, motion(RUN, ResumeTraining { max_wu: 0 }).into(), "Parameter");
    case(w, 0, motion(RUN, RaiseTarget { old: 5, new: 5 }).into(), "Parameter");
    case(w, 0, motion(RUN, AmendPlan { old: Hash::ZERO, new: Hash::ZERO }).into(), "Parameter");
    // Nobody is bonded, so the network has no voters.
    case(w, 0, motion(Hash::ZERO, change(Parameter::FeeFlat, 1000, 1)).into(), "Shares");
    let never = Propose { not_before: u64::MAX, ..motion(RUN, reserve(1)) };
    case(w, 0, never.into(), "Parameter");
    // Votes.
    case(w, 0, vote(Hash([3; 32]), Choice::Yes).into(), "Unknown");
    case(w, 0, Execute { proposal: Hash([3; 32]) }.into(), "Unknown");
    let id = w.propose(0, RUN, reserve(1));
    w.until_open(&id);
    case(w, 7, vote(id, Choice::Yes).into(), "NoPower");
    case(w, 7, for_others(id, Choice::Yes, vec![public(0)]).into(), "NotDelegate");
    let unordered = Vote { proposal: id, choice: Choice::Yes, of: list(vec![public(0), public(0)]) };
    case(w, 7, unordered.into(), "NotAscending");
    w.ok(0, vote(id, Choice::Yes));
    case(w, 0, TransferShares { run: RUN, to: public(5), amount: 1 }.into(), "VoteLocked");
    case(w, 0, Delegate { run: RUN, to: Some(public(0)) }.into(), "Parameter");
    case(w, 0, Delegate { run: RUN, to: None }.into(), "Parameter");
    case(w, 0, Delegate { run: Hash([3; 32]), to: Some(public(1)) }.into(), "Unknown");
    w.propose(6, RUN, reserve(2));
    w.propose(6, RUN, reserve(2));
    w.propose(6, RUN, reserve(2));
    case(w, 6, motion(RUN, reserve(3)).into(), "TooMany");
    w.until_done(&id);
    case(w, 0, Execute { proposal: id }.into(), "Closed");
    // Keys and validators; the slashing itself is in `accounts`.
    let stolen = RotateKey { key: public(9), signature: NO_SIGNATURE };
    case(w, 0, stolen.into(), "KeySignature");
    let mut forged = bond(w, 0, 500, 1_000_000);
    forged.key = public(501);
    case(w, 0, forged.into(), "KeySignature");
    seen.extend(["Slashed", "NotConflict", "Stale"].map(String::from));
    let missing: Vec<_> = names().difference(&seen).cloned().collect();
    // Slashed, NotConflict (`accounts`) and Stale (`votes`: a state of the proposal) are provoked elsewhere.
    assert!(missing.is_empty(), "{missing:?}");
}
