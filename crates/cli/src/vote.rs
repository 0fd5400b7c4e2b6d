//! `tessera vote`: propose changes of a run or of the network, vote on them, carry them out.
//!
//! Values are given and shown in the unit of people (`0.05` U, `5%`); JSON has the exact integers beside them.

use crate::{
    context::{Output, Place, percent},
    wallet::{enter, with_receipt},
};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::str::FromStr;
use tessera_canon::{Hash, List, PublicKey};
use tessera_ledger::{
    Action,
    action::{
        Change, Changes, Choice, Delegate, Execute, MAX_CHANGES, MAX_VOTERS, Motion, PauseRun, Propose,
        ResumeRun, ResumeTraining, RetireRun, StartServing, StrikeMeasurement, Vote,
    },
    governance::parameter::{Network, Parameter},
    keys, query,
    record::{Proposal, ProposalState, RunPolicy, Tally},
};
use tessera_node::{
    amount::{self, Amount},
    daemon::Ledger,
    ledger::View,
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Post a proposal; the deposit comes back unless more than 80 % vote no
    Propose {
        #[command(flatten)]
        place: Place,
        /// Run id, or `network`
        scope: Scope,
        /// A parameter and its new value, for example reserve=0.05 or public-part=6%; may be repeated
        #[arg(long, value_name = "PARAMETER=NEW", conflicts_with = "motion")]
        set: Vec<Setting>,
        /// The run's course: pause, resume, serve, train-on=WU (work units more), retire,
        /// strike=MEASUREMENT (an extraction measurement that is false)
        #[arg(long, value_name = "MOTION", required_unless_present = "set")]
        motion: Option<Course>,
        /// U held meanwhile; by default the least
        #[arg(long, value_name = "U")]
        deposit: Option<Amount>,
        /// Height before which it shall not be carried out
        #[arg(long, default_value_t = 0)]
        not_before: u64,
    },
    /// List the proposals of a run or of the network
    List {
        #[command(flatten)]
        place: Place,
        /// Run id, or `network`
        scope: Scope,
    },
    /// Show a proposal, its votes, and this account's power
    Show {
        #[command(flatten)]
        place: Place,
        /// Proposal id
        id: Hash,
    },
    /// Vote
    Cast {
        #[command(flatten)]
        place: Place,
        /// Proposal id
        id: Hash,
        /// yes, no or abstain
        choice: Side,
        /// Accounts that delegated their votes to this one; may be repeated. By default its own votes
        #[arg(long, value_name = "KEY")]
        of: Vec<PublicKey>,
    },
    /// Let another account vote in a run from now on; one's own vote always wins
    Delegate {
        #[command(flatten)]
        place: Place,
        /// Run id
        run: Hash,
        /// Who votes
        #[arg(required_unless_present = "none")]
        to: Option<PublicKey>,
        /// Nobody any more
        #[arg(long, conflicts_with = "to")]
        none: bool,
    },
    /// Close a vote whose time is over, or carry out what passed
    Execute {
        #[command(flatten)]
        place: Place,
        /// Proposal id
        id: Hash,
    },
}

/// A run, or the network ([`Hash::ZERO`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scope(Hash);
impl FromStr for Scope {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "network" {
            return Ok(Self(Hash::ZERO));
        }
        let run =
            text.parse().map_err(|_| format!("expected a run id of 64 digits or `network`, got {text:?}"));
        run.map(Self)
    }
}

/// A vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Side {
    Yes,
    No,
    Abstain,
}
impl Side {
    fn choice(self) -> Choice {
        match self {
            Self::Yes => Choice::Yes,
            Self::No => Choice::No,
            Self::Abstain => Choice::Abstain,
        }
    }
}

