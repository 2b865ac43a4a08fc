//! The system fd: `/dev/kvm`.

use super::cpuid::{Leaf, leaves};
use super::vcpu::StateFeatures;
use super::vm::Vm;
use crate::error::failed;
use crate::state::SMBASE;
use crate::trace::called;
use crate::upstream::system;
use crate::{Capability, Error, Result};
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::Kvm;
use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

/// The only API version since Linux 2.6.22.
const API_VERSION: i32 = 12;

/// An open KVM device.
#[derive(Debug)]
pub struct System(Kvm);

impl System {
    /// Opens the device read-write and close-on-exec, and checks the API version.
    pub fn open(device: &Path) -> Result<Self> {
        let open_error = |errno| Error::Open { device: device.to_owned(), errno };
        let path = CString::new(device.as_os_str().as_bytes()).map_err(|_| open_error(libc::EINVAL))?;
        let kvm = Kvm::new_with_path(path).map_err(|e| open_error(e.errno()))?;
        let version = kvm.get_api_version();
        called("KVM_GET_API_VERSION", None);
        match version {
            API_VERSION => Ok(Self(kvm)),
            // ENOTTY: not a KVM device.
            ..0 => Err(Error::NotKvm { device: device.to_owned() }),
            found => Err(Error::ApiVersion { found }),
        }
    }

    /// Returns a duplicate of the device's fd, for callers that do not use this type.
    pub fn duplicate_fd(&self) -> std::io::Result<OwnedFd> {
        // SAFETY: open as long as `self`.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }.try_clone_to_owned()
    }

    /// Returns the value of KVM_CHECK_EXTENSION on the system fd. A negative value counts as 0, as in QEMU.
    pub fn check(&self, capability: Capability) -> u32 {
        self.check_number(capability.number())
    }

    /// Like [`Self::check`], for a capability without a name in this crate.
    pub fn check_number(&self, number: u32) -> u32 {
        let answer = self.0.check_extension_raw(number.into());
        called("KVM_CHECK_EXTENSION", None);
        answer.try_into().unwrap_or(0)
    }

    /// Returns the fd, for calls that kvm-ioctls lacks.
    pub(super) const fn fd(&self) -> &Kvm {
        &self.0
    }

    /// Calls KVM_CREATE_VM with the default type. Retries on EINTR, because a signal during the call is not a failure.
    pub fn create_vm(&self) -> Result<Vm> {
        loop {
            match self.0.create_vm() {
                Ok(vm) => {
                    called("KVM_CREATE_VM", None);
                    return Ok(Vm::new(vm));
                }
                Err(e) if e.errno() == libc::EINTR => {}
                Err(e) => return Err(failed("KVM_CREATE_VM", "")(e)),
            }
        }
    }

    /// Calls KVM_GET_SUPPORTED_CPUID once per process. The call takes longer than creating a VM, and the host's CPU
    /// does not change.
    pub fn supported_cpuid(&self) -> Result<&'static CpuId> {
        static SUPPORTED: OnceLock<CpuId> = OnceLock::new();
        if let Some(cpuid) = SUPPORTED.get() {
            return Ok(cpuid);
        }
        let cpuid = self.0.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(failed("KVM_GET_SUPPORTED_CPUID", ""))?;
        Ok(SUPPORTED.get_or_init(|| cpuid))
    }

    /// Calls KVM_GET_SUPPORTED_HV_CPUID. Empty if the kernel lacks the call on this fd, or Hyper-V's interface.
    ///
    /// # Errors
    /// [`Error::Ioctl`].
    pub fn supported_hyperv_cpuid(&self) -> Result<Vec<Leaf>> {
        /// More than any kernel has.
        const LEAVES: usize = 32;
        if self.check(Capability::SysHypervCpuid) == 0 {
            return Ok(Vec::new());
        }
        let supported =
            system::supported_hv_cpuid(&self.0, LEAVES).map_err(failed("KVM_GET_SUPPORTED_HV_CPUID", ""))?;
        Ok(leaves(&supported))
    }

    /// Calls KVM_GET_MSR_INDEX_LIST once per process.
    pub fn msr_indices(&self) -> Result<&'static [u32]> {
        static INDICES: OnceLock<Vec<u32>> = OnceLock::new();
        if let Some(indices) = INDICES.get() {
            return Ok(indices);
        }
        let list = self.0.get_msr_index_list().map_err(failed("KVM_GET_MSR_INDEX_LIST", ""))?;
        Ok(INDICES.get_or_init(|| list.as_slice().to_vec()))
    }

    /// Returns which parts of the register state this kernel and a machine have. `lapic`: the local APIC is in the
    /// kernel.
    ///
    /// # Errors
    /// [`Error::Ioctl`].
    pub fn state_features(&self, vm: &Vm, lapic: bool) -> Result<StateFeatures> {
        let msrs = self.msr_indices()?;
        let has = |capability| self.check(capability) != 0;
        Ok(StateFeatures {
            sregs2: has(Capability::Sregs2),
            xsave_size: usize::try_from(vm.check(Capability::Xsave2)).unwrap_or(0).max(StateFeatures::XSAVE_SIZE),
            xcrs: has(Capability::Xcrs),
            exception_payload: has(Capability::ExceptionPayload),
            triple_fault: has(Capability::X86TripleFaultEvent),
            smm: msrs.contains(&SMBASE),
            nested: has(Capability::NestedState),
            tsc_khz: has(Capability::GetTscKhz),
            kvmclock_ctrl: has(Capability::KvmclockCtrl),
            lapic,
            msrs,
        })
    }
}
