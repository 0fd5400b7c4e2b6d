//! The `tessera` command.
//!
//! Every command is a module with its flags and their help. Results go to standard output (with `--json` one
//! object), progress and logs to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the ledger
//! refused, 4 the network did not answer.

mod audit;
mod bench;
mod chat;
mod context;
mod demo;
mod doctor;
mod explain;
mod ledger;
mod market;
mod network;
mod node;
mod run;
mod shares;
mod vote;
mod wallet;

use clap::Parser as _;
use context::Output;
use std::process::ExitCode;

/// Train, own and use models together: a decentralised swarm in one program
#[derive(Debug, clap::Parser)]
#[command(name = "tessera", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    /// Print one JSON object on standard output, for scripts
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run a whole swarm on this machine: train, own, sell, complete
    Demo(demo::Demo),
    /// Make a network
    #[command(subcommand)]
    Network(network::Command),
    /// Take part in a network until stopped
    Node(node::Node),
    /// Design, publish and look at runs
    #[command(subcommand)]
    Run(run::Command),
    /// Keys, money, notes
    #[command(subcommand)]
    Wallet(wallet::Command),
    /// Buy and sell credits and shares in sealed auctions
    #[command(subcommand)]
    Market(market::Command),
    /// Propose changes of a run or of the network, vote, carry out
    #[command(subcommand)]
    Vote(vote::Command),
    /// Spend a credential on a completion
    Chat(chat::Chat),
    /// Show who owns a run, and from which work
    Shares(shares::Shares),
    /// Look at the ledger
    #[command(subcommand)]
    Ledger(ledger::Command),
    /// Show what was audited in a run, what was disputed, and what it cost whom
    Audit(audit::Audit),
    /// Say why a balance is what it is, from proved events, or what was checked of a unit of work
    Explain(explain::Explain),
    /// Check whether this machine can take part, and how fast it is
    Doctor(doctor::Doctor),
    /// Measure speed and memory against the machine's limits and its last stored results
    #[command(subcommand)]
    Bench(bench::Command),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output { json: cli.json };
    // A command that fails leaves its connections to the end of the process, of which `iroh` would complain.
    let filter = tracing_subscriber::EnvFilter::try_from_env("TESSERA_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,iroh::socket=off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // Two threads carry the sockets; arithmetic has its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome =
        runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(dispatch(cli.command, output)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output.failure(&error),
    }
}

async fn dispatch(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Demo(demo) => demo::run(demo, output).await,
        Command::Network(command) => network::run(command, output),
        Command::Node(node) => node::run(node, output).await,
        Command::Run(command) => run::run(command, output).await,
        Command::Wallet(command) => wallet::run(command, output).await,
        Command::Market(command) => market::run(command, output).await,
        Command::Vote(command) => vote::run(command, output).await,
        Command::Chat(chat) => chat::run(chat, output).await,
        Command::Shares(shares) => shares::run(shares, output).await,
        Command::Ledger(command) => ledger::run(command, output).await,
        Command::Audit(audit) => audit::run(audit, output).await,
        Command::Explain(explain) => explain::run(explain, output).await,
        Command::Doctor(doctor) => doctor::run(doctor, output),
        Command::Bench(bench) => bench::run(bench, output),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn flags_do_not_contradict_each_other() {
        super::Cli::command().debug_assert();
    }
}
