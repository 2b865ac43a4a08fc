//! KVM_X86_SET_MSR_FILTER.

use super::Vm;
use crate::Result;
use crate::error::failed;
use kvm_ioctls::{MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags};

/// A range of MSRs whose accesses exit to user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilteredMsrs {
    /// The first MSR.
    pub index: u32,
    /// The number of MSRs.
    pub count: u32,
    /// `rdmsr` exits to user space.
    pub reads: bool,
    /// `wrmsr` exits to user space.
    pub writes: bool,
}

impl Vm {
    /// Makes the accesses to the ranges exit to user space. The kernel handles every other MSR.
    ///
    /// # Errors
    /// [`Error::Ioctl`](crate::Error::Ioctl).
    pub fn set_msr_filter(&self, filtered: &[FilteredMsrs]) -> Result<()> {
        // A cleared bit makes the access exit.
        let bits: Vec<Vec<u8>> =
            filtered.iter().map(|range| vec![0; range.count.div_ceil(8).try_into().unwrap_or(0)]).collect();
        let ranges: Vec<_> = filtered
            .iter()
            .zip(&bits)
            .map(|(range, bitmap)| {
                let mut flags = MsrFilterRangeFlags::empty();
                flags.set(MsrFilterRangeFlags::READ, range.reads);
                flags.set(MsrFilterRangeFlags::WRITE, range.writes);
                MsrFilterRange { flags, base: range.index, msr_count: range.count, bitmap }
            })
            .collect();
        self.fd.set_msr_filter(MsrFilterDefaultAction::ALLOW, &ranges).map_err(failed("KVM_X86_SET_MSR_FILTER", ""))
    }
}
