//! Compare the referee with the processor on many random cases: `referee [COUNT] [SEED]`.
//!
//! COUNT (default 10^8) cases of each function are shared out among the distributions of [`cases::Class`]. The
//! report goes to standard output; any disagreement is printed and makes the exit status 1.
//! Without the instruction in the build target, the processor's fused multiply-add is the C library's, which uses
//! the instruction if there is one; `just referee` builds for the machine it runs on.

mod cases;

use cases::{Class, Function, Random};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| match arguments.next() {
        None => Some(default),
        Some(text) => text.parse().ok(),
    };
    let (Some(count), Some(seed)) = (number(100_000_000), number(1)) else {
        eprintln!("usage: referee [COUNT] [SEED], both whole numbers");
        return ExitCode::from(2);
    };
    let inline =
        if cfg!(any(target_feature = "fma", target_arch = "aarch64")) { "instruction" } else { "C library" };
    println!("seed {seed}, {count} cases of each function, fused multiply-add by {inline}");
    let mut failures = 0u64;
    for function in Function::ALL {
        let started = std::time::Instant::now();
        let mut subnormal = 0u64;
        for (index, class) in Class::ALL.into_iter().enumerate() {
            let share = count / 6 + u64::from((index as u64) < count % 6);
            let mut random = Random(seed ^ ((function as u64) << 56 | (index as u64) << 48));
            for _ in 0..share {
                let operands = random.operands(function, class);
                let result = function.hardware(operands);
                subnormal += u64::from(result << 1 != 0 && result & 0x7f80_0000 == 0);
                if !tessera_arith::referee::same(function.software(operands), result) {
                    failures += 1;
                    if failures <= 20 {
                        println!("{function:?} {class:?} {operands:08x?}: processor {result:08x}");
                    }
                }
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        println!("{function:?}: {count} cases, {subnormal} subnormal results, {seconds:.1} s");
    }
    println!("{failures} disagreements");
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
