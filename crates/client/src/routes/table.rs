//! The table itself. An entry is all that a query needs: see [`super`].

use super::{Answer, Kind, Param, Route, economy, reads};

const fn param(name: &'static str, kind: Kind, about: &'static str) -> Param {
    Param { name, kind, about }
}
const RUN: Param = param("run", Kind::Hash, "Run id");
const ACCOUNT: Param = param("account", Kind::Key, "Public key of an account");
const STAGE: Param = param("stage", Kind::Short, "Stage, from 0");
const WINDOW: Param = param("window", Kind::Number, "Window, from 0");
const PROOF: Param =
    param("proof", Kind::Flag, "1: give the proofs of all cells that the answer follows from");
const FROM: Param = param("from", Kind::Number, "First item of the page, from 0");
const LIMIT: Param = param("limit", Kind::Number, "Most items of the page, at most 100");
const SUBJECT: Param = param("subject", Kind::Hash, "A run, key, note, order or transaction");
const PROPOSAL: Param = param("proposal", Kind::Hash, "Proposal id");
const HEIGHT: Param = param("height", Kind::Number, "Height of a block");

/// One entry: path, what it answers, parameters, example, source of the answer.
macro_rules! routes {
    ($($path:literal, $about:literal, [$($param:expr),*], $example:expr, $answer:expr;)*) => {
        /// Every query.
        pub const ROUTES: &[Route] = &[$(Route {
            path: $path, about: $about, params: &[$($param),*], example: $example, answer: $answer,
        }),*];
    };
}

macro_rules! id {
    () => {
        "9b2f0c6d1e4a8375bd60f2a19c8e7d5430617283a4b5c6d7e8f90a1b2c3d4e5f"
    };
}

