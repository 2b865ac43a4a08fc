//! Selects a machine's back end for dirty tracking, as QEMU does, before any vCPU exists.

use super::Mode;
use crate::event::{Warning, WarningCode};
use crate::{Error, Result};
use kvm_accel_kvm::fd::Vm;
use kvm_accel_kvm::{Capability, Error as KvmError};

/// Size of a ring's entry in bytes.
const ENTRY: u32 = 16;
/// KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE and KVM_DIRTY_LOG_INITIALLY_SET.
const MANUAL_PROTECT: u32 = 1 | 2;

/// Enables the rings if the user requested them and the kernel supports them. Otherwise uses the bitmap, with manual
/// protection if the kernel supports it.
pub fn enable(vm: &Vm, ring_size: u32, warnings: &mut Vec<Warning>) -> Result<Mode> {
    if ring_size > 0 {
        let offered = [Capability::DirtyLogRing, Capability::DirtyLogRingAcqRel]
            .into_iter()
            .map(|capability| (capability, vm.check(capability)))
            .find(|(_, bytes)| *bytes > 0);
        if let Some((capability, max)) = offered {
            enable_rings(vm, capability, ring_size, max)?;
            return Ok(Mode::Ring(ring_size));
        }
        warnings.push(Warning {
            code: WarningCode::DirtyRingUnsupported,
            message: format!(
                "dirty-ring-size={ring_size} has no effect: this host does not support {}; using the bitmap instead",
                Capability::DirtyLogRing
            ),
        });
    }
    let manual = vm.check(Capability::ManualDirtyLogProtect2) & MANUAL_PROTECT;
    if manual == 0 {
        return Ok(Mode::Bitmap);
    }
    match vm.enable(Capability::ManualDirtyLogProtect2, manual.into()) {
        Ok(()) => Ok(Mode::ManualProtect),
        Err(error) => {
            warnings.push(Warning {
                code: WarningCode::ManualProtectFailed,
                message: format!(
                    "cannot enable manual protection of dirty pages, so each query of the dirty log is slower: {error}"
                ),
            });
            Ok(Mode::Bitmap)
        }
    }
}

fn enable_rings(vm: &Vm, capability: Capability, ring_size: u32, max: u32) -> Result<()> {
    let refused = |rule| Error::Property { property: "dirty-ring-size", rule };
    let bytes = u64::from(ring_size) * u64::from(ENTRY);
    if bytes > max.into() {
        let max = max / ENTRY;
        return Err(refused(format!("of {ring_size} is too large: this kernel supports at most {max} entries")));
    }
    vm.enable(capability, bytes).map_err(|error| match error {
        KvmError::Ioctl { errno, .. } => refused(format!(
            "of {ring_size} was rejected by the kernel ({}): expected at least 1024",
            kvm_accel_kvm::errno_text(errno)
        )),
        other => other.into(),
    })
}
