//! Feed arbitrary bytes to the referee as a proof that a trainer contradicts itself, as they are and made to fit its own
//! header: no panic, and what it asks to be signed is the receipt in the proof, of the accused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tessera_audit::{
    referee::{Contradiction, TrustReferee},
    unit::{RECEIPT, UnitList},
};
use tessera_canon::{Hash, decode, digest, encode};
use tessera_ledger::referee::Referee;

fn judge(proof: &Contradiction, evidence: Hash) {
    let judged = TrustReferee.contradicts(&proof.header.statement(), &evidence, &encode(proof));
    if let Ok(signed) = judged {
        assert_eq!(evidence, proof.claim.digest());
        assert_eq!(signed.digest, digest(RECEIPT, &proof.receipt));
        assert!([proof.receipt.from, proof.receipt.to].contains(&proof.header.worker));
    }
}

fuzz_target!(|bytes: &[u8]| {
    let (first, bytes) = bytes.split_at(bytes.len().min(1));
    let how = first.first().copied().unwrap_or(0);
    let Ok(mut proof) = decode::<Contradiction>(bytes) else {
        return;
    };
    assert_eq!(encode(&proof), bytes, "one encoding of a value");
    judge(&proof, Hash::ZERO);
    // Made to fit, so that more than the first check is reached.
    let list = UnitList { units: vec![proof.edges.clone()].try_into().unwrap() };
    (proof.header.units, proof.header.edges) = (1, list.root());
    proof.path = list.path(0).unwrap();
    proof.claim.unit = proof.header.unit_id(&proof.edges, &proof.path).unwrap().id();
    let (header, receipt) = (&proof.header, &mut proof.receipt);
    (receipt.run, receipt.generation, receipt.step) = (header.run, header.generation, header.step);
    receipt.label = if how & 1 == 0 { proof.edges.label } else { proof.edges.out };
    if how & 2 == 0 {
        receipt.to = header.worker;
    } else {
        receipt.from = header.worker;
    }
    judge(&proof, proof.claim.digest());
});
