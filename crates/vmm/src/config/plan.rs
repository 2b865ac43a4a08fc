//! Turns a [`MachineConfig`] into the [`BoardConfig`] from which a board is built.

use super::generation::generation;
use super::machine::{LostTicks, MachineConfig, ModuleConfig};
use super::opened::Opened;
use super::serial::{self, DEBUG_CONSOLE, DebugConsoleConfig, Target};
use super::source::{Content, TakeBytes};
use super::virtio::DevicePlan;
use crate::{Failure, Policy};
use kvm_accel::AccelProperties;
use kvm_accel::cancel::Cancel;
use kvm_accel::cpu::CpuConfig;
use kvm_accel::interrupts::LostTickPolicy;
use kvm_accel_machine::board::{BoardConfig, BoardError, ComPort, DebugPort, FwCfgFiles, PlatformDevice, TestDevices};
use kvm_accel_machine::boot::{Boot, BootOptions, Module};
use kvm_accel_machine::devices::{DebugExit, DelegatedMsrs, Pvpanic, RtcConfig};
use kvm_accel_machine::firmware::Firmware;
use kvm_accel_machine::interrupts::IsaChips;
use kvm_accel_machine::ram::RamBackend;
use kvm_accel_machine::{GuestImageError, ImageRole, MachineConfigError};
use std::sync::Arc;

/// A checked configuration, as plain typed values. Its files have not been opened yet.
pub struct MachinePlan {
    /// What the control thread does when the guest stops by itself.
    pub policy: Policy,
    accel: AccelProperties,
    /// Size of RAM in bytes.
    memory: u64,
    ram: RamBackend,
    cpu: CpuConfig,
    /// None: the firmware looks for a kernel.
    kernel: Option<Content>,
    /// `options.modules` is empty: the field `modules` has the images.
    options: BootOptions,
    /// Image and command line of each module.
    modules: Vec<(Content, String)>,
    firmware: Option<Content>,
    /// COM1 to COM4.
    serials: [Option<Target>; 4],
    debug_console: Option<DebugConsoleConfig>,
    debug_exit: Option<DebugExit>,
    lost_tick_policy: LostTickPolicy,
    acpi: bool,
    generation: Option<[u8; 16]>,
    rtc: RtcConfig,
    test_devices: bool,
    pvpanic: bool,
    /// The PIC and the PIT.
    chips: IsaChips,
    fw_cfg: Vec<(String, Content)>,
    /// In the order of their transports.
    virtio: Vec<DevicePlan>,
}

/// The range of `max_queued_events`.
const QUEUED_EVENTS: std::ops::RangeInclusive<u32> = 16..=65_536;

/// An opened [`MachinePlan`].
pub struct OpenMachine {
    /// Everything that the board needs.
    pub config: BoardConfig,
    /// The streams and devices that the caller accesses.
    pub opened: Opened,
}

impl MachineConfig {
    /// Checks the ranges of all values, and takes the bytes of all tokens. Opens no file or socket, and starts no process. `msrs` forwards
    /// the MSR accesses that the caller answers.
    pub(crate) fn plan(mut self, bytes: TakeBytes<'_>, msrs: &Arc<DelegatedMsrs>) -> Result<MachinePlan, Failure> {
        if !QUEUED_EVENTS.contains(&self.max_queued_events) {
            let (start, end) = (QUEUED_EVENTS.start(), QUEUED_EVENTS.end());
            let message = format!("maxQueuedEvents is {}: expected {start} to {end}", self.max_queued_events);
            return Err(MachineConfigError::new("maxQueuedEvents", message, "Omit it for 1024 events.").into());
        }
        let virtio = self.devices()?;
        let cpu = self.cpu(msrs)?;
        let (memory, ram) = self.memory.check(self.dump_guest_core)?;
        let name = self.kernel.as_ref().and_then(|kernel| kernel.file_name()).map(Into::into);
        let mut fw_cfg = Vec::with_capacity(self.fw_cfg.len());
        for (name, content) in self.fw_cfg {
            fw_cfg.push((name, content.take(bytes)?));
        }
        let mut modules = Vec::with_capacity(self.initrd.len());
        for ModuleConfig { image, cmdline } in self.initrd {
            modules.push((image.take("initrd", bytes)?, cmdline));
        }
        Ok(MachinePlan {
            policy: Policy { no_reboot: self.no_reboot, no_shutdown: self.no_shutdown },
            accel: self.accel.check()?,
            memory,
            ram,
            cpu,
            options: BootOptions {
                format: self.kernel_format.parse()?,
                name: name.or(self.name).unwrap_or_else(|| "kernel".into()),
                cmdline: self.append,
                fixed_cmdline: !self.auto_kernel_cmdline,
                modules: Vec::new(),
            },
            modules,
            kernel: self.kernel.map(|kernel| kernel.take("kernel", bytes)).transpose()?,
            firmware: self.firmware.map(|firmware| firmware.take("firmware", bytes)).transpose()?,
            serials: serial::ports(self.serials)?,
            debug_console: self.debug_console,
            debug_exit: self.debug_exit.map(|device| DebugExit::new(device.iobase, device.iosize)).transpose()?,
            lost_tick_policy: match self.lost_tick_policy {
                LostTicks::Delay => LostTickPolicy::Delay,
                LostTicks::Discard => LostTickPolicy::Discard,
            },
            acpi: self.acpi,
            generation: self.vm_generation_id.as_deref().map(generation).transpose()?,
            rtc: self.rtc.into(),
            test_devices: self.test_devices,
            pvpanic: self.pvpanic,
            chips: IsaChips { pic: self.pic, pit: self.pit, hpet: self.hpet },
            fw_cfg,
            virtio,
        })
    }

