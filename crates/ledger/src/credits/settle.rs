//! Settle a session: how many chunks, who served them, what that pays (ownership specification 3.7, 5.3).
//!
//! Nobody's word decides an amount.
//! - *How many chunks*: the payword proves what the client agreed to; whoever knows a later one may raise.
//! - *Which chunks an attempt served*: from its start (the failover's `j_start`) to the start of the next one, or
//!   to the end.
//! - *Who served an attempt*: the home says so, by posting the settlement itself or by the route that it signed for
//!   every host when the session opened. What the payer says holds only until the home's word is shown; what
//!   another host says does not count. A home that signs two routes for one attempt loses its bond (`evidence`).
//! - *How much*: the posted price of the stage for each chunk. Where all prices together pass the order's
//!   `fee_per_cu`, each is reduced in proportion: the sum never passes the escrow (invariant FEE).
//!
//! 2 % of the pay, rounded up, goes to the run's insurance, to the account of the host that earned it (`host`). The poster of a settlement has a small bond on it, which the fund gets if others have to add chunks or
//! correct its hosts.

use crate::{
    account,
    action::{Leg, RaiseSettle, SettleSession},
    credits::{
        host,
        params::{INSURANCE, MAX_ATTEMPTS},
        ticket::{ROUTE, SignedRoute},
    },
    error::TxError,
    event::{EscrowReleased, HostPaid, PosterSlashed, Reason, Settled, Settling},
    keys, payword,
    record::{Attempts, Escrow, LegHead, LegHosts, Lock, LockState, Member, RunTerms, Settlement},
    seat, series,
    session::{absorb, attempts, epoch_after, load, wrong_state},
    store::{Stop, View},
};
use ruint::aliases::U256;
use std::collections::BTreeMap;
use tessera_canon::{Hash, List, PublicKey};

const HOSTS_IN_CELL: usize = 6;

/// The chunks of attempt `at` among `chunks`: more than the first and up to the second.
pub fn interval(homes: &Attempts, at: u16, chunks: u32) -> (u32, u32) {
    let start = |at: usize| homes.homes.get(at).map(|attempt| attempt.start.min(chunks));
    let from = start(at.into()).unwrap_or(chunks);
    (from, start(usize::from(at) + 1).unwrap_or(chunks).max(from))
}

/// What each stage's host earns for a credit: the posted prices, reduced in proportion to `cap` together.
pub fn pay_per_chunk(posted: &[u128], cap: u128) -> Vec<u128> {
    let sum = posted.iter().fold(U256::ZERO, |sum, price| sum + U256::from(*price));
    if sum <= U256::from(cap) {
        return posted.to_vec();
    }
    posted.iter().map(|price| proportion(*price, cap, sum)).collect()
}

/// `floor(amount * of / whole)`; the product may pass 128 bits.
fn proportion(amount: u128, of: u128, whole: U256) -> u128 {
    let exact = U256::from(amount) * U256::from(of) / whole.max(U256::ONE);
    let limbs = exact.as_limbs();
    u128::from(limbs[0]) | (u128::from(limbs[1]) << 64)
}

/// What a session pays: to each host, and into the insurance (with what rounding leaves over).
pub fn split(earned: &BTreeMap<PublicKey, u128>) -> (BTreeMap<PublicKey, u128>, u128) {
    let total = earned.values().fold(0u128, |sum, amount| sum.saturating_add(*amount));
    let whole = U256::from(10_000);
    // Rounded up: what is left is rounded down.
    let left = proportion(total, 10_000 - INSURANCE, whole);
    let paid: BTreeMap<PublicKey, u128> =
        earned.iter().map(|(host, amount)| (*host, proportion(*amount, left, U256::from(total)))).collect();
    let out = paid.values().sum::<u128>();
    (paid, total - out)
}

/// Chunks in range, legs ascending and of attempts that were, each with one bound host per stage and its home
/// first, the payword right.
fn check(view: &View<'_>, lock: &Lock, chunks: u32, word: &Hash, legs: &[Leg]) -> Result<(), Stop> {
    if chunks == 0 || chunks > lock.cu {
        return Err(TxError::Chunks { max: lock.cu, got: chunks }.into());
    }
    if let Some(at) = legs.windows(2).position(|pair| pair[0].attempt >= pair[1].attempt) {
        return Err(TxError::NotAscending { what: "the legs", at: at + 1 }.into());
    }
    let homes = attempts(view, &lock.order)?;
    let terms: RunTerms = view.must(&keys::run_terms(&lock.run), "run", lock.run)?;
    for leg in legs {
        check_leg(view, lock, &terms, &homes, leg.attempt, &leg.hosts)?;
    }
    // Last, so that a repeated attempt does not hash again.
    if !payword::check(&lock.payword_root, chunks, word) {
        return Err(TxError::Payword { chunks }.into());
    }
    Ok(())
}

