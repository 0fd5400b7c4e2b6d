//! Show that a microbatch in the steady state allocates the tensors it returns and little else.
//!
//! The test counts every allocation of this process, so it is alone in its file.
#![allow(unsafe_code)] // An allocator cannot be written without it; this one only counts and passes on.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};
use tessera_canon::List;
use tessera_model::{GradSum, RunSpec, Sign, StageInput, StageTarget, StageWeights, Workspace};

static COUNT: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        BYTES.fetch_add(size, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(old, layout, size) }
    }
    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of one microbatch and their bytes, tensors returned included.
fn counted(mut microbatch: impl FnMut()) -> (usize, usize) {
    let before = (COUNT.load(Relaxed), BYTES.load(Relaxed));
    microbatch();
    (COUNT.load(Relaxed) - before.0, BYTES.load(Relaxed) - before.1)
}

/// What the arithmetic may take for a moment: a list of the pieces that threads share out in each of some 25
/// operations of a sub-layer, and attention's tiles of 32 rows (forward) and two of 64 (backward) by `seq_len`
/// for each sequence, twice that to leave its kernel some freedom.
fn allowed(spec: &RunSpec, sub_layers: usize) -> (usize, usize) {
    let (sequences, seq) = (spec.batch.sequences as usize, spec.model.seq_len as usize);
    let tiles = 4 * (32.min(seq) * (seq + spec.model.head_dim()) + 2 * 64.min(seq) * seq);
    let lists = (4 << 10) * (sub_layers + 1);
    (32 + sub_layers * (32 + 2 * sequences), lists + sub_layers / 2 * sequences * 2 * tiles)
}

#[test]
fn the_steady_state_allocates_what_it_returns() {
    let mut spec = RunSpec::preset("tiny").unwrap();
    (spec.model.d_model, spec.model.d_ff, spec.model.layers) = (128, 512, 6);
    spec.stages = List::new(vec![4; 3]).unwrap();
    spec.batch.sequences = 8;
    let values = spec.boundary_values();
    let tokens: Vec<u32> = (0..spec.microbatch_tokens() as u32).map(|i| i * 7 % spec.model.vocab).collect();
    let x: Vec<f32> = (0..values).map(|i| ((i * 37 % 1013) as f32 - 506.0) / 300.0).collect();
    let dy: Vec<f32> = (0..values).map(|i| ((i * 53 % 997) as f32 - 498.0) * 1e-6).collect();
    for stage in 0..3 {
        let weights = StageWeights::init(&spec, stage).unwrap();
        let mut workspace = Workspace::new(&spec).unwrap();
        let mut sum = GradSum::zero(&weights);
        let input = if stage == 0 { StageInput::Tokens(&tokens) } else { StageInput::Hidden(&x) };
        let mut kept = || {
            let (_, kept) = weights.forward_keep(input, &mut workspace).unwrap();
            let accumulate = Some((&mut sum, Sign::Add));
            weights.backward_kept(kept, StageTarget::Grad(&dy), &mut workspace, accumulate).unwrap();
        };
        let returned = match stage {
            0 => 4 * values,
            _ => 8 * values,
        };
        let (most, more) = allowed(&spec, weights.plan().sub_layers.len());
        if stage < 2 {
            let first = counted(&mut kept);
            assert!(first.1 > weights.tape_bytes(), "the first microbatch sizes the memory: {first:?}");
            kept();
            let (count, bytes) = counted(&mut kept);
            assert!(count <= most, "stage {stage}: {count} allocations, at most {most} are allowed");
            let extra = bytes.saturating_sub(returned);
            assert!(extra <= more, "stage {stage}: {extra} bytes besides the results, at most {more}");
            assert!(bytes >= returned, "the counter counts");
        }
        // From the input alone: the same, and one tensor less is returned.
        let mut workspace = Workspace::new(&spec).unwrap();
        let mut sum = GradSum::zero(&weights);
        let mut again = || {
            let target = if stage == 2 { StageTarget::Labels(&tokens) } else { StageTarget::Grad(&dy) };
            weights.backward(input, target, &mut workspace, Some((&mut sum, Sign::Add))).unwrap();
        };
        again();
        again();
        let (count, bytes) = counted(&mut again);
        assert!(count <= most, "stage {stage}: {count} allocations, at most {most} are allowed");
        assert!(bytes <= more + 4 * values, "stage {stage}: {bytes} bytes, at most {more} and the result");
    }
}
