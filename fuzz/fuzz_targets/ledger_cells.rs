//! Feed arbitrary cells to the decoder of records, and states of such cells to the scan of the invariants: no panic,
//! and one cell per record. A state is what a damaged or forged copy could hold, so the scan must name what is wrong
//! with it, whatever that is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use tessera_canon::{Blob, Describe as _, Domain, Hash, Text, digest_bytes};
use tessera_ledger::{
    Cell, Genesis, MemState,
    genesis::{GenesisAccount, Parameters, Params},
    invariants,
};

const PLACE: Domain = Domain::new("tessera/fuzz/place/v1");

static BEGUN: LazyLock<MemState> = LazyLock::new(|| {
    let account = GenesisAccount { key: tessera_canon::PublicKey([1; 32]), balance: 1000 };
    MemState::new(&Genesis {
        name: Text::new("fuzz").unwrap_or_default(),
        time_ms: 0,
        validators: Default::default(),
        accounts: vec![account].try_into().unwrap_or_default(),
        params: Parameters::from(Params::demo()),
        consensus: Blob::default(),
    })
});

/// The cell with this body, as `Cell::pack` would lay it out.
fn cell(body: &[u8]) -> Cell {
    let body = &body[..body.len().min(254)];
    let mut bytes = [0; 256];
    bytes[..2].copy_from_slice(&(body.len() as u16).to_be_bytes());
    bytes[2..2 + body.len()].copy_from_slice(body);
    Cell(bytes)
}

fuzz_target!(|bytes: &[u8]| {
    // As it comes.
    let mut raw = [0; 256];
    let length = bytes.len().min(256);
    raw[..length].copy_from_slice(&bytes[..length]);
    if let Some(record) = Cell(raw).unpack() {
        assert_eq!(Cell::pack(&record), Cell(raw));
        let _ = record.describe();
    }
    // As bodies, each behind a byte of length: a state.
    let (mut state, mut rest, mut bare) = (BEGUN.clone(), bytes, MemState::default());
    while let Some((length, more)) = rest.split_first() {
        let (body, more) = more.split_at(usize::from(*length).min(more.len()));
        rest = more;
        let cell = cell(body);
        if let Some(record) = cell.unpack() {
            assert_eq!(Cell::pack(&record), cell);
            let place = record.describe().hashes().first().copied().unwrap_or_default();
            let place: Hash = digest_bytes(PLACE, &[&place.0[..], record.kind().as_bytes()].concat());
            state.0.insert(place, cell);
            bare.0.insert(place, cell);
        }
    }
    let _ = (invariants::check(&state), invariants::check(&bare));
});
