//! Make random actions about runs, evaluations, bonds, forks, operators and measurements, valid and not.

use super::{ACCOUNTS, History};
use crate::world::{World, create_run, join, key, public};
use tessera_canon::{Hash, digest};
use tessera_ledger::{Action, Policy, action::*, query, record::*};

/// Give a run terms that bring every rule into play.
pub(crate) fn vary(history: &mut History, create: &mut CreateRun) {
    if history.chance(40) {
        create.loss_source = LossSource::Committee;
    }
    create.open_stages = u128::from(history.below(4));
    create.bootstrap_windows = history.below(3) as u32;
    create.fork_part = history.below(9001) as u16;
    if history.chance(70) {
        create.policy = Some(Policy {
            pending_windows: 1 + history.below(3) as u32,
            theta: history.below(10_001) as u16,
            work_price: history.below(5).into(),
            foreign_work: history.below(10_001) as u16,
            kappa_floor: history.below(4000) as u16,
            ..Policy::default()
        });
    }
}

fn salt(account: u32) -> Hash {
    Hash([account as u8; 32])
}

/// Commit or reveal as a member of a committee, mostly.
fn evaluate(history: &mut History) -> Option<(u32, Action)> {
    let runs = history.runs.clone();
    let live = runs.into_iter().filter(|run| {
        query::evaluation(history.world.get(), run).is_some_and(|last| last.phase != EvaluationPhase::Closed)
    });
    let live: Vec<Hash> = live.collect();
    let run = match history.pick(&live) {
        Some(run) if !history.chance(5) => run,
        _ => history.run(),
    };
    let evaluation = query::evaluation(history.world.get(), &run)?;
    let committee = query::committee(history.world.get(), &run);
    let member = history.pick(&committee).map(|member| history.world.index_of(&member.account));
    let sender = if history.chance(10) { history.account() } else { member? };
    let window = evaluation.window + u32::from(history.chance(3));
    let loss = 1_000_000 + 1000 * sender;
    let measured = Evaluated {
        network: history.world.network,
        run,
        window: evaluation.window,
        account: public(sender),
        loss,
        salt: salt(sender),
    };
    let reveal = evaluation.phase == EvaluationPhase::Revealing;
    Some(if reveal != history.chance(5) {
        let salt = if history.chance(5) { Hash::ZERO } else { measured.salt };
        (sender, EvalReveal { run, window, loss, salt }.into())
    } else {
        (sender, EvalCommit { run, window, hash: digest(EVALUATED, &measured) }.into())
    })
}

fn fork(history: &mut History) -> Option<(u32, Action)> {
    let living = |world: &World, run: &Hash, _| {
        let state = query::run(world.get(), run)?.state;
        matches!(state, RunState::Open | RunState::Serving).then_some(*run)
    };
    let found = history.somewhere(living);
    let parent = history.or_seldom(found, History::run)?;
    let mut id = [7; 32];
    id[0] = history.runs.len() as u8;
    let mut child = create_run(Hash(id), 2, 6);
    child.exclusive_blocks = 1 + history.below(12);
    vary(history, &mut child);
    let state = query::run(history.world.get(), &parent);
    child.loss_0 = state.as_ref().map_or(1, |run| run.loss_min) + u32::from(history.chance(5));
    let living = state.is_some_and(|run| matches!(run.state, RunState::Open | RunState::Serving));
    if living && history.runs.len() < 11 {
        history.runs.push(child.run);
    }
    Some((history.account(), ForkRun { parent, run: child }.into()))
}

fn declare(history: &mut History) -> (u32, Action) {
    let (run, sender, operator) = (history.run(), history.account(), history.account());
    let statement = Affiliated {
        network: history.world.network,
        run,
        account: public(sender),
        operator: public(operator),
    };
    let signer = if history.chance(10) { sender } else { operator };
    let signature = key(signer).sign(AFFILIATED, &statement);
    (sender, DeclareOperator { run, operator: public(operator), signature }.into())
}

/// Somebody who left a run and still has a bond in it, and that run.
fn left_with_bond(history: &History) -> Option<(u32, Hash)> {
    let get = history.world.get();
    let pairs = history.runs.iter().flat_map(|run| (0..ACCOUNTS).map(move |account| (account, *run)));
    pairs.into_iter().find(|(account, run)| {
        query::member(&get, run, &public(*account))
            .is_some_and(|member| member.state == MemberState::Left && member.bond > 0)
    })
}

/// A run that is still exclusive past its end, with too little work.
fn overdue(history: &History) -> Option<Hash> {
    let get = history.world.get();
    history.runs.iter().copied().find(|id| {
        let (Some(run), Some(terms)) = (query::run(&get, id), query::run_terms(&get, id)) else {
            return false;
        };
        let late = history.world.height >= terms.exclusive_until;
        run.state == RunState::Exclusive && late && run.f_designer < terms.f_min
    })
}

/// Runs in training.
fn training(history: &History) -> Vec<Hash> {
    let get = history.world.get();
    let trains = |run: &Run| matches!(run.state, RunState::Exclusive | RunState::Open);
    history.runs.iter().copied().filter(|id| query::run(&get, id).is_some_and(|run| trains(&run))).collect()
}

/// A complete report of some stage of a run in training, so that long histories are not only about runs that are
/// trained.
fn train(history: &mut History) -> Option<(u32, Action)> {
    let runs = training(history);
    let (run, stage) = (history.pick(&runs)?, history.below(2) as u16);
    let loss = (stage == 1).then_some(1_000_000 + history.below(12_000_000) as u32);
    let (sender, report) = history.world.full_report(run, stage, loss)?;
    Some((sender, report.into()))
}

/// A random action of these rooms.
pub(crate) fn action(history: &mut History) -> Option<(u32, Action)> {
    if history.runs.len() < 100 && history.chance(10) && training(history).len() < 2 {
        return Some(history.create());
    }
    let (who, mut run) = (history.account(), history.run());
    if let Some(active) = history.pick(&training(history))
        && history.chance(50)
    {
        run = active;
    }
    Some(match history.below(24) {
        0..8 => evaluate(history)?,
        8 if history.chance(60) => {
            let member = |world: &World, run: &Hash, who| {
                let member = query::member(world.get(), run, &public(who))?;
                (member.state != MemberState::Left).then_some((who, *run))
            };
            let found = history.somewhere(member);
            let (who, run) = history.or_seldom(found, |_| (who, run))?;
            (who, LeaveRun { run }.into())
        }
        8 | 9 | 20.. => train(history)?,
        10..13 => {
            let found = left_with_bond(history);
            if found.is_none() && history.chance(80) {
                return train(history);
            }
            let (who, run) = found.unwrap_or((who, run));
            (who, WithdrawBond { run }.into())
        }
        13 => {
            let found = overdue(history);
            (who, AbortRun { run: history.or_seldom(found, |_| run)? }.into())
        }
        14 | 15 => fork(history)?,
        16 => declare(history),
        17 => {
            let (mu, repair) = (history.below(5000) as u16, history.below(1 << 20) as u32);
            (who, PostMeasurement { run, mu, repair, evidence: Hash([repair as u8 % 8; 32]) }.into())
        }
        _ => (history.below(ACCOUNTS.into()) as u32, join(run, who).into()),
    })
}
