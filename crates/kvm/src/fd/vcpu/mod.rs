//! The vCPU fd.

mod guest_debug;
#[cfg(feature = "baseline")]
mod raw_run;
mod state;

pub use guest_debug::DebugWords;
#[cfg(feature = "baseline")]
pub use raw_run::RawExit;
pub use state::StateFeatures;

use crate::error::{error_of, failed};
use crate::run::{Exit, RunPage};
use crate::state::{Registers, StartMode, StartState};
use crate::trace::{KVM_RUN, called, trace};
use crate::upstream::{self, DirtyRing};
use crate::{Capability, Error, Result};
use kvm_bindings::{CpuId, kvm_enable_cap, kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::VcpuFd;
use state::registers_of;
use std::ffi::c_char;
use std::os::fd::AsRawFd;

/// A virtual CPU, owned by the thread that runs it.
#[derive(Debug)]
pub struct Vcpu {
    pub(in crate::fd) fd: VcpuFd,
    pub(super) id: u32,
    pub(super) apic_id: u32,
    pub(super) features: StateFeatures,
    page: RunPage,
}

const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
/// Not write-through and cache disable: a processor's caches are off until firmware turns them on.
const CR0_NW_CD: u64 = 0b11 << 29;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;

impl Vcpu {
    pub(in crate::fd) fn new(
        fd: VcpuFd,
        id: u32,
        apic_id: u32,
        features: StateFeatures,
        run_size: usize,
    ) -> Result<Self> {
        let page = RunPage::map(fd.as_raw_fd(), run_size).map_err(failed("mmap", format!("vCPU {id}")))?;
        Ok(Self { fd, id, apic_id, features, page })
    }

    /// Returns the index.
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Returns the shared pages, for the kick.
    pub const fn page(&self) -> &RunPage {
        &self.page
    }

    /// Builds the error of an ioctl, with this vCPU's index.
    pub(in crate::fd) fn failed(
        &self,
        ioctl: &'static str,
    ) -> impl FnOnce(vmm_sys_util::errno::Error) -> Error + use<> {
        called(ioctl, Some(self.id));
        error_of(ioctl, format!("vCPU {}", self.id))
    }

    /// Maps this vCPU's dirty ring.
    pub fn dirty_ring(&self, entries: u32) -> Result<DirtyRing> {
        DirtyRing::map(&self.fd, entries).map_err(self.failed("mmap"))
    }

    /// Calls KVM_SET_CPUID2.
    pub fn set_cpuid(&self, cpuid: &CpuId) -> Result<()> {
        self.fd.set_cpuid2(cpuid).map_err(self.failed("KVM_SET_CPUID2"))
    }

    /// Takes the flag in the shared page that a bus lock occurred in the last KVM_RUN, with any exit reason.
    pub fn take_bus_lock(&mut self) -> bool {
        self.page.take_bus_lock()
    }

    /// Calls KVM_RUN and decodes the exit. Completes the I/O or MMIO of the previous exit.
    pub fn run(&mut self) -> Exit<'_> {
        // The exits that kvm-ioctls decodes lack the access size and the notify exit, so the page is decoded here
        // instead.
        trace!(KvmVcpuIoctl { cpu_index: self.id, number: KVM_RUN, name: "KVM_RUN".into() });
        match self.fd.run().map(drop) {
            Ok(()) => {
                trace!(KvmRunExit { cpu_index: self.id, reason: self.page.reason() });
                self.page.decode()
            }
            Err(e) if matches!(e.errno(), libc::EINTR | libc::EAGAIN) => {
                trace!(KvmIoWindowExit {});
                Exit::Interrupted
            }
            Err(e) if e.errno() == libc::EFAULT => self.page.decode_fault().unwrap_or(Exit::Failed(libc::EFAULT)),
            Err(e) => Exit::Failed(e.errno()),
        }
    }

    /// Applies the state that a boot protocol requires, on top of the reset values.
    pub fn set_start_state(&self, start: &StartState) -> Result<()> {
        if start.mode == StartMode::Reset {
            return Ok(());
        }
        let mut sregs = self.fd.get_sregs().map_err(self.failed("KVM_GET_SREGS"))?;
        // As firmware leaves it.
        sregs.cr0 &= !CR0_NW_CD;
        match start.mode {
            StartMode::Reset => {}
            StartMode::Real => {
                for segment in
                    [&mut sregs.cs, &mut sregs.ds, &mut sregs.es, &mut sregs.fs, &mut sregs.gs, &mut sregs.ss]
                {
                    (segment.base, segment.selector) = (0, 0);
                }
            }
            StartMode::Protected => set_flat_segments(&mut sregs),
            StartMode::Long { page_table, gdt, gdt_limit } => {
                (sregs.gdt.base, sregs.gdt.limit) = (gdt, gdt_limit);
                set_long_mode(&mut sregs, page_table);
            }
        }
        self.fd.set_sregs(&sregs).map_err(self.failed("KVM_SET_SREGS"))?;
        let regs = kvm_regs {
            rip: start.rip,
            rax: start.rax,
            rbx: start.rbx,
            rsi: start.rsi,
            rsp: start.rsp,
            rflags: 2,
            ..Default::default()
        };
        self.fd.set_regs(&regs).map_err(self.failed("KVM_SET_REGS"))
    }

    /// Reads the registers that reports and events show.
    pub fn registers(&self) -> Result<Registers> {
        let regs = self.fd.get_regs().map_err(self.failed("KVM_GET_REGS"))?;
        let sregs = self.fd.get_sregs().map_err(self.failed("KVM_GET_SREGS"))?;
        Ok(registers_of(&regs, &sregs))
    }

    /// Calls KVM_KVMCLOCK_CTRL, which notifies a guest that it was paused, so that its watchdogs do not fire. The call
    /// fails for a guest without kvmclock; that error is ignored.
    pub fn kvmclock_ctrl(&self) {
        if self.features.kvmclock_ctrl {
            let _ = self.fd.kvmclock_ctrl().map_err(self.failed("KVM_KVMCLOCK_CTRL"));
        }
    }

    /// Reads the register page of the local APIC (KVM_GET_LAPIC). Returns `None` if the local APIC is not in the
    /// kernel.
    pub fn local_apic(&self) -> Option<[u8; 0x400]> {
        let apic = self.fd.get_lapic().ok()?;
        Some(apic.regs.map(c_char::cast_unsigned))
    }

    /// Calls KVM_INTERRUPT: injects an interrupt of a PIC outside the kernel.
    pub fn interrupt(&self, vector: u8) -> Result<()> {
        upstream::vcpu::interrupt(&self.fd, vector).map_err(self.failed("KVM_INTERRUPT"))
    }

    /// Calls KVM_NMI.
    pub fn nmi(&self) -> Result<()> {
        self.fd.nmi().map_err(self.failed("KVM_NMI"))
    }

    /// Calls KVM_ENABLE_CAP with one argument, for a capability of a vCPU.
    ///
    /// # Errors
    /// [`Error::Ioctl`].
    pub fn enable(&self, capability: Capability, argument: u64) -> Result<()> {
        let cap = kvm_enable_cap { cap: capability.number(), args: [argument, 0, 0, 0], ..Default::default() };
        self.fd.enable_cap(&cap).map_err(failed("KVM_ENABLE_CAP", capability.to_string()))
    }

    /// Calls KVM_GET_TSC_KHZ.
    ///
    /// # Errors
    /// [`Error::Ioctl`].
    pub fn tsc_khz(&self) -> Result<u32> {
        self.fd.get_tsc_khz().map_err(self.failed("KVM_GET_TSC_KHZ"))
    }

    /// Calls KVM_SET_TSC_KHZ.
    ///
    /// # Errors
    /// [`Error::Ioctl`].
    pub fn set_tsc_khz(&self, khz: u32) -> Result<()> {
        self.fd.set_tsc_khz(khz).map_err(self.failed("KVM_SET_TSC_KHZ"))
    }

    /// Returns which parts of the register state this vCPU has.
    #[must_use]
    pub const fn features(&self) -> StateFeatures {
        self.features
    }

    /// Returns whether reinjected exceptions carry a payload.
    pub const fn exception_payloads(&self) -> bool {
        self.features.exception_payload
    }

    /// Calls KVM_TRANSLATE: returns the guest physical address to which the guest's page tables map a linear address,
    /// if they do.
    pub fn translate(&self, linear: u64) -> Option<u64> {
        let translation = self.fd.translate_gva(linear).ok()?;
        (translation.valid != 0).then_some(translation.physical_address)
    }
}

