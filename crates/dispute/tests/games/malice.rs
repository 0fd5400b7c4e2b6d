//! Play disputes against somebody who does whatever the ledger takes: the honest side never loses.

use crate::setting::*;
use std::collections::BTreeMap;
use tessera_canon::{Blob, Domain, Hash, Prf};
use tessera_dispute::{account::Account, player};
use tessera_ledger::{
    action::{Commit, Prove, Step},
    record::{Dispute, DisputeLevel, DisputePhase, Verdict},
};

/// Lies in one to three tensors, told consistently or not.
fn a_liar<'a>(honest: &Account<'a>, random: &mut Prf) -> Account<'a> {
    let entries = honest.material.program.entries.len() as u64;
    let mut liar = honest.clone();
    for _ in 0..=random.below(3) {
        let entry = random.below(entries) as usize;
        let len: usize = honest.material.program.entries[entry].dims.iter().product();
        let (index, bit) = (random.below(len as u64) as usize, random.below(64) as u32);
        // A lie that makes a number overflow is no unit.
        liar = crate::setting::liar(&liar, entry, index, bit);
    }
    if liar.claim().unwrap() == honest.clone().claim().unwrap() {
        let mut claim = liar.claim().unwrap();
        claim.y = Hash([1; 32]);
        liar.claim_instead(claim);
    }
    liar
}

/// Spoil a commitment in a way that the ledger may or may not take.
fn spoiled(commit: &Commit, depth: usize, random: &mut Prf) -> Commit {
    let mut bytes = commit.children.to_vec();
    let mut head = commit.head;
    let width = if depth >= 5 { 4 } else { 32 };
    let count = bytes.len() / width;
    let at = random.below(count as u64) as usize * width;
    match random.below(5) {
        0 if count > 1 => drop(bytes.drain(at..at + width)),
        1 => bytes.splice(at..at, vec![7; width]).for_each(drop),
        2 if count > 1 => bytes[at.min((count - 2) * width)] ^= 1 << random.below(8),
        3 => head = head.map(|_| Hash([random.below(256) as u8; 32])),
        _ => bytes.iter_mut().take((count - 1) * width).for_each(|byte| *byte = random.below(256) as u8),
    }
    Commit { head, children: Blob::new(bytes).unwrap_or_default() }
}

fn games() -> u64 {
    std::env::var("TESSERA_DISPUTES").ok().and_then(|n| n.parse().ok()).unwrap_or(60)
}

#[test]
fn the_honest_side_wins_whatever_the_other_does() {
    let spec = spec();
    let world = start(&spec);
    let materials: Vec<_> = (0..spec.stage_count()).map(|stage| material(&spec, stage)).collect();
    let honest: Vec<Account> = materials
        .iter()
        .map(|material| {
            let mut account = Account::new(material).unwrap();
            account.trace().unwrap();
            account
        })
        .collect();
    let mut random = Prf::new(Domain::new("tessera/test/malice/v1"), b"1");
    let mut counts = BTreeMap::<String, u64>::new();
    for game in 0..games() {
        let stage = random.below(honest.len() as u64) as usize;
        let mut truth = honest[stage].clone();
        let ended = if game % 2 == 0 {
            let mut liar = a_liar(&truth, &mut random);
            let evidence = liar.claim().unwrap().digest();
            let mut tries = 0;
            let mut lie = |dispute: &Dispute, levels: &[DisputeLevel], said: Option<&Commit>| {
                let step = player::next(&mut liar, dispute, levels, said).ok().flatten();
                tries += 1;
                // At most so often, or the turn would never end.
                let spoil = tries < 20 && random.below(3) == 0;
                match step {
                    Some(Step::Commit(commit)) if spoil => {
                        Some(spoiled(&commit, dispute.level.into(), &mut random).into())
                    }
                    Some(Step::Prove(prove)) if spoil => {
                        let mut bytes = prove.part.to_vec();
                        for _ in 0..=random.below(3) {
                            let at = random.below(bytes.len() as u64) as usize;
                            bytes[at] ^= 1 << random.below(8);
                        }
                        Some(Prove { part: Blob::new(bytes).unwrap(), ..prove }.into())
                    }
                    other => other,
                }
            };
            let mut rules = |dispute: &Dispute, levels: &[DisputeLevel], said: Option<&Commit>| {
                Some(by_the_rules(&mut truth, dispute, levels, said).unwrap())
            };
            let ended = play(&world, spec.run_id(), stage as u16, evidence, &mut lie, &mut rules);
            assert!(!matches!(ended.verdict, None | Some(Verdict::Innocent)), "game {game}: {ended:?}");
            ended
        } else {
            let evidence = truth.claim().unwrap().digest();
            let mut rules = |dispute: &Dispute, levels: &[DisputeLevel], said: Option<&Commit>| {
                Some(by_the_rules(&mut truth, dispute, levels, said).unwrap())
            };
            let mut lie = |dispute: &Dispute, _: &[DisputeLevel], said: Option<&Commit>| {
                assert_eq!(dispute.phase, DisputePhase::Name);
                let said = player::committed(said.unwrap(), dispute.level.into()).unwrap();
                let mut name = player::name(&said, random.below(said.len() as u64) as usize).unwrap();
                match random.below(12) {
                    0 => name.before = None,
                    1 => name.child.value = Hash([random.below(256) as u8; 32]),
                    2 => name.child.path.index ^= 1,
                    _ => {}
                }
                Some(name.into())
            };
            let ended = play(&world, spec.run_id(), stage as u16, evidence, &mut rules, &mut lie);
            // A challenger that sends nothing that is taken lets its turn pass.
            assert_eq!(ended.verdict, Some(Verdict::Innocent), "game {game}: {ended:?}");
            ended
        };
        let how = if ended.timed_out { "no turn" } else { "judged" };
        let side = if game % 2 == 0 { "liar accused" } else { "liar challenges" };
        *counts.entry(format!("{side}: {:?}, {how}", ended.verdict)).or_default() += 1;
    }
    println!("{} games: {counts:?}", games());
}