fn check_leg(
    view: &View<'_>,
    lock: &Lock,
    terms: &RunTerms,
    homes: &Attempts,
    attempt: u16,
    hosts: &[PublicKey],
) -> Result<(), Stop> {
    let most = lock.attempt + 1;
    let Some(home) = homes.homes.get(usize::from(attempt)) else {
        return Err(TxError::Attempt { expected: lock.attempt, most, got: attempt }.into());
    };
    if hosts.len() != usize::from(terms.stages) || hosts.first() != Some(&home.home) {
        return Err(TxError::LegHosts { stages: terms.stages, home: home.home, got: hosts.len() }.into());
    }
    view.want(hosts.iter().map(|host| keys::member(&lock.run, host)))?;
    for (stage, host) in (0u16..).zip(hosts) {
        let member = view.get::<Member>(&keys::member(&lock.run, host))?;
        if member.and_then(|member| member.stage) != Some(stage) {
            return Err(
                TxError::NotMember { account: *host, detail: " in its stage and cannot be paid" }.into()
            );
        }
    }
    Ok(())
}

/// The hosts of a leg that was posted.
pub(crate) fn leg_hosts(
    view: &View<'_>,
    terms: &RunTerms,
    id: &Hash,
    attempt: u16,
) -> Result<Vec<PublicKey>, Stop> {
    let parts = || (0..usize::from(terms.stages).div_ceil(HOSTS_IN_CELL)).map(|part| part as u16);
    view.want(parts().map(|part| keys::leg_hosts(id, attempt, part)))?;
    let mut hosts = Vec::new();
    for part in parts() {
        if let Some(cell) = view.get::<LegHosts>(&keys::leg_hosts(id, attempt, part))? {
            hosts.extend(cell.hosts.into_inner());
        }
    }
    Ok(hosts)
}

fn put_leg(view: &mut View<'_>, id: &Hash, attempt: u16, hosts: &[PublicKey]) {
    for (part, hosts) in (0u16..).zip(hosts.chunks(HOSTS_IN_CELL)) {
        let hosts = List::new(hosts.to_vec()).unwrap_or_default();
        view.put(keys::leg_hosts(id, attempt, part), LegHosts { order: *id, attempt, part, hosts });
    }
}

pub(crate) fn settle(view: &mut View<'_>, sender: &PublicKey, action: &SettleSession) -> Result<(), Stop> {
    let id = action.order;
    let (mut lock, escrow) = load(view, &id)?;
    view.want([
        keys::attempts(&id),
        keys::run_terms(&lock.run),
        keys::rules(),
        keys::member(&lock.run, sender),
    ])?;
    if lock.state != LockState::Open {
        return Err(wrong_state(&lock, "open"));
    }
    let params = view.params()?;
    let now = view.context.height;
    let until = lock.open_until.saturating_add(params.settle_delay);
    if now > until {
        return Err(TxError::Late { what: "settling", until, now }.into());
    }
    if *sender != lock.home && *sender != escrow.payer {
        let expected = format!("the home {} or the payer {}", lock.home, escrow.payer);
        return Err(TxError::Role { expected, got: *sender }.into());
    }
    check(view, &lock, action.chunks, &action.payword, &action.legs)?;
    let bond = view.rules()?.settle_bond;
    account::charge_for(view, sender, bond, (Reason::SettlementBond, &id))?;
    seat::heard(view, &lock.run, sender)?;
    let homes = attempts(view, &id)?;
    let mut legs = Vec::new();
    for leg in action.legs.iter() {
        put_leg(view, &id, leg.attempt, &leg.hosts);
        let proved = homes.homes.get(usize::from(leg.attempt)).is_some_and(|a| a.home == *sender);
        legs.push(LegHead { attempt: leg.attempt, proved });
    }
    view.put(
        keys::settlement(&id),
        Settlement {
            order: id,
            chunks: action.chunks,
            payword: action.payword,
            poster: *sender,
            height: now,
            bond,
            legs: List::new(legs).unwrap_or_default(),
            fees: 0,
            epoch: 0,
        },
    );
    let expiry = epoch_after(until, params.epoch_blocks);
    let due = epoch_after(now.saturating_add(params.settle_delay), params.epoch_blocks);
    if due != expiry {
        view.list_add(keys::list_of_due(due), id);
    }
    lock.state = LockState::Settling;
    view.put(keys::lock(&id), lock);
    view.emit(Settling { order: id, chunks: action.chunks, by: *sender });
    Ok(())
}

