//! Run a seat's arithmetic on a thread of its own, so that the network never waits for it.
//!
//! Orders go in and answers come out in the same order, through bounded queues. The pure state machines have
//! at most one job outstanding; a full queue therefore means that the thread no longer takes orders, and is an
//! error, never a wait. What an order means is for the caller.

use super::SeatError;
use std::sync::mpsc::{SyncSender, sync_channel};
use tokio::sync::mpsc;

/// Orders that may wait: the outstanding job and, at the end of training, the wish for the weights.
const ORDERS: usize = 4;

/// The caller's side of the thread. The thread ends when this is dropped and its present order is done.
pub(super) struct WorkerThread<Order, Answer> {
    orders: SyncSender<Order>,
    answers: mpsc::Receiver<Answer>,
}

impl<Order: Send + 'static, Answer: Send + 'static> WorkerThread<Order, Answer> {
    /// Start a thread called `name` that answers each order by `work`.
    pub(super) fn start(
        name: &str,
        mut work: impl FnMut(Order) -> Answer + Send + 'static,
    ) -> Result<Self, SeatError> {
        let (orders, taken) = sync_channel(ORDERS);
        let (give, answers) = mpsc::channel(ORDERS);
        std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                while let Ok(order) = taken.recv() {
                    if give.blocking_send(work(order)).is_err() {
                        return;
                    }
                }
            })
            .map_err(SeatError::Thread)?;
        Ok(Self { orders, answers })
    }

    /// Hand over an order, without waiting.
    pub(super) fn order(&self, order: Order) -> Result<(), SeatError> {
        self.orders.try_send(order).map_err(|_| SeatError::WorkerGone)
    }

    /// The next answer, in the order of the orders. Cancelling this loses nothing.
    pub(super) async fn answer(&mut self) -> Result<Answer, SeatError> {
        self.answers.recv().await.ok_or(SeatError::WorkerGone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_come_in_the_order_of_the_orders() {
        let mut thread = WorkerThread::start("test", |order: u32| order * 10).unwrap();
        for round in 0..100 {
            thread.order(round).unwrap();
            assert_eq!(thread.answer().await.unwrap(), round * 10);
        }
    }

    #[tokio::test]
    async fn a_thread_that_does_not_take_orders_is_an_error_and_never_a_wait() {
        let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
        let thread = WorkerThread::start("test", move |(): ()| held.recv().ok()).unwrap();
        // One order may be in work beside those that wait.
        let refused = (0..ORDERS + 2).find_map(|_| thread.order(()).err());
        assert!(matches!(refused, Some(SeatError::WorkerGone)));
        drop(release);
    }

    #[tokio::test]
    async fn a_thread_that_panicked_is_an_error() {
        let mut thread = WorkerThread::start("test", |(): ()| panic!("arithmetic is broken")).unwrap();
        thread.order(()).unwrap();
        let answer: Result<(), SeatError> = thread.answer().await;
        assert!(matches!(answer, Err(SeatError::WorkerGone)));
    }
}
