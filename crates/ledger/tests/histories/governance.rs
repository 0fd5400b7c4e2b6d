//! Bring proposals, votes, keys and validators into the random histories, and check GOV by what happened.

use super::{ACCOUNTS, History};
use crate::world::*;
use tessera_canon::Hash;
use tessera_ledger::{
    Action, Event, MemState, Outcome,
    action::*,
    evidence::{STATEMENT, Statement, StatementKind},
    governance::{
        parameter::Parameter,
        record::{Proposal, ProposalState},
        terms::GovernanceTerms,
    },
    query,
};

/// Every run's policy and every proposal that changed did so by what an event says, at its time.
pub(super) fn check(before: &MemState, world: &World, outcome: &Outcome) {
    let old = |key: &Hash| before.get(key);
    let terms: GovernanceTerms = query::governance(old).expect("every network has rules of voting");
    for event in &outcome.events {
        if let Event::Executed(event) = event {
            let proposal = query::proposal(world.get(), &event.proposal).expect("it exists");
            assert!(world.height >= proposal.ready, "too early: {proposal:?}");
            let motion = query::motion(world.get(), &event.proposal).expect("it exists").motion;
            let pause = matches!(motion, Motion::PauseRun(_));
            assert!(pause || proposal.ready >= proposal.ends + terms.delay(proposal.class), "{proposal:?}");
            assert_eq!(event.state, proposal.state);
        }
    }
    for run in query::runs(world.get()) {
        let Some(policy) = query::run_policy(old, &run).map(|record| record.policy) else { continue };
        let now = query::run_policy(world.get(), &run).expect("a policy stays").policy;
        for parameter in Parameter::ALL.iter().filter(|parameter| !parameter.of_network()) {
            let mut value = parameter.in_policy(&policy);
            for event in &outcome.events {
                if let Event::ParameterChanged(event) = event
                    && event.run == run
                    && event.parameter == *parameter
                {
                    assert_eq!(value, Some(event.old), "a stale change: {event:?}");
                    value = Some(event.new);
                }
            }
            // A concentrated run raises theta by itself, and says so.
            let raised = |event: &Event| matches!(event, Event::ThetaRaised(raised) if raised.run == run);
            if *parameter == Parameter::Theta && outcome.events.iter().any(raised) {
                continue;
            }
            assert_eq!(value, parameter.in_policy(&now), "{parameter:?} changed without a vote");
        }
    }
}

impl History {
    fn motion(&mut self, run: &Hash) -> Motion {
        let policy = query::run_policy(self.world.get(), run).map(|record| record.policy).unwrap_or_default();
        let f_star = query::run(self.world.get(), run).map_or(0, |run| run.f_star);
        let plan = query::assembly(self.world.get(), run).map_or(Hash::ZERO, |assembly| assembly.plan);
        match self.below(16) {
            0 => PauseRun {}.into(),
            1 => ResumeRun {}.into(),
            2 if self.chance(20) => StartServing {}.into(),
            3 => ResumeTraining { max_wu: self.below(2_000) }.into(),
            4 if self.chance(10) => RetireRun {}.into(),
            5 => RaiseTarget { old: f_star, new: f_star + self.below(9) }.into(),
            6 => AmendPlan { old: plan, new: Hash([self.below(5) as u8; 32]) }.into(),
            _ => {
                let count = 1 + self.below(3);
                let changes = (0..count)
                    .map(|_| {
                        let all = Parameter::ALL;
                        // Those of a run, rarely one of the network.
                        let bound = if self.chance(5) { all.len() } else { 13 };
                        let parameter = all[self.below(bound as u64) as usize];
                        let old = parameter.in_policy(&policy).unwrap_or(1_000);
                        let step = u128::from(self.below(1 + old as u64 / 4));
                        let new = if self.chance(50) { old + step } else { old - step };
                        Change { parameter, old, new }
                    })
                    .collect();
                Changes { changes: list(changes) }.into()
            }
        }
    }
    fn fees(&mut self) -> Motion {
        let fee = query::params(self.world.get()).map_or(0, |params| params.fee_flat);
        let new = fee + u128::from(self.below(5));
        let change = Change { parameter: Parameter::FeeFlat, old: fee, new };
        Changes { changes: list(vec![change]) }.into()
    }
    /// A proposal, mostly one that takes votes, with a voter who mostly has not voted.
    fn ballot(&mut self) -> Option<(u32, Proposal)> {
        let mut runs = self.runs.clone();
        runs.push(Hash::ZERO);
        let run = self.pick(&runs)?;
        let mut proposals = query::proposals_of(self.world.get(), &run);
        if self.chance(90) {
            proposals.retain(|proposal| proposal.state == ProposalState::Open);
        }
        // Mostly the newest, so that some reach their quorum.
        proposals.sort_by_key(|proposal| proposal.posted);
        let newest = proposals.last().cloned();
        let proposal = if self.chance(60) { newest? } else { self.pick(&proposals)? };
        let start = self.account();
        let fresh = (0..ACCOUNTS).map(|i| (start + i) % ACCOUNTS).find(|account| {
            let voter = public(*account);
            query::ballot(self.world.get(), &proposal.id, &voter).is_none()
                && query::power(self.world.get(), &proposal, &voter).0 > 0
        });
        Some((fresh.filter(|_| self.chance(90)).unwrap_or(start), proposal))
    }

