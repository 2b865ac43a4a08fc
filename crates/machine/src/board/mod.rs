//! The board: RAM, images, buses and devices around an accelerator.

mod platform;

pub use platform::{LegacyConfig, SerialConfig};

use crate::acpi;
use crate::boot::Boot;
use crate::bus::{AddressSpace, BusBuilder, BusDevice, MachineBus};
use crate::devices::{
    ACPI_PM_BASE, ACPI_PM_PORTS, AcpiPm, COM1_BASE, COM1_IRQ, COM1_PORTS, DebugExit, Delegated, DelegatedDevices,
    DelegatedMsrs, I8042, I8042_COMMAND_PORT, SerialOutput, SerialPort,
};
use crate::error::{GuestImageError, MachineConfigError, SetupError};
use crate::firmware::Firmware;
use crate::interrupts::{Lines, PitTimer};
use crate::layout::RamLayout;
use crate::mptable;
use crate::ram::{self, LostRam, RamBackend};
use crate::virtio::transports::{self, Place};
use crate::virtio::{Mmio, Unanswered, VirtioDevice, WorkerError};
use kvm_accel::cancel::{Cancel, Cancelled};
use kvm_accel::cpu::{CpuConfig, Topology};
use kvm_accel::dirty::DirtyLog;
use kvm_accel::interrupts::LostTickPolicy;
use kvm_accel::memory::MachineMemory;
use kvm_accel::properties::KernelIrqchip;
use kvm_accel::state::{Level, VcpuState};
use kvm_accel::stats::MachineStatistics;
use kvm_accel::trace::Trace;
use kvm_accel::vcpu::{Counters, NotifyStatus};
use kvm_accel::{
    AccelProperties, Accelerator, Bus, Event, EventSink, GuestRam, OpenedVm, StartMode, StartState, Vcpus, Warning,
    WarningCode,
};
use platform::{Connections, Legacy};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a reset, a wake-up or the end of a machine waits for the I/O threads of its devices, all together. A disk waits up to a second
/// for the kernel to cancel what is in flight; more is needed only where the host's kernel holds a thread.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Bytes of images above which a thread of its own loads them. Loading fewer takes less time than starting the thread.
const LONG_LOAD: u64 = 1 << 20;

/// What a machine is made of.
pub struct BoardConfig {
    /// Accelerator properties.
    pub accel: AccelProperties,
    /// RAM in bytes.
    pub memory: u64,
    /// Where RAM comes from.
    pub ram: RamBackend,
    /// The processors; a number of vCPUs makes some like the host's.
    pub cpu: CpuConfig,
    /// What runs.
    pub boot: Boot,
    /// What is at the reset vector, if anything is.
    pub firmware: Option<Firmware>,
    /// Where COM1 writes to, if there is one.
    pub serial: Option<SerialOutput>,
    /// `isa-debug-exit`, if there is one.
    pub debug_exit: Option<DebugExit>,
    /// The other devices at fixed ports.
    pub legacy: LegacyConfig,
    /// What becomes of ticks of the in-kernel PIT that the guest is too late for.
    pub lost_tick_policy: LostTickPolicy,
    /// Whether ACPI's tables are there; its registers always are.
    pub acpi: bool,
    /// What ACPI's tables tell as the machine's generation, as the 16 bytes that guests read.
    pub generation: Option<[u8; 16]>,
    /// Virtio devices, in the order of their transports.
    pub virtio: Vec<Arc<dyn VirtioDevice>>,
}

