//! Say what the demo showed, as an object for scripts and as a page for people.

use serde_json::{Value, json};

/// One owner at the end.
pub(crate) struct Owner {
    pub(crate) name: String,
    pub(crate) account: String,
    pub(crate) percent: f64,
    pub(crate) microbatches: u64,
    pub(crate) stages: Value,
    pub(crate) windows: Value,
}

/// Everything the demo saw.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) wall_s: f64,
    pub(crate) steps: u64,
    pub(crate) tokens: u64,
    pub(crate) train_s: f64,
    pub(crate) loss_start: f64,
    pub(crate) loss_end: f64,
    pub(crate) unigram_entropy: f64,
    pub(crate) tokens_per_s: f64,
    pub(crate) bit_identical: bool,
    pub(crate) state_roots: Vec<String>,
    pub(crate) reference_roots: Vec<String>,
    pub(crate) reference_s: f64,
    pub(crate) owners: Vec<Owner>,
    pub(crate) sale: Value,
    pub(crate) completion: Value,
    pub(crate) refused: Vec<Value>,
    pub(crate) received: Vec<Value>,
    pub(crate) cheat: Option<Value>,
    pub(crate) kill: Option<Value>,
    pub(crate) kill_validator: Option<Value>,
    pub(crate) seats: u64,
    pub(crate) stages: u64,
    pub(crate) validators: u64,
    pub(crate) late_joiners: u64,
    pub(crate) replayed: u64,
    pub(crate) trainer_peak: u64,
    pub(crate) validator_peak: u64,
    pub(crate) height: u64,
    pub(crate) losses: Vec<(u64, f64)>,
}

impl Report {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "wall_s": self.wall_s,
            "train": {
                "steps": self.steps, "tokens": self.tokens, "wall_s": self.train_s,
                "loss_start": self.loss_start, "loss_end": self.loss_end,
                "unigram_entropy": self.unigram_entropy, "tokens_per_s": self.tokens_per_s,
                "losses": self.losses, "stages": self.stages, "seats": self.seats, "late_joiners": self.late_joiners,
                "replayed_units": self.replayed,
            },
            "bit_identical": self.bit_identical,
            "state_roots": self.state_roots,
            "reference": { "state_roots": self.reference_roots, "wall_s": self.reference_s },
            "shares": self.owners.iter().map(|o| json!({
                "name": o.name, "account": o.account, "percent": o.percent, "microbatches": o.microbatches,
                "stages": o.stages, "windows": o.windows,
            })).collect::<Vec<_>>(),
            "sale": self.sale,
            "completion": self.completion,
            "refused": self.refused,
            "owners_received": self.received,
            "cheat": self.cheat,
            "kill": self.kill,
            "kill_validator": self.kill_validator,
            "ledger": { "validators": self.validators, "height": self.height },
            "memory": { "trainer_peak_bytes": self.trainer_peak, "validator_peak_bytes": self.validator_peak },
        })
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = String::from("\n== What happened\n");
        let text_of = |value: &Value, name: &str| value[name].as_str().unwrap_or("?").to_string();
        text += &format!(
            "training    {} steps, {} tokens in {:.1} s ({:.0} tokens/s) on {} stages x {} seats, {} joined while it ran\n",
            self.steps,
            self.tokens,
            self.train_s,
            self.tokens_per_s,
            self.stages,
            self.seats,
            self.late_joiners
        );
        text += &format!(
            "loss        {:.3} -> {:.3} nats per token on held-out text (guessing by frequency alone: {:.3})\n",
            self.loss_start, self.loss_end, self.unigram_entropy
        );
        let verdict = if self.bit_identical { "equal, bit for bit" } else { "DIFFERENT" };
        text += &format!("exactness   swarm and one process on one machine: {verdict}\n");
        for (stage, root) in self.state_roots.iter().enumerate() {
            text += &format!("            stage {stage}  {root}\n");
        }
        if let Some(cheat) = &self.cheat {
            text += &super::cheat::text(cheat);
        }
        if let Some(kill) = &self.kill {
            text += &format!(
                "crash       {} was killed at step {} and back at work {:.1} s after its start; {} units were replayed, none lost\n",
                text_of(kill, "victim"),
                kill["step"],
                kill["rejoin_s"].as_f64().unwrap_or(0.0),
                self.replayed
            );
        }
        if let Some(kill) = &self.kill_validator {
            text += &format!(
                "            {} was killed too; the ledger made {} blocks without it\n",
                text_of(kill, "victim"),
                kill["blocks_without"]
            );
        }
        text += "owners      (shares = verified work x risk weight of its window)\n";
        for owner in &self.owners {
            text += &format!(
                "            {:<12} {:>6.2} %  {:>4} microbatches of stage {} in windows {}\n",
                owner.name,
                owner.percent,
                owner.microbatches,
                plain(&owner.stages),
                plain(&owner.windows)
            );
        }
        text += &format!(
            "sale        {} sold {} credits to {} at {} U each, the one price of a sealed auction\n",
            text_of(&self.sale, "seller_name"),
            self.sale["cu"],
            text_of(&self.sale, "buyer_name"),
            text_of(&self.sale, "price")
        );
        text += &format!(
            "completion  {} tokens through {} hosts in {:.2} s for {} credits\n            \"{}{}\"\n",
            self.completion["generated_tokens"],
            self.completion["route"].as_array().map_or(0, Vec::len),
            self.completion["total_s"].as_f64().unwrap_or(0.0),
            self.completion["cu_used"],
            text_of(&self.completion, "prompt"),
            text_of(&self.completion, "text").replace('\n', " "),
        );
        for refused in &self.refused {
            text += &format!("refused     {}: {}\n", text_of(refused, "what"), text_of(refused, "reason"));
        }
        text += "received    (used credits are absorbed and allotted anew to the owners)\n";
        for owner in &self.received {
            text += &format!("            {:<12} {:>4} credits\n", text_of(owner, "name"), owner["cu"]);
        }
        text += &format!(
            "ledger      {} validators, {} blocks\nmemory      at most {:.0} MB a trainer, {:.0} MB a validator\n",
            self.validators,
            self.height,
            self.trainer_peak as f64 / 1e6,
            self.validator_peak as f64 / 1e6
        );
        text += &format!("time        {:.1} s in all\n", self.wall_s);
        text
    }
}

fn plain(list: &Value) -> String {
    list.as_array()
        .map_or("?".into(), |items| items.iter().map(Value::to_string).collect::<Vec<_>>().join(","))
}
