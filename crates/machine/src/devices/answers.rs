//! Requests of vCPU threads that another thread answers, in any order.

use kvm_accel::lock;
use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The requests that a thread still waits for. Only an answer or [`Answers::close`] ends a wait.
pub struct Answers<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    last_id: u32,
    /// The answers by the request's number; `None` until the answer arrives.
    answers: HashMap<u32, Option<T>>,
    closed: bool,
}

impl<T> Default for Answers<T> {
    fn default() -> Self {
        let state = State { last_id: 0, answers: HashMap::new(), closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }
}

impl<T> Answers<T> {
    /// Calls `send` with a new number to send the request, and waits for the answer. Returns `None` after
    /// [`Answers::close`].
    pub fn ask(&self, send: impl FnOnce(u32)) -> Option<T> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        state.last_id = state.last_id.wrapping_add(1);
        let id = state.last_id;
        state.answers.insert(id, None);
        // Released first: `send` takes other locks, and the thread that answers takes this one.
        drop(state);
        send(id);
        let waits = |state: &mut State<T>| matches!(state.answers.get(&id), Some(None));
        let mut state = self.changed.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner);
        state.answers.remove(&id).flatten()
    }

    /// Answers a request. Does nothing if no thread waits for the answer.
    pub fn answer(&self, id: u32, answer: T) {
        if let Some(waiting @ None) = self.lock().answers.get_mut(&id) {
            *waiting = Some(answer);
        }
        self.changed.notify_all();
    }

    /// Ends every wait, now and in the future.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.answers.clear();
        drop(state);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_an_answer_is_for_one_question_and_taken_once() {
        let answers = Answers::default();
        let seen = answers.ask(|id| {
            answers.answer(id + 1, 'x');
            answers.answer(id, 'a');
            answers.answer(id, 'b');
        });
        assert_eq!(seen, Some('a'));
        assert!(answers.lock().answers.is_empty());
    }

    #[test]
    fn test_close_ends_waiting_and_later_accesses() {
        let answers = Answers::<u64>::default();
        assert_eq!(answers.ask(|_| answers.close()), None);
        assert_eq!(answers.ask(|_| panic!("asked")), None);
        answers.answer(1, 5);
        assert!(answers.lock().answers.is_empty());
    }
}
