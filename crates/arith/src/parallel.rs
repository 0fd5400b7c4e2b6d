//! Spread independent outputs over threads.
//!
//! Work is only ever cut between outputs, so the number of threads cannot change a result.

use rayon::prelude::*;
use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

static THREADS: AtomicUsize = AtomicUsize::new(1);
static POOLS: Mutex<BTreeMap<usize, Arc<rayon::ThreadPool>>> = Mutex::new(BTreeMap::new());

thread_local! {
    static OVERRIDE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Lets each operation use `count` threads (at least one). The default is one: the calling thread.
pub fn set_threads(count: usize) {
    THREADS.store(count.max(1), Ordering::Relaxed);
}

/// Returns how many threads an operation called from this thread uses.
pub fn threads() -> usize {
    OVERRIDE.get().unwrap_or_else(|| THREADS.load(Ordering::Relaxed))
}

/// Runs `body` with operations called from this thread using `count` threads.
pub fn with_threads<T>(count: usize, body: impl FnOnce() -> T) -> T {
    struct Restore(Option<usize>);
    impl Drop for Restore {
        fn drop(&mut self) {
            OVERRIDE.set(self.0);
        }
    }
    let _restore = Restore(OVERRIDE.replace(Some(count.max(1))));
    body()
}

fn pool(count: usize) -> Option<Arc<rayon::ThreadPool>> {
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = pools.get(&count) {
        return Some(pool.clone());
    }
    let name = |index| format!("arith-{index}");
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(count).thread_name(name).build().ok()?);
    pools.insert(count, pool.clone());
    Some(pool)
}

/// Calls `work` once for every item, on [`threads`] threads; on the calling thread if there are no others.
/// `work` must take the instruction set from its caller: the override of [`crate::with_isa`] is per thread.
pub(crate) fn each<I: Send>(items: Vec<I>, work: impl Fn(I) + Sync) {
    let count = threads().min(items.len());
    let pool = if count > 1 { pool(threads()) } else { None };
    match pool {
        Some(pool) => pool.install(|| items.into_par_iter().with_max_len(1).for_each(&work)),
        None => items.into_iter().for_each(work),
    }
}

/// Returns how many of `total` outputs one piece of work takes: an even share, at least `least`.
pub(crate) fn share(total: usize, least: usize) -> usize {
    total.div_ceil(threads()).max(least).max(1)
}
