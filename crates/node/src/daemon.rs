//! Start what every role of a process shares: folder, key, endpoint, switchboard, ledger client; and a validator.
//!
//! A [`Daemon`] is a node: it holds its folder's lock. A [`Visitor`] is a command that asks or signs and goes:
//! it takes no lock and connects under a throw-away identity, so that it works beside a running node with
//! the same key (two connections of one identity would replace each other).

use crate::{
    endpoint,
    folder::{Folder, FolderError, FolderLock},
    keyfile::KeyFileError,
    ledger::LedgerClient,
    network::{NetworkError, NetworkFile},
    switchboard::Switchboard,
    validator::{Choices, ValidateError, ValidatorNode},
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};
use tessera_canon::SecretKey;
use tessera_client::{TrustError, TrustFile, routes::Service};
use tessera_http::{HttpError, HttpLimits, HttpServer};
use tessera_net::{BindError, QuicTransport, Transport};
use tessera_wire::{CONTROL, RPC, SERVING, TENSORS};

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nobody said which network.
    #[error("which network? Give --network FILE (network.json of the network), or name it in {}", config.display())]
    WhichNetwork { config: PathBuf },
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Key(#[from] KeyFileError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Validate(#[from] ValidateError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// A ledger client over the process's QUIC endpoint.
pub type Ledger = LedgerClient<QuicTransport>;

/// What a node shall be.
#[derive(Clone, Debug, Default)]
pub struct DaemonOptions {
    /// Its folder; made if missing, with a new key.
    pub dir: PathBuf,
    /// The network file; else the one in `node.json`.
    pub network: Option<PathBuf>,
    /// UDP address; else the one in `node.json`; else, for a validator, the one in the network file; else
    /// a free port on 127.0.0.1.
    pub listen: Option<SocketAddr>,
    /// Keep the ledger with the others.
    pub validate: bool,
    /// How a validator starts: repair, download, blocks to keep.
    pub choices: Choices,
    /// Answer HTTP on this TCP address.
    pub http: Option<SocketAddr>,
}

/// A node: what all its roles share.
pub struct Daemon {
    pub folder: Folder,
    pub key: SecretKey,
    pub network: NetworkFile,
    /// The address it listens on.
    pub address: SocketAddr,
    pub switchboard: Switchboard<QuicTransport>,
    pub ledger: Ledger,
    pub validator: Option<ValidatorNode>,
    /// The HTTP surface, if it was asked for; it ends when this is dropped.
    pub http: Option<HttpServer>,
    _lock: FolderLock,
}

/// The network of a folder: the file given, or the one that its configuration names.
pub fn network_of(folder: &Folder, given: Option<&Path>) -> Result<NetworkFile, StartError> {
    let path = match given {
        Some(path) => path.to_path_buf(),
        None => folder
            .config()?
            .network
            .ok_or_else(|| StartError::WhichNetwork { config: folder.root().join("node.json") })?,
    };
    let network = NetworkFile::read(&path)?;
    // The first network that a folder is used with is its network for good.
    let marker = folder.root().join("network.id");
    match std::fs::read_to_string(&marker) {
        Ok(text) => match text.trim().parse() {
            Ok(expected) => network.require(expected)?,
            Err(_) => {
                let reason =
                    format!("expected the id of a network, got {} bytes of something else", text.len());
                return Err(FolderError::Config { path: marker, reason }.into());
            }
        },
        Err(_) => folder.write("network.id", format!("{}\n", network.id).as_bytes())?,
    }
    Ok(network)
}

impl Daemon {
    /// Start, or say what is in the way.
    pub async fn start(options: &DaemonOptions) -> Result<Self, StartError> {
        let folder = Folder::open(&options.dir)?;
        let lock = folder.claim()?;
        let (key, _) = folder.key_or_new()?;
        let network = network_of(&folder, options.network.as_deref())?;
        let trust = TrustFile::open(&folder.trust_path(), network.id)?;
        let own = network.validator(&key.public()).map(|entry| entry.rpc).filter(|_| options.validate);
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listen = options.listen.or(folder.config()?.listen).or(own).unwrap_or(any);
        let limits = endpoint::limits(&[CONTROL, TENSORS, RPC, SERVING], true);
        let transport = endpoint::open(&key, listen, limits).await?;
        let address = transport.address().unwrap_or(listen);
        let switchboard = Switchboard::start(transport);
        let validator = match options.validate {
            true => match ValidatorNode::start(&folder, &network, &switchboard, options.choices).await {
                Ok(validator) => Some(validator),
                Err(error) => {
                    // Free the port before anybody tries again.
                    switchboard.transport().close().await;
                    return Err(error.into());
                }
            },
            false => None,
        };
        let local = validator.as_ref().map(ValidatorNode::answerer);
        let ledger = LedgerClient::start(&switchboard, &network, local, Some(trust))?;
        let http = match options.http {
            Some(address) => {
                let genesis = Arc::new(network.genesis.clone());
                let service = Service { client: (*ledger).clone(), genesis };
                match HttpServer::start(service, address, HttpLimits::default()).await {
                    Ok(http) => Some(http),
                    Err(error) => {
                        if let Some(validator) = validator {
                            validator.stop().await;
                        }
                        switchboard.transport().close().await;
                        return Err(error.into());
                    }
                }
            }
            None => None,
        };
        Ok(Self { folder, key, network, address, switchboard, ledger, validator, http, _lock: lock })
    }
    /// End everything. Returns why the validator failed, if it did.
    pub async fn stop(self) -> Option<String> {
        drop(self.http);
        self.ledger.remember();
        let failure = match self.validator {
            Some(validator) => validator.stop().await,
            None => None,
        };
        self.switchboard.transport().close().await;
        failure
    }
}

/// A short visit to a network.
pub struct Visitor {
    pub network: NetworkFile,
    pub switchboard: Switchboard<QuicTransport>,
    pub ledger: Ledger,
}

impl Visitor {
    /// Connect to `network` under a throw-away identity.
    pub async fn enter(network: NetworkFile) -> Result<Self, StartError> {
        Self::enter_from(network, None).await
    }
    /// The same, believing nothing older than the header remembered in `folder`.
    pub async fn enter_from(network: NetworkFile, folder: Option<&Folder>) -> Result<Self, StartError> {
        let trust = folder.map(|folder| TrustFile::open(&folder.trust_path(), network.id)).transpose()?;
        let key =
            SecretKey::generate().map_err(|cause| KeyFileError::Entropy { cause: cause.to_string() })?;
        let transport = Self::endpoint(&key, &network).await?;
        let switchboard = Switchboard::start(transport);
        let ledger = LedgerClient::start(&switchboard, &network, None, trust)?;
        Ok(Self { network, switchboard, ledger })
    }
    async fn endpoint(key: &SecretKey, network: &NetworkFile) -> Result<Arc<QuicTransport>, BindError> {
        // Loopback reaches loopback only; every other address needs the wildcard.
        let local = network.validators.iter().all(|validator| validator.rpc.ip().is_loopback());
        let host = if local { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        endpoint::open(key, SocketAddr::from((host, 0)), endpoint::limits(&[RPC, SERVING], false)).await
    }
    /// Go.
    pub async fn leave(self) {
        self.ledger.remember();
        self.switchboard.transport().close().await;
    }
}
