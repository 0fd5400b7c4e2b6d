//! Move frames over one standing QUIC connection, until it breaks, is replaced or the peer breaks the rules.

use crate::{
    CHUNK, NetEvent,
    framing::{
        CHUNK_HEADER, ChunkHeader, Fault, KIND_CHUNK, KIND_SMALL, Reassembly, SMALL_HEADER, SmallHeader,
        Whole, pieces,
    },
    limits::EVENT_COST,
    outbox::{Lane, Outgoing},
    quic::{Core, Peer, lock},
};
use bytes::Bytes;
use iroh::endpoint::{Connection, ReadError, ReadExactError, RecvStream, SendStream, WriteError};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinSet,
    time::timeout,
};

/// Pieces of frames under way at once. Times [`CHUNK`] it stays below the connection's flow-control window, so
/// that pieces nobody reads yet cannot keep out those that would complete a frame.
const PIECES_UNDER_WAY: usize = 32;
/// Confirmations waiting to be written.
const CONFIRMATIONS: usize = 1024;

/// Why a session's task ended.
pub(crate) enum End {
    /// The connection is gone.
    Broken,
    /// The peer broke a rule.
    Fault(Fault),
}
impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What the tasks of one connection share.
struct Session {
    core: Arc<Core>,
    peer: Arc<Peer>,
    conn: Connection,
    number: u64,
    confirm: mpsc::Sender<u64>,
    reassembly: Mutex<Reassembly>,
    /// Frames for which one task waits for budget; `opened` tells the others when it is done.
    opening: Mutex<BTreeSet<u64>>,
    opened: watch::Sender<()>,
}

