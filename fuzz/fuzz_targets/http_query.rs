//! Feed arbitrary paths and queries to the route table, and what is accepted to the readers of the state: no panic,
//! every refusal explains itself, and the same request finds the same route. A first byte chooses a known path that
//! the rest is appended to, so that arguments are reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::{collections::BTreeMap, sync::LazyLock};
use tessera_canon::{Blob, Text};
use tessera_client::{
    View,
    routes::{Answer, ROUTES, Route},
};
use tessera_ledger::{
    Genesis,
    genesis::{GenesisAccount, Parameters, Params},
};

static CELLS: LazyLock<BTreeMap<tessera_ledger::Key, Option<tessera_ledger::Cell>>> = LazyLock::new(|| {
    let account = GenesisAccount { key: tessera_canon::PublicKey([1; 32]), balance: 1000 };
    let genesis = Genesis {
        name: Text::new("fuzz").unwrap_or_default(),
        time_ms: 0,
        validators: Default::default(),
        accounts: vec![account].try_into().unwrap_or_default(),
        params: Parameters::from(Params::demo()),
        consensus: Blob::default(),
    };
    genesis.cells().into_iter().map(|(key, cell)| (key, Some(cell))).collect()
});

fn ask(path: &str) {
    for post in [false, true] {
        let (found, again) = (Route::find(path, post), Route::find(path, post));
        match (found, again) {
            (Ok((route, args)), Ok((same, same_args))) => {
                assert!(route.path == same.path && args == same_args);
                if let Answer::Read(read) = route.answer {
                    // Once with nothing fetched, once with a state.
                    for cells in [BTreeMap::new(), CELLS.clone()] {
                        let view = View::new(7, 7000, cells);
                        if let Err(problem) = read(&view, &args) {
                            assert!(problem.status >= 400);
                        }
                    }
                }
            }
            (Err(problem), Err(_)) => {
                assert!((400..500).contains(&problem.status), "{}", problem.json());
            }
            _ => panic!("the same request was accepted and refused"),
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    ask(text);
    let route = &ROUTES[usize::from(*first) % ROUTES.len()];
    let (path, _) = route.example.split_once('?').unwrap_or((route.example, ""));
    ask(&format!("{path}?{text}"));
    // The first part of the path that is a parameter, replaced.
    let mut parts: Vec<&str> = path.split('/').collect();
    if let Some(at) = route.path.split('/').position(|part| part.starts_with('{')) {
        parts[at] = text;
        ask(&parts.join("/"));
    }
});
