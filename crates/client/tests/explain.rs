//! Every balance of a whole story is explained by proved events, and a history with holes explains nothing.

#[path = "../../ledger/tests/world/mod.rs"]
mod world;

use tessera_canon::{Hash, List};
use tessera_client::{
    Client,
    explain::{Explanation, Subject, explain},
    routes::{Answer as From, ROUTES, Route, Service},
    testing::{Lie, TestChain, TestSource},
};
use tessera_ledger::{
    Event, Parameters, SignedTx,
    action::*,
    keys,
    payword::Chain,
    query,
    record::{LockState, NoteState},
};
use world::*;

/// The ledger's own test world, driven over a chain that proves.
struct Town {
    chain: TestChain,
    pristine: World,
    events: Vec<Event>,
}

impl Town {
    fn new(accounts: u32) -> Self {
        Self::with(accounts, params().into())
    }
    fn with(accounts: u32, parameters: Parameters) -> Self {
        let pristine = World::new(accounts, parameters.clone());
        let genesis = genesis(accounts, parameters);
        assert_eq!(genesis.network_id(), pristine.network, "the world has another beginning");
        Self { chain: TestChain::start(genesis, 1), pristine, events: Vec::new() }
    }
    /// The present as the world sees it, to build transactions with.
    fn now(&self) -> World {
        let mut world = self.pristine.clone();
        (world.state, world.height) = (self.chain.state(), self.chain.height());
        world
    }
    fn block(&mut self, txs: Vec<SignedTx>) -> Vec<tessera_ledger::Receipt> {
        let outcome = self.chain.block(txs);
        self.events.extend(outcome.events);
        outcome.receipts
    }
    fn blocks(&mut self, count: usize) {
        for _ in 0..count {
            self.block(Vec::new());
        }
    }
    fn ok(&mut self, sender: u32, action: impl Into<tessera_ledger::Action>) -> Hash {
        let tx = self.now().tx(sender, action);
        let receipts = self.block(vec![tx]);
        assert_eq!(receipts[0].error, None);
        receipts[0].tx
    }
    fn client(&self) -> Client<TestSource> {
        self.chain.client(self.chain.honest())
    }
    /// A run of two stages, trained, serving, its credits handed out.
    fn serving(accounts: u32) -> Self {
        Self::new(accounts).serve()
    }
    /// Blocks until the next block is one that takes (`reveal` false) or opens orders of credits.
    fn until(&mut self, reveal: bool) {
        loop {
            let now = self.now();
            if query::batch_at(now.get(), Asset::Cu, now.height + 1).1 == reveal {
                return;
            }
            self.blocks(1);
        }
    }
    /// Account 0 sells all of `note` at 50 nano-U or more in a sealed auction; each buyer wants some for 50. One bid
    /// is withdrawn, and one stays sealed.
    fn auction(&mut self, note: Hash, buyers: &[(u32, u128)]) {
        let market = MarketId { asset: Asset::Cu, run: RUN, series: 0 };
        self.until(true);
        self.until(false);
        let cu = query::note(self.now().get(), &note).unwrap().cu;
        let ask =
            (0, Side::Ask, u128::from(cu), Collateral::Notes(NoteCollateral { notes: list(vec![note]) }));
        let bids = buyers.iter().map(|(buyer, cu)| {
            (*buyer, Side::Bid, *cu, Collateral::Money(MoneyCollateral { amount: 50 * cu + 7 }))
        });
        let salt = Hash([3; 32]);
        let mut now = self.now();
        let (mut commits, mut terms) = (Vec::new(), Vec::new());
        for (sender, side, quantity, collateral) in std::iter::once(ask).chain(bids) {
            let wanted = OrderTerms { side, limit: 50, quantity, to: owner(sender) };
            let seal = tessera_ledger::market::action::seal(&public(sender), &wanted, &salt);
            commits.push(now.tx(sender, OrderCommit { market: market.clone(), seal, collateral }));
            terms.push((sender, wanted));
        }
        for sender in [5, 7] {
            let collateral = Collateral::Money(MoneyCollateral { amount: 1000 });
            let seal = Hash([sender as u8; 32]);
            commits.push(now.tx(sender, OrderCommit { market: market.clone(), seal, collateral }));
        }
        let receipts = self.block(commits);
        assert!(receipts.iter().all(tessera_ledger::Receipt::ok), "{receipts:?}");
        self.ok(5, OrderCancel { order: receipts[receipts.len() - 2].tx });
        self.until(true);
        let mut now = self.now();
        let reveals = terms.iter().zip(&receipts).map(|((sender, terms), receipt)| {
            now.tx(*sender, OrderReveal { order: receipt.tx, terms: terms.clone(), salt })
        });
        let reveals = reveals.collect();
        assert!(self.block(reveals).iter().all(tessera_ledger::Receipt::ok));
        self.until(false);
        self.blocks(1);
    }
    fn serve(self) -> Self {
        let mut town = self;
        town.ok(0, create_run(RUN, 2, 4));
        let mut now = town.now();
        let joins = (0..4).map(|i| now.tx(i, join(RUN, i))).collect();
        town.block(joins);
        town.blocks(1);
        for window in 0..4 {
            let mut now = town.now();
            let txs = (0..2).map(|stage| {
                let loss = (stage == 1).then_some(10_000_000 - window * 1_000_000);
                let (sender, report) = now.full_report(RUN, stage, loss).unwrap();
                now.tx(sender, report)
            });
            let txs = txs.collect();
            assert!(town.block(txs).iter().all(tessera_ledger::Receipt::ok));
        }
        town.blocks(12);
        town
    }
}

