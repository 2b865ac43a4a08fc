//! The pages that the kernel and a vCPU's user share (`kvm_run`, then the PIO data page), and their decoding.
//!
//! The mapping is separate from the one that kvm-ioctls keeps: it can be shared with the thread that kicks, and a test
//! can fabricate one. Fields are read through raw pointers, so that no reference ever covers `immediate_exit`, which
//! other threads write.

use super::coalesced_ring::CoalescedRing;
use super::exit::{DebugExit, Exit, InternalError, MsrAnswer, NotifyInfo};
use crate::mapping::Mapping;
use kvm_bindings::{
    KVM_EXIT_DEBUG, KVM_EXIT_DIRTY_RING_FULL, KVM_EXIT_EXCEPTION, KVM_EXIT_FAIL_ENTRY, KVM_EXIT_HLT,
    KVM_EXIT_HYPERCALL, KVM_EXIT_HYPERV, KVM_EXIT_HYPERV_HCALL, KVM_EXIT_HYPERV_SYNIC, KVM_EXIT_INTERNAL_ERROR,
    KVM_EXIT_INTR, KVM_EXIT_IO, KVM_EXIT_IO_OUT, KVM_EXIT_IOAPIC_EOI, KVM_EXIT_IRQ_WINDOW_OPEN, KVM_EXIT_MEMORY_FAULT,
    KVM_EXIT_MMIO, KVM_EXIT_NOTIFY, KVM_EXIT_SET_TPR, KVM_EXIT_SHUTDOWN, KVM_EXIT_SYSTEM_EVENT, KVM_EXIT_TPR_ACCESS,
    KVM_EXIT_UNKNOWN, KVM_EXIT_X86_BUS_LOCK, KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR, KVM_NOTIFY_CONTEXT_INVALID,
    KVM_RUN_X86_BUS_LOCK, kvm_debug_exit_arch, kvm_run,
};
use std::os::fd::RawFd;
use std::ptr::{addr_of, addr_of_mut};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// A vCPU's shared pages, owned by the thread that runs it.
#[derive(Debug)]
pub struct RunPage(Arc<Mapping>);

/// The one byte of the shared pages that other threads may write.
#[derive(Clone, Debug)]
pub struct ImmediateExit(Arc<Mapping>);

impl ImmediateExit {
    fn byte(&self) -> &AtomicU8 {
        let run = self.0.base().cast::<kvm_run>();
        // SAFETY: the mapping lives as long as `self`, and every access to this byte, by us or the kernel, is of one byte.
        unsafe { AtomicU8::from_ptr(addr_of_mut!((*run).immediate_exit)) }
    }

    /// Makes the current or next KVM_RUN return at once with EINTR.
    pub fn set(&self) {
        self.byte().store(1, Ordering::SeqCst);
    }

    /// Clears the request. Called by the vCPU's own thread before it checks what it was kicked for.
    pub fn clear(&self) {
        // A swap also reads: from here on, this thread sees what a kicker stored before it set the byte.
        self.byte().swap(0, Ordering::SeqCst);
    }

    /// Clears the request like [`Self::clear`], and returns whether there was one.
    pub fn take(&self) -> bool {
        self.byte().swap(0, Ordering::SeqCst) != 0
    }
}

impl RunPage {
    /// Maps the pages of a vCPU fd (`len` from KVM_GET_VCPU_MMAP_SIZE), or anonymous pages with fd -1.
    pub fn map(fd: RawFd, len: usize) -> Result<Self, vmm_sys_util::errno::Error> {
        if len < size_of::<kvm_run>() {
            return Err(vmm_sys_util::errno::Error::new(libc::EINVAL));
        }
        let mapping = if fd < 0 { Mapping::anonymous(len) } else { Mapping::shared(fd, len) };
        mapping.map(|mapping| Self(Arc::new(mapping)))
    }

    /// Returns the pages, for a view that outlives this value.
    pub const fn mapping(&self) -> &Arc<Mapping> {
        &self.0
    }

    /// Returns whether the vCPU can accept an interrupt now (`ready_for_interrupt_injection`), and clears the field.
    /// One `KVM_RUN` thus allows one injection, because the field does not reflect an interrupt that was injected
    /// since.
    pub fn take_ready_for_injection(&self) -> bool {
        // SAFETY: the field lies inside the mapping, and the kernel accesses it only inside KVM_RUN, and this vCPU's thread is outside.
        unsafe { addr_of_mut!((*self.run()).ready_for_interrupt_injection).replace(0) != 0 }
    }

