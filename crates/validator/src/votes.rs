//! Remember, beside the engine's files, which votes this validator cast last, and refuse to start without them.
//!
//! The engine keeps its votes in a journal, and takes a journal that ends in the middle for one whose last write was
//! interrupted: it drops the rest without a word. Whoever cut the file, the validator would then vote a second time in
//! a view, which is what consensus must never see. So each vote is noted here before it leaves: view, kind, block.
//! At the start every noted vote must be in the journal, or lie below what the journal still has to hold.
//!
//! The file has two pages, written in turn, each with a number and a checksum: a torn write costs the newest note, not
//! both. It does not help against a copy of the whole folder from an earlier day; nobody should start one.

use commonware_actor::{Feedback, Unreliable};
use commonware_consensus::simplex::types::{Artifact, Vote};
use commonware_p2p::{CheckedSender, LimitedSender, Recipients};
use commonware_runtime::{IoBufs, ReadOptions, Spawner, buffer::paged::CacheRef};
use commonware_storage::{
    Context as StorageContext,
    journal::segmented::variable::{Config as JournalConfig, Journal},
};
use std::{
    fmt, fs, io,
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::SystemTime,
};
use tessera_canon::{Domain, Hash, List, decode, digest_bytes, encode, record};
use tessera_chain::{BlockDigest, Scheme};

const PAGE_SUM: Domain = Domain::new("tessera/vote-notes/v1");
/// Votes noted: the newest.
const NOTED: usize = 16;
/// Bytes of one page: a length, the notes, zeros, a checksum.
const PAGE: usize = 1024;
const SUM: usize = 32;

const NOTARIZE: u8 = 0;
const NULLIFY: u8 = 1;
const FINALIZE: u8 = 2;

record! {
    /// One vote.
    #[derive(Copy)]
    pub(crate) struct Cast {
        /// The view it is for.
        pub(crate) view: u64,
        /// 0 notarize, 1 nullify, 2 finalize.
        pub(crate) kind: u8,
        /// The block; zero where there is none.
        pub(crate) block: Hash,
    }
}

record! {
    /// What a page holds.
    struct Notes {
        /// One more than the page written before.
        number: u64,
        /// Oldest first.
        casts: List<Cast, NOTED>,
    }
}

impl fmt::Display for Cast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            NOTARIZE => write!(f, "vote for block {} in view {}", self.block, self.view),
            FINALIZE => write!(f, "vote to finalize block {} in view {}", self.block, self.view),
            _ => write!(f, "vote to skip view {}", self.view),
        }
    }
}

impl Cast {
    fn of(vote: &Vote<Scheme, BlockDigest>) -> Self {
        match vote {
            Vote::Notarize(vote) => Self {
                view: vote.proposal.round.view().get(),
                kind: NOTARIZE,
                block: Hash(vote.proposal.payload.0),
            },
            Vote::Nullify(vote) => Self { view: vote.round.view().get(), kind: NULLIFY, block: Hash::ZERO },
            Vote::Finalize(vote) => Self {
                view: vote.proposal.round.view().get(),
                kind: FINALIZE,
                block: Hash(vote.proposal.payload.0),
            },
        }
    }
}

/// Why a validator must not vote with the files that it has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VotesLost {
    /// The journal lacks a vote that was cast.
    #[error(
        "the vote journal lacks this validator's {cast}, which its notes say it sent (the journal holds {held} votes, \
         its newest final view is {final_view}): its files were cut, lost or put back from an older copy, and voting \
         with them could contradict that vote. Put the right files back; or, when the other validators have made blocks \
         after view {newest}, start with --repair"
    )]
    NotInJournal { cast: String, held: usize, final_view: u64, newest: u64 },
    /// The network is not yet past the last noted vote.
    #[error(
        "expected a final block of a view after {newest}, in which this validator last voted, to begin from; got one of \
         view {got}: start again, in the same way, when the other validators have made more blocks"
    )]
    TooEarly { newest: u64, got: u64 },
    /// The journal or the notes are there and cannot be read.
    #[error("its votes cannot be read ({reason}); put the right files back, or start with --repair")]
    Unreadable { reason: String },
}

/// The votes in a journal.
#[derive(Debug, Default)]
pub(crate) struct Journaled {
    casts: Vec<Cast>,
    /// The newest view with a finalization; 0 where there is none.
    final_view: u64,
    /// The lowest view that the journal has a file for.
    lowest: Option<u64>,
}

/// Notes of the last votes, shared between the start and the sender of votes.
#[derive(Clone, Debug)]
pub(crate) struct VoteNotes(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    file: Option<fs::File>,
    number: u64,
    casts: Vec<Cast>,
}

