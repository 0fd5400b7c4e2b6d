//! Say by how much each event changes each number: one arm for an event that moves something.
//!
//! The arms follow the state machine: what its code moves when it emits the event. An event without an arm
//! moves nothing here; if the ledger moves something by it, the sum of the part does not come out.

use super::Facts;
use std::collections::BTreeMap;
use tessera_canon::{Hash, PublicKey};
use tessera_ledger::{
    Cell, Event, Genesis, Key,
    action::{Asset, MarketId, Side},
    event::Reason,
    record::Lock,
};

/// Amounts by run or order.
pub(super) type Amounts = BTreeMap<Hash, u128>;

/// A change of a number.
pub(super) struct Change {
    pub(super) height: u64,
    pub(super) what: String,
    pub(super) plus: bool,
    pub(super) amount: u128,
}

/// What one event does: added or taken, how much, in words.
type Effect = (bool, u128, String);

fn plus(amount: impl Into<u128>, what: impl Into<String>) -> Option<Effect> {
    Some((true, amount.into(), what.into()))
}
fn minus(amount: impl Into<u128>, what: impl Into<String>) -> Option<Effect> {
    Some((false, amount.into(), what.into()))
}

/// The changes that `rule` finds in the events, in order.
fn changes(facts: &Facts, mut rule: impl FnMut(&Event) -> Vec<Option<Effect>>) -> Vec<Change> {
    let all = facts.events().flat_map(|(height, event)| {
        let effects = rule(event).into_iter().flatten();
        effects.map(move |(plus, amount, what)| Change { height, what, plus, amount }).collect::<Vec<_>>()
    });
    all.collect()
}

/// A source of the cells that a network begins with.
pub(super) fn cells_of(genesis: &Genesis) -> impl Fn(&Key) -> Option<Cell> {
    let cells: BTreeMap<Key, Cell> = genesis.cells().into_iter().collect();
    move |key| cells.get(key).copied()
}

/// What the rules of a balance need besides events.
#[derive(Default)]
pub(super) struct Known {
    /// The balance at the beginning of the network, nano-U.
    pub(super) opening: u128,
    /// Deposits of the proposals that the account offered.
    pub(super) deposits: Amounts,
    /// Bonds of the runs that the account created.
    pub(super) bonds: Amounts,
    /// U in escrow of the bids that the account offered.
    pub(super) escrows: Amounts,
}

/// Why U went or came, in words.
fn reason(reason: Reason, of: &Hash, came: bool) -> String {
    let held = match reason {
        Reason::MemberBond => format!("bond in run {of}"),
        Reason::HostBond => format!("bond in run {of} as a host"),
        Reason::SettlementBond => format!("bond of the settlement of {of}"),
        Reason::DisputeBond => format!("bond of dispute {of}"),
        Reason::SessionDisputeBond => format!("bond of the dispute about order {of}"),
        Reason::PublicDeposit => format!("deposit for the public lane of run {of}"),
        Reason::CanaryDeposit => format!("deposit of a canary in run {of}"),
        Reason::MeasurementBond => format!("bond of measurement {of}"),
        Reason::DisputeWon => return format!("from the losing side of dispute {of}"),
        Reason::SessionDisputeWon => return format!("from the losing side of the dispute about order {of}"),
        Reason::CanaryFound => return format!("found a canary in run {of}"),
        Reason::Reported => return format!("showed that the home of order {of} signed twice"),
        Reason::ValidatorPay => return "issued for blocks that it proposed".into(),
        Reason::AuditorPay => return "issued for accepted audits".into(),
    };
    if came { format!("{held} came back") } else { held }
}

/// What a bond that is now `after` took from a balance, or gave back. A part of it that is lost goes elsewhere.
fn bond_change(before: u128, after: u128, of: &str) -> Option<Effect> {
    match after.checked_sub(before) {
        Some(0) => None,
        Some(more) => minus(more, format!("bonded in {of}")),
        None if after == 0 => plus(before, format!("bond in {of} came back")),
        None => None,
    }
}

/// An order whose batch is not cleared yet.
struct Sealed {
    market: MarketId,
    /// Of a bid: its escrow, nano-U.
    money: Option<u128>,
}
impl Sealed {
    fn traded(&self, quantity: u128) -> String {
        let unit = if self.market.asset == Asset::Cu { "cu" } else { "shares" };
        format!("{quantity} {unit} of run {}", self.market.run)
    }
}

