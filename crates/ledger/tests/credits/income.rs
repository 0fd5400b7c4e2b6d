//! Show that neither the time of a claim nor a split identity changes what an owner earns (4.7: P4, P8).

use tessera_canon::{Domain, Hash, Prf, PublicKey};
use tessera_ledger::{accumulator, record::*};

const RUN: Hash = Hash([9; 32]);

/// Pay 300 epochs of up to 50 credits to `shares`; each owner claims every `claims` epochs and at the end.
fn earned(shares: &[u128], claims: u64, seed: u64) -> Vec<u64> {
    let mut random = Prf::new(Domain::new("tessera/test/income/v1"), &seed.to_be_bytes());
    let mut credits = Credits { active: shares.iter().sum(), ..Credits::new(RUN) };
    let fresh = |shares: &u128| Owner {
        run: RUN,
        account: PublicKey::default(),
        shares: *shares,
        pending: 0,
        acc_seen: Wide::default(),
        frac: 0,
        due: 0,
    };
    let mut owners: Vec<Owner> = shares.iter().map(fresh).collect();
    let mut paid = vec![0; shares.len()];
    for epoch in 1..=300 {
        credits.pool = random.below(50);
        accumulator::distribute(&mut credits);
        if epoch % claims == 0 || epoch == 300 {
            for (owner, paid) in owners.iter_mut().zip(&mut paid) {
                accumulator::touch(owner, &credits);
                *paid += std::mem::take(&mut owner.due);
            }
        }
    }
    paid
}

#[test]
fn claiming_often_or_once_pays_the_same_and_splitting_pays_no_more() {
    let mut random = Prf::new(Domain::new("tessera/test/income/v1"), b"shares");
    let (mut lost, mut tried) = (0, 0);
    for seed in 0..120 {
        let whole = u128::from(1 + random.below(1_000_000_000));
        let others: Vec<u128> = (0..5).map(|_| u128::from(1 + random.below(1_000_000_000))).collect();
        let all = |parts: &[u128]| [parts, &others].concat();
        let once = earned(&all(&[whole]), 300, seed);
        for claims in [1, 7] {
            assert_eq!(earned(&all(&[whole]), claims, seed), once, "seed {seed}, every {claims} epochs");
        }
        for count in [2, 5, 50u128] {
            let mut parts = vec![whole / count; count as usize];
            parts[0] += whole - parts.iter().sum::<u128>();
            let got: u64 = earned(&all(&parts), 7, seed)[..count as usize].iter().sum();
            assert!(got <= once[0] && once[0] - got < count as u64, "seed {seed}: {got} of {}", once[0]);
            (lost, tried) = (lost + once[0] - got, tried + 1);
        }
    }
    println!("{tried} splits lost {lost} credits and gained none");
    assert!(lost > 0);
}
