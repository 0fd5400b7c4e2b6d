//! Know who is alive, how far they are, and when one of them is lost.

use super::{Note, Phase, Trainer};
use crate::Roster;
use tessera_canon::{Hash, PublicKey};
use tessera_wire::training::Hello;

/// What this seat knows of another one.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) stage: u16,
    pub(super) index: u16,
    up: bool,
    down_since: u64,
    hello: Option<Hello>,
}

impl Peer {
    fn new(stage: u16, index: u16) -> Self {
        Self { stage, index, up: false, down_since: 0, hello: None }
    }
    /// Connected and introduced.
    pub(super) fn is_live(&self) -> bool {
        self.up && self.hello.is_some()
    }
    pub(super) fn is_ready(&self) -> bool {
        self.is_live() && self.hello.as_ref().is_some_and(|h| h.ready)
    }
    pub(super) fn progress(&self) -> u64 {
        self.hello.as_ref().map_or(0, |h| h.progress)
    }
    /// Know nothing of where it stands.
    pub(super) fn forget(&mut self) {
        self.hello = None;
    }
    pub(super) fn root(&self) -> Hash {
        self.hello.as_ref().map_or(Hash::ZERO, |h| h.state_root)
    }
    pub(super) fn incarnation(&self) -> Option<u64> {
        self.hello.as_ref().map(|h| h.incarnation)
    }
}

impl Trainer {
    pub(super) fn on_roster(&mut self, roster: Roster) {
        self.roster = roster;
        self.notice_unseated();
        let mut fresh = Vec::new();
        for seat in &self.roster.seats {
            if seat.account != self.me
                && seat.stage.abs_diff(self.config.stage) <= 1
                && !self.peers.contains_key(&seat.account)
            {
                let up = self.connected.contains(&seat.account);
                self.peers.insert(seat.account, Peer { up, ..Peer::new(seat.stage, seat.index) });
                fresh.extend(up.then_some(seat.account));
            }
        }
        if self.phase != Phase::Loading {
            fresh.into_iter().for_each(|peer| self.greet(peer));
        }
        self.notice_rollback();
        self.ensure_reports();
        self.draw_audits();
        self.review_disputes();
    }

    /// Whether the ledger gives `account` a seat now.
    pub(super) fn is_seated(&self, account: &PublicKey) -> bool {
        self.roster.seat_of(account).is_some_and(|seat| seat.active)
    }

    /// A seat that was barred or has lapsed takes no further part.
    fn notice_unseated(&mut self) {
        let gone: Vec<PublicKey> =
            self.peers.iter().filter(|(_, peer)| peer.hello.is_some()).map(|(key, _)| *key).collect();
        for peer in gone.into_iter().filter(|peer| !self.is_seated(peer)).collect::<Vec<_>>() {
            self.lose(peer);
        }
    }

    pub(super) fn on_up(&mut self, peer: PublicKey) {
        // The connection may be there before the ledger's news of the seat behind it.
        self.connected.insert(peer);
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.up = true;
        let stage = known.stage;
        if self.phase != Phase::Loading {
            self.greet(peer);
        }
        if stage == self.config.stage {
            self.repeat_have();
        }
    }

    pub(super) fn on_down(&mut self, peer: PublicKey) {
        self.connected.remove(&peer);
        if let Some(known) = self.peers.get_mut(&peer)
            && known.up
        {
            known.up = false;
            known.down_since = self.now;
        }
    }

    pub(super) fn on_hello(&mut self, from: PublicKey, hello: Hello) {
        if hello.network != self.config.network {
            return self.offence(from, "hello of another network".into());
        }
        if hello.run != self.branch {
            // Of before a rollback, or of after one that this seat has not heard of: no partner until it has.
            return;
        }
        let (stage, index) = (hello.stage, hello.seat);
        self.connected.insert(from);
        let known = self.peers.entry(from).or_insert_with(|| Peer::new(stage, index));
        known.up = true;
        let before = known.incarnation();
        if before.is_some_and(|old| hello.incarnation < old) {
            return;
        }
        let reborn = before.is_some_and(|old| hello.incarnation > old);
        let (was_ready, was_at) = (known.is_ready(), known.progress());
        let fresh = before.is_none();
        known.hello = Some(hello.clone());
        if reborn {
            self.lose(from);
            if let Some(known) = self.peers.get_mut(&from) {
                known.up = true;
                known.hello = Some(hello.clone());
            }
        }
        if fresh || reborn {
            self.note(Note::Back { peer: from, stage });
            if self.phase != Phase::Loading {
                self.greet(from);
            }
        }
        if stage == self.config.stage {
            if fresh || reborn || !was_ready || was_at != hello.progress {
                self.repeat_have();
            }
            if hello.ready && hello.progress > self.progress + 1
                || (hello.ready
                    && hello.progress > self.progress
                    && matches!(self.phase, Phase::Settling { .. }))
            {
                self.start_fetch();
            }
        }
    }

