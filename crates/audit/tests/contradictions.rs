//! Trainers that claim one tensor and signed another, through the real ledger and the referee of validators; and honest
//! ones, whom nothing that they signed convicts.

#[path = "../../ledger/tests/world/mod.rs"]
mod ledger_world;

use ledger_world::*;
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};
use tessera_audit::{
    referee::{Contradiction, TrustReferee},
    unit::{
        Commitment, Direction, EdgeReceipt, Label, SignedHeader, StepContext, StepHeader, UnitId, UnitLeaf,
    },
};
use tessera_canon::{Blob, Hash, PublicKey, encode};
use tessera_ledger::{
    Event, TxError,
    action::{Accusation, Contradict, OpenDispute, RotateKey, Rotation},
    genesis::Parameters,
    query,
    record::{ClaimState, Verdict},
    referee::{Referee, RefereeError},
    runs::policy::{Bounds, Policy},
    trust::{TrustParams, kind::Kind},
};

const BOND: u128 = 5_000_000;
/// The seats that are accused, above and below it, and one more of each side; the challenger has none.
const ACCUSED: u32 = 2;
const UP: u32 = 0;
const DOWN: u32 = 3;
const OTHER: u32 = 4;
const CHALLENGER: u32 = 7;
const STAGE: u16 = 0;
const STEP: u64 = 5;

fn start() -> World {
    let parameters = Parameters {
        base: tessera_ledger::genesis::Params { lapse_blocks: 1_000_000, ..params() },
        policy: Policy {
            pending_windows: 3,
            transfer_lock: 8,
            audit_rate: 50,
            theta: 0,
            work_price: 1_000,
            ..Policy::default()
        },
        bounds: Bounds { pending_windows_from: 1, deterrence: false, ..Bounds::default() },
        trust: TrustParams { step_blocks: 6, slash_floor: 1_000_000, ..TrustParams::demo() },
        ..Parameters::demo()
    };
    let mut world = World::new(8, parameters);
    world.referee = Arc::new(TrustReferee);
    let mut create = create_run(RUN, 1, 6);
    (create.seats, create.steps, create.f_star, create.f_min, create.f_exclusive) = (20, 40, 2400, 48, 120);
    world.ok(0, create);
    let joins: Vec<_> = (0..6).map(|i| world.tx(i, join(RUN, i))).collect();
    world.block(&joins);
    world.blocks(1);
    for _ in 0..3 {
        world.close_window(RUN, 9_000_000);
        world.blocks(3);
    }
    world
}
static STARTED: LazyLock<World> = LazyLock::new(start);

const IN: Label = [1; 16];
const OUT: Label = [2; 16];

/// A unit of the accused as it claims it.
fn leaf(number: u8) -> UnitLeaf {
    let hash = |kind: u8| Hash([kind + 10 * number; 32]);
    let label = |label: Label| label.map(|byte| byte + 10 * number);
    let (run, generation, step, stage, slot, worker) = (RUN, 0, STEP, STAGE, 0, public(ACCUSED));
    UnitLeaf {
        unit: UnitId { run, generation, step, stage, label: label(IN), slot, worker },
        out: label(OUT),
        w_root: Hash([99; 32]),
        weights: Hash([98; 32]),
        x: hash(1),
        y: hash(2),
        dy: hash(3),
        dx: hash(4),
        dw: hash(5),
        arithmetic: tessera_model::ARITHMETIC_VERSION,
    }
}

/// What the accused committed to in the step: three units.
fn committed(world: &World) -> (Commitment, SignedHeader) {
    let units = (0..3).map(|number| (leaf(number), public(UP), public(DOWN)));
    let commitment = Commitment::new(units.collect(), &[]).unwrap();
    let context = StepContext {
        network: world.network,
        run: RUN,
        window: 2,
        stage: STAGE,
        generation: 0,
        step: STEP,
        w_root: Hash([99; 32]),
        weights: Hash([98; 32]),
    };
    let (grad, canary, previous) = (Hash([97; 32]), Hash([96; 32]), Hash::ZERO);
    let header = commitment.header(&key(ACCUSED), (0, 0), &context, grad, canary, previous);
    (commitment, header)
}

