//! Read typed values from any source of cells: a state, a store, or a light client's proved answers.
//!
//! Every read is one cell unless it says otherwise. `keys_for_*` list the keys that a reader without the
//! state must fetch before it asks.

use crate::{
    cell::{Cell, Key},
    keys,
    record::*,
};
use tessera_canon::{Hash, PublicKey};

pub use crate::market::query::*;

/// The value at `key`.
pub fn read<T: Stored>(get: impl Fn(&Key) -> Option<Cell>, key: &Key) -> Option<T> {
    get(key).as_ref().and_then(Cell::unpack).and_then(T::from_record)
}

macro_rules! one_cell {
    ($($(#[$meta:meta])* $name:ident($($arg:ident: $ty:ty),*) -> $record:ident = $key:ident;)*) => {
        $($(#[$meta])* pub fn $name(get: impl Fn(&Key) -> Option<Cell>, $($arg: $ty),*) -> Option<$record> {
            read(get, &keys::$key($($arg),*))
        })*
    };
}
one_cell! {
    /// Money that is on no account.
    globals() -> Globals = globals;
    /// The network's parameters.
    params() -> Params = params;
    /// An account.
    account(of: &PublicKey) -> Account = account;
    /// A validator of the genesis set.
    validator(index: u32) -> Validator = validator;
    /// What a run promised.
    run_terms(run: &Hash) -> RunTerms = run_terms;
    /// Progress of a run.
    run(run: &Hash) -> Run = run;
    /// Shares and credits of a run.
    credits(run: &Hash) -> Credits = credits;
    /// Whether an account is a designer of a run.
    designer(run: &Hash, account: &PublicKey) -> Designer = designer;
    /// A stage.
    stage(run: &Hash, stage: u16) -> Stage = stage;
    /// A seat.
    seat(run: &Hash, stage: u16, seat: u16) -> Seat = seat;
    /// An account's place in a run.
    member(run: &Hash, account: &PublicKey) -> Member = member;
    /// A window.
    window(run: &Hash, window: u32) -> Window = window;
    /// A stage's report of a window, with its state root.
    stage_report(run: &Hash, window: u32, stage: u16) -> StageReport = stage_report;
    /// A claim.
    claim(run: &Hash, window: u32, stage: u16, index: u16) -> Claim = claim;
    /// An account's shares in a run; see also [`due_credits`].
    owner(run: &Hash, account: &PublicKey) -> Owner = owner;
    /// The last evaluation of a run by a committee.
    evaluation(run: &Hash) -> Evaluation = evaluation;
    /// Where a forked run comes from.
    lineage(child: &Hash) -> Lineage = lineage;
    /// An account's verified work over all runs.
    verified_work(account: &PublicKey) -> VerifiedWork = verified_work;
    /// The declared operator of an account in a run.
    affiliation(run: &Hash, account: &PublicKey) -> Affiliation = affiliation;
    /// Stages that an operator ever held in a run.
    coverage(run: &Hash, operator: &PublicKey) -> Coverage = coverage;
    /// The last extraction report of a run.
    extraction(run: &Hash) -> ExtractionReport = extraction_report;
    /// A note.
    note(id: &Hash) -> Note = note;
    /// A lock.
    lock(order: &Hash) -> Lock = lock;
    /// The money of a lock.
    escrow(order: &Hash) -> Escrow = escrow;
    /// The posted settlement of a lock.
    settlement(order: &Hash) -> Settlement = settlement;
    // Validators and governance.
    /// An account's bond as a validator.
    bond(account: &PublicKey) -> Bond = validator_bond;
    /// The validators of this epoch.
    validator_set() -> ValidatorSet = validator_set;
    /// Where the schedule of issuance stands.
    issuance() -> Issuance = issuance;
    /// The policy of a run in force.
    run_policy(run: &Hash) -> RunPolicy = run_policy;
    /// The rules of voting.
    governance() -> GovernanceTerms = governance;
    /// A proposal.
    proposal(id: &Hash) -> Proposal = proposal;
    /// What a proposal does.
    motion(id: &Hash) -> ProposalMotion = motion;
    /// The votes on a proposal.
    tally(id: &Hash) -> Tally = tally;
    /// An account's vote.
    ballot(proposal: &Hash, account: &PublicKey) -> Ballot = ballot;
    /// Whom an account lets vote for it.
    delegation(run: &Hash, account: &PublicKey) -> Delegation = delegation;
    /// What the voters of a run share; of the network for [`Hash::ZERO`].
    assembly(run: &Hash) -> Assembly = assembly;
    /// Verified work of an account in a run; in all for [`Hash::ZERO`].
    chamber_work(run: &Hash, account: &PublicKey) -> ChamberWork = chamber_work;
    // Trust.
    /// What a run's verdicts say of an account.
    conduct(run: &Hash, account: &PublicKey) -> Conduct = conduct;
    /// An open dispute; its id is the key of the claim.
    dispute(id: &Hash) -> Dispute = dispute;
    /// A panel of auditors.
    panel(id: &Hash) -> Panel = panel;
    /// An auditor's word.
    audit_vote(panel: &Hash, auditor: &PublicKey) -> AuditVote = audit_vote;
    /// What audits of a run found.
    audit_stats(run: &Hash) -> AuditStats = audit_stats;
    /// A sealed canary.
    canary(run: &Hash, window: u32, account: &PublicKey) -> Canary = canary;
    /// What the transfer lock holds of an owner's shares; see also [`movable_shares`].
    vesting(run: &Hash, account: &PublicKey) -> Vesting = vesting;
    /// The network's parameters of credits, sessions and hosts.
    rules() -> CreditRules = rules;
    /// Credits of one series; see also [`price_of`].
    series(run: &Hash, series: u16) -> Series = series;
    /// Sums and clocks of a run's credits.
    lane(run: &Hash) -> Lane = lane;
    /// The homes of a lock, one after the other.
    attempts(order: &Hash) -> Attempts = attempts;
    /// What an account has at stake as a host.
    host(run: &Hash, account: &PublicKey) -> Host = host;
    /// Bonded credits per epoch of a stage.
    capacity(run: &Hash, stage: u16) -> Capacity = capacity;
    /// What a stage's host earns for a credit, once something moved or set it.
    stage_price(run: &Hash, stage: u16) -> StagePrice = stage_price;
    /// An application to the public lane.
    application(run: &Hash, owner: &Hash) -> Application = application;
    /// The dispute about a session.
    session_dispute(order: &Hash) -> SessionDispute = session_dispute;
}

/// The committee of the last evaluation of `run`: the evaluation's cell, then one cell for each member.
pub fn committee(get: impl Fn(&Key) -> Option<Cell>, run: &Hash) -> Vec<EvalMember> {
    let count = evaluation(&get, run).map_or(0, |evaluation| evaluation.members);
    (0..count).filter_map(|index| read(&get, &keys::eval_member(run, index))).collect()
}
/// The measurements of `run` that count: their list, then one cell each.
pub fn measurements(get: impl Fn(&Key) -> Option<Cell>, run: &Hash) -> Vec<Measurement> {
    let ids = list(&get, &keys::list_of_measurements(run));
    ids.iter().filter_map(|id| read(&get, &keys::measurement(id))).collect()
}
/// Runs forked from `parent`.
pub fn children(get: impl Fn(&Key) -> Option<Cell>, parent: &Hash) -> Vec<Hash> {
    list(get, &keys::list_of_children(parent))
}

/// Tokens per credit of `series`: fixed when the series began, with the run's own price for the first.
pub fn price_of(get: impl Fn(&Key) -> Option<Cell>, run: &Hash, at: u16) -> Option<ChunkPrice> {
    series(&get, run, at).map(|series| series.price).or_else(|| run_terms(&get, run).map(|terms| terms.price))
}
/// Where a note stands for its owner: a note of a series that has ended counts as expired (`None`).
pub fn usable(get: impl Fn(&Key) -> Option<Cell>, note: &Note) -> Option<NoteState> {
    let current = credits(&get, &note.run)?.series;
    crate::series::live(current, note.series).then_some(note.state)
}

/// The items of a list of [`keys`] (see `keys::list_of_*`): one cell for the length and one for each item.
pub fn list(get: impl Fn(&Key) -> Option<Cell>, list: &Hash) -> Vec<Hash> {
    let count = read::<ListLength>(&get, &keys::list_length(list)).map_or(0, |length| length.count);
    (0..count)
        .filter_map(|at| read::<ListSlot>(&get, &keys::list_slot(list, at)).map(|slot| slot.id))
        .collect()
}
/// Keys of the items of a list whose length is `count` (read it at [`keys::list_length`]).
pub fn keys_for_list(list: &Hash, count: u64) -> Vec<Key> {
    (0..count).map(|at| keys::list_slot(list, at)).collect()
}
/// All runs.
pub fn runs(get: impl Fn(&Key) -> Option<Cell>) -> Vec<Hash> {
    list(get, &keys::list_of_runs())
}
/// The notes of `owner` that are not spent: its list, then one cell each.
pub fn notes_of(get: impl Fn(&Key) -> Option<Cell>, owner: &PublicKey) -> Vec<Note> {
    let ids = list(&get, &keys::list_of_notes(&keys::owner_hash(owner)));
    ids.iter().filter_map(|id| note(&get, id)).collect()
}
/// Runs in which `account` has shares, pending or active.
pub fn holdings_of(get: impl Fn(&Key) -> Option<Cell>, account: &PublicKey) -> Vec<Owner> {
    let runs = list(&get, &keys::list_of_holdings(account));
    runs.iter().filter_map(|run| owner(&get, run, account)).collect()
}
/// Keys of every stage of a run.
pub fn keys_for_stages(terms: &RunTerms) -> Vec<Key> {
    (0..terms.stages).map(|stage| keys::stage(&terms.run, stage)).collect()
}
/// Keys of the held seats of a stage.
pub fn keys_for_seats(stage: &Stage) -> Vec<Key> {
    held(stage).map(|seat| keys::seat(&stage.run, stage.stage, seat)).collect()
}
fn held(stage: &Stage) -> impl Iterator<Item = u16> {
    let bits = stage.held;
    (0..stage.used).filter(move |seat| bits.checked_shr(u32::from(*seat)).unwrap_or(0) & 1 == 1)
}
/// The held seats of a stage, by seat: the stage's cell, then one for each seat.
pub fn seats_of_stage(get: impl Fn(&Key) -> Option<Cell>, run: &Hash, at: u16) -> Vec<Seat> {
    let Some(stage) = stage(&get, run, at) else { return Vec::new() };
    held(&stage).filter_map(|index| seat(&get, run, at, index)).collect()
}
/// Keys of the claims of a stage report.
pub fn keys_for_claims(report: &StageReport) -> Vec<Key> {
    (0..report.claims).map(|index| keys::claim(&report.run, report.window, report.stage, index)).collect()
}
/// The claims of a stage in a window: the report's cell, then one for each claim.
pub fn claims_of_stage(
    get: impl Fn(&Key) -> Option<Cell>,
    run: &Hash,
    window: u32,
    stage: u16,
) -> Vec<Claim> {
    let Some(report) = stage_report(&get, run, window, stage) else { return Vec::new() };
    (0..report.claims).filter_map(|index| claim(&get, run, window, stage, index)).collect()
}
/// Credits that `account` could claim now: its owner cell and the run's credits cell.
pub fn due_credits(get: impl Fn(&Key) -> Option<Cell>, run: &Hash, account: &PublicKey) -> u64 {
    let (Some(mut owner), Some(credits)) = (owner(&get, run, account), credits(&get, run)) else { return 0 };
    crate::accumulator::touch(&mut owner, &credits);
    owner.due
}

/// Votes (active shares; for the network bonded U) and grown work with which `account` can vote on a proposal that
/// takes votes: up to six cells, and one for each later change of the holding.
pub fn power(
    get: impl Fn(&Key) -> Option<Cell>,
    proposal: &Proposal,
    account: &PublicKey,
) -> (u128, ruint::aliases::U256) {
    use crate::governance::history;
    use ruint::aliases::U256;
    let (run, network) = (&proposal.run, proposal.run == Hash::ZERO);
    let held = if network {
        bond(&get, account).map_or(0, |bond| bond.power())
    } else {
        owner(&get, run, account).map_or(0, |owner| crate::market::query::voting_shares(&get, &owner))
    };
    let done = chamber_work(&get, run, account).map_or(U256::ZERO, |work| work.amount.0);
    let at = |subject: Hash, now: U256| {
        let entry = |key: &Key| Ok::<_, std::convert::Infallible>(read::<History>(&get, key));
        match history::just_before(entry, &subject, proposal.posted, now) {
            Ok(amount) => amount,
            Err(never) => match never {},
        }
    };
    let votes = at(history::shares_of(run, account), U256::from(held));
    (votes.saturating_to(), at(history::work_of(run, account), done))
}
/// All proposals of a run, or of the network for [`Hash::ZERO`].
pub fn proposals_of(get: impl Fn(&Key) -> Option<Cell>, run: &Hash) -> Vec<Proposal> {
    list(&get, &keys::list_of_proposals(run)).iter().filter_map(|id| proposal(&get, id)).collect()
}
/// Active shares that `account` could transfer in `epoch`, votes aside: its owner and vesting cells, and the run's.
pub fn movable_shares(
    get: impl Fn(&Key) -> Option<Cell>,
    run: &Hash,
    account: &PublicKey,
    epoch: u32,
) -> u128 {
    let held = owner(&get, run, account).map_or(0, |owner| owner.shares);
    let Some(vesting) = vesting(&get, run, account) else { return held };
    let policy: Option<RunPolicy> = read(&get, &keys::run_policy(run));
    let trust: Option<TrustParams> = read(&get, &keys::trust_params());
    let since: Option<Unlocking> = read(&get, &keys::unlocking(run));
    let lock = crate::ownership::vesting::Lock {
        span: policy.map_or(0, |record| record.policy.transfer_lock),
        serving: trust.unwrap_or_default().serving_lock,
        since: since.map(|unlocking| unlocking.since),
        now: epoch,
    };
    held.saturating_sub(vesting.locked(&lock))
}
/// The newest rollback of a run.
pub fn rollback(get: impl Fn(&Key) -> Option<Cell>, run: &Hash) -> Option<Rollback> {
    read(get, &keys::rollback(run, 0))
}
/// The open disputes.
pub fn disputes(get: impl Fn(&Key) -> Option<Cell>) -> Vec<Dispute> {
    list(&get, &keys::list_of_disputes()).iter().filter_map(|id| dispute(&get, id)).collect()
}