    /// Makes the kernel exit once the vCPU can accept an interrupt, or cancels that request.
    pub fn request_interrupt_window(&self, wanted: bool) {
        // SAFETY: as above.
        unsafe { addr_of_mut!((*self.run()).request_interrupt_window).write(wanted.into()) };
    }

    /// Returns the guest's interrupt flag at the last exit.
    pub fn interrupts_enabled(&self) -> bool {
        // SAFETY: as above.
        unsafe { addr_of!((*self.run()).if_flag).read() != 0 }
    }

    /// Returns the byte for kicks.
    #[must_use]
    pub fn immediate_exit(&self) -> ImmediateExit {
        ImmediateExit(Arc::clone(&self.0))
    }

    /// Returns the ring of coalesced writes at page `page` of the mapping.
    pub fn coalesced_ring(&self, page: u32) -> Option<CoalescedRing> {
        CoalescedRing::new(Arc::clone(&self.0), page)
    }

    fn run(&self) -> *mut kvm_run {
        self.0.base().cast()
    }

    /// Returns the KVM_EXIT_* number of the last `KVM_RUN`.
    pub fn reason(&self) -> u32 {
        // SAFETY: the mapping holds a whole kvm_run, and the kernel writes it only inside KVM_RUN, which needs `&mut` on our owner.
        unsafe { addr_of!((*self.run()).exit_reason).read() }
    }

    /// Stores in the page how the last `KVM_RUN` ended, for cases in which the kernel does not.
    pub fn set_reason(&self, reason: u32) {
        // SAFETY: as in `reason`; called by the thread that owns the page, outside KVM_RUN.
        unsafe { addr_of_mut!((*self.run()).exit_reason).write(reason) }
    }