routes! {
    "/network", "Parameters of the network and the money in existence", [PROOF],
        "/network?proof=1", Answer::Read(reads::network);
    "/runs", "All runs, oldest first", [FROM, LIMIT, PROOF],
        "/runs?from=0&limit=20", Answer::Read(reads::runs);
    "/runs/{run}", "A run: terms, progress, credits", [RUN, PROOF],
        concat!("/runs/", id!()), Answer::Read(reads::run);
    "/runs/{run}/owners/{account}", "An account's shares in a run, and the credits due to it",
        [RUN, ACCOUNT, PROOF],
        concat!("/runs/", id!(), "/owners/", id!()), Answer::Read(reads::owner);
    "/runs/{run}/members/{account}", "An account's place in a run", [RUN, ACCOUNT, PROOF],
        concat!("/runs/", id!(), "/members/", id!()), Answer::Read(reads::member);
    "/runs/{run}/pool", "Credits that wait for the next distribution, and what was distributed", [RUN, PROOF],
        concat!("/runs/", id!(), "/pool"), Answer::Read(reads::pool);
    "/runs/{run}/supply", "Credits in existence, by where they are", [RUN, PROOF],
        concat!("/runs/", id!(), "/supply"), Answer::Read(reads::supply);
    "/runs/{run}/stages", "The stages of a run", [RUN, PROOF],
        concat!("/runs/", id!(), "/stages"), Answer::Read(reads::stages);
    "/runs/{run}/stages/{stage}", "A stage and its held seats", [RUN, STAGE, PROOF],
        concat!("/runs/", id!(), "/stages/0"), Answer::Read(reads::stage);
    "/runs/{run}/stages/{stage}/seats/{seat}", "A seat",
        [RUN, STAGE, param("seat", Kind::Short, "Seat, from 0"), PROOF],
        concat!("/runs/", id!(), "/stages/0/seats/3"), Answer::Read(reads::seat);
    "/runs/{run}/windows/{window}", "A window and the reports of its stages", [RUN, WINDOW, PROOF],
        concat!("/runs/", id!(), "/windows/0"), Answer::Read(reads::window);
    "/runs/{run}/windows/{window}/stages/{stage}", "A stage's report of a window and its claims",
        [RUN, WINDOW, STAGE, PROOF],
        concat!("/runs/", id!(), "/windows/0/stages/1"), Answer::Read(reads::claims);
    "/runs/{run}/credits/book", "The auction of a run's credits: batch, half, sealed orders by number, opened ones",
        [RUN, FROM, LIMIT, PROOF],
        concat!("/runs/", id!(), "/credits/book?limit=10"), Answer::Read(economy::credit_book);
    "/runs/{run}/shares/book", "The auction of a run's shares: batch, half, sealed orders by number, opened ones",
        [RUN, FROM, LIMIT, PROOF],
        concat!("/runs/", id!(), "/shares/book?limit=10"), Answer::Read(economy::share_book);
    "/runs/{run}/credits/prices", "The last 32 prices of a run's credits, their median, the bound of the reserve",
        [RUN, PROOF],
        concat!("/runs/", id!(), "/credits/prices"), Answer::Read(economy::credit_prices);
    "/runs/{run}/shares/prices", "The last 32 prices of a run's shares, and their median", [RUN, PROOF],
        concat!("/runs/", id!(), "/shares/prices"), Answer::Read(economy::share_prices);
    "/runs/{run}/stage-prices", "What the hosts of each stage are paid for a credit, where an auction set it",
        [RUN, PROOF],
        concat!("/runs/", id!(), "/stage-prices"), Answer::Read(economy::stage_prices);
    "/runs/{run}/auto-sell", "The auto-sell pool of a run", [RUN, PROOF],
        concat!("/runs/", id!(), "/auto-sell"), Answer::Read(economy::auto_sell);
    "/runs/{run}/auto-sell/{account}", "An account's shares in the auto-sell pool of a run", [RUN, ACCOUNT, PROOF],
        concat!("/runs/", id!(), "/auto-sell/", id!()), Answer::Read(economy::wrap);
    "/runs/{run}/proceeds/{account}", "U that an account can claim: auto-sell, and runs that descend from this one",
        [RUN, ACCOUNT, PROOF],
        concat!("/runs/", id!(), "/proceeds/", id!()), Answer::Read(economy::proceeds);
    "/market-orders/{order}", "An order of an auction that is not cleared yet",
        [param("order", Kind::Hash, "Order id"), PROOF],
        concat!("/market-orders/", id!()), Answer::Read(economy::order);
    "/runs/{run}/audits", "What audits of a run found", [RUN, PROOF],
        concat!("/runs/", id!(), "/audits"), Answer::Read(economy::audits);
    "/runs/{run}/conduct/{account}", "What a run's verdicts say of an account", [RUN, ACCOUNT, PROOF],
        concat!("/runs/", id!(), "/conduct/", id!()), Answer::Read(economy::conduct);
    "/runs/{run}/vesting/{account}", "What the transfer lock holds of an account's shares, and what can move now",
        [RUN, ACCOUNT, PROOF],
        concat!("/runs/", id!(), "/vesting/", id!()), Answer::Read(economy::vesting);
    "/disputes", "The open disputes", [FROM, LIMIT, PROOF],
        "/disputes?limit=10", Answer::Read(economy::disputes);
    "/disputes/{dispute}", "An open dispute", [param("dispute", Kind::Hash, "Dispute id"), PROOF],
        concat!("/disputes/", id!()), Answer::Read(economy::dispute);
    "/runs/{run}/policy", "The policy of a run in force, which its owners can change", [RUN, PROOF],
        concat!("/runs/", id!(), "/policy"), Answer::Read(reads::policy);
    "/runs/{run}/extraction", "The last extraction report of a run, and the measurements it knows", [RUN, PROOF],
        concat!("/runs/", id!(), "/extraction"), Answer::Read(reads::extraction);
    "/runs/{run}/evaluation", "The last evaluation of a run by a drawn committee", [RUN, PROOF],
        concat!("/runs/", id!(), "/evaluation"), Answer::Read(reads::evaluation);
    "/runs/{run}/children", "Runs forked from a run, and where it comes from itself", [RUN, FROM, LIMIT, PROOF],
        concat!("/runs/", id!(), "/children"), Answer::Read(reads::children);
    "/runs/{run}/proposals", "Proposals of a run; of the network where the id is all zeros",
        [RUN, FROM, LIMIT, PROOF],
        concat!("/runs/", id!(), "/proposals"), Answer::Read(reads::proposals);
    "/proposals/{proposal}", "A proposal, what it does, and its votes", [PROPOSAL, PROOF],
        concat!("/proposals/", id!()), Answer::Read(reads::proposal);
    "/proposals/{proposal}/power/{account}", "Votes and work with which an account can vote, and its vote",
        [PROPOSAL, ACCOUNT, PROOF],
        concat!("/proposals/", id!(), "/power/", id!()), Answer::Read(reads::power);
    "/validators", "The validator set of this epoch, and the schedule of issuance", [PROOF],
        "/validators", Answer::Read(reads::validators);
    "/accounts/{account}/bond", "An account's bond as a validator", [ACCOUNT, PROOF],
        concat!("/accounts/", id!(), "/bond"), Answer::Read(reads::bond);
    "/accounts/{account}", "An account's balance and number of transactions", [ACCOUNT, PROOF],
        concat!("/accounts/", id!(), "?proof=1"), Answer::Read(reads::account);
    "/accounts/{account}/portfolio", "Runs in which an account has shares", [ACCOUNT, FROM, LIMIT, PROOF],
        concat!("/accounts/", id!(), "/portfolio"), Answer::Read(reads::portfolio);
    "/accounts/{account}/notes", "An account's notes that are not spent", [ACCOUNT, FROM, LIMIT, PROOF],
        concat!("/accounts/", id!(), "/notes"), Answer::Read(reads::notes);
    "/notes/{note}", "A note", [param("note", Kind::Hash, "Note id"), PROOF],
        concat!("/notes/", id!()), Answer::Read(reads::note);
    "/orders/{order}", "A lock of notes for a session, its money, its settlement",
        [param("order", Kind::Hash, "Order id"), PROOF],
        concat!("/orders/", id!()), Answer::Read(reads::order);
    "/orders/{order}/home", "The home of a session and what it was drawn from",
        [param("order", Kind::Hash, "Order id"), PROOF],
        concat!("/orders/", id!(), "/home"), Answer::Read(reads::home);
    "/cells/{key}", "Any cell by its key, present or absent", [param("key", Kind::Hash, "Key of a cell"), PROOF],
        concat!("/cells/", id!(), "?proof=1"), Answer::Read(reads::cell);
    "/prove/{key}", "The proof of one cell, present or absent, as canonical bytes",
        [param("key", Kind::Hash, "Key of a cell")],
        concat!("/prove/", id!()), Answer::Prove;
    "/header", "The newest final header and its certificate", [], "/header", Answer::Latest;
    "/headers/{height}", "The final header at a height", [HEIGHT], "/headers/1", Answer::Header;
    "/blocks/{height}", "The final block at a height", [HEIGHT], "/blocks/1", Answer::Block;
    "/transactions/{tx}", "What became of a transaction", [param("tx", Kind::Hash, "Transaction id")],
        concat!("/transactions/", id!()), Answer::Transaction;
    "/events/{subject}", "Events and transactions that name a run, key, note, order or transaction, proved",
        [SUBJECT, param("from", Kind::Number, "First height of interest"),
         param("skip", Kind::Number, "Items of that height to skip, which came before"), LIMIT, PROOF],
        concat!("/events/", id!(), "?from=1&limit=20"), Answer::Events;
    "/explain/{subject}", "Why a balance is what it is, from proved events, with a sum that comes out", [SUBJECT],
        concat!("/explain/", id!()), Answer::Explain;
    "/transactions", "Offer a signed transaction: its canonical bytes, or their hexadecimal digits as text", [],
        "/transactions", Answer::Submit;
}
