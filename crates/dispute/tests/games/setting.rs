//! Set up a run whose units are in dispute, the honest account of a unit, and a driver that plays a dispute to its end.
#![allow(unreachable_pub)] // each module uses its own part

use crate::world::*;
use std::sync::Arc;
use tessera_canon::{Domain, Hash, MerkleTree, Prf, digest};
use tessera_dispute::{
    account::{Account, Material, Tensor},
    judge::UnitReferee,
    player,
    program::Made,
};
use tessera_ledger::{
    Event,
    action::{Accusation, Commit, DisputeStep, OpenDispute, STATEMENT, Statement, Step},
    genesis::Parameters,
    keys, query,
    record::{Dispute, DisputeLevel, Verdict},
    runs::policy::{Bounds, Policy},
    trust::{TrustParams, kind::Kind},
};
use tessera_model::{RunSpec, StageWeights};

pub const BOND: u128 = 5_000_000;
const SEATS: u32 = 6;
/// An account outside the run.
pub const CHALLENGER: u32 = SEATS;

pub fn spec() -> RunSpec {
    RunSpec::preset("tiny").unwrap()
}

/// Inputs and weights of a unit of `stage`; like those of training, but weights are not only their first values.
pub fn material(spec: &RunSpec, stage: u16) -> Material {
    let weights = StageWeights::init(spec, stage).unwrap();
    let mut random = Prf::new(Domain::new("tessera/test/unit/v1"), &[stage as u8]);
    let (rows, values) = (spec.microbatch_tokens(), spec.boundary_values());
    let vocab = u64::from(spec.model.vocab);
    // Few tokens, so that one comes several times.
    let mut indices = |most: u64| Tensor::Indices((0..rows).map(|_| random.below(most) as u32).collect());
    let (tokens, labels) = (indices(vocab.min(40)), indices(vocab));
    let mut numbers = |scale: f32| {
        Tensor::Numbers((0..values).map(|_| (random.below(4001) as f32 - 2000.0) / scale).collect())
    };
    let (hidden, gradient) = (numbers(1024.0), numbers(65_536.0));
    let x = if weights.plan().first { tokens } else { hidden };
    let dy = if weights.plan().last { labels } else { gradient };
    let place = (stage, 0, Hash([7; 32]));
    Material::new(spec, place, x, dy, weights.tensors(), weights.exponents()).unwrap()
}

/// A run of all stages of `spec`, its first window reported; the referee is that of validators.
pub fn start(spec: &RunSpec) -> World {
    start_stages(spec, spec.stage_count())
}
/// As [`start`]; the ledger knows of so many stages.
pub fn start_stages(spec: &RunSpec, stages: u16) -> World {
    let parameters = Parameters {
        base: tessera_ledger::genesis::Params { lapse_blocks: 1_000_000, ..params() },
        policy: Policy {
            pending_windows: 3,
            transfer_lock: 8,
            audit_rate: 50,
            theta: 0,
            ..Policy::default()
        },
        bounds: Bounds { pending_windows_from: 1, deterrence: false, ..Bounds::default() },
        trust: TrustParams { step_blocks: 6, commit_blocks: 3, reveal_blocks: 3, ..TrustParams::demo() },
        ..Parameters::demo()
    };
    let mut world = World::new(SEATS + 2, parameters);
    world.referee = Arc::new(UnitReferee);
    let run = spec.run_id();
    let mut create = create_run(run, stages, SEATS);
    create.seats = 4;
    world.ok(0, create);
    let joins: Vec<_> = (0..SEATS).map(|i| world.tx(i, join(run, i))).collect();
    world.block(&joins);
    world.blocks(1);
    world.close_window(run, 9_000_000);
    world
}

/// How a dispute ended.
#[derive(Debug)]
pub struct Ended {
    pub verdict: Option<Verdict>,
    /// The referee judged, or somebody let a turn pass.
    pub timed_out: bool,
    /// Of the accused.
    pub messages: usize,
    pub bytes: usize,
    pub proof: usize,
    pub path: Vec<usize>,
}

/// What a player sends when it has the turn; `None` lets it pass.
pub type Moves<'a> = dyn FnMut(&Dispute, &[DisputeLevel], Option<&Commit>) -> Option<Step> + 'a;

/// The moves of an account that plays by the rules.
pub fn by_the_rules(
    account: &mut Account,
    dispute: &Dispute,
    levels: &[DisputeLevel],
    said: Option<&Commit>,
) -> Option<Step> {
    player::next(account, dispute, levels, said).unwrap()
}

