//! Make random actions of disputes, audits and canaries, valid and not. Everything a player must remember follows
//! from ids, so no state is kept.

use super::{ACCOUNTS, History};
use crate::{
    machine::{Account, name, said},
    world::{World, key, public},
};
use tessera_canon::{Blob, Domain, Hash, MerkleTree, Prf, PublicKey, digest, encode};
use tessera_ledger::{
    Action, Record,
    action::*,
    keys, query,
    record::*,
    trust::{TrustParams, kind::Kind},
};

const TOLD: Domain = Domain::new("tessera/test/history-told/v1");
const BOND: u128 = 5_000_000;

/// Spans short enough for a history.
pub(crate) fn parameters() -> TrustParams {
    TrustParams {
        step_blocks: 9,
        commit_blocks: 4,
        reveal_blocks: 6,
        canary_rate: 6000,
        canary_pay: 1000,
        evidence_windows: 4,
        ..TrustParams::demo()
    }
}

/// What the accused says of the claim at `claim`: the truth about every other one.
fn told(claim: &Hash) -> Account {
    if claim.0[0].is_multiple_of(2) {
        Account::honest()
    } else {
        Account::lie(&mut Prf::from_hash(TOLD, claim))
    }
}
/// A recent claim and its key.
fn claim(history: &mut History) -> Option<(Claim, u16, Hash)> {
    let run = history.run();
    let last = query::run(history.world.get(), &run)?.window;
    let window = last.saturating_sub(history.below(4) as u32);
    let stage = history.below(2) as u16;
    let claims = query::claims_of_stage(history.world.get(), &run, window, stage);
    let at = history.below(claims.len() as u64) as u16;
    Some((claims.get(usize::from(at))?.clone(), at, keys::claim(&run, window, stage, at)))
}
fn accusation(history: &History, run: Hash, place: (u32, u16), accused: &PublicKey, at: &Hash) -> Accusation {
    let (window, stage) = place;
    let evidence = told(at).evidence();
    let tree = MerkleTree::new(vec![evidence, Hash::ZERO]);
    let (network, root) = (history.world.network, tree.root());
    let (generation, step, rest) = (0, 0, Hash::ZERO);
    let statement =
        Statement { network, run, window, stage, account: *accused, generation, step, root, rest };
    let signature = key(history.world.index_of(accused)).sign(STATEMENT, &statement);
    let path = tree.path(0).expect("the first leaf");
    Accusation { kind: Kind::Dot, evidence, path, generation, step, root, rest, signature }
}

fn open(history: &mut History) -> Option<(u32, Action)> {
    let (claim, index, at) = claim(history)?;
    let (run, window, stage) = (claim.run, claim.window, claim.stage);
    let accused = history.chance(60).then(|| accusation(history, run, (window, stage), &claim.account, &at));
    let bond = if history.chance(5) { 1 } else { BOND };
    let sender = history.account();
    if let Some(Accusation { generation, step, root, rest, signature, .. }) = accused.clone()
        && history.chance(30)
    {
        let unit = u32::from(history.chance(10));
        let demand =
            DemandOpening { run, window, stage, index, bond, generation, step, root, rest, unit, signature };
        return Some((sender, demand.into()));
    }
    let accuses = accused.is_some();
    let dispute = OpenDispute { run, window, stage, index, bond, accusation: accused };
    if accuses && history.chance(8) {
        // What contradicts the claim is signed by the accused, or by somebody else.
        let by = if history.chance(50) { history.world.index_of(&claim.account) } else { history.account() };
        let proof = (digest(TOLD, &at), key(by).sign(TOLD, &at));
        let proof = Blob::new(encode(&proof)).unwrap_or_default();
        return Some((sender, Contradict { dispute, proof }.into()));
    }
    Some((sender, dispute.into()))
}

fn step(history: &mut History) -> Option<(u32, Action)> {
    let open = query::disputes(history.world.get());
    let now = history.pick(&open)?;
    let told = told(&now.id);
    let path: Vec<usize> = (0..now.level + u8::from(now.phase == DisputePhase::Prove))
        .filter_map(|level| {
            let at = keys::dispute_level(&now.id, level);
            query::read::<DisputeLevel>(history.world.get(), &at).map(|level| level.index.into())
        })
        .collect();
    let (who, step): (PublicKey, Step) = match now.phase {
        DisputePhase::Panel => {
            (if history.chance(50) { now.accused } else { now.challenger }, Escalate { bond: BOND }.into())
        }
        DisputePhase::Accuse => {
            let place = (now.window, now.stage);
            (now.challenger, accusation(history, now.run, place, &now.accused, &now.id).into())
        }
        DisputePhase::Commit => (now.accused, told.commit(&path)),
        DisputePhase::Name => {
            let committed = told.commit(&path);
            let at = Account::honest().first_false(&path, &said(&committed, path.len()));
            (now.challenger, name(&committed, path.len(), at))
        }
        DisputePhase::Prove => (now.accused, told.prove(&path)),
        DisputePhase::Open => {
            let Accusation { evidence, path, .. } =
                accusation(history, now.run, (now.window, now.stage), &now.accused, &now.id);
            let claim = Blob::new(evidence.0.to_vec()).unwrap_or_default();
            (now.accused, Opening { claim, path }.into())
        }
        DisputePhase::Weigh => (now.challenger, Proceed {}.into()),
    };
    let who = if history.chance(5) { history.account() } else { history.world.index_of(&who) };
    Some((who, DisputeStep { dispute: now.id, step }.into()))
}