/// Sales, transfers, a session that is settled, one that runs out, moved shares, a refusal.
fn story() -> (Town, [Hash; 2], Hash) {
    let mut town = Town::serving(8);
    town.ok(0, ClaimCredits { run: RUN, to: owner(0) });
    let note = query::notes_of(town.now().get(), &public(0)).remove(0);
    town.auction(note.id, &[(6, 100), (7, 10)]);
    town.ok(6, Transfer { to: public(5), amount: 123 });
    town.ok(5, Transfer { to: public(5), amount: 7 });
    town.ok(1, TransferShares { run: RUN, to: public(5), amount: 1000 });
    let refused = town.now().tx(6, Transfer { to: public(1), amount: u128::MAX });
    let receipts = town.block(vec![refused.clone()]);
    assert!(!receipts[0].ok() && receipts[0].includable());

    let mut orders = Vec::new();
    for (user, used) in [(6, Some(30)), (7, None)] {
        let bought = query::notes_of(town.now().get(), &public(user)).remove(0);
        let chain = Chain::new([5; 32], bought.cu as u32);
        let order = town.now().order(user, vec![bought.id], &chain);
        town.ok(user, LockNotes { order: order.clone(), owners: List::default() });
        orders.push(order.id());
        let Some(chunks) = used else { continue };
        // The next block draws the home.
        town.blocks(1);
        let home = query::lock(town.now().get(), &order.id()).unwrap().home;
        let index = town.now().index_of(&home);
        let settlement = town.now().settlement(order.id(), chunks, &chain);
        town.ok(index, settlement);
    }
    (town, [orders[0], orders[1]], refused.id())
}

fn shown(explanation: &Explanation) -> String {
    assert!(explanation.holds(), "{:?}\n{}", explanation.gap(), explanation.text());
    explanation.text()
}