/// Run connection `number` until it ends. Dropping the future stops everything it started.
pub(crate) async fn run(
    core: Arc<Core>,
    peer: Arc<Peer>,
    conn: Connection,
    number: u64,
    control: (SendStream, RecvStream),
) -> End {
    let (confirm, confirmations) = mpsc::channel(CONFIRMATIONS);
    let session = Arc::new(Session {
        core,
        peer,
        conn,
        number,
        confirm,
        reassembly: Mutex::default(),
        opening: Mutex::default(),
        opened: watch::Sender::new(()),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(write_confirmations(control.0, confirmations));
    tasks.spawn(read_confirmations(session.clone(), control.1));
    tasks.spawn(write_small(session.clone()));
    tasks.spawn(write_large(session.clone()));
    tasks.spawn(accept(session.clone()));
    tasks.spawn(watch_stale(session));
    loop {
        match tasks.join_next().await {
            Some(Ok(Err(end))) => return end,
            // Writers do not end by themselves; a reader that ends well has finished its stream.
            Some(Ok(Ok(()))) => {}
            Some(Err(_)) | None => return End::Broken,
        }
    }
}

async fn write_confirmations(mut stream: SendStream, mut ids: mpsc::Receiver<u64>) -> Result<(), End> {
    let mut batch = Vec::new();
    while ids.recv_many(&mut batch, 128).await > 0 {
        let bytes: Vec<u8> = batch.drain(..).flat_map(u64::to_be_bytes).collect();
        stream.write_all(&bytes).await.map_err(|_| End::Broken)?;
    }
    Err(End::Broken)
}

async fn read_confirmations(session: Arc<Session>, mut stream: RecvStream) -> Result<(), End> {
    let mut id = [0; 8];
    loop {
        read_exact(&mut stream, &mut id).await?;
        let confirmed = lock(&session.peer.outbox).confirm(u64::from_be_bytes(id));
        if let Some(frame) = confirmed {
            session.core.counters.confirmed(frame.channel, frame.bytes.len());
        }
    }
}

/// The next frame of a lane after `cursor`, waiting for one; frames too old are dropped on the way.
async fn next(session: &Session, lane: Lane, cursor: u64) -> Outgoing {
    let wake = match lane {
        Lane::Small => &session.peer.small_wake,
        Lane::Large => &session.peer.large_wake,
    };
    loop {
        session.core.expire(&session.peer);
        let found = lock(&session.peer.outbox).next(lane, cursor);
        match found {
            Some(frame) => return frame,
            None => wake.notified().await,
        }
    }
}

async fn write_small(session: Arc<Session>) -> Result<(), End> {
    let mut cursor = 0;
    let mut stream: Option<SendStream> = None;
    loop {
        let frame = next(&session, Lane::Small, cursor).await;
        cursor = frame.id;
        let header = SmallHeader { channel: frame.channel, id: frame.id, len: frame.bytes.len() }.encode();
        let out = match &mut stream {
            Some(open) => open,
            None => {
                let mut open = session.conn.open_uni().await.map_err(|_| End::Broken)?;
                // Small frames are requests, votes and the like: they go ahead of tensors.
                let _ = open.set_priority(1);
                open.write_all(&[KIND_SMALL]).await.map_err(|_| End::Broken)?;
                stream.insert(open)
            }
        };
        let mut parts = [Bytes::copy_from_slice(&header), frame.bytes];
        out.write_all_chunks(&mut parts).await.map_err(|_| End::Broken)?;
    }
}

async fn write_large(session: Arc<Session>) -> Result<(), End> {
    let places = Arc::new(Semaphore::new(PIECES_UNDER_WAY));
    let mut cursor = 0;
    let mut tasks: JoinSet<Result<(), End>> = JoinSet::new();
    loop {
        let frame = next(&session, Lane::Large, cursor).await;
        cursor = frame.id;
        for index in 0..pieces(frame.bytes.len()) {
            while let Some(done) = tasks.try_join_next() {
                done.map_err(|_| End::Broken)??;
            }
            let place = places.clone().acquire_owned().await.map_err(|_| End::Broken)?;
            let stream = session.conn.open_uni().await.map_err(|_| End::Broken)?;
            let total = frame.bytes.len();
            let header = ChunkHeader { channel: frame.channel, id: frame.id, total, index };
            tasks.spawn(write_piece(stream, header, frame.bytes.slice(header.range()), place));
        }
    }
}

async fn write_piece(
    mut stream: SendStream,
    header: ChunkHeader,
    piece: Bytes,
    place: OwnedSemaphorePermit,
) -> Result<(), End> {
    let mut head = vec![KIND_CHUNK];
    head.extend_from_slice(&header.encode());
    match stream.write_all_chunks(&mut [Bytes::from(head), piece]).await {
        // The peer has the frame already, from an earlier connection.
        Err(WriteError::Stopped(_)) => return Ok(()),
        other => other.map_err(|_| End::Broken)?,
    }
    let _ = stream.finish();
    // Until the peer has all of it: the place bounds what lies unread there.
    stream.stopped().await.map_err(|_| End::Broken)?;
    drop(place);
    Ok(())
}

async fn accept(session: Arc<Session>) -> Result<(), End> {
    let mut tasks: JoinSet<Result<(), End>> = JoinSet::new();
    let small_open = Arc::new(Mutex::new(false));
    loop {
        tokio::select! {
            stream = session.conn.accept_uni() => {
                let stream = stream.map_err(|_| End::Broken)?;
                tasks.spawn(read_stream(session.clone(), stream, small_open.clone()));
            }
            Some(done) = tasks.join_next() => done.map_err(|_| End::Broken)??,
        }
    }
}

async fn read_stream(
    session: Arc<Session>,
    mut stream: RecvStream,
    small: Arc<Mutex<bool>>,
) -> Result<(), End> {
    let mut kind = [0];
    within(&session, read_exact(&mut stream, &mut kind)).await?;
    match kind[0] {
        KIND_SMALL if !std::mem::replace(&mut *lock(&small), true) => read_small(&session, stream).await,
        KIND_CHUNK => read_piece(&session, stream).await,
        other => Err(Fault::Kind(other).into()),
    }
}

async fn read_small(session: &Session, mut stream: RecvStream) -> Result<(), End> {
    let mut head = [0; SMALL_HEADER];
    loop {
        read_exact(&mut stream, &mut head).await?;
        let header = SmallHeader::parse(&head, &session.core.limits.frames)?;
        let permit = budget(session, header.len).await?;
        let mut body = vec![0; header.len];
        within(session, read_exact(&mut stream, &mut body)).await?;
        let whole = Whole { channel: header.channel, bytes: Bytes::from(body), permit };
        deliver(session, Lane::Small, header.id, whole).await?;
    }
}

async fn read_piece(session: &Session, mut stream: RecvStream) -> Result<(), End> {
    let mut head = [0; CHUNK_HEADER];
    within(session, read_exact(&mut stream, &mut head)).await?;
    let header = ChunkHeader::parse(&head, &session.core.limits.frames)?;
    if lock(&session.peer.inbox).has_large(header.id) {
        let _ = stream.stop(0u32.into());
        session.core.counters.with(|stats| stats.duplicates += u64::from(header.index == 0));
        return session.confirm.send(header.id).await.map_err(|_| End::Broken);
    }
    open_frame(session, &header).await?;
    lock(&session.reassembly).begin(&header)?;
    let range = header.range();
    let (mut offset, mut whole) = (range.start, None);
    while let Some(bytes) = within(session, read_some(&mut stream)).await? {
        if bytes.len() > range.end - offset {
            return Err(Fault::Trailing.into());
        }
        whole = lock(&session.reassembly).fill(session.core.now(), header.id, offset, &bytes)?;
        offset += bytes.len();
        if whole.is_some() {
            break;
        }
    }
    if offset < range.end {
        return Err(Fault::Truncated.into());
    }
    match whole {
        Some(whole) => deliver(session, Lane::Large, header.id, whole).await,
        None => Ok(()),
    }
}

/// Make sure that the frame of this piece has its buffer. One task per frame waits for budget, the others for it:
/// so pieces of a frame that has its buffer never queue behind a frame that has none.
async fn open_frame(session: &Session, header: &ChunkHeader) -> Result<(), End> {
    let mut opened = session.opened.subscribe();
    loop {
        let mine = {
            let mut opening = lock(&session.opening);
            if lock(&session.reassembly).has(header.id) {
                return Ok(());
            }
            opening.insert(header.id)
        };
        if mine {
            let permit = budget(session, header.total).await?;
            let mut opening = lock(&session.opening);
            lock(&session.reassembly).open(session.core.now(), header, permit);
            opening.remove(&header.id);
            drop(opening);
            session.opened.send_replace(());
            return Ok(());
        }
        opened.changed().await.map_err(|_| End::Broken)?;
    }
}

async fn watch_stale(session: Arc<Session>) -> Result<(), End> {
    let patience = session.core.limits.incomplete;
    loop {
        tokio::time::sleep(patience / 4).await;
        let limit = session.core.now().saturating_sub(patience);
        if lock(&session.reassembly).stale(limit) {
            return Err(Fault::Incomplete.into());
        }
    }
}

/// Wait until the peer may occupy `len` more bytes here.
async fn budget(session: &Session, len: usize) -> Result<OwnedSemaphorePermit, End> {
    let cost = u32::try_from(len + EVENT_COST).map_err(|_| End::Broken)?;
    session.peer.budget.clone().acquire_many_owned(cost).await.map_err(|_| End::Broken)
}

/// Hand a frame to the event queue unless it came before or the session is over; then confirm it.
async fn deliver(session: &Session, lane: Lane, id: u64, whole: Whole) -> Result<(), End> {
    {
        let mut inbox = lock(&session.peer.inbox);
        if inbox.session != session.number {
            return Err(End::Broken);
        }
        if inbox.take(lane, id) {
            session.core.counters.received(whole.channel, whole.bytes.len());
            let event = NetEvent::Frame { from: session.peer.id, channel: whole.channel, bytes: whole.bytes };
            session.core.emit(event, Some(whole.permit));
        } else {
            session.core.counters.with(|stats| stats.duplicates += 1);
        }
    }
    session.confirm.send(id).await.map_err(|_| End::Broken)
}

/// Give a stream that is inside a frame only so long.
async fn within<T>(session: &Session, read: impl Future<Output = Result<T, End>>) -> Result<T, End> {
    timeout(session.core.limits.incomplete, read).await.map_err(|_| End::Fault(Fault::Incomplete))?
}

async fn read_exact(stream: &mut RecvStream, buffer: &mut [u8]) -> Result<(), End> {
    stream.read_exact(buffer).await.map_err(|error| match error {
        ReadExactError::FinishedEarly(_) | ReadExactError::ReadError(ReadError::Reset(_)) => {
            End::Fault(Fault::Truncated)
        }
        ReadExactError::ReadError(_) => End::Broken,
    })
}

async fn read_some(stream: &mut RecvStream) -> Result<Option<Bytes>, End> {
    stream.read_chunk(CHUNK).await.map_err(|error| match error {
        ReadError::Reset(_) => End::Fault(Fault::Truncated),
        _ => End::Broken,
    })
}
