//! `tessera wallet`: a key, its money, and its credits.

use crate::context::{Output, Place, percent};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tessera_canon::{Hash, List, PublicKey, SecretKey};
use tessera_ledger::{
    Action, Event,
    action::{ClaimCredits, NoteOutput, Reshape, Reshaping, Transfer},
    keys, query,
    record::{Note, NoteState},
};
use tessera_node::{
    amount::{self, Amount},
    daemon::{Visitor, network_of},
    folder::NodeConfig,
    ledger::{Receipt, View},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a key in DIR; with --network also note the network there
    New {
        #[command(flatten)]
        place: Place,
    },
    /// Show the account: balance, shares, credits
    Show {
        #[command(flatten)]
        place: Place,
        /// Another account's key; by default the one in DIR
        #[arg(long, value_name = "KEY")]
        key: Option<PublicKey>,
    },
    /// List the account's notes (credits)
    Notes {
        #[command(flatten)]
        place: Place,
    },
    /// Turn the credits that a run owes this owner into a note
    Claim {
        #[command(flatten)]
        place: Place,
        /// Run id
        run: Hash,
    },
    /// Send U or a note to another account
    Send {
        #[command(flatten)]
        place: Place,
        /// Receiver's key
        #[arg(long, value_name = "KEY")]
        to: PublicKey,
        /// U to send
        #[arg(long, value_name = "U", conflicts_with = "note", required_unless_present = "note")]
        amount: Option<Amount>,
        /// Note to send, whole
        #[arg(long, value_name = "NOTE")]
        note: Option<Hash>,
    },
    /// Split a note, or merge several and split the sum
    Split {
        #[command(flatten)]
        place: Place,
        /// Note ids, all of one run
        #[arg(required = true)]
        notes: Vec<Hash>,
        /// Credits of the new notes; what is left over becomes one more
        #[arg(long, value_delimiter = ',', value_name = "CU,CU,...")]
        into: Vec<u64>,
    },
}

pub(crate) async fn run(command: Command, output: Output) -> Result<()> {
    match command {
        Command::New { place } => new(&place, output),
        Command::Show { place, key } => show(&place, key, output).await,
        Command::Notes { place } => notes(&place, output).await,
        Command::Claim { place, run } => {
            let (key, visitor) = enter(&place).await?;
            let mine = keys::owner_hash(&key.public());
            let action = Action::ClaimCredits(ClaimCredits { run, to: mine });
            let receipt = visitor.ledger.submit(&key, action).await?;
            let note = receipt.events.iter().find_map(|event| match event {
                Event::CreditsClaimed(claimed) if claimed.account == key.public() && claimed.run == run => {
                    Some((claimed.note, claimed.cu))
                }
                _ => None,
            });
            let (note, cu) = note.context("the claim took effect, but its block names no note")?;
            let object = with_receipt(json!({ "run": run, "note": note, "cu": cu }), &receipt);
            output.result(&object, || format!("claimed {cu} cu as note {note}"));
            visitor.leave().await;
            Ok(())
        }
        Command::Send { place, to, amount, note } => send(&place, to, amount, note, output).await,
        Command::Split { place, notes, into } => split(&place, notes, into, output).await,
    }
}

fn new(place: &Place, output: Output) -> Result<()> {
    let folder = place.folder()?;
    let key = tessera_node::keyfile::create(&folder.key_path())?.public();
    let network = match &place.network {
        Some(path) => {
            let network = network_of(&folder, Some(path))?;
            let path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
            folder.set_config(&NodeConfig { network: Some(path), ..folder.config()? })?;
            Some(network.id)
        }
        None => None,
    };
    let object =
        json!({ "key": key, "owner_hash": keys::owner_hash(&key), "dir": place.dir, "network_id": network });
    output.result(&object, || {
        format!("{key}\nthe secret key is in {}; copy it to a safe place", folder.key_path().display())
    });
    Ok(())
}

pub(crate) async fn enter(place: &Place) -> Result<(SecretKey, Visitor)> {
    let key = place.key()?;
    Ok((key, place.enter().await?))
}

pub(crate) fn with_receipt(mut object: Value, receipt: &Receipt) -> Value {
    object["tx"] = json!(receipt.tx);
    object["height"] = json!(receipt.height);
    object["fee"] = json!(amount::show(receipt.fee));
    object
}

