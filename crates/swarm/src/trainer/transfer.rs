//! Give the stage's state to a replica, or take it from several, in hashed pieces.

use super::{Note, Phase, Trainer};
use crate::Job;
use bytes::Bytes;
use std::collections::BTreeMap;
use tessera_canon::{Blob, Hash, PublicKey, digest_bytes};
use tessera_wire::training::{PIECE, PIECE_BYTES, Piece, StateManifest, WantPiece, WantState};

/// A state cut up for replicas.
#[derive(Clone, Debug)]
pub(super) struct Export {
    manifest: StateManifest,
    pieces: Vec<Bytes>,
}

/// A download.
#[derive(Clone, Debug, Default)]
pub(super) struct Fetch {
    asked: u64,
    manifest: Option<StateManifest>,
    pieces: BTreeMap<u32, Bytes>,
    /// Piece -> whom it was asked of, and when.
    pending: BTreeMap<u32, (PublicKey, u64)>,
    installing: bool,
}

impl Trainer {
    /// Begin to download the newest state that a replica has.
    pub(super) fn start_fetch(&mut self) {
        if matches!(self.phase, Phase::Fetching | Phase::Loading | Phase::Halted) {
            return;
        }
        self.phase = Phase::Fetching;
        self.restart_fetch();
        self.greet_all();
    }

    pub(super) fn restart_fetch(&mut self) {
        self.fetch = Some(Fetch { asked: self.now, ..Fetch::default() });
        if let Some(peer) = self.donors(None).first() {
            self.send(*peer, WantState { run: self.branch, stage: self.config.stage });
        }
    }

    /// Replicas that are ready, most advanced first; with `root`, those whose present state has it.
    fn donors(&self, root: Option<Hash>) -> Vec<PublicKey> {
        let mut donors: Vec<_> = self
            .replicas()
            .filter(|(_, p)| p.is_ready() && root.is_none_or(|root| p.root() == root))
            .map(|(key, p)| (std::cmp::Reverse(p.progress()), p.index, *key))
            .collect();
        donors.sort();
        donors.into_iter().map(|(_, _, key)| key).collect()
    }

    pub(super) fn on_want_state(&mut self, from: PublicKey, message: WantState) {
        if message.run == self.branch && self.phase == Phase::Working {
            self.export_wanted.push(from);
            self.export_wanted.dedup();
        }
    }

    pub(super) fn export_job(&mut self) -> Option<Job> {
        if self.export_wanted.is_empty() || self.unsaved_since.is_some() {
            return None;
        }
        let fresh = self.export.as_ref().is_some_and(|e| e.manifest.progress == self.progress);
        if fresh {
            self.answer_wanted();
            return None;
        }
        Some(Job::Export)
    }

    pub(super) fn on_exported(&mut self, mut manifest: StateManifest, pieces: Vec<Bytes>) {
        manifest.records = self.kept_records();
        manifest.run = self.branch;
        self.export = Some(Export { manifest, pieces });
        self.answer_wanted();
    }

    fn answer_wanted(&mut self) {
        let Some(manifest) = self.export.as_ref().map(|e| e.manifest.clone()) else { return };
        for peer in std::mem::take(&mut self.export_wanted) {
            self.send(peer, manifest.clone());
        }
    }

    pub(super) fn on_want_piece(&mut self, from: PublicKey, message: WantPiece) {
        let Some(export) = &self.export else {
            // A piece of a state that is not cut up here yet: cut it, the asker will ask again.
            if message.state_root == self.state_root {
                self.export_wanted.push(from);
            }
            return;
        };
        if export.manifest.state_root != message.state_root {
            if message.state_root == self.state_root {
                self.export_wanted.push(from);
            }
            return;
        }
        if let Some(bytes) = export.pieces.get(message.index as usize).cloned()
            && let Ok(bytes) = Blob::new(bytes)
        {
            let piece =
                Piece { run: message.run, state_root: message.state_root, index: message.index, bytes };
            self.send(from, piece);
        }
    }

    pub(super) fn on_manifest(&mut self, from: PublicKey, manifest: StateManifest) {
        if self.phase != Phase::Fetching {
            return;
        }
        let expected = self.peers.get(&from).map(|p| (p.progress(), p.root()));
        let honest = manifest.run == self.branch
            && manifest.stage == self.config.stage
            && manifest.pieces.len() as u64 == manifest.bytes.div_ceil(PIECE_BYTES as u64)
            && manifest.progress <= self.config.shape.steps + 1;
        if !honest {
            return self.offence(from, "a state manifest that does not fit this stage".into());
        }
        // An honest donor may have moved on since its last hello; an older state than ours is useless.
        let useful = expected.is_some_and(|(progress, _)| manifest.progress >= progress.max(self.progress));
        let Some(fetch) = self.fetch.as_mut() else { return };
        if !useful || fetch.manifest.is_some() {
            return;
        }
        fetch.asked = self.now;
        fetch.manifest = Some(manifest.clone());
        self.note(Note::Fetching { progress: manifest.progress, from, bytes: manifest.bytes });
        self.request_pieces(&[from]);
    }

