//! Initialises a VM in QEMU's order: capability checks before the VM exists, and enabled capabilities before a vCPU
//! exists.

use crate::bus::Bus;
use crate::cpu::cpuid::{Offer, Table};
use crate::cpu::hyperv::is_asked;
use crate::cpu::msr_filter::MsrFilter;
use crate::cpu::{CpuConfig, may_set};
use crate::debug::{DebugSupport, GuestDebug};
use crate::dirty::{self, DirtyLog, Mode};
use crate::event::{EventSink, Warning, WarningCode};
use crate::interrupts::{Interrupts, UserIrqchip, irqchip};
use crate::io::{CoalescedOffer, Io};
use crate::properties::AccelProperties;
use crate::properties::{KernelIrqchip, NotifyPolicy, NotifyProperties};
use crate::recent::Recent;
use crate::required::REQUIRED;
use crate::state::{Clock, power_on_state};
use crate::stats::MachineStatistics;
use crate::vcpu::{NotifyStatus, PoweredVcpu, Starting, Vcpus, VmParts, notify_shared};
use crate::{Error, Result};
use kvm_accel_kvm::fd::System;
use kvm_accel_kvm::fd::machine_checks;
use kvm_accel_kvm::fd::{ChipState, PicSetup, Vcpu, Vm};
use kvm_accel_kvm::fd::{entries, instruction_leaves, leaves};
use kvm_accel_kvm::lock;
use kvm_accel_kvm::run::kick::install_handler;
use kvm_accel_kvm::state::StartState;
use kvm_accel_kvm::{Capability, Error as KvmError};
use kvm_accel_memory::GuestRam;
use kvm_accel_memory::slots::{Limits, MachineMemory, Memory};
use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use vm_memory::GuestMemoryBackend;

/// Address of the identity map page, as in QEMU. The three-page TSS follows it. It lies below 4 GiB, above any RAM,
/// where no device is mapped.
const IDENTITY_MAP: u32 = 0xfeff_c000;
const PAGE: u32 = 0x1000;

/// A VM without memory: the first half of [`Accelerator::new`]. Callers can prepare the memory meanwhile.
pub struct OpenedVm {
    system: System,
    vm: Vm,
    properties: AccelProperties,
    dirty: Mode,
    cpu: CpuConfig,
    cpuid: Table,
    msrs: MsrFilter,
    coalesced: CoalescedOffer,
    notify: NotifyStatus,
    warnings: Vec<Warning>,
}

/// A VM with memory and interrupt controllers but without vCPUs.
pub struct Accelerator {
    /// Declared before `vm`, and so dropped first: its ring is a mapping of the VM's file descriptor.
    io: Io,
    system: System,
    vm: Vm,
    properties: AccelProperties,
    ram: GuestRam,
    /// Declared after `vm`, and so dropped later: the kernel must release the memory before it is unmapped.
    memory: Memory,
    dirty: DirtyLog,
    cpu: CpuConfig,
    cpuid: Table,
    msrs: MsrFilter,
    /// The state in which the chips in the kernel start, also after a reset.
    start_chips: Option<Cow<'static, ChipState>>,
    interrupts: Interrupts,
    /// Interrupt controllers outside the kernel.
    irqchip: Option<Arc<dyn UserIrqchip>>,
    notify: NotifyStatus,
    warnings: Vec<Warning>,
}

impl Accelerator {
    /// Opens the device and builds a VM for `cpu` on `ram`; `cpu` may be a number of vCPUs. Checks the required
    /// capabilities, enables capabilities, adds the memory slots, and creates the irqchip.
    ///
    /// # Errors
    /// [`Error::MissingCapability`], [`Error::TooManyVcpus`], [`Error::NotifyUnsupported`],
    /// [`Error::BusLockUnsupported`], [`Error::MsrFilterUnsupported`], [`Error::Cpu`], or [`Error::Kvm`]. On an error,
    /// nothing stays open or allocated.
    pub fn new(
        properties: AccelProperties,
        cpu: impl Into<CpuConfig>,
        memory: impl Into<MachineMemory>,
    ) -> Result<Self> {
        OpenedVm::new(properties, cpu)?.with_memory(memory)
    }
}

