//! What outlives a machine's JavaScript object: the board, until it is closed.

use crate::event_queue::EventQueue;
use kvm_accel::trace::Trace;
use kvm_accel_machine::board::{Board, Counts};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// A machine that its environment can close when JavaScript no longer can.
pub struct Handle {
    state: Mutex<State>,
    queue: Arc<EventQueue>,
    trace: Trace,
}

struct State {
    /// `None` once the machine is closed.
    board: Option<Board>,
    closer: Option<JoinHandle<()>>,
    /// The last counts of a closed machine.
    counts: Counts,
}

impl Handle {
    /// A machine that has been built.
    pub fn new(board: Board, queue: Arc<EventQueue>, trace: Trace) -> Self {
        let state = State { board: Some(board), closer: None, counts: Counts::default() };
        Self { state: Mutex::new(state), queue, trace }
    }

    /// Where what is done for this machine is traced.
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Events on their way to JavaScript.
    pub const fn queue(&self) -> &Arc<EventQueue> {
        &self.queue
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses the board, unless the machine is closed.
    pub fn with_board<T>(&self, use_board: impl FnOnce(&mut Board) -> T) -> Option<T> {
        let _scope = self.trace.enter();
        self.lock().board.as_mut().map(use_board)
    }

    /// What was counted, also of a machine that is closed.
    pub fn counts(&self) -> Counts {
        let state = self.lock();
        state.board.as_ref().map_or_else(|| state.counts.clone(), Board::counts)
    }

    fn finish(&self, mut board: Board) {
        let _scope = self.trace.enter();
        let counts = board.end();
        self.lock().counts = counts;
        drop(board);
        self.queue.close();
    }

    /// Ends the machine on a thread of its own, because closing a VM can take milliseconds. The `closed` event tells
    /// when it is done.
    pub fn close(self: &Arc<Self>) {
        let mut state = self.lock();
        let Some(board) = state.board.take() else { return };
        // What is counted until the threads have ended follows then.
        state.counts = board.counts();
        let (this, slot) = (Arc::clone(self), Arc::new(Mutex::new(Some(board))));
        let taken = Arc::clone(&slot);
        let closer = std::thread::Builder::new().name("kvm-accel close".into()).spawn(move || {
            if let Some(board) = taken.lock().unwrap_or_else(PoisonError::into_inner).take() {
                this.finish(board);
            }
        });
        match closer {
            Ok(thread) => state.closer = Some(thread),
            Err(_) => {
                drop(state);
                // No thread to be had: close here.
                if let Some(board) = slot.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    self.finish(board);
                }
            }
        }
    }

    /// Closes and waits until no thread of the machine is left.
    pub fn close_and_wait(self: &Arc<Self>) {
        self.close();
        let closer = self.lock().closer.take();
        if let Some(closer) = closer {
            let _ = closer.join();
        }
    }
}
