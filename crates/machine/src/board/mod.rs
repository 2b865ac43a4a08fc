//! The board: RAM, images, buses and devices around an accelerator.
//!
//! Modules, lowest first. A module imports only modules before it:
//!
//! - `transports`: stops and pauses all virtio devices together.
//! - `error`: errors of a board.
//! - `platform`: [`PlatformDevice`], a device at fixed ports or addresses, which registers itself with the board.
//! - `device_lines`: interrupt lines of devices that another thread implements.
//! - `config`: [`BoardConfig`].
//! - `images`: loads guest images and firmware tables.
//! - `build`: builds a [`Board`] from its configuration.

mod build;
mod config;
mod device_lines;
mod error;
mod images;
mod platform;
mod transports;

pub use config::BoardConfig;
pub use device_lines::DeviceIrq;
pub use error::BoardError;
pub use platform::{Attached, ComPort, DebugPort, FwCfgFiles, PlatformDevice, SerialPorts, Slot, TestDevices};
pub use transports::Unquiet;

use crate::acpi;
use crate::bus::{AddressSpace, BusDevice, MachineBus};
use crate::devices::{AcpiPm, Delegated, DelegatedDevices, DelegatedMsrs};
use crate::error::MachineConfigError;
use crate::interrupts::{Lines, PitTimer};
use crate::layout::RamLayout;
use crate::virtio::Mmio;
use device_lines::DeviceLines;
use images::{Images, Tables};
use kvm_accel::cancel::Cancel;
use kvm_accel::dirty::DirtyLog;
use kvm_accel::state::{Level, VcpuState};
use kvm_accel::stats::MachineStatistics;
use kvm_accel::vcpu::{Counters, NotifyStatus};
use kvm_accel::{Accelerator, GuestRam, Vcpus};
use std::sync::Arc;
use std::time::Instant;
use transports::{STOP_WITHIN, stop};

/// A machine whose vCPUs are outside the guest until [`Board::resume`].
///
/// ```
/// use kvm_accel::cancel::Cancel;
/// use kvm_accel::interrupts::LostTickPolicy;
/// use kvm_accel::{AccelProperties, Event, EventSink, Request, StopReason};
/// use kvm_accel_machine::board::{Board, BoardConfig, ComPort};
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
///     chips: Default::default(),
///     lost_tick_policy: LostTickPolicy::Delay,
///     acpi: true,
///     generation: None,
///     devices: vec![Box::new(ComPort::new(0, SerialOutput::null())?), Box::new(DebugExit::new(0xf4, 4)?)],
///     virtio: Vec::new(),
/// };
/// let (events, received) = mpsc::channel();
/// let (board, _warnings) = Board::new(config, Arc::new(Events(events)), &|_| Box::new(|| {}), &Cancel::default())?;
/// board.resume();
/// let stopped = StopReason::Guest(Request::DebugExit { value: 7 });
/// assert_eq!(received.recv()?, Event::Stopped(stopped));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Board {
    /// Declared first: dropping it releases the vCPUs that wait for another thread's answer.
    delegated: DelegatedDevices,
    /// Declared next: the vCPU threads end before anything that they use is dropped.
    vcpus: Vcpus,
    /// The thread that ticks a PIT outside the kernel.
    timer: Option<PitTimer>,
    lines: Lines,
    device_lines: DeviceLines,
    bus: Arc<MachineBus>,
    accel: Accelerator,
    images: Images,
    tables: Tables,
    pm: Arc<AcpiPm>,
    layout: RamLayout,
    ram: GuestRam,
    /// Platform devices, in the order in which they were attached.
    attached: Vec<Arc<dyn Attached>>,
    serial_ports: SerialPorts,
    virtio: Vec<Arc<Mmio>>,
}

impl Board {
    /// Returns the state of the notify properties on this host.
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

    /// Waits until no virtio device touches guest memory. This holds until [`Board::resume`]. Call it after all vCPUs
    /// have left the guest. Requests in flight complete, and the dirty log has their pages; requests that have not
    /// begun wait. A large request whose first part is done continues when the machine resumes.
    ///
    /// # Errors
    /// [`Unquiet`] at the deadline, with the devices that have not acknowledged the pause. Their request to pause stays
    /// active, so this may be called again.
    pub fn quiesce(&self, deadline: Instant) -> Result<(), Unquiet> {
        self.virtio.iter().for_each(|transport| BusDevice::interrupt(&**transport));
        Unquiet::collect(&self.virtio, |transport| transport.wait_until_quiet(deadline))
    }

    /// Resets images, devices, interrupt controllers and vCPUs to power-on. The vCPUs must be stopped. RAM that no
    /// image covers keeps its contents, as on a hardware reset.
    ///
    /// # Errors
    /// [`BoardError`]: an image cannot be loaded, or the kernel refused a state; [`BoardError::Cancelled`] within about
    /// 10 ms of [`Cancel::cancel`]. The machine cannot continue after an error.
    pub fn reset(&mut self, cancel: &Cancel) -> Result<(), BoardError> {
        // First: devices that have stopped no longer access guest memory.
        stop(&self.virtio, Instant::now() + STOP_WITHIN)?;
        self.images.load(&self.tables, &self.layout, &self.ram, cancel)?;
        // This process wrote the images, and the dirty log records the guest's writes only.
        self.accel.dirty_log().mark_all();
        self.pm.reset();
        self.reset_devices()
    }

