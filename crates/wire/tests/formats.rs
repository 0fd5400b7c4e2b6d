//! Keep the formats of all messages between peers against tables of hashes and specimens that are committed. A changed
//! row is a changed format: peers of another version must be refused by the version byte.
//!
//! Answers that carry a certificate take theirs from the committed specimens of the chain: no decoder makes points of a
//! curve out of arbitrary bytes.

#[path = "../../canon/tests/formats/mod.rs"]
mod formats;

use formats::{Table, committed};
use std::path::Path;
use tessera_canon::{Describe as _, Described, Hash, List, decode, digest_bytes};
use tessera_chain::{Block, CertifiedHeader, Inclusion, StateProof};
use tessera_wire::{rpc, serving, training};

#[test]
fn the_formats_have_not_changed() {
    let mut table = Table::default();
    table.choice::<rpc::Ask>("Ask");
    let chain = Path::new(env!("CARGO_MANIFEST_DIR")).join("../chain/tests/fixtures");
    let header: CertifiedHeader = decode(&committed(&chain, "CertifiedHeader")).expect("a certified header");
    let block: Block = decode(&committed(&chain, "Block")).expect("a block");
    let state: StateProof = decode(&committed(&chain, "StateProof")).expect("a state proof");
    let inclusion: Inclusion = decode(&committed(&chain, "Inclusion")).expect("an inclusion");
    let events = inclusion.events.iter().map(|proved| proved.event.clone()).collect();
    let events = List::new(events).expect("as many as were proved");
    let place = rpc::Place { height: 7, tx: true, at: 2 };
    let answers: Vec<rpc::Answer> = vec![
        header.clone().into(),
        block.clone().into(),
        state.into(),
        rpc::Taken { tx: Hash([1; 32]) }.into(),
        rpc::Included { header, block, events }.into(),
        rpc::NotHere {}.into(),
        rpc::Refused::new(true, "busy").into(),
        rpc::Places { first: 1, last: 9, more: true, places: List::new(vec![place]).expect("one") }.into(),
        inclusion.into(),
    ];
    let tags: Vec<u8> = answers.iter().map(|answer| tessera_canon::encode(answer)[0]).collect();
    // Every tag that the decoder knows has its specimen: any other is refused at once.
    for tag in (0..=255).filter(|tag| !tags.contains(tag)) {
        assert!(formats::unknown::<rpc::Answer>(tag), "no specimen of the answer with tag {tag}");
    }
    for answer in &answers {
        let Described::Choice(kind, _) = answer.describe() else { panic!("an answer is a choice") };
        table.value(&format!("Answer.{kind}"), answer);
        let response = rpc::Response { id: 8, answer: answer.clone() };
        table.value(&format!("Response.{kind}"), &rpc::Message::from(response));
    }
    table.add::<rpc::Request>("Request");
    table.choice::<serving::ServingMessage>("ServingMessage");
    table.choice::<training::Message>("training.Message");
    let domains = [
        ("CONSENT", serving::CONSENT),
        ("ROUTE", serving::ROUTE),
        ("TICKET", serving::TICKET),
        ("CLOSE", serving::CLOSE),
        ("VOTE", training::VOTE),
    ];
    for (name, domain) in domains {
        table.hash(name, &digest_bytes(domain, b"specimen"));
    }
    table.hash("VERSION", &Hash([tessera_wire::VERSION; 32]));
    table.check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"));
}
