//! The trace sessions of a machine.

use super::handle::BindingMachine;
use crate::trace::BindingTraceSession;
use napi_derive::napi;

#[napi]
impl BindingMachine {
    /// Starts to record the events that match at least one of the globs. Keeps at most `limit` unread records.
    #[napi]
    pub fn open_trace(&self, globs: Vec<String>, limit: u32) -> BindingTraceSession {
        BindingTraceSession::open(self.machine.trace(), &globs, limit)
    }

    /// Returns the session that started with the machine. A second call returns nothing.
    #[napi]
    pub fn take_start_trace(&mut self) -> Option<BindingTraceSession> {
        self.start_trace.take().map(Into::into)
    }
}
