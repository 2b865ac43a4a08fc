//! KVM_X86_SET_MSR_FILTER.

use super::failed;
use super::vm::Vm;
use crate::Result;
use crate::cpu::msr_filter::MsrFilter;
use kvm_ioctls::{MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags};

impl Vm {
    /// Leaves every MSR to the kernel but those of the filter.
    pub fn set_msr_filter(&self, filter: &MsrFilter) -> Result<()> {
        // A cleared bit leaves the guest.
        let bits: Vec<Vec<u8>> =
            filter.ranges().iter().map(|range| vec![0; range.count.div_ceil(8).try_into().unwrap_or(0)]).collect();
        let ranges: Vec<_> = filter
            .ranges()
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
