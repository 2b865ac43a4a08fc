//! The operations on a machine, and the run states that allow each of them: one pure table.

use crate::{Failure, RunState};
use std::fmt;

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
    /// As QEMU's `cont`, `resume` fails in internal-error and shutdown: a reset comes first.
    ///
    /// # Errors
    /// [`Failure`] with code `ERR_MACHINE_STATE`, this state and the allowed ones.
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

    /// The error of an operation on a machine that has ended.
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
            (_, Self::Running) => "Call pause() first to continue later, or reset() to restart the guest.",
            (Operation::Start, _) => "Call resume() to continue.",
            _ => "Call resume() first.",
        }
    }
}

/// A request of a caller, by its name in the TypeScript API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `addDevice`
    AddDevice,
    /// `device.memory.read`
    ReadDeviceMemory,
    /// `device.memory.write`
    WriteDeviceMemory,
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
    /// The states that allow it.
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
            Self::Reset
            | Self::ReadDeviceMemory
            | Self::WriteDeviceMemory
            | Self::StartDirtyLog
            | Self::StopDirtyLog
            | Self::TakeDirtyPages
            | Self::DirtyTotals => ANY,
        }
    }

    /// Operations on the state of a stopped machine.
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
            Self::ReadDeviceMemory => "device.memory.read",
            Self::WriteDeviceMemory => "device.memory.write",
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

/// `a, b or c`.
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
            ("Call resume() to continue.", &[RunState::Prelaunch][..])
        );
    }

    /// For each operation whether prelaunch, running, paused, debug, guest-panicked, internal-error and shutdown allow it.
    const TABLE: [(Operation, &str); 21] = [
        (Operation::AddDevice, "y------"),
        (Operation::ReadDeviceMemory, "yyyyyyy"),
        (Operation::WriteDeviceMemory, "yyyyyyy"),
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
    fn a_guest_that_failed_or_shut_down_continues_only_after_a_reset() {
        for state in [RunState::InternalError, RunState::Shutdown] {
            for operation in [Operation::Start, Operation::Resume, Operation::Step, Operation::InjectNmi] {
                assert_eq!(state.check(operation).unwrap_err().remedy, "Call reset() first, then start() or resume().");
            }
            assert_eq!(state.check(Operation::Reset), Ok(()));
        }
    }
}
