//! Train a preset in one process and print its held-out loss beside the unigram entropy.
//!
//! `cargo run -p tessera-model --example train -- nano [steps]`

use std::time::Instant;
use tessera_model::{Dataset, RunSpec, central};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let spec = RunSpec::preset(&arguments.next().unwrap_or_else(|| "nano".into()))?;
    let steps = arguments.next().map_or(Ok(spec.steps), |text| text.parse())?;
    let data = Dataset::embedded(&spec)?;
    println!("unigram entropy {:.4} nats per token", data.unigram_entropy());
    println!("step 0 held-out {:.4}", central::evaluate(&spec, &data, &central::init(&spec)?)?);
    let tokens = spec.microbatch_tokens() * spec.batch.microbatches as usize;
    let mut since = Instant::now();
    let mut training = 0.0;
    let trained = central::train(&spec, &data, steps, |view| {
        let took = since.elapsed().as_secs_f64();
        training += took;
        let loss = view.losses.iter().sum::<f32>() / view.losses.len() as f32;
        let norms: Vec<String> = view.reports.iter().map(|r| format!("{:.3}", r.gradient_norm)).collect();
        print!(
            "step {} training {loss:.4} norms {} {:.0} tokens/s",
            view.step,
            norms.join(" "),
            tokens as f64 / took
        );
        if view.step % u64::from(spec.window_steps) == 0 {
            match central::evaluate(&spec, &data, view.stages) {
                Ok(loss) => print!(" held-out {loss:.4}"),
                Err(error) => print!(" held-out failed: {error}"),
            }
        }
        println!();
        since = Instant::now();
    })?;
    println!(
        "{:.0} tokens/s over {steps} steps, evaluation left out",
        tokens as f64 * f64::from(steps) / training
    );
    for (stage, root) in trained.roots.iter().enumerate() {
        println!(
            "stage {stage} ({} parameters) root {root}",
            trained.stages[stage].weights().plan().parameters()
        );
    }
    Ok(())
}
