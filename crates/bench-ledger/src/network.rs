//! Make the measured network from numbers alone, so that every process makes the same.

use crate::error::LedgerBenchError;
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, path::PathBuf};
use tessera_canon::{Blob, Hash, List, PublicKey, SecretKey};
use tessera_ledger::{Genesis, Parameters, SignedTx, Tx, action, genesis::GenesisAccount};
use tessera_validator::{
    Timing, ValidatorConfig,
    committee::{SecretShare, deal},
};

/// Nano-U at the beginning of each sender: enough for any run.
const BALANCE: u128 = 1 << 80;
/// Nano-U of each transaction's fee: more than the least.
const FEE: u128 = 1 << 20;

/// What a validator process is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) index: usize,
    pub(crate) validators: u8,
    pub(crate) senders: u16,
    /// Where each validator is reached by this one; relays, where the links are impaired.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) listen: SocketAddr,
    pub(crate) folder: PathBuf,
    pub(crate) interval_ms: u64,
    pub(crate) idle_ms: u64,
}

/// The keys and the genesis of the network.
pub(crate) struct Network {
    pub(crate) id: Hash,
    genesis: Genesis,
    keys: Vec<SecretKey>,
    shares: Vec<SecretShare>,
    senders: Vec<SecretKey>,
    next: Vec<u64>,
}

fn seed(kind: u8, index: u16) -> [u8; 32] {
    let mut seed = [kind; 32];
    seed[..2].copy_from_slice(&index.to_le_bytes());
    seed
}

impl Network {
    pub(crate) fn new(validators: u8, senders: u16) -> Result<Self, LedgerBenchError> {
        let too_many = |_| LedgerBenchError::Flag {
            flag: "senders",
            expected: "at most 4096",
            got: senders.to_string(),
        };
        let mut keys: Vec<SecretKey> =
            (0..u16::from(validators)).map(|index| SecretKey::from_seed(seed(1, index))).collect();
        keys.sort_by_key(SecretKey::public);
        let public: Vec<PublicKey> = keys.iter().map(SecretKey::public).collect();
        let (committee, shares) = deal(&public, seed(2, 0))?;
        let senders_: Vec<SecretKey> =
            (0..senders).map(|index| SecretKey::from_seed(seed(3, index))).collect();
        let accounts =
            senders_.iter().map(|key| GenesisAccount { key: key.public(), balance: BALANCE }).collect();
        let genesis = Genesis {
            name: "bench".parse().unwrap_or_default(),
            time_ms: 1_700_000_000_000,
            validators: List::default(),
            accounts: List::new(accounts).map_err(too_many)?,
            params: Parameters::default(),
            consensus: Blob::new(committee.to_bytes()).map_err(too_many)?,
        };
        Ok(Self {
            id: genesis.network_id(),
            genesis,
            keys,
            shares: shares.into_iter().map(|(_, share)| share).collect(),
            next: vec![0; senders_.len()],
            senders: senders_,
        })
    }
    pub(crate) fn config(&self, place: &Place) -> ValidatorConfig {
        ValidatorConfig {
            key: self.keys[place.index].clone(),
            share: self.shares[place.index].clone(),
            genesis: self.genesis.clone(),
            committee: self.keys.iter().map(SecretKey::public).zip(place.addresses.iter().copied()).collect(),
            listen: place.listen,
            data_dir: place.folder.clone(),
            state_sync: false,
            keep_blocks: None,
            timing: Timing { interval_ms: place.interval_ms, idle_ms: place.idle_ms },
        }
    }
    /// The next transfer of the sender whose turn it is, and which sender that is.
    pub(crate) fn transfer(&mut self, turn: usize) -> (usize, SignedTx) {
        let at = turn % self.senders.len();
        let key = &self.senders[at];
        let to = self.senders[(at * 7 + 1) % self.senders.len()].public();
        let nonce = self.next[at];
        self.next[at] += 1;
        let action = action::Transfer { to, amount: 1 }.into();
        (
            at,
            SignedTx::sign(
                key,
                Tx {
                    network: self.id,
                    sender: key.public(),
                    nonce,
                    fee: FEE,
                    fee_from: tessera_ledger::FeeSource::default(),
                    action,
                },
            ),
        )
    }
}
