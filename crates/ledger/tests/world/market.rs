//! Trade in tests: put orders in, open them, clear the batch.

use super::*;
use tessera_ledger::record::NoteState;

/// An order of a test account.
#[derive(Clone)]
pub struct Wanted {
    pub who: u32,
    pub collateral: Collateral,
    pub terms: OrderTerms,
}

pub fn credits_of(run: Hash) -> MarketId {
    MarketId { asset: Asset::Cu, run, series: 0 }
}
pub fn shares_of(run: Hash) -> MarketId {
    MarketId { asset: Asset::Share, run, series: 0 }
}
pub fn bid(who: u32, limit: u128, quantity: u128) -> Wanted {
    let terms = OrderTerms { side: Side::Bid, limit, quantity, to: owner(who) };
    Wanted { who, collateral: MoneyCollateral { amount: limit * quantity }.into(), terms }
}
pub fn ask_notes(who: u32, limit: u128, quantity: u128, mut notes: Vec<Hash>) -> Wanted {
    notes.sort_unstable();
    let terms = OrderTerms { side: Side::Ask, limit, quantity, to: owner(who) };
    Wanted { who, collateral: NoteCollateral { notes: list(notes) }.into(), terms }
}
pub fn ask_shares(who: u32, limit: u128, quantity: u128) -> Wanted {
    let terms = OrderTerms { side: Side::Ask, limit, quantity, to: owner(who) };
    Wanted { who, collateral: ShareCollateral { amount: quantity }.into(), terms }
}
/// The demonstration's parameters with free shares, so that tests of the market need not wait.
pub fn free_shares(base: Params) -> Parameters {
    let mut parameters = Parameters::from(base);
    parameters.policy.transfer_lock = 0;
    // Nor a public lane: what is minted is what owners earn.
    (parameters.policy.public_part, parameters.bounds.public_part_from) = (0, 0);
    parameters
}
/// A run of one stage that makes 2^26 shares if its loss stays as it was: halves and quarters earn whole credits.
pub fn even_run(run: Hash) -> CreateRun {
    let stage_wu = list(vec![16]);
    CreateRun {
        stage_wu,
        microbatches: 8,
        f_star: 1024,
        f_min: 128,
        f_exclusive: 256,
        ..create_run(run, 1, 1)
    }
}
pub fn salt(of: u32) -> Hash {
    digest(BEACON, &u64::from(of))
}

impl World {
    /// A run of one stage whose one designer, account 0, owns all shares; `supply` credits over `epochs` epochs,
    /// none handed out yet.
    pub fn trained_run(accounts: u32, parameters: Parameters, supply: u64, epochs: u32) -> Self {
        let mut world = Self::new(accounts, parameters);
        world.train(RUN, supply, epochs);
        world
    }
    pub fn train(&mut self, run: Hash, supply: u64, supply_epochs: u32) {
        self.ok(0, CreateRun { supply, supply_epochs, ..even_run(run) });
        self.ok(0, join(run, 0));
        self.blocks(1);
        self.train_on(run);
    }
    /// All windows at weight 1.
    pub fn train_on(&mut self, run: Hash) {
        while query::run(self.get(), &run).is_some_and(|run| run.state != RunState::Serving) {
            self.close_window(run, 11_000_000);
        }
    }
    /// Blocks up to and with the next epoch boundary.
    pub fn next_boundary(&mut self) {
        let epoch_blocks = query::params(self.get()).expect("genesis wrote them").epoch_blocks;
        self.blocks(epoch_blocks - self.height % epoch_blocks);
    }
    /// Blocks until the next one is in the wanted half of a batch.
    pub fn wait_for(&mut self, asset: Asset, reveal: bool) {
        while query::batch_at(self.get(), asset, self.height + 1).1 != reveal {
            self.blocks(1);
        }
    }
    pub fn commit(&mut self, market: &MarketId, wanted: &Wanted) -> SignedTx {
        let seal = seal(&public(wanted.who), &wanted.terms, &salt(wanted.who));
        let collateral = wanted.collateral.clone();
        self.tx(wanted.who, OrderCommit { market: market.clone(), seal, collateral })
    }
    /// Put orders in, all in one block.
    pub fn put_in(&mut self, market: &MarketId, wanted: &[Wanted]) -> Vec<Hash> {
        self.wait_for(market.asset, false);
        let txs: Vec<SignedTx> = wanted.iter().map(|wanted| self.commit(market, wanted)).collect();
        let outcome = self.block(&txs);
        assert!(outcome.receipts.iter().all(Receipt::ok), "{:?}", outcome.receipts);
        txs.iter().map(SignedTx::id).collect()
    }
    /// Open orders, all in one block.
    pub fn open(&mut self, market: &MarketId, wanted: &[Wanted], orders: &[Hash]) {
        self.wait_for(market.asset, true);
        let reveal = |(wanted, order): (&Wanted, &Hash)| {
            (wanted.who, OrderReveal { order: *order, terms: wanted.terms.clone(), salt: salt(wanted.who) })
        };
        let actions: Vec<(u32, OrderReveal)> = wanted.iter().zip(orders).map(reveal).collect();
        let txs: Vec<SignedTx> = actions.into_iter().map(|(who, action)| self.tx(who, action)).collect();
        let outcome = self.block(&txs);
        assert!(outcome.receipts.iter().all(Receipt::ok), "{:?}", outcome.receipts);
    }
    /// Put in, open, and clear; returns the orders' ids. The last block is the one that cleared.
    pub fn auction(&mut self, market: &MarketId, wanted: &[Wanted]) -> Vec<Hash> {
        let orders = self.put_in(market, wanted);
        self.open(market, wanted, &orders);
        self.wait_for(market.asset, false);
        // `wait_for` stops before the boundary's block.
        self.blocks(1);
        assert!(orders.iter().all(|id| query::order(self.get(), id).is_none()), "the batch is cleared");
        orders
    }
    /// Credits of `who`'s free notes of `run`.
    pub fn free_credits(&self, run: &Hash, who: u32) -> u64 {
        let notes = query::notes_of(self.get(), &public(who));
        notes.iter().filter(|n| n.run == *run && n.state == NoteState::Unspent).map(|n| n.cu).sum()
    }
    pub fn shares(&self, run: &Hash, who: u32) -> u128 {
        query::owner(self.get(), run, &public(who)).map_or(0, |owner| owner.shares)
    }
    /// Claim all that `who` is due and return the note.
    pub fn claim_note(&mut self, run: Hash, who: u32) -> Hash {
        let receipt = self.ok(who, ClaimCredits { run, to: owner(who) });
        keys::note_id(&receipt.tx, 0)
    }
}
