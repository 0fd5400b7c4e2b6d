//! `tessera chat`: spend a credential on a completion.

use crate::context::{Output, Place};
use anyhow::{Context as _, Result};
use serde_json::json;
use std::{io::Write as _, path::PathBuf};
use tessera_canon::Hash;
use tessera_ledger::record::LockState;
use tessera_model::Tokenizer;
use tessera_node::{
    amount::{self, Amount},
    chat::{self, ChatRequest, Credential},
};
use tessera_wire::serving::Sampling;

#[derive(Debug, clap::Args)]
pub(crate) struct Chat {
    #[command(flatten)]
    place: Place,
    /// Specification of the run that shall answer
    #[arg(long, value_name = "SPEC.toml")]
    run: PathBuf,
    /// The text to continue
    #[arg(long)]
    prompt: String,
    /// Tokens to generate
    #[arg(long, default_value_t = 48)]
    tokens: u32,
    /// 0 always takes the likeliest token
    #[arg(long, default_value_t = 0.8)]
    temperature: f64,
    /// Choose among this many likeliest tokens; 0 for all
    #[arg(long, default_value_t = 40)]
    top_k: u32,
    /// Makes the choice repeatable
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Most U per credit for the hosts
    #[arg(long, value_name = "U", default_value = "0.001")]
    fee: Amount,
    /// Use an order that is locked already instead of locking notes
    #[arg(long, value_name = "ORDER")]
    order: Option<Hash>,
    /// Wait until the session is settled for good and the change note is back
    #[arg(long)]
    wait: bool,
}

pub(crate) async fn run(chat: Chat, output: Output) -> Result<()> {
    let spec = crate::run::read_spec(&chat.run)?;
    let tokenizer = Tokenizer::embedded(spec.model.vocab as usize)?;
    let prompt = tokenizer.encode(&chat.prompt)?;
    let request = ChatRequest {
        generate: chat.tokens,
        sampling: Sampling {
            temperature_milli: (chat.temperature.clamp(0.0, 100.0) * 1000.0).round() as u32,
            top_k: chat.top_k,
            seed: chat.seed,
        },
        fee_per_cu: chat.fee.0,
        prompt,
    };
    chat::check_length(&spec, &request)?;
    let folder = chat.place.folder()?;
    let key = chat.place.key()?;
    let visitor = chat.place.enter().await?;
    let view = visitor.ledger.run(&spec.run_id()).await?;
    let credential = match &chat.order {
        Some(order) => Credential::load(&folder, order)?,
        None => {
            let needed = chat::cost(&view.price(), &request);
            let fee = request.fee_per_cu;
            let made = chat::lock_notes(&visitor.ledger, &folder, &key, &view, needed, fee).await?;
            eprintln!("locked {} cu in order {}", made.order.cu, made.id());
            made
        }
    };
    let mut stream = tokenizer.stream();
    let mut text = String::new();
    if !output.json {
        print!("{}", chat.prompt);
    }
    let answered = chat::session(&visitor, &spec, &view, &credential, &request, |token| {
        let piece = stream.push(token).unwrap_or_default();
        text.push_str(&piece);
        if !output.json {
            print!("{piece}");
            std::io::stdout().flush().ok();
        }
    })
    .await?;
    let rest = stream.finish();
    text.push_str(&rest);
    if !output.json {
        println!("{rest}");
    }
    let state =
        chat::settled(&visitor.ledger, &credential.id(), !chat.wait).await.context("after the completion")?;
    let summary = &answered.summary;
    let (cu, fees) = summary.settled.unwrap_or((summary.delivered, 0));
    let object = json!({
        "run": spec.run_id(), "order": credential.id(), "prompt": chat.prompt, "text": text,
        "prompt_tokens": summary.prompt_tokens, "generated_tokens": summary.generated_tokens,
        "cu_locked": credential.order.cu, "cu_used": cu, "fees": amount::show(fees), "route": summary.route,
        "first_token_s": answered.first_s, "total_s": answered.total_s, "settled": state == LockState::Final,
    });
    if output.json {
        output.result(&object, String::new);
    } else {
        eprintln!(
            "{} tokens through {} hosts in {:.2} s; {cu} of {} cu used, {} U to the hosts",
            summary.generated_tokens,
            summary.route.len(),
            answered.total_s,
            credential.order.cu,
            amount::show(fees),
        );
    }
    visitor.leave().await;
    Ok(())
}
