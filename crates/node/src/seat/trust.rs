//! Carry a seat's part in audits to the ledger and back: its roster with the disputes that concern it, and its moves.
//!
//! What the other side of a dispute said stands in transactions, not in cells; it is found by the dispute's history and
//! proved like everything else. Moves go out one after the other, and again until the ledger has taken or refused them:
//! who lets a turn pass loses.

use super::{Events, SeatEvent};
use crate::ledger::{LedgerClient, LedgerError};
use std::{collections::BTreeMap, time::Duration};
use tessera_canon::{Blob, Hash, PublicKey, SecretKey, encode};
use tessera_ledger::{
    Action,
    action::{Commit, Contradict, DemandOpening, DisputeStep, OpenDispute, Opening, Step},
    keys, query,
    record::DisputePhase,
    trust::TrustParams,
};
use tessera_net::Transport;
use tessera_swarm::{Accuse, Demand, Roster, view};
use tokio::sync::{mpsc, watch};

/// Moves that may wait to be sent.
const ORDERS: usize = 64;
/// How often a move is tried that the ledger cannot take yet, or that did not reach it.
const TRIES: u32 = 40;
/// Pause between tries.
const PAUSE: Duration = Duration::from_millis(1000);

/// Something to be put on the ledger.
pub(super) enum Order {
    Accuse(Box<Accuse>),
    Demand(Box<Demand>),
    Move(Box<DisputeStep>),
}

/// What was said last in a dispute, and the turn for which that was looked up.
#[derive(Clone)]
struct Said {
    turn: (DisputePhase, u8),
    commit: Option<Commit>,
    opened: Option<Opening>,
}

/// Look at the run every `pause` with the eyes of the seat of `me`; the receiver sees a change whenever something
/// that concerns the seat has changed. Ends when the receiver is dropped.
pub(super) fn watch_roster<T: Transport>(
    ledger: LedgerClient<T>,
    run: Hash,
    me: PublicKey,
    pause: Duration,
) -> watch::Receiver<Option<Roster>> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        let mut said = BTreeMap::new();
        while !sender.is_closed() {
            match read(&ledger, &run, &me, &mut said).await {
                Ok(Some(new)) => {
                    sender.send_if_modified(|old: &mut Option<Roster>| {
                        let changed = old.as_ref() != Some(&new);
                        *old = Some(new);
                        changed
                    });
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(%run, %error, "the roster was not read"),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = sender.closed() => return,
            }
        }
    });
    receiver
}

async fn read<T: Transport>(
    ledger: &LedgerClient<T>,
    run: &Hash,
    me: &PublicKey,
    known: &mut BTreeMap<Hash, Said>,
) -> Result<Option<Roster>, LedgerError> {
    let read = ledger.read(|view| (view.height, view::roster(view.source(), run, me))).await?;
    let (height, Some(mut roster)) = read else { return Ok(None) };
    known.retain(|dispute, _| roster.disputes.iter().any(|open| open.dispute.id == *dispute));
    for open in &mut roster.disputes {
        let dispute = &open.dispute;
        let turn = (dispute.phase, dispute.level);
        let awaited = matches!(dispute.phase, DisputePhase::Name | DisputePhase::Weigh);
        if dispute.challenger == *me && awaited {
            if known.get(&dispute.id).is_none_or(|said| said.turn != turn) {
                let said = look_up(ledger, dispute.id, height, turn).await?;
                known.insert(dispute.id, said);
            }
            let said = known.get(&dispute.id).cloned();
            open.said = said.as_ref().and_then(|said| said.commit.clone());
            open.opened = said.and_then(|said| said.opened);
        }
    }
    Ok(Some(roster))
}

/// The accused's last words in a dispute.
async fn look_up<T: Transport>(
    ledger: &LedgerClient<T>,
    dispute: Hash,
    height: u64,
    turn: (DisputePhase, u8),
) -> Result<Said, LedgerError> {
    let mut said = Said { turn, commit: None, opened: None };
    let (_, places) = ledger.history(dispute, height).await?;
    for place in places.iter().rev().filter(|place| place.tx) {
        let inclusion = ledger.inclusion(place.height, &[], &[place.at]).await?;
        for proved in inclusion.txs.iter() {
            let Action::DisputeStep(action) = &proved.tx.body.action else { continue };
            match &action.step {
                Step::Commit(commit) if action.dispute == dispute => said.commit = Some(commit.clone()),
                Step::Open(opening) if action.dispute == dispute => said.opened = Some(opening.clone()),
                _ => continue,
            }
            return Ok(said);
        }
    }
    Ok(said)
}