/// The escrow of a bid comes back but for `lost`; sellers' escrow is not U.
fn back(sealed: &mut BTreeMap<Hash, Sealed>, order: &Hash, lost: u128) -> Option<Effect> {
    let money = sealed.remove(order)?.money?;
    let what = match lost {
        0 => format!("escrow of order {order} came back"),
        _ => format!("escrow of order {order} came back, less what it lost for staying sealed"),
    };
    plus(money.saturating_sub(lost), what)
}

/// The balance of `key` in nano-U.
pub(super) fn balance(facts: &Facts, key: &PublicKey, known: &Known) -> Vec<Change> {
    let (bonds, opening) = (&known.bonds, known.opening);
    let mut all = Vec::new();
    if opening > 0 {
        all.push(Change {
            height: 0,
            what: "at the beginning of the network".into(),
            plus: true,
            amount: opening,
        });
    }
    let (mut as_validator, mut sealed) = (0u128, BTreeMap::new());
    all.extend(changes(facts, |event| match event {
        Event::Charged(e) if e.account == *key => vec![minus(e.amount, reason(e.reason, &e.of, false))],
        Event::Credited(e) if e.account == *key => vec![plus(e.amount, reason(e.reason, &e.of, true))],
        Event::BondChanged(e) if e.account == *key => {
            let before = std::mem::replace(&mut as_validator, e.amount);
            vec![bond_change(before, e.amount, "the validator set")]
        }
        Event::BondReleased(e) if e.account == *key => {
            as_validator = 0;
            vec![plus(e.amount, "bond in the validator set came back")]
        }
        Event::ValidatorSlashed(e) => {
            if e.account == *key {
                as_validator = 0;
            }
            vec![(e.reporter == *key).then(|| plus(e.reward, format!("reported {}", e.account))).flatten()]
        }
        Event::Proposed(e) => vec![
            known
                .deposits
                .get(&e.proposal)
                .and_then(|deposit| minus(*deposit, format!("deposit of proposal {}", e.proposal))),
        ],
        Event::VotingEnded(e) => vec![known.deposits.get(&e.proposal).and_then(|deposit| {
            plus(deposit.saturating_sub(e.burned), format!("deposit of proposal {} came back", e.proposal))
        })],
        Event::FeePaid(e) if e.payer == *key => vec![minus(e.amount, "fee of a transaction")],
        Event::Transferred(e) => vec![
            (e.from == *key).then(|| minus(e.amount, format!("sent to {}", e.to))).flatten(),
            (e.to == *key).then(|| plus(e.amount, format!("received from {}", e.from))).flatten(),
        ],
        Event::RunCreated(e) if e.creator == *key => {
            vec![bonds.get(&e.run).and_then(|bond| minus(*bond, format!("bond of run {}", e.run)))]
        }
        Event::BondReturned(e) if e.to == *key => {
            vec![plus(e.amount, format!("bond of run {} came back", e.run))]
        }
        Event::OrderCommitted(e) if e.by == *key => {
            let of = Sealed { market: e.market.clone(), money: known.escrows.get(&e.order).copied() };
            let taken = of.money.and_then(|money| minus(money, format!("escrow of order {}", e.order)));
            sealed.insert(e.order, of);
            vec![taken]
        }
        Event::OrderReturned(e) => vec![back(&mut sealed, &e.order, 0)],
        Event::OrderForfeited(e) => vec![back(&mut sealed, &e.order, e.amount)],
        Event::OrderFilled(e) if e.by == *key => {
            let what = sealed.get(&e.order).map_or_else(String::new, |of| of.traded(e.filled));
            let escrow = back(&mut sealed, &e.order, 0);
            match (e.side, e.filled) {
                (_, 0) => vec![escrow],
                (Side::Bid, _) => vec![escrow, minus(e.money, format!("bought {what}"))],
                (Side::Ask, _) => vec![
                    plus(e.money, format!("sold {what}")),
                    minus(e.fee, format!("fee of the sale by order {}", e.order)),
                ],
            }
        }
        Event::ProceedsClaimed(e) if e.account == *key => {
            vec![plus(e.amount, format!("proceeds of shares of run {}", e.run))]
        }
        Event::Locked(e) if e.payer == *key => {
            vec![minus(e.held.saturating_sub(e.subsidy), format!("held for the hosts of order {}", e.order))]
        }
        Event::EscrowReleased(e) if e.payer == *key => {
            vec![plus(e.amount, format!("not used by the hosts of order {}", e.order))]
        }
        Event::HostPaid(e) if e.host == *key => {
            vec![plus(e.amount, format!("served order {}", e.order))]
        }
        _ => Vec::new(),
    }));
    all
}