impl VoteNotes {
    /// Notes that live as long as the value.
    pub(crate) fn in_memory() -> Self {
        Self(Arc::new(Mutex::new(Inner { file: None, number: 0, casts: Vec::new() })))
    }
    /// The notes in the file at `path`, made if missing. An error of kind `InvalidData` where neither page is whole.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut file =
            fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(&mut file, 2 * PAGE as u64 + 1), &mut bytes)?;
        let pages = bytes.chunks(PAGE).filter_map(read_page);
        let newest = pages.max_by_key(|notes| notes.number);
        let (number, casts) = match newest {
            Some(notes) => (notes.number, notes.casts.into_inner()),
            None if bytes.is_empty() => (0, Vec::new()),
            None => {
                let reason = format!(
                    "expected a page of vote notes with a right checksum, got {} bytes of something else",
                    bytes.len()
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
        };
        Ok(Self(Arc::new(Mutex::new(Inner { file: Some(file), number, casts }))))
    }
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
    /// The newest view that a noted vote is for; 0 where none is noted.
    pub(crate) fn newest_view(&self) -> u64 {
        self.lock().casts.iter().map(|cast| cast.view).max().unwrap_or(0)
    }
    /// Note a vote; it is on the disk when this returns.
    fn note(&self, cast: Cast) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.casts.contains(&cast) {
            return Ok(());
        }
        inner.casts.push(cast);
        if inner.casts.len() > NOTED {
            inner.casts.remove(0);
        }
        inner.number += 1;
        let (number, casts) = (inner.number, inner.casts.clone());
        if let Some(file) = &inner.file {
            write_page(file, number, casts)?;
        }
        Ok(())
    }
    /// An error if a noted vote should be in the journal and is not. `floor` is the view of the final block that a
    /// new folder starts from.
    pub(crate) fn check(&self, journaled: &Journaled, floor: Option<u64>) -> Result<(), VotesLost> {
        let newest = self.newest_view();
        let fresh = journaled.lowest.is_none();
        if fresh
            && newest > 0
            && let Some(got) = floor
        {
            return if got > newest { Ok(()) } else { Err(VotesLost::TooEarly { newest, got }) };
        }
        let held = |cast: &Cast| {
            // The journal is cut from below only, and only under a final view.
            let pruned =
                journaled.lowest.is_some_and(|lowest| lowest > cast.view) && journaled.final_view > cast.view;
            pruned || journaled.casts.contains(cast)
        };
        match self.lock().casts.iter().find(|cast| !held(cast)) {
            None => Ok(()),
            Some(cast) => Err(VotesLost::NotInJournal {
                cast: cast.to_string(),
                held: journaled.casts.len(),
                final_view: journaled.final_view,
                newest,
            }),
        }
    }
}

fn read_page(page: &[u8]) -> Option<Notes> {
    let (body, sum) = page.split_at_checked(PAGE - SUM)?;
    if digest_bytes(PAGE_SUM, body).0 != *sum {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
    decode(body.get(2..2 + length)?).ok()
}

fn write_page(file: &fs::File, number: u64, casts: Vec<Cast>) -> io::Result<()> {
    let casts = List::new(casts).map_err(|_| io::Error::other("more notes than a page holds"))?;
    let notes = encode(&Notes { number, casts });
    let mut page = [0; PAGE];
    page[..2].copy_from_slice(&(notes.len() as u16).to_be_bytes());
    let Some(place) = page.get_mut(2..2 + notes.len()) else {
        return Err(io::Error::other("notes that are longer than a page"));
    };
    place.copy_from_slice(&notes);
    let sum = digest_bytes(PAGE_SUM, &page[..PAGE - SUM]);
    page[PAGE - SUM..].copy_from_slice(&sum.0);
    std::os::unix::fs::FileExt::write_all_at(file, &page, number % 2 * PAGE as u64)?;
    file.sync_data()
}

/// Read the votes in the engine's journal, as the engine will.
pub(crate) async fn journaled<E: StorageContext + Spawner>(
    context: E,
    partition: String,
    page_cache: CacheRef,
    buffer: NonZeroUsize,
) -> Result<Journaled, VotesLost> {
    let failed =
        |error: commonware_storage::journal::Error| VotesLost::Unreadable { reason: error.to_string() };
    let mut found = Journaled::default();
    let names = match context.scan(&partition).await {
        Ok(names) => names,
        Err(commonware_runtime::Error::PartitionMissing(_)) => return Ok(found),
        Err(error) => return Err(VotesLost::Unreadable { reason: error.to_string() }),
    };
    let views = names.iter().filter_map(|name| Some(u64::from_be_bytes(name.as_slice().try_into().ok()?)));
    found.lowest = views.min();
    let journal = Journal::<_, Artifact<Scheme, BlockDigest>>::init(
        context.child("journal"),
        JournalConfig { partition, compression: None, codec_config: (), page_cache, write_buffer: buffer },
    )
    .await
    .map_err(failed)?;
    let mut replay = journal.replay(0, 0, buffer, ReadOptions::DONT_CACHE).await.map_err(failed)?;
    while let Some(artifact) = replay.next().await {
        let (_, _, _, artifact) = artifact.map_err(failed)?;
        match artifact {
            Artifact::Notarize(vote) => found.casts.push(Cast::of(&Vote::Notarize(vote))),
            Artifact::Nullify(vote) => found.casts.push(Cast::of(&Vote::Nullify(vote))),
            Artifact::Finalize(vote) => found.casts.push(Cast::of(&Vote::Finalize(vote))),
            Artifact::Finalization(seen) => {
                found.final_view = found.final_view.max(seen.proposal.round.view().get());
            }
            _ => {}
        }
    }
    drop(replay.finish());
    Ok(found)
}

/// A sender of votes that notes each one first.
#[derive(Clone, Debug)]
pub(crate) struct Noting<S> {
    inner: S,
    notes: VoteNotes,
}

impl<S> Noting<S> {
    pub(crate) fn new(inner: S, notes: VoteNotes) -> Self {
        Self { inner, notes }
    }
}

/// A checked [`Noting`] sender.
pub(crate) struct CheckedNoting<C> {
    inner: C,
    notes: VoteNotes,
}

impl<S: LimitedSender> LimitedSender for Noting<S> {
    type PublicKey = S::PublicKey;
    type Checked<'a> = CheckedNoting<S::Checked<'a>>;

    fn check(&mut self, recipients: Recipients<S::PublicKey>) -> Result<Self::Checked<'_>, SystemTime> {
        let inner = self.inner.check(recipients)?;
        Ok(CheckedNoting { inner, notes: self.notes.clone() })
    }
}

