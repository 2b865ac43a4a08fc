//! Guest debug on running vCPUs: applies the results of `crate::debug` on each vCPU's own thread.

use super::Vcpus;
use super::thread::VcpuThread;
use crate::debug::{Breakpoint, ByteMemory, DebugStop, LinearMemory, debug_words, decide, physical, reinjected};
use crate::event::StopReason;
use crate::state::Level;
use crate::{Error, Result};
use kvm_accel_kvm::run::DebugExit;
use vm_memory::Bytes;

impl Vcpus {
    /// Returns whether this kernel supports guest debug (KVM_CAP_SET_GUEST_DEBUG).
    #[must_use]
    pub fn supports_guest_debug(&self) -> bool {
        self.shared.debug.support.guest_debug
    }

    /// Adds a breakpoint for all vCPUs, which must be stopped. The page tables of vCPU `vcpu` translate the address of
    /// a software breakpoint.
    ///
    /// # Errors
    /// [`Error::Breakpoint`], [`Error::DebugUnsupported`], [`Error::Running`], or [`Error::Kvm`]. Nothing changes then.
    pub fn insert_breakpoint(&self, vcpu: u32, breakpoint: Breakpoint) -> Result<()> {
        let mut memory = self.debuggable(vcpu)?;
        let inserted = self.shared.debug.breakpoints().insert(breakpoint, &mut memory);
        inserted.map_err(|problem| Error::Breakpoint { what: breakpoint.to_string(), problem })?;
        self.program_all().inspect_err(|_| {
            let _ = self.shared.debug.breakpoints().remove(breakpoint, &mut memory);
        })
    }

    /// Removes a breakpoint.
    ///
    /// # Errors
    /// As [`Vcpus::insert_breakpoint`].
    pub fn remove_breakpoint(&self, vcpu: u32, breakpoint: Breakpoint) -> Result<()> {
        let mut memory = self.debuggable(vcpu)?;
        let removed = self.shared.debug.breakpoints().remove(breakpoint, &mut memory);
        removed.map_err(|problem| Error::Breakpoint { what: breakpoint.to_string(), problem })?;
        self.program_all()
    }

    /// Removes all breakpoints. Discards a software breakpoint whose byte no vCPU can reach any more.
    ///
    /// # Errors
    /// As [`Vcpus::insert_breakpoint`].
    pub fn clear_breakpoints(&self) -> Result<()> {
        let mut memories = self.indices().map(|vcpu| self.debuggable(vcpu)).collect::<Result<Vec<_>>>()?;
        self.shared.debug.breakpoints().clear(&mut memories);
        self.program_all()
    }

    /// Prepares vCPU `vcpu` to execute one instruction at its next entry, also at a breakpoint. Interrupts are blocked
    /// during the step if the kernel supports it. [`Vcpus::resume_only`] executes the step.
    ///
    /// # Errors
    /// [`Error::DebugUnsupported`] or [`Error::Running`].
    pub fn prepare_step(&self, vcpu: u32) -> Result<()> {
        self.debuggable(vcpu)?;
        self.on_thread(vcpu, VcpuThread::request_step)
    }

    /// Lets vCPU `vcpu` alone enter the guest; the others stay parked. After [`Vcpus::prepare_step`] it executes one instruction, and
    /// [`StopReason::Debug`] is emitted.
    pub fn resume_only(&self, vcpu: u32) {
        self.enter_guest(usize::try_from(vcpu).ok());
    }

    /// Reads guest memory at a linear address of vCPU `vcpu`, which must be stopped, or at a physical address.
    ///
    /// # Errors
    /// [`Error::GuestMemory`] with the first unreadable address, or [`Error::Running`].
    pub fn read_memory(&self, vcpu: Option<u32>, address: u64, length: usize) -> Result<Vec<u8>> {
        let Some(vcpu) = vcpu else {
            let mut bytes = vec![0; length];
            let ram = &self.shared.ram;
            let read = |at, piece| bytes.get_mut(piece).is_some_and(|piece| ram.read_slice(piece, at).is_ok());
            physical(address, length, read).map_err(|address| Error::GuestMemory { address })?;
            return Ok(bytes);
        };
        self.on_thread(vcpu, move |thread| {
            thread.flush()?;
            let mut bytes = vec![0; length];
            let read = |at, piece| bytes.get_mut(piece).is_some_and(|piece| thread.ram().read_slice(piece, at).is_ok());
            thread.linear().pieces(address, length, read).map_err(|address| Error::GuestMemory { address })?;
            Ok(bytes)
        })?
    }

