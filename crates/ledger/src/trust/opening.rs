//! Make a trainer show, on the ledger, a claim that it committed to and does not open to its auditor.
//!
//! ```text
//! challenger: DemandOpening   names a place below a root that the accused signed       phase Open
//! accused:    Open            the claim that stands there                              phase Weigh
//! challenger: Proceed         it is false: the game begins with it as the evidence     phase Commit
//! ```
//! Who lets the demand pass loses as with any turn (`verify` 11.5 step 4: otherwise every caught cheat would pretend to be
//! offline). A challenger that finds the claim true lets its turn pass: both bonds go back and nobody is convicted,
//! so asking costs two transactions on either side.

use crate::{
    account,
    action::{DemandOpening, Opening, STATEMENT, Statement},
    error::TxError,
    record::{Dispute, DisputePhase, Work},
    store::{Stop, View},
    trust::{dispute, kind::Kind},
};
use tessera_canon::PublicKey;

pub(crate) fn demand(view: &mut View<'_>, sender: &PublicKey, action: &DemandOpening) -> Result<(), Stop> {
    let place = (action.window, action.stage, action.index);
    let (mut dispute, claim) = dispute::prepare(view, sender, &action.run, place, action.bond)?;
    dispute::check_age(view, &dispute)?;
    if !view.referee.supports(Kind::Dot) {
        return Err(TxError::NoReferee { kind: format!("{:?}", Kind::Dot) }.into());
    }
    let statement = Statement {
        network: view.context.network,
        run: dispute.run,
        window: dispute.window,
        stage: dispute.stage,
        account: dispute.accused,
        generation: action.generation,
        step: action.step,
        root: action.root,
        rest: action.rest,
    };
    let signed = |key: &PublicKey| key.verify(STATEMENT, &statement, &action.signature);
    if !account::signed_then(view, &dispute.accused, dispute::window_of(view, &dispute)?, signed)? {
        return Err(TxError::Evidence { detail: "the accused did not sign the statement" }.into());
    }
    dispute.phase = DisputePhase::Open;
    dispute.evidence = action.root;
    dispute.unit = Some(action.unit);
    dispute.work = Some(Work { generation: action.generation, step: action.step });
    dispute::start(view, dispute, claim)
}

pub(crate) fn open(view: &View<'_>, dispute: &mut Dispute, action: &Opening) -> Result<(), Stop> {
    let digest = view.referee.claim_digest(Kind::Dot, &action.claim);
    let digest = digest.map_err(|error| TxError::Referee { reason: error.to_string() })?;
    let there = dispute.unit.map(u64::from) == Some(action.path.index);
    if !there || !action.path.verify(digest, &dispute.evidence) {
        return Err(TxError::Evidence { detail: "the claim does not stand at the named place" }.into());
    }
    dispute.kind = Some(Kind::Dot);
    dispute.evidence = digest;
    dispute.phase = DisputePhase::Weigh;
    Ok(())
}
