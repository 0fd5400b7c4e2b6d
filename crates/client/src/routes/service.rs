//! Answer a route through a client: the same code behind HTTP and the command line.

use super::{Answer, Args, Problem, Route, problem::cut};
use crate::{
    Client, LedgerError, Source,
    explain::{self, Facts},
    json::{exact, json},
};
use serde_json::{Value, json as object};
use std::sync::Arc;
use tessera_canon::{Hash, List, decode, encode, hex, unhex};
use tessera_chain::{CertifiedHeader, Header};
use tessera_ledger::{Genesis, MAX_TX_BYTES, SignedTx, query};
use tessera_wire::rpc::Places;

/// A client with what some answers need besides. Cheap to clone.
pub struct Service<S> {
    pub client: Client<S>,
    /// The network's beginning, where balances start.
    pub genesis: Arc<Genesis>,
}
impl<S> Clone for Service<S> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), genesis: self.genesis.clone() }
    }
}

fn header_json(header: &Header) -> Value {
    let mut shown = json(header);
    shown["digest"] = object!(header.digest());
    shown["beacon"] = object!(header.beacon());
    shown
}

/// A header with the certificate that makes it final, as canonical bytes.
fn certified_json(certified: &CertifiedHeader) -> Value {
    object!({ "header": header_json(&certified.header), "proof": hex(&encode(certified)) })
}

fn tx_json(tx: &SignedTx) -> Value {
    let mut shown = json(tx);
    shown["id"] = object!(tx.id());
    shown
}

