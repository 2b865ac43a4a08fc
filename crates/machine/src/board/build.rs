//! Constructs a board, in the order that the accelerator requires.

use super::device_lines::DeviceLines;
use super::images::{Images, Tables, beside};
use super::platform::{HpetDevice, PlatformDevice, ResetRegisters, Slot};
use super::transports::needs_reset;
use super::{Board, BoardConfig, BoardError};
use crate::acpi::{self, HardwareId};
use crate::bus::{BusBuilder, BusDevice};
use crate::devices::{ACPI_PM_BASE, ACPI_PM_PORTS, AcpiPm, DelegatedDevices, InputDrained};
use crate::error::MachineConfigError;
use crate::firmware::Firmware;
use crate::interrupts::{Lines, PitTimer};
use crate::layout::RamLayout;
use crate::ram::{self, LostRam};
use crate::virtio::transports::{self, Place};
use crate::virtio::{Mmio, VirtioDevice};
use kvm_accel::cancel::Cancel;
use kvm_accel::interrupts::LostTickPolicy;
use kvm_accel::memory::MachineMemory;
use kvm_accel::properties::KernelIrqchip;
use kvm_accel::{Bus, EventSink, GuestRam, OpenedVm, StartMode, Warning};
use std::sync::Arc;

impl Board {
    /// Builds a machine: first RAM and images, in parallel with the VM if the images are large; then its memory slots,
    /// interrupt controllers, buses, and vCPUs.
    ///
    /// `input_drained` takes the index of a serial port, 0 being COM1, and returns a function. A vCPU thread calls that
    /// function when the port accepts input again after it was full.
    ///
    /// # Errors
    /// [`BoardError`]; all resources are released. [`BoardError::Cancelled`] within about 10 ms of [`Cancel::cancel`].
    pub fn new(
        config: BoardConfig,
        sink: Arc<dyn EventSink>,
        input_drained: &dyn Fn(u32) -> InputDrained,
        cancel: &Cancel,
    ) -> Result<(Self, Vec<Warning>), BoardError> {
        let BoardConfig {
            mut accel,
            memory,
            ram: backend,
            cpu,
            mut boot,
            firmware,
            chips,
            lost_tick_policy,
            acpi,
            generation,
            devices,
            virtio,
        } = config;
        let topology = cpu.topology;
        if topology.cpus() == 0 {
            return Err(MachineConfigError::new("cpus", "too few vCPUs: expected at least 1", "Use 1 or more.").into());
        }
        let layout = RamLayout::new(memory)?;
        let irqchip = accel.kernel_irqchip;
        let chips = chips.with(irqchip)?;
        accel.pit = chips.pit;
        let places = transports::places(virtio.len(), irqchip)?;
        boot.announce(transports::command_line(&places));
        let processors = match irqchip {
            KernelIrqchip::On | KernelIrqchip::Split => Some(topology),
            // Without an IOAPIC, the tables have no interrupt lines to describe.
            KernelIrqchip::Off => None,
        };
        let entries: Vec<_> = devices.iter().filter_map(|device| device.acpi_entry()).collect();
        let description = acpi::Description {
            processors,
            pic: chips.pic,
            hpet: chips.hpet,
            platform: &entries,
            generation,
            virtio: &places,
        };
        let serial_ports =
            || entries.iter().filter(|entry| entry.id == HardwareId::SERIAL_PORT).map(|entry| entry.ports.0);
        let mut images = Images { boot, firmware };
        let long = backend.prealloc || images.are_long();
        let mut fill = || {
            let ram = ram::allocate(&layout, &backend)?;
            backend.populate(&ram, cancel)?;
            let acpi = acpi.then(|| acpi::Tables::new(&description)).transpose()?;
            let tables = Tables { serial_ports: serial_ports().collect(), processors, acpi };
            let start = images.load(&tables, &layout, &ram, cancel)?;
            Ok::<_, BoardError>((ram, tables, start))
        };
        let open = || OpenedVm::new(accel, cpu);
        let (filled, opened) = if long { beside(fill, open) } else { (fill(), open()) };
        // First: an error in an image does not depend on the accelerator, so it is reported before any error of the
        // kernel device.
        let (ram, tables, start) = filled?;
        let regions = images.firmware.iter().map(Firmware::region).collect();
        let mut accel = opened?.with_memory(MachineMemory { ram: ram.clone(), regions })?;
        // As in QEMU: makes no call if the policy is the kernel's default.
        if irqchip == KernelIrqchip::On && chips.pit && lost_tick_policy != LostTickPolicy::Delay {
            accel.interrupts().set_lost_tick_policy(lost_tick_policy)?;
        }
        let lines = Lines::new(&mut accel, irqchip, chips);
        if start.mode == StartMode::Protected {
            lines.program(&mut accel)?;
        }
        let pm = Arc::new(AcpiPm::new());
        let firmware_files = match &tables.acpi {
            Some(acpi) if start.mode == StartMode::Reset => acpi.files(),
            _ => Vec::new(),
        };
        let own = BusBuilder::new().ports("ACPI", ACPI_PM_BASE, ACPI_PM_PORTS, Arc::clone(&pm) as Arc<dyn BusDevice>);
        let mut slot = Slot {
            layout: &layout,
            ram: &ram,
            lines: &lines,
            cpus: topology.cpus(),
            pm: &pm,
            firmware_files,
            sink: &sink,
            input_drained,
            replaced: Arc::default(),
            bus: own,
            used_lines: places.iter().map(|place| place.line).collect(),
            attached: Vec::new(),
            serial_ports: Default::default(),
        };
        Box::new(ResetRegisters).attach(&mut slot)?;
        if chips.hpet {
            Box::new(HpetDevice).attach(&mut slot)?;
        }
        devices.into_iter().try_for_each(|device| device.attach(&mut slot))?;
        let Slot { bus, attached, serial_ports, used_lines, .. } = slot;
        let device_lines = DeviceLines::new(used_lines, irqchip);
        let (mut bus, mmio) = place_virtio(bus, &virtio, &places, &ram, &lines, &sink)?;
        for range in layout.ranges() {
            let lost = LostRam::new(ram.clone(), range.start);
            bus = bus.memory("RAM", range.start, range.end - range.start, Arc::new(lost));
        }
        let mut bus = lines.place(bus).build()?;
        bus.accelerate(accel.io())?;
        let bus = Arc::new(bus);
        let vcpus = accel.launch(&start, Arc::clone(&bus) as Arc<dyn Bus>, sink)?;
        let timer = start_timer(&lines)?;
        // Last, so that the threads and processes of the devices become ready during the steps above.
        virtio.iter().try_for_each(|device| device.wait_until_started(cancel))?;
        let warnings = accel.take_warnings();
        let delegated = DelegatedDevices::default();
        Ok((
            Self {
                delegated,
                vcpus,
                timer,
                lines,
                device_lines,
                bus,
                accel,
                images,
                tables,
                pm,
                layout,
                ram,
                attached,
                serial_ports,
                virtio: mmio,
            },
            warnings,
        ))
    }
}

/// Creates the transports of virtio devices and places them on the bus.
fn place_virtio(
    mut bus: BusBuilder,
    devices: &[Arc<dyn VirtioDevice>],
    places: &[Place],
    ram: &GuestRam,
    lines: &Lines,
    sink: &Arc<dyn EventSink>,
) -> Result<(BusBuilder, Vec<Arc<Mmio>>), BoardError> {
    let mut mmio = Vec::new();
    for (device, Place { base, line, .. }) in devices.iter().zip(places) {
        let report = needs_reset(device.name(), sink);
        let transport = Arc::new(Mmio::new(Arc::clone(device), ram.clone(), lines.edge(*line)?, report)?);
        bus = bus.memory("virtio-mmio", *base, transports::SIZE, Arc::clone(&transport) as Arc<dyn BusDevice>);
        mmio.push(transport);
    }
    Ok((bus, mmio))
}

fn start_timer(lines: &Lines) -> Result<Option<PitTimer>, MachineConfigError> {
    lines.start_timer().map_err(|error| {
        let message = format!("the PIT's thread cannot be started: {error}");
        MachineConfigError::new("accel", message, "Raise the limit on threads (ulimit -u, the cgroup's pids.max).")
    })
}
