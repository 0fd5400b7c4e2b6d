//! Spread independent outputs over threads.
//!
//! Work is only ever cut between outputs, so the number of threads cannot change a result.

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

/// Returns a pool of `helpers` threads that stays for the life of the process; none if it cannot be made.
fn pool(helpers: usize) -> Option<Arc<rayon::ThreadPool>> {
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = pools.get(&helpers) {
        return Some(pool.clone());
    }
    let name = |index| format!("arith-{index}");
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(helpers).thread_name(name).build().ok()?);
    pools.insert(helpers, pool.clone());
    Some(pool)
}

/// Calls `work` once for every item, on [`threads`] threads, of which the calling one is the first; whoever is free
/// takes the next item. `work` must take the instruction set from its caller: the override of [`crate::with_isa`]
/// is per thread.
pub(crate) fn each<I: Send>(items: Vec<I>, work: impl Fn(I) + Sync) {
    let helpers = threads().min(items.len()).saturating_sub(1);
    let Some(pool) = (helpers > 0).then(|| pool(helpers)).flatten() else {
        return items.into_iter().for_each(work);
    };
    let queue = Mutex::new(items.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let drain = || {
        while let Some(item) = next() {
            work(item);
        }
    };
    pool.in_place_scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|_| drain());
        }
        drain();
    });
}

/// Returns how many of `total` outputs one piece of work takes: an even share, at least `least`.
pub(crate) fn share(total: usize, least: usize) -> usize {
    total.div_ceil(threads()).max(least).max(1)
}
