//! List every query of the ledger once: HTTP, its OpenAPI description and the command line read this table.
//!
//! A query is one [`Route`]: a path, its parameters, an example, and where its answer comes from. Most are
//! [`Answer::Read`]: a function that looks at proved cells and must tolerate missing ones, because it is
//! repeated until every cell that it looks at is fetched. To add a query, add an entry to [`ROUTES`] and, for a
//! new form of answer, a function in `reads`.
//!
//! Every answer is checked against a final header before it is given. With `proof=1` the answer of a `Read`
//! carries the proofs of its cells, so that whoever asked can check them too.

mod economy;
mod problem;
mod reads;
mod service;
mod table;
mod values;

pub use problem::Problem;
pub use service::Service;
pub use table::ROUTES;
pub use values::{Args, MAX_PAGE};

use crate::View;
use serde_json::Value;

/// The form of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 64 hexadecimal digits.
    Hash,
    /// A public key, 64 hexadecimal digits.
    Key,
    /// An integer of 64 bits.
    Number,
    /// An integer of 16 bits.
    Short,
    /// 0 or 1.
    Flag,
}

/// A parameter of a query.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    pub name: &'static str,
    pub kind: Kind,
    pub about: &'static str,
}

/// What [`Answer::Read`] calls; `Ok(None)` where the thing is not on the ledger.
pub type Read = fn(&View, &Args) -> Result<Option<Value>, Problem>;

/// Where an answer comes from.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// Proved cells of the newest state.
    Read(Read),
    /// The newest header.
    Latest,
    /// The header at `height`.
    Header,
    /// The block at `height`.
    Block,
    /// What became of the transaction `tx`.
    Transaction,
    /// Proof of the cell at `key`.
    Prove,
    /// Events that name `subject`.
    Events,
    /// Why the balance of `subject` is what it is.
    Explain,
    /// Offer a signed transaction (POST).
    Submit,
}

/// A query.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Segments in braces are parameters.
    pub path: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// Parameters of the path and, after them, of the query string.
    pub params: &'static [Param],
    /// A request that is well formed.
    pub example: &'static str,
    pub answer: Answer,
}

impl Route {
    /// Whether it is asked by POST.
    pub fn posts(&self) -> bool {
        matches!(self.answer, Answer::Submit)
    }
    /// Whether the path has this parameter.
    pub fn in_path(&self, name: &str) -> bool {
        self.path
            .split('/')
            .any(|part| part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) == Some(name))
    }
    /// The path's parameters in `path`, as texts; `None` if it is another path.
    fn matches<'p>(&self, path: &'p str) -> Option<Vec<(&'static str, &'p str)>> {
        let (mut own, mut given) = (self.path.split('/'), path.split('/'));
        let mut found = Vec::new();
        loop {
            match (own.next(), given.next()) {
                (None, None) => return Some(found),
                (Some(own), Some(given)) => match own.strip_prefix('{').and_then(|own| own.strip_suffix('}'))
                {
                    Some(name) => found.push((name, given)),
                    None if own == given => {}
                    None => return None,
                },
                _ => return None,
            }
        }
    }
    /// The route that `path` (`/runs/<id>?proof=1`) asks for, and its arguments, checked.
    pub fn find(path: &str, post: bool) -> Result<(&'static Route, Args), Problem> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let trimmed = path.strip_suffix('/').filter(|trimmed| !trimmed.is_empty()).unwrap_or(path);
        let mut other_method = false;
        for route in ROUTES {
            let Some(found) = route.matches(trimmed) else { continue };
            if route.posts() != post {
                other_method = true;
                continue;
            }
            return Ok((route, Args::parse(route, &found, query)?));
        }
        Err(match other_method {
            true => Problem::method(trimmed, post),
            false => Problem::no_route(trimmed),
        })
    }
}
