//! Choose the instruction set the kernels use; the choice never changes a result.

use std::{cell::Cell, sync::OnceLock};

/// An instruction set for which the kernels are compiled, in the order in which a missing one is lowered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Whatever the target always has; without a fused multiply-add instruction it is computed in software.
    Portable,
    /// 64-bit ARM, whose vectors and fused multiply-add every such processor has.
    Neon,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
}

impl Isa {
    const ALL: [Isa; 4] = [Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx512];

    /// Returns the instruction sets of this machine, slowest first.
    pub fn available() -> Vec<Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.present()).collect()
    }

    fn present(self) -> bool {
        let family = cfg!(target_arch = "aarch64") || self != Isa::Neon;
        family && self <= best()
    }

    /// Returns the best set of this machine that is not above `self`.
    fn lowered(self) -> Isa {
        Isa::ALL.into_iter().rfind(|isa| *isa <= self && isa.present()).unwrap_or(Isa::Portable)
    }
}

thread_local! {
    static OVERRIDE: Cell<Option<Isa>> = const { Cell::new(None) };
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Isa {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    match (avx2, avx512) {
        (true, true) => Isa::Avx512,
        (true, false) => Isa::Avx2,
        _ => Isa::Portable,
    }
}

#[cfg(target_arch = "aarch64")]
fn detect() -> Isa {
    if std::arch::is_aarch64_feature_detected!("neon") { Isa::Neon } else { Isa::Portable }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detect() -> Isa {
    Isa::Portable
}

fn best() -> Isa {
    static BEST: OnceLock<Isa> = OnceLock::new();
    *BEST.get_or_init(detect)
}

fn chosen() -> Isa {
    static CHOSEN: OnceLock<Isa> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let wanted = match std::env::var("TESSERA_ISA").as_deref() {
            Ok("portable") => Isa::Portable,
            Ok("neon") => Isa::Neon,
            Ok("avx2") => Isa::Avx2,
            _ => Isa::Avx512,
        };
        wanted.lowered()
    })
}

/// Returns the instruction set operations called from this thread use: the one set by [`with_isa`], else the
/// one named by the environment variable `TESSERA_ISA` (`portable`, `neon`, `avx2`, `avx512`), else the best
/// there is. A set this machine lacks is lowered to the best one it has below it.
pub fn isa() -> Isa {
    OVERRIDE.get().unwrap_or_else(chosen)
}

/// Runs `body` with operations called from this thread (and the threads they use) on `isa`, lowered to the
/// best set this machine has below it where it lacks that one.
pub fn with_isa<T>(isa: Isa, body: impl FnOnce() -> T) -> T {
    struct Restore(Option<Isa>);
    impl Drop for Restore {
        fn drop(&mut self) {
            OVERRIDE.set(self.0);
        }
    }
    let _restore = Restore(OVERRIDE.replace(Some(isa.lowered())));
    body()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_set_is_lowered_to_one_of_this_machine() {
        let available = Isa::available();
        assert_eq!(available[0], Isa::Portable);
        for wanted in Isa::ALL {
            let got = with_isa(wanted, isa);
            assert!(got <= wanted && available.contains(&got), "{wanted:?} became {got:?}");
            assert!(got == wanted || !available.contains(&wanted), "{wanted:?} is there but became {got:?}");
        }
    }

    #[test]
    fn neon_is_of_arm_alone() {
        let available = Isa::available();
        if cfg!(target_arch = "aarch64") {
            assert_eq!(available, [Isa::Portable, Isa::Neon]);
            assert_eq!(with_isa(Isa::Avx512, isa), Isa::Neon);
        } else {
            assert!(!available.contains(&Isa::Neon));
            assert_eq!(with_isa(Isa::Neon, isa), Isa::Portable);
        }
    }
}
