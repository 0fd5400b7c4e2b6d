//! Play many random dispute games of a small integer machine without transactions: one honest party always wins.
//!
//! `TESSERA_GAMES` sets how many (10 000 if absent).

use super::{
    game,
    kind::Kind,
    record::{Dispute, DisputePhase, Verdict},
};
use crate::{
    action::Step,
    block::BlockContext,
    store::{Cells, ListChanges, Stop, View},
};
use machine::{Account, MachineReferee, name, said};
use tessera_canon::{Domain, Hash, Prf, PublicKey};

#[path = "../../tests/trust/machine.rs"]
mod machine;

fn dispute(evidence: Hash) -> Dispute {
    Dispute {
        id: Hash([1; 32]),
        run: Hash([2; 32]),
        window: 0,
        stage: 0,
        index: 0,
        challenger: PublicKey([3; 32]),
        accused: PublicKey([4; 32]),
        bond: 0,
        counter: 0,
        audit: false,
        paneled: false,
        late: false,
        phase: DisputePhase::Commit,
        kind: Some(Kind::Dot),
        evidence,
        level: 0,
        proof: 0,
        deadline: 0,
    }
}

/// The accused tells `told`; the challenger compares with `truth`, or names children at random.
fn play(told: &Account, truth: Option<&Account>, random: &mut Prf) -> Verdict {
    let context = BlockContext {
        network: Hash::ZERO,
        height: 1,
        time_ms: 0,
        beacon: Hash::ZERO,
        proposer: PublicKey::default(),
    };
    let (cells, lists) = (Cells::new(), ListChanges::new());
    let mut view = View::new(&context, &MachineReferee, &cells, &cells, &lists);
    let mut dispute = dispute(told.evidence());
    let mut path = Vec::new();
    let mut take = |dispute: &mut Dispute, step: &Step| -> Result<Option<Verdict>, Stop> {
        match step {
            Step::Commit(step) => game::commit(&mut view, dispute, step).map(|()| None),
            Step::NameChild(step) => game::name(&mut view, dispute, step).map(|()| None),
            Step::Prove(step) => game::prove(&mut view, dispute, step),
            Step::Escalate(_) | Step::Accuse(_) => unreachable!("not part of the game"),
        }
    };
    while dispute.phase != DisputePhase::Prove {
        let committed = told.commit(&path);
        take(&mut dispute, &committed).expect("a consistent account is bound to what is above");
        let children = said(&committed, path.len());
        let at = match truth {
            Some(truth) => truth.first_false(&path, &children),
            None => random.below(children.len() as u64) as usize,
        };
        take(&mut dispute, &name(&committed, path.len(), at)).expect("the child was committed");
        path.push(at);
    }
    match take(&mut dispute, &told.prove(&path)) {
        Ok(Some(verdict)) => verdict,
        // A proof whose input is not the agreed one is refused; without another the time runs out.
        Err(Stop::Refused(_)) => Verdict::Mismatch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn honest_challengers_convict_every_lie_and_nobody_convicts_the_honest() {
    let games: u64 = std::env::var("TESSERA_GAMES").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let mut random = Prf::new(Domain::new("tessera/test/games/v1"), b"1");
    let truth = Account::honest();
    let mut convicted = 0;
    for game in 0..games {
        if game % 2 == 0 {
            let lie = Account::lie(&mut random);
            assert_ne!(lie.evidence(), truth.evidence());
            assert_eq!(play(&lie, Some(&truth), &mut random), Verdict::Mismatch, "game {game}: {lie:?}");
            convicted += 1;
        } else {
            assert_eq!(play(&truth, None, &mut random), Verdict::Innocent, "game {game}");
        }
    }
    println!("{games} games, {convicted} lies convicted, {} honest acquitted", games - convicted);
}
