//! `tessera network`: make a network.

use crate::context::{Output, now_ms};
use anyhow::Result;
use serde_json::json;
use std::{net::IpAddr, path::PathBuf, str::FromStr};
use tessera_canon::PublicKey;
use tessera_ledger::{Parameters, runs::policy::Policy, trust::TrustParams};
use tessera_node::{
    amount::{self, Amount},
    network::{NetworkPlan, create},
};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a new network: a network file and one folder for each validator
    New(New),
}

#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// Folder to fill; must not hold a network
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of validators; 3f + 1 of them withstand f faults
    #[arg(long, default_value_t = 4)]
    validators: u16,
    /// Name for people, at most 32 bytes
    #[arg(long, default_value = "tessera")]
    name: String,
    /// Balance at the beginning, as KEY=U; may be repeated
    #[arg(long, value_name = "KEY=U")]
    fund: Vec<Fund>,
    /// Parameters: `public` (one block a second, long delays), `demo` (minutes instead of weeks) or `demo-audits`
    /// (the same with every fourth unit audited, and shares pending for as long as a dispute takes)
    #[arg(long, value_enum, default_value_t = Preset::Public)]
    params: Preset,
    /// Address on which all validators listen
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    host: IpAddr,
    /// Validator i listens on this port + i (UDP and TCP); 0 takes free ports
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    first_port: u16,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Preset {
    Public,
    Demo,
    DemoAudits,
}

/// The parameters of a network that shows audits: many of them, and pending spans and evidence longer than a dispute
/// on a busy machine, so that everything a cheat did is still undone when it is convicted.
fn demo_audits() -> Parameters {
    let demo = Parameters::demo();
    let trust = TrustParams {
        unit_rate: 2_500,
        probation_rate: 2_500,
        evidence_windows: 10,
        step_blocks: 60,
        ..TrustParams::demo()
    };
    Parameters { policy: Policy { pending_windows: 8, ..demo.policy.clone() }, trust, ..demo }
}

/// A first balance.
#[derive(Clone, Debug)]
struct Fund(PublicKey, u128);
impl FromStr for Fund {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (key, u) =
            text.split_once('=').ok_or("expected KEY=U, for example 64 hexadecimal digits, =, 1000")?;
        let key = key.parse().map_err(|error| format!("{error}"))?;
        Ok(Self(key, u.parse::<Amount>().map_err(|error| error.to_string())?.0))
    }
}

pub(crate) fn run(command: Command, output: Output) -> Result<()> {
    let Command::New(new) = command;
    let params = match new.params {
        Preset::Public => Parameters::default(),
        Preset::Demo => Parameters::demo(),
        Preset::DemoAudits => demo_audits(),
    };
    let plan = NetworkPlan {
        name: new.name,
        validators: new.validators,
        fund: new.fund.into_iter().map(|Fund(key, balance)| (key, balance)).collect(),
        params,
        host: new.host,
        first_port: new.first_port,
        time_ms: now_ms(),
    };
    let made = create(&plan, &new.out)?;
    let validators: Vec<_> = made
        .network
        .validators
        .iter()
        .zip(&made.folders)
        .map(|(entry, folder)| {
            json!({ "key": entry.key, "rpc": entry.rpc, "consensus": entry.consensus, "folder": folder })
        })
        .collect();
    let funded: u128 = plan.fund.iter().map(|(_, balance)| balance).sum();
    let object = json!({
        "network_id": made.network.id,
        "name": &*made.network.genesis.name,
        "network": made.path,
        "validators": validators,
        "funded": amount::show(funded),
    });
    output.result(&object, || {
        let mut text = format!("network {} ({})\n", &*made.network.genesis.name, made.network.id);
        text += &format!("network file  {}   give it to every participant\n", made.path.display());
        text += &format!("issued        {} U to {} accounts\n", amount::show(funded), plan.fund.len());
        text += "start each validator with:\n";
        for folder in &made.folders {
            text += &format!("  tessera node --validate --dir {}\n", folder.display());
        }
        text
    });
    Ok(())
}