    pub(super) fn greet(&mut self, to: PublicKey) {
        let hello = Hello {
            network: self.config.network,
            run: self.branch,
            stage: self.config.stage,
            seat: self.config.seat,
            incarnation: self.config.incarnation,
            progress: self.progress,
            state_root: self.state_root,
            ready: self.phase == Phase::Working,
        };
        self.send(to, hello);
    }

    pub(super) fn greet_all(&mut self) {
        self.last_hello = self.now;
        if self.phase == Phase::Loading {
            return;
        }
        let connected: Vec<_> = self.peers.iter().filter(|(_, p)| p.up).map(|(key, _)| *key).collect();
        connected.into_iter().for_each(|peer| self.greet(peer));
    }

    /// Seats of this stage that are connected, without this one.
    pub(super) fn replicas(&self) -> impl Iterator<Item = (&PublicKey, &Peer)> {
        let stage = self.config.stage;
        self.peers.iter().filter(move |(_, p)| p.stage == stage && p.is_live())
    }
    pub(super) fn live_at(&self, stage: u16) -> Vec<PublicKey> {
        self.peers.iter().filter(|(_, p)| p.stage == stage && p.is_live()).map(|(key, _)| *key).collect()
    }
    pub(super) fn ready_at(&self, stage: u16, progress: impl Fn(u64) -> bool) -> Vec<PublicKey> {
        self.peers
            .iter()
            .filter(|(_, p)| p.stage == stage && p.is_ready() && progress(p.progress()))
            .map(|(key, _)| *key)
            .collect()
    }
    /// Live seats of the stage with a lower index than this one.
    pub(super) fn rank(&self) -> u64 {
        self.replicas().filter(|(_, p)| p.is_ready() && p.index < self.config.seat).count() as u64
    }
    /// Whether this seat has the lowest index among its stage's live seats.
    pub(super) fn is_lowest(&self) -> bool {
        self.replicas().filter(|(_, p)| p.is_ready()).all(|(_, p)| p.index > self.config.seat)
    }
    /// Seat index of a peer or of this seat.
    pub(super) fn index_of(&self, who: &PublicKey) -> u16 {
        if *who == self.me { self.config.seat } else { self.peers.get(who).map_or(u16::MAX, |p| p.index) }
    }

    pub(super) fn notice_losses(&mut self) {
        let grace = self.config.tuning.grace;
        let lost: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, p)| !p.up && p.hello.is_some() && self.now >= p.down_since + grace)
            .map(|(key, _)| *key)
            .collect();
        lost.into_iter().for_each(|peer| self.lose(peer));
    }

    /// Forget what only `peer`'s memory held, and give its work to others.
    fn lose(&mut self, peer: PublicKey) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.hello = None;
        let stage = known.stage;
        let mut units = 0;
        if stage == self.config.stage {
            self.forget_have(&peer);
            self.share_out();
        } else if stage == self.config.stage + 1 {
            self.router.lost(&peer);
            units = self.retarget(&peer);
        }
        self.note(Note::Lost { peer, stage, units });
    }

    /// A replica that stays one step ahead has closed a step that this seat cannot close any more.
    pub(super) fn notice_lag(&mut self) {
        let ahead = self.replicas().any(|(_, p)| p.is_ready() && p.progress() > self.progress);
        if self.phase != Phase::Working || self.current.closing || self.closed.is_some() || !ahead {
            self.behind_since = None;
            return;
        }
        let since = *self.behind_since.get_or_insert(self.now);
        if self.now >= since + self.config.tuning.lag {
            self.start_fetch();
        }
    }
}
