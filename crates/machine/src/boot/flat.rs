//! A file without a header: real-mode code, loaded at the address that small hand-written guests expect.

use super::Guest;
use super::segment::Segment;
use crate::SetupError;
use kvm_accel::{StartMode, StartState};

/// Load address and entry point, in segment 0.
const ENTRY: u64 = 0x1000;

pub(super) fn load(mut guest: Guest<'_>) -> Result<StartState, SetupError> {
    let size = guest.kernel.len()?;
    let segments = [Segment { offset: 0, file_size: size, address: ENTRY, memory_size: size, virtual_address: ENTRY }];
    guest.place_kernel(&segments, ENTRY)?;
    guest.copy_kernel(&segments)?;
    Ok(StartState { mode: StartMode::Real, rip: ENTRY, rax: 0, rbx: 0, rsi: 0, rsp: 0 })
}
