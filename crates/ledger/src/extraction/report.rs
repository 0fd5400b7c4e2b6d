//! Make the extraction report of every run at an epoch boundary, and show it with what was not measured named so.
//!
//! The report is a cell (the last one) and an event (all of them). If kappa is below the floor that the run's
//! owners set, theta rises by an eighth, up to 1; only a vote lowers it again.

use crate::{
    event::ThetaRaised,
    extraction::{kappa::kappa, measurement, operator},
    keys,
    record::{ExtractionReport, Lineage, RunPolicy, RunState, Stage},
    run,
    runs::policy,
    store::{Stop, View},
};
use std::fmt;
use tessera_canon::Hash;

/// By how much theta rises while kappa is below its floor, 1/10 000.
pub const THETA_STEP: u16 = 1250;

pub(crate) fn boundary(view: &mut View<'_>, id: &Hash, epoch: u64) -> Result<(), Stop> {
    view.want([keys::extraction_params(), keys::concentration(id), keys::run_policy(id), keys::lineage(id)])?;
    let (terms, run) = run::load(view, id)?;
    let measured = measurement::expire(view, id, epoch)?;
    if matches!(run.state, RunState::Aborted | RunState::Retired) {
        return Ok(());
    }
    view.want((0..terms.stages).map(|stage| keys::stage(id, stage)))?;
    let mut held = 0;
    for stage in 0..terms.stages {
        held += view.must::<Stage>(&keys::stage(id, stage), "stage", stage)?.held.count_ones();
    }
    let lineage = view.get::<Lineage>(&keys::lineage(id))?;
    let f_done = run::flops(&terms, &run, lineage.as_ref()) / u128::from(terms.wu_flops.max(1));
    let mut policy = policy::of(view, id)?;
    let counted = operator::concentration(view, id)?;
    let measured_mu = measured.iter().map(|found| found.mu).max();
    let mu = measured_mu.unwrap_or(measurement::params(view)?.assumed_mu);
    let open = (0..terms.stages).filter(|stage| terms.is_open(*stage)).count() as u16;
    let kappa = kappa(terms.stages, open, terms.seats, policy.theta, mu);
    let warn = kappa < u32::from(policy.kappa_floor) * 100;
    let report = ExtractionReport {
        run: *id,
        epoch,
        stages: terms.stages,
        open,
        seats: terms.seats,
        held,
        identities: counted.identities,
        f_done: u64::try_from(f_done).unwrap_or(u64::MAX),
        theta: policy.theta,
        foreign_work: policy.foreign_work,
        mu,
        kappa,
        largest: counted.operator,
        coverage: counted.coverage,
        measured_mu,
        repair: measured.iter().map(|found| found.repair).min(),
        warn,
    };
    view.put(keys::extraction_report(id), report.clone());
    view.emit(report);
    if warn && policy.theta < 10_000 {
        policy.theta = policy.theta.saturating_add(THETA_STEP).min(10_000);
        view.emit(ThetaRaised { run: *id, kappa, theta: policy.theta });
        view.put(keys::run_policy(id), RunPolicy { run: *id, policy });
    }
    Ok(())
}

/// A ratio in per cent with `digits` after the point, rounded down.
struct Percent(u64, u64, usize);
impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(number, of, digits) = *self;
        let scale = 10u128.pow(digits as u32);
        let scaled = u128::from(number) * 100 * scale / u128::from(of.max(1));
        write!(f, "{}.{:0digits$} %", scaled / scale, scaled % scale)
    }
}

impl fmt::Display for ExtractionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_ten_thousand = |part: u16| Percent(part.into(), 10_000, 2);
        let millionths = |part: u32| Percent(part.into(), 1_000_000, 2);
        writeln!(f, "extraction report of run {}, epoch {}", self.run, self.epoch)?;
        writeln!(f, "stages (S)              {} ({} open)", self.stages, self.open)?;
        writeln!(f, "seats of a stage (R)    {} ({} held in all)", self.seats, self.held)?;
        writeln!(f, "identities ever seated  {}", self.identities)?;
        writeln!(f, "work so far (F)         {} wu", self.f_done)?;
        writeln!(f, "admission work (theta)  {} of an average seat's", per_ten_thousand(self.theta))?;
        writeln!(f, "  from other runs       up to {}", per_ten_thousand(self.foreign_work))?;
        write!(f, "kappa                   {} of F, assuming", millionths(self.kappa))?;
        writeln!(f, " that {} of the stages can be missing", per_ten_thousand(self.mu))?;
        match self.largest {
            Some(operator) => {
                writeln!(f, "largest declared        {} stages by {operator}", self.coverage)?;
            }
            None => writeln!(f, "largest declared        none was declared")?,
        }
        match self.measured_mu {
            Some(mu) => writeln!(f, "mu                      {}, measured", per_ten_thousand(mu))?,
            None => writeln!(f, "mu                      not measured")?,
        }
        match self.repair {
            Some(repair) => writeln!(f, "repair cost             {} of F, measured", millionths(repair))?,
            None => writeln!(f, "repair cost             not measured")?,
        }
        let status = if self.warn { "WARN: kappa is below the owners' floor" } else { "OK" };
        write!(f, "status                  {status}")
    }
}
