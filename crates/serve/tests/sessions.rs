//! Whole sessions over pure hosts in virtual time: right tokens, right accounts, right ends.

mod world;

use std::{cell::Cell, rc::Rc};
use tessera_canon::PublicKey;
use tessera_ledger::record::LockState;
use tessera_serve::*;
use tessera_wire::serving::*;
use world::*;

const PROMPT: [u32; 6] = [5, 17, 260, 3, 99, 41];

/// A session over a world of three stages, opened and ready.
fn open(world: &mut World, cu: u32) -> (Net, Credential) {
    let credential = world.lock(cu, 100);
    let mut net = Net::new(world);
    net.client = Some(world.client(&credential, GREEDY));
    net.client(ChatInput::Start);
    (net, credential)
}

fn say(net: &mut Net, tokens: &[u32], generate: u32) {
    net.client(ChatInput::Say { tokens: tokens.to_vec(), generate });
}

/// Post the settlements of `net` on the ledger and wait until they are final.
fn settle(world: &mut World, net: &Net) {
    for (home, settlement) in &net.settlements {
        let key = world.hosts[0].iter().find(|key| key.public() == *home).unwrap().clone();
        world.block(&[(&key, settlement.clone().into())]);
    }
    for _ in 0..20 {
        world.block(&[]);
    }
}

#[test]
fn a_swarm_completes_as_one_process_does_token_for_token() {
    for stages in [&[2, 1, 1][..], &[1, 1, 1, 1], &[3, 1], &[4]] {
        let mut world = World::new(stages, 2);
        let (mut net, _) = open(&mut world, CU);
        say(&mut net, &PROMPT, 9);
        assert_eq!(net.tokens, world.completion_in_one_process(&PROMPT, 9), "{stages:?}");
        assert_eq!(net.turns, 1);
        let refused = net.notes.iter().any(|(_, note)| matches!(note, tessera_serve::Note::Refused { .. }));
        assert!(!refused, "{:?}", net.notes);
    }
}

#[test]
fn a_second_turn_continues_the_text_of_the_first() {
    let mut world = World::new(&[2, 1, 1], 1);
    let (mut net, _) = open(&mut world, 10);
    say(&mut net, &PROMPT, 5);
    say(&mut net, &[7, 8, 9], 6);
    let mut text = PROMPT.to_vec();
    text.extend(world.completion_in_one_process(&text, 5));
    text.extend([7, 8, 9]);
    let second = world.completion_in_one_process(&text, 6);
    assert_eq!(net.tokens[5..], second);
    assert_eq!(net.turns, 2);
}

