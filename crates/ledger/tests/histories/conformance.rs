//! Keep the rules: one history over every room gives the roots that are committed. A changed root with no changed
//! format is a changed rule: validators of two versions would part ways there.

use super::{formats::compare, history::History};
use std::{collections::BTreeMap, fmt::Write as _, path::Path};
use tessera_ledger::event;

const SEED: u64 = 3;
const TXS: usize = 4000;
/// Blocks between two rows, so that a change shows when it begins.
const EVERY: u64 = 20;

/// A row for every twentieth block, and the actions that took effect and were refused.
fn history() -> (String, BTreeMap<&'static str, [usize; 2]>) {
    let mut history = History::new(SEED);
    let (mut rows, mut kinds, mut done) = (String::new(), BTreeMap::<_, [usize; 2]>::new(), 0);
    rows.push_str("# Height, transactions so far, root of the state, root of the block's events.\n");
    while done < TXS {
        let txs = history.txs();
        let outcome = history.world.block(&txs);
        for (tx, receipt) in txs.iter().zip(&outcome.receipts) {
            kinds.entry(tx.body.action.kind()).or_default()[usize::from(!receipt.ok())] += 1;
        }
        done += txs.len();
        let height = history.world.height;
        if height.is_multiple_of(EVERY) || done >= TXS {
            let (root, events) = (history.world.state.root(), event::root(&outcome.events));
            writeln!(rows, "{height} {done} {root} {events}").expect("memory takes text");
        }
    }
    rows.push_str("# Action, how many took effect, how many were refused.\n");
    for (kind, [ok, refused]) in &kinds {
        writeln!(rows, "{kind} {ok} {refused}").expect("memory takes text");
    }
    (rows, kinds)
}

/// Names of all actions, from the committed table of formats.
pub(crate) fn actions() -> Vec<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats.txt");
    let text = std::fs::read_to_string(file).expect("the table is committed");
    let names = text.lines().filter_map(|line| line.strip_prefix("Action.")?.split(['.', ' ']).nth(1));
    names.map(String::from).collect()
}

#[test]
fn the_rules_have_not_changed() {
    let (rows, kinds) = history();
    // Of each room something took effect.
    let rooms = [
        "Transfer",
        "ReportWindow",
        "EvalReveal",
        "BasketTransfer",
        "ClaimCredits",
        "SettleSession",
        "OrderReveal",
        "AuditReveal",
        "OpenDispute",
        "Vote",
        "Execute",
        "DeclareOperator",
    ];
    for kind in rooms {
        assert!(kinds.get(kind).is_some_and(|[ok, _]| *ok > 0), "{kind} never took effect: {kinds:?}");
    }
    compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/history.txt"), &rows);
}