/// A change of a run's course.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    Pause,
    Resume,
    Serve,
    TrainOn(u64),
    Retire,
    Strike(Hash),
}
impl FromStr for Course {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let more = text.strip_prefix("train-on=").map(str::parse);
        Ok(match (text, more) {
            ("pause", _) => Self::Pause,
            ("resume", _) => Self::Resume,
            ("serve", _) => Self::Serve,
            ("retire", _) => Self::Retire,
            (_, Some(Ok(wu))) => Self::TrainOn(wu),
            _ => match text.strip_prefix("strike=").map(str::parse) {
                Some(Ok(measurement)) => Self::Strike(measurement),
                _ => {
                    let known = "pause, resume, serve, train-on=WU, retire or strike=MEASUREMENT";
                    return Err(format!("expected {known}, got {text:?}"));
                }
            },
        })
    }
}
impl Course {
    fn motion(self) -> Motion {
        match self {
            Self::Pause => Motion::PauseRun(PauseRun {}),
            Self::Resume => Motion::ResumeRun(ResumeRun {}),
            Self::Serve => Motion::StartServing(StartServing {}),
            Self::TrainOn(max_wu) => Motion::ResumeTraining(ResumeTraining { max_wu }),
            Self::Retire => Motion::RetireRun(RetireRun {}),
            Self::Strike(measurement) => Motion::StrikeMeasurement(StrikeMeasurement { measurement }),
        }
    }
}

/// The command line's name of a parameter: `HostFeeCap` is `host-fee-cap`.
fn name(parameter: Parameter) -> String {
    let mut name = String::new();
    for letter in format!("{parameter:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// How people write a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// U.
    Money,
    /// 1/10 000, as per cent.
    Part,
    /// These words, for 0, 1 and so on.
    Words(&'static [&'static str]),
    Number,
}
fn form(parameter: Parameter) -> Form {
    match parameter {
        Parameter::Reserve
        | Parameter::HostFeeCap
        | Parameter::FeeFlat
        | Parameter::FeePerByte
        | Parameter::RunBond
        | Parameter::ValidatorBond => Form::Money,
        Parameter::RollHaircut
        | Parameter::AuditRate
        | Parameter::PublicPart
        | Parameter::Theta
        | Parameter::IssuancePart => Form::Part,
        Parameter::SupplyMode => Form::Words(&["capacity", "constant"]),
        Parameter::FeeToFund => Form::Words(&["burned", "fund"]),
        _ => Form::Number,
    }
}

/// `value` of `parameter`, for people.
fn shown(parameter: Parameter, value: u128) -> String {
    match form(parameter) {
        Form::Money => format!("{} U", amount::show(value)),
        Form::Part => format!("{}.{:02} %", value / 100, value % 100),
        Form::Words(words) => {
            let word = usize::try_from(value).ok().and_then(|at| words.get(at));
            word.map_or_else(|| value.to_string(), ToString::to_string)
        }
        Form::Number => value.to_string(),
    }
}

/// What somebody wrote for a parameter.
fn value_of(parameter: Parameter, text: &str) -> Result<u128, String> {
    let (expected, value) = match form(parameter) {
        Form::Money => ("an amount of U such as 0.05".to_string(), amount::parse(text).ok()),
        Form::Part => {
            // Nano per cent; 1/10 000 is 10^7 of them.
            let parts = text.strip_suffix('%').and_then(|part| amount::parse(part.trim()).ok());
            let parts = parts.filter(|parts| parts % 10_000_000 == 0).map(|parts| parts / 10_000_000);
            ("a part such as 5% (two decimals at most)".into(), parts)
        }
        Form::Words(words) => {
            let at = words.iter().position(|word| *word == text);
            (format!("one of {}", words.join(", ")), at.map(|at| at as u128))
        }
        Form::Number => ("a whole number".into(), text.parse().ok()),
    };
    value.ok_or_else(|| format!("expected {expected} for {}, got {text:?}", parameter.what()))
}

/// A parameter and its new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    parameter: Parameter,
    new: u128,
}
impl FromStr for Setting {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (wanted, value) =
            text.split_once('=').ok_or_else(|| format!("expected PARAMETER=NEW, got {text:?}"))?;
        let found = Parameter::ALL.iter().copied().find(|parameter| name(*parameter) == wanted);
        let parameter = found.ok_or_else(|| {
            let known: Vec<String> = Parameter::ALL.iter().map(|parameter| name(*parameter)).collect();
            format!("expected one of {}; got {wanted:?}", known.join(", "))
        })?;
        Ok(Self { parameter, new: value_of(parameter, value)? })
    }
}

