//! VM exits as values. `run_page.rs` decodes them; the accelerator decides what follows.

/// Why KVM_RUN came back. Data of I/O and MMIO is lent from the shared page: an answer is to be written before the
/// next KVM_RUN.
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
    /// The interrupt window opened (only when asked for).
    IrqWindowOpen,
    /// Triple fault.
    Shutdown,
    /// The CPU refused to enter the guest.
    FailEntry {
        /// The hardware's reason.
        reason: u64,
        /// The host CPU it happened on.
        cpu: u32,
    },
    /// An exit the kernel itself does not know.
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
    /// The local APIC's task priority was accessed (only when reporting was asked for).
    TprAccess,
    /// A hypercall that the kernel leaves to user space (only when that was asked for).
    Hypercall {
        /// KVM_HC_*.
        number: u64,
    },
    /// KVM_RUN failed with EFAULT: the host has no memory behind what the guest accessed.
    MemoryFault {
        /// KVM_MEMORY_EXIT_FLAG_*.
        flags: u64,
        /// Guest physical address.
        gpa: u64,
        /// Bytes.
        size: u64,
    },
    /// The vCPU's dirty ring is full: harvest it, then enter again.
    DirtyRingFull,
    /// KVM gave up on the guest.
    InternalError(InternalError),
    /// A firmware-style event (shutdown, reset, crash).
    SystemEvent {
        /// KVM_SYSTEM_EVENT_*.
        kind: u32,
    },
    /// `rdmsr` of an MSR that user space answers for.
    ReadMsr {
        /// The MSR.
        index: u32,
        /// Where the answer goes.
        answer: MsrAnswer<'a>,
    },
    /// `wrmsr` of an MSR that user space answers for.
    WriteMsr {
        /// The MSR.
        index: u32,
        /// The value.
        value: u64,
        /// Where the answer goes.
        answer: MsrAnswer<'a>,
    },
    /// The guest locked the bus (only when that was asked for).
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

/// Where the answer to an MSR access goes, in `kvm_run.msr`.
#[derive(Debug, PartialEq, Eq)]
pub struct MsrAnswer<'a> {
    pub(crate) error: &'a mut u8,
    pub(crate) data: &'a mut u64,
}

impl MsrAnswer<'_> {
    /// The value of an `rdmsr`; `None` gives the guest a #GP.
    pub fn read(self, value: Option<u64>) {
        *self.error = u8::from(value.is_none());
        *self.data = value.unwrap_or(0);
    }

    /// A `wrmsr` is done, or gives the guest a #GP.
    pub fn written(self, done: bool) {
        *self.error = u8::from(!done);
    }
}

/// `kvm_run.notify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotifyInfo {
    /// KVM_NOTIFY_CONTEXT_INVALID: the guest's state cannot be trusted. Other flag bits are ignored, as QEMU does.
    pub context_invalid: bool,
}

/// `kvm_run.debug.arch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DebugExit {
    /// 1 (#DB) or 3 (#BP).
    pub exception: u32,
    /// Linear address.
    pub pc: u64,
    /// What happened.
    pub dr6: u64,
    /// The registers in force; 0 on kernels that emulate.
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

/// KVM_INTERNAL_ERROR_EMULATION: an instruction that KVM's emulator lacks.
pub const SUBERROR_EMULATION: u32 = 1;

impl InternalError {
    /// The suberror by the kernel's name.
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

    /// The instruction bytes of an emulation failure, from rip on, when the kernel gave them (bit 0 of the first word).
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

/// The kernel's name of an exit reason, for messages about [`Exit::Unknown`].
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
