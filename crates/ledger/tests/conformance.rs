//! Keep the ledger's formats: every action, record, event, and whatever is signed, hashed or stored, against tables
//! of hashes and specimens that are committed. A changed row is a changed format.

#[path = "../../canon/tests/formats/mod.rs"]
mod formats;

use formats::Table;
use std::path::Path;
use tessera_canon::{Hash, SecretKey, decode, encode};
use tessera_ledger::{
    Action, Event, FeeSource, Genesis, MemState, SignedTx, Tx,
    action::*,
    cell::Cell,
    event,
    genesis::{GenesisAccount, Parameters, Params},
    invariants,
    record::Record,
    ticket::{ROUTE, Route, TICKET, Ticket},
};

#[test]
fn the_formats_have_not_changed() {
    let mut table = Table::default();
    // All that an account can do, a cell can hold, and can happen: every variant, whoever adds one.
    table.choice::<Action>("Action");
    table.choice::<Record>("Record");
    table.choice::<Event>("Event");
    // Around them.
    table.add::<Tx>("Tx");
    table.add::<SignedTx>("SignedTx");
    table.choice::<FeeSource>("FeeSource");
    table.add::<Genesis>("Genesis");
    table.add::<Parameters>("Parameters");
    // What is signed or hashed inside of them.
    table.add::<Rotation>("Rotation");
    table.add::<Bonding>("Bonding");
    table.add::<tessera_ledger::evidence::Statement>("evidence.Statement");
    table.add::<WindowReport>("WindowReport");
    table.add::<Evaluated>("Evaluated");
    table.add::<Affiliated>("Affiliated");
    table.add::<Statement>("trust.Statement");
    table.add::<AuditOpening>("AuditOpening");
    table.add::<SealedCanary>("SealedCanary");
    table.add::<LockOrder>("LockOrder");
    table.add::<Reshaping>("Reshaping");
    table.add::<FailoverRequest>("FailoverRequest");
    table.add::<SessionJudgement>("SessionJudgement");
    table.add::<Refusal>("Refusal");
    table.add::<Route>("Route");
    table.add::<Ticket>("Ticket");
    table.add::<MarketId>("MarketId");
    table.add::<OrderTerms>("OrderTerms");
    table.choice::<Motion>("Motion");
    table.choice::<Step>("Step");
    // Hashes and signatures under the domains of the ledger.
    let key = SecretKey::from_seed([7; 32]);
    let transfer = Transfer { to: key.public(), amount: 5 };
    let body = Tx {
        network: Hash([1; 32]),
        sender: key.public(),
        nonce: 3,
        fee: 9,
        fee_from: FeeSource::default(),
        action: transfer.into(),
    };
    let signed = SignedTx::sign(&key, body);
    table.value("SignedTx signed", &signed);
    table.hash("SignedTx.id", &signed.id());
    let market = MarketId { asset: Asset::Share, run: Hash([2; 32]), series: 0 };
    let terms = OrderTerms { side: Side::Bid, limit: 3, quantity: 4, to: Hash([5; 32]) };
    let happened = tessera_ledger::event::Transferred { from: key.public(), to: key.public(), amount: 5 };
    table.hash("event.leaf", &event::leaf(&happened.into()));
    table.hash("MarketId.id", &market.id());
    table.hash("seal", &seal(&key.public(), &terms, &Hash([6; 32])));
    let genesis = genesis(&key);
    table.value("Genesis of a demo", &genesis);
    table.hash("Genesis.network_id", &genesis.network_id());
    let cells = genesis.cells();
    let cells: Vec<Hash> = cells.iter().flat_map(|(key, cell)| [*key, digest_of(cell)]).collect();
    table.hash("Genesis.cells", &tessera_canon::merkle_root(cells));
    for (name, domain) in DOMAINS {
        table.hash(name, &tessera_canon::digest_bytes(*domain, b"specimen"));
    }
    table.check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"));
}

/// Domains of what is signed or committed to.
const DOMAINS: &[(&str, tessera_canon::Domain)] = &[
    ("ROTATION", ROTATION),
    ("BONDING", BONDING),
    ("REPORT", REPORT),
    ("EVALUATED", EVALUATED),
    ("STATEMENT", STATEMENT),
    ("AUDIT", AUDIT),
    ("CANARY", CANARY),
    ("AFFILIATED", AFFILIATED),
    ("ORDER", ORDER),
    ("RESHAPE", RESHAPE),
    ("SEAL", SEAL),
    ("FAILOVER", FAILOVER),
    ("REFUSAL", REFUSAL),
    ("JUDGEMENT", JUDGEMENT),
    ("ROUTE", ROUTE),
    ("TICKET", TICKET),
];

fn digest_of(cell: &Cell) -> Hash {
    tessera_canon::digest(tessera_canon::Domain::new("tessera/test/cell/v1"), cell)
}

fn genesis(key: &SecretKey) -> Genesis {
    let accounts = vec![GenesisAccount { key: key.public(), balance: 1_000_000 }];
    Genesis {
        name: "conformance".parse().expect("short"),
        time_ms: 1,
        validators: Default::default(),
        accounts: accounts.try_into().expect("one fits"),
        params: Parameters::from(Params::demo()),
        consensus: Default::default(),
    }
}

/// Every committed specimen of a record fits a cell and comes back from it.
#[test]
fn committed_records_come_back_from_their_cells() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/specimens.txt");
    let text = std::fs::read_to_string(file).expect("the fixtures are committed");
    let mut seen = 0;
    for line in text.lines().filter(|line| line.starts_with("Record.")) {
        let bytes = line.split(' ').nth(1).and_then(tessera_canon::unhex).expect("name, digits, fields");
        let record: Record = decode(&bytes).expect("a committed record decodes");
        assert_eq!(encode(&record), bytes);
        assert_eq!(Cell::pack(&record).unpack(), Some(record));
        seen += 1;
    }
    assert!(seen > 60, "{seen} records in the fixtures");
}

/// A state with cells that no ledger wrote, every number in them as large as can be, is refused by name; its sums do
/// not overflow.
#[test]
fn the_largest_forged_cells_are_refused_by_name() {
    let key = SecretKey::from_seed([7; 32]);
    let begun = MemState::new(&genesis(&key));
    invariants::check(&begun).expect("genesis holds");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/specimens.txt");
    let text = std::fs::read_to_string(file).expect("the fixtures are committed");
    let (mut all, mut names) = (begun.clone(), std::collections::BTreeSet::new());
    for (line, at) in text.lines().filter(|line| line.starts_with("Record.")).zip(0u64..) {
        let mut bytes = line.split(' ').nth(1).and_then(tessera_canon::unhex).expect("name, digits, fields");
        for byte in 1..bytes.len() {
            let before = std::mem::replace(&mut bytes[byte], 255);
            if decode::<Record>(&bytes).is_err() {
                bytes[byte] = before;
            }
        }
        let cell = Cell::pack(&decode(&bytes).expect("it decoded a moment before"));
        let mut state = begun.clone();
        for copy in 0..2u64 {
            let place = tessera_canon::digest(ORDER, &(at, copy));
            state.0.insert(place, cell);
            all.0.insert(place, cell);
        }
        if let Err(violation) = invariants::check(&state) {
            names.insert(violation.name);
        }
    }
    invariants::check(&all).expect_err("every cell is forged");
    assert!(names.len() >= 5, "violations were named by their invariants: {names:?}");
}
