//! Run states, and which operations each one allows. Pure.

use crate::Failure;
use serde::{Deserialize, Serialize};
use std::fmt;

/// QEMU's run states, those that a machine of this package can enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// The machine was created or reset, and has not been started.
    Prelaunch,
    /// The vCPUs run.
    Running,
    /// Stopped by [`Command::Pause`](crate::Command::Pause).
    Paused,
    /// Stopped by a breakpoint, a watchpoint or a step.
    Debug,
    /// The guest's kernel reported a panic, under [`Policy::no_shutdown`](crate::Policy::no_shutdown).
    GuestPanicked,
    /// A vCPU stopped at an error that the accelerator cannot handle.
    InternalError,
    /// The guest shut down, or the machine was ended.
    Shutdown,
}

/// All run states, in the order in which messages list them.
const ANY: &[RunState] = &[
    RunState::Prelaunch,
    RunState::Running,
    RunState::Paused,
    RunState::Debug,
    RunState::GuestPanicked,
    RunState::InternalError,
    RunState::Shutdown,
];
/// The states from which the guest can continue.
const RESUMABLE: &[RunState] = &[RunState::Prelaunch, RunState::Paused, RunState::Debug, RunState::GuestPanicked];
/// The states in which no vCPU is in the guest.
const STOPPED: &[RunState] = &[
    RunState::Prelaunch,
    RunState::Paused,
    RunState::Debug,
    RunState::GuestPanicked,
    RunState::InternalError,
    RunState::Shutdown,
];
const NMI: &[RunState] = &[RunState::Prelaunch, RunState::Running, RunState::Paused, RunState::Debug];

impl RunState {
    /// Returns QEMU's name of the state.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prelaunch => "prelaunch",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Debug => "debug",
            Self::GuestPanicked => "guest-panicked",
            Self::InternalError => "internal-error",
            Self::Shutdown => "shutdown",
        }
    }

    /// Checks that `operation` is allowed in this state.
    ///
    /// | operation | allowed in |
    /// |---|---|
    /// | `addDevice`, `start` | prelaunch |
    /// | `resume`, `debug.step` | prelaunch, paused, debug, guest-panicked |
    /// | `pause`, `injectNotify` | running |
    /// | `injectNmi` | prelaunch, running, paused, debug |
    /// | `vcpu.*`, other `debug.*` | all but running |
    /// | `reset`, `dirtyLog.*` | any |
    ///
    /// In internal-error and shutdown, `resume` fails like QEMU's `cont`: reset the machine first.
    ///
    /// # Errors
    /// [`Failure`] with code `ERR_MACHINE_STATE`, the current state and the allowed states.
    pub fn check(self, operation: Operation) -> Result<(), Failure> {
        let allowed = operation.allowed();
        if allowed.contains(&self) {
            return Ok(());
        }
        let message = format!(
            "{operation}() is not possible in run state '{}': it needs {}",
            self.as_str(),
            either(allowed.iter().map(|state| state.as_str()))
        );
        Err(Failure::state(message, self.way_out(operation), self, allowed))
    }

    /// Returns the error of an operation on a machine that has ended.
    pub(crate) fn ended(self, operation: Operation) -> Failure {
        let message = format!("{operation}() is not possible: the machine has ended");
        Failure::state(message, "Create a new machine with Machine.create().", self, &[])
    }

    const fn way_out(self, operation: Operation) -> &'static str {
        match (operation, self) {
            (Operation::AddDevice, _) => {
                "Add devices before start(), or after a reset() of a machine that does not run."
            }
            (_, Self::InternalError | Self::Shutdown) => "Call reset() first, then start() or resume().",
            (operation, Self::Running) if operation.inspects() => "Call pause() first.",
            (_, Self::Running) => "Call pause() first to go on later, or reset() to begin anew.",
            (Operation::Start, _) => "Call resume() to go on.",
            _ => "Call resume() first.",
        }
    }
}

/// An operation of the TypeScript API, by the API's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `addDevice`
    AddDevice,
    /// `start`
    Start,
    /// `pause`
    Pause,
    /// `resume`
    Resume,
    /// `reset`
    Reset,
    /// `injectNmi`
    InjectNmi,
    /// `injectNotify`
    InjectNotify,
    /// `vcpu.state`
    VcpuState,
    /// `vcpu.setState`
    SetVcpuState,
    /// `debug.step`
    Step,
    /// `debug.insertBreakpoint`
    InsertBreakpoint,
    /// `debug.removeBreakpoint`
    RemoveBreakpoint,
    /// `debug.clear`
    ClearBreakpoints,
    /// `debug.readMemory`
    ReadMemory,
    /// `debug.writeMemory`
    WriteMemory,
    /// `dirtyLog.start`
    StartDirtyLog,
    /// `dirtyLog.stop`
    StopDirtyLog,
    /// `dirtyLog.take`
    TakeDirtyPages,
    /// `dirtyLog.rates`
    DirtyTotals,
}

