//! The machine configuration as TypeScript hands it over: normalised there, checked once more here.

use crate::cpu::BindingCpu;
use crate::legacy::BindingLegacy;
use crate::plan::{MachinePlan, Source};
use crate::serial::BindingSerial;
use crate::virtio::BindingVirtio;
use kvm_accel::interrupts::LostTickPolicy;
use kvm_accel::properties::{NotifyBudget, NotifyProperties, dirty_ring_size, shadow_mem};
use kvm_accel::{AccelProperties, Error};
use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::board::BoardError;
use kvm_accel_machine::boot::BootOptions;
use kvm_accel_machine::devices::{DebugExit, DelegatedMsrs};
use kvm_accel_machine::ram::{HugePages, RamBackend, RamSource};
use kvm_accel_vmm::Policy;
use napi::bindgen_prelude::{Either3, Uint8Array};
use napi_derive::napi;
use std::sync::Arc;

/// Accelerator properties; see `AccelProperties` in TypeScript.
#[napi(object, object_to_js = false)]
pub struct BindingAccelProperties {
    /// `on` or `split`.
    pub kernel_irqchip: String,
    /// Bytes; -1 leaves it to the kernel.
    pub kvm_shadow_mem: i64,
    /// Entries per vCPU; 0 is the bitmap.
    pub dirty_ring_size: u32,
    /// `run`, `internal-error` or `disable`.
    pub notify_vmexit: String,
    /// Clock cycles.
    pub notify_window: u32,
    /// Fail where the policy cannot be enforced.
    pub notify_required: bool,
    /// N exits within T seconds.
    pub notify_budget: Option<BindingNotifyBudget>,
    /// A policy or a window was given by the user.
    pub notify_asked: bool,
    /// The KVM device.
    pub device: String,
}

/// `notify-budget=N/T`.
#[napi(object, object_to_js = false)]
pub struct BindingNotifyBudget {
    /// N.
    pub exits: u32,
    /// T.
    pub seconds: u32,
}

/// A module: an initrd, or one of several for multiboot.
#[napi(object, object_to_js = false)]
pub struct BindingModule {
    /// A path or the bytes.
    pub image: Either3<String, Uint8Array, u32>,
    /// The module's command line.
    pub cmdline: String,
}

/// `isa-debug-exit`.
#[napi(object, object_to_js = false)]
pub struct BindingDebugExit {
    /// First port.
    pub iobase: u32,
    /// Number of ports.
    pub iosize: u32,
}

/// RAM and where it comes from.
#[napi(object, object_to_js = false)]
pub struct BindingMemory {
    /// Bytes.
    pub size: i64,
    /// `anonymous`, `memfd` or `file`.
    pub backend: String,
    /// The file; empty for the others.
    pub path: String,
    /// Writes reach the file, and whoever else maps it.
    pub share: bool,
    /// The host provides every page at once.
    pub prealloc: bool,
    /// Bytes of a huge page; 0 for ordinary pages.
    pub huge_pages: u32,
}

/// A whole machine.
#[napi(object, object_to_js = false)]
pub struct BindingConfig {
    /// Accelerator properties.
    pub accel: BindingAccelProperties,
    /// RAM.
    pub memory: BindingMemory,
    /// The processors.
    pub cpu: BindingCpu,
    /// A path or the bytes; none: firmware looks for something.
    pub kernel: Option<Either3<String, Uint8Array, u32>>,
    /// A path or the bytes of what is at the reset vector.
    pub firmware: Option<Either3<String, Uint8Array, u32>>,
    /// The first word of a multiboot command line.
    pub kernel_name: String,
    /// `auto`, `flat`, `linux`, `multiboot` or `pvh`.
    pub kernel_format: String,
    /// The kernel's command line.
    pub append: String,
    /// Words for Linux about devices are added to it.
    pub auto_kernel_cmdline: bool,
    /// Initrd or multiboot modules.
    pub modules: Vec<BindingModule>,
    /// Where COM1 writes to; none: there is no COM1.
    pub serial: Option<BindingSerial>,
    /// `isa-debug-exit`.
    pub debug_exit: Option<BindingDebugExit>,
    /// Events traced from the first ioctl on, as globs; none for no such session.
    pub trace: Vec<String>,
    /// `delay` or `discard`.
    pub lost_tick_policy: String,
    /// Whether ACPI's tables are there.
    pub acpi: bool,
    /// The machine's generation, 16 bytes.
    pub generation: Option<Uint8Array>,
    /// Other devices at fixed ports.
    pub legacy: BindingLegacy,
    /// Virtio devices, in the order of their transports.
    pub virtio: Vec<BindingVirtio>,
    /// A reset by the guest ends the machine.
    pub no_reboot: bool,
    /// A machine whose guest has shut down stays.
    pub no_shutdown: bool,
}