/// The hosts of a route, if the attempt's home signed it.
fn proved_by(view: &View<'_>, lock: &Lock, homes: &Attempts, signed: &SignedRoute) -> Result<Leg, Stop> {
    let route = &signed.route;
    let Some(attempt) = homes.homes.get(usize::from(route.attempt)) else {
        return Err(TxError::HomeSignature { home: PublicKey::default() }.into());
    };
    let session = (attempt.at, lock.open_until);
    let holds = route.order == lock.order
        && route.home == attempt.home
        && account::signed_then(view, &attempt.home, session, |key| {
            key.verify(ROUTE, route, &signed.signature)
        })?;
    if !holds {
        return Err(TxError::HomeSignature { home: attempt.home }.into());
    }
    Ok(Leg { attempt: route.attempt, hosts: route.hosts.clone() })
}

pub(crate) fn raise(view: &mut View<'_>, sender: &PublicKey, action: &RaiseSettle) -> Result<(), Stop> {
    let id = action.order;
    let (lock, escrow) = load(view, &id)?;
    if lock.state != LockState::Settling {
        return Err(wrong_state(&lock, "settling"));
    }
    view.want([
        keys::settlement(&id),
        keys::attempts(&id),
        keys::run_terms(&lock.run),
        keys::rules(),
        keys::member(&lock.run, sender),
    ])?;
    let mut settlement: Settlement = view.must(&keys::settlement(&id), "settlement", id)?;
    let now = view.context.height;
    let until = settlement.height.saturating_add(view.params()?.settle_delay);
    if now > until {
        return Err(TxError::Late { what: "raising", until, now }.into());
    }
    if *sender != escrow.payer && seat::held_by(view, &lock.run, sender)?.is_none() {
        let expected = format!("a seated host of the run or the payer {}", escrow.payer);
        return Err(TxError::Role { expected, got: *sender }.into());
    }
    let homes = attempts(view, &id)?;
    let terms: RunTerms = view.must(&keys::run_terms(&lock.run), "run", lock.run)?;
    // What is new: legs that only now have their home's word. Nobody else's word adds one, since the last to
    // speak in the delay could not be answered.
    let mut new: BTreeMap<u16, (Leg, bool)> = BTreeMap::new();
    for leg in action.legs.iter() {
        let own = homes.homes.get(usize::from(leg.attempt)).is_some_and(|a| a.home == *sender);
        new.insert(leg.attempt, (leg.clone(), own));
    }
    if let Some(signed) = &action.route {
        let leg = proved_by(view, &lock, &homes, signed)?;
        new.insert(leg.attempt, (leg, true));
    }
    let mut corrected = false;
    let mut heads: BTreeMap<u16, LegHead> =
        settlement.legs.iter().map(|head| (head.attempt, head.clone())).collect();
    new.retain(|attempt, (_, proved)| *proved && heads.get(attempt).is_none_or(|head| !head.proved));
    for (attempt, (leg, _)) in &new {
        check_leg(view, &lock, &terms, &homes, *attempt, &leg.hosts)?;
        let stood = heads.contains_key(attempt);
        corrected |= stood && leg_hosts(view, &terms, &id, *attempt)? != leg.hosts.to_vec();
    }
    let added = new.keys().any(|attempt| !heads.contains_key(attempt));
    if action.chunks < settlement.chunks || (action.chunks == settlement.chunks && !added && !corrected) {
        return Err(TxError::NotBetter { settled: settlement.chunks, got: action.chunks }.into());
    }
    let more = action.chunks > settlement.chunks;
    check(view, &lock, action.chunks, &action.payword, &[])?;
    let bond = view.rules()?.settle_bond;
    let before = settlement.poster;
    view.want([keys::account(&before), keys::account(sender), keys::globals()])?;
    account::charge_for(view, sender, bond, (Reason::SettlementBond, &id))?;
    // Who corrects its own settlement has its bond back; so has one to whom only an earlier attempt was unknown.
    if before == *sender || !(more || corrected) {
        account::credit_for(view, &before, settlement.bond, (Reason::SettlementBond, &id))?;
    } else {
        account::to_fund(view, settlement.bond)?;
        view.emit(PosterSlashed { order: id, poster: before, bond: settlement.bond });
    }
    seat::heard(view, &lock.run, sender)?;
    for (attempt, (leg, proved)) in new {
        put_leg(view, &id, attempt, &leg.hosts);
        heads.insert(attempt, LegHead { attempt, proved });
    }
    settlement.legs = List::new(heads.into_values().take(MAX_ATTEMPTS).collect()).unwrap_or_default();
    settlement.chunks = action.chunks;
    settlement.payword = action.payword;
    settlement.poster = *sender;
    settlement.bond = bond;
    view.put(keys::settlement(&id), settlement);
    view.emit(Settling { order: id, chunks: action.chunks, by: *sender });
    Ok(())
}

