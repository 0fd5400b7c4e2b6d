//! `tessera wallet`: a key, its money, and its credits.

use crate::context::{Output, Place, percent};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tessera_canon::{Hash, List, PublicKey, SecretKey};
use tessera_ledger::{
    Action, Event,
    action::{BuyOffer, CancelOffer, ClaimCredits, NoteOutput, PostOffer, Reshape, Reshaping, Transfer},
    keys, query,
    record::{Note, NoteState},
};
use tessera_node::{
    amount::{self, Amount},
    daemon::{Visitor, network_of},
    folder::NodeConfig,
    ledger::Receipt,
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
    /// List what is for sale
    Offers {
        #[command(flatten)]
        place: Place,
        /// Run id
        run: Hash,
    },
    /// Offer a note for sale
    Offer {
        #[command(flatten)]
        place: Place,
        /// Note id
        note: Hash,
        /// U per credit
        #[arg(long, value_name = "U")]
        price: Amount,
    },
    /// Buy credits from an offer
    Buy {
        #[command(flatten)]
        place: Place,
        /// Offer id
        offer: Hash,
        /// How many; by default all
        #[arg(long)]
        cu: Option<u64>,
        /// Most U per credit; by default the offer's price at this moment
        #[arg(long, value_name = "U")]
        max_price: Option<Amount>,
    },
    /// Withdraw an offer; the credits come back as a note
    Cancel {
        #[command(flatten)]
        place: Place,
        /// Offer id
        offer: Hash,
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
        Command::Offers { place, run } => offers(&place, &run, output).await,
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
        Command::Offer { place, note, price } => {
            let (key, visitor) = enter(&place).await?;
            let before = visitor.ledger.read(|view| query::note(view.source(), &note)).await?;
            let Note { run, cu, .. } = before.with_context(|| format!("note {note} is not on the ledger"))?;
            let action = Action::PostOffer(PostOffer { note, price: price.0 });
            let receipt = visitor.ledger.submit(&key, action).await?;
            // An offer has the id of the transaction that posted it.
            let offer = receipt.tx;
            let object = with_receipt(
                json!({ "offer": offer, "run": run, "cu": cu, "price": price.to_string() }),
                &receipt,
            );
            output.result(&object, || format!("offer {offer}: {cu} cu at {price} U each"));
            visitor.leave().await;
            Ok(())
        }
        Command::Buy { place, offer, cu, max_price } => buy(&place, offer, cu, max_price, output).await,
        Command::Cancel { place, offer } => {
            let (key, visitor) = enter(&place).await?;
            let receipt = visitor.ledger.submit(&key, Action::CancelOffer(CancelOffer { offer })).await?;
            output.result(&with_receipt(json!({ "offer": offer }), &receipt), || {
                format!("withdrew offer {offer}")
            });
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

async fn enter(place: &Place) -> Result<(SecretKey, Visitor)> {
    let key = place.key()?;
    Ok((key, place.enter().await?))
}

fn with_receipt(mut object: Value, receipt: &Receipt) -> Value {
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
                    (owner, due, credits.map_or(0, |credits| credits.active + credits.pending))
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
        .map(|(owner, due, total)| {
            json!({
                "run": owner.run, "active": owner.shares.to_string(), "pending": owner.pending.to_string(),
                "percent": percent(owner.shares + owner.pending, *total), "credits_due": due,
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
        for (owner, due, total) in &holdings {
            let share = percent(owner.shares + owner.pending, *total);
            text += &format!(
                "run      {}: {share} % ({} active, {} pending), {due} cu to claim\n",
                owner.run, owner.shares, owner.pending
            );
        }
        text
    });
    visitor.leave().await;
    Ok(())
}

fn note_json(note: &Note) -> Value {
    json!({
        "note": note.id, "run": note.run, "cu": note.cu, "series": note.series,
        "state": format!("{:?}", note.state), "bound_to": (note.state != NoteState::Unspent).then_some(note.bound_to),
    })
}

async fn notes(place: &Place, output: Output) -> Result<()> {
    let (key, visitor) = enter(place).await?;
    let notes = visitor.ledger.read(|view| query::notes_of(view.source(), &key.public())).await?;
    let list: Vec<Value> = notes.iter().map(note_json).collect();
    output.result(&json!({ "key": key.public(), "notes": list }), || {
        if notes.is_empty() {
            return "no notes; owners get them with `tessera wallet claim RUN`, others buy them".into();
        }
        notes
            .iter()
            .map(|note| {
                format!("{}  {:>8} cu  {:?}  run {}\n", note.id, note.cu, note.state, note.run.short())
            })
            .collect()
    });
    visitor.leave().await;
    Ok(())
}

async fn offers(place: &Place, run: &Hash, output: Output) -> Result<()> {
    let visitor = place.enter().await?;
    let mut offers = visitor.ledger.read(|view| query::offers_of(view.source(), run)).await?;
    offers.sort_by_key(|offer| offer.price);
    let list: Vec<Value> = offers
        .iter()
        .map(|offer| {
            json!({
                "offer": offer.id, "seller": offer.seller, "cu": offer.cu, "price": amount::show(offer.price),
                "price_nano": offer.price.to_string(),
            })
        })
        .collect();
    output.result(&json!({ "run": run, "offers": list }), || {
        if offers.is_empty() {
            return "nothing is for sale".into();
        }
        let line = |offer: &tessera_ledger::record::Offer| {
            format!(
                "{}  {:>8} cu at {} U  from {}\n",
                offer.id,
                offer.cu,
                amount::show(offer.price),
                offer.seller.short()
            )
        };
        offers.iter().map(line).collect()
    });
    visitor.leave().await;
    Ok(())
}

async fn buy(
    place: &Place,
    id: Hash,
    cu: Option<u64>,
    max_price: Option<Amount>,
    output: Output,
) -> Result<()> {
    let (key, visitor) = enter(place).await?;
    let offer = visitor.ledger.read(|view| query::offer(view.source(), &id)).await?;
    let offer = offer.with_context(|| format!("offer {id} is not open; see `tessera wallet offers RUN`"))?;
    let (cu, limit) = (cu.unwrap_or(offer.cu), max_price.map_or(offer.price, |price| price.0));
    let mine = keys::owner_hash(&key.public());
    let action = Action::BuyOffer(BuyOffer { offer: id, cu, max_price: limit, to: mine });
    let receipt = visitor.ledger.submit(&key, action).await?;
    let sold = receipt.events.iter().find_map(|event| match event {
        Event::Sold(sold) if sold.offer == id && sold.buyer == key.public() => Some(sold.clone()),
        _ => None,
    });
    let sold = sold.context("the purchase took effect, but its block names no sale")?;
    let note = keys::note_id(&receipt.tx, 0);
    let total = sold.price.saturating_mul(u128::from(cu));
    let object = json!({
        "offer": id, "run": sold.run, "seller": sold.seller, "buyer": sold.buyer, "cu": cu, "note": note,
        "price": amount::show(sold.price), "total": amount::show(total),
    });
    output.result(&with_receipt(object, &receipt), || {
        format!(
            "bought {cu} cu at {} U each ({} U) as note {note}",
            amount::show(sold.price),
            amount::show(total)
        )
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
