//! Be one validator in a process of its own, with a door through which the measuring process offers and looks.
//!
//! Only the door is the measurement's: behind it is the validator as every network runs it. Each connection
//! through the door carries frames (a length, then a canonical record): offers go in and are answered in order,
//! or, on a connection that asks for it, a line for each final block comes out.

use crate::{
    error::LedgerBenchError,
    network::{Network, Place},
};
use std::io::{BufRead as _, Read as _, Write as _};
use tessera_canon::{
    Hash, List, Text, choice,
    codec::{Encode, Read},
    decode, encode, record,
};
use tessera_chain::MAX_BLOCK_TXS;
use tessera_ledger::SignedTx;
use tessera_validator::{Validator, ValidatorHandle};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

/// Most transactions in one frame.
pub(crate) const MAX_OFFER: usize = 256;
/// Greatest frame.
const MAX_FRAME: usize = 8 << 20;

record! {
    /// Transactions for the validator, in order.
    pub(crate) struct Offer { pub(crate) txs: List<SignedTx, MAX_OFFER> }
}
record! {
    /// A request for the final blocks from now on.
    pub(crate) struct Follow {}
}
choice! {
    /// What the measuring process sends.
    pub(crate) enum Wish {
        0 => Offer(Offer),
        1 => Follow(Follow),
    }
}
record! {
    /// What became of an offer.
    pub(crate) struct Outcome {
        /// Which were not taken, by place.
        pub(crate) refused: List<u16, MAX_OFFER>,
        /// Why the first of them was not.
        pub(crate) reason: Text<512>,
    }
}
record! {
    /// A block that is final and applied at this validator.
    pub(crate) struct Final {
        pub(crate) height: u64,
        pub(crate) time_ms: u64,
        pub(crate) txs: List<Hash, MAX_BLOCK_TXS>,
    }
}

/// Send one record.
pub(crate) async fn send<T: Encode>(socket: &mut TcpStream, value: &T) -> std::io::Result<()> {
    let bytes = encode(value);
    let mut frame = Vec::with_capacity(bytes.len() + 4);
    frame.extend((bytes.len() as u32).to_le_bytes());
    frame.extend(&bytes[..]);
    socket.write_all(&frame).await
}

/// Receive one record.
pub(crate) async fn receive<T: Read<Cfg = ()>>(socket: &mut TcpStream) -> std::io::Result<T> {
    let invalid = |text: String| std::io::Error::new(std::io::ErrorKind::InvalidData, text);
    let length = socket.read_u32_le().await? as usize;
    if length > MAX_FRAME {
        return Err(invalid(format!("expected a frame of at most {MAX_FRAME} bytes, got {length}")));
    }
    let mut bytes = vec![0; length];
    socket.read_exact(&mut bytes).await?;
    decode(&bytes).map_err(|error| invalid(error.to_string()))
}

/// Run until standard input closes.
pub(crate) fn play() -> Result<(), LedgerBenchError> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(LedgerBenchError::io("read the work"))?;
    let place: Place = serde_json::from_str(&line)
        .map_err(|cause| LedgerBenchError::io("understand the work")(cause.into()))?;
    let (closed, end) = oneshot::channel();
    std::thread::spawn(move || {
        // An error is as good as the end.
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        let _ = closed.send(());
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(LedgerBenchError::io("start a runtime"))?;
    runtime.block_on(async {
        let network = Network::new(place.validators, place.senders)?;
        let handle = Validator::start(network.config(&place)).await?;
        let door = TcpListener::bind("127.0.0.1:0").await.map_err(LedgerBenchError::io("open a door"))?;
        let port = door.local_addr().map_err(LedgerBenchError::io("open a door"))?.port();
        let mut out = std::io::stdout().lock();
        writeln!(out, "{port}").and_then(|()| out.flush()).map_err(LedgerBenchError::io("say the port"))?;
        let keep = handle.clone();
        let guests = async move {
            while let Ok((socket, _)) = door.accept().await {
                tokio::spawn(attend(socket, keep.clone()));
            }
        };
        tokio::select! {
            () = guests => {}
            _ = end => {}
        }
        match handle.stop().await {
            Some(reason) => Err(LedgerBenchError::io("end cleanly")(std::io::Error::other(reason))),
            None => Ok(()),
        }
    })
}

/// Attend to one connection until it ends; the measuring process notices if it ends too early.
async fn attend(mut socket: TcpStream, handle: ValidatorHandle) {
    if socket.set_nodelay(true).is_err() {
        return;
    }
    while let Ok(wish) = receive::<Wish>(&mut socket).await {
        let served = match wish {
            Wish::Offer(offer) => take(&mut socket, &handle, offer).await,
            Wish::Follow(_) => follow(&mut socket, &handle).await,
        };
        if served.is_err() {
            return;
        }
    }
}

async fn take(socket: &mut TcpStream, handle: &ValidatorHandle, offer: Offer) -> std::io::Result<()> {
    let (mut refused, mut reason) = (Vec::new(), String::new());
    for (place, tx) in (0u16..).zip(offer.txs.into_inner()) {
        if let Err(error) = handle.submit(tx).await {
            if refused.is_empty() {
                reason = error.to_string();
            }
            refused.push(place);
        }
    }
    reason.truncate(reason.floor_char_boundary(512));
    let refused = List::new(refused).unwrap_or_default();
    send(socket, &Outcome { refused, reason: Text::new(reason).unwrap_or_default() }).await
}

async fn follow(socket: &mut TcpStream, handle: &ValidatorHandle) -> std::io::Result<()> {
    let mut feed = handle.subscribe();
    // Say that it began.
    send(socket, &Final { height: 0, time_ms: 0, txs: List::default() }).await?;
    while let Ok(block) = feed.recv().await {
        let txs = List::new(block.txs.iter().map(SignedTx::id).collect()).unwrap_or_default();
        send(socket, &Final { height: block.header.height, time_ms: block.header.time_ms, txs }).await?;
    }
    Err(std::io::Error::other("the feed ended"))
}