impl OpenedVm {
    /// Opens the device, creates a VM and enables the capabilities that must precede memory.
    ///
    /// # Errors
    /// As [`Accelerator::new`].
    pub fn new(properties: AccelProperties, cpu: impl Into<CpuConfig>) -> Result<Self> {
        let mut cpu = cpu.into();
        let topology = cpu.topology;
        // The MSR handlers belong to this machine. The rest of `cpu` is compared with that of other machines.
        let ranges = std::mem::take(&mut cpu.msrs);
        let msrs_asked = !ranges.is_empty();
        let msrs = MsrFilter::new(ranges, &topology).map_err(|rule| Error::Cpu { option: "msrFilter", rule })?;
        check_apic_ids(&cpu)?;
        install_handler().map_err(|e| KvmError::Ioctl {
            ioctl: "sigaction",
            context: "the kick's signal".into(),
            errno: e.errno(),
        })?;
        let system = System::open(&properties.device)?;
        let vm = system.create_vm()?;
        let mut warnings = Vec::new();
        warnings.extend(check_vcpu_limits(&vm, topology.cpus())?);
        if properties.kernel_irqchip == KernelIrqchip::Off && topology.cpus() > 1 {
            return Err(Error::Property {
                property: "kernel-irqchip",
                rule: "does not accept value 'off' with more than one vCPU: without local APICs the first vCPU cannot start others"
                    .into(),
            });
        }
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
        let mut cpuid = cpuid(&system, &cpu, &mut warnings)?;
        if properties.kernel_irqchip == KernelIrqchip::Off {
            cpuid.hide_local_apic();
        }
        warnings.extend(disable_exits(&system, &vm, &cpu)?);
        enable_bus_locks(&system, &vm, &cpu)?;
        let notify = enable_notify(&system, &vm, &properties.notify, &mut warnings)?;
        filter_msrs(&system, &vm, msrs_asked, &msrs)?;
        Ok(Self { system, vm, properties, dirty, cpu, cpuid, msrs, coalesced, notify, warnings })
    }

    /// Adds the memory slots, then the interrupt controllers.
    ///
    /// # Errors
    /// [`Error::Cpu`] if the RAM ends above the guest's physical addresses, or [`Error::Kvm`].
    pub fn with_memory(self, memory: impl Into<MachineMemory>) -> Result<Accelerator> {
        let Self { system, vm, properties, dirty, cpu, cpuid, msrs, coalesced, notify, warnings } = self;
        let mapped = memory.into();
        let ram = mapped.ram.clone();
        check_phys_bits(cpuid.phys_bits(), ram.last_addr().0)?;
        // Memory slots first: once an irqchip exists, a slot change takes milliseconds.
        let limits = Limits::new(system.check(Capability::NrMemslots), system.check(Capability::ReadonlyMem));
        let memory = Memory::new(vm.slot_calls(), limits);
        memory.add_all(mapped)?;
        let dirty = DirtyLog::new(dirty, vm.dirty_calls(), memory.clone());
        irqchip::create(&vm, properties.kernel_irqchip, properties.pit)?;
        let interrupts = Interrupts::new(vm.irq_calls(), properties.kernel_irqchip, vm.check(Capability::IrqRouting))?;
        let start_chips = match properties.kernel_irqchip {
            KernelIrqchip::On => Some(Cow::Borrowed(vm.power_on_chip_state(properties.pit)?)),
            KernelIrqchip::Split | KernelIrqchip::Off => None,
        };
        let io = Io::new(vm.io_calls(), coalesced);
        Ok(Accelerator {
            io,
            system,
            vm,
            properties,
            ram,
            memory,
            dirty,
            cpu,
            cpuid,
            msrs,
            start_chips,
            interrupts,
            irqchip: None,
            notify,
            warnings,
        })
    }
}

impl Accelerator {
    /// Returns how the notify properties took effect on this host.
    #[must_use]
    pub const fn notify(&self) -> NotifyStatus {
        self.notify
    }