fn receipt(from: u32, to: u32, direction: Direction, label: Label, digest: Hash) -> EdgeReceipt {
    let (from, to) = (public(from), public(to));
    EdgeReceipt { run: RUN, generation: 0, step: STEP, label, from, to, direction, digest }
}

/// The accusation of unit `number`, and the proof with a receipt that `by` signed.
fn proof(world: &World, number: u8, receipt: EdgeReceipt, by: u32) -> (OpenDispute, Contradiction) {
    let (commitment, header) = committed(world);
    let unit = leaf(number).unit;
    let (opened, path) = commitment.open(&unit).unwrap();
    let StepHeader { units_root: root, generation, step, .. } = header.value;
    let claim = opened.claim();
    let accusation = Accusation {
        kind: Kind::Dot,
        evidence: claim.digest(),
        path,
        generation,
        step,
        root,
        rest: header.value.id(),
        signature: header.signature,
    };
    let claims = query::claims_of_stage(world.get(), &RUN, 2, STAGE);
    let index = claims.iter().position(|claim| claim.account == public(ACCUSED)).unwrap() as u16;
    let dispute =
        OpenDispute { run: RUN, window: 2, stage: STAGE, index, bond: BOND, accusation: Some(accusation) };
    let at = commitment.list().units.iter().position(|edges| edges.label == unit.label).unwrap();
    let edges = commitment.list().units[at].clone();
    let path = commitment.list().path(at).unwrap();
    let signature = receipt.sent(&key(by));
    (dispute, Contradiction { header: header.value, edges, path, claim, receipt, signature })
}

fn send(world: &mut World, (dispute, proof): (OpenDispute, Contradiction)) -> Result<Vec<Event>, TxError> {
    let bytes = encode(&proof);
    let proof = Blob::new(bytes.to_vec()).expect("a proof fits");
    let tx = world.tx(CHALLENGER, Contradict { dispute, proof });
    let outcome = world.block(&[tx]);
    match outcome.receipts[0].error.clone() {
        Some(error) => Err(error),
        None => Ok(outcome.events),
    }
}

fn refused(reason: &str) -> Result<Vec<Event>, TxError> {
    Err(TxError::Referee { reason: format!("an input of the step is not the agreed one: {reason}") })
}

const FALSE: Hash = Hash([77; 32]);

