//! Convict a trainer that signed two things which cannot both be true, without a game (`verify` 11.4 step 3).
//!
//! ```text
//! Contradict    a dispute with its accusation, and what the accused signed besides
//!               the referee says what that must be, from the proof and the accused's statement
//!               the accused signed it                         -> fraud, at once
//!               anything else                                 -> the transaction is refused
//! ```
//! Nobody has to answer: both signatures are there. So no claim is frozen by an untrue complaint, and the challenger's bond,
//! which is asked for as with any dispute, is back in the same transaction. That the accused is a fraud and not unlucky
//! follows from what is compared: two signatures of one key over the same transfer, not two computations. Penalties, events and the
//! order to go back are those of a conviction in a game.

use crate::{
    account,
    action::{Contradict, Statement},
    error::TxError,
    event::Contradicted,
    keys,
    record::{Dispute, Verdict, Work},
    store::{Stop, View},
    trust::{dispute, kind::Kind},
};
use tessera_canon::PublicKey;

pub(crate) fn contradict(view: &mut View<'_>, sender: &PublicKey, action: &Contradict) -> Result<(), Stop> {
    let opened = &action.dispute;
    let Some(accusation) = &opened.accusation else {
        return Err(TxError::Evidence { detail: "a contradiction needs the accused's statement" }.into());
    };
    if accusation.kind != Kind::Dot {
        return Err(TxError::Evidence { detail: "only claims of units are contradicted" }.into());
    }
    dispute::open(view, sender, opened)?;
    let key = keys::claim(&opened.run, opened.window, opened.stage, opened.index);
    let dispute: Dispute = view.must(&keys::dispute(&key), "dispute", key)?;
    let statement = Statement {
        network: view.context.network,
        run: dispute.run,
        window: dispute.window,
        stage: dispute.stage,
        account: dispute.accused,
        generation: accusation.generation,
        step: accusation.step,
        root: accusation.root,
        rest: accusation.rest,
    };
    let other = view
        .referee
        .contradicts(&statement, &accusation.evidence, &action.proof)
        .map_err(|error| TxError::Referee { reason: error.to_string() })?;
    let signed = |key: &PublicKey| key.verify_digest(&other.digest, &other.signature);
    if !account::signed_then(view, &dispute.accused, dispute::window_of(view, &dispute)?, signed)? {
        return Err(
            TxError::Evidence { detail: "the accused did not sign what contradicts its claim" }.into()
        );
    }
    let work = Work { generation: accusation.generation, step: accusation.step };
    view.emit(Contradicted { dispute: dispute.id, generation: work.generation, step: work.step });
    dispute::close(view, dispute, Some(Verdict::Fraud), true)
}