/// Commit or reveal as an auditor of a recent panel.
fn audit(history: &mut History) -> Option<(u32, Action)> {
    let panels = history.seen().panels.clone();
    let panel = history.pick(&panels)?;
    let auditor = history.pick(&panel.auditors)?;
    let who = if history.chance(5) { history.account() } else { history.world.index_of(&auditor) };
    let grave = [Verdict::HonestError, Verdict::Mismatch, Verdict::Fraud][usize::from(panel.id.0[1] % 3)];
    let verdict = if panel.id.0[0].is_multiple_of(2) { Verdict::Innocent } else { grave };
    let (truth, salt) = (Hash([1; 32]), Hash([3; 32]));
    let opening = AuditOpening { panel: panel.id, auditor: public(who), verdict, digest: truth, salt };
    let committed = query::audit_vote(history.world.get(), &panel.id, &public(who)).is_some();
    Some(if committed != history.chance(5) {
        (who, AuditReveal { panel: panel.id, verdict, digest: truth, salt }.into())
    } else {
        (who, AuditCommit { panel: panel.id, commit: digest(AUDIT, &opening) }.into())
    })
}

fn canary(history: &mut History) -> Option<(u32, Action)> {
    let sealed = |run, window, account: u32| SealedCanary {
        run,
        window,
        account: public(account),
        truth: Hash([1; 32]),
        shown: Hash([2; 32]),
        salt: Hash([3; 32]),
    };
    if history.chance(50) {
        let seat = |world: &World, run: &Hash, who| {
            let trains = matches!(query::run(world.get(), run)?.state, RunState::Exclusive | RunState::Open);
            let member = query::member(world.get(), run, &public(who))?;
            (trains && member.state == MemberState::Seated).then_some((*run, who))
        };
        let found = history.somewhere(seat);
        let (run, who) = history.or_seldom(found, |history| (history.run(), history.account()))?;
        let window = query::run(history.world.get(), &run)?.window;
        let commit = digest(CANARY, &sealed(run, window, who));
        return Some((who, SealCanary { run, window, commit }.into()));
    }
    let canaries = history.seen().canaries.clone();
    let canary = history.pick(&canaries)?;
    let who = history.world.index_of(&canary.account);
    let (run, window) = (canary.run, canary.window);
    let stage = query::member(history.world.get(), &run, &canary.account)?.stage?;
    let index = query::claims_of_stage(history.world.get(), &run, window, stage)
        .iter()
        .position(|claim| claim.account == canary.account)? as u16;
    let SealedCanary { truth, shown, salt, .. } = sealed(run, window, who);
    let truth = if history.chance(20) { Hash::ZERO } else { truth };
    Some((who, OpenCanary { run, window, stage, index, truth, shown, salt }.into()))
}

/// What no list of the ledger names: found by looking through the state, once a block.
#[derive(Clone, Default)]
pub(super) struct Seen {
    height: Option<u64>,
    /// Recent ones, the newest first.
    panels: Vec<Panel>,
    canaries: Vec<Canary>,
}

impl History {
    fn seen(&mut self) -> &Seen {
        let height = self.world.height;
        if self.seen.height != Some(height) {
            let (mut panels, mut canaries) = (Vec::new(), Vec::new());
            for record in self.world.state.0.values().filter_map(tessera_ledger::Cell::unpack) {
                match record {
                    Record::Panel(panel) => panels.push(panel),
                    Record::Canary(canary) => canaries.push(canary),
                    _ => {}
                }
            }
            panels.retain(|panel| panel.drawn.is_some_and(|drawn| drawn + 12 > height));
            panels.sort_by_key(|panel| (std::cmp::Reverse(panel.drawn), panel.id));
            self.seen = Seen { height: Some(height), panels, canaries };
        }
        &self.seen
    }
}

/// A random action of this room.
pub(crate) fn action(history: &mut History) -> Option<(u32, Action)> {
    match history.below(20) {
        0..3 => open(history),
        3..9 => step(history),
        9 => {
            let (mut open, early) = (query::disputes(history.world.get()), history.chance(20));
            open.retain(|dispute| early || history.world.height >= dispute.deadline);
            let now = history.pick(&open)?;
            Some((history.below(ACCOUNTS.into()) as u32, ResolveDispute { dispute: now.id }.into()))
        }
        10..16 => audit(history),
        _ => canary(history),
    }
}
