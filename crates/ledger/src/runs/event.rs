//! Tell what happened to runs, their seats and their windows.

use crate::{
    record::Endpoint,
    runs::record::{MemberState, RunState},
};
use tessera_canon::{Hash, List, PublicKey, record};

record! {
    pub struct RunCreated { pub run: Hash, pub creator: PublicKey }
}

record! {
    /// A run changed its state; `state` is [`RunState`]'s code.
    pub struct RunStateChanged { pub run: Hash, pub state: RunState }
}

record! {
    /// A seat was taken, left or refused.
    pub struct SeatChanged {
        pub run: Hash,
        pub account: PublicKey,
        pub stage: Option<u16>,
        pub seat: Option<u16>,
        pub state: MemberState,
    }
}

record! {
    pub struct EndpointChanged { pub run: Hash, pub account: PublicKey, pub endpoint: Endpoint }
}

record! {
    /// A stage reported a window.
    pub struct StageReported {
        pub run: Hash,
        pub window: u32,
        pub stage: u16,
        pub wu: u64,
        pub weight: u32,
        pub state_root: Hash,
        pub loss: Option<u32>,
    }
}

record! {
    /// Every stage reported a window; `next_weight` holds for the next one.
    pub struct WindowClosed { pub run: Hash, pub window: u32, pub wu: u64, pub loss: u32, pub next_weight: u32 }
}

record! {
    pub struct RunAborted { pub run: Hash, pub f_designer: u64, pub f_min: u64, pub bond: u128 }
}

record! {
    /// A committee was drawn to evaluate a window.
    pub struct EvaluationDrawn { pub run: Hash, pub window: u32, pub members: List<PublicKey, 64> }
}

record! {
    /// The evaluation of a window ended; `revealed` members counted, or the last stage's figure if too few did.
    pub struct EvaluationClosed { pub run: Hash, pub window: u32, pub loss: u32, pub revealed: u16, pub next_weight: u32 }
}

record! {
    /// A member's bond changed; `held` is what the run holds now.
    pub struct MemberBond { pub run: Hash, pub account: PublicKey, pub held: u128 }
}

record! {
    /// A run was forked: the owners of `parent` hold `shares` of `child` as a class.
    pub struct RunForked { pub parent: Hash, pub child: Hash, pub depth: u8, pub shares: u128 }
}

record! {
    /// The owners halted training; it goes on by itself at the boundary of epoch `until`.
    pub struct RunPaused { pub run: Hash, pub until: u64 }
}

record! {
    /// The owners added windows to a run that was trained: training ends after `windows` windows in all.
    pub struct TrainingResumed { pub run: Hash, pub windows: u32, pub max_wu: u64 }
}

record! {
    /// The owners raised the declared total work.
    pub struct TargetRaised { pub run: Hash, pub f_star: u64 }
}

record! {
    pub struct BondReturned { pub run: Hash, pub to: PublicKey, pub amount: u128 }
}