impl<C: CheckedSender> CheckedSender for CheckedNoting<C> {
    type PublicKey = C::PublicKey;

    fn recipients(&self) -> Vec<C::PublicKey> {
        self.inner.recipients()
    }
    fn send(self, message: impl Into<IoBufs> + Send, priority: bool) -> Unreliable<Feedback> {
        let message = message.into().coalesce();
        let Ok(vote) = decode::<Vote<Scheme, BlockDigest>>(message.as_ref()) else {
            tracing::error!("something that is no vote was to leave as one, and did not");
            return Unreliable::Rejected;
        };
        // As for every other write of the engine: a disk that fails ends the validator.
        self.notes.note(Cast::of(&vote)).expect("the notes of the last votes can be written");
        self.inner.send(message, priority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast(view: u64, kind: u8) -> Cast {
        Cast { view, kind, block: Hash([view as u8; 32]) }
    }
    fn journaled(views: std::ops::Range<u64>, final_view: u64) -> Journaled {
        let lowest = views.clone().min();
        let casts = views.flat_map(|view| [cast(view, NOTARIZE), cast(view, FINALIZE)]).collect();
        Journaled { casts, final_view, lowest }
    }
    fn noted(views: std::ops::Range<u64>) -> VoteNotes {
        let notes = VoteNotes::in_memory();
        for view in views {
            notes.note(cast(view, NOTARIZE)).unwrap();
            notes.note(cast(view, FINALIZE)).unwrap();
        }
        notes
    }

    #[test]
    fn a_journal_must_hold_what_was_noted_or_be_past_it() {
        let notes = noted(90..100);
        assert_eq!(notes.check(&journaled(40..100, 98), None), Ok(()));
        // A vote in the journal that was not sent yet is no fault.
        assert_eq!(notes.check(&journaled(40..101, 98), None), Ok(()));
        let short = notes.check(&journaled(40..99, 97), None).unwrap_err();
        assert!(matches!(short, VotesLost::NotInJournal { newest: 99, final_view: 97, .. }), "{short}");
        assert!(short.to_string().contains("view 99"), "{short}");
        assert!(notes.check(&Journaled::default(), None).is_err(), "no journal at all");
        // One vote in the middle.
        let mut gap = journaled(40..100, 98);
        gap.casts.retain(|held| *held != cast(95, FINALIZE));
        assert!(notes.check(&gap, None).is_err());
        // Cut from below, under a final view.
        assert_eq!(notes.check(&journaled(150..200, 199), None), Ok(()));
        assert!(notes.check(&journaled(150..200, 0), None).is_err(), "nothing final stands for what is gone");
    }

    #[test]
    fn a_new_folder_may_begin_after_the_last_vote_only() {
        let (notes, empty) = (noted(1..10), Journaled::default());
        assert_eq!(notes.check(&empty, Some(10)), Ok(()));
        assert_eq!(notes.check(&empty, Some(9)), Err(VotesLost::TooEarly { newest: 9, got: 9 }));
        assert_eq!(VoteNotes::in_memory().check(&empty, None), Ok(()), "a new validator");
    }

    #[test]
    fn the_file_keeps_the_newest_votes_and_survives_a_torn_page() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("votes");
        let notes = VoteNotes::open(&path).unwrap();
        for view in 1..40 {
            notes.note(cast(view, NOTARIZE)).unwrap();
        }
        let casts = notes.lock().casts.clone();
        assert_eq!((casts.len(), casts[NOTED - 1].view), (NOTED, 39));
        assert_eq!(VoteNotes::open(&path).unwrap().lock().casts, casts);
        // 39 writes: the newest is on the second page.
        let whole = fs::read(&path).unwrap();
        for cut in [PAGE, PAGE + 1, 2 * PAGE - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(VoteNotes::open(&path).unwrap().newest_view(), 38, "cut at {cut}");
        }
        fs::write(&path, &whole[..PAGE - 1]).unwrap();
        let error = VoteNotes::open(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        for at in (0..PAGE).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes[PAGE + at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert!(VoteNotes::open(&path).is_err(), "byte {at} of both pages changed");
        }
    }
}