    /// Writes guest memory: see [`Vcpus::read_memory`]. Bytes before an address that is not writable have been written.
    ///
    /// # Errors
    /// As [`Vcpus::read_memory`].
    pub fn write_memory(&self, vcpu: Option<u32>, address: u64, bytes: Vec<u8>) -> Result<()> {
        let Some(vcpu) = vcpu else {
            let ram = &self.shared.ram;
            let write = |at, piece| bytes.get(piece).is_some_and(|piece| ram.write_slice(piece, at).is_ok());
            return physical(address, bytes.len(), write).map_err(|address| Error::GuestMemory { address });
        };
        self.on_thread(vcpu, move |thread| {
            thread.flush()?;
            let write = |at, piece| bytes.get(piece).is_some_and(|piece| thread.ram().write_slice(piece, at).is_ok());
            thread.linear().pieces(address, bytes.len(), write).map_err(|address| Error::GuestMemory { address })
        })?
    }

    fn indices(&self) -> impl Iterator<Item = u32> {
        (0u32..).take(self.shared.counts.len())
    }

    /// Returns a stopped vCPU's memory, if the kernel supports guest debug.
    fn debuggable(&self, vcpu: u32) -> Result<RemoteMemory<'_>> {
        if !self.supports_guest_debug() {
            return Err(Error::DebugUnsupported);
        }
        self.on_thread(vcpu, |thread| thread.flush())??;
        Ok(RemoteMemory { vcpus: self, vcpu })
    }

    /// Calls KVM_SET_GUEST_DEBUG on every vCPU. Returns the first error.
    fn program_all(&self) -> Result<()> {
        self.indices().try_for_each(|vcpu| self.on_thread(vcpu, |thread| thread.program(None))?)
    }
}

/// A stopped vCPU's memory, accessed from another thread.
struct RemoteMemory<'a> {
    vcpus: &'a Vcpus,
    vcpu: u32,
}

impl ByteMemory for RemoteMemory<'_> {
    fn read(&mut self, address: u64) -> Option<u8> {
        self.vcpus.on_thread(self.vcpu, move |thread| thread.linear().read(address)).ok().flatten()
    }

    fn write(&mut self, address: u64, byte: u8) -> bool {
        self.vcpus.on_thread(self.vcpu, move |thread| thread.linear().write(address, byte)).unwrap_or(false)
    }
}

/// The state of single-stepping on a vCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stepping {
    /// The vCPU runs without stepping.
    #[default]
    Off,
    /// The next entry is one step.
    Requested,
    /// KVM single-steps the vCPU, starting at this linear address.
    From(u64),
}

impl VcpuThread {
    fn request_step(&mut self) {
        self.stepping = Stepping::Requested;
    }

    fn program(&mut self, stepped_from: Option<u64>) -> Result<()> {
        let debug = &self.shared.debug;
        let words = debug_words(&debug.breakpoints(), stepped_from, debug.support);
        Ok(self.vcpu.set_guest_debug(&words)?)
    }

    /// Prepares an entry after a stop: a step removes the `int3` at its address for the duration of the step.
    pub(super) fn begin_step(&mut self) -> Result<()> {
        if self.stepping == Stepping::Off {
            return Ok(());
        }
        let from = self.vcpu.registers()?.linear_rip();
        self.stepping = Stepping::From(from);
        self.shared.debug.breakpoints().lift(from, &mut self.linear());
        self.program(Some(from))
    }

    /// Ends a step after the vCPU has left the guest.
    pub(super) fn end_step(&mut self) -> Result<()> {
        let Stepping::From(from) = std::mem::take(&mut self.stepping) else { return Ok(()) };
        self.shared.debug.breakpoints().plant(from, &mut self.linear());
        self.program(None)
    }

    /// Handles a debug exit: stops the machine for the user's debugger, or reinjects the guest's own exception.
    pub(super) fn debug(&mut self, exit: &DebugExit) -> Result<Option<StopReason>> {
        let cause = decide(exit, self.stepping != Stepping::Off, &self.shared.debug.breakpoints());
        if let Some(cause) = cause {
            let rip = self.vcpu.registers()?.rip;
            return Ok(Some(StopReason::Debug(DebugStop { vcpu: self.vcpu.id(), cause, rip })));
        }
        let state = reinjected(self.state()?, exit, self.vcpu.exception_payloads());
        self.set_state(state, Level::Runtime)?;
        self.flush()?;
        Ok(None)
    }

    fn linear(&self) -> LinearMemory<'_> {
        LinearMemory { vcpu: &self.vcpu, ram: self.ram() }
    }
}
