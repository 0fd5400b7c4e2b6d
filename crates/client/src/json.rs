//! Write any record, event or transaction as JSON: exact integers, and amounts of money in U beside them.
//!
//! Integers of more than 32 bits are strings of all their digits. A field that is an amount of nano-U has a
//! second one with the suffix `_u`, in U: `"balance": "1500000000", "balance_u": "1.5"`. Everything else follows
//! from the declarations, see [`Describe`].

use crate::amount;
use serde_json::{Map, Value, json};
use tessera_canon::{Describe, Described};

/// Names of fields that hold nano-U wherever they occur.
const MONEY: [&str; 24] = [
    "amount",
    "balance",
    "bond",
    "burned",
    "collateral",
    "cost",
    "deposit",
    "escrow",
    "fee",
    "fee_flat",
    "fee_per_byte",
    "fee_per_cu",
    "fees",
    "fund",
    "held",
    "issued",
    "limit_price",
    "max_price",
    "nano",
    "paid",
    "price",
    "reward",
    "run_bond",
    "stake",
];
/// Records whose `amount` counts shares.
const OF_SHARES: [&str; 2] = ["SharesMoved", "TransferShares"];

/// `value` as JSON.
pub fn json(value: &impl Describe) -> Value {
    show(&value.describe(), "")
}

/// A number of blocks, credits or nano-U, exact.
pub fn exact(value: impl Into<u128>) -> Value {
    Value::String(value.into().to_string())
}

fn show(value: &Described, kind: &str) -> Value {
    match value {
        Described::List(items) => Value::Array(items.iter().map(|item| show(item, "")).collect()),
        Described::Record(fields) => Value::Object(record(fields, kind, Map::new())),
        Described::Choice(kind, inner) => {
            let mut map = Map::new();
            map.insert("kind".into(), json!(kind));
            match &**inner {
                Described::Record(fields) => Value::Object(record(fields, kind, map)),
                other => {
                    map.insert("value".into(), show(other, kind));
                    Value::Object(map)
                }
            }
        }
        // The leaves know their form.
        leaf => serde_json::to_value(leaf).unwrap_or(Value::Null),
    }
}

fn record(
    fields: &[(&'static str, Described)],
    kind: &str,
    mut map: Map<String, Value>,
) -> Map<String, Value> {
    for (name, value) in fields {
        map.insert((*name).into(), show(value, ""));
        if let Described::Large(nano) = value
            && MONEY.contains(name)
            && !OF_SHARES.contains(&kind)
        {
            map.insert(format!("{name}_u"), Value::String(amount::show(*nano)));
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_canon::{Hash, PublicKey};
    use tessera_ledger::{Event, Record, event, record::Account};

    #[test]
    fn integers_are_exact_and_money_is_also_in_u() {
        let key = PublicKey([7; 32]);
        let account = Account { balance: u128::MAX, nonce: u64::MAX, ..Account::new(key) };
        let shown = json(&Record::from(account));
        assert_eq!(shown["kind"], "Account");
        assert_eq!(shown["balance"], "340282366920938463463374607431768211455");
        assert_eq!(shown["balance_u"], "340282366920938463463374607431.768211455");
        assert_eq!(shown["nonce"], "18446744073709551615");
        assert_eq!(shown["key"], "07".repeat(32));
        let (from, to) = (PublicKey([1; 32]), PublicKey([2; 32]));
        let moved = json(&Event::from(event::SharesMoved { run: Hash::ZERO, from, to, amount: 5 }));
        assert_eq!(
            (moved["amount"].as_str(), moved.get("amount_u")),
            (Some("5"), None),
            "shares are no money"
        );
    }
}
