//! Initialisation, in QEMU's order: what must be asked before the VM exists, what must be enabled before a vCPU does.

use crate::debug::{DebugSupport, GuestDebug};
use crate::dirty::{self, DirtyLog, Mode};
use crate::event::{EventSink, Warning, WarningCode};
use crate::interrupts::{Interrupts, irqchip};
use crate::io::{CoalescedOffer, Io};
use crate::kvm::cpuid::Table;
use crate::kvm::kick::install_handler;
use crate::kvm::ram::GuestRam;
use crate::kvm::system::System;
use crate::kvm::vm::{ChipState, Vm};
use crate::memory::{Limits, Memory};
use crate::properties::{KernelIrqchip, NotifyPolicy, NotifyProperties};
use crate::state::{Clock, StateFeatures};
use crate::stats::{Readings, StatsReader};
use crate::vcpu::{NotifyStatus, PoweredVcpu, Vcpus, VmParts, notify_shared};
use crate::{AccelProperties, Bus, Capability, Error, REQUIRED, Result, StartState};
use std::sync::Arc;

/// Where QEMU puts the identity map page; the three-page TSS follows. Below 4 GiB, above any RAM, unused by devices.
const IDENTITY_MAP: u32 = 0xfeff_c000;
const PAGE: u32 = 0x1000;

/// A VM with memory and interrupt controllers, and no vCPU yet.
#[derive(Debug)]
pub struct Accelerator {
    /// The VM's, opened when they are first asked for. Declared first: the file keeps the VM alive.
    stats: Option<StatsReader>,
    /// Declared before the VM: its ring is a mapping of the VM's.
    io: Io,
    system: System,
    vm: Vm,
    properties: AccelProperties,
    ram: GuestRam,
    /// Declared after `vm`: the kernel lets go of the memory before it is unmapped.
    memory: Memory,
    dirty: DirtyLog,
    cpus: u32,
    power_on_chips: Option<&'static ChipState>,
    interrupts: Interrupts,
    notify: NotifyStatus,
    warnings: Vec<Warning>,
}

impl Accelerator {
    /// Opens the device and builds a VM for `cpus` vCPUs on `ram`: required capabilities, what has to be enabled, memory
    /// slots, then the irqchip.
    ///
    /// # Errors
    /// [`Error::Open`], [`Error::ApiVersion`], [`Error::MissingCapability`], [`Error::TooManyVcpus`],
    /// [`Error::NotifyUnsupported`], or [`Error::Ioctl`]. Nothing is left behind.
    pub fn new(properties: AccelProperties, cpus: u32, ram: GuestRam) -> Result<Self> {
        install_handler().map_err(|e| Error::Ioctl {
            ioctl: "sigaction",
            context: "the kick's signal".into(),
            errno: e.errno(),
        })?;
        let system = System::open(&properties.device)?;
        let vm = system.create_vm()?;
        let mut warnings = Vec::new();
        warnings.extend(check_vcpu_limits(&vm, cpus)?);
        if let Some(&missing) = REQUIRED.iter().find(|&&capability| system.check(capability) == 0) {
            return Err(Error::MissingCapability(missing));
        }
        let coalesced = coalesced_offer(&system);
        let dirty = dirty::enable(&vm, properties.dirty_ring_size, &mut warnings)?;
        enable_events(&system, &vm)?;
        vm.set_identity_map_address(IDENTITY_MAP.into())?;
        vm.set_tss_address(IDENTITY_MAP + PAGE)?;
        if let Some(bytes) = properties.shadow_mem {
            vm.set_nr_mmu_pages(bytes / u64::from(PAGE))?;
        }
        let notify = enable_notify(&system, &vm, &properties.notify, &mut warnings)?;
        // Memory slots first: after an irqchip exists, a slot change costs milliseconds.
        let limits = Limits::new(system.check(Capability::NrMemslots), system.check(Capability::ReadonlyMem));
        let memory = Memory::new(vm.slot_calls(), limits);
        memory.add_ram(&ram)?;
        let dirty = DirtyLog::new(dirty, vm.dirty_calls(), memory.clone());
        irqchip::create(&vm, properties.kernel_irqchip)?;
        let interrupts = Interrupts::new(vm.irq_calls(), properties.kernel_irqchip, vm.check(Capability::IrqRouting))?;
        let power_on_chips = match properties.kernel_irqchip {
            KernelIrqchip::On => Some(vm.power_on_chip_state()?),
            KernelIrqchip::Split => None,
        };
        let io = Io::new(vm.io_calls(), coalesced);
        Ok(Self {
            stats: None,
            io,
            system,
            vm,
            properties,
            ram,
            memory,
            dirty,
            cpus,
            power_on_chips,
            interrupts,
            notify,
            warnings,
        })
    }

    /// What became of the notify properties.
    #[must_use]
    pub const fn notify(&self) -> NotifyStatus {
        self.notify
    }

