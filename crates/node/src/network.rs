//! Describe a network in one file that participants pass on, and make new networks.
//!
//! The file is JSON for people, but only two fields decide: `genesis`, the canonical bytes that hash to the
//! network's id, and the validators' addresses. Every other field is checked against them when it is read, so
//! a file that was edited is refused with both values.

use crate::{
    amount,
    folder::{Folder, FolderError, NodeConfig, advice, write_whole},
    keyfile::{self, KeyFileError},
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};
use tessera_canon::{Blob, Hash, List, PublicKey, SecretKey, Text, decode, encode};
use tessera_chain::{Identity, IdentityError, LightClient};
use tessera_ledger::{
    Genesis, Parameters,
    genesis::{GenesisAccount, GenesisValidator},
};
use tessera_validator::committee::{Committee, CommitteeError, deal};

/// Version of the file's format.
pub const FORMAT: u32 = 1;
/// Longest network file, bytes.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// Why a network file could not be read, written or used.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Cannot read it.
    #[error("cannot read the network file {}: {cause}; {advice}", path.display())]
    Read { path: PathBuf, advice: &'static str, cause: std::io::Error },
    /// Not such a file.
    #[error("{} is not a network file: {reason}; ask a member of the network for a fresh one", path.display())]
    Content { path: PathBuf, reason: String },
    /// Two fields contradict each other.
    #[error(
        "the network file was changed: {field} says {got}, its genesis says {expected}; ask a member of the network for a fresh one"
    )]
    Edited { field: &'static str, expected: String, got: String },
    /// The file is for another network than the one this folder or the caller is about.
    #[error(
        "expected network {expected}, got a file for network {got}; give the right --network or another --dir"
    )]
    OtherNetwork { expected: Hash, got: Hash },
    /// What was asked for is impossible.
    #[error("a new network needs {expected}, got {got}")]
    Plan { expected: &'static str, got: String },
    /// Committee trouble.
    #[error(transparent)]
    Committee(#[from] CommitteeError),
    /// The group key is no curve point.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Disk trouble.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Key trouble.
    #[error(transparent)]
    Key(#[from] KeyFileError),
}

/// A validator and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidatorEntry {
    /// Its identity, for consensus and for questions alike.
    pub key: PublicKey,
    /// QUIC (UDP): light clients ask here.
    pub rpc: SocketAddr,
    /// TCP: the other validators talk here.
    pub consensus: SocketAddr,
}

/// A balance at the beginning, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BalanceEntry {
    key: PublicKey,
    u: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    name: String,
    network_id: Hash,
    identity: String,
    genesis_time_ms: u64,
    epoch_blocks: u64,
    validators: Vec<ValidatorEntry>,
    balances: Vec<BalanceEntry>,
    genesis: String,
}

/// A network: its genesis, its committee's group key, where its validators are.
#[derive(Clone, Debug)]
pub struct NetworkFile {
    pub genesis: Genesis,
    pub id: Hash,
    pub identity: Identity,
    pub validators: Vec<ValidatorEntry>,
}