/// Pay what remains of the escrow back: first what the fund put in and did not have to spend, then the payer.
/// `fees` of it were spent; the fund bears them in the proportion in which it put in.
pub(crate) fn release(view: &mut View<'_>, mut escrow: Escrow, fees: u128) -> Result<(), Stop> {
    let rest = std::mem::take(&mut escrow.held);
    let spent = proportion(fees, escrow.subsidy, U256::from(rest) + U256::from(fees));
    let fund = (std::mem::take(&mut escrow.subsidy) - spent).min(rest);
    if fund > 0 {
        account::to_fund(view, fund)?;
    }
    account::credit(view, &escrow.payer, rest - fund)?;
    view.emit(EscrowReleased { order: escrow.order, payer: escrow.payer, amount: rest - fund, fund });
    view.put(keys::escrow(&escrow.order), escrow);
    Ok(())
}

/// What each host of a settlement earned, in nano-U, before the insurance's part.
fn earned(
    view: &View<'_>,
    lock: &Lock,
    escrow: &Escrow,
    settlement: &Settlement,
) -> Result<BTreeMap<PublicKey, (u128, u16)>, Stop> {
    let terms: RunTerms = view.must(&keys::run_terms(&lock.run), "run", lock.run)?;
    let pay = pay_per_chunk(&host::prices(view, &terms)?, escrow.fee_per_cu);
    let homes = attempts(view, &lock.order)?;
    let mut earned = BTreeMap::<PublicKey, (u128, u16)>::new();
    for head in settlement.legs.iter() {
        let (from, to) = interval(&homes, head.attempt, settlement.chunks);
        let hosts = leg_hosts(view, &terms, &lock.order, head.attempt)?;
        for ((stage, host), per_chunk) in (0u16..).zip(hosts).zip(&pay) {
            // Within the escrow: the prices together are at most `fee_per_cu`, the intervals at most `cu`.
            let amount = per_chunk * u128::from(to - from);
            earned.entry(host).or_insert((0, stage)).0 += amount;
        }
    }
    earned.retain(|_, (amount, _)| *amount > 0);
    Ok(earned)
}

pub(crate) fn finalize(view: &mut View<'_>, id: &Hash) -> Result<(), Stop> {
    let (mut lock, mut escrow) = load(view, id)?;
    if lock.state != LockState::Settling {
        return Err(wrong_state(&lock, "settling"));
    }
    view.want([keys::settlement(id), keys::attempts(id), keys::run_terms(&lock.run), keys::lane(&lock.run)])?;
    let mut settlement: Settlement = view.must(&keys::settlement(id), "settlement", id)?;
    let after = settlement.height.saturating_add(view.params()?.settle_delay);
    let now = view.context.height;
    if now <= after {
        return Err(TxError::Early { what: "finalizing", after, now }.into());
    }
    let earned = earned(view, &lock, &escrow, &settlement)?;
    view.want(earned.keys().flat_map(|host| [keys::account(host), keys::host(&lock.run, host)]))?;
    let amounts: BTreeMap<PublicKey, u128> =
        earned.iter().map(|(host, (amount, _))| (*host, *amount)).collect();
    let fees = amounts.values().sum::<u128>();
    let (paid, insurance) = split(&amounts);
    escrow.held -= fees;
    for (account, (amount, stage)) in earned {
        let to_host = paid.get(&account).copied().unwrap_or(0);
        let mut host = host::load(view, &lock.run, &account, stage)?;
        host.insured += amount - to_host;
        view.put(keys::host(&lock.run, &account), host);
        account::credit(view, &account, to_host)?;
        view.emit(HostPaid { order: *id, host: account, amount: to_host });
    }
    let mut lane = series::lane(view, &lock.run)?;
    lane.insurance += insurance;
    lane.used = lane.used.saturating_add(settlement.chunks.into());
    view.put(keys::lane(&lock.run), lane);
    let bond = std::mem::take(&mut settlement.bond);
    account::credit_for(view, &settlement.poster, bond, (Reason::SettlementBond, id))?;
    absorb(view, &lock, &escrow, settlement.chunks.into())?;
    release(view, escrow, fees)?;
    view.emit(Settled { order: *id, run: lock.run, chunks: settlement.chunks, fees });
    settlement.fees = fees;
    settlement.epoch = host::epoch(view)?;
    view.put(keys::settlement(id), settlement);
    lock.state = LockState::Final;
    view.put(keys::lock(id), lock);
    Ok(())
}
