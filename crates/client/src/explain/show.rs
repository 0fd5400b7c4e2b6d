//! Write an explanation for people and as JSON.

use super::{Explanation, Line, Part, Subject, Unit};
use crate::{amount, json::exact};
use serde_json::{Value, json};
use tessera_canon::Hash;

impl Unit {
    /// What a person calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NanoU => "U",
            Self::Credits => "cu",
            Self::Shares => "shares",
            Self::WorkUnits => "wu",
        }
    }
    /// `amount` of it, in the unit that people use.
    pub fn show(self, value: u128) -> String {
        match self {
            Self::NanoU => amount::show(value),
            _ => value.to_string(),
        }
    }
}

impl Subject {
    /// What kind of thing it is.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Account(_) => "account",
            Self::Note(_) => "note",
            Self::Run(_) => "run",
            Self::Order(_) => "order",
            Self::Dispute(_) => "claim",
            Self::Transaction(_) => "transaction",
        }
    }
    /// Its name, for a key the hash of the same bytes.
    pub fn id(&self) -> Hash {
        match self {
            Self::Account(key) => Hash(key.0),
            Self::Note(id) | Self::Run(id) | Self::Order(id) | Self::Dispute(id) | Self::Transaction(id) => {
                *id
            }
        }
    }
}

fn line_json(line: &Line, unit: Unit) -> Value {
    let mut shown = json!({
        "height": exact(line.height), "what": line.what, "sign": if line.plus { "+" } else { "-" },
        "amount": exact(line.amount), "total": line.total.map(exact),
    });
    if unit == Unit::NanoU {
        shown["amount_u"] = json!(amount::show(line.amount));
        shown["total_u"] = json!(line.total.map(amount::show));
    }
    shown
}

fn part_json(part: &Part) -> Value {
    let lines: Vec<Value> = part.lines.iter().map(|line| line_json(line, part.unit)).collect();
    json!({
        "what": part.what, "unit": if part.unit == Unit::NanoU { "nano-U" } else { part.unit.name() },
        "lines": lines, "sum": part.sum.map(exact), "ledger": exact(part.cell), "holds": part.holds(),
    })
}

impl Explanation {
    /// Everything, with exact integers.
    pub fn json(&self) -> Value {
        json!({
            "subject": self.subject.kind(), "id": self.subject.id(), "height": exact(self.height),
            "time_ms": exact(self.time_ms), "indexed_from": exact(self.indexed_from), "holds": self.holds(),
            "gap": self.gap(),
            "parts": self.parts.iter().map(part_json).collect::<Vec<_>>(), "remarks": self.remarks,
        })
    }
    /// A table for people: height, change, total, what happened.
    pub fn text(&self) -> String {
        let mut text = format!("{} {} at height {}\n", self.subject.kind(), self.subject.id(), self.height);
        for remark in &self.remarks {
            text += &format!("{remark}\n");
        }
        for part in &self.parts {
            let unit = part.unit;
            text += &format!("\n{} ({})\n", part.what, unit.name());
            for line in &part.lines {
                let sign = if line.plus { '+' } else { '-' };
                let total = line.total.map_or_else(|| "below zero".into(), |total| unit.show(total));
                text += &format!(
                    "{:>10}  {:>24}  {:>24}  {}\n",
                    line.height,
                    format!("{sign}{}", unit.show(line.amount)),
                    total,
                    line.what
                );
            }
            let cell = unit.show(part.cell);
            text += &match part.sum {
                _ if part.holds() => format!("the sum is what the ledger holds: {cell} {}\n", unit.name()),
                Some(sum) => format!("the sum is {}, the ledger holds {cell}\n", unit.show(sum)),
                None => format!("the sum is below zero, the ledger holds {cell}\n"),
            };
        }
        text
    }
    /// What is missing where a sum did not come out: for an error.
    pub fn gap(&self) -> Option<String> {
        let part = self.parts.iter().find(|part| !part.holds())?;
        let sum = part.sum.map_or_else(|| "less than zero".into(), |sum| part.unit.show(sum));
        let why = match self.indexed_from > 1 {
            true => format!("the validator's index begins at height {}; ask one that has all blocks", self.indexed_from),
            false => "a validator left events out, or an event moves it by a rule that this program does not know; ask another validator or take a newer program".into(),
        };
        Some(format!(
            "expected the events to explain the {} of {} {}, they make {sum}: {why}",
            part.what,
            part.unit.show(part.cell),
            part.unit.name()
        ))
    }
}
