//! VM exits as values. `run_page.rs` decodes them; the accelerator decides what follows.

/// Why `KVM_RUN` returned. The data of I/O and MMIO exits is borrowed from the shared page: a device must write its
/// answer before the next `KVM_RUN`.
#[derive(Debug, PartialEq, Eq)]
pub enum Exit<'a> {
    /// Port I/O: `data.len() / size` accesses of `size` bytes, all at the same port.
    Io {
        /// True for `out`.
        write: bool,
        /// The port.
        port: u16,
        /// Bytes of one access: 1, 2 or 4.
        size: usize,
        /// All accesses, in order.
        data: &'a mut [u8],
    },
    /// One access to an address without RAM, or a store to read-only memory.
    Mmio {
        /// True for a store.
        write: bool,
        /// Guest physical address.
        addr: u64,
        /// 1 to 8 bytes.
        data: &'a mut [u8],
    },
    /// A signal arrived, or `immediate_exit` was set.
    Interrupted,
    /// The guest halted (only without a local APIC in the kernel).
    Halted,
    /// The guest has ended a level-triggered interrupt of an IOAPIC outside the kernel.
    IoapicEoi {
        /// Its vector.
        vector: u8,
    },
    /// The interrupt window opened (only if user space requested this exit).
    IrqWindowOpen,
    /// Triple fault.
    Shutdown,
    /// The CPU rejected the guest state at VM entry.
    FailEntry {
        /// The hardware's reason.
        reason: u64,
        /// The host CPU on which the entry failed.
        cpu: u32,
    },
    /// A hardware exit that the kernel does not recognise.
    UnknownHardware {
        /// The hardware's reason.
        reason: u64,
    },
    /// An exception that reached the host.
    Exception {
        /// Its vector.
        vector: u32,
        /// Its error code.
        error_code: u32,
    },
    /// The guest changed its task priority (user-space irqchip only).
    SetTpr,
    /// The guest accessed the local APIC's task priority (only if user space enabled this reporting).
    TprAccess,
    /// A hypercall that the kernel leaves to user space (only if user space enabled this).
    Hypercall {
        /// KVM_HC_*.
        number: u64,
    },
    /// The guest changed its synthetic interrupt controller, which the kernel emulates (only if user space enabled
    /// KVM_CAP_HYPERV_SYNIC2).
    SynicChanged,
    /// A hypercall of Hyper-V's that the kernel leaves to user space.
    HypervHypercall {
        /// The number of the call, and flags.
        input: u64,
        /// The first parameter.
        parameter: u64,
        /// Receives the status.
        status: &'a mut u64,
    },
    /// `KVM_RUN` failed with EFAULT: the host has no memory behind the address that the guest accessed.
    MemoryFault {
        /// KVM_MEMORY_EXIT_FLAG_*.
        flags: u64,
        /// Guest physical address.
        gpa: u64,
        /// Length of the access in bytes.
        size: u64,
    },
    /// The vCPU's dirty ring is full: harvest it, then enter again.
    DirtyRingFull,
    /// KVM reported an internal error and stopped running the guest.
    InternalError(InternalError),
    /// A firmware-style event (shutdown, reset, crash).
    SystemEvent {
        /// KVM_SYSTEM_EVENT_*.
        kind: u32,
    },
    /// `rdmsr` of an MSR that user space emulates.
    ReadMsr {
        /// The MSR.
        index: u32,
        /// Receives the answer.
        answer: MsrAnswer<'a>,
    },
    /// `wrmsr` of an MSR that user space emulates.
    WriteMsr {
        /// The MSR.
        index: u32,
        /// The value that the guest writes.
        value: u64,
        /// Receives the answer.
        answer: MsrAnswer<'a>,
    },
    /// The guest locked the bus (only if user space enabled this exit).
    BusLock,
    /// A notify VM exit: no event window opened for longer than the notify window.
    Notify(NotifyInfo),
    /// A #DB or #BP while the guest is debugged.
    Debug(DebugExit),
    /// KVM_RUN failed with this error number; the exit reason is stale.
    Failed(i32),
    /// Any other KVM_EXIT_* number.
    Unknown(u32),
}