pub(crate) async fn run(command: Command, output: Output) -> Result<()> {
    match command {
        Command::Propose { place, scope, set, motion, deposit, not_before } => {
            let (key, visitor) = enter(&place).await?;
            let run = scope.0;
            let motion = match motion {
                Some(course) => course.motion(),
                None => Motion::Changes(changes(&visitor.ledger, &run, &set).await?),
            };
            let terms =
                visitor.ledger.read(|view| query::governance(view.source())).await?.unwrap_or_default();
            let (class, deposit) = (motion.class(), deposit.map_or(terms.deposit, |deposit| deposit.0));
            let said = motion_text(&motion);
            let action = Propose { run, class, motion, deposit, not_before };
            let receipt = visitor.ledger.submit(&key, Action::Propose(action)).await?;
            let id = receipt.tx;
            let posted = visitor.ledger.read(|view| query::proposal(view.source(), &id)).await?;
            let (opens, ends) = posted.map_or((0, 0), |posted| (posted.opens, posted.ends));
            let object = json!({
                "proposal": id, "run": run, "class": format!("{class:?}"), "motion": said, "opens": opens,
                "ends": ends, "deposit": amount::show(deposit), "deposit_nano": deposit.to_string(),
            });
            output.result(&with_receipt(object, &receipt), || {
                format!(
                    "proposal {id} (class {class:?}): {said}\nvotes from height {opens} to {ends}: tessera vote cast {id} yes"
                )
            });
            visitor.leave().await;
            Ok(())
        }
        Command::List { place, scope } => list(&place, &scope.0, output).await,
        Command::Show { place, id } => show(&place, &id, output).await,
        Command::Cast { place, id, choice, of } => {
            let (key, visitor) = enter(&place).await?;
            let (mut of, got) = (of.clone(), of.len());
            of.sort_unstable();
            let of = List::new(of)
                .map_err(|_| anyhow::anyhow!("expected --of at most {MAX_VOTERS} times, got {got}"))?;
            let action = Vote { proposal: id, choice: choice.choice(), of: of.clone() };
            let receipt = visitor.ledger.submit(&key, Action::Vote(action)).await?;
            let mine = [key.public()];
            let accounts = if of.is_empty() { mine.to_vec() } else { of.to_vec() };
            let ballots: Vec<_> = visitor
                .ledger
                .read(|view| accounts.iter().map(|one| query::ballot(view.source(), &id, one)).collect())
                .await?;
            let votes: u128 = ballots.iter().flatten().map(|ballot| ballot.votes).sum();
            let said = format!("{choice:?}").to_lowercase();
            let object = json!({
                "proposal": id, "choice": said, "accounts": accounts, "votes": votes.to_string(),
            });
            output.result(&with_receipt(object, &receipt), || {
                format!("{votes} votes of {} accounts: {said}", accounts.len())
            });
            visitor.leave().await;
            Ok(())
        }
        Command::Delegate { place, run, to, none } => {
            let (key, visitor) = enter(&place).await?;
            let to = if none { None } else { to };
            let receipt = visitor.ledger.submit(&key, Action::Delegate(Delegate { run, to })).await?;
            output.result(&with_receipt(json!({ "run": run, "to": to }), &receipt), || match to {
                Some(to) => format!("{to} can vote for this account in run {run}"),
                None => format!("nobody votes for this account in run {run} any more"),
            });
            visitor.leave().await;
            Ok(())
        }
        Command::Execute { place, id } => {
            let (key, visitor) = enter(&place).await?;
            let receipt = visitor.ledger.submit(&key, Action::Execute(Execute { proposal: id })).await?;
            let now = visitor.ledger.read(|view| query::proposal(view.source(), &id)).await?;
            let state = now.map(|proposal| format!("{:?}", proposal.state));
            let object = json!({ "proposal": id, "state": state });
            output.result(&with_receipt(object, &receipt), || {
                format!("proposal {id}: {}", state.as_deref().unwrap_or("unknown"))
            });
            visitor.leave().await;
            Ok(())
        }
    }
}