    /// Takes the processors out of the configuration.
    fn cpu(&mut self, msrs: &Arc<DelegatedMsrs>) -> Result<CpuConfig, Failure> {
        let properties = std::mem::take(&mut self.cpu);
        properties.check().map_err(|rule| kvm_accel::Error::Cpu { option: "cpu", rule })?;
        let rules = std::mem::take(&mut self.msr_filter);
        Ok(CpuConfig {
            properties,
            topology: self.topology.check(self.cpus)?,
            disable_exits: self.cpu_pm,
            msrs: (0..).zip(rules).map(|(at, rule)| rule.into_range(at, msrs)).collect(),
            bus_lock_ratelimit: self.bus_lock_ratelimit,
        })
    }

    /// Returns the virtio devices in the order of their transports. The guest enumerates devices of the same kind in this order.
    fn devices(&mut self) -> Result<Vec<DevicePlan>, Failure> {
        let mut devices = Vec::new();
        for disk in std::mem::take(&mut self.disks) {
            devices.push(DevicePlan::Disk(disk.check()?));
        }
        for network in std::mem::take(&mut self.networks) {
            devices.push(DevicePlan::Network(network.check()?));
        }
        if let Some(rng) = self.rng.take() {
            rng.check()?;
            devices.push(DevicePlan::Rng(rng));
        }
        if let Some(vsock) = self.vsock.take() {
            vsock.check()?;
            devices.push(DevicePlan::Vsock(vsock));
        }
        devices.extend(self.balloon.take().map(DevicePlan::Balloon));
        if !self.consoles.is_empty() {
            devices.push(DevicePlan::Console(std::mem::take(&mut self.consoles)));
        }
        Ok(devices)
    }
}

impl MachinePlan {
    /// Opens files, connects sockets and starts processes. On failure, it closes everything that it has opened.
    ///
    /// Returns [`BoardError::Cancelled`] within about 10 ms of [`Cancel::cancel`].
    pub fn open(self, cancel: &Cancel) -> Result<OpenMachine, BoardError> {
        let modules = self
            .modules
            .into_iter()
            .map(|(image, cmdline)| Ok(Module { image: image.open(ImageRole::Initrd)?, cmdline }))
            .collect::<Result<_, GuestImageError>>()?;
        let boot = match self.kernel {
            Some(kernel) => Boot::new(kernel.open(ImageRole::Kernel)?, BootOptions { modules, ..self.options })?,
            None => Boot::by_firmware(),
        };
        let firmware = self.firmware.map(|source| Firmware::new(source.open(ImageRole::Firmware)?)).transpose()?;
        let mut opened = Opened::default();
        let virtio =
            self.virtio.into_iter().map(|device| device.open(&mut opened, cancel)).collect::<Result<_, _>>()?;
        let mut devices: Vec<Box<dyn PlatformDevice>> = Vec::new();
        for (port, target) in (0..).zip(self.serials) {
            if let Some(target) = target {
                devices.push(Box::new(ComPort::new(port, target.open(port, &mut opened)?)?));
            }
        }
        devices.push(Box::new(self.rtc));
        let debug_port = match self.debug_console {
            Some(DebugConsoleConfig { port, target }) => {
                Some(DebugPort { port, output: target.open(DEBUG_CONSOLE, &mut opened)? })
            }
            None => None,
        };
        let mut files = Vec::with_capacity(self.fw_cfg.len());
        for (name, file) in self.fw_cfg {
            files.push((name, file.read(cancel)?));
        }
        devices.push(Box::new(FwCfgFiles(files)));
        devices.extend(debug_port.map(|device| Box::new(device) as _));
        devices.extend(self.pvpanic.then(|| Box::new(Pvpanic) as _));
        devices.extend(self.test_devices.then(|| Box::new(TestDevices) as _));
        devices.extend(self.debug_exit.map(|device| Box::new(device) as _));
        let config = BoardConfig {
            accel: self.accel,
            memory: self.memory,
            ram: self.ram,
            cpu: self.cpu,
            boot,
            firmware,
            chips: self.chips,
            devices,
            lost_tick_policy: self.lost_tick_policy,
            acpi: self.acpi,
            generation: self.generation,
            virtio,
        };
        Ok(OpenMachine { config, opened })
    }
}

/// The control thread receives the plan through a channel, so the plan must be `Send`.
const _: () = {
    const fn can_be_sent<T: Send>() {}
    can_be_sent::<MachinePlan>();
};