#[test]
fn sampling_repeats_and_depends_on_the_seed() {
    let run = |seed| {
        let mut world = World::new(&[2, 1, 1], 1);
        let credential = world.lock(CU, 100);
        let mut net = Net::new(&world);
        net.client = Some(world.client(&credential, Sampling { temperature_milli: 900, top_k: 40, seed }));
        net.client(ChatInput::Start);
        say(&mut net, &PROMPT, 12);
        net.tokens
    };
    assert_eq!(run(1).len(), 12);
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn credits_are_counted_exactly_and_the_ledger_accepts_the_settlement() {
    for (prompt, generate, cu) in [(1, 1, 2), (4, 4, 2), (5, 4, 3), (8, 5, 4), (6, 9, 5)] {
        let mut world = World::new(&[2, 1, 1], 1);
        let (mut net, credential) = open(&mut world, CU);
        let prompt: Vec<u32> = (0..prompt).collect();
        let hosts: Vec<PublicKey> = world.seats().into_iter().flatten().collect();
        let before: Vec<u128> = hosts.iter().map(|host| world.balance(host)).collect();
        say(&mut net, &prompt, generate);
        net.client(ChatInput::Stop);
        let summary = net.summary.clone().unwrap();
        assert_eq!(summary.error, None);
        assert_eq!((summary.delivered, summary.revealed), (cu, cu));
        assert_eq!((summary.prompt_tokens, summary.generated_tokens), (prompt.len() as u32, generate));
        assert_eq!(summary.settled, Some((cu, FEE * u128::from(cu))));
        assert_eq!(net.settlements.len(), 1);
        assert_eq!(net.settlements[0].1.chunks, cu);
        settle(&mut world, &net);
        assert_eq!(world.cell_of_lock(&credential.id()).state, LockState::Final);
        let credits = world.credits();
        assert_eq!((credits.pool, credits.notes, credits.locked), (cu.into(), (CU - cu).into(), 0));
        // 33 of the 99 posted for three stages, less 2 % in all for the insurance; the home also paid the ledger's fee.
        let paid: Vec<i128> = hosts
            .iter()
            .zip(before)
            .map(|(host, before)| world.balance(host) as i128 - before as i128)
            .collect();
        let (each, all) = (33 * i128::from(cu), 99 * i128::from(cu));
        let net = each * (all - (all * 2 + 99) / 100) / all;
        assert_eq!(paid, [net - 1_000_000, net, net]);
    }
}

#[test]
fn a_turn_beyond_the_allowance_or_the_context_is_refused_before_anything_is_paid() {
    let mut world = World::new(&[2, 1, 1], 1);
    let (mut net, _) = open(&mut world, CU);
    say(&mut net, &PROMPT, 17);
    assert_eq!(net.turn_refusals, [ChatError::Allowance { needed: 7, left: 6, cu: CU }]);
    say(&mut net, &[1000], 1);
    assert_eq!(net.turn_refusals[1], ChatError::Token { vocab: 320, got: 1000 });
    assert_eq!(net.computed(), 0);
    say(&mut net, &PROMPT, 16);
    assert_eq!(net.tokens.len(), 16);
    say(&mut net, &[1], 0);
    assert_eq!(net.turn_refusals[2], ChatError::Allowance { needed: 1, left: 0, cu: CU });

    let mut world = World::new(&[2, 1, 1], 1);
    let (mut net, _) = open(&mut world, 20);
    say(&mut net, &PROMPT, 27);
    assert_eq!(net.turn_refusals, [ChatError::Context { max: 32, got: 33 }]);
    say(&mut net, &PROMPT, 26);
    assert_eq!(net.tokens.len(), 26);
}

#[test]
fn a_client_that_falls_silent_pays_for_what_it_was_given_and_gets_change() {
    let mut world = World::new(&[2, 1, 1], 1);
    let (mut net, credential) = open(&mut world, CU);
    say(&mut net, &PROMPT, 4);
    net.client = None;
    net.wait(119_000, world.height);
    assert!(net.settlements.is_empty());
    net.wait(2_000, world.height);
    assert_eq!(net.settlements.len(), 1);
    assert!(net.nodes.values().all(|node| node.host.sessions() == 0 && node.worker.held_bytes() == 0));
    settle(&mut world, &net);
    assert_eq!(world.cell_of_lock(&credential.id()).state, LockState::Final);
    let credits = world.credits();
    assert_eq!((credits.pool, credits.notes), (3, u64::from(CU) - 3));
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_chunk_is_charged_for_it() {
    let mut world = World::new(&[2, 1, 1], 1);
    let (mut net, _) = open(&mut world, CU);
    // The client stops listening after two of four tokens: close before the chunk is whole.
    let user = net.user;
    let seen = Rc::new(Cell::new(0));
    let count = seen.clone();
    net.pass = Box::new(move |_, to, message| {
        let token = to == user && matches!(message, ServingMessage::Token(_));
        count.set(count.get() + u32::from(token));
        // The last stage's third token is lost on the way to the home.
        !(matches!(message, ServingMessage::Next(_)) && count.get() >= 2)
    });
    say(&mut net, &PROMPT, 4);
    assert_eq!(net.tokens.len(), 2);
    net.client(ChatInput::Stop);
    assert_eq!(net.settlements[0].1.chunks, 3);
    let summary = net.summary.unwrap();
    assert_eq!((summary.delivered, summary.revealed), (2, 3));
}

#[test]
fn a_host_that_dies_ends_the_session_and_its_chunk_is_not_charged() {
    let mut world = World::new(&[2, 1, 1], 1);
    let (mut net, credential) = open(&mut world, CU);
    say(&mut net, &PROMPT, 4);
    let dead = world.hosts[1][0].public();
    net.pass = Box::new(move |from, to, _| from != dead && to != dead);
    say(&mut net, &[], 4);
    assert_eq!(net.tokens.len(), 5, "the token that the last stage held is all");
    net.wait(16_000, world.height);
    assert_eq!(net.settlements.len(), 1);
    assert_eq!(net.settlements[0].1.chunks, 3);
    let summary = net.summary.clone().unwrap();
    assert!(matches!(&summary.error, Some(ChatError::Refused { kind: "HostLost", .. })), "{summary:?}");
    assert_eq!(summary.settled, Some((3, 300)));
    settle(&mut world, &net);
    assert_eq!(world.cell_of_lock(&credential.id()).state, LockState::Final);

    // A connection that goes down is noticed at once.
    let (mut net, _) = open(&mut world, CU);
    say(&mut net, &PROMPT, 4);
    net.host(world.hosts[0][0].public(), Input::Down(dead));
    assert_eq!(net.settlements[0].1.chunks, 3);
    assert!(net.summary.unwrap().error.is_some());
}

#[test]
fn a_session_whose_hosts_never_answer_costs_nothing() {
    let mut world = World::new(&[2, 1, 1], 1);
    let credential = world.lock(CU, 100);
    let mut net = Net::new(&world);
    net.client = Some(world.client(&credential, GREEDY));
    net.pass = Box::new(|_, _, message| !matches!(message, ServingMessage::Admitted(_)));
    net.client(ChatInput::Start);
    say(&mut net, &PROMPT, 4);
    net.wait(16_000, world.height);
    assert!(net.settlements.is_empty());
    let summary = net.summary.unwrap();
    assert_eq!(summary.revealed, 0);
    assert!(summary.error.is_some());
    assert_eq!(net.nodes.values().map(|node| node.computed).sum::<u32>(), 0);
}

#[test]
fn a_lost_answer_stops_the_client_after_one_chunk() {
    let mut world = World::new(&[2, 1, 1], 1);
    let (mut net, _) = open(&mut world, CU);
    let user = net.user;
    net.pass =
        Box::new(move |_, to, message| !(to == user && matches!(message, ServingMessage::Delivered(_))));
    say(&mut net, &PROMPT, 4);
    net.wait(31_000, world.height);
    let summary = net.summary.unwrap();
    assert_eq!((summary.revealed, summary.delivered), (1, 0));
    assert!(matches!(summary.error, Some(ChatError::Silent { .. })));
    assert_eq!(net.settlements[0].1.chunks, 1);
}

#[test]
fn an_order_that_runs_out_is_settled_before_its_end() {
    let mut world = World::new(&[2, 1, 1], 1);
    let (mut net, credential) = open(&mut world, CU);
    say(&mut net, &PROMPT, 4);
    net.wait(1, credential.order.open_until - 5);
    assert_eq!(net.settlements[0].1.chunks, 3);
    assert!(net.nodes.values().all(|node| node.host.sessions() == 0));
}

#[test]
fn sessions_take_turns_and_a_full_host_says_so() {
    let mut world = World::new(&[2, 1, 1], 1);
    let mut net = Net::new(&world);
    for round in 0..5 {
        let credential = world.lock(CU, 100);
        net.client = Some(world.client(&credential, GREEDY));
        net.summary = None;
        net.tokens.clear();
        net.client(ChatInput::Start);
        say(&mut net, &PROMPT, 4);
        if round < 4 {
            assert_eq!(net.tokens, world.completion_in_one_process(&PROMPT, 4));
        } else {
            let error = net.summary.clone().unwrap().error;
            assert!(matches!(&error, Some(ChatError::Refused { kind: "Busy", .. })), "{error:?}");
        }
    }
}

#[test]
fn a_client_without_the_secrets_of_its_order_is_told() {
    let mut world = World::new(&[2, 1, 1], 1);
    let (mine, other) = (world.lock(CU, 100), world.lock(CU, 100));
    let config = |session_key: &Credential, chain: &Credential| ChatConfig {
        order: mine.order.clone(),
        chain: chain.chain.clone(),
        session_key: session_key.session_key.clone(),
        me: world.user.public(),
        home: mine.home,
        proof: world.proof(&mine.id()),
        sampling: GREEDY,
        price: PRICE,
        context: 32,
        vocab: 320,
        patience: 1,
    };
    assert!(ChatClient::new(config(&mine, &mine)).is_ok());
    assert!(matches!(
        ChatClient::new(config(&other, &mine)),
        Err(ChatError::Credential { what: "session key", .. })
    ));
    assert!(matches!(
        ChatClient::new(config(&mine, &other)),
        Err(ChatError::Credential { what: "payword chain", .. })
    ));
}