/// Every tensor of a unit, with the side on which the accused stands.
fn edges() -> [(&'static str, EdgeReceipt); 4] {
    use Direction::{Backward, Forward};
    [
        ("x", receipt(UP, ACCUSED, Forward, IN, FALSE)),
        ("y", receipt(ACCUSED, DOWN, Forward, OUT, FALSE)),
        ("dy", receipt(DOWN, ACCUSED, Backward, OUT, FALSE)),
        ("dx", receipt(ACCUSED, UP, Backward, IN, FALSE)),
    ]
}

#[test]
fn who_signed_another_tensor_than_it_claims_is_convicted_at_once() {
    let mut longest = 0;
    for (what, receipt) in edges() {
        let mut world = STARTED.clone();
        let before = world.balance(CHALLENGER);
        let proof = proof(&world, 0, receipt, ACCUSED);
        longest = longest.max(encode(&proof.1).len());
        let events = send(&mut world, proof).expect(what);
        let mut seen = (false, false, None, None);
        for event in &events {
            match event {
                Event::Contradicted(told) => seen.0 = (told.generation, told.step) == (0, STEP),
                Event::DisputeClosed(closed) => {
                    seen.1 = closed.verdict == Some(Verdict::Fraud) && closed.game
                }
                Event::Slashed(slashed) => seen.2 = Some((slashed.account, slashed.verdict)),
                Event::RolledBack(back) => seen.3 = Some((back.generation, back.step)),
                _ => {}
            }
        }
        assert_eq!((seen.0, seen.1), (true, true), "{what}");
        assert_eq!(seen.2, Some((public(ACCUSED), Verdict::Fraud)), "{what}");
        assert_eq!(seen.3, Some((1, 0)), "{what}: all that was pending of it is undone");
        // The bond is back; only the fee is gone. All that was pending is void, and the seat is lost.
        assert_eq!(world.balance(CHALLENGER), before - 500_000);
        let owner = query::owner(world.get(), &RUN, &public(ACCUSED)).unwrap();
        assert_eq!(owner.pending, 0);
        assert_eq!(query::member(world.get(), &RUN, &public(ACCUSED)).unwrap().seat, None);
        let claims = query::claims_of_stage(world.get(), &RUN, 2, STAGE);
        assert!(
            claims
                .iter()
                .filter(|claim| claim.account != public(ACCUSED))
                .all(|c| c.state == ClaimState::Pending)
        );
        assert_eq!(query::disputes(world.get()), Vec::new());
        assert_eq!(query::audit_stats(world.get(), &RUN).unwrap().guilty, 1);
    }
    println!("a proof has {longest} bytes");
}

#[test]
fn what_the_accused_sent_to_a_third_seat_counts_as_well() {
    let mut world = STARTED.clone();
    let third = proof(&world, 0, receipt(ACCUSED, OTHER, Direction::Forward, OUT, FALSE), ACCUSED);
    send(&mut world, third).expect("the label is the accused's own");
}

/// What must not convict, each with its name.
#[test]
fn a_proof_of_anything_else_is_refused_by_name() {
    use Direction::{Backward, Forward};
    let mut world = STARTED.clone();
    let unsigned = TxError::Evidence { detail: "the accused did not sign what contradicts its claim" };
    let claimed = leaf(0);
    let [(_, x), (_, y), (_, dy), (_, dx)] = edges();
    for (receipt, by, expected) in [
        // Others' signatures, on either side.
        (x.clone(), UP, Err(unsigned.clone())),
        (y.clone(), DOWN, Err(unsigned.clone())),
        (dy.clone(), CHALLENGER, Err(unsigned.clone())),
        // What is claimed was signed.
        (
            EdgeReceipt { digest: claimed.x, ..x.clone() },
            ACCUSED,
            refused("the receipt is of the tensor that is claimed"),
        ),
        (
            EdgeReceipt { digest: claimed.dx, ..dx.clone() },
            ACCUSED,
            refused("the receipt is of the tensor that is claimed"),
        ),
        // Another transfer.
        (
            EdgeReceipt { step: 4, ..x.clone() },
            ACCUSED,
            refused("the receipt is of another run, generation or step"),
        ),
        (
            EdgeReceipt { generation: 1, ..x.clone() },
            ACCUSED,
            refused("the receipt is of another run, generation or step"),
        ),
        (
            EdgeReceipt { run: Hash([3; 32]), ..x.clone() },
            ACCUSED,
            refused("the receipt is of another run, generation or step"),
        ),
        (
            EdgeReceipt { label: [9; 16], ..x.clone() },
            ACCUSED,
            refused("the receipt has the label of another unit"),
        ),
        (
            EdgeReceipt { to: public(OTHER), ..x.clone() },
            ACCUSED,
            refused("the accused is on neither side of the receipt"),
        ),
        // The other direction of the same edge, and a neighbour that the header does not name.
        (
            receipt(ACCUSED, UP, Forward, IN, FALSE),
            ACCUSED,
            refused("the receipt is of another side or direction of the unit's edges"),
        ),
        (
            receipt(UP, ACCUSED, Backward, IN, FALSE),
            ACCUSED,
            refused("the receipt is of another side or direction of the unit's edges"),
        ),
        (
            receipt(OTHER, ACCUSED, Forward, IN, FALSE),
            ACCUSED,
            refused("the receipt is of another side or direction of the unit's edges"),
        ),
        (
            receipt(OTHER, ACCUSED, Backward, OUT, FALSE),
            ACCUSED,
            refused("the receipt is of another side or direction of the unit's edges"),
        ),
        (
            receipt(ACCUSED, OTHER, Backward, IN, FALSE),
            ACCUSED,
            refused("the receipt is of another side or direction of the unit's edges"),
        ),
    ] {
        let proof = proof(&world, 0, receipt.clone(), by);
        assert_eq!(send(&mut world, proof), expected, "{receipt:?} by {by}");
    }
    let good = || proof(&STARTED, 0, x.clone(), ACCUSED);
    let changed = |change: &dyn Fn(&mut OpenDispute, &mut Contradiction)| {
        let (mut dispute, mut proof) = good();
        change(&mut dispute, &mut proof);
        (dispute, proof)
    };
    let other = || proof(&STARTED, 1, x.clone(), ACCUSED).1;
    for (proof, expected) in [
        (
            changed(&|_, proof| proof.header.canary = Hash::ZERO),
            refused("the header is not the one that was signed"),
        ),
        (changed(&|_, proof| proof.claim.y = Hash::ZERO), refused("the claim is not the evidence")),
        (changed(&|_, proof| proof.claim = other().claim), refused("the claim is not the evidence")),
        (
            changed(&|_, proof| proof.edges.up = public(OTHER)),
            refused("the labels are not in the header's list"),
        ),
        (
            changed(&|_, proof| (proof.edges, proof.path) = (other().edges, other().path)),
            refused("the labels are those of another unit"),
        ),
        (
            changed(&|dispute, _| dispute.accusation = None),
            Err(TxError::Evidence { detail: "a contradiction needs the accused's statement" }),
        ),
        (
            changed(&|dispute, _| dispute.accusation.as_mut().unwrap().kind = Kind::State),
            Err(TxError::Evidence { detail: "only claims of units are contradicted" }),
        ),
        (
            changed(&|dispute, _| dispute.accusation.as_mut().unwrap().rest = Hash::ZERO),
            Err(TxError::Evidence { detail: "the accused did not sign the statement" }),
        ),
        (
            changed(&|dispute, _| dispute.accusation.as_mut().unwrap().evidence = Hash::ZERO),
            Err(TxError::Evidence { detail: "the evidence is not part of the statement" }),
        ),
    ] {
        assert_eq!(send(&mut world, proof), expected);
    }
    let (dispute, _) = good();
    let error = world.run(CHALLENGER, Contradict { dispute, proof: Blob::new(vec![1, 2, 3]).unwrap() }).error;
    assert!(
        matches!(&error, Some(TxError::Referee { reason }) if reason.starts_with("the proof is malformed")),
        "{error:?}"
    );
    // None of it touched anybody, and the proof that holds is still taken.
    assert_eq!(query::audit_stats(world.get(), &RUN), None);
    send(&mut world, good()).expect("the proof that holds");
}

/// A key that was given up signs nothing that counts.
#[test]
fn a_key_of_the_past_does_not_convict() {
    let mut world = STARTED.clone();
    let (network, account, next) = (world.network, public(ACCUSED), key(302).public());
    let rotation = Rotation { network, account, key: next };
    world.ok(
        ACCUSED,
        RotateKey { key: next, signature: key(302).sign(tessera_ledger::action::ROTATION, &rotation) },
    );
    world.blocks(4);
    // The statement was signed in its time by the key of that time; so must the receipt be.
    let by_the_new_key = proof(&world, 0, edges()[0].1.clone(), 302);
    let unsigned = TxError::Evidence { detail: "the accused did not sign what contradicts its claim" };
    assert_eq!(send(&mut world, by_the_new_key), Err(unsigned));
    let by_the_old_key = proof(&world, 0, edges()[0].1.clone(), ACCUSED);
    send(&mut world, by_the_old_key).expect("it was the key of that window");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    /// An honest seat signs one digest for each tensor of a unit, the claimed one. Whatever others combine of all that it
    /// signed, with what they sign themselves under labels of their own choice, its signature is not found to be missing
    /// a contradiction: the referee either refuses, or asks for a signature that it never gave.
    #[test]
    fn nothing_that_an_honest_seat_signed_convicts_it(
        number in 0u8..3, shown in 0u8..3, tensor in 0usize..4, signed in 0u8..3, peer in 0u32..6, foreign in any::<bool>(),
    ) {
        use Direction::{Backward, Forward};
        let world = &*STARTED;
        // What it signed of unit `signed`.
        let leaf = leaf(signed);
        let honest = [
            receipt(UP, ACCUSED, Forward, leaf.unit.label, leaf.x),
            receipt(ACCUSED, DOWN, Forward, leaf.out, leaf.y),
            receipt(DOWN, ACCUSED, Backward, leaf.out, leaf.dy),
            receipt(ACCUSED, UP, Backward, leaf.unit.label, leaf.dx),
        ];
        let mut told = honest[tensor].clone();
        if foreign && tensor != 1 {
            // Another neighbour chose the same label: for its own tensor the seat signed that one's digest.
            let peer = public([1, 4, 5][peer as usize % 3]);
            if told.from == public(ACCUSED) { told.to = peer } else { told.from = peer }
            told.digest = FALSE;
        }
        let (dispute, mut proof) = proof(world, number, told, ACCUSED);
        let other = self::proof(world, shown, honest[tensor].clone(), ACCUSED).1;
        (proof.edges, proof.path) = (other.edges, other.path);
        let accusation = dispute.accusation.unwrap();
        let judged = TrustReferee.contradicts(&proof.header.statement(), &accusation.evidence, &encode(&proof));
        prop_assert!(matches!(judged, Err(RefereeError::Input(_))), "{judged:?}");
    }

    /// Bytes of a proof that was tampered with never give another thing to have signed than the receipt in them.
    #[test]
    fn tampered_proofs_are_refused_or_ask_for_the_receipt_in_them(at in 0usize..1600, to in any::<u8>(), cut in 0usize..1600) {
        let (_, proof) = proof(&STARTED, 0, edges()[0].1.clone(), ACCUSED);
        let mut bytes = encode(&proof).to_vec();
        let length = bytes.len();
        bytes[at % length] = to;
        if cut < length / 4 {
            bytes.truncate(cut);
        }
        let evidence = proof.claim.digest();
        if let Ok(signed) = TrustReferee.contradicts(&proof.header.statement(), &evidence, &bytes) {
            let told: Contradiction = tessera_canon::decode(&bytes).unwrap();
            prop_assert_eq!(signed.digest, tessera_canon::digest(tessera_audit::unit::RECEIPT, &told.receipt));
            prop_assert_eq!(told.receipt.label, IN);
            prop_assert_eq!(told.receipt.to, public(ACCUSED));
        }
    }
}

/// The default key stands for no seat: nobody is convicted of a transfer with it.
#[test]
fn a_stage_without_a_neighbour_has_nothing_to_contradict() {
    let world = &*STARTED;
    let (dispute, mut proof) = proof(world, 0, edges()[3].1.clone(), ACCUSED);
    proof.claim.dx = Hash::ZERO;
    let units = (0..3).map(|number| {
        let mut leaf = leaf(number);
        leaf.dx = Hash::ZERO;
        (leaf, public(UP), PublicKey::default())
    });
    let commitment = Commitment::new(units.collect(), &[]).unwrap();
    let header = &proof.header;
    let context = StepContext {
        network: header.network,
        run: RUN,
        window: 2,
        stage: STAGE,
        generation: 0,
        step: STEP,
        w_root: header.w_root,
        weights: header.weights,
    };
    let header = commitment.header(&key(ACCUSED), (0, 0), &context, Hash::ZERO, Hash::ZERO, Hash::ZERO);
    let at = commitment.list().units.iter().position(|edges| edges.label == IN).unwrap();
    proof.header = header.value;
    (proof.edges, proof.path) = (commitment.list().units[at].clone(), commitment.list().path(at).unwrap());
    let evidence = proof.claim.digest();
    drop(dispute);
    let judged = TrustReferee.contradicts(&proof.header.statement(), &evidence, &encode(&proof));
    assert_eq!(judged, Err(RefereeError::Input("the unit has no such tensor".into())));
}