/// Accuse the first claim of the stage of `evidence`, and play.
pub fn play(
    start: &World,
    run: Hash,
    stage: u16,
    evidence: Hash,
    accused: &mut Moves,
    challenger: &mut Moves,
) -> Ended {
    let mut world = start.clone();
    let claim = query::claims_of_stage(world.get(), &run, 0, stage)[0].clone();
    let id = keys::claim(&run, 0, stage, 0);
    let of = world.index_of(&claim.account);
    let tree = MerkleTree::new(vec![Hash([5; 32]), evidence]);
    let (network, root) = (world.network, tree.root());
    let (generation, step, rest) = (0, 0, Hash::ZERO);
    let account = claim.account;
    let statement = Statement { network, run, window: 0, stage, account, generation, step, root, rest };
    let accusation = Accusation {
        kind: Kind::Dot,
        evidence,
        path: tree.path(1).unwrap(),
        generation,
        step,
        root,
        rest,
        signature: key(of).sign(STATEMENT, &statement),
    };
    world.ok(
        CHALLENGER,
        OpenDispute { run, window: 0, stage, index: 0, bond: BOND, accusation: Some(accusation) },
    );
    let mut ended =
        Ended { verdict: None, timed_out: false, messages: 0, bytes: 0, proof: 0, path: Vec::new() };
    let mut said: Option<Commit> = None;
    loop {
        let dispute = query::dispute(world.get(), &id).expect("it is open");
        let levels: Vec<DisputeLevel> = (0..=dispute.level)
            .filter_map(|level| query::read(world.get(), &keys::dispute_level(&id, level)))
            .collect();
        ended.path = player::path(&dispute, &levels);
        let is_challenger = dispute.phase == tessera_ledger::record::DisputePhase::Name;
        let step = match is_challenger {
            true => challenger(&dispute, &levels, said.as_ref()),
            false => accused(&dispute, &levels, said.as_ref()),
        };
        let outcome = match step {
            Some(step) => {
                let sender = if is_challenger { CHALLENGER } else { of };
                let tx = world.tx(sender, DisputeStep { dispute: id, step: step.clone() });
                let outcome = world.block(&[tx]);
                if outcome.receipts[0].error.is_none() && !is_challenger {
                    ended.messages += 1;
                    match &step {
                        Step::Commit(commit) => {
                            ended.bytes += commit.children.len() + if commit.head.is_some() { 32 } else { 0 };
                            said = Some(commit.clone());
                        }
                        Step::Prove(prove) => {
                            ended.bytes += prove.part.len();
                            ended.proof = prove.part.len();
                        }
                        _ => {}
                    }
                }
                outcome
            }
            None => {
                ended.timed_out = true;
                world.block(&[])
            }
        };
        let closed = outcome.events.iter().find_map(|event| match event {
            Event::DisputeClosed(closed) => Some(closed.clone()),
            _ => None,
        });
        if let Some(closed) = closed {
            ended.verdict = closed.verdict;
            return ended;
        }
    }
}

/// Play an account that may lie against one that may lie, both by the rules.
pub fn duel(start: &World, accused: &mut Account, challenger: &mut Account) -> Ended {
    let (run, stage) = (accused.material.spec.run_id(), accused.material.stage);
    let evidence = accused.claim().unwrap().digest();
    play(
        start,
        run,
        stage,
        evidence,
        &mut |dispute, levels, said| by_the_rules(accused, dispute, levels, said),
        &mut |dispute, levels, said| by_the_rules(challenger, dispute, levels, said),
    )
}

/// The tensor with one bit of one element other; sums have 64 bits.
pub fn flipped(tensor: &Tensor, index: usize, bit: u32) -> Tensor {
    let mut tensor = tensor.clone();
    match &mut tensor {
        Tensor::Numbers(x) => {
            x[index] = f32::from_bits(x[index].to_bits() ^ 1 << (bit % 23));
        }
        Tensor::Sums(x) => x[index] ^= 1 << (bit % 64),
        Tensor::Indices(x) => x[index] ^= 1,
    }
    tensor
}

/// The element of the greatest size.
pub fn largest(tensor: &Tensor) -> usize {
    let values = tensor.values();
    let size = |index: &usize| match tensor {
        Tensor::Numbers(x) if x[*index].is_finite() => u64::from(x[*index].abs().to_bits()),
        Tensor::Sums(x) => x[*index].unsigned_abs(),
        _ => 0,
    };
    (0..values.len()).max_by_key(size).unwrap()
}

/// An account that lies about element `index` of `entry` and goes on from there. Where nothing that is signed would be
/// another, it signs something false.
pub fn liar<'a>(honest: &Account<'a>, entry: usize, index: usize, bit: u32) -> Account<'a> {
    let mut liar = honest.clone();
    let told = flipped(liar.entry(entry).unwrap(), index, bit);
    liar.replace(entry, told);
    let program = &honest.material.program;
    if let Made::By { step, output, .. } = program.entries[entry].made {
        // A value on the way is not signed: what the operation gives must be false as well.
        let outputs = |other: &usize| matches!(program.entries[*other].made, Made::By { output: true, .. });
        if let Some(output) = program.steps[step].entries.clone().find(outputs).filter(|_| !output) {
            let largest = largest(liar.entry(output).unwrap());
            let told = flipped(liar.entry(output).unwrap(), largest, 22);
            liar.replace(output, told);
        }
        liar.run_from(step + 1).unwrap();
    }
    let (truth, mut claim) = (honest.clone().claim().unwrap(), liar.claim().unwrap());
    if truth == claim {
        claim.dw = digest(Domain::new("tessera/test/false/v1"), &claim.dw);
        liar.claim_instead(claim);
    }
    liar
}
