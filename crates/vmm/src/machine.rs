//! The interface between the control thread and the machine that it owns.

use crate::{Command, Failure, Reply};
use kvm_accel::cancel::Cancel;
use std::time::Instant;

/// The machine that the control thread owns: a board with its vCPUs. Tests implement it without KVM.
///
/// One [`StopReason`](kvm_accel::StopReason) reaches the control thread after each [`Machine::resume`] and each
/// [`Machine::resume_only`].
pub trait Machine {
    /// Lets all vCPUs enter the guest.
    fn resume(&self);

    /// Prepares a vCPU to execute a single instruction.
    ///
    /// # Errors
    /// When the host cannot step a guest.
    fn prepare_step(&self, vcpu: u32) -> Result<(), Failure>;

    /// Lets one vCPU enter the guest.
    fn resume_only(&self, vcpu: u32);

    /// Asks the vCPUs to leave the guest. Does not wait.
    fn pause(&self);

    /// Returns the vCPUs that have not left the guest.
    fn running_vcpus(&self) -> Vec<usize>;

    /// Waits until no device writes to guest memory any more. The caller has stopped the vCPUs.
    ///
    /// # Errors
    /// Names the devices that have requests in flight at the deadline. The call may be repeated.
    fn quiesce(&self, deadline: Instant) -> Result<(), Failure>;

    /// Resets the machine to its power-on state.
    ///
    /// # Errors
    /// Why the machine cannot start again. After a cancellation, the error can be any.
    fn reset(&mut self, cancel: &Cancel) -> Result<(), Failure>;

    /// Resumes a guest from ACPI sleep at its waking vector.
    ///
    /// # Errors
    /// As [`Machine::reset`].
    fn wake(&mut self, cancel: &Cancel) -> Result<(), Failure>;

    /// Executes a command that leaves the run state unchanged.
    ///
    /// # Errors
    /// Why the command failed.
    fn perform(&mut self, command: Command, cancel: &Cancel) -> Result<Reply, Failure>;

    /// Ends all threads of the machine, whatever they are executing.
    fn end(&mut self);
}
