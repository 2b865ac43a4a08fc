//! The seam between the control thread and the machine that it owns.

use crate::{Command, Failure, Reply};
use kvm_accel::cancel::Cancel;
use std::time::Instant;

/// What the control thread owns: a board with its vCPUs. Tests put a machine without KVM in its place.
///
/// One [`StopReason`](kvm_accel::StopReason) reaches the control thread after each [`Machine::resume`] and each
/// [`Machine::resume_only`].
pub trait Machine {
    /// Lets all vCPUs enter the guest.
    fn resume(&self);

    /// Prepares one instruction of a vCPU.
    ///
    /// # Errors
    /// When the host cannot step a guest.
    fn prepare_step(&self, vcpu: u32) -> Result<(), Failure>;

    /// Lets one vCPU enter the guest.
    fn resume_only(&self, vcpu: u32);

    /// Asks the vCPUs to leave the guest. Does not wait.
    fn pause(&self);

    /// The vCPUs that have not left the guest.
    fn running_vcpus(&self) -> Vec<usize>;

    /// Waits until no device writes to guest memory any more. The vCPUs are outside the guest.
    ///
    /// # Errors
    /// Names what is still at work at the deadline. May be called again.
    fn quiesce(&self, deadline: Instant) -> Result<(), Failure>;

    /// Puts the machine back to power-on.
    ///
    /// # Errors
    /// What keeps the machine from starting again; anything when it was cancelled.
    fn reset(&mut self, cancel: &Cancel) -> Result<(), Failure>;

    /// Lets a guest that slept go on at its waking vector.
    ///
    /// # Errors
    /// As [`Machine::reset`].
    fn wake(&mut self, cancel: &Cancel) -> Result<(), Failure>;

    /// Executes a command that leaves the run state unchanged.
    ///
    /// # Errors
    /// Why the command failed.
    fn perform(&mut self, command: Command, cancel: &Cancel) -> Result<Reply, Failure>;

    /// Ends all threads of the machine, wherever they are.
    fn end(&mut self);
}
