//! Guest RAM: anonymous memory of this process, mapped but never populated, so that it costs what the guest touches.

use crate::MachineConfigError;
use crate::layout::RamLayout;
use kvm_accel::GuestRam;
use vm_memory::GuestAddress;

/// Maps the RAM of `layout`, filled with zeros. It is unmapped when the last clone is dropped.
///
/// # Errors
/// When this process cannot map that much (address space, `ulimit -v`).
pub fn allocate(layout: &RamLayout) -> Result<GuestRam, MachineConfigError> {
    let refuse = |reason: &dyn std::fmt::Display| {
        let message = format!("memory of {} bytes cannot be mapped: {reason}", layout.size());
        MachineConfigError::new("memory", message, "Ask for less memory, or raise this process's limit (ulimit -v).")
    };
    let ranges = layout
        .ranges()
        .map(|range| Ok((GuestAddress(range.start), usize::try_from(range.end - range.start)?)))
        .collect::<Result<Vec<_>, std::num::TryFromIntError>>()
        .map_err(|error| refuse(&error))?;
    GuestRam::from_ranges(&ranges).map_err(|error| refuse(&error))
}
