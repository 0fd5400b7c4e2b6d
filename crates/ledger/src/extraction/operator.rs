//! Count declared identities of one operator as one, over a run's life (DESIGN section 9).
//!
//! A declaration is per run, signed by both sides and final: coverage is the union over the run's life, so
//! taking it back would mean nothing. It can be made before or after a seating. An operator's own key counts
//! as one of its identities. Undeclared identities cannot be told apart from strangers; for those, admission
//! work is the price.

use crate::{
    account,
    action::{AFFILIATED, Affiliated, DeclareOperator},
    error::TxError,
    event::OperatorDeclared,
    extraction::kappa::covered,
    keys,
    record::{Affiliation, Concentration, Coverage, Member, RunTerms},
    run, seat,
    store::{Stop, View},
};
use tessera_canon::{Hash, PublicKey};

/// The operator under which `account` is counted in `run`.
pub(crate) fn operator_of(view: &View<'_>, run: &Hash, account: &PublicKey) -> Result<PublicKey, Stop> {
    let declared = view.get::<Affiliation>(&keys::affiliation(run, account))?;
    Ok(declared.map_or(*account, |affiliation| affiliation.operator))
}

/// Stages that identities related to `account` ever held in `run`; empty if none was declared.
pub(crate) fn related(view: &View<'_>, run: &Hash, account: &PublicKey) -> Result<u128, Stop> {
    let operator = operator_of(view, run, account)?;
    Ok(view.get::<Coverage>(&keys::coverage(run, &operator))?.map_or(0, |coverage| coverage.stages))
}

pub(crate) fn declare(view: &mut View<'_>, sender: &PublicKey, action: &DeclareOperator) -> Result<(), Stop> {
    let (run, operator) = (action.run, action.operator);
    let key = keys::affiliation(&run, sender);
    view.want([
        key,
        keys::affiliation(&run, &operator),
        keys::coverage(&run, &operator),
        keys::coverage(&run, sender),
        keys::concentration(&run),
        keys::member(&run, sender),
        keys::member(&run, &operator),
    ])?;
    let (terms, _) = run::load(view, &run)?;
    let statement = Affiliated { network: view.context.network, run, account: *sender, operator };
    let signer = account::signer(view, &operator)?;
    if *sender == operator || !signer.verify(AFFILIATED, &statement, &action.signature) {
        return Err(TxError::Affiliation { account: *sender, operator }.into());
    }
    let chained = view.get::<Affiliation>(&keys::affiliation(&run, &operator))?.is_some()
        || view.get::<Coverage>(&keys::coverage(&run, sender))?.is_some();
    if chained || view.get::<Affiliation>(&key)?.is_some() {
        // One level: the largest operator is found by looking at operators only.
        return Err(
            TxError::Duplicate { what: "operator or operated identity", id: sender.to_string() }.into()
        );
    }
    view.put(key, Affiliation { run, account: *sender, operator });
    let stage_of = |view: &View<'_>, account: &PublicKey| -> Result<u128, Stop> {
        let member = view.get::<Member>(&keys::member(&run, account))?.filter(|member| member.seated);
        let stage = member.and_then(|member| member.stage);
        Ok(stage.map_or(0, |stage| 1 << stage))
    };
    let mut coverage = match view.get::<Coverage>(&keys::coverage(&run, &operator))? {
        Some(coverage) => coverage,
        None => Coverage { run, operator, stages: stage_of(view, &operator)?, identities: 1 },
    };
    coverage.stages |= stage_of(view, sender)?;
    coverage.identities = coverage.identities.saturating_add(1);
    keep(view, &terms, coverage)?;
    view.emit(OperatorDeclared { run, account: *sender, operator });
    seat::heard(view, &run, sender)
}

pub(crate) fn concentration(view: &View<'_>, run: &Hash) -> Result<Concentration, Stop> {
    let none = Concentration { run: *run, identities: 0, operator: None, coverage: 0 };
    Ok(view.get(&keys::concentration(run))?.unwrap_or(none))
}

/// Keep a coverage that may have grown, and the largest of the run.
fn keep(view: &mut View<'_>, terms: &RunTerms, coverage: Coverage) -> Result<(), Stop> {
    let mut most = concentration(view, &terms.run)?;
    let stages = covered(coverage.stages, terms.stages);
    // Ties fall to the smaller key, so that the order of transactions does not show.
    let before = most.operator.map(|operator| (std::cmp::Reverse(most.coverage), operator));
    if before.is_none_or(|before| (std::cmp::Reverse(stages), coverage.operator) < before) {
        (most.operator, most.coverage) = (Some(coverage.operator), stages);
        view.put(keys::concentration(&terms.run), most);
    }
    view.put(keys::coverage(&terms.run, &coverage.operator), coverage);
    Ok(())
}

/// Note that `account` is seated in `stage`, for the `first` time if it says so.
pub(crate) fn seated(
    view: &mut View<'_>,
    terms: &RunTerms,
    account: &PublicKey,
    stage: u16,
    first: bool,
) -> Result<(), Stop> {
    if first {
        let mut counted = concentration(view, &terms.run)?;
        counted.identities = counted.identities.saturating_add(1);
        view.put(keys::concentration(&terms.run), counted);
    }
    let operator = operator_of(view, &terms.run, account)?;
    if let Some(mut coverage) = view.get::<Coverage>(&keys::coverage(&terms.run, &operator))? {
        coverage.stages |= 1 << stage;
        keep(view, terms, coverage)?;
    }
    Ok(())
}