    /// Takes the warnings of the set-up. The caller passes them on to the user.
    pub fn take_warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.warnings)
    }

    /// Returns the memory slots.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Returns the handle for dirty page tracking.
    #[must_use]
    pub const fn dirty_log(&self) -> &DirtyLog {
        &self.dirty
    }

    /// Returns the handle with which devices raise interrupts.
    #[must_use]
    pub const fn interrupts(&self) -> &Interrupts {
        &self.interrupts
    }

    /// Sets the interrupt controllers outside the kernel, for `kernel-irqchip=split` and `off`. Must precede
    /// [`Accelerator::launch`].
    pub fn set_user_irqchip(&mut self, irqchip: Arc<dyn UserIrqchip>) {
        self.irqchip = Some(irqchip);
    }

    /// Returns the handle with which devices register ioeventfds and coalesced I/O.
    #[must_use]
    pub const fn io(&self) -> &Io {
        &self.io
    }

    /// Creates the vCPUs and their threads. The first one starts in `start`; the others wait for INIT and SIPI.
    ///
    /// # Errors
    /// [`Error::Kvm`] or [`Error::Thread`]. On an error, threads that have already started are joined.
    pub fn launch(&self, start: &StartState, bus: Arc<dyn Bus>, sink: Arc<dyn EventSink>) -> Result<Vcpus> {
        let in_kernel_lapic = match self.properties.kernel_irqchip {
            KernelIrqchip::On | KernelIrqchip::Split => true,
            KernelIrqchip::Off => false,
        };
        let features = self.system.state_features(&self.vm, in_kernel_lapic)?;
        // All vCPUs must exist before the first one runs: a guest broadcasts INIT and SIPI only once.
        let topology = self.cpu.topology;
        let threads = Starting::new(topology.cpus())?;
        let scaling = self.cpu.properties.tsc_khz.is_some() && self.system.check(Capability::TscControl) != 0;
        let checks = machine_checks(&self.system, &self.cpuid.of_vcpu(0, 0))?;
        // Every vCPU has the frequency of the first one.
        let mut tsc_khz = self.cpu.properties.tsc_khz;
        let vcpus = (0..topology.cpus())
            .map(|id| {
                let vcpu = self.vm.create_vcpu(id, topology.apic_id(id), features)?;
                if let Some(khz) = self.cpu.properties.tsc_khz {
                    set_tsc_khz(&vcpu, scaling, khz)?;
                }
                if let Some(capabilities) = checks {
                    vcpu.set_up_machine_checks(capabilities)?;
                }
                if tsc_khz.is_none() {
                    tsc_khz = Some(vcpu.tsc_khz().unwrap_or(0));
                }
                if self.cpuid.hyperv().synic {
                    vcpu.enable(Capability::HypervSynic2, 0)?;
                }
                if self.cpuid.hyperv().enforce {
                    vcpu.enable(Capability::HypervEnforceCpuid, 1)?;
                }
                vcpu.set_cpuid(&entries(&self.cpuid.of_vcpu(id, tsc_khz.unwrap_or(0)))?)?;
                let power_on = power_on_state(&vcpu, &self.cpu)?;
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
        let vcpu_stats = vcpus.iter().map(|powered| offered.clone().and_then(|()| Ok(powered.vcpu.stats()?))).collect();
        let open = self.vm.stats_opener();
        let statistics = MachineStatistics::new(move || offered.clone().and_then(|()| Ok(open()?)), vcpu_stats);
        let vm = VmParts {
            ram: self.ram.clone(),
            memory: self.memory.clone(),
            io: self.io.clone(),
            clock: Clock::new(self.vm.clock()),
            debug: GuestDebug::new(DebugSupport::new(&self.system)),
            dirty: self.dirty.clone(),
            msrs: self.msrs.clone(),
            irqchip: self.irqchip.clone(),
            bus_lock_ratelimit: self.cpu.bus_lock_ratelimit,
        };
        Ok(Vcpus::start(threads, vcpus, bus, sink, vm, notify)?.with_statistics(statistics))
    }

    fn offers_stats(&self) -> Result<()> {
        let offered = self.system.check(Capability::BinaryStatsFd) != 0;
        offered.then_some(()).ok_or(Error::StatsUnsupported)
    }

    /// Initialises the master and the slave PIC in the kernel as firmware does, and the PIT to 18.2 Hz: now, and at each
    /// [`Accelerator::reset_chips`]. Does nothing if they are not in the kernel. Must precede [`Accelerator::launch`].
    ///
    /// # Errors
    /// [`Error::Kvm`] when an ioctl fails.
    pub fn program_chips(&mut self, setup: [PicSetup; 2]) -> Result<()> {
        self.start_chips = self.start_chips.take().map(|chips| Cow::Owned(chips.programmed(setup)));
        self.reset_chips()
    }

    /// Restores the start state of the interrupt controllers and the PIT in the kernel: that of power-on, or that of
    /// [`Accelerator::program_chips`]. The vCPUs must be stopped.
    ///
    /// # Errors
    /// [`Error::Kvm`] when an ioctl fails.
    pub fn reset_chips(&self) -> Result<()> {
        self.start_chips.as_ref().map_or(Ok(()), |chips| Ok(self.vm.set_chip_state(chips)?))
    }
}

impl std::fmt::Debug for OpenedVm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenedVm").field("vm", &self.vm).field("properties", &self.properties).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Accelerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accelerator")
            .field("vm", &self.vm)
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}