/// Why a board could not be built or reset.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// A part of the configuration cannot be.
    #[error(transparent)]
    Config(#[from] MachineConfigError),
    /// An image cannot be loaded.
    #[error(transparent)]
    Image(#[from] GuestImageError),
    /// The accelerator refused.
    #[error(transparent)]
    Accel(#[from] kvm_accel::Error),
    /// The machine was ended meanwhile.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// A device does not stop.
    #[error(transparent)]
    Unquiet(#[from] Unquiet),
}

/// Devices whose threads did not finish their work in time: the host's kernel has not completed an operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Unquiet {
    devices: Vec<(&'static str, usize)>,
}

impl Unquiet {
    /// The name and the index of each device, in the order of [`BoardConfig::virtio`].
    #[must_use]
    pub fn devices(&self) -> &[(&'static str, usize)] {
        &self.devices
    }

    /// Calls `wait` for each transport, and collects those that did not answer.
    fn collect(virtio: &[Arc<Mmio>], wait: impl Fn(&Mmio) -> Result<(), Unanswered>) -> Result<(), Self> {
        let late = virtio.iter().enumerate().filter(|(_, transport)| wait(transport).is_err());
        let devices: Vec<_> = late.map(|(index, transport)| (transport.name(), index)).collect();
        if devices.is_empty() { Ok(()) } else { Err(Self { devices }) }
    }
}

impl fmt::Display for Unquiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("I/O is still in flight in the host's kernel after the deadline, on the thread of")?;
        for (place, (name, index)) in self.devices.iter().enumerate() {
            write!(f, "{} {name} (virtio device {index})", if place == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl From<SetupError> for BoardError {
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::Config(error) => error.into(),
            SetupError::Image(error) => error.into(),
            SetupError::Cancelled(error) => error.into(),
        }
    }
}

/// A machine whose vCPUs are outside the guest until [`Board::resume`].
///
/// ```
/// use kvm_accel::cancel::Cancel;
/// use kvm_accel::interrupts::LostTickPolicy;
/// use kvm_accel::{AccelProperties, Event, EventSink, Request, StopReason};
/// use kvm_accel_machine::board::{Board, BoardConfig};
/// use kvm_accel_machine::boot::{Boot, BootImage, BootOptions, KernelFormat};
/// use kvm_accel_machine::devices::{DebugExit, SerialOutput};
/// use kvm_accel_machine::ImageRole;
/// use std::sync::{Arc, mpsc};
///
/// struct Events(mpsc::Sender<Event>);
/// impl EventSink for Events {
///     fn emit(&self, event: Event) { let _ = self.0.send(event); }
/// }
///
/// # if !std::path::Path::new("/dev/kvm").exists() { return Ok(()) }
/// let code: &'static [u8] = &[0xb0, 7, 0xe6, 0xf4]; // mov al, 7; out 0xf4, al
/// let options = BootOptions { format: KernelFormat::Flat, ..Default::default() };
/// let config = BoardConfig {
///     accel: AccelProperties::default(),
///     memory: 1 << 20,
///     ram: Default::default(),
///     cpu: 1.into(),
///     boot: Boot::new(BootImage::from_bytes(ImageRole::Kernel, code), options)?,
///     firmware: None,
///     serial: Some(SerialOutput::null()),
///     debug_exit: Some(DebugExit::new(0xf4, 4)?),
///     legacy: Default::default(),
///     lost_tick_policy: LostTickPolicy::Delay,
///     acpi: true,
///     generation: None,
///     virtio: Vec::new(),
/// };
/// let (events, received) = mpsc::channel();
/// let (board, _warnings) = Board::new(config, Arc::new(Events(events)), Box::new(|| {}), &Cancel::default())?;
/// board.resume();
/// let stopped = StopReason::Guest(Request::DebugExit { value: 7 });
/// assert_eq!(received.recv()?, Event::Stopped(stopped));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Board {
    /// Declared first: it lets vCPUs go that wait for another thread.
    delegated: DelegatedDevices,
    /// Declared next: the vCPU threads end before anything they use goes away.
    vcpus: Vcpus,
    /// Ticks of a PIT outside the kernel.
    timer: Option<PitTimer>,
    lines: Lines,
    bus: Arc<MachineBus>,
    accel: Accelerator,
    boot: Boot,
    firmware: Option<Firmware>,
    tables: Tables,
    pm: Arc<AcpiPm>,
    layout: RamLayout,
    ram: GuestRam,
    serial: Option<Arc<SerialPort>>,
    legacy: Legacy,
    virtio: Vec<Arc<Mmio>>,
}

impl Board {
    /// Builds a machine: RAM and images, in parallel with the VM if the images are large; then its memory slots and interrupt controllers, the buses, and the vCPUs.
    ///
    /// `input_drained` is called on a vCPU thread when COM1 takes input again after it was full.
    ///
    /// # Errors
    /// [`BoardError`]; nothing is left behind. [`BoardError::Cancelled`] within about 10 ms of [`Cancel::cancel`].
    pub fn new(
        config: BoardConfig,
        sink: Arc<dyn EventSink>,
        input_drained: Box<dyn Fn() + Send + Sync>,
        cancel: &Cancel,
    ) -> Result<(Self, Vec<Warning>), BoardError> {
        let BoardConfig {
            mut accel,
            memory,
            ram: backend,
            cpu,
            mut boot,
            firmware,
            serial,
            debug_exit,
            mut legacy,
            lost_tick_policy,
            acpi,
            generation,
            virtio,
        } = config;
        let topology = cpu.topology;
        if topology.cpus() == 0 {
            return Err(MachineConfigError::new("cpus", "A machine has at least 1 vCPU", "Ask for 1 or more.").into());
        }
        let layout = RamLayout::new(memory)?;
        let irqchip = accel.kernel_irqchip;
        let chips = legacy.chips.with(irqchip)?;
        accel.pit = chips.pit;
        let places = transports::places(virtio.len(), irqchip)?;
        boot.announce(transports::command_line(&places));
        let processors = match irqchip {
            KernelIrqchip::On | KernelIrqchip::Split => Some(topology),
            // Without an IOAPIC there is no line that a table could describe.
            KernelIrqchip::Off => None,
        };
        let description = acpi::Description {
            processors,
            pic: chips.pic,
            serial: &legacy.serial_ports(serial.is_some()),
            rtc: true,
            pvpanic: legacy.pvpanic,
            generation,
            virtio: &places,
        };
        let long = backend.prealloc || firmware.is_some() || boot.image_bytes() > LONG_LOAD;
        let mut fill = || {
            let ram = ram::allocate(&layout, &backend)?;
            backend.populate(&ram, cancel)?;
            let acpi = acpi.then(|| acpi::Tables::new(&description)).transpose()?;
            let tables = Tables { processors, acpi };
            let start = load(&mut boot, firmware.as_ref(), &tables, &layout, &ram, cancel)?;
            Ok::<_, BoardError>((ram, tables, start))
        };
        let open = || OpenedVm::new(accel, cpu);
        let (filled, opened) = if long { beside(fill, open) } else { (fill(), open()) };
        // First: an image is wrong with any kernel device.
        let (ram, tables, start) = filled?;
        let regions = firmware.iter().map(Firmware::region).collect();
        let mut accel = opened?.with_memory(MachineMemory { ram: ram.clone(), regions })?;
        // As QEMU: what the kernel does by itself is not asked for.
        if irqchip == KernelIrqchip::On && chips.pit && lost_tick_policy != LostTickPolicy::Delay {
            accel.interrupts().set_lost_tick_policy(lost_tick_policy)?;
        }
        let lines = Lines::new(&mut accel, irqchip, chips);
        let com1 = |output| {
            Ok::<_, kvm_accel::Error>(Arc::new(SerialPort::new(lines.edge(COM1_IRQ)?, output, Some(input_drained))))
        };
        let serial = serial.map(com1).transpose()?;
        let pm = Arc::new(AcpiPm::new());
        if let (StartMode::Reset, Some(acpi)) = (start.mode, &tables.acpi) {
            legacy.fw_cfg.extend(acpi.files());
        }
        let connections = Connections { layout: &layout, ram: &ram, lines: &lines, cpus: topology.cpus(), pm: &pm };
        let legacy = Legacy::new(legacy, &connections)?;
        let mut bus = legacy
            .place(BusBuilder::new(), &connections)
            .ports("ACPI", ACPI_PM_BASE, ACPI_PM_PORTS, Arc::clone(&pm) as Arc<dyn BusDevice>)
            .ports("i8042", I8042_COMMAND_PORT, 1, Arc::new(I8042::new()));
        if let Some(serial) = &serial {
            bus = bus.ports("serial", COM1_BASE, COM1_PORTS, Arc::clone(serial) as Arc<dyn BusDevice>);
        }
        if let Some(device) = debug_exit {
            bus = bus.ports("isa-debug-exit", device.iobase(), device.iosize(), Arc::new(device));
        }
        let (mut mmio, devices) = (Vec::new(), virtio.clone());
        for (device, Place { base, line }) in virtio.into_iter().zip(places) {
            let tell = needs_reset(device.name(), &sink);
            let transport = Arc::new(Mmio::new(device, ram.clone(), lines.edge(line)?, tell)?);
            bus = bus.memory("virtio-mmio", base, transports::SIZE, Arc::clone(&transport) as Arc<dyn BusDevice>);
            mmio.push(transport);
        }
        for range in layout.ranges() {
            let lost = LostRam::new(ram.clone(), range.start);
            bus = bus.memory("RAM", range.start, range.end - range.start, Arc::new(lost));
        }
        let mut bus = lines.place(bus).build()?;
        bus.accelerate(accel.io())?;
        let bus = Arc::new(bus);
        let vcpus = accel.launch(&start, Arc::clone(&bus) as Arc<dyn Bus>, sink)?;
        let timer = lines.start_timer().map_err(|error| {
            let message = format!("the PIT's thread cannot be started: {error}");
            MachineConfigError::new("accel", message, "Raise the limit on threads (ulimit -u, the cgroup's pids.max).")
        })?;
        // Last: what they have started had until now to become ready.
        devices.iter().try_for_each(|device| device.wait_until_started(cancel))?;
        let warnings = accel.take_warnings();
        let delegated = DelegatedDevices::default();
        Ok((
            Self {
                delegated,
                vcpus,
                timer,
                lines,
                bus,
                accel,
                boot,
                firmware,
                tables,
                pm,
                layout,
                ram,
                serial,
                legacy,
                virtio: mmio,
            },
            warnings,
        ))
    }

    /// What became of the notify properties on this host.
    #[must_use]
    pub const fn notify(&self) -> NotifyStatus {
        self.accel.notify()
    }

    /// Lets the vCPUs enter the guest.
    pub fn resume(&self) {
        self.vcpus.resume();
    }

    /// Asks the vCPUs to leave the guest: see [`Vcpus::pause`].
    pub fn pause(&self) -> bool {
        self.vcpus.pause()
    }

    /// Waits until no virtio device touches guest memory, which holds until [`Board::resume`]. To be called after all vCPUs have left the
    /// guest. What is in flight completes and its pages are in the dirty log; what has not begun waits. A large request whose first part
    /// is done continues when the machine resumes.
    ///
    /// # Errors
    /// [`Unquiet`] at the deadline, with the devices that have not acknowledged. They stay asked to pause, so this may be called again.
    pub fn quiesce(&self, deadline: Instant) -> Result<(), Unquiet> {
        self.virtio.iter().for_each(|transport| BusDevice::interrupt(&**transport));
        Unquiet::collect(&self.virtio, |transport| transport.wait_until_quiet(deadline))
    }

    /// Puts images, devices, interrupt controllers and vCPUs back to power-on. The vCPUs must be stopped. RAM that no image
    /// covers keeps its contents, as on a real reset.
    ///
    /// # Errors
    /// [`BoardError`]: an image file that is gone, or a state that the kernel refused; [`BoardError::Cancelled`] within about
    /// 10 ms of [`Cancel::cancel`]. The machine cannot go on then.
    pub fn reset(&mut self, cancel: &Cancel) -> Result<(), BoardError> {
        // First: they let go of guest memory.
        stop(&self.virtio, Instant::now() + STOP_WITHIN)?;
        load(&mut self.boot, self.firmware.as_ref(), &self.tables, &self.layout, &self.ram, cancel)?;
        // The images were written by this process, which the log does not see.
        self.accel.dirty_log().mark_all();
        self.pm.reset();
        self.reset_devices()
    }

    /// Lets a guest go on that slept ([`kvm_accel::Request::Wake`]): all but memory is at power-on, and the first vCPU is in real mode at the guest's waking
    /// vector. A guest that has named none is reset.
    ///
    /// # Errors
    /// As [`Board::reset`].
    pub fn wake(&mut self, cancel: &Cancel) -> Result<(), BoardError> {
        let Some(vector) = self.tables.acpi.as_ref().and_then(|tables| tables.waking_vector(&self.ram)) else {
            return self.reset(cancel);
        };
        stop(&self.virtio, Instant::now() + STOP_WITHIN)?;
        self.pm.wake();
        self.reset_devices()?;
        let mut state = self.vcpus.state(0)?;
        state.registers = acpi::waking_registers(&state.registers, vector);
        Ok(self.vcpus.set_state(0, state, Level::Runtime)?)
    }

    fn reset_devices(&mut self) -> Result<(), BoardError> {
        if let Some(serial) = &self.serial {
            serial.reset();
        }
        self.legacy.reset();
        self.lines.reset();
        self.accel.reset_chips()?;
        self.vcpus.reset()?;
        Ok(())
    }

    /// Adds a device that another thread answers for. The vCPUs must be stopped.
    ///
    /// # Errors
    /// When the claim is empty, ends beyond the address space, or overlaps RAM or another device.
    pub fn add_device(
        &mut self,
        space: AddressSpace,
        owner: String,
        base: u64,
        len: u64,
        device: Arc<Delegated>,
    ) -> Result<(), MachineConfigError> {
        let last = base.saturating_add(len.saturating_sub(1));
        if space == AddressSpace::Memory && self.layout.ranges().any(|ram| base < ram.end && last >= ram.start) {
            let message =
                format!("{owner} at {base:#x}, {len:#x} long, overlaps RAM, where no access leaves the guest");
            return Err(MachineConfigError::new("device", message, "Place the device where no RAM is."));
        }
        self.bus.add(space, owner, base, len, Arc::clone(&device) as Arc<dyn BusDevice>)?;
        self.delegated.push(device);
        Ok(())
    }

    /// MSRs of [`BoardConfig::cpu`] that another thread answers for: they are closed with the machine. Before the vCPUs first run.
    pub fn set_delegated_msrs(&mut self, msrs: Arc<DelegatedMsrs>) {
        self.delegated.set_msrs(msrs);
    }

    /// An NMI for every vCPU: see [`Vcpus::inject_nmi`].
    pub fn inject_nmi(&self) {
        self.vcpus.inject_nmi();
    }

    /// A stopped vCPU's registers: see [`Vcpus::state`].
    ///
    /// # Errors
    /// [`BoardError::Accel`].
    pub fn vcpu_state(&self, vcpu: u32) -> Result<VcpuState, BoardError> {
        Ok(self.vcpus.state(vcpu)?)
    }

    /// Changes a stopped vCPU's registers for its next entry: see [`Vcpus::set_state`].
    ///
    /// # Errors
    /// [`BoardError::Accel`].
    pub fn set_vcpu_state(&self, vcpu: u32, state: VcpuState) -> Result<(), BoardError> {
        Ok(self.vcpus.set_state(vcpu, state, Level::Runtime)?)
    }

    /// The vCPUs, for debugging them; run states are the caller's.
    #[must_use]
    pub const fn vcpus(&self) -> &Vcpus {
        &self.vcpus
    }

    /// Which pages the guest writes.
    #[must_use]
    pub const fn dirty_log(&self) -> &DirtyLog {
        self.accel.dirty_log()
    }

    /// The drill: see [`Vcpus::inject_notify`].
    pub fn inject_notify(&self, vcpu: u32, context_invalid: bool) -> bool {
        self.vcpus.inject_notify(vcpu, context_invalid)
    }

    /// What the vCPU threads count, readable without the board.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.vcpus.counters()
    }

    /// Hands over the readers of the kernel's statistics, once: see [`MachineStatistics`].
    pub fn take_statistics(&mut self) -> Option<MachineStatistics> {
        self.vcpus.take_statistics()
    }

    /// The serial ports, COM1 being 0, for input from other threads.
    #[must_use]
    pub fn serial_ports(&self) -> [Option<Arc<SerialPort>>; 4] {
        let [second, third, fourth] = self.legacy.serials().clone();
        [self.serial.clone(), second, third, fourth]
    }

    /// Ends the vCPU threads, wherever they are, and passes on what serial output the reader takes at once. The VM itself
    /// goes with the board; closing it can take milliseconds.
    pub fn end(&mut self) {
        self.delegated.close();
        self.vcpus.end();
        let deadline = self.request_end_of_devices();
        // A device that does not stop keeps what it uses.
        let _ = stop(&self.virtio, deadline);
        self.timer = None;
        if let Some(serial) = &self.serial {
            serial.flush_pending();
        }
        self.legacy.flush_pending();
    }

    /// Asks the threads of all devices to end, and returns when this machine no longer waits for them.
    fn request_end_of_devices(&self) -> Instant {
        let deadline = Instant::now() + STOP_WITHIN;
        self.virtio.iter().for_each(|transport| transport.request_end(deadline));
        deadline
    }
}

impl Drop for Board {
    /// All devices end at the same time: dropping them one after another would add up their delays.
    fn drop(&mut self) {
        self.request_end_of_devices();
    }
}

/// Resets devices: asks all of them to stop, then waits.
fn stop(virtio: &[Arc<Mmio>], deadline: Instant) -> Result<(), Unquiet> {
    virtio.iter().for_each(|transport| transport.request_stop());
    Unquiet::collect(virtio, |transport| transport.reset(deadline))
}

/// Calls `first` on a thread of its own, and `second` on this one meanwhile. Without a free thread, calls one after the other.
fn beside<A: Send, B>(mut first: impl FnMut() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    let trace = Trace::current();
    let first_there = || {
        let _scope = trace.enter();
        first()
    };
    let both = std::thread::scope(|scope| {
        match std::thread::Builder::new().name("kvm-accel/load".into()).spawn_scoped(scope, first_there) {
            Ok(thread) => {
                let second = second();
                // A panic goes on here, as it would without the thread.
                Ok((thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), second))
            }
            Err(_) => Err(second),
        }
    });
    both.unwrap_or_else(|second| (first(), second()))
}

/// What firmware would have left in memory.
struct Tables {
    /// Whom the MP table names, if there is one.
    processors: Option<Topology>,
    acpi: Option<acpi::Tables>,
}

/// Loads the images, and the tables where a boot protocol leaves room for firmware's data.
fn load(
    boot: &mut Boot,
    firmware: Option<&Firmware>,
    tables: &Tables,
    layout: &RamLayout,
    ram: &GuestRam,
    cancel: &Cancel,
) -> Result<StartState, BoardError> {
    let loaded = boot.load(layout, ram, tables.acpi.as_ref().map(|_| acpi::RSDP), cancel);
    // Lost memory explains any other failure, and success is none.
    ram::check(ram)?;
    let start = loaded?;
    if let Some(firmware) = firmware {
        firmware.load(ram, start.mode == StartMode::Reset, cancel)?;
    }
    // The one has no protocol that would say so, and the other makes tables of its own.
    if matches!(start.mode, StartMode::Real | StartMode::Reset) {
        return Ok(start);
    }
    if let Some(topology) = &tables.processors {
        mptable::write(ram, topology)?;
    }
    if let Some(acpi) = &tables.acpi {
        acpi.write(ram)?;
    }
    Ok(start)
}

/// Returns what emits a warning when a device does nothing until its driver resets it.
fn needs_reset(name: &'static str, sink: &Arc<dyn EventSink>) -> Box<dyn Fn(&WorkerError) + Send + Sync> {
    let sink = Arc::clone(sink);
    Box::new(move |error| {
        let (code, cause) = match error {
            WorkerError::Driver(_) => (WarningCode::DeviceNeedsReset, "because of its driver"),
            WorkerError::Host(_) => (WarningCode::DeviceHostError, "because the host failed"),
        };
        sink.emit(Event::Warning(Warning { code, message: format!("{name} needs a reset, {cause}: {error}") }));
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::Irq;
    use crate::virtio::{Driver, Rng, Worker};
    use rustix::event::{PollFd, PollFlags};
    use std::path::Path;
    use std::sync::Barrier;
    use std::sync::mpsc::{Sender, channel};
    use virtio_bindings::virtio_mmio as register;
    use vm_memory::GuestAddress;
    use vmm_sys_util::eventfd::EventFd;

    /// Catches a hang, and nothing else.
    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// A device whose worker does what a test asks for.
    struct Scripted {
        /// Work is in flight until this is signalled.
        in_flight: Arc<EventFd>,
        script: Option<Script>,
    }

    /// What happens at a worker's calls.
    #[derive(Clone)]
    struct Script {
        /// The worker was called.
        called: Sender<()>,
        /// What dropping the worker waits for.
        dropped: Arc<Barrier>,
    }

    impl VirtioDevice for Scripted {
        fn name(&self) -> &'static str {
            "virtio-scripted"
        }
        fn id(&self) -> u32 {
            63
        }
        fn features(&self) -> u64 {
            0
        }
        fn queues(&self) -> &[u16] {
            &[4]
        }
        fn activate(&self, _: Driver) -> Box<dyn Worker> {
            Box::new(ScriptedWorker { in_flight: Arc::clone(&self.in_flight), script: self.script.clone() })
        }
    }

    struct ScriptedWorker {
        in_flight: Arc<EventFd>,
        script: Option<Script>,
    }

    impl Worker for ScriptedWorker {
        fn notified(&mut self, _: usize) -> Result<(), WorkerError> {
            self.script.iter().for_each(|script| script.called.send(()).unwrap());
            Ok(())
        }
        fn in_flight(&self) -> Option<PollFd<'_>> {
            let fd = kvm_accel::io::borrow_fd(&self.in_flight);
            Some(PollFd::from_borrowed_fd(fd, PollFlags::IN))
        }
    }

    impl Drop for ScriptedWorker {
        fn drop(&mut self) {
            if let Some(script) = &self.script {
                script.dropped.wait();
            }
        }
    }

    fn event() -> Arc<EventFd> {
        Arc::new(EventFd::new(libc::EFD_NONBLOCK).unwrap())
    }

    /// A transport with a driver.
    fn started(device: Arc<dyn VirtioDevice>) -> Arc<Mmio> {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        let transport = Arc::new(Mmio::new(device, ram, Irq::none(), Box::new(|_| {})).unwrap());
        let write = |register: u32, value: u32| BusDevice::write(&*transport, register.into(), &value.to_le_bytes());
        for status in [3, 11, 15] {
            write(register::VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
            write(register::VIRTIO_MMIO_DRIVER_FEATURES, 1);
            write(register::VIRTIO_MMIO_STATUS, status);
        }
        transport
    }

    fn scripted(script: Option<Script>) -> Arc<dyn VirtioDevice> {
        Arc::new(Scripted { in_flight: event(), script })
    }

    #[test]
    fn devices_that_are_late_are_named_and_the_others_are_quiet() {
        let rng = Arc::new(Rng::new(Path::new("/dev/zero"), None).unwrap());
        let transports = [started(scripted(None)), started(rng), started(scripted(None))];
        transports.iter().for_each(|transport| transport.interrupt());
        // However late the host runs its thread.
        transports[1].wait_until_quiet(later()).unwrap();
        let wait = |deadline| Unquiet::collect(&transports, |transport| transport.wait_until_quiet(deadline));
        let late = wait(Instant::now() + Duration::from_millis(50)).unwrap_err();
        assert_eq!(late.devices(), [("virtio-scripted", 0), ("virtio-scripted", 2)]);
        let text = "virtio-scripted (virtio device 0), virtio-scripted (virtio device 2)";
        assert!(late.to_string().contains(text), "{late}");
        // A reset does not wait for the pause, and a device without a driver is quiet.
        assert_eq!(stop(&transports, later()), Ok(()));
        assert_eq!(wait(Instant::now()), Ok(()));
    }

    /// Transports whose workers are on their threads, and are dropped only when all of them are.
    fn together() -> [Arc<Mmio>; 3] {
        let (called, calls) = channel();
        let script = Script { called, dropped: Arc::new(Barrier::new(3)) };
        [(); 3].map(|()| {
            let transport = started(scripted(Some(script.clone())));
            BusDevice::write(&*transport, register::VIRTIO_MMIO_QUEUE_NOTIFY.into(), &[0; 4]);
            calls.recv_timeout(Duration::from_secs(60)).unwrap();
            transport
        })
    }

    #[test]
    fn all_devices_are_asked_to_stop_before_one_is_waited_for() {
        assert_eq!(stop(&together(), later()), Ok(()));
    }

    #[test]
    fn all_devices_are_asked_to_end_before_one_is_dropped() {
        let transports = together();
        let deadline = later();
        transports.iter().for_each(|transport| transport.request_end(deadline));
        drop(transports);
        assert!(Instant::now() < deadline, "the first one waited for the others");
    }
}
