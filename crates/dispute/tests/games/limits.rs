//! What is not narrowed to a step: false evidence over a true trace, turns that are let pass, units beyond the game.

use crate::setting::*;
use tessera_canon::Hash;
use tessera_dispute::{account::Account, claim::UnitClaim, player};
use tessera_ledger::record::Verdict;
use tessera_model::RunSpec;

#[test]
fn true_parts_that_are_not_what_was_signed_convict_at_once() {
    let spec = spec();
    let world = start(&spec);
    for stage in 0..spec.stage_count() {
        let material = material(&spec, stage);
        let honest = Account::new(&material).unwrap();
        let truth = honest.clone().claim().unwrap();
        for field in 0..3 {
            let mut claim = truth.clone();
            *[&mut claim.y, &mut claim.dx, &mut claim.dw][field] = Hash([3; 32]);
            let mut liar = honest.clone();
            liar.claim_instead(claim);
            let ended = duel(&world, &mut liar, &mut honest.clone());
            assert_eq!(
                (ended.verdict, ended.messages),
                (Some(Verdict::Mismatch), 2),
                "stage {stage}: {ended:?}"
            );
        }
        // A challenger who says so of what is true.
        let mut challenger = honest.clone();
        challenger.claim_instead(UnitClaim { y: Hash([3; 32]), ..truth });
        let ended = duel(&world, &mut honest.clone(), &mut challenger);
        assert_eq!((ended.verdict, ended.timed_out), (Some(Verdict::Innocent), false), "{ended:?}");
    }
}

#[test]
fn a_turn_that_is_let_pass_is_lost() {
    let spec = spec();
    let world = start(&spec);
    let material = material(&spec, 1);
    let mut honest = Account::new(&material).unwrap();
    let evidence = honest.claim().unwrap().digest();
    for turns in [0, 3, 7] {
        let mut left = turns;
        let mut one = honest.clone();
        let silent = play(
            &world,
            spec.run_id(),
            1,
            evidence,
            &mut |dispute, levels, said| {
                left -= 1;
                (left >= 0).then(|| by_the_rules(&mut one, dispute, levels, said)).flatten()
            },
            &mut |dispute, levels, said| by_the_rules(&mut honest, dispute, levels, said),
        );
        assert_eq!((silent.verdict, silent.timed_out), (Some(Verdict::Mismatch), true), "{silent:?}");
        let mut left = turns;
        let mut one = honest.clone();
        let silent = play(
            &world,
            spec.run_id(),
            1,
            evidence,
            &mut |dispute, levels, said| by_the_rules(&mut honest, dispute, levels, said),
            &mut |dispute, levels, said| {
                left -= 1;
                (left >= 0).then(|| by_the_rules(&mut one, dispute, levels, said)).flatten()
            },
        );
        let all = silent.path.len() == 7;
        assert_eq!((silent.verdict, silent.timed_out), (Some(Verdict::Innocent), !all), "{silent:?}");
    }
}

#[test]
fn a_chunk_of_zeros_shows_that_nothing_was_computed() {
    let spec = spec();
    let world = start(&spec);
    let material = material(&spec, 1);
    let honest = Account::new(&material).unwrap();
    let y = material.program.results.y;
    let mut lazy = honest.clone();
    let zeros = tessera_dispute::account::Tensor::Numbers(vec![0.0; spec.boundary_values()]);
    lazy.replace(y, zeros);
    let ended = duel(&world, &mut lazy, &mut honest.clone());
    assert_eq!(ended.verdict, Some(Verdict::Fraud), "{ended:?}");
}

#[test]
fn units_beyond_the_game_convict_nobody() {
    let spec = RunSpec::preset("base").unwrap();
    let world = start_stages(&spec, 6);
    let claim = UnitClaim {
        run: spec.run_id(),
        stage: 1,
        step: 0,
        unit: Hash::ZERO,
        weights: Hash::ZERO,
        x: Hash::ZERO,
        dy: Hash::ZERO,
        y: Hash::ZERO,
        dx: Hash::ZERO,
        dw: Hash::ZERO,
    };
    let proof = player::beyond(&spec, &claim).unwrap();
    let ended =
        play(&world, spec.run_id(), 1, claim.digest(), &mut |_, _, _| Some(proof.clone()), &mut |_, _, _| {
            None
        });
    assert_eq!((ended.verdict, ended.messages), (Some(Verdict::Innocent), 1), "{ended:?}");
    // Not so where they fit.
    let spec = crate::setting::spec();
    let (world, material) = (start(&spec), material(&spec, 1));
    let mut liar = liar(&Account::new(&material).unwrap(), 0, 0, 0);
    let claim = liar.claim().unwrap();
    let proof = player::beyond(&spec, &claim).unwrap();
    let ended =
        play(&world, spec.run_id(), 1, claim.digest(), &mut |_, _, _| Some(proof.clone()), &mut |_, _, _| {
            None
        });
    assert_eq!((ended.verdict, ended.messages), (Some(Verdict::Mismatch), 0), "{ended:?}");
}