/// Checks the number of vCPUs. More than the kernel recommends results in a warning, more than it can run in an error.
fn check_vcpu_limits(vm: &Vm, cpus: u32) -> Result<Option<Warning>> {
    // On kernels without the capabilities, the recommended number is 4, as in QEMU, and the limit is the recommended
    // number.
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
        message: format!("{cpus} vCPUs exceed the {soft} vCPUs that this host's kernel recommends for a machine"),
    }))
}

/// Checks that all APIC ids fit. An xAPIC id has 8 bits, and 255 is the broadcast. A topology skips ids where a level's
/// count is not a power of two.
fn check_apic_ids(cpu: &CpuConfig) -> Result<()> {
    let wrong = |rule| Err(Error::Cpu { option: "topology", rule });
    match cpu.topology.cpus() {
        0 => wrong("invalid topology with 0 vCPUs: expected at least 1 socket, die, core and thread".into()),
        cpus if cpus > 255 || cpu.topology.apic_id(cpus - 1) > 254 => wrong(format!(
            "{cpus} vCPUs in this topology need an APIC id above 254: expected at most 254, the largest id of an xAPIC"
        )),
        _ => Ok(()),
    }
}

/// Fails if the last address of the RAM needs more than `bits` physical address bits.
fn check_phys_bits(bits: u32, last: u64) -> Result<()> {
    let limit = 1u64.checked_shl(bits).map_or(u64::MAX, |end| end - 1);
    if last <= limit {
        return Ok(());
    }
    let rule = format!(
        "Address space limit {limit:#x} < {last:#x} phys-bits too low ({bits}): give the CPU more physical address bits, \
         or the guest less memory"
    );
    Err(Error::Cpu { option: "cpu", rule })
}

/// Cache of CPUID tables. What KVM supports does not change, and looking up several hundred feature names takes longer
/// than most ioctls.
static TABLES: Mutex<Recent<(CpuConfig, bool, bool), Table>> = Mutex::new(Recent::new());

/// Returns the guest's CPUID table, and adds a warning for requested features that the host lacks.
fn cpuid(system: &System, cpu: &CpuConfig, warnings: &mut Vec<Warning>) -> Result<Table> {
    let tsc_deadline = system.check(Capability::TscDeadlineTimer) != 0;
    let mwait = cpu.disable_exits && system.check(Capability::X86DisableExits) & MWAIT_EXITS != 0;
    let table = lock(&TABLES).find_or_keep(
        |(of, deadline, idles)| of == cpu && (*deadline, *idles) == (tsc_deadline, mwait),
        || -> Result<_> {
            let (supported, instruction) = (leaves(system.supported_cpuid()?), instruction_leaves());
            let hyperv = if is_asked(&cpu.properties) { system.supported_hyperv_cpuid()? } else { Vec::new() };
            let offer =
                Offer { supported: &supported, instruction: &instruction, tsc_deadline, mwait, hyperv: &hyperv };
            let table = Table::new(&offer, cpu).map_err(|rule| Error::Cpu { option: "cpu", rule })?;
            Ok(((cpu.clone(), tsc_deadline, mwait), table))
        },
    )?;
    if table.unknown_model {
        let message = format!(
            "CPU model '{}' is not supported; using 'host' instead. Supported models: docs/reference/cpu.md",
            cpu.properties.model
        );
        warnings.push(Warning { code: WarningCode::CpuModelUnavailable, message });
    }
    let unavailable = table.unavailable(&cpu.properties).map_err(|rule| Error::Cpu { option: "cpu", rule })?;
    let warning = |message| Warning { code: WarningCode::CpuFeatureUnavailable, message };
    warnings.extend(unavailable.into_iter().map(warning));
    Ok(Table::clone(&table))
}