async fn show(place: &Place, other: Option<PublicKey>, output: Output) -> Result<()> {
    let key = match other {
        Some(key) => key,
        None => place.key()?.public(),
    };
    let visitor = place.enter().await?;
    let (height, account, holdings, notes) = visitor
        .ledger
        .read(|view| {
            let holdings: Vec<_> = query::holdings_of(view.source(), &key)
                .into_iter()
                .map(|owner| {
                    let due = query::due_credits(view.source(), &owner.run, &key);
                    let credits = query::credits(view.source(), &owner.run);
                    let proceeds = query::due_proceeds(view.source(), &owner.run, &key);
                    let total = credits.map_or(0, |credits| credits.active + credits.pending);
                    (owner, due, total, proceeds)
                })
                .collect();
            let account = query::account(view.source(), &key);
            (view.height, account, holdings, query::notes_of(view.source(), &key))
        })
        .await?;
    let (balance, nonce) = account.map_or((0, 0), |account| (account.balance, account.nonce));
    let cu: u64 = notes.iter().map(|note| note.cu).sum();
    let shares: Vec<_> = holdings
        .iter()
        .map(|(owner, due, total, proceeds)| {
            json!({
                "run": owner.run, "active": owner.shares.to_string(), "pending": owner.pending.to_string(),
                "percent": percent(owner.shares + owner.pending, *total), "credits_due": due,
                "proceeds_due": amount::show(*proceeds), "proceeds_due_nano": proceeds.to_string(),
            })
        })
        .collect();
    let object = json!({
        "key": key, "owner_hash": keys::owner_hash(&key), "height": height, "balance": amount::show(balance),
        "balance_nano": balance.to_string(), "transactions": nonce, "shares": shares, "notes": notes.len(),
        "cu": cu,
    });
    output.result(&object, || {
        let mut text = format!(
            "account  {key}\nbalance  {} U\ncredits  {cu} cu in {} notes\n",
            amount::show(balance),
            notes.len()
        );
        for (owner, due, total, proceeds) in &holdings {
            let share = percent(owner.shares + owner.pending, *total);
            text += &format!(
                "run      {}: {share} % ({} active, {} pending), {due} cu and {} U to claim\n",
                owner.run,
                owner.shares,
                owner.pending,
                amount::show(*proceeds)
            );
        }
        text
    });
    visitor.leave().await;
    Ok(())
}

/// Where the series of a run stand.
#[derive(Clone, Copy)]
struct Clock {
    /// The current series.
    series: u16,
    /// Epochs of service until it is succeeded, and the length of a series.
    left: u64,
    span: u64,
    /// The present epoch.
    epoch: u64,
}
impl Clock {
    fn read(view: &View, run: &Hash) -> Self {
        let span = query::rules(view.source()).unwrap_or_default().series_epochs;
        let age = query::lane(view.source(), run).map_or(0, |lane| lane.series_age);
        let blocks = query::params(view.source()).unwrap_or_default().epoch_blocks.max(1);
        Self {
            series: query::credits(view.source(), run).map_or(0, |credits| credits.series),
            left: span.saturating_sub(age).into(),
            span: span.into(),
            epoch: view.height / blocks,
        }
    }
    /// Epochs of service (or, for a note with an end of its own, epochs) for which the note can still be used.
    fn lives(self, note: &Note) -> u64 {
        let of_series = match (note.series == self.series, is_live(note, self.series)) {
            (true, _) => self.left + self.span,
            (_, true) => self.left,
            (_, false) => 0,
        };
        if note.until > 0 { of_series.min(note.until.saturating_sub(self.epoch)) } else { of_series }
    }
}

fn note_json((note, clock): &(Note, Clock)) -> Value {
    json!({
        "note": note.id, "run": note.run, "cu": note.cu, "series": note.series, "current_series": clock.series,
        "usable": clock.lives(note) > 0, "epochs_left": clock.lives(note),
        "until": (note.until > 0).then_some(note.until), "bound": note.flags & Note::BOUND != 0,
        "public": note.flags & Note::PUBLIC != 0, "state": format!("{:?}", note.state),
        "bound_to": (note.state != NoteState::Unspent).then_some(note.bound_to),
    })
}

/// Credits of the current series and of the one before can be used.
pub(crate) fn is_live(note: &Note, series: u16) -> bool {
    tessera_ledger::series::live(series, note.series)
}