/// The changes, with the values in force as the old ones.
async fn changes(ledger: &Ledger, run: &Hash, set: &[Setting]) -> Result<Changes> {
    let read = |view: &View| {
        let policy = view.read::<RunPolicy>(&keys::run_policy(run)).map(|record| record.policy);
        let network = Some(Network {
            base: query::params(view.source()).unwrap_or_default(),
            security: view.read(&keys::security()).unwrap_or_default(),
            issuance: query::issuance(view.source())?,
        });
        Some((policy, network))
    };
    let (policy, network) = ledger.read(read).await?.context("the network has no schedule of issuance")?;
    let mut changes = Vec::new();
    for Setting { parameter, new } in set {
        let old = match *run == Hash::ZERO {
            true => network.as_ref().and_then(|network| parameter.in_network(network)),
            false => {
                let policy = policy.as_ref();
                let policy = policy
                    .with_context(|| format!("run {run} is not on the ledger; see `tessera run list`"))?;
                parameter.in_policy(policy)
            }
        };
        let Some(old) = old else {
            let (expected, got) =
                if parameter.of_network() { ("network", "a run") } else { ("a run id", "network") };
            bail!("{}: expected `tessera vote propose` for {expected}, got {got}", name(*parameter));
        };
        changes.push(Change { parameter: *parameter, old, new: *new });
    }
    let got = changes.len();
    let changes = List::new(changes).map_err(|_| {
        anyhow::anyhow!("expected --set at most {MAX_CHANGES} times, got {got}; propose in two parts")
    })?;
    Ok(Changes { changes })
}

/// A motion in words.
fn motion_text(motion: &Motion) -> String {
    match motion {
        Motion::Changes(list) => {
            let one = |change: &Change| {
                let (parameter, old, new) = (change.parameter, change.old, change.new);
                format!("{} from {} to {}", name(parameter), shown(parameter, old), shown(parameter, new))
            };
            list.changes.iter().map(one).collect::<Vec<_>>().join(", ")
        }
        Motion::PauseRun(_) => "pause training".into(),
        Motion::ResumeRun(_) => "resume training after a pause".into(),
        Motion::StartServing(_) => "end training and serve".into(),
        Motion::ResumeTraining(more) => format!("train further, by at most {} work units", more.max_wu),
        Motion::RetireRun(_) => "wind the run down".into(),
        Motion::RaiseTarget(target) => {
            format!("raise the target from {} to {} work units", target.old, target.new)
        }
        Motion::AmendPlan(plan) => format!("replace training plan {} by {}", plan.old, plan.new),
        Motion::StrikeMeasurement(strike) => {
            format!("strike measurement {} out as false", strike.measurement)
        }
    }
}

/// A proposal with its motion and votes.
struct Whole {
    proposal: Proposal,
    motion: Option<Motion>,
    tally: Option<Tally>,
}
impl Whole {
    fn read(view: &View, id: &Hash) -> Option<Self> {
        let (proposal, motion, tally) = (
            query::proposal(view.source(), id),
            query::motion(view.source(), id),
            query::tally(view.source(), id),
        );
        Some(Self { proposal: proposal?, motion: motion.map(|motion| motion.motion), tally })
    }
    fn votes(&self) -> (u128, u128, u128) {
        self.tally.as_ref().map_or((0, 0, 0), |tally| (tally.yes, tally.no, tally.abstain))
    }
    fn motion(&self) -> String {
        self.motion.as_ref().map_or_else(|| "unknown".into(), motion_text)
    }
    fn json(&self) -> Value {
        let (p, (yes, no, abstain)) = (&self.proposal, self.votes());
        json!({
            "proposal": p.id, "run": p.run, "proposer": p.proposer, "class": format!("{:?}", p.class),
            "state": format!("{:?}", p.state), "motion": self.motion(),
            "details": self.motion.as_ref().map(tessera_client::json::json), "opens": p.opens, "ends": p.ends,
            "ready": p.ready, "deposit": amount::show(p.deposit), "deposit_nano": p.deposit.to_string(),
            "total": p.total.to_string(), "yes": yes.to_string(), "no": no.to_string(),
            "abstain": abstain.to_string(), "quorum_at": self.tally.as_ref().and_then(|tally| tally.quorum_at),
        })
    }
    fn text(&self, height: u64) -> String {
        let (p, (yes, no, abstain)) = (&self.proposal, self.votes());
        let mut text = format!("{}  class {:?}  {:?}\n  {}\n", p.id, p.class, p.state, self.motion());
        text += &format!(
            "  yes {} %, no {} %, abstain {} % of {} votes\n",
            percent(yes, p.total),
            percent(no, p.total),
            percent(abstain, p.total),
            p.total
        );
        text += &match p.state {
            ProposalState::Open if height < p.opens => format!("  votes in {} blocks\n", p.opens - height),
            ProposalState::Open if height <= p.ends => {
                format!("  votes for {} blocks more\n", p.ends - height)
            }
            ProposalState::Open => "  the vote is over; close it with `tessera vote execute`\n".into(),
            ProposalState::Passed if height < p.ready => {
                format!("  carried out in {} blocks or later\n", p.ready - height)
            }
            ProposalState::Passed => "  ready; carry it out with `tessera vote execute`\n".into(),
            _ => String::new(),
        };
        text
    }
}

