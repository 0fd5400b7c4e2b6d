//! Vote on state roots with the replicas and report finished windows to the ledger.

use super::{Effect, Note, Phase, Trainer};
use std::collections::BTreeMap;
use tessera_audit::unit::AnchorTree;
use tessera_canon::{Hash, List, PublicKey, Signature};
use tessera_ledger::action::{REPORT, ReportWindow, SeatSignature, WindowReport, WorkEntry};
use tessera_wire::training::{Cosign, SignedVote, VOTE, Vote};

/// Versions whose votes are remembered.
const REMEMBERED_VOTES: usize = 8;

/// A window that is finished here and not yet on the ledger.
#[derive(Clone, Debug)]
pub(super) struct PendingReport {
    mine: WindowReport,
    signatures: BTreeMap<PublicKey, (WindowReport, Signature)>,
    since: u64,
    asked: u64,
    posted: Option<u64>,
}

impl Trainer {
    /// Sign the root of the present state for the replicas.
    pub(super) fn vote(&mut self) {
        let vote = Vote {
            run: self.branch,
            stage: self.config.stage,
            progress: self.progress,
            state_root: self.state_root,
        };
        self.roots.entry(self.progress).or_default().insert(self.me, self.state_root);
        while self.roots.len() > REMEMBERED_VOTES {
            self.roots.pop_first();
        }
        let signature = self.config.key.sign(VOTE, &vote);
        let replicas: Vec<_> = self.replicas().map(|(key, _)| *key).collect();
        for peer in replicas {
            self.send(peer, SignedVote { vote: vote.clone(), signature });
        }
        self.compare_roots(self.progress);
    }

    pub(super) fn on_vote(&mut self, from: PublicKey, message: SignedVote) {
        let vote = &message.vote;
        if vote.run != self.branch || vote.stage != self.config.stage {
            return;
        }
        if !from.verify(VOTE, vote, &message.signature) {
            return self.offence(from, "a state vote with a wrong signature".into());
        }
        let near = vote.progress + REMEMBERED_VOTES as u64 > self.progress
            && vote.progress <= self.config.shape.steps + 1
            && vote.progress < self.progress + REMEMBERED_VOTES as u64;
        if near {
            self.roots.entry(vote.progress).or_default().insert(from, vote.state_root);
            self.compare_roots(vote.progress);
        }
    }

    /// Replicas that reached another root: a minority fetches, an even split does the step again.
    fn compare_roots(&mut self, progress: u64) {
        if progress != self.progress || self.phase != Phase::Working {
            return;
        }
        let Some(votes) = self.roots.get(&progress) else { return };
        let Some(mine) = votes.get(&self.me).copied() else { return };
        let mut counts: BTreeMap<Hash, usize> = BTreeMap::new();
        votes.values().for_each(|root| *counts.entry(*root).or_default() += 1);
        let own = counts.get(&mine).copied().unwrap_or(0);
        let Some((other, most)) = counts.iter().filter(|(root, _)| **root != mine).max_by_key(|(_, n)| **n)
        else {
            return;
        };
        if *most > own {
            self.note(Note::Trouble {
                what: format!(
                    "this seat reached state root {} at step {progress}, {most} replicas reached {}; fetching theirs",
                    mine.short(),
                    other.short()
                ),
            });
            self.roots.remove(&progress);
            self.start_fetch();
        } else if *most == own {
            self.reopen(progress, mine, *other);
        }
    }

    /// Make and sign a report for every window that is finished here and missing on the ledger.
    pub(super) fn ensure_reports(&mut self) {
        let (shape, stage) = (self.config.shape.clone(), self.config.stage);
        let next = self.roster.reported(stage);
        self.reports.retain(|window, _| *window >= next);
        self.foreign.retain(|window, _| *window >= next);
        let oldest = self.anchored_from(next);
        self.records.retain(|record| record.step >= oldest);
        for window in next..shape.windows() {
            let (first, end) = shape.steps_of_window(window);
            if self.progress <= end {
                break;
            }
            if !self.reports.contains_key(&window)
                && let Some(report) = self.compose(window, first, end)
            {
                let mut pending = PendingReport {
                    signatures: self.foreign.remove(&window).unwrap_or_default(),
                    mine: report,
                    since: self.now,
                    asked: self.now,
                    posted: None,
                };
                let signature = self.config.key.sign(REPORT, &pending.mine);
                pending.signatures.insert(self.me, (pending.mine.clone(), signature));
                self.reports.insert(window, pending);
                self.share_report(window);
            }
        }
        self.post_if_quorum(self.roster.open_window);
    }

    /// The first step whose commitments the report of `window` anchors: the window's own, or one that was done again
    /// since the last report.
    fn anchored_from(&self, window: u32) -> u64 {
        let (first, _) = self.config.shape.steps_of_window(window);
        let last = window.checked_sub(1).and_then(|last| self.roster.anchors.get(&(self.config.stage, last)));
        let known = last.map_or(0, |last| last.generation);
        self.roster.undone_since(known).map_or(first, |step| first.min(step))
    }

    fn compose(&mut self, window: u32, first: u64, end: u64) -> Option<WindowReport> {
        let record = |step: u64| self.records.iter().find(|r| r.step == step);
        let mut places = Vec::new();
        for step in self.anchored_from(window)..end {
            let credits = record(step)?.credits.iter();
            places.extend(credits.map(|credit| (step, credit.account, credit.header)));
        }
        let tree = AnchorTree::new(places);
        let mut work: BTreeMap<PublicKey, u32> = BTreeMap::new();
        for step in first..end {
            for credit in record(step)?.credits.iter() {
                *work.entry(credit.account).or_default() += credit.microbatches;
            }
        }
        let after = record(end)?;
        let entries =
            work.into_iter().map(|(account, microbatches)| WorkEntry { account, microbatches }).collect();
        let (state_root, loss) = (after.state_root, after.loss);
        let anchor = tree.root();
        self.trust.anchor(window, tree);
        Some(WindowReport {
            network: self.config.network,
            run: self.config.shape.run,
            window,
            stage: self.config.stage,
            entries: List::new(entries).ok()?,
            state_root,
            generation: self.generation,
            anchor,
            loss: loss.map(|loss| u32::try_from(loss).unwrap_or(u32::MAX)),
        })
    }