/// Sets a vCPU's time-stamp counter to `wanted` kHz if the kernel allows it and the frequency differs. `scaling`: the
/// hardware supports TSC scaling.
fn set_tsc_khz(vcpu: &Vcpu, scaling: bool, wanted: u32) -> Result<()> {
    let current = vcpu.tsc_khz().unwrap_or(0);
    match may_set(scaling, current, wanted).then(|| vcpu.set_tsc_khz(wanted)) {
        Some(Ok(())) => Ok(()),
        _ if current == wanted => Ok(()),
        _ => Err(Error::TscFrequency { wanted, current }),
    }
}

/// KVM_X86_DISABLE_EXITS_MWAIT.
const MWAIT_EXITS: u32 = 1;

/// Disables the exits of idle instructions, as far as the kernel can, so that the guest idles by itself.
fn disable_exits(system: &System, vm: &Vm, cpu: &CpuConfig) -> Result<Option<Warning>> {
    /// KVM_X86_DISABLE_EXITS_MWAIT, _HLT, _PAUSE and _CSTATE.
    const EXITS: u32 = 0xf;
    if !cpu.disable_exits {
        return Ok(None);
    }
    match system.check(Capability::X86DisableExits) & EXITS {
        0 => Ok(Some(Warning {
            code: WarningCode::CpuPmUnsupported,
            message: "cpu-pm=on has no effect: this host does not support KVM_CAP_X86_DISABLE_EXITS (143)".into(),
        })),
        offered => Ok(vm.enable(Capability::X86DisableExits, offered.into()).map(|()| None)?),
    }
}

/// Enables bus lock exits. The ioctl succeeds also on hosts that cannot detect bus locks, so only the capability's
/// value shows support.
fn enable_bus_locks(system: &System, vm: &Vm, cpu: &CpuConfig) -> Result<()> {
    /// KVM_BUS_LOCK_DETECTION_EXIT.
    const EXIT: u32 = 1 << 1;
    if cpu.bus_lock_ratelimit == 0 {
        return Ok(());
    }
    if system.check(Capability::X86BusLockExit) & EXIT == 0 {
        return Err(Error::BusLockUnsupported);
    }
    Ok(vm.enable(Capability::X86BusLockExit, EXIT.into())?)
}

/// Enables the MSR filter. Fails without the kernel's filter if the user configured MSRs; omits the core and thread
/// counts otherwise.
fn filter_msrs(system: &System, vm: &Vm, asked: bool, msrs: &MsrFilter) -> Result<()> {
    /// KVM_MSR_EXIT_REASON_FILTER.
    const FILTER: u64 = 1 << 2;
    let offered = [Capability::X86UserSpaceMsr, Capability::X86MsrFilter].iter().all(|&cap| system.check(cap) != 0);
    if !offered {
        return if asked { Err(Error::MsrFilterUnsupported) } else { Ok(()) };
    }
    vm.enable(Capability::X86UserSpaceMsr, FILTER)?;
    Ok(vm.set_msr_filter(&msrs.filtered())?)
}

/// Queries on the system fd which writes the kernel can coalesce. Coalesced ports require the coalesced ring, as in QEMU.
fn coalesced_offer(system: &System) -> CoalescedOffer {
    let page = system.check(Capability::CoalescedMmio);
    CoalescedOffer { page, ports: page != 0 && system.check(Capability::CoalescedPio) != 0 }
}

/// Enables exception payloads and pending triple faults, so that reading and writing the vCPU events preserves them.
fn enable_events(system: &System, vm: &Vm) -> Result<()> {
    [Capability::ExceptionPayload, Capability::X86TripleFaultEvent]
        .into_iter()
        .filter(|&capability| system.check(capability) != 0)
        .try_for_each(|capability| Ok(vm.enable(capability, 1)?))
}

/// Queries the capability on the system fd and enables it before any vCPU exists. Reports missing host support if the
/// user requested a policy.
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
                "notify-vmexit={} has no effect: this host does not support KVM_CAP_X86_NOTIFY_VMEXIT (219); \
                 notify-required=on makes this an error",
                properties.policy.as_str()
            ),
        });
    }
    Ok(NotifyStatus { supported, enabled: wanted && supported })
}