async fn list(place: &Place, run: &Hash, output: Output) -> Result<()> {
    let visitor = place.enter().await?;
    let (height, found) = visitor
        .ledger
        .read(|view| {
            let ids = query::list(view.source(), &keys::list_of_proposals(run));
            let found: Vec<Option<Whole>> = ids.iter().map(|id| Whole::read(view, id)).collect();
            (view.height, found)
        })
        .await?;
    let found: Vec<Whole> = found.into_iter().flatten().collect();
    let items: Vec<Value> = found.iter().map(Whole::json).collect();
    output.result(&json!({ "run": run, "height": height, "proposals": items }), || {
        if found.is_empty() {
            return "no proposals; post one with `tessera vote propose`".into();
        }
        found.iter().map(|whole| whole.text(height)).collect()
    });
    visitor.leave().await;
    Ok(())
}

async fn show(place: &Place, id: &Hash, output: Output) -> Result<()> {
    // Without a key in the folder the proposal is shown all the same.
    let me = place.key().ok().map(|key| key.public());
    let visitor = place.enter().await?;
    let read = |view: &View| {
        let whole = Whole::read(view, id)?;
        let power = me.map(|me| query::power(view.source(), &whole.proposal, &me));
        let ballot = me.and_then(|me| query::ballot(view.source(), id, &me));
        Some((view.height, whole, power, ballot))
    };
    let found = visitor.ledger.read(read).await?;
    let (height, whole, power, ballot) =
        found.with_context(|| format!("proposal {id} is not on the ledger; see `tessera vote list RUN`"))?;
    let mut object = whole.json();
    object["height"] = json!(height);
    object["own"] = json!({
        "account": me, "votes": power.as_ref().map(|(votes, _)| votes.to_string()),
        "work": power.as_ref().map(|(_, work)| work.to_string()),
        "voted": ballot.as_ref().map(|ballot| format!("{:?}", ballot.choice).to_lowercase()),
    });
    output.result(&object, || {
        let mut text = whole.text(height);
        if let Some((votes, _)) = &power {
            let voted =
                ballot.map_or("not voted yet".into(), |b| format!("voted {:?}", b.choice).to_lowercase());
            text += &format!("  this account: {votes} votes, {voted}\n");
        }
        text
    });
    visitor.leave().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_has_a_name_and_reads_what_it_shows() {
        for parameter in Parameter::ALL {
            let value = if matches!(form(*parameter), Form::Words(_)) { 1 } else { 600 };
            let text = shown(*parameter, value);
            let text = text.trim_end_matches(" U").replace(" %", "%");
            let setting: Setting = format!("{}={text}", name(*parameter)).parse().unwrap();
            assert_eq!(setting, Setting { parameter: *parameter, new: value });
        }
        assert_eq!(name(Parameter::HostFeeCap), "host-fee-cap");
        assert_eq!("reserve=0.05".parse(), Ok(Setting { parameter: Parameter::Reserve, new: 50_000_000 }));
        assert_eq!("public-part=6%".parse(), Ok(Setting { parameter: Parameter::PublicPart, new: 600 }));
    }

    #[test]
    fn wrong_settings_say_what_is_expected() {
        for (text, part) in [
            ("reserve", "PARAMETER=NEW"),
            ("price=3", "one of prompt-tokens"),
            ("reserve=x", "an amount of U"),
            ("theta=600", "a part such as 5%"),
            ("theta=0.001%", "two decimals"),
            ("supply-mode=free", "one of capacity, constant"),
            ("lock-fee=1.5", "a whole number"),
        ] {
            let error = text.parse::<Setting>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert_eq!("train-on=7".parse(), Ok(Course::TrainOn(7)));
        assert_eq!(format!("strike={}", Hash([3; 32])).parse(), Ok(Course::Strike(Hash([3; 32]))));
        assert!("train-on".parse::<Course>().unwrap_err().contains("train-on=WU"));
        assert_eq!("network".parse(), Ok(Scope(Hash::ZERO)));
        assert!("net".parse::<Scope>().unwrap_err().contains("`network`"));
    }
}