impl NetworkFile {
    /// Put together; the committee is taken from the genesis and must be that of `validators`.
    pub fn new(genesis: Genesis, validators: Vec<ValidatorEntry>) -> Result<Self, NetworkError> {
        let committee = Committee::from_bytes(genesis.consensus.bytes())?;
        let show = |keys: &mut dyn Iterator<Item = PublicKey>| {
            keys.map(|key| key.short()).collect::<Vec<_>>().join(", ")
        };
        let mut keys: Vec<PublicKey> = validators.iter().map(|validator| validator.key).collect();
        keys.sort_unstable();
        if *keys != *committee.members {
            return Err(NetworkError::Edited {
                field: "validators",
                expected: show(&mut committee.members.iter().copied()),
                got: show(&mut keys.into_iter()),
            });
        }
        Ok(Self { id: genesis.network_id(), identity: committee.identity()?, genesis, validators })
    }
    /// Read and check the file at `path`.
    pub fn read(path: &Path) -> Result<Self, NetworkError> {
        let failed =
            |cause: std::io::Error| NetworkError::Read { path: path.into(), advice: advice(&cause), cause };
        let content = |reason: String| NetworkError::Content { path: path.into(), reason };
        let length = fs::metadata(path).map_err(failed)?.len();
        if length > MAX_FILE_BYTES {
            return Err(content(format!("expected at most {MAX_FILE_BYTES} bytes, got {length}")));
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        let file: File = serde_json::from_str(&text).map_err(|error| content(error.to_string()))?;
        if file.format != FORMAT {
            return Err(content(format!("expected format {FORMAT}, got {}", file.format)));
        }
        let bytes = from_hex(&file.genesis).ok_or_else(|| content("genesis is not hexadecimal".into()))?;
        let genesis: Genesis = decode(&bytes).map_err(|error| content(error.to_string()))?;
        let network = Self::new(genesis, file.validators.clone())?;
        let own = network.file();
        let same = |field, expected: String, got: String| match expected == got {
            true => Ok(()),
            false => Err(NetworkError::Edited { field, expected, got }),
        };
        same("network_id", own.network_id.to_string(), file.network_id.to_string())?;
        same("identity", own.identity, file.identity)?;
        same("name", own.name, file.name)?;
        same("genesis_time_ms", own.genesis_time_ms.to_string(), file.genesis_time_ms.to_string())?;
        same("epoch_blocks", own.epoch_blocks.to_string(), file.epoch_blocks.to_string())?;
        same("balances", format!("{:?}", own.balances), format!("{:?}", file.balances))?;
        Ok(network)
    }
    fn file(&self) -> File {
        let genesis = &self.genesis;
        let balances = genesis.accounts.iter();
        File {
            format: FORMAT,
            name: genesis.name.to_string(),
            network_id: self.id,
            identity: self.identity.to_string(),
            genesis_time_ms: genesis.time_ms,
            epoch_blocks: genesis.params.base.epoch_blocks,
            validators: self.validators.clone(),
            balances: balances.map(|a| BalanceEntry { key: a.key, u: amount::show(a.balance) }).collect(),
            genesis: to_hex(&encode(genesis)),
        }
    }
    /// The file's text.
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(&self.file());
        text.expect("a network file holds only texts, numbers and lists, which JSON can write") + "\n"
    }
    /// Write the file.
    pub fn write(&self, path: &Path) -> Result<(), NetworkError> {
        Ok(write_whole(path, self.to_json().as_bytes())?)
    }
    /// A verifier of what validators of this network say.
    pub fn light_client(&self) -> Result<LightClient, NetworkError> {
        Ok(LightClient::new(self.id, &self.identity)?)
    }
    /// An error unless this is network `expected`.
    pub fn require(&self, expected: Hash) -> Result<(), NetworkError> {
        match self.id == expected {
            true => Ok(()),
            false => Err(NetworkError::OtherNetwork { expected, got: self.id }),
        }
    }
    /// The entry of a validator.
    pub fn validator(&self, key: &PublicKey) -> Option<&ValidatorEntry> {
        self.validators.iter().find(|validator| validator.key == *key)
    }
}

/// What a new network shall be.
#[derive(Clone, Debug)]
pub struct NetworkPlan {
    /// Name for people, at most 32 bytes.
    pub name: String,
    /// Number of validators; 3f + 1 of them withstand f faults.
    pub validators: u16,
    /// Balances at the beginning, nano-U.
    pub fund: Vec<(PublicKey, u128)>,
    pub params: Parameters,
    /// Where all validators listen.
    pub host: IpAddr,
    /// First port: validator i has consensus (TCP) and questions (UDP) on this port + i.
    /// 0 takes ports that are free at this moment.
    pub first_port: u16,
    /// The beginning, milliseconds since 1970.
    pub time_ms: u64,
}

/// A new network on disk.
#[derive(Clone, Debug)]
pub struct NewNetwork {
    pub network: NetworkFile,
    /// The network file.
    pub path: PathBuf,
    /// One folder for each validator, in the order of `network.validators`.
    pub folders: Vec<PathBuf>,
}