    /// Wakes a guest that slept ([`kvm_accel::Request::Wake`]): everything but memory is reset to power-on, and the
    /// first vCPU starts in real mode at the guest's waking vector. Resets the machine if the guest has set no waking
    /// vector.
    ///
    /// # Errors
    /// The same as [`Board::reset`].
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
        self.attached.iter().for_each(|device| device.reset());
        self.delegated.reset();
        self.lines.reset();
        self.accel.reset_chips()?;
        self.vcpus.reset()?;
        Ok(())
    }

    /// Adds a device whose accesses another thread answers. The vCPUs must be stopped.
    ///
    /// # Errors
    /// Fails if the claim is empty, ends beyond the address space, or overlaps RAM or another device; and if the line
    /// does not exist or is in use.
    pub fn add_device(
        &mut self,
        space: AddressSpace,
        owner: String,
        base: u64,
        len: u64,
        irq: Option<DeviceIrq>,
        device: Arc<Delegated>,
    ) -> Result<(), MachineConfigError> {
        let last = base.saturating_add(len.saturating_sub(1));
        if space == AddressSpace::Memory && self.layout.ranges().any(|ram| base < ram.end && last >= ram.start) {
            let message =
                format!("{owner} at {base:#x}, {len:#x} long, overlaps RAM, where no access leaves the guest");
            return Err(MachineConfigError::new("device", message, "Choose an address range without RAM."));
        }
        let line = irq.map(|irq| self.device_lines.open(&owner, irq, &self.lines)).transpose()?;
        self.bus.add(space, owner, base, len, Arc::clone(&device) as Arc<dyn BusDevice>)?;
        if let (Some(irq), Some(line)) = (irq, line) {
            self.device_lines.take(irq);
            device.connect(line);
        }
        self.delegated.push(device);
        Ok(())
    }

    /// Registers the MSRs of [`BoardConfig::cpu`] whose accesses another thread answers, so that they are closed with
    /// the machine. Call it before the vCPUs first run.
    pub fn set_delegated_msrs(&mut self, msrs: Arc<DelegatedMsrs>) {
        self.delegated.set_msrs(msrs);
    }

    /// Injects an NMI into every vCPU: see [`Vcpus::inject_nmi`].
    pub fn inject_nmi(&self) {
        self.vcpus.inject_nmi();
    }

    /// Returns a stopped vCPU's registers: see [`Vcpus::state`].
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

    /// Returns the vCPUs, for debugging them. The caller manages their run states.
    #[must_use]
    pub const fn vcpus(&self) -> &Vcpus {
        &self.vcpus
    }

    /// Returns the log of the pages that the guest writes.
    #[must_use]
    pub const fn dirty_log(&self) -> &DirtyLog {
        self.accel.dirty_log()
    }

    /// Makes a vCPU handle its next interruption as a notify exit: see [`Vcpus::inject_notify`].
    pub fn inject_notify(&self, vcpu: u32, context_invalid: bool) -> bool {
        self.vcpus.inject_notify(vcpu, context_invalid)
    }

    /// Returns the counters of the vCPU threads, which stay readable without the board.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.vcpus.counters()
    }

    /// Returns the readers of the kernel's statistics, on the first call only: see [`MachineStatistics`].
    pub fn take_statistics(&mut self) -> Option<MachineStatistics> {
        self.vcpus.take_statistics()
    }

    /// Returns the serial ports, for input from other threads. Index 0 is COM1.
    #[must_use]
    pub fn serial_ports(&self) -> SerialPorts {
        self.serial_ports.clone()
    }

    /// Ends the vCPU threads in any state, and writes the pending serial output that the reader takes at once. The VM
    /// itself is closed when the board is dropped, which can take milliseconds.
    pub fn end(&mut self) {
        self.delegated.close();
        self.vcpus.end();
        let deadline = self.request_end_of_devices();
        // The thread of a device that does not stop keeps the resources that it uses.
        let _ = stop(&self.virtio, deadline);
        self.timer = None;
        self.attached.iter().for_each(|device| device.finish());
    }

    /// Asks the threads of all devices to end. Returns the time at which this machine stops waiting for them.
    fn request_end_of_devices(&self) -> Instant {
        let deadline = Instant::now() + STOP_WITHIN;
        self.virtio.iter().for_each(|transport| transport.request_end(deadline));
        deadline
    }
}

impl Drop for Board {
    /// Asks all devices to end at the same time: dropping them one after another would add up their delays.
    fn drop(&mut self) {
        self.request_end_of_devices();
    }
}