/// Put moves on the ledger one after the other until the sender is dropped.
pub(super) fn start_clerk<T: Transport>(
    ledger: LedgerClient<T>,
    key: SecretKey,
    run: Hash,
    events: Events,
) -> mpsc::Sender<Order> {
    let (sender, mut orders) = mpsc::channel(ORDERS);
    tokio::spawn(async move {
        while let Some(order) = orders.recv().await {
            let what = match &order {
                Order::Accuse(accuse) => format!("the accusation of {}", accuse.account.short()),
                Order::Demand(demand) => format!("the demand of {}", demand.account.short()),
                Order::Move(step) => format!("the next message of dispute {}", step.dispute.short()),
            };
            let act = act(&order);
            match put(&ledger, &key, &run, order).await {
                Ok(height) => events.send(SeatEvent::Said { act, height }),
                // Whoever else accused the same claim first does no harm; the state machine repeats its moves.
                Err(error) => {
                    events.send(SeatEvent::Trouble { what: format!("{what} was not taken: {error}") })
                }
            }
        }
    });
    sender
}

/// What an order does, in the words of [`SeatEvent::Said`].
fn act(order: &Order) -> &'static str {
    match order {
        Order::Accuse(_) => "opens",
        Order::Demand(_) => "demands",
        Order::Move(step) => match &step.step {
            Step::Commit(_) => "commits",
            Step::NameChild(_) => "names",
            Step::Prove(_) => "proves",
            Step::Escalate(_) => "escalates",
            Step::Accuse(_) => "accuses",
            Step::Open(_) => "shows",
            Step::Proceed(_) => "goes on",
        },
    }
}

/// Put a move on the ledger; returns the height of its block.
async fn put<T: Transport>(
    ledger: &LedgerClient<T>,
    key: &SecretKey,
    run: &Hash,
    order: Order,
) -> Result<u64, LedgerError> {
    let mut tries = 0;
    loop {
        let result = match action(ledger, run, &order).await {
            Ok(Some(action)) => ledger.submit(key, action).await.map(|receipt| receipt.height),
            Ok(None) => Err(LedgerError::NotHere {
                what: "the claim that is disputed".into(),
                network: ledger.network(),
            }),
            Err(error) => Err(error),
        };
        tries += 1;
        match result {
            Ok(height) => return Ok(height),
            Err(error) if tries < TRIES && may_come(&error) => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
    }
}

/// Whether a move may be taken later: it did not arrive, or the window is not reported yet.
fn may_come(error: &LedgerError) -> bool {
    match error {
        LedgerError::NotHere { .. } | LedgerError::NotIncluded { .. } => true,
        other => other.may_retry(),
    }
}

/// The action that an order asks for; `None` while the claim is not on the ledger.
async fn action<T: Transport>(
    ledger: &LedgerClient<T>,
    run: &Hash,
    order: &Order,
) -> Result<Option<Action>, LedgerError> {
    let (window, stage, account) = match order {
        Order::Accuse(accuse) => (accuse.window, accuse.stage, accuse.account),
        Order::Demand(demand) => (demand.window, demand.stage, demand.account),
        Order::Move(step) => return Ok(Some((**step).clone().into())),
    };
    let found = ledger.read(|view| {
        let claims = query::claims_of_stage(view.source(), run, window, stage);
        let params: TrustParams = query::read(view.source(), &keys::trust_params()).unwrap_or_default();
        let index = claims.iter().position(|claim| claim.account == account);
        index.map(|index| (index as u16, params.dispute_bond))
    });
    let Some((index, bond)) = found.await? else { return Ok(None) };
    Ok(match order {
        Order::Accuse(accuse) => {
            let accusation = Some(accuse.accusation.clone());
            let dispute = OpenDispute { run: *run, window, stage, index, bond, accusation };
            let proof = accuse.contradiction.as_ref().and_then(|proof| Blob::new(encode(&**proof)).ok());
            Some(match proof {
                Some(proof) => Contradict { dispute, proof }.into(),
                None => dispute.into(),
            })
        }
        Order::Demand(demand) => {
            let header = &demand.header.value;
            Some(
                DemandOpening {
                    run: *run,
                    window,
                    stage,
                    index,
                    bond,
                    generation: header.generation,
                    step: header.step,
                    root: header.units_root,
                    rest: header.id(),
                    unit: demand.unit,
                    signature: demand.header.signature,
                }
                .into(),
            )
        }
        Order::Move(_) => None,
    })
}