    /// Ask every donor of this state for pieces, a few at a time.
    fn request_pieces(&mut self, more: &[PublicKey]) {
        let Some(manifest) = self.fetch.as_ref().and_then(|f| f.manifest.clone()) else { return };
        let mut donors = self.donors(Some(manifest.state_root));
        donors.extend(more.iter().filter(|p| !donors.contains(p)).copied().collect::<Vec<_>>());
        let (now, limit) = (self.now, self.config.tuning.pieces);
        let mut asks = Vec::new();
        if let Some(fetch) = self.fetch.as_mut() {
            for peer in donors {
                let mut room =
                    limit.saturating_sub(fetch.pending.values().filter(|(p, _)| *p == peer).count());
                for index in 0..manifest.pieces.len() as u32 {
                    if room == 0 {
                        break;
                    }
                    if !fetch.pieces.contains_key(&index) && !fetch.pending.contains_key(&index) {
                        fetch.pending.insert(index, (peer, now));
                        asks.push((peer, index));
                        room -= 1;
                    }
                }
            }
        }
        for (peer, index) in asks {
            self.send(peer, WantPiece { run: manifest.run, state_root: manifest.state_root, index });
        }
    }

    pub(super) fn on_piece(&mut self, from: PublicKey, piece: Piece) {
        let Some(fetch) = self.fetch.as_mut() else { return };
        let Some(manifest) = fetch.manifest.as_ref().filter(|m| m.state_root == piece.state_root) else {
            return;
        };
        let Some(expected) = manifest.pieces.get(piece.index as usize) else { return };
        if digest_bytes(PIECE, &piece.bytes) != *expected {
            fetch.pending.remove(&piece.index);
            return self.offence(from, format!("piece {} of a state does not match its hash", piece.index));
        }
        fetch.asked = self.now;
        fetch.pending.remove(&piece.index);
        fetch.pieces.insert(piece.index, piece.bytes.bytes().clone());
        self.install_if_complete();
        self.request_pieces(&[from]);
    }

    fn install_if_complete(&mut self) {
        if self.busy {
            return;
        }
        let Some(fetch) = self.fetch.as_mut() else { return };
        let Some(manifest) = &fetch.manifest else { return };
        if fetch.installing || fetch.pieces.len() < manifest.pieces.len() || manifest.progress < self.progress
        {
            return;
        }
        fetch.installing = true;
        let job = Job::Install {
            progress: manifest.progress,
            state_root: manifest.state_root,
            generation: self.generation,
            pieces: fetch.pieces.values().cloned().collect(),
            records: manifest.records.to_vec(),
        };
        self.run(job);
    }

    pub(super) fn on_installed(&mut self, progress: u64, state_root: Hash, weights: Hash) {
        let records = match self.fetch.take().and_then(|f| f.manifest) {
            Some(manifest) => manifest.records.to_vec(),
            None => Vec::new(),
        };
        self.unsaved_since = None;
        self.closed = None;
        self.adopt(progress, state_root, weights, records);
        self.note(Note::Fetched { progress, state_root });
        self.start_working();
    }

    /// Ask again for what did not come, and give up a download whose donors are gone.
    pub(super) fn retry_fetch(&mut self) {
        if self.phase != Phase::Fetching {
            return;
        }
        self.install_if_complete();
        let (now, retry) = (self.now, self.config.tuning.retry);
        if self.donors(None).is_empty() {
            // Nobody left to fetch from: go on with what is saved here. What the worker has summed up of the step is
            // no longer on this side's list.
            if self.fetch.as_ref().is_some_and(|f| !f.installing && now >= f.asked + 2 * retry) {
                self.fetch = None;
                self.reload();
            }
            return;
        }
        let Some(fetch) = self.fetch.as_mut() else { return };
        if fetch.installing {
            return;
        }
        if now >= fetch.asked + retry {
            return self.restart_fetch();
        }
        let before = fetch.pending.len();
        fetch.pending.retain(|_, (_, since)| now < *since + retry / 2);
        if fetch.pending.len() < before {
            self.request_pieces(&[]);
        }
    }
}