impl<S: Source> Service<S> {
    /// The answer to `path`, asked by GET.
    pub async fn get(&self, path: &str) -> Result<Value, Problem> {
        let (route, args) = Route::find(path, false)?;
        self.answer(route, &args, path).await
    }
    /// The answer of a route that is asked by GET; `path` is repeated where nothing is there.
    pub async fn answer(&self, route: &Route, args: &Args, path: &str) -> Result<Value, Problem> {
        let client = &self.client;
        match route.answer {
            Answer::Read(reader) => self.read(reader, args, path).await,
            Answer::Latest => Ok(certified_json(&client.latest_certified().await?)),
            Answer::Header => Ok(certified_json(&client.certified_at(args.number("height")?).await?)),
            Answer::Block => {
                let block = client.block_at(args.number("height")?).await?;
                let txs: Vec<Value> = block.txs().iter().map(tx_json).collect();
                Ok(object!({ "header": header_json(block.header()), "transactions": txs }))
            }
            Answer::Transaction => {
                let found = client.outcome(&args.hash("tx")?).await?;
                Ok(object!({
                    "height": exact(found.height), "time_ms": exact(found.time_ms), "index": found.index,
                    "transaction": tx_json(&found.tx), "refused": found.refused,
                }))
            }
            Answer::Prove => {
                let key = args.hash("key")?;
                let (proof, proved) = client.proof(&[key]).await?;
                let record = proved.cells.first().and_then(|(_, cell)| *cell);
                Ok(object!({
                    "key": key, "height": exact(proved.header.height), "present": record.is_some(),
                    "record": record.and_then(|cell| cell.unpack()).as_ref().map(json),
                    "proof": hex(&encode(&proof)),
                }))
            }
            Answer::Events => self.events(args).await,
            Answer::Explain => {
                let explained = explain::explain(client, &self.genesis, args.hash("subject")?).await?;
                Ok(explained.json())
            }
            Answer::Submit => Err(Problem::method(route.path, false)),
        }
    }
    async fn read(&self, reader: super::Read, args: &Args, path: &str) -> Result<Value, Problem> {
        let proofs = args.flag("proof");
        let (height, time_ms, found, proofs) = self
            .client
            .read(|view| {
                let shown = || -> Vec<Value> {
                    let parts = view.proofs().iter();
                    parts
                        .map(|(keys, proof)| object!({ "keys": keys, "proof": hex(&encode(proof)) }))
                        .collect()
                };
                (view.height, view.time_ms, reader(view, args), proofs.then(shown))
            })
            .await?;
        let data = found?.ok_or_else(|| Problem::absent(&cut(path)))?;
        let mut answer = object!({ "height": exact(height), "time_ms": exact(time_ms), "data": data });
        if let Some(proofs) = proofs {
            answer["proofs"] = object!(proofs);
        }
        Ok(answer)
    }
    async fn events(&self, args: &Args) -> Result<Value, Problem> {
        let (_, limit) = args.page()?;
        let from = if args.has("from") { args.number("from")? } else { 0 };
        let skip = if args.has("skip") { args.number("skip")? } else { 0 };
        let skip = u32::try_from(skip)
            .map_err(|_| Problem::argument("skip", "an integer of at most 32 bits", &skip.to_string()))?;
        let part = self.client.places(args.hash("subject")?, from, skip).await?;
        let (first, last) = (part.first, part.last);
        let all = part.places.len();
        let mut places = part.places.into_inner();
        places.truncate(limit as usize);
        let more = part.more || all > places.len();
        let next = places.last().filter(|_| more).map(|end| {
            let same = places.iter().rev().take_while(|place| place.height == end.height).count() as u32;
            let before = if end.height == from { skip } else { 0 };
            object!({ "from": exact(end.height), "skip": before + same })
        });
        let shown = Places { first, last, more, places: List::new(places).unwrap_or_default() };
        let facts = Facts::fetch(&self.client, &shown.places).await?;
        let items: Vec<Value> = facts
            .items
            .iter()
            .map(|fact| {
                object!({
                    "height": exact(fact.height), "time_ms": exact(fact.time_ms), "index": fact.at,
                    "event": fact.event().map(json), "transaction": fact.tx().map(tx_json),
                })
            })
            .collect();
        let mut answer = object!({
            "indexed_from": exact(first), "indexed_to": exact(last), "items": items, "next": next,
        });
        if args.flag("proof") {
            answer["proofs"] = facts.proofs.iter().map(|proof| hex(&encode(proof))).collect();
        }
        Ok(answer)
    }
    /// Offer the transaction whose canonical bytes are `body`, or whose hexadecimal digits it is.
    pub async fn submit(&self, body: &[u8]) -> Result<Value, Problem> {
        let text = std::str::from_utf8(body).ok().map(str::trim).filter(|text| !text.is_empty());
        let bytes = text.and_then(unhex).unwrap_or_else(|| body.to_vec());
        if bytes.len() > MAX_TX_BYTES {
            let (expected, got) = (format!("at most {MAX_TX_BYTES} bytes"), format!("{}", bytes.len()));
            return Err(Problem::new(413, "too_big", expected, &got, "split it into several transactions"));
        }
        let tx: SignedTx = decode(&bytes).map_err(|error| {
            let expected = "the canonical bytes of a signed transaction, or their hexadecimal digits";
            Problem::new(400, "decode", expected, &error.to_string(), "encode and sign it again")
        })?;
        let network = self.client.network();
        if tx.body.network != network {
            let (expected, got) = (format!("network {network}"), tx.body.network.to_string());
            return Err(Problem::new(422, "other_network", expected, &got, "sign it for this network"));
        }
        // An account whose key was rotated signs with another one.
        let sender = tx.body.sender;
        let signer = self
            .client
            .read(|view| {
                query::account(view.source(), &sender)
                    .map_or(sender, |account| account.signer_at(view.height + 1))
            })
            .await?;
        if !tx.verify_by(&signer) {
            let expected = format!("a signature of {signer}");
            return Err(Problem::new(422, "signature", expected, "another", "sign it with the sender's key"));
        }
        let id: Hash = tx.id();
        match self.client.offer(&tx).await {
            Ok(()) => Ok(object!({ "tx": id, "taken": true, "see": format!("/transactions/{id}") })),
            Err(LedgerError::NoAnswer { last, .. }) => {
                let expected = "a validator that takes it";
                Err(Problem::new(
                    503,
                    "not_taken",
                    expected,
                    &last,
                    "look at the reason; send it again later",
                ))
            }
            Err(other) => Err(other.into()),
        }
    }
}
