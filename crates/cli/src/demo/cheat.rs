//! Tell what became of the trainer that cheats: who caught it, the dispute, the penalty, and what it cost the others.

use super::swarm::Swarm;
use serde_json::{Value, json};

/// How the demo's cheat cheats: the flag of `tessera node`, and in words.
pub(super) const KIND: &str = "lazy";
const IN_WORDS: &str = "sends zeros instead of work";

/// The cheat's story. `trail` is what `tessera audit` says of the run, `owners` what `tessera shares` says.
pub(super) fn story(swarm: &Swarm, cheat: &str, trail: &Value, owners: &[super::summary::Owner]) -> Value {
    let key = swarm.members.iter().find(|m| m.name == cheat).map_or("", |m| m.key.as_str());
    let about = |list: &str, field: &str, is: bool| -> Vec<Value> {
        let all = trail[list].as_array().into_iter().flatten();
        all.filter(|item| (item[field] == key) == is).cloned().collect()
    };
    let of = |name: &str| owners.iter().find(|owner| owner.name == name);
    let others = owners.iter().filter(|owner| owner.name != cheat);
    let seconds = |accuser: &Value| swarm.name_of(accuser.as_str().unwrap_or_default());
    let mut disputes = about("disputes", "accused", true);
    for dispute in &mut disputes {
        dispute["challenger_name"] = json!(seconds(&dispute["challenger"]));
    }
    json!({
        "name": cheat, "account": key, "kind": KIND, "in_words": IN_WORDS,
        "stage": swarm.members.iter().find(|m| m.name == cheat).and_then(|m| m.stage),
        "caught": swarm.caught, "disputes": disputes,
        "penalties": about("penalties", "account", true),
        "rollbacks": trail["rollbacks"], "steps_again": swarm.steps_again,
        "percent": of(cheat).map_or(0.0, |owner| owner.percent),
        "others": {
            "penalties": about("penalties", "account", false), "disputes": about("disputes", "accused", false),
            "percent": others.clone().map(|owner| owner.percent).sum::<f64>(),
            "microbatches": others.map(|owner| owner.microbatches).sum::<u64>(),
        },
        "cost": cost(swarm),
    })
}

/// What audits cost all trainers together.
fn cost(swarm: &Swarm) -> Value {
    let sum = |name: &str| -> u64 { swarm.members.iter().filter_map(|m| m.trust[name].as_u64()).sum() };
    let part = |of: &str, whole: &str| sum(of) as f64 / sum(whole).max(1) as f64;
    let audited: u64 = swarm
        .members
        .iter()
        .flat_map(|m| m.trust["audited"].as_object().into_iter().flatten())
        .filter_map(|(_, count)| count.as_u64())
        .sum();
    json!({
        "audits": audited, "arithmetic": part("audit_ms", "all_ms"), "bytes": part("audit_bytes", "all_bytes"),
        "held_bytes_most": swarm.members.iter().filter_map(|m| m.trust["held_bytes"].as_u64()).max().unwrap_or(0),
    })
}

/// The same for people.
pub(super) fn text(cheat: &Value) -> String {
    let text_of = |value: &Value, name: &str| value[name].as_str().unwrap_or("?").to_owned();
    let short = |value: &Value| value.as_str().and_then(|text| text.get(..8)).unwrap_or("?").to_owned();
    let mut text = format!(
        "cheat       {} of stage {} {}\n",
        text_of(cheat, "name"),
        cheat["stage"],
        text_of(cheat, "in_words")
    );
    let caught = &cheat["caught"];
    if caught.is_null() {
        text += "            no audit fell on it before the run was trained\n";
    } else {
        text += &format!(
            "            {} audited its unit {} of step {}: {}; {} is {} and it claimed {}\n",
            text_of(caught, "auditor"),
            caught["unit"],
            caught["step"],
            text_of(caught, "verdict"),
            text_of(caught, "what"),
            short(&caught["computed"]),
            short(&caught["claimed"])
        );
    }
    for dispute in cheat["disputes"].as_array().into_iter().flatten() {
        let messages = dispute["messages"].as_array().map_or(0, Vec::len);
        text += &format!(
            "            dispute of {} about step {}: {messages} messages in blocks {} to {}; judged: {}; verdict: {}\n",
            text_of(dispute, "challenger_name"),
            dispute["step"],
            dispute["opened"],
            dispute["closed"],
            text_of(dispute, "operation"),
            text_of(dispute, "verdict")
        );
    }
    for penalty in cheat["penalties"].as_array().into_iter().flatten() {
        text += &format!(
            "            penalty for {}: {} pending shares void, {} more to be taken\n",
            text_of(penalty, "verdict"),
            text_of(penalty, "voided"),
            text_of(penalty, "debt")
        );
    }
    for back in cheat["rollbacks"].as_array().into_iter().flatten() {
        text +=
            &format!("            block {}: the run went back to step {}\n", back["height"], back["step"]);
    }
    let (others, cost) = (&cheat["others"], &cheat["cost"]);
    text += &format!(
        "            {} steps were done again; the cheat owns {:.2} %, the others {:.2} %; {} of their claims were touched\n",
        cheat["steps_again"],
        cheat["percent"].as_f64().unwrap_or(0.0),
        others["percent"].as_f64().unwrap_or(0.0),
        others["penalties"].as_array().map_or(0, Vec::len)
    );
    text += &format!(
        "audits      {} units computed again: {:.1} % of all arithmetic, {:.1} % of all bytes, {:.1} MB held at most\n",
        cost["audits"],
        100.0 * cost["arithmetic"].as_f64().unwrap_or(0.0),
        100.0 * cost["bytes"].as_f64().unwrap_or(0.0),
        cost["held_bytes_most"].as_f64().unwrap_or(0.0) / 1e6
    );
    text
}
