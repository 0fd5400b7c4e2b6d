//! `tessera explain`: why a balance is what it is, or what was checked of a unit of work.
//!
//! Every line of a balance is an event that was proved against a final header, and the sum must be what the ledger's own
//! cell, proved too, holds. Where it is not, the lines are shown and the command fails with what is missing. Of a unit,
//! [`crate::audit`] tells what this folder's book and the ledger know.

use crate::context::{Output, Place, Shown};
use anyhow::Result;
use std::str::FromStr;
use tessera_canon::Hash;
use tessera_node::audits::record::UnitName;

#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    place: Place,
    /// A key, note, run, order or transaction, as 64 digits, or a unit of work, as RUN/STAGE/STEP/UNIT; by default this
    /// folder's key
    #[arg(value_name = "ID")]
    id: Option<Subject>,
}

/// What is to be explained.
#[derive(Clone, Debug)]
enum Subject {
    Id(Hash),
    Unit(UnitName),
}

impl FromStr for Subject {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return text.parse().map(Self::Unit).map_err(|error| format!("{error}"));
        }
        text.parse().map(Self::Id).map_err(|error| format!("{error}"))
    }
}

pub(crate) async fn run(explain: Explain, output: Output) -> Result<()> {
    let id = match explain.id {
        Some(Subject::Unit(unit)) => return crate::audit::explain_unit(&explain.place, unit, output).await,
        Some(Subject::Id(id)) => id,
        None => Hash(explain.place.key()?.public().0),
    };
    let visitor = explain.place.enter().await?;
    let found = tessera_client::explain::explain(&visitor.ledger, &visitor.network.genesis, id).await?;
    output.result(&found.json(), || found.text());
    visitor.leave().await;
    match found.gap() {
        None => Ok(()),
        Some(gap) => Err(Shown(gap).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_told_from_an_id_and_both_errors_say_what_was_expected() {
        let run = Hash([5; 32]);
        assert!(matches!(run.to_string().parse(), Ok(Subject::Id(id)) if id == run));
        let unit = UnitName { run, stage: 0, step: 3, unit: 1 };
        assert!(matches!(unit.to_string().parse(), Ok(Subject::Unit(got)) if got == unit));
        assert!("1/2".parse::<Subject>().unwrap_err().contains("RUN/STAGE/STEP/UNIT"));
        assert!("xy".parse::<Subject>().is_err());
    }
}