    /// Decodes the exit of the last `KVM_RUN`. Has no side effects.
    pub fn decode(&mut self) -> Exit<'_> {
        let run = self.run();
        let reason = self.reason();
        // SAFETY: exit_reason selects the member of the union; every bit pattern is valid for all of them. Applies to each read below.
        let union = unsafe { &mut *addr_of_mut!((*run).__bindgen_anon_1) };
        match reason {
            KVM_EXIT_IO => {
                // SAFETY: selected by KVM_EXIT_IO.
                let io = unsafe { union.io };
                let (size, count) = (usize::from(io.size), usize::try_from(io.count).unwrap_or(0));
                let write = u32::from(io.direction) == KVM_EXIT_IO_OUT;
                match self.bytes(io.data_offset, size * count) {
                    Some(data) if size > 0 => Exit::Io { write, port: io.port, size, data },
                    _ => Exit::Unknown(reason),
                }
            }
            KVM_EXIT_MMIO => {
                // SAFETY: selected by KVM_EXIT_MMIO.
                let mmio = unsafe { &mut union.mmio };
                let (write, addr) = (mmio.is_write != 0, mmio.phys_addr);
                match usize::try_from(mmio.len).ok().and_then(|len| mmio.data.get_mut(..len)) {
                    Some(data) => Exit::Mmio { write, addr, data },
                    None => Exit::Unknown(reason),
                }
            }
            KVM_EXIT_NOTIFY => {
                // SAFETY: selected by KVM_EXIT_NOTIFY.
                let flags = unsafe { union.notify.flags };
                Exit::Notify(NotifyInfo { context_invalid: flags & KVM_NOTIFY_CONTEXT_INVALID != 0 })
            }
            KVM_EXIT_X86_RDMSR | KVM_EXIT_X86_WRMSR => {
                // SAFETY: selected by KVM_EXIT_X86_RDMSR or KVM_EXIT_X86_WRMSR.
                let msr = unsafe { &mut union.msr };
                let (index, value) = (msr.index, msr.data);
                let answer = MsrAnswer { error: &mut msr.error, data: &mut msr.data };
                match reason {
                    KVM_EXIT_X86_RDMSR => Exit::ReadMsr { index, answer },
                    _ => Exit::WriteMsr { index, value, answer },
                }
            }
            KVM_EXIT_X86_BUS_LOCK => Exit::BusLock,
            KVM_EXIT_INTERNAL_ERROR => {
                // SAFETY: selected by KVM_EXIT_INTERNAL_ERROR.
                let internal = unsafe { union.internal };
                let data = internal.data.iter().copied().take(internal.ndata.try_into().unwrap_or(0)).collect();
                Exit::InternalError(InternalError { suberror: internal.suberror, data })
            }
            KVM_EXIT_DEBUG => {
                // SAFETY: selected by KVM_EXIT_DEBUG.
                let kvm_debug_exit_arch { exception, pc, dr6, dr7, .. } = unsafe { union.debug.arch };
                Exit::Debug(DebugExit { exception, pc, dr6, dr7 })
            }
            KVM_EXIT_FAIL_ENTRY => {
                // SAFETY: selected by KVM_EXIT_FAIL_ENTRY.
                let fail = unsafe { union.fail_entry };
                Exit::FailEntry { reason: fail.hardware_entry_failure_reason, cpu: fail.cpu }
            }
            KVM_EXIT_UNKNOWN => {
                // SAFETY: selected by KVM_EXIT_UNKNOWN.
                Exit::UnknownHardware { reason: unsafe { union.hw.hardware_exit_reason } }
            }
            KVM_EXIT_EXCEPTION => {
                // SAFETY: selected by KVM_EXIT_EXCEPTION.
                let ex = unsafe { union.ex };
                Exit::Exception { vector: ex.exception, error_code: ex.error_code }
            }
            KVM_EXIT_SYSTEM_EVENT => {
                // SAFETY: selected by KVM_EXIT_SYSTEM_EVENT.
                Exit::SystemEvent { kind: unsafe { union.system_event.type_ } }
            }
            KVM_EXIT_HYPERCALL => {
                // SAFETY: selected by KVM_EXIT_HYPERCALL.
                Exit::Hypercall { number: unsafe { union.hypercall.nr } }
            }
            KVM_EXIT_HYPERV => {
                // SAFETY: selected by KVM_EXIT_HYPERV.
                let hyperv = unsafe { &mut union.hyperv };
                match hyperv.type_ {
                    KVM_EXIT_HYPERV_SYNIC => Exit::SynicChanged,
                    KVM_EXIT_HYPERV_HCALL => {
                        // SAFETY: selected by KVM_EXIT_HYPERV_HCALL.
                        let call = unsafe { &mut hyperv.u.hcall };
                        let [parameter, _] = call.params;
                        Exit::HypervHypercall { input: call.input, parameter, status: &mut call.result }
                    }
                    _ => Exit::Unknown(reason),
                }
            }
            KVM_EXIT_MEMORY_FAULT => {
                // SAFETY: selected by KVM_EXIT_MEMORY_FAULT.
                let fault = unsafe { union.memory_fault };
                Exit::MemoryFault { flags: fault.flags, gpa: fault.gpa, size: fault.size }
            }
            KVM_EXIT_DIRTY_RING_FULL => Exit::DirtyRingFull,
            KVM_EXIT_INTR => Exit::Interrupted,
            KVM_EXIT_IRQ_WINDOW_OPEN => Exit::IrqWindowOpen,
            KVM_EXIT_HLT => Exit::Halted,
            KVM_EXIT_IOAPIC_EOI => {
                // SAFETY: selected by KVM_EXIT_IOAPIC_EOI.
                Exit::IoapicEoi { vector: unsafe { union.eoi.vector } }
            }
            KVM_EXIT_SHUTDOWN => Exit::Shutdown,
            KVM_EXIT_SET_TPR => Exit::SetTpr,
            KVM_EXIT_TPR_ACCESS => Exit::TprAccess,
            other => Exit::Unknown(other),
        }
    }

    /// Takes the flag that a bus lock ended the last `KVM_RUN`. The kernel clears it only at the next entry.
    pub fn take_bus_lock(&mut self) -> bool {
        let run = self.run();
        let mark = u16::try_from(KVM_RUN_X86_BUS_LOCK).unwrap_or(0);
        // SAFETY: the mapping holds a whole kvm_run; outside KVM_RUN, which `&mut self` excludes, no other thread uses this field.
        unsafe {
            let flags = addr_of_mut!((*run).flags);
            let before = flags.read();
            flags.write(before & !mark);
            before & mark != 0
        }
    }

    /// Decodes the exit of a `KVM_RUN` that failed with EFAULT, if the kernel reports the access that caused it.
    pub fn decode_fault(&mut self) -> Option<Exit<'_>> {
        match self.decode() {
            fault @ Exit::MemoryFault { .. } => Some(fault),
            _ => None,
        }
    }

    /// Returns `len` bytes at `offset` behind the `kvm_run` itself (the PIO data page). Returns `None` if the range
    /// does not lie inside the mapping.
    fn bytes(&mut self, offset: u64, len: usize) -> Option<&mut [u8]> {
        let offset = usize::try_from(offset).ok()?;
        let end = offset.checked_add(len)?;
        if offset < size_of::<kvm_run>() || end > self.0.len() {
            return None;
        }
        // SAFETY: the range lies inside the mapping and behind kvm_run, so it overlaps neither `immediate_exit` nor the
        // union. `&mut self` excludes KVM_RUN, and so the kernel, while the slice is borrowed.
        Some(unsafe { slice::from_raw_parts_mut(self.0.base().add(offset), len) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEN: usize = 3 * 4096;

    fn fabricated(fill: impl FnOnce(&mut kvm_run)) -> RunPage {
        let page = RunPage::map(-1, LEN).unwrap();
        // SAFETY: the anonymous mapping is ours alone and zeroed, which is a valid kvm_run.
        fill(unsafe { &mut *page.run() });
        page
    }

    #[test]
    fn test_notify_flags_decode_and_unknown_bits_are_ignored() {
        for (flags, context_invalid) in [(0, false), (1, true), (0xffff_fffe, false), (0x8000_0001, true)] {
            let mut page = fabricated(|run| {
                run.exit_reason = KVM_EXIT_NOTIFY;
                run.__bindgen_anon_1.notify.flags = flags;
            });
            assert_eq!(page.decode(), Exit::Notify(NotifyInfo { context_invalid }));
        }
    }

    #[test]
    fn test_msr_accesses_decode_and_take_their_answer() {
        let mut page = fabricated(|run| {
            run.exit_reason = KVM_EXIT_X86_RDMSR;
            run.__bindgen_anon_1.msr.index = 0x35;
        });
        match page.decode() {
            Exit::ReadMsr { index: 0x35, answer } => answer.read(Some(7)),
            other => panic!("{other:?}"),
        }
        // SAFETY: any bit pattern is a valid msr member.
        let answered = |page: &RunPage| unsafe {
            ((*page.run()).__bindgen_anon_1.msr.error, (*page.run()).__bindgen_anon_1.msr.data)
        };
        assert_eq!(answered(&page), (0, 7));
        let Exit::ReadMsr { answer, .. } = page.decode() else { panic!() };
        answer.read(None);
        assert_eq!(answered(&page), (1, 0));
        let mut page = fabricated(|run| {
            run.exit_reason = KVM_EXIT_X86_WRMSR;
            (run.__bindgen_anon_1.msr.index, run.__bindgen_anon_1.msr.data) = (0x10, 9);
        });
        match page.decode() {
            Exit::WriteMsr { index: 0x10, value: 9, answer } => answer.written(false),
            other => panic!("{other:?}"),
        }
        assert_eq!(answered(&page).0, 1);
    }

    #[test]
    fn test_bus_lock_is_an_exit_and_a_mark_on_any_other() {
        let mut page = fabricated(|run| run.exit_reason = KVM_EXIT_X86_BUS_LOCK);
        assert_eq!(page.decode(), Exit::BusLock);
        assert!(!page.take_bus_lock());
        let mut page = fabricated(|run| (run.exit_reason, run.flags) = (KVM_EXIT_SHUTDOWN, 3));
        assert!(page.take_bus_lock() && !page.take_bus_lock());
        assert_eq!(page.decode(), Exit::Shutdown);
        // SAFETY: the page is ours alone.
        assert_eq!(unsafe { (*page.run()).flags }, 1);
    }

    #[test]
    fn test_memory_fault_differs_from_a_stale_page() {
        let mut page = fabricated(|run| {
            run.exit_reason = KVM_EXIT_MEMORY_FAULT;
            // SAFETY: any bit pattern is a valid memory_fault member.
            let fault = unsafe { &mut run.__bindgen_anon_1.memory_fault };
            (fault.flags, fault.gpa, fault.size) = (8, 0x5000, 0x1000);
        });
        assert_eq!(page.decode_fault(), Some(Exit::MemoryFault { flags: 8, gpa: 0x5000, size: 0x1000 }));
        assert_eq!(fabricated(|run| run.exit_reason = KVM_EXIT_SHUTDOWN).decode_fault(), None);
    }

    #[test]
    fn test_hyperv_exits_decode_and_take_a_status() {
        let exit = |kind| {
            fabricated(|run| {
                run.exit_reason = KVM_EXIT_HYPERV;
                run.__bindgen_anon_1.hyperv.type_ = kind;
                // SAFETY: any bit pattern is a valid hcall member.
                let call = unsafe { &mut run.__bindgen_anon_1.hyperv.u.hcall };
                (call.input, call.params) = (0x5c, [0x1000, 1]);
            })
        };
        let mut page = exit(KVM_EXIT_HYPERV_HCALL);
        if let Exit::HypervHypercall { status, .. } = page.decode() {
            *status = 18;
        }
        assert_eq!(page.decode(), Exit::HypervHypercall { input: 0x5c, parameter: 0x1000, status: &mut 18 });
        assert_eq!(exit(KVM_EXIT_HYPERV_SYNIC).decode(), Exit::SynicChanged);
        assert_eq!(exit(99).decode(), Exit::Unknown(KVM_EXIT_HYPERV));
    }

    #[test]
    fn test_hypercall_and_task_priority_decode() {
        let mut page = fabricated(|run| {
            run.exit_reason = KVM_EXIT_HYPERCALL;
            run.__bindgen_anon_1.hypercall.nr = 12;
        });
        assert_eq!(page.decode(), Exit::Hypercall { number: 12 });
        assert_eq!(fabricated(|run| run.exit_reason = KVM_EXIT_TPR_ACCESS).decode(), Exit::TprAccess);
    }

    #[test]
    fn test_debug_exits_carry_exception_address_and_registers() {
        for (exception, pc, dr6, dr7) in
            [(1, 0x1001, 0xffff_4ff0, 0), (3, u64::MAX, 0, 0x602), (1, 7, 0xffff_0ff2, 0xd_0402)]
        {
            let mut page = fabricated(|run| {
                run.exit_reason = KVM_EXIT_DEBUG;
                run.__bindgen_anon_1.debug.arch = kvm_debug_exit_arch { exception, pc, dr6, dr7, ..Default::default() };
            });
            assert_eq!(page.decode(), Exit::Debug(DebugExit { exception, pc, dr6, dr7 }));
        }
    }

    #[test]
    fn test_io_lends_the_data_page() {
        let mut page = fabricated(|run| {
            run.exit_reason = KVM_EXIT_IO;
            // SAFETY: any bit pattern is a valid io member.
            let io = unsafe { &mut run.__bindgen_anon_1.io };
            (io.direction, io.size, io.port, io.count, io.data_offset) = (0, 2, 0x1f0, 4, 4096);
        });
        match page.decode() {
            Exit::Io { write: false, port: 0x1f0, size: 2, data } => data.fill(0x5a),
            other => panic!("{other:?}"),
        }
        // SAFETY: the byte lies inside the mapping.
        assert_eq!(unsafe { *page.0.base().add(4096 + 7) }, 0x5a);
    }

    #[test]
    fn test_internal_error_keeps_at_most_sixteen_words() {
        let mut page = fabricated(|run| {
            run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
            run.__bindgen_anon_1.internal.ndata = 1000;
        });
        assert!(matches!(page.decode(), Exit::InternalError(e) if e.data.len() == 16));
    }

    proptest! {
        /// Whatever the page contains, decoding returns a value, and every borrowed byte lies inside the mapping.
        #[test]
        fn test_decode_survives_any_page(reason in 0u32..64, union in proptest::collection::vec(any::<u8>(), 256)) {
            let mut page = fabricated(|run| {
                run.exit_reason = reason;
                // SAFETY: 256 bytes are the size of the union, and any bit pattern is valid for its members.
                unsafe {
                    std::ptr::copy_nonoverlapping(union.as_ptr(), addr_of_mut!(run.__bindgen_anon_1).cast(), 256);
                }
            });
            if let Exit::Io { data, .. } | Exit::Mmio { data, .. } = page.decode() {
                data.fill(0xff);
            }
        }
    }
}
