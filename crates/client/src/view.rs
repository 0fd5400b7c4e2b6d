//! Read typed values from proved cells, discovering on the way which cells are needed.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};
use tessera_chain::StateProof;
use tessera_ledger::{Cell, Key, record::Stored};

/// Cells proved at one height. Reading a key that was not fetched notes it and gives `None`; the client then
/// fetches it and runs the reader again, so a reader must only *look*: it may run several times.
#[derive(Debug, Default)]
pub struct View {
    /// Height of the state.
    pub height: u64,
    /// Time of that block, milliseconds since 1970.
    pub time_ms: u64,
    cells: BTreeMap<Key, Option<Cell>>,
    proofs: Vec<(Vec<Key>, StateProof)>,
    missing: RefCell<BTreeSet<Key>>,
}

impl View {
    /// Cells of the state at `height`.
    pub fn new(height: u64, time_ms: u64, cells: BTreeMap<Key, Option<Cell>>) -> Self {
        Self { height, time_ms, cells, proofs: Vec::new(), missing: RefCell::default() }
    }
    /// The same cells with what proves them.
    pub fn with_proofs(self, proofs: Vec<(Vec<Key>, StateProof)>) -> Self {
        Self { proofs, ..self }
    }
    /// What proves the cells, to show to others: parts of the keys, each with its proof.
    pub fn proofs(&self) -> &[(Vec<Key>, StateProof)] {
        &self.proofs
    }
    /// The cell of `key`, if it holds one.
    pub fn cell(&self, key: &Key) -> Option<Cell> {
        match self.cells.get(key) {
            Some(cell) => *cell,
            None => {
                self.missing.borrow_mut().insert(*key);
                None
            }
        }
    }
    /// The typed value at `key`.
    pub fn read<T: Stored>(&self, key: &Key) -> Option<T> {
        tessera_ledger::query::read(|key| self.cell(key), key)
    }
    /// A source of cells for the functions of [`tessera_ledger::query`].
    pub fn source(&self) -> impl Fn(&Key) -> Option<Cell> + Copy + '_ {
        |key| self.cell(key)
    }
    /// Keys that were read but not fetched.
    pub fn missing(&self) -> Vec<Key> {
        self.missing.borrow().iter().copied().collect()
    }
}