/// The active shares of `key` in `run`; those in escrow or in the auto-sell pool are not among them.
pub(super) fn shares(facts: &Facts, key: &PublicKey, run: &Hash, asks: &Amounts) -> Vec<Change> {
    // Orders of this account in the market of these shares, and what each escrowed (a bid: nothing).
    let mut open = Amounts::new();
    changes(facts, |event| match event {
        Event::OrderCommitted(e)
            if e.by == *key && e.market.asset == Asset::Share && e.market.run == *run =>
        {
            let held = asks.get(&e.order).copied().unwrap_or(0);
            open.insert(e.order, held);
            vec![(held > 0).then(|| minus(held, format!("escrow of order {}", e.order))).flatten()]
        }
        Event::OrderReturned(e) => vec![
            open.remove(&e.order)
                .filter(|held| *held > 0)
                .and_then(|held| plus(held, format!("escrow of order {} came back", e.order))),
        ],
        Event::OrderForfeited(e) => vec![open.remove(&e.order).filter(|held| *held > 0).and_then(|held| {
            let what = format!("escrow of order {} came back, less what it lost for staying sealed", e.order);
            plus(held.saturating_sub(e.amount), what)
        })],
        Event::OrderFilled(e) => vec![open.remove(&e.order).and_then(|held| match e.side {
            Side::Bid if e.filled == 0 => None,
            Side::Bid => plus(e.filled, format!("bought by order {}", e.order)),
            Side::Ask => {
                let what = format!("escrow of order {} came back; {} were sold", e.order, e.filled);
                plus(held.saturating_sub(e.filled), what)
            }
        })],
        Event::AutoSellChanged(e) if e.account == *key && e.run == *run => vec![match e.wrapped {
            true => minus(e.amount, "into the auto-sell pool"),
            false => plus(e.amount, "out of the auto-sell pool"),
        }],
        Event::Activated(e) if e.account == *key && e.run == *run => {
            vec![plus(e.shares, format!("work in window {} of stage {} matured", e.window, e.stage))]
        }
        Event::SharesMoved(e) if e.run == *run => vec![
            (e.from == *key).then(|| minus(e.amount, format!("given to {}", e.to))).flatten(),
            (e.to == *key).then(|| plus(e.amount, format!("received from {}", e.from))).flatten(),
        ],
        _ => Vec::new(),
    })
}

/// The credits of a note that was made with `cu`.
pub(super) fn note(facts: &Facts, id: &Hash, cu: u64) -> Vec<Change> {
    changes(facts, |event| match event {
        Event::NoteCreated(e) if e.note == *id => vec![plus(e.cu, format!("made for owner {}", e.owner))],
        Event::NoteSpent(e) if e.note == *id => vec![minus(cu, format!("spent by {}", e.by))],
        _ => Vec::new(),
    })
}

/// Credits of a run in existence.
pub(super) fn supply(facts: &Facts, run: &Hash) -> Vec<Change> {
    changes(facts, |event| match event {
        Event::SupplyChanged(e) if e.run == *run => {
            let retired = (e.retired > 0).then(|| minus(e.retired, "retired")).flatten();
            vec![plus(e.minted, "minted"), retired]
        }
        _ => Vec::new(),
    })
}