#[tokio::test(start_paused = true)]
async fn every_balance_of_a_story_is_explained_to_the_unit() {
    let (mut town, orders, refused) = story();
    // While orders are open, then once they are settled and expired.
    for blocks in [0, 24] {
        town.blocks(blocks);
        let (client, genesis) = (town.client(), town.chain.genesis());
        for index in 0..8 {
            let found = explain(&client, &genesis, Hash(public(index).0)).await.unwrap();
            assert_eq!(found.subject, Subject::Account(public(index)));
            shown(&found);
            let world = town.now();
            assert_eq!(found.parts[0].cell, world.balance(index));
            assert_eq!(found.parts.len(), 1 + query::holdings_of(world.get(), &public(index)).len());
            let nonce = query::account(world.get(), &public(index)).map_or(0, |account| account.nonce);
            assert_eq!(found.remarks, [format!("{nonce} fees for {nonce} transactions")]);
        }
        for order in orders {
            let found = explain(&client, &genesis, order).await.unwrap();
            assert_eq!((found.subject, found.parts.len()), (Subject::Order(order), 2));
            shown(&found);
        }
        let found = explain(&client, &genesis, RUN).await.unwrap();
        assert_eq!((found.subject, found.parts.len()), (Subject::Run(RUN), 4));
        assert!(shown(&found).contains("verified work"));
        assert!(found.parts.iter().all(|part| !part.lines.is_empty()));
        let notes = town.events.iter().filter_map(|event| match event {
            Event::NoteCreated(made) => Some(made.note),
            _ => None,
        });
        for note in notes {
            let found = explain(&client, &genesis, note).await.unwrap();
            assert_eq!(found.subject, Subject::Note(note));
            shown(&found);
            let spent = query::note(town.now().get(), &note).unwrap().state == NoteState::Spent;
            assert_eq!(found.parts[0].lines.len(), 1 + usize::from(spent));
        }
        let found = explain(&client, &genesis, refused).await.unwrap();
        assert!(shown(&found).contains("refused: "), "{}", found.text());
        assert_eq!(found.json()["parts"][0]["sum"], "500000");
    }
    let states = orders.map(|order| query::lock(town.now().get(), &order).unwrap().state);
    assert_eq!(states, [LockState::Final, LockState::Expired]);
    let found = explain(&town.client(), &town.chain.genesis(), Hash(public(6).0)).await.unwrap();
    let text = shown(&found);
    for line in
        ["at the beginning of the network", "bought 100 cu", "held for the hosts", "not used by the hosts"]
    {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let json = found.json();
    assert_eq!((&json["holds"], &json["subject"]), (&true.into(), &"account".into()));
    assert_eq!(json["parts"][0]["ledger"], town.now().balance(6).to_string());
}

/// Bonds of validators, members and measurements, deposits of proposals: held, then given back.
#[tokio::test(start_paused = true)]
async fn bonds_and_deposits_are_explained_while_held_and_when_they_came_back() {
    let mut parameters = Parameters::from(params());
    parameters.security.min_bond = 1000;
    parameters.security.unbond_blocks = 3;
    parameters.extraction.measurement_epochs = 3;
    (parameters.policy.bond_claims, parameters.policy.work_price) = (5, 1);
    let mut town = Town::with(8, parameters).serve();

    let consensus = key(77);
    let bonding = Bonding { network: town.pristine.network, account: public(6), key: consensus.public() };
    let signature = consensus.sign(BONDING, &bonding);
    for amount in [5000, 3000] {
        town.ok(6, ValidatorBond { amount, key: consensus.public(), signature });
    }
    town.ok(7, PostMeasurement { run: RUN, mu: 3000, repair: 5, evidence: Hash([4; 32]) });
    let motion = Motion::RetireRun(RetireRun {});
    let class = motion.class();
    let deposit = 1_000_000;
    let proposal = town.ok(0, Propose { run: RUN, class, motion, deposit, not_before: 0 });

    let (mut held, mut back) = (Vec::new(), Vec::new());
    for (totals, end) in [(&mut held, false), (&mut back, true)] {
        if end {
            town.ok(6, ValidatorUnbond {});
            town.blocks(40);
        }
        let (client, genesis) = (town.client(), town.chain.genesis());
        for index in 0..8 {
            let found = explain(&client, &genesis, Hash(public(index).0)).await.unwrap();
            totals.push(shown(&found));
        }
        shown(&explain(&client, &genesis, RUN).await.unwrap());
    }
    assert!(held[6].contains("bonded in the validator set"), "{}", held[6]);
    assert!(back[6].contains("bond in the validator set came back"), "{}", back[6]);
    assert!(held[7].contains("bond of measurement"), "{}", held[7]);
    let measurement = keys::measurement_id(&RUN, &public(7), &Hash([4; 32]));
    assert!(back[7].contains(&format!("bond of measurement {measurement} came back")), "{}", back[7]);
    assert!(held[0].contains(&format!("deposit of proposal {proposal}\n")), "{}", held[0]);
    assert!(back[0].contains(&format!("deposit of proposal {proposal} came back")), "{}", back[0]);
}

#[tokio::test(start_paused = true)]
async fn a_history_with_holes_does_not_pass_for_an_explanation() {
    let (town, ..) = story();
    let client = town.chain.client(TestSource::new(vec![(town.chain.clone(), Lie::Omission)]));
    let found = explain(&client, &town.chain.genesis(), Hash(public(6).0)).await.unwrap();
    assert!(!found.holds());
    let gap = found.gap().unwrap();
    for part in ["expected the events to explain the balance", "left events out", "ask another validator"] {
        assert!(gap.contains(part), "{gap}");
    }
    // Whoever changes events, rather than leaving them out, is found out at once.
    let client = town.chain.client(TestSource::new(vec![(town.chain.clone(), Lie::Forgery)]));
    assert!(explain(&client, &town.chain.genesis(), Hash(public(6).0)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn every_route_answers_from_proved_cells() {
    let (town, orders, refused) = story();
    let service = Service { client: town.client(), genesis: town.chain.genesis().into() };
    let note = query::notes_of(town.now().get(), &public(0)).remove(0).id;
    let (run, key, order) = (RUN, public(0), orders[0]);
    let account_key = keys::account(&key);
    let paths = [
        "/network".into(),
        "/runs".into(),
        format!("/runs/{run}"),
        format!("/runs/{run}/owners/{key}"),
        format!("/runs/{run}/members/{key}"),
        format!("/runs/{run}/pool"),
        format!("/runs/{run}/supply"),
        format!("/runs/{run}/stages"),
        format!("/runs/{run}/stages/1"),
        format!("/runs/{run}/stages/1/seats/0"),
        format!("/runs/{run}/windows/0"),
        format!("/runs/{run}/windows/0/stages/1"),
        format!("/runs/{run}/credits/book"),
        format!("/runs/{run}/shares/book"),
        format!("/runs/{run}/credits/prices"),
        format!("/runs/{run}/stage-prices"),
        format!("/runs/{run}/proceeds/{key}"),
        format!("/runs/{run}/vesting/{key}"),
        "/disputes".into(),
        format!("/runs/{run}/policy"),
        format!("/runs/{run}/extraction"),
        format!("/runs/{run}/children"),
        format!("/runs/{run}/proposals"),
        "/validators".into(),
        format!("/accounts/{key}"),
        format!("/accounts/{key}/portfolio"),
        format!("/accounts/{key}/notes"),
        format!("/notes/{note}"),
        format!("/orders/{order}"),
        format!("/orders/{order}/home"),
        format!("/cells/{account_key}"),
        format!("/prove/{account_key}"),
        "/header".into(),
        "/headers/3".into(),
        "/blocks/3".into(),
        format!("/transactions/{refused}"),
        format!("/events/{key}?limit=3"),
        format!("/explain/{key}"),
    ];
    let mut answered = std::collections::BTreeSet::new();
    for path in &paths {
        let (route, _) = Route::find(path, false).unwrap();
        answered.insert(route.path);
        let answer = service.get(path).await.unwrap_or_else(|problem| panic!("{path}: {problem}"));
        if let From::Read(_) = route.answer {
            let proved = service.get(&format!("{path}?proof=1")).await.unwrap();
            assert_eq!(proved["data"], answer["data"], "{path}");
            let proofs = proved["proofs"].as_array().unwrap();
            assert!(!proofs.is_empty(), "{path}");
            for part in proofs {
                let keys: Vec<tessera_canon::Hash> = part["keys"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|key| key.as_str().unwrap().parse().unwrap())
                    .collect();
                let bytes = tessera_canon::unhex(part["proof"].as_str().unwrap()).unwrap();
                let proof: tessera_chain::StateProof = tessera_canon::decode(&bytes).unwrap();
                let network = service.client.network();
                let light = tessera_chain::LightClient::new(network, &town.chain.identity()).unwrap();
                light.verify_state(&proof, &keys).unwrap();
            }
        }
    }
    // These are not in this story: no waiting order, no auto-sell, no trade of shares, no verdict, no bond, no evaluation, no proposal; nothing is submitted.
    let left: Vec<&str> =
        ROUTES.iter().map(|route| route.path).filter(|path| !answered.contains(path)).collect();
    let absent = [
        "/runs/{run}/shares/prices",
        "/runs/{run}/auto-sell",
        "/runs/{run}/auto-sell/{account}",
        "/market-orders/{order}",
        "/runs/{run}/audits",
        "/runs/{run}/conduct/{account}",
        "/disputes/{dispute}",
        "/runs/{run}/evaluation",
        "/proposals/{proposal}",
        "/proposals/{proposal}/power/{account}",
        "/accounts/{account}/bond",
        "/transactions",
    ];
    assert_eq!(left, absent);

    let account = service.get(&format!("/accounts/{key}")).await.unwrap();
    assert_eq!(account["data"]["balance"], town.now().balance(0).to_string());
    assert!(account["data"]["balance_u"].as_str().unwrap().starts_with("999."));
    let supply = service.get(&format!("/runs/{run}/supply")).await.unwrap();
    assert_eq!(supply["data"]["total"], "10000");

    // Pages go on where they ended, and end.
    let (mut next, mut seen) = (format!("/events/{key}?limit=3"), Vec::new());
    loop {
        let page = service.get(&next).await.unwrap();
        seen.extend(page["items"].as_array().unwrap().clone());
        let Some(from) = page["next"]["from"].as_str() else { break };
        next = format!("/events/{key}?limit=3&from={from}&skip={}", page["next"]["skip"]);
    }
    let (_, all) = service.client.history(Hash(key.0), town.chain.height()).await.unwrap();
    assert_eq!(seen.len(), all.len());
    seen.dedup();
    assert_eq!(seen.len(), all.len(), "no item twice");
}

#[tokio::test(start_paused = true)]
async fn bad_requests_are_refused_by_name() {
    let town = Town::new(2);
    let service = Service { client: town.client(), genesis: town.chain.genesis().into() };
    let id = Hash([3; 32]);
    let cases = [
        ("/nothing".to_string(), 404, "no_route"),
        ("/runs/12".into(), 400, "argument"),
        (format!("/runs/{id}?colour=red"), 400, "argument"),
        (format!("/runs/{id}?proof=2"), 400, "argument"),
        (format!("/runs/{id}?proof=1&proof=1"), 400, "argument"),
        ("/runs?limit=0".into(), 400, "argument"),
        ("/runs?limit=101".into(), 400, "argument"),
        ("/runs?from=-1".into(), 400, "argument"),
        ("/runs?from=+1".into(), 400, "argument"),
        ("/blocks/99999999999999999999".into(), 400, "argument"),
        (format!("/runs/{id}/windows/4294967296"), 400, "argument"),
        (format!("/runs/{id}"), 404, "absent"),
        (format!("/transactions/{id}"), 404, "absent"),
        ("/blocks/77".into(), 404, "absent"),
        ("/transactions".into(), 405, "method"),
        (format!("/runs?from={}", "0".repeat(2000)), 414, "argument"),
    ];
    for (path, status, name) in cases {
        let problem = service.get(&path).await.unwrap_err();
        assert_eq!((problem.status, problem.error), (status, name), "{path}: {problem}");
        assert!(!problem.expected.is_empty() && !problem.todo.is_empty() && problem.got.len() < 400);
    }
    for route in ROUTES {
        Route::find(route.example, route.posts())
            .unwrap_or_else(|problem| panic!("{}: {problem}", route.path));
    }

    let mut now = town.now();
    let tx = now.tx(0, Transfer { to: public(1), amount: 5 });
    let bytes = tessera_canon::encode(&tx);
    let hex = tessera_canon::hex(&bytes);
    assert_eq!(service.submit(format!(" {hex}\n").as_bytes()).await.unwrap()["tx"], tx.id().to_string());
    assert_eq!(service.submit(&bytes).await.unwrap()["taken"], true);
    let mut forged = tx.clone();
    forged.body.fee += 1;
    let mut foreign = tx.clone();
    foreign.body.network = Hash::ZERO;
    for (body, name) in [
        (bytes[..bytes.len() - 1].to_vec(), "decode"),
        (Vec::new(), "decode"),
        (vec![0; 16_385], "too_big"),
        (hex.as_bytes()[1..].to_vec(), "decode"),
        (tessera_canon::encode(&forged).to_vec(), "signature"),
        (tessera_canon::encode(&foreign).to_vec(), "other_network"),
    ] {
        assert_eq!(service.submit(&body).await.unwrap_err().error, name);
    }
}