async fn notes(place: &Place, output: Output) -> Result<()> {
    let (key, visitor) = enter(place).await?;
    let read = |view: &View| -> Vec<(Note, Clock)> {
        let notes = query::notes_of(view.source(), &key.public());
        notes
            .into_iter()
            .map(|note| {
                let clock = Clock::read(view, &note.run);
                (note, clock)
            })
            .collect()
    };
    let notes = visitor.ledger.read(read).await?;
    let list: Vec<Value> = notes.iter().map(note_json).collect();
    output.result(&json!({ "key": key.public(), "notes": list }), || {
        if notes.is_empty() {
            return "no notes; owners get them with `tessera wallet claim RUN`, others with `tessera market buy`"
                .into();
        }
        let line = |(note, clock): &(Note, Clock)| {
            let bound = if note.flags & Note::BOUND == 0 { "" } else { ", bound to this owner" };
            let end = match clock.lives(note) {
                0 => "expired".into(),
                left => format!("ends in {left} epochs"),
            };
            format!(
                "{}  {:>8} cu  {:?}  run {}  series {}, {end}{bound}\n",
                note.id,
                note.cu,
                note.state,
                note.run.short(),
                note.series
            )
        };
        notes.iter().map(line).collect()
    });
    visitor.leave().await;
    Ok(())
}

async fn send(
    place: &Place,
    to: PublicKey,
    money: Option<Amount>,
    note: Option<Hash>,
    output: Output,
) -> Result<()> {
    let (key, visitor) = enter(place).await?;
    let receipt = match (money, note) {
        (Some(money), _) => {
            let action = Action::Transfer(Transfer { to, amount: money.0 });
            let receipt = visitor.ledger.submit(&key, action).await?;
            let object = with_receipt(json!({ "to": to, "amount": money.to_string() }), &receipt);
            output.result(&object, || format!("sent {money} U to {to}"));
            receipt
        }
        (None, Some(note)) => {
            let cu = sum(&visitor, &[note]).await?;
            let outputs = vec![NoteOutput { owner: keys::owner_hash(&to), cu }];
            let receipt = visitor.ledger.submit(&key, reshape(&visitor, vec![note], outputs)?).await?;
            let made = receipt.created_notes(&keys::owner_hash(&to)).first().map(|(note, _)| *note);
            let object = with_receipt(json!({ "to": to, "cu": cu, "note": made }), &receipt);
            output.result(&object, || format!("sent {cu} cu to {to}"));
            receipt
        }
        (None, None) => bail!("give --amount or --note"),
    };
    tracing::debug!(height = receipt.height, "sent");
    visitor.leave().await;
    Ok(())
}

async fn sum(visitor: &Visitor, notes: &[Hash]) -> Result<u64> {
    let found: Vec<Option<Note>> =
        visitor.ledger.read(|view| notes.iter().map(|id| query::note(view.source(), id)).collect()).await?;
    let mut sum = 0u64;
    for (id, note) in notes.iter().zip(found) {
        let note = note.with_context(|| format!("note {id} is not on the ledger"))?;
        sum = sum.checked_add(note.cu).context("the notes hold too many credits")?;
    }
    Ok(sum)
}

fn reshape(visitor: &Visitor, inputs: Vec<Hash>, outputs: Vec<NoteOutput>) -> Result<Action> {
    let reshaping = Reshaping {
        network: visitor.network.id,
        inputs: List::new(inputs).context("notes to spend")?,
        outputs: List::new(outputs).context("notes to make")?,
    };
    Ok(Action::Reshape(Reshape { reshaping, owners: List::default() }))
}

async fn split(place: &Place, notes: Vec<Hash>, into: Vec<u64>, output: Output) -> Result<()> {
    let (key, visitor) = enter(place).await?;
    let mine = keys::owner_hash(&key.public());
    let (have, want) =
        (sum(&visitor, &notes).await?, into.iter().fold(0u64, |sum, cu| sum.saturating_add(*cu)));
    let rest =
        have.checked_sub(want).with_context(|| format!("the notes hold {have} cu, --into wants {want}"))?;
    let parts = into.into_iter().chain((rest > 0).then_some(rest));
    let outputs = parts.map(|cu| NoteOutput { owner: mine, cu }).collect();
    let mut inputs = notes;
    inputs.sort_unstable();
    let receipt = visitor.ledger.submit(&key, reshape(&visitor, inputs, outputs)?).await?;
    // Other transactions of the block may have made notes for this owner as well; those come from another one.
    let made: Vec<_> = (0u32..16)
        .map(|index| keys::note_id(&receipt.tx, index))
        .filter_map(|id| receipt.created_notes(&mine).into_iter().find(|(note, _)| *note == id))
        .collect();
    let list: Vec<Value> = made.iter().map(|(note, cu)| json!({ "note": note, "cu": cu })).collect();
    output.result(&with_receipt(json!({ "notes": list }), &receipt), || {
        made.iter().map(|(note, cu)| format!("{note}  {cu:>8} cu\n")).collect()
    });
    visitor.leave().await;
    Ok(())
}
