//! Feed arbitrary bytes to the judge of disputes as a proof, and as levels of arbitrary shape: no panic, and bounded
//! time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tessera_canon::{Hash, PublicKey, decode, encode};
use tessera_dispute::{judge::UnitReferee, proof::Proof};
use tessera_ledger::{
    referee::{FinalStep, LevelStep, Referee},
    trust::kind::Kind,
};

fuzz_target!(|bytes: &[u8]| {
    let (shape, proof) = bytes.split_at(bytes.len().min(29));
    let number = |at: usize| u16::from(shape.get(at).copied().unwrap_or(0));
    let levels = Kind::Dot.levels().iter().take(usize::from(number(28) % 8)).enumerate();
    let levels = levels.map(|(at, level)| LevelStep {
        shape: level.shape,
        head: Hash([number(4 * at) as u8; 32]),
        root: Hash([number(4 * at + 1) as u8; 32]),
        count: number(4 * at + 2) + 1,
        index: number(4 * at + 3).min(number(4 * at + 2)),
        child: Hash([number(4 * at) as u8; 32]),
        before: (number(4 * at + 3) > 0).then_some(Hash::ZERO),
    });
    let decoded = decode::<Proof>(proof).ok();
    if let Some(proof) = &decoded {
        assert_eq!(decode::<Proof>(&encode(proof)).unwrap(), *proof);
    }
    let claim = decoded.map(|proof| proof.claim);
    let step = FinalStep {
        kind: Kind::Dot,
        run: claim.as_ref().map_or(Hash::ZERO, |claim| claim.run),
        window: 0,
        stage: claim.as_ref().map_or(0, |claim| claim.stage),
        accused: PublicKey::default(),
        evidence: claim.as_ref().map_or(Hash::ZERO, |claim| claim.digest()),
        levels: levels.collect(),
        proof: proof.to_vec(),
    };
    let _ = UnitReferee.judge(&step);
});
