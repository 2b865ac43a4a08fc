//! Selects which MSR accesses of the guest cause exits.

use super::Vm;
use crate::errno::{Result, refuse};
use crate::ioctl::answer;
use kvm_bindings::{kvm_msr_filter, kvm_msr_filter_range};
use std::os::fd::AsRawFd;

const KVM_X86_SET_MSR_FILTER: libc::Ioctl = 0x4188_aec6;

/// The MSRs of one range, with one bit each: a set bit allows the access.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MsrRange {
    /// KVM_MSR_FILTER_READ, KVM_MSR_FILTER_WRITE.
    pub flags: u32,
    /// The first MSR.
    pub base: u32,
    /// Number of MSRs.
    pub count: u32,
    /// One bit for each MSR, in words of 64.
    pub bitmap: Vec<u64>,
}

impl Vm {
    /// Calls KVM_X86_SET_MSR_FILTER.
    ///
    /// # Errors
    /// E2BIG for more than 16 ranges, EFAULT for a bitmap that is too short; otherwise the error of the ioctl.
    pub fn set_msr_filter(&self, flags: u32, ranges: &[MsrRange]) -> Result<()> {
        let mut filter = kvm_msr_filter { flags, ..Default::default() };
        for (index, range) in ranges.iter().enumerate() {
            if range.bitmap.len() < (range.count as usize).div_ceil(64) {
                return Err(refuse(libc::EFAULT));
            }
            *filter.ranges.get_mut(index).ok_or(refuse(libc::E2BIG))? = kvm_msr_filter_range {
                flags: range.flags,
                nmsrs: range.count,
                base: range.base,
                bitmap: range.bitmap.as_ptr().cast_mut().cast(),
            };
        }
        // SAFETY: the kernel copies the structure and each bitmap, whose lengths were checked above, during the call.
        answer(unsafe { libc::ioctl(self.fd.as_raw_fd(), KVM_X86_SET_MSR_FILTER, &raw const filter) }).map(drop)
    }
}