    /// What the user should be told about the set-up; the caller passes them on.
    pub fn take_warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.warnings)
    }

    /// The memory slots.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Which pages the guest writes.
    #[must_use]
    pub const fn dirty_log(&self) -> &DirtyLog {
        &self.dirty
    }

    /// What devices raise interrupts with.
    #[must_use]
    pub const fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }

    /// What devices keep accesses in the kernel with.
    #[must_use]
    pub const fn io(&self) -> &Io {
        &self.io
    }

    /// Creates the vCPUs and their threads. The first one starts in `start`; the others wait for INIT and SIPI.
    ///
    /// # Errors
    /// [`Error::Ioctl`] or [`Error::Thread`]; threads already started are joined.
    pub fn launch(&self, start: &StartState, bus: Arc<dyn Bus>, sink: Arc<dyn EventSink>) -> Result<Vcpus> {
        let cpuid = Table::new(&self.system, self.cpus)?;
        let in_kernel_lapic = match self.properties.kernel_irqchip {
            KernelIrqchip::On | KernelIrqchip::Split => true,
        };
        let features = StateFeatures::new(&self.system, &self.vm, in_kernel_lapic)?;
        // All vCPUs exist before the first one runs: a guest broadcasts INIT and SIPI once.
        let vcpus = (0..self.cpus)
            .map(|id| {
                let vcpu = self.vm.create_vcpu(id, features)?;
                vcpu.set_cpuid(&cpuid.of_vcpu(id))?;
                let power_on = vcpu.power_on_state()?;
                let start = (id == 0).then_some(*start);
                if let Some(start) = &start {
                    vcpu.set_start_state(start)?;
                }
                Ok(PoweredVcpu { vcpu, power_on, start })
            })
            .collect::<Result<Vec<_>>>()?;
        if let Some(first) = vcpus.first() {
            self.io.attach(first.vcpu.page(), &bus);
        }
        if let Mode::Ring(entries) = self.dirty.mode() {
            for powered in &vcpus {
                self.dirty.add_ring(powered.vcpu.dirty_ring(entries)?);
            }
        }
        let notify = notify_shared(self.properties.notify, vcpus.len());
        let offered = self.offers_stats();
        let stats = vcpus.iter().map(|powered| offered.clone().and_then(|()| powered.vcpu.stats())).collect();
        let vm = VmParts {
            ram: self.ram.clone(),
            memory: self.memory.clone(),
            io: self.io.clone(),
            clock: Clock::new(self.vm.clock()),
            debug: GuestDebug::new(DebugSupport::new(&self.system)),
            dirty: self.dirty.clone(),
        };
        Ok(Vcpus::spawn(vcpus, bus, sink, vm, notify)?.with_stats(stats))
    }

    /// The kernel's statistics of the VM as a whole, as they are now. For those of a vCPU see [`Vcpus::statistics`].
    ///
    /// # Errors
    /// [`Error::StatsUnsupported`], [`Error::StatsFormat`], or [`Error::Ioctl`].
    pub fn statistics(&mut self) -> Result<Readings<'_>> {
        let reader = match self.stats.take() {
            Some(reader) => reader,
            None => self.offers_stats().and_then(|()| self.vm.stats())?,
        };
        self.stats.insert(reader).read()
    }

    fn offers_stats(&self) -> Result<()> {
        let offered = self.system.check(Capability::BinaryStatsFd) != 0;
        offered.then_some(()).ok_or(Error::StatsUnsupported)
    }

    /// Puts the interrupt controllers and the PIT back to their power-on state. The vCPUs must be stopped.
    ///
    /// # Errors
    /// [`Error::Ioctl`] when the kernel refuses.
    pub fn reset_chips(&self) -> Result<()> {
        self.power_on_chips.map_or(Ok(()), |chips| self.vm.set_chip_state(chips))
    }
}

/// More vCPUs than the kernel recommends is worth a warning, more than it can run is an error.
fn check_vcpu_limits(vm: &Vm, cpus: u32) -> Result<Option<Warning>> {
    // Kernels without the capabilities: QEMU's 4, and no limit beyond the recommended one.
    let soft = match vm.check(Capability::NrVcpus) {
        0 => 4,
        n => n,
    };
    let hard = match vm.check(Capability::MaxVcpus) {
        0 => soft,
        n => n,
    };
    if cpus > hard {
        return Err(Error::TooManyVcpus { cpus, limit: hard });
    }
    Ok((cpus > soft).then(|| Warning {
        code: WarningCode::ManyVcpus,
        message: format!("{cpus} vCPUs are more than the {soft} that this host's kernel recommends"),
    }))
}

/// Asked on the system fd; ports only where there is a ring at all, as QEMU does.
fn coalesced_offer(system: &System) -> CoalescedOffer {
    let page = system.check(Capability::CoalescedMmio);
    CoalescedOffer { page, ports: page != 0 && system.check(Capability::CoalescedPio) != 0 }
}

/// Exception payloads and the pending triple fault must survive reading and writing the vCPU events.
fn enable_events(system: &System, vm: &Vm) -> Result<()> {
    [Capability::ExceptionPayload, Capability::X86TripleFaultEvent]
        .into_iter()
        .filter(|&capability| system.check(capability) != 0)
        .try_for_each(|capability| vm.enable(capability, 1))
}

/// Asked on the system fd, enabled before any vCPU. A host without it is told to those who asked for a policy.
fn enable_notify(
    system: &System,
    vm: &Vm,
    properties: &NotifyProperties,
    warnings: &mut Vec<Warning>,
) -> Result<NotifyStatus> {
    let supported = system.check(Capability::X86NotifyVmexit) != 0;
    let wanted = properties.policy != NotifyPolicy::Disable;
    if wanted && supported {
        vm.enable(Capability::X86NotifyVmexit, properties.enable_argument())?;
    } else if wanted && properties.required {
        return Err(Error::NotifyUnsupported);
    } else if wanted && properties.asked {
        warnings.push(Warning {
            code: WarningCode::NotifyUnsupported,
            message: format!(
                "notify-vmexit={} has no effect: this host does not offer KVM_CAP_X86_NOTIFY_VMEXIT (219); \
                 notify-required=on makes this an error",
                properties.policy.as_str()
            ),
        });
    }
    Ok(NotifyStatus { supported, enabled: wanted && supported })
}