    fn share_report(&mut self, window: u32) {
        let Some(pending) = self.reports.get(&window) else { return };
        let Some((report, signature)) = pending.signatures.get(&self.me).cloned() else { return };
        let replicas: Vec<_> = self.replicas().map(|(key, _)| *key).collect();
        for peer in replicas {
            self.send(peer, Cosign { report: report.clone(), signature });
        }
    }

    pub(super) fn on_cosign(&mut self, from: PublicKey, message: Cosign) {
        let Cosign { report, signature } = message;
        let (window, next) = (report.window, self.roster.reported(self.config.stage));
        if report.generation != self.generation {
            return;
        }
        let ours = report.run == self.config.shape.run
            && report.network == self.config.network
            && report.stage == self.config.stage
            && window < self.config.shape.windows();
        if !ours || !from.verify(REPORT, &report, &signature) {
            return self.offence(from, "a window report of another run, or with a wrong signature".into());
        }
        if window < next || window > next + 64 {
            return;
        }
        match self.reports.get_mut(&window) {
            Some(pending) => {
                pending.signatures.insert(from, (report, signature));
                self.post_if_quorum(window);
            }
            None => {
                self.foreign.entry(window).or_default().insert(from, (report, signature));
            }
        }
    }

    /// Post the report that a quorum has signed, if posting it falls to this seat.
    fn post_if_quorum(&mut self, window: u32) {
        let (stage, now, retry) = (self.config.stage, self.now, self.config.tuning.retry);
        let next = self.roster.reported(stage);
        let quorum = self.roster.quorum(stage);
        let Some(pending) = self.reports.get(&window) else { return };
        // The ledger takes the windows in order, all stages of one before any of the next.
        if window != next
            || window != self.roster.open_window
            || pending.posted.is_some_and(|at| now < at + 2 * retry)
        {
            return;
        }
        let Some((agreed, _)) = pending.signatures.get(&self.me).cloned() else { return };
        let mut signers: Vec<(u16, PublicKey, Signature)> = pending
            .signatures
            .iter()
            .filter(|(_, (report, _))| *report == agreed)
            .filter_map(|(key, (_, signature))| {
                let seat = self.roster.seat_of(key).filter(|s| s.active && s.stage == stage)?;
                Some((seat.index, *key, *signature))
            })
            .collect();
        signers.sort_by_key(|(index, _, _)| *index);
        if signers.len() < quorum {
            return;
        }
        // The lowest signer posts; the others step in if the ledger does not have it after a while.
        let rank = signers.iter().position(|(_, key, _)| *key == self.me).unwrap_or(0) as u64;
        if now < pending.since + rank * 2 * retry {
            return;
        }
        let signatures =
            signers.into_iter().map(|(seat, _, signature)| SeatSignature { seat, signature }).collect();
        let Ok(signatures) = List::new(signatures) else { return };
        if let Some(pending) = self.reports.get_mut(&window) {
            pending.posted = Some(now);
        }
        self.effects.push(Effect::Report(Box::new(ReportWindow { report: agreed, signatures })));
    }

    /// Repeat signatures that may have been lost, and settle differences about who did what.
    pub(super) fn retry_reports(&mut self) {
        if self.phase != Phase::Working {
            return;
        }
        let (now, retry) = (self.now, self.config.tuning.retry);
        let due: Vec<u32> =
            self.reports.iter().filter(|(_, p)| now >= p.asked + retry).map(|(window, _)| *window).collect();
        for window in due {
            if let Some(pending) = self.reports.get_mut(&window) {
                pending.asked = now;
            }
            self.settle_difference(window);
            self.share_report(window);
            self.post_if_quorum(window);
        }
    }

    /// After a crash two replicas may have counted a replayed unit for different seats. The total, the root and
    /// the loss must agree; about the split, the lowest seat's word is taken if it does not shorten this seat, and
    /// after some time even then: a few units are worth less than the stage's whole window.
    fn settle_difference(&mut self, window: u32) {
        let Some(pending) = self.reports.get(&window) else { return };
        if self.now < pending.since + self.config.tuning.retry {
            return;
        }
        let proposal = pending
            .signatures
            .iter()
            .filter(|(key, _)| **key != self.me)
            .min_by_key(|(key, _)| self.index_of(key))
            .filter(|(key, _)| self.index_of(key) < self.config.seat)
            .map(|(_, (report, _))| report.clone());
        let Some(proposal) = proposal else { return };
        let mine = &pending.mine;
        let own = |report: &WindowReport| {
            report.entries.iter().find(|e| e.account == self.me).map_or(0, |e| e.microbatches)
        };
        let total =
            |report: &WindowReport| report.entries.iter().map(|e| u64::from(e.microbatches)).sum::<u64>();
        let fair = proposal.state_root == mine.state_root
            && proposal.loss == mine.loss
            && total(&proposal) == total(mine)
            && (own(&proposal) >= own(mine) || self.now >= pending.since + 4 * self.config.tuning.retry);
        if fair && proposal != *mine {
            let signature = self.config.key.sign(REPORT, &proposal);
            if let Some(pending) = self.reports.get_mut(&window) {
                pending.signatures.insert(self.me, (proposal, signature));
            }
        }
    }
}
