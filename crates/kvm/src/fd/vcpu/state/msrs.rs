//! KVM_GET_MSRS and KVM_SET_MSRS.

use super::Vcpu;
use crate::state::{FEATURE_CONTROL, Level, Msr, TSC_DEADLINE, runtime_msr};
use crate::{Error, Result};
use kvm_bindings::{Msrs, kvm_msr_entry};

impl Vcpu {
    /// Reads these MSRs. Omits an MSR that is unreadable on this vCPU. The kernel stops at such an MSR, so the loop
    /// continues with the next one.
    pub(super) fn msrs(&self, indices: &[u32]) -> Result<Vec<Msr>> {
        let mut read = Vec::with_capacity(indices.len());
        let mut rest = indices;
        while !rest.is_empty() {
            let entries: Vec<_> = rest.iter().map(|&index| kvm_msr_entry { index, ..Default::default() }).collect();
            let Ok(mut msrs) = Msrs::from_entries(&entries) else { break };
            let count = self.fd.get_msrs(&mut msrs).map_err(self.failed("KVM_GET_MSRS"))?;
            read.extend(msrs.as_slice().iter().take(count).map(|entry| Msr { index: entry.index, value: entry.data }));
            rest = rest.get(count + 1..).unwrap_or_default();
        }
        Ok(read)
    }

    /// Writes these MSRs. A rejected MSR is no error if it already has the value. Every other failure is an error.
    pub(super) fn put_msrs(&self, msrs: &[Msr]) -> Result<()> {
        let mut rest = msrs;
        while !rest.is_empty() {
            let entries: Vec<_> = rest
                .iter()
                .map(|msr| kvm_msr_entry { index: msr.index, data: msr.value, ..Default::default() })
                .collect();
            let Ok(entries) = Msrs::from_entries(&entries) else { break };
            let count = self.fd.set_msrs(&entries).map_err(self.failed("KVM_SET_MSRS"))?;
            if let Some(refused) = rest.get(count)
                && self.msrs(&[refused.index])?.first() != Some(refused)
            {
                let context = format!("vCPU {}, MSR {:#x} = {:#x}", self.id, refused.index, refused.value);
                return Err(Error::Ioctl { ioctl: "KVM_SET_MSRS", context, errno: libc::EINVAL });
            }
            rest = rest.get(count + 1..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Returns the MSRs of the step between the registers and the events.
pub(super) fn of_level(msrs: &[Msr], level: Level) -> Vec<Msr> {
    let apart = |index| matches!(index, FEATURE_CONTROL | TSC_DEADLINE);
    msrs.iter().filter(|msr| !apart(msr.index) && (level >= Level::Reset || runtime_msr(msr.index))).copied().collect()
}

/// Returns IA32_FEATURE_CONTROL, if it was read.
pub(super) fn feature_control(msrs: &[Msr]) -> Vec<Msr> {
    msrs.iter().filter(|msr| msr.index == FEATURE_CONTROL).copied().collect()
}

/// Returns IA32_TSC_DEADLINE, if it was read.
pub(super) fn tsc_deadline(msrs: &[Msr]) -> Vec<Msr> {
    msrs.iter().filter(|msr| msr.index == TSC_DEADLINE).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Every MSR is written exactly once at RESET, and only QEMU's runtime list at RUNTIME.
        #[test]
        fn test_each_msr_belongs_to_one_step(mut indices in proptest::collection::hash_set(any::<u32>(), 0..64)) {
            indices.extend([FEATURE_CONTROL, TSC_DEADLINE, 0x10, 0x174]);
            let msrs: Vec<_> = indices.iter().map(|&index| Msr { index, value: 1 }).collect();
            let reset = [feature_control(&msrs), of_level(&msrs, Level::Reset), tsc_deadline(&msrs)].concat();
            prop_assert_eq!(reset.len(), msrs.len());
            let runtime = of_level(&msrs, Level::Runtime);
            prop_assert!(runtime.iter().all(|msr| runtime_msr(msr.index)));
            prop_assert!(runtime.iter().any(|msr| msr.index == 0x174));
        }
    }
}