/// The place in `kvm_run.msr` for the answer to an MSR access.
#[derive(Debug, PartialEq, Eq)]
pub struct MsrAnswer<'a> {
    pub(crate) error: &'a mut u8,
    pub(crate) data: &'a mut u64,
}

impl MsrAnswer<'_> {
    /// Answers an `rdmsr` with a value. `None` injects a #GP.
    pub fn read(self, value: Option<u64>) {
        *self.error = u8::from(value.is_none());
        *self.data = value.unwrap_or(0);
    }

    /// Completes a `wrmsr`. `false` injects a #GP.
    pub fn written(self, done: bool) {
        *self.error = u8::from(!done);
    }
}

/// `kvm_run.notify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotifyInfo {
    /// KVM_NOTIFY_CONTEXT_INVALID: the guest's state is unreliable. Other flag bits are ignored, as in QEMU.
    pub context_invalid: bool,
}

/// `kvm_run.debug.arch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DebugExit {
    /// 1 (#DB) or 3 (#BP).
    pub exception: u32,
    /// Linear address.
    pub pc: u64,
    /// The value of DR6: the conditions that were detected.
    pub dr6: u64,
    /// The value of DR7 in force; 0 on kernels that emulate it.
    pub dr7: u64,
}

/// `kvm_run.internal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalError {
    /// KVM_INTERNAL_ERROR_*.
    pub suberror: u32,
    /// The first `ndata` words, at most 16.
    pub data: Vec<u64>,
}

/// KVM_INTERNAL_ERROR_EMULATION: KVM's emulator does not support an instruction.
pub const SUBERROR_EMULATION: u32 = 1;

impl InternalError {
    /// Returns the kernel's name of the suberror.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.suberror {
            SUBERROR_EMULATION => "emulation failure",
            2 => "simultaneous exceptions",
            3 => "exit during event delivery",
            4 => "unexpected exit reason",
            _ => "unknown suberror",
        }
    }

    /// Returns the instruction bytes of an emulation failure, from rip on, if the kernel supplied them (bit 0 of the
    /// first word).
    #[must_use]
    pub fn instruction_bytes(&self) -> Option<Vec<u8>> {
        let [flags, first, second, ..] = self.data[..] else { return None };
        if self.suberror != SUBERROR_EMULATION || flags & 1 == 0 {
            return None;
        }
        let bytes: Vec<u8> = first.to_le_bytes().into_iter().chain(second.to_le_bytes()).collect();
        let (size, bytes) = bytes.split_first()?;
        Some(bytes.iter().copied().take((*size).into()).collect())
    }
}

/// Returns the kernel's name of an exit reason, for messages about [`Exit::Unknown`].
#[must_use]
pub const fn reason_name(reason: u32) -> &'static str {
    match reason {
        4 => "KVM_EXIT_DEBUG",
        27 => "KVM_EXIT_HYPERV",
        34 => "KVM_EXIT_XEN",
        _ => "an exit reason unknown to this version",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_instruction_bytes_follow_the_size_byte() {
        let error = InternalError { suberror: 1, data: vec![1, 0x0706_0504_0302_010f, 0x0f0e_0d0c_0b0a_0908, 0, 0, 0] };
        assert_eq!(error.instruction_bytes().unwrap(), (1..=15).collect::<Vec<u8>>());
    }

    #[test]
    fn test_instruction_bytes_absent_without_flag_data_or_suberror_one() {
        assert_eq!(InternalError { suberror: 1, data: vec![0, 15, 0] }.instruction_bytes(), None);
        assert_eq!(InternalError { suberror: 1, data: vec![1] }.instruction_bytes(), None);
        assert_eq!(InternalError { suberror: 3, data: vec![1, 15, 0] }.instruction_bytes(), None);
    }

    #[test]
    fn test_instruction_bytes_with_hostile_size_stay_in_bounds() {
        let error = InternalError { suberror: 1, data: vec![1, u64::MAX, u64::MAX] };
        assert_eq!(error.instruction_bytes().unwrap().len(), 15);
    }
}
