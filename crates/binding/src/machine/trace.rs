//! The trace sessions of a machine.

use super::handle::BindingMachine;
use crate::trace::BindingTraceSession;
use napi_derive::napi;

#[napi]
impl BindingMachine {
    /// Begins to record what matches any of the globs; at most `limit` records wait.
    #[napi]
    pub fn open_trace(&self, globs: Vec<String>, limit: u32) -> BindingTraceSession {
        BindingTraceSession::open(self.machine.trace(), &globs, limit)
    }

    /// The session that began with the machine, once.
    #[napi]
    pub fn take_start_trace(&mut self) -> Option<BindingTraceSession> {
        self.start_trace.take().map(Into::into)
    }
}