/// A data segment of 4 GiB from address 0 on.
const FLAT_DATA: kvm_segment = kvm_segment {
    base: 0,
    limit: 0xffff_ffff,
    selector: 0x10,
    type_: 3,
    present: 1,
    dpl: 0,
    db: 1,
    s: 1,
    l: 0,
    g: 1,
    avl: 0,
    unusable: 0,
    padding: 0,
};
/// The type of a readable code segment with the accessed bit set.
const CODE: u8 = 0xb;

fn set_segments(sregs: &mut kvm_sregs, code: kvm_segment, data: kvm_segment) {
    sregs.cs = code;
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
}

/// Sets flat 4 GiB code and data segments, protection on, paging off: the state that multiboot 1 and PVH require.
fn set_flat_segments(sregs: &mut kvm_sregs) {
    set_segments(sregs, kvm_segment { selector: 8, type_: CODE, ..FLAT_DATA }, FLAT_DATA);
    sregs.cr0 |= CR0_PE;
}

/// Sets 64-bit mode with Linux's segments, __BOOT_CS and __BOOT_DS.
fn set_long_mode(sregs: &mut kvm_sregs, page_table: u64) {
    let code = kvm_segment { selector: 0x10, type_: CODE, db: 0, l: 1, ..FLAT_DATA };
    set_segments(sregs, code, kvm_segment { selector: 0x18, ..FLAT_DATA });
    sregs.cr0 = CR0_PE | CR0_ET | CR0_PG;
    sregs.cr3 = page_table;
    sregs.cr4 = CR4_PAE;
    sregs.efer = EFER_LME | EFER_LMA;
}
