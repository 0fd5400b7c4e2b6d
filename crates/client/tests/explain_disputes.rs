//! Disputes told from proved events: who accused whom, which messages came, what was found, and what it cost.

#[path = "../../ledger/tests/trust/machine.rs"]
mod machine;
#[path = "../../ledger/tests/trust/setting.rs"]
mod setting;
#[path = "../../ledger/tests/world/mod.rs"]
mod world;

use machine::{Account, MachineReferee, name, said};
use setting::*;
use std::sync::Arc;
use tessera_canon::{Blob, Hash};
use tessera_client::{
    amount,
    explain::{Explanation, Subject, dispute as explain_dispute, explain},
    testing::TestChain,
};
use tessera_ledger::{Action, action::*, genesis::Genesis, record::DisputePhase};
use world::*;

const SEATS: u32 = 6;

/// The run of the ledger's own tests of disputes, on a chain that proves.
struct Town {
    chain: TestChain,
    genesis: Genesis,
    pristine: World,
}

impl Town {
    fn new() -> Self {
        let mut pristine = World::new(SEATS + 3, parameters());
        let genesis = genesis(SEATS + 3, parameters());
        assert_eq!(genesis.network_id(), pristine.network, "the world has another beginning");
        pristine.referee = Arc::new(MachineReferee);
        let chain = TestChain::start_with(genesis.clone(), 1, pristine.referee.clone());
        let mut town = Self { chain, genesis, pristine };
        let mut create = create_run(RUN, 1, SEATS);
        (create.seats, create.steps, create.f_star, create.f_min, create.f_exclusive) =
            (20, 40, 2400, 48, 120);
        town.ok(0, create);
        for seat in 0..SEATS {
            town.ok(seat, join(RUN, seat));
        }
        town.chain.block(Vec::new());
        let (sender, report) = town.now().full_report(RUN, 0, Some(9_000_000)).expect("it has seats");
        town.ok(sender, report);
        town
    }
    fn now(&self) -> World {
        let mut world = self.pristine.clone();
        (world.state, world.height) = (self.chain.state(), self.chain.height());
        world
    }
    fn ok(&mut self, sender: u32, action: impl Into<Action>) {
        let tx = self.now().tx(sender, action);
        assert_eq!(self.chain.block(vec![tx]).receipts[0].error, None);
    }
    /// Both sides play the open dispute `id` for at most so many messages.
    fn play(&mut self, id: Hash, told: &Account, path: &mut Vec<usize>, most: usize) {
        let truth = Account::honest();
        for _ in 0..most {
            let now = self.now();
            let Some(open) = dispute(&now, &id) else { return };
            let (accused, challenger) = (now.index_of(&open.accused), now.index_of(&open.challenger));
            match open.phase {
                DisputePhase::Prove => self.ok(accused, step(id, told.prove(path))),
                DisputePhase::Name => {
                    let committed = told.commit(path);
                    let at = truth.first_false(path, &said(&committed, path.len()));
                    self.ok(challenger, step(id, name(&committed, path.len(), at)));
                    path.push(at);
                }
                _ => self.ok(accused, step(id, told.commit(path))),
            }
        }
    }
    async fn explain(&self, id: Hash) -> Explanation {
        let client = self.chain.client(self.chain.honest());
        let found = explain_dispute(&client, id).await.expect("it is explained");
        assert!(found.holds(), "{}", found.text());
        let named = explain(&client, &self.genesis, id).await.expect("a claim is found by its name");
        assert_eq!((named.subject, named), (Subject::Dispute(id), found.clone()));
        found
    }
}

/// Whether the text tells all of it, in this order.
fn tells(found: &Explanation, parts: &[&str]) {
    let text = found.remarks.join("\n");
    let mut rest = text.as_str();
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("`{part}` is not told, or not there:\n{text}"));
        rest = &rest[at + part.len()..];
    }
}

#[tokio::test]
async fn a_game_is_told_from_the_accusation_to_what_it_cost() {
    let mut town = Town::new();
    let now = town.now();
    let (lie, id) = (a_plain_lie(), claim_key(&now, 0, 2));
    tells(&town.explain(id).await, &["never disputed"]);
    let mut action = open(&now, 0, 2, None);
    action.accusation = Some(accusation_of(&now, 0, 2, &lie, (0, 1)));
    town.ok(7, action);
    let mut path = Vec::new();
    town.play(id, &lie, &mut path, 3);
    let found = town.explain(id).await;
    tells(&found, &["disputed 1 times; one is open: the challenger must name what is false"]);
    assert_eq!(found.parts[0].cell, BOND);
    town.play(id, &lie, &mut path, 100);
    let found = town.explain(id).await;
    println!("{}", found.text());
    let (accused, challenger) = (public(2).to_string(), public(7).to_string());
    tells(
        &found,
        &[
            &accused,
            "Void",
            "disputed 1 times; no dispute is open",
            &challenger,
            "accused of false work (Dot) in step 1 of generation 0",
            "opened: ",
            &challenger,
            &accused,
            &format!("bond {} U", amount::show(BOND)),
            &accused,
            "committed to",
            "level 0: the challenger must name what is false",
            &challenger,
            "named child",
            &accused,
            "sent part 0 of the proof",
            "the run goes back to the state before step 1 (generation 1)",
            "cost the accused",
            "closed by the referee",
            "the claim is wrong",
        ],
    );
    assert_eq!(found.parts[0].cell, 0);
}

#[tokio::test]
async fn a_contradiction_is_told_in_one_block() {
    let mut town = Town::new();
    let now = town.now();
    let (lie, id) = (a_plain_lie(), claim_key(&now, 0, 3));
    let mut opened = open(&now, 0, 3, None);
    opened.accusation = Some(accusation_of(&now, 0, 3, &lie, (0, 1)));
    let other = tessera_canon::digest(tessera_canon::Domain::new("tessera/test/other/v1"), &id);
    let signature = key(3).sign(tessera_canon::Domain::new("tessera/test/other/v1"), &id);
    let proof = Blob::new([&other.0[..], &signature.0[..]].concat()).expect("96 bytes fit");
    town.ok(7, Contradict { dispute: opened, proof });
    let found = town.explain(id).await;
    println!("{}", found.text());
    tells(
        &found,
        &[
            "forfeited with all that was pending",
            "showed two signatures that contradict each other: false work (Dot) in step 1 of generation 0",
            "opened: ",
            "the accused signed something else than it claims of step 1, generation 0",
            "the run goes back to the state before step 0 (generation 1)",
            "cost the accused",
            "the claim is a fraud",
        ],
    );
    // The other claims of the window have nothing to tell.
    let quiet = claim_key(&town.now(), 0, 1);
    tells(&town.explain(quiet).await, &["Pending", "never disputed"]);
}
