//! Play many random dispute games of a small integer machine without transactions: one honest party always wins.
//!
//! `TESSERA_GAMES` sets how many (10 000 if absent).

use super::{
    game,
    kind::Kind,
    record::{Dispute, DisputeLevel, DisputePhase, Verdict},
    referee::{FinalStep, Judgement, Referee, RefereeError},
};
use crate::{
    action::{MAX_PROOF_PART, Prove, Step},
    block::BlockContext,
    error::TxError,
    keys,
    store::{Cells, ListChanges, Stop, View},
};
use machine::{Account, MachineReferee, name, said};
use tessera_canon::{Blob, Domain, Hash, Prf, PublicKey};

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
        unit: None,
        work: None,
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
            Step::Escalate(_) | Step::Accuse(_) | Step::Open(_) | Step::Proceed(_) => {
                unreachable!("not part of the game")
            }
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

/// Takes a proof of a row for right if it is the expected bytes.
struct RowReferee(Vec<u8>);
impl Referee for RowReferee {
    fn supports(&self, kind: Kind) -> bool {
        kind == Kind::Row
    }
    fn judge(&self, step: &FinalStep) -> Result<Judgement, RefereeError> {
        assert_eq!((step.kind, step.levels.len()), (Kind::Row, 5));
        Ok(if step.proof == self.0 { Judgement::Innocent } else { Judgement::Fraud })
    }
}

#[test]
fn a_proof_of_a_row_comes_in_parts_and_can_begin_anew() {
    let context = BlockContext {
        network: Hash::ZERO,
        height: 1,
        time_ms: 0,
        beacon: Hash::ZERO,
        proposer: PublicKey::default(),
    };
    let whole: Vec<u8> = (0..Kind::Row.proof()).map(|i| (i * 7 % 251) as u8).collect();
    let referee = RowReferee(whole.clone());
    let (cells, lists) = (Cells::new(), ListChanges::new());
    let mut view = View::new(&context, &referee, &cells, &cells, &lists);
    let mut dispute =
        Dispute { kind: Some(Kind::Row), phase: DisputePhase::Prove, level: 4, ..dispute(Hash::ZERO) };
    for level in 0..5 {
        view.put(
            keys::dispute_level(&dispute.id, level),
            DisputeLevel {
                dispute: dispute.id,
                level,
                head: Hash::ZERO,
                root: Hash::ZERO,
                count: 1,
                index: 0,
                child: Hash::ZERO,
                before: None,
            },
        );
    }
    let prove = |at: u8, part: &[u8], last: bool| Prove {
        at,
        part: Blob::new(part.to_vec()).expect("within the bound"),
        last,
    };
    let parts: Vec<&[u8]> = whole.chunks(MAX_PROOF_PART).collect();
    assert_eq!(parts.len(), 2);
    // A false start, then all of it; parts out of their order are refused.
    assert!(matches!(game::prove(&mut view, &mut dispute, &prove(0, &[9; MAX_PROOF_PART], false)), Ok(None)));
    assert!(matches!(game::prove(&mut view, &mut dispute, &prove(0, parts[0], false)), Ok(None)));
    let order = game::prove(&mut view, &mut dispute, &prove(2, parts[1], true));
    assert!(matches!(order, Err(Stop::Refused(TxError::Parameter { .. }))), "{order:?}");
    let long = game::prove(&mut view, &mut dispute, &prove(1, &[0; 12_225], true));
    assert!(matches!(long, Err(Stop::Refused(TxError::Parameter { .. }))), "{long:?}");
    let judged = game::prove(&mut view, &mut dispute, &prove(1, parts[1], true));
    assert!(matches!(judged, Ok(Some(Verdict::Innocent))), "{judged:?}");
    game::forget(&mut view, &dispute);
    assert!(view.effects.cells.values().all(Option::is_none), "nothing of it is kept");
}