/// Credits of a run that wait for distribution or for the public lottery, whose notes hold `prize` each.
pub(super) fn pool(facts: &Facts, run: &Hash, prize: u64) -> Vec<Change> {
    changes(facts, |event| match event {
        Event::SupplyChanged(e) if e.run == *run => {
            let retired = (e.retired > 0).then(|| minus(e.retired, "retired")).flatten();
            vec![plus(e.minted, "minted"), retired]
        }
        Event::Settled(e) if e.run == *run => vec![plus(e.chunks, format!("used by order {}", e.order))],
        Event::Expired(e) if e.run == *run => {
            vec![plus(e.lock_fee, format!("fee of the unused order {}", e.order))]
        }
        Event::SeriesChanged(e) if e.run == *run && e.expired > 0 => {
            vec![plus(e.expired, format!("expired when series {} began", e.series))]
        }
        Event::NoteRolled(e) if e.run == *run => {
            vec![plus(e.haircut, format!("haircut of rolling note {}", e.note))]
        }
        Event::FeePaidInCredits(e) if e.run == *run => {
            vec![plus(e.cu, format!("fee of a transaction of {}", e.payer))]
        }
        Event::Absorbed(e) if e.run == *run => {
            vec![plus(e.cu, format!("forfeited, or come back too late, of note or order {}", e.source))]
        }
        Event::PublicDraw(e) if e.run == *run && e.notes > 0 => {
            vec![minus(u64::from(e.notes).saturating_mul(prize), "drawn in the public lottery")]
        }
        Event::CreditsDistributed(e) if e.run == *run => vec![minus(e.cu, "allotted to the owners")],
        _ => Vec::new(),
    })
}

/// Active shares of a run.
pub(super) fn active(facts: &Facts, run: &Hash) -> Vec<Change> {
    let mut class = 0;
    changes(facts, |event| match event {
        Event::RunForked(e) if e.child == *run => {
            class = e.shares;
            vec![plus(e.shares, format!("held by the owners of run {}", e.parent))]
        }
        Event::RunAborted(e) if e.run == *run && class > 0 => {
            vec![minus(std::mem::take(&mut class), "void with the run")]
        }
        Event::Activated(e) if e.run == *run => {
            let what = format!("window {} of stage {} matured for {}", e.window, e.stage, e.account);
            vec![plus(e.shares, what)]
        }
        _ => Vec::new(),
    })
}

/// Verified work units of a run.
pub(super) fn work(facts: &Facts, run: &Hash) -> Vec<Change> {
    changes(facts, |event| match event {
        Event::StageReported(e) if e.run == *run => {
            vec![plus(e.wu, format!("stage {} reported window {}", e.stage, e.window))]
        }
        _ => Vec::new(),
    })
}

/// Money that an order holds.
pub(super) fn escrow(facts: &Facts, lock: &Lock) -> Vec<Change> {
    // A settlement pays its hosts before it is told; what they are not paid of its fees is their insurance.
    let mut paid = 0u128;
    let some = |amount: u128, effect: Option<Effect>| effect.filter(|_| amount > 0);
    changes(facts, |event| match event {
        Event::Locked(e) if e.order == lock.order => vec![
            plus(e.held.saturating_sub(e.subsidy), format!("put up by {}", e.payer)),
            some(e.subsidy, plus(e.subsidy, "put up by the public fund")),
        ],
        Event::HostPaid(e) if e.order == lock.order => {
            paid = paid.saturating_add(e.amount);
            vec![minus(e.amount, format!("paid to host {}", e.host))]
        }
        Event::EscrowReleased(e) if e.order == lock.order => vec![
            minus(e.amount, format!("back to {}", e.payer)),
            some(e.fund, minus(e.fund, "back to the public fund")),
        ],
        Event::Settled(e) if e.order == lock.order => {
            vec![minus(e.fees.saturating_sub(paid), "kept as the hosts' insurance".to_string())]
        }
        _ => Vec::new(),
    })
}

/// Credits that an order locks.
pub(super) fn locked(facts: &Facts, lock: &Lock) -> Vec<Change> {
    let cu = u64::from(lock.cu);
    changes(facts, |event| match event {
        Event::Locked(e) if e.order == lock.order => vec![plus(e.cu, "locked")],
        Event::NoHomeDrawn(e) if e.order == lock.order => {
            vec![minus(cu, "no home was there: back as a change note")]
        }
        Event::Settled(e) if e.order == lock.order => vec![
            minus(e.chunks, "used, to the pool"),
            minus(cu.saturating_sub(u64::from(e.chunks)), "back as a change note"),
        ],
        Event::Expired(e) if e.order == lock.order => {
            vec![
                minus(e.lock_fee, "fee of an unused lock"),
                minus(cu.saturating_sub(e.lock_fee), "back as a change note"),
            ]
        }
        _ => Vec::new(),
    })
}
