//! Check the arguments of a request against their declared form before anything is asked.

use super::{Kind, Param, Problem, Route};
use std::{collections::BTreeMap, fmt::Display, str::FromStr};
use tessera_canon::{Hash, PublicKey};

/// Most items of one page of a list.
pub const MAX_PAGE: u64 = 100;
/// Longest query string, bytes.
const MAX_QUERY: usize = 1024;

/// Arguments that have the form which their route declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args(BTreeMap<&'static str, String>);

/// Whether `text` has the form `kind`, and what that form is.
fn check(kind: Kind, text: &str) -> Result<(), &'static str> {
    fn is<T: FromStr>(text: &str) -> bool {
        text.parse::<T>().is_ok()
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let (good, expected) = match kind {
        Kind::Hash => (is::<Hash>(text), "64 hexadecimal digits"),
        Kind::Key => (is::<PublicKey>(text), "a public key of 64 hexadecimal digits"),
        Kind::Number => (digits && is::<u64>(text), "an integer of at most 64 bits"),
        Kind::Short => (digits && is::<u16>(text), "an integer of at most 16 bits"),
        Kind::Flag => (text == "0" || text == "1", "0 or 1"),
    };
    if good { Ok(()) } else { Err(expected) }
}

impl Args {
    pub(super) fn parse(route: &Route, path: &[(&'static str, &str)], query: &str) -> Result<Self, Problem> {
        if query.len() > MAX_QUERY {
            let expected = format!("a query string of at most {MAX_QUERY} bytes");
            let got = format!("{} bytes", query.len());
            return Err(Problem::new(414, "argument", expected, &got, "shorten it"));
        }
        let mut args = BTreeMap::new();
        let mut take = |param: &Param, text: &str| -> Result<(), Problem> {
            check(param.kind, text).map_err(|expected| Problem::argument(param.name, expected, text))?;
            match args.insert(param.name, text.to_string()) {
                None => Ok(()),
                Some(_) => Err(Problem::argument(param.name, "given once", "it twice")),
            }
        };
        let declared = |name: &str| route.params.iter().find(|param| param.name == name);
        for (name, text) in path {
            if let Some(param) = declared(name) {
                take(param, text)?;
            }
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
            match declared(name).filter(|param| !route.in_path(param.name)) {
                Some(param) => take(param, text)?,
                None => {
                    let known: Vec<&str> = route.params.iter().map(|param| param.name).collect();
                    let expected = format!("one of {}", known.join(", "));
                    return Err(Problem::argument("each parameter", &expected, name));
                }
            }
        }
        Ok(Self(args))
    }
    /// The argument `name`; a request without it is refused by name.
    fn need<T: FromStr<Err: Display>>(&self, name: &'static str) -> Result<T, Problem> {
        let text = self.0.get(name).ok_or_else(|| Problem::argument(name, "given", "nothing"))?;
        text.parse().map_err(|error: T::Err| Problem::argument(name, &error.to_string(), text))
    }
    pub fn hash(&self, name: &'static str) -> Result<Hash, Problem> {
        self.need(name)
    }
    pub fn key(&self, name: &'static str) -> Result<PublicKey, Problem> {
        self.need(name)
    }
    pub fn number(&self, name: &'static str) -> Result<u64, Problem> {
        self.need(name)
    }
    pub fn short(&self, name: &'static str) -> Result<u16, Problem> {
        self.need(name)
    }
    /// Whether the argument `name` is given.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
    /// Whether the flag `name` is set.
    pub fn flag(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|text| text == "1")
    }
    /// The first item of the page that is asked for, and the number of items, at most [`MAX_PAGE`].
    pub fn page(&self) -> Result<(u64, u64), Problem> {
        let from = if self.has("from") { self.number("from")? } else { 0 };
        let limit = if self.has("limit") { self.number("limit")? } else { MAX_PAGE };
        if limit == 0 || limit > MAX_PAGE {
            return Err(Problem::argument("limit", &format!("1 to {MAX_PAGE}"), &limit.to_string()));
        }
        Ok((from, limit))
    }
}
