//! Answer the ledger's queries over HTTP: a thin skin over the table in [`tessera_client::routes`].
//!
//! `GET` any path of the table, `POST /transactions` a signed transaction, `GET /openapi.json` the description,
//! which is generated from the same table. Every answer was checked against the committee's group key before it
//! is given; with `?proof=1` it carries what was checked. Answers are JSON with exact integers (see
//! [`tessera_client::json`]); a refusal is `{"error", "expected", "got", "todo"}` with a fitting status.
//!
//! Bounds: the length of a path and of a body, the items of a page, the time of an answer, the answers at work
//! at once, the number and the age of connections. No header allows other origins to read answers, so a page in a browser cannot use a node that
//! listens on its machine. No encryption and no login: put a proxy before it where it faces others.

mod description;
mod door;
mod server;

pub use description::openapi;
pub use server::{HttpError, HttpLimits, HttpServer, router};