    pub(super) fn govern(&mut self) -> Option<(u32, Action)> {
        let who = self.account();
        let consensus = key(600 + who);
        Some(match self.below(30) {
            0..3 => {
                let run = if self.chance(10) { Hash::ZERO } else { self.run() };
                let motion = if run == Hash::ZERO { self.fees() } else { self.motion(&run) };
                let class = motion.class();
                let deposit = 1_000_000 - u128::from(self.chance(3));
                (who, Propose { run, class, motion, deposit, not_before: self.below(60) }.into())
            }
            3..20 => {
                let (voter, proposal) = self.ballot()?;
                let choice = [Choice::Yes, Choice::Yes, Choice::Yes, Choice::No, Choice::Abstain];
                let choice = choice[self.below(5) as usize];
                let to = query::delegation(self.world.get(), &proposal.run, &public(voter));
                match to {
                    Some(to) if self.chance(50) => {
                        let of = list(vec![public(voter)]);
                        (self.world.index_of(&to.to), Vote { proposal: proposal.id, choice, of }.into())
                    }
                    _ => (voter, Vote { proposal: proposal.id, choice, of: list(vec![]) }.into()),
                }
            }
            20..22 => {
                let to = if self.chance(60) { Some(public(self.account())) } else { None };
                (who, Delegate { run: self.run(), to }.into())
            }
            22..25 => {
                let (_, proposal) = self.ballot()?;
                (who, Execute { proposal: proposal.id }.into())
            }
            25 => {
                let account = if self.chance(80) { who } else { self.account() };
                let statement =
                    Rotation { network: self.world.network, account: public(account), key: public(who) };
                (who, RotateKey { key: public(who), signature: key(who).sign(ROTATION, &statement) }.into())
            }
            26 | 27 => {
                let key = consensus.public();
                let statement = Bonding { network: self.world.network, account: public(who), key };
                let amount = u128::from(self.below(4_000_000));
                (who, ValidatorBond { amount, key, signature: consensus.sign(BONDING, &statement) }.into())
            }
            28 => (who, ValidatorUnbond {}.into()),
            _ => {
                let (view, other) = (self.below(9), self.chance(30));
                let statement = |block: u8| Statement {
                    network: self.world.network,
                    validator: consensus.public(),
                    view,
                    kind: StatementKind::Notarize,
                    block: Hash([block; 32]),
                };
                let (first, second) = (statement(1), statement(1 + u8::from(other)));
                let first_signature = consensus.sign(STATEMENT, &first);
                let second_signature = consensus.sign(STATEMENT, &second);
                (who, ReportDoubleSign { first, first_signature, second, second_signature }.into())
            }
        })
    }
}

#[test]
fn votes_take_effect_in_random_histories() {
    let mut states = std::collections::BTreeMap::<String, usize>::new();
    let mut changed = 0;
    for seed in [33, 34] {
        let mut history = History::new(seed);
        let mut done = 0;
        while done < 3_000 {
            let mut txs = history.txs();
            // Many more votes than elsewhere, so that quorums are reached.
            for _ in 0..12 {
                if let Some((sender, action)) = history.govern() {
                    txs.push(history.world.tx(sender, action));
                }
            }
            let before = history.world.state.clone();
            let outcome = history.world.block(&txs);
            check(&before, &history.world, &outcome);
            for event in &outcome.events {
                match event {
                    Event::Executed(event) => {
                        *states.entry(format!("{:?}", event.state)).or_default() += 1;
                    }
                    Event::ParameterChanged(_) => changed += 1,
                    _ => {}
                }
            }
            done += txs.len();
        }
    }
    println!("{states:?}, {changed} parameters changed");
    assert!(changed >= 5 && states.get("Executed").is_some_and(|count| *count >= 6), "{states:?} {changed}");
    assert!(states.len() >= 2, "some lapsed: {states:?}");
}