impl TryFrom<BindingAccelProperties> for AccelProperties {
    type Error = Error;

    fn try_from(raw: BindingAccelProperties) -> Result<Self, Error> {
        Ok(Self {
            kernel_irqchip: raw.kernel_irqchip.parse()?,
            // The board's to say.
            pit: true,
            shadow_mem: shadow_mem(raw.kvm_shadow_mem)?,
            dirty_ring_size: dirty_ring_size(raw.dirty_ring_size)?,
            notify: NotifyProperties {
                policy: raw.notify_vmexit.parse()?,
                window: raw.notify_window,
                required: raw.notify_required,
                asked: raw.notify_asked,
                budget: raw.notify_budget.map(|budget| NotifyBudget::new(budget.exits, budget.seconds)).transpose()?,
            },
            device: raw.device.into(),
        })
    }
}

fn lost_tick_policy(policy: &str) -> Result<LostTickPolicy, MachineConfigError> {
    match policy {
        "delay" => Ok(LostTickPolicy::Delay),
        "discard" => Ok(LostTickPolicy::Discard),
        other => {
            let message = format!("There is no policy '{other}' for lost ticks");
            Err(MachineConfigError::new("lostTickPolicy", message, "It takes 'delay' or 'discard'."))
        }
    }
}

impl BindingMemory {
    /// The size and the back end.
    fn into_board(self) -> Result<(u64, RamBackend), MachineConfigError> {
        let size = u64::try_from(self.size).map_err(|_| {
            MachineConfigError::new("memory", "A size in bytes is not negative", "Give at least 1 MiB.")
        })?;
        let huge = (self.huge_pages != 0).then(|| HugePages::new(self.huge_pages.into())).transpose()?;
        let source = match (self.backend.as_str(), huge) {
            ("anonymous", huge) => RamSource::Anonymous(huge),
            ("memfd", huge) => RamSource::Memfd(huge),
            ("file", None) => RamSource::File(self.path.into()),
            (backend, _) => {
                let message = format!("There is no memory backend '{backend}' with these options");
                return Err(MachineConfigError::new("memory", message, "Take anonymous, memfd or file."));
            }
        };
        Ok((size, RamBackend { source, share: self.share, prealloc: self.prealloc }))
    }
}

impl BindingConfig {
    /// Checks the values and copies bytes; touches no file, socket or process. `msrs` forwards accesses to JavaScript.
    pub fn into_plan(self, msrs: &Arc<DelegatedMsrs>) -> Result<MachinePlan, BoardError> {
        let (memory, ram) = self.memory.into_board()?;
        Ok(MachinePlan {
            policy: Policy { no_reboot: self.no_reboot, no_shutdown: self.no_shutdown },
            accel: self.accel.try_into()?,
            memory,
            ram,
            options: BootOptions {
                format: self.kernel_format.parse()?,
                name: self.kernel_name,
                cmdline: self.append,
                fixed_cmdline: !self.auto_kernel_cmdline,
                modules: Vec::new(),
            },
            modules: self.modules.into_iter().map(|module| (module.image.into(), module.cmdline)).collect(),
            kernel: self.kernel.map(Source::from),
            firmware: self.firmware.map(Source::from),
            debug_exit: self.debug_exit.map(|device| DebugExit::new(device.iobase, device.iosize)).transpose()?,
            lost_tick_policy: lost_tick_policy(&self.lost_tick_policy)?,
            cpu: self.cpu.into_accel(msrs)?,
            acpi: self.acpi,
            generation: self.generation.and_then(|generation| <[u8; 16]>::try_from(&generation[..]).ok()),
            virtio: self.virtio,
            serial: self.serial,
            legacy: self.legacy.into_plan()?,
        })
    }
}
