//! Keep the formats of blocks, certificates and proofs against tables of hashes and specimens that are committed. A
//! changed row is a changed format.

mod committee;
#[path = "../../canon/tests/formats/mod.rs"]
mod formats;

use committee::{NETWORK, finalize, first, header, schemes};
use formats::{Table, committed};
use std::path::Path;
use tessera_canon::{Compact, Hash, List, SecretKey, decode};
use tessera_chain::{
    Between, Block, CertifiedHeader, FinalState, Group, Header, Identity, Inclusion, LightClient, Link, Log,
    Nothing, PackedCell, Path as CellPath, Present, ProvedEntry, SIGNATURE_BYTES, Seed, StateHeader,
    StateProof, event_root, tx_root,
};
use tessera_ledger::{Event, SignedTx, Tx, action::Transfer, event::Transferred};

fn fixtures() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

#[test]
fn the_formats_have_not_changed() {
    let mut table = Table::default();
    table.add::<Header>("Header");
    table.add::<Seed>("Seed");
    table.add::<StateHeader>("StateHeader");
    table.add::<FinalState>("FinalState");

    let key = SecretKey::from_seed([8; 32]);
    let tx = |nonce| {
        let action = Transfer { to: key.public(), amount: 1 }.into();
        let fee_from = tessera_ledger::FeeSource::default();
        SignedTx::sign(&key, Tx { network: NETWORK, sender: key.public(), nonce, fee: 1, fee_from, action })
    };
    let txs = vec![tx(0), tx(1), tx(2)];
    let moved = |amount| Event::from(Transferred { from: key.public(), to: key.public(), amount });
    let events = vec![moved(1), moved(2), moved(3), moved(4)];
    let one = Header { tx_root: tx_root(&txs), event_root: event_root(&events), ..first() };
    let (two, schemes) = (header(2, &one), schemes(1));
    let identity = Identity::from_point(schemes[0].identity());
    let certified = CertifiedHeader {
        header: one.clone(),
        links: List::new(vec![two.clone()]).expect("one fits"),
        certificate: finalize(&schemes, &two),
    };
    let cell = PackedCell(tessera_ledger::Cell(std::array::from_fn(|at| (at % 40) as u8)));
    let path = CellPath {
        place: Compact(2),
        group: Group([0xf7; 32]),
        siblings: List::new(vec![Hash([6; 32]), Hash([7; 32])]).expect("two fit"),
    };
    let next = Hash([4; 32]);
    let entries: Vec<ProvedEntry> = vec![
        Present { cell: cell.clone(), next, path: path.clone() }.into(),
        Between { key: Hash([3; 32]), cell, next, path: path.clone() }.into(),
        Nothing { note: None, path }.into(),
    ];
    let state = StateProof {
        finality: FinalState {
            height: Compact(1),
            view_ahead: Compact(0),
            view_step: Compact(1),
            time_ms: Compact(1_800_000_000_000),
            rest: one.of_state().rest,
            links: List::new(vec![Link { view_step: Compact(3), state: Hash([8; 32]), body: Hash([9; 32]) }])
                .expect("one fits"),
            signature: [10; SIGNATURE_BYTES],
        },
        log: Log { root: one.ops_root, end: Compact(4), inactive: 1, unfinished: Group([0xfb; 32]) },
        entries: List::new(entries).expect("three fit"),
    };
    let inclusion =
        Inclusion::prove(certified.clone(), (&events, &[0, 3]), (&txs, &[1])).expect("they stand there");

    table.opaque("Identity", &identity);
    table.opaque("Block", &Block::new(one.clone(), txs).expect("the header binds them"));
    table.opaque("Finalization", &certified.certificate);
    for entry in state.entries.iter() {
        table.value(&format!("ProvedEntry.{}", entry.kind()), entry);
    }
    table.value("StateProof", &state);
    table.value("Inclusion", &inclusion);
    table.value("CertifiedHeader", &certified);
    table.hash("Header.digest", &one.digest());
    table.hash("Header.beacon of the first block", &one.beacon());
    table.hash("Header.beacon", &two.beacon());
    table.hash("tx_root", &one.tx_root);
    table.hash("event_root", &one.event_root);
    table.check(&fixtures());
}

/// The committed certificate and paths hold under the committed key: a change of a domain or of what is signed fails
/// here even where no byte moved.
#[test]
fn committed_proofs_hold() {
    let identity: Identity = decode(&committed(&fixtures(), "Identity")).expect("an identity");
    let inclusion: Inclusion = decode(&committed(&fixtures(), "Inclusion")).expect("an inclusion");
    let client = LightClient::new(NETWORK, &identity).expect("a point of the curve");
    client.verify_inclusion(&inclusion).expect("it held when it was committed");
    let mut other = inclusion.clone();
    other.header.header.time_ms += 1;
    client.verify_inclusion(&other).expect_err("another header");
}