impl Operation {
    /// Returns the states that allow the operation.
    const fn allowed(self) -> &'static [RunState] {
        match self {
            Self::AddDevice | Self::Start => &[RunState::Prelaunch],
            Self::Resume | Self::Step => RESUMABLE,
            Self::Pause | Self::InjectNotify => &[RunState::Running],
            Self::InjectNmi => NMI,
            Self::VcpuState
            | Self::SetVcpuState
            | Self::InsertBreakpoint
            | Self::RemoveBreakpoint
            | Self::ClearBreakpoints
            | Self::ReadMemory
            | Self::WriteMemory => STOPPED,
            Self::Reset | Self::StartDirtyLog | Self::StopDirtyLog | Self::TakeDirtyPages | Self::DirtyTotals => ANY,
        }
    }

    /// True for operations that read or change the state of a stopped machine.
    const fn inspects(self) -> bool {
        matches!(
            self,
            Self::VcpuState
                | Self::SetVcpuState
                | Self::Step
                | Self::InsertBreakpoint
                | Self::RemoveBreakpoint
                | Self::ClearBreakpoints
                | Self::ReadMemory
                | Self::WriteMemory
        )
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AddDevice => "addDevice",
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Reset => "reset",
            Self::InjectNmi => "injectNmi",
            Self::InjectNotify => "injectNotify",
            Self::VcpuState => "vcpu.state",
            Self::SetVcpuState => "vcpu.setState",
            Self::Step => "debug.step",
            Self::InsertBreakpoint => "debug.insertBreakpoint",
            Self::RemoveBreakpoint => "debug.removeBreakpoint",
            Self::ClearBreakpoints => "debug.clear",
            Self::ReadMemory => "debug.readMemory",
            Self::WriteMemory => "debug.writeMemory",
            Self::StartDirtyLog => "dirtyLog.start",
            Self::StopDirtyLog => "dirtyLog.stop",
            Self::TakeDirtyPages => "dirtyLog.take",
            Self::DirtyTotals => "dirtyLog.rates",
        })
    }
}

/// Joins words as `a, b or c`.
fn either<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.collect();
    match words.as_slice() {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [earlier @ .., last] => format!("{} or {last}", earlier.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_operation_names_the_state_the_allowed_states_and_the_way_out() {
        let failure = RunState::Running.check(Operation::VcpuState).unwrap_err();
        assert_eq!(
            failure.message,
            "vcpu.state() is not possible in run state 'running': it needs prelaunch, paused, debug, guest-panicked, \
             internal-error or shutdown"
        );
        assert_eq!(failure.remedy, "Call pause() first.");
        assert_eq!((failure.code.as_str(), failure.state), ("ERR_MACHINE_STATE", Some(RunState::Running)));
        let failure = RunState::Paused.check(Operation::Start).unwrap_err();
        assert_eq!(failure.message, "start() is not possible in run state 'paused': it needs prelaunch");
        assert_eq!(
            (failure.remedy.as_str(), &failure.allowed[..]),
            ("Call resume() to go on.", &[RunState::Prelaunch][..])
        );
    }

    /// For each operation, whether it is allowed in prelaunch, running, paused, debug, guest-panicked, internal-error and shutdown.
    const TABLE: [(Operation, &str); 19] = [
        (Operation::AddDevice, "y------"),
        (Operation::Start, "y------"),
        (Operation::Pause, "-y-----"),
        (Operation::Resume, "y-yyy--"),
        (Operation::Step, "y-yyy--"),
        (Operation::Reset, "yyyyyyy"),
        (Operation::InjectNmi, "yyyy---"),
        (Operation::InjectNotify, "-y-----"),
        (Operation::VcpuState, "y-yyyyy"),
        (Operation::SetVcpuState, "y-yyyyy"),
        (Operation::InsertBreakpoint, "y-yyyyy"),
        (Operation::RemoveBreakpoint, "y-yyyyy"),
        (Operation::ClearBreakpoints, "y-yyyyy"),
        (Operation::ReadMemory, "y-yyyyy"),
        (Operation::WriteMemory, "y-yyyyy"),
        (Operation::StartDirtyLog, "yyyyyyy"),
        (Operation::StopDirtyLog, "yyyyyyy"),
        (Operation::TakeDirtyPages, "yyyyyyy"),
        (Operation::DirtyTotals, "yyyyyyy"),
    ];

    #[test]
    fn each_state_allows_the_operations_of_its_column() {
        for (operation, row) in TABLE {
            let allowed: Vec<_> = ANY.iter().zip(row.chars()).filter(|(_, c)| *c == 'y').map(|(s, _)| *s).collect();
            for &state in ANY {
                match state.check(operation) {
                    Ok(()) => assert!(allowed.contains(&state), "{operation} in {state:?}"),
                    Err(failure) => {
                        assert!(!allowed.contains(&state), "{operation} in {state:?}");
                        assert_eq!((failure.state, &failure.allowed), (Some(state), &allowed));
                        assert!(allowed.iter().all(|state| failure.message.contains(state.as_str())));
                        assert!(!failure.remedy.is_empty());
                    }
                }
            }
        }
    }

    #[test]
    fn a_guest_that_failed_or_shut_down_goes_on_only_after_a_reset() {
        for state in [RunState::InternalError, RunState::Shutdown] {
            for operation in [Operation::Start, Operation::Resume, Operation::Step, Operation::InjectNmi] {
                assert_eq!(state.check(operation).unwrap_err().remedy, "Call reset() first, then start() or resume().");
            }
            assert_eq!(state.check(Operation::Reset), Ok(()));
        }
    }
}