/// Make a network: `out/network.json` and one folder for each validator with its key and its share.
///
/// The caller is the trusted dealer of the committee's key for a moment; nothing of the dealing is kept.
pub fn create(plan: &NetworkPlan, out: &Path) -> Result<NewNetwork, NetworkError> {
    let plan_error = |expected, got: String| NetworkError::Plan { expected, got };
    if !(1..=128).contains(&plan.validators) {
        return Err(plan_error("1 to 128 validators", plan.validators.to_string()));
    }
    let name = Text::new(plan.name.as_str())
        .map_err(|_| plan_error("a name of at most 32 bytes", plan.name.clone()))?;
    let ports = ports(plan)?;
    let root = Folder::open(out)?;
    let path = root.root().join("network.json");
    if path.exists() {
        return Err(plan_error("an --out folder without a network", format!("{}", path.display())));
    }
    let mut made = Vec::new();
    for index in 0..plan.validators {
        let folder = Folder::open(&root.root().join(format!("validator-{index}")))?;
        let key = keyfile::create(&folder.key_path())?;
        made.push((folder, key.public()));
    }
    let keys: Vec<PublicKey> = made.iter().map(|(_, key)| *key).collect();
    let dealing =
        SecretKey::generate().map_err(|cause| KeyFileError::Entropy { cause: cause.to_string() })?;
    let (committee, shares) = deal(&keys, dealing.seed())?;
    let entries: Vec<ValidatorEntry> = keys
        .iter()
        .zip(ports)
        .map(|(key, port)| {
            let address = SocketAddr::new(plan.host, port);
            ValidatorEntry { key: *key, rpc: address, consensus: address }
        })
        .collect();
    let too_many = |what| move |_| plan_error(what, "more".into());
    let validators = entries
        .iter()
        .map(|entry| {
            Text::new(entry.rpc.to_string()).map(|endpoint| GenesisValidator { key: entry.key, endpoint })
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(too_many("addresses of at most 64 bytes"))?;
    let accounts =
        plan.fund.iter().map(|(key, balance)| GenesisAccount { key: *key, balance: *balance }).collect();
    let genesis = Genesis {
        name,
        time_ms: plan.time_ms,
        validators: List::new(validators).map_err(too_many("at most 128 validators"))?,
        accounts: List::new(accounts).map_err(too_many("at most 4096 funded accounts"))?,
        params: plan.params.clone(),
        consensus: Blob::new(committee.to_bytes()).map_err(too_many("a committee of at most 64 KiB"))?,
    };
    let network = NetworkFile::new(genesis, entries)?;
    for (folder, key) in &made {
        if let Some((_, share)) = shares.iter().find(|(member, _)| member == key) {
            keyfile::write_secret(&folder.share_path(), &format!("{}\n", share.to_hex()))?;
        }
        let listen = network.validator(key).map(|entry| entry.rpc);
        let network = Some("../network.json".into());
        folder.set_config(&NodeConfig { network, listen, ..NodeConfig::default() })?;
    }
    // Last, so that an interrupted attempt leaves no network file behind.
    network.write(&path)?;
    let folders = made.into_iter().map(|(folder, _)| folder.root().to_path_buf()).collect();
    Ok(NewNetwork { network, path, folders })
}

/// One port for each validator, free for TCP and UDP if the system chooses.
fn ports(plan: &NetworkPlan) -> Result<Vec<u16>, NetworkError> {
    let count = plan.validators;
    if plan.first_port != 0 {
        let last = u32::from(plan.first_port) + u32::from(count) - 1;
        if last > u32::from(u16::MAX) {
            return Err(NetworkError::Plan { expected: "ports up to 65535", got: last.to_string() });
        }
        return Ok((0..count).map(|index| plan.first_port + index).collect());
    }
    // All are held until the last one is found, so that none is given twice.
    let mut held = Vec::new();
    for _ in 0..count * 4 + 16 {
        if held.len() == usize::from(count) {
            break;
        }
        let taken = std::net::TcpListener::bind((plan.host, 0)).and_then(|tcp| {
            let port = tcp.local_addr()?.port();
            let udp = std::net::UdpSocket::bind((plan.host, port))?;
            Ok((tcp, udp, port))
        });
        held.extend(taken.ok());
    }
    if held.len() < usize::from(count) {
        let got = format!("{} on {}", held.len(), plan.host);
        return Err(NetworkError::Plan {
            expected: "a free port for each validator (or give --first-port)",
            got,
        });
    }
    Ok(held.iter().map(|(_, _, port)| *port).collect())
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> NetworkPlan {
        NetworkPlan {
            name: "mosaic".into(),
            validators: 4,
            fund: vec![(SecretKey::from_seed([5; 32]).public(), 12_500_000_000)],
            params: Parameters::demo(),
            host: IpAddr::from([127, 0, 0, 1]),
            first_port: 4100,
            time_ms: 1_700_000_000_000,
        }
    }

    #[test]
    fn a_new_network_reads_back_and_an_edited_file_is_refused_with_both_values() {
        let home = tempfile::tempdir().unwrap();
        let new = create(&plan(), home.path()).unwrap();
        let read = NetworkFile::read(&new.path).unwrap();
        assert_eq!((read.id, &read.validators), (new.network.id, &new.network.validators));
        assert_eq!(read.validators[3].rpc, "127.0.0.1:4103".parse().unwrap());
        for folder in &new.folders {
            let folder = Folder::open(folder).unwrap();
            let entry = read.validator(&folder.key().unwrap().public()).unwrap();
            assert_eq!(folder.config().unwrap().listen, Some(entry.rpc));
            keyfile::read_secret(&folder.share_path()).unwrap();
        }
        let text = fs::read_to_string(&new.path).unwrap();
        let edits = [
            ("\"mosaic\"", "\"mosaik\""),
            ("\"12.5\"", "\"12.6\""),
            ("\"epoch_blocks\": 10", "\"epoch_blocks\": 11"),
        ];
        for (from, to) in edits {
            assert!(text.contains(from), "{from}");
            fs::write(&new.path, text.replace(from, to)).unwrap();
            let error = NetworkFile::read(&new.path).unwrap_err();
            assert!(matches!(error, NetworkError::Edited { .. }), "{error}");
        }
        fs::write(&new.path, &text[..text.len() / 2]).unwrap();
        assert!(matches!(NetworkFile::read(&new.path), Err(NetworkError::Content { .. })));
        let other = Hash([9; 32]);
        let error = new.network.require(other).unwrap_err().to_string();
        assert!(error.contains(&other.to_string()) && error.contains(&new.network.id.to_string()), "{error}");
    }

    #[test]
    fn a_folder_with_a_network_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        create(&plan(), home.path()).unwrap();
        assert!(matches!(create(&plan(), home.path()), Err(NetworkError::Plan { .. })));
        assert!(create(&NetworkPlan { validators: 0, ..plan() }, &home.path().join("x")).is_err());
    }
}
