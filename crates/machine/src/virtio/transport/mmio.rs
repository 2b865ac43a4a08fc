//! The MMIO transport (section 4.2): the registers through which a driver configures its device.

mod failures;
mod registers;

use crate::MachineConfigError;
use crate::bus::{BusDevice, Doorbell};
use crate::devices::Irq;
use crate::virtio::interface::{ConfigInterrupt, Interrupt};
use crate::virtio::interface::{Driver, HostError, VirtQueue, VirtioDevice, WorkerError};
use crate::virtio::io_thread::{IoThread, Unanswered, guarded, ring};
use failures::Failures;
use kvm_accel::io::Written;
use kvm_accel::lock;
use kvm_accel::{GuestRam, Request};
use registers::{Registers, set_high, set_low, word, write_queue};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FAILED,
    VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_mmio as register;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::{Queue, QueueT};
use vmm_sys_util::eventfd::EventFd;

/// "virt", little-endian.
const MAGIC: u32 = 0x7472_6976;
/// Version 2: the non-legacy interface.
const VERSION: u32 = 2;
/// "KVMA".
const VENDOR: u32 = 0x414d_564b;

/// Feature bits that every device offers.
const COMMON_FEATURES: u64 = 1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_INDIRECT_DESC | 1 << VIRTIO_RING_F_EVENT_IDX;

/// The bits of Status that a driver may set.
const DRIVER_STATUS: u32 = VIRTIO_CONFIG_S_ACKNOWLEDGE
    | VIRTIO_CONFIG_S_DRIVER
    | VIRTIO_CONFIG_S_DRIVER_OK
    | VIRTIO_CONFIG_S_FEATURES_OK
    | VIRTIO_CONFIG_S_FAILED;

/// How long a reset by the guest's driver waits for the device's worker, while the vCPU waits. A worker stops within milliseconds, unless
/// the host's kernel blocks its thread. A disk waits up to a second for the kernel to cancel operations in flight.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// The transport of a device.
pub struct Mmio {
    device: Arc<dyn VirtioDevice>,
    ram: GuestRam,
    interrupt: Arc<Interrupt>,
    doorbells: Vec<Doorbell>,
    registers: Mutex<Registers>,
    failures: Arc<Failures>,
    /// Declared last, and so dropped last: the worker may use all fields above.
    thread: IoThread,
}

impl Mmio {
    /// Creates the transport of a device, and starts the device's thread. `report` is called on any thread when the device needs a reset,
    /// once for each kind of error.
    ///
    /// # Errors
    /// When the host has no thread or file descriptor left.
    pub fn new(
        device: Arc<dyn VirtioDevice>,
        ram: GuestRam,
        irq: Irq,
        report: Box<dyn Fn(&WorkerError) + Send + Sync>,
    ) -> Result<Self, MachineConfigError> {
        let name = device.name();
        let refuse = |why: &dyn std::fmt::Display| {
            let message = format!("cannot create {name}: {why}");
            MachineConfigError::new(
                "device",
                message,
                "Raise the limits on threads and open files (ulimit -u, ulimit -n).",
            )
        };
        let registers = Registers::new(device.queues()).map_err(|error| refuse(&error))?;
        let doorbells = (0..)
            .zip(device.queues())
            .map(|(queue, _)| {
                let event = Arc::new(EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?);
                let written = Written::Dword(Some(queue));
                Ok(Doorbell { offset: register::VIRTIO_MMIO_QUEUE_NOTIFY.into(), written, event })
            })
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(|error| refuse(&error))?;
        let interrupt = Arc::new(Interrupt::new(irq));
        let failures = Arc::new(Failures::new(Arc::clone(&interrupt), report));
        let failed = {
            let failures = Arc::clone(&failures);
            move |error| failures.add(&error)
        };
        let events = doorbells.iter().map(|doorbell| Arc::clone(&doorbell.event)).collect();
        let thread = IoThread::new(name, events, failed).map_err(|error| refuse(&error))?;
        let registers = Mutex::new(registers);
        Ok(Self { device, ram, interrupt, doorbells, registers, failures, thread })
    }

    /// Returns the device's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.device.name()
    }

    /// Asks the device's worker to stop, like [`Mmio::reset`], but does not wait. Several devices thus stop at the same time.
    pub fn request_stop(&self) {
        if self.lock().has(VIRTIO_CONFIG_S_DRIVER_OK) {
            self.thread.request_stop();
        }
    }

    /// Resets the device to its power-on state. When this returns, the device no longer accesses guest memory.
    ///
    /// # Errors
    /// [`Unanswered`] at the deadline: the host's kernel has not completed an operation of the device. The device then needs another reset.
    pub fn reset(&self, deadline: Instant) -> Result<(), Unanswered> {
        self.reset_registers(&mut self.lock(), deadline)
    }

    /// Asks the device's thread to end. Does not wait. Dropping the transport waits until the deadline.
    pub fn request_end(&self, deadline: Instant) {
        self.thread.request_end(deadline);
    }

    /// Waits after [`BusDevice::interrupt`] until the device has completed its operations in flight and has recorded the pages that it
    /// wrote. After that it does not access guest memory until [`BusDevice::resume`].
    ///
    /// # Errors
    /// [`Unanswered`] at the deadline.
    pub fn wait_until_quiet(&self, deadline: Instant) -> Result<(), Unanswered> {
        self.thread.wait_until_quiet(deadline)
    }

    fn reset_registers(&self, registers: &mut Registers, deadline: Instant) -> Result<(), Unanswered> {
        if registers.has(VIRTIO_CONFIG_S_DRIVER_OK) {
            self.thread.stop(deadline).inspect_err(|unanswered| {
                // The device may still write to guest memory, so Status must not read as 0, which would report a completed reset.
                let what = "cannot stop the device for a reset";
                let remedy = "Check whether a disk or file system of the host does not answer.";
                let error = HostError::new(what, &std::io::Error::other(*unanswered), remedy);
                self.failures.add(&error.into());
            })?;
        }
        registers.reset();
        self.failures.clear();
        self.interrupt.reset();
        Ok(())
    }

    fn offered(&self) -> u64 {
        self.device.features() | COMMON_FEATURES
    }

    fn read_register(&self, offset: u32) -> u32 {
        let registers = self.lock();
        match offset {
            register::VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
            register::VIRTIO_MMIO_VERSION => VERSION,
            register::VIRTIO_MMIO_DEVICE_ID => self.device.id(),
            register::VIRTIO_MMIO_VENDOR_ID => VENDOR,
            register::VIRTIO_MMIO_DEVICE_FEATURES => word(self.offered(), registers.device_features_sel),
            register::VIRTIO_MMIO_QUEUE_NUM_MAX => registers.queue().map_or(0, |queue| queue.max_size().into()),
            register::VIRTIO_MMIO_QUEUE_READY => registers.queue().is_some_and(QueueT::ready).into(),
            register::VIRTIO_MMIO_INTERRUPT_STATUS => self.interrupt.status(),
            register::VIRTIO_MMIO_STATUS if self.failures.needs_reset() => {
                registers.status | VIRTIO_CONFIG_S_NEEDS_RESET
            }
            register::VIRTIO_MMIO_STATUS => registers.status,
            // The device has no shared memory regions: the length of a region that does not exist reads as -1.
            register::VIRTIO_MMIO_SHM_LEN_LOW..=register::VIRTIO_MMIO_SHM_BASE_HIGH => u32::MAX,
            register::VIRTIO_MMIO_CONFIG_GENERATION => self.interrupt.generation(),
            _ => 0,
        }
    }

    fn write_register(&self, offset: u32, value: u32) {
        match offset {
            register::VIRTIO_MMIO_QUEUE_NOTIFY => return self.notify(value),
            register::VIRTIO_MMIO_INTERRUPT_ACK => return self.interrupt.acknowledge(value),
            _ => {}
        }
        let mut registers = self.lock();
        match offset {
            register::VIRTIO_MMIO_DEVICE_FEATURES_SEL => registers.device_features_sel = value,
            register::VIRTIO_MMIO_DRIVER_FEATURES_SEL => registers.driver_features_sel = value,
            register::VIRTIO_MMIO_DRIVER_FEATURES if !registers.has(VIRTIO_CONFIG_S_FEATURES_OK) => {
                match registers.driver_features_sel {
                    0 => set_low(&mut registers.driver_features, value),
                    1 => set_high(&mut registers.driver_features, value),
                    _ => {}
                }
            }
            register::VIRTIO_MMIO_QUEUE_SEL => registers.queue_sel = value,
            register::VIRTIO_MMIO_STATUS => self.write_status(&mut registers, value),
            _ => {
                if let Some(queue) = registers.queue_mut() {
                    write_queue(queue, offset, value);
                }
            }
        }
    }

    fn write_status(&self, registers: &mut Registers, value: u32) {
        if value == 0 {
            // After an error, Status does not read as 0, and the driver may try again.
            let _ = self.reset_registers(registers, Instant::now() + STOP_WITHIN);
            return;
        }
        let before = registers.status;
        // Only a reset clears bits of Status.
        let mut added = value & DRIVER_STATUS & !before;
        if added & VIRTIO_CONFIG_S_FEATURES_OK != 0 {
            let features = registers.driver_features;
            if features & !self.offered() != 0 || features & 1 << VIRTIO_F_VERSION_1 == 0 {
                added &= !VIRTIO_CONFIG_S_FEATURES_OK;
            }
        }
        if (before | added) & VIRTIO_CONFIG_S_FEATURES_OK == 0 {
            added &= !VIRTIO_CONFIG_S_DRIVER_OK;
        }
        registers.status |= added;
        if added & VIRTIO_CONFIG_S_DRIVER_OK != 0 {
            self.activate(registers);
        }
    }

    fn activate(&self, registers: &Registers) {
        let features = registers.driver_features;
        let queues = registers.queues.iter().map(|queue| {
            let mut queue = Queue::try_from(queue.state())?;
            queue.set_event_idx(features & 1 << VIRTIO_RING_F_EVENT_IDX != 0);
            VirtQueue::new(queue, self.ram.clone(), Arc::clone(&self.interrupt))
        });
        let activated = guarded(|| {
            let queues = queues.collect::<Result<_, _>>()?;
            let config = ConfigInterrupt(Arc::clone(&self.interrupt));
            Ok(self.device.activate(Driver { features, queues, config, stop: self.thread.flag().clone() }))
        });
        match activated {
            Ok(worker) => self.thread.start(worker),
            Err(error) => self.failures.add(&error),
        }
    }

    /// Signals a doorbell for a notification that reached userspace instead of the ioeventfd.
    fn notify(&self, queue: u32) {
        if let Some(doorbell) = usize::try_from(queue).ok().and_then(|queue| self.doorbells.get(queue)) {
            ring(&doorbell.event);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Registers> {
        lock(&self.registers)
    }
}

impl BusDevice for Mmio {
    fn read(&self, offset: u64, data: &mut [u8]) {
        if let Some(offset) = offset.checked_sub(register::VIRTIO_MMIO_CONFIG.into()) {
            return self.device.read_config(offset, data);
        }
        // Registers are accessed as whole 32-bit words only.
        let value = match (<&mut [u8; 4]>::try_from(&mut *data), u32::try_from(offset)) {
            (Ok(data), Ok(offset)) if offset.is_multiple_of(4) => {
                return *data = self.read_register(offset).to_le_bytes();
            }
            _ => 0,
        };
        data.fill(value);
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Request> {
        if let Some(offset) = offset.checked_sub(register::VIRTIO_MMIO_CONFIG.into()) {
            self.device.write_config(offset, data);
        } else if let (Ok(&data), Ok(offset)) = (<&[u8; 4]>::try_from(data), u32::try_from(offset))
            && offset.is_multiple_of(4)
        {
            self.write_register(offset, u32::from_le_bytes(data));
        }
        None
    }

    fn ioeventfds(&self) -> &[Doorbell] {
        &self.doorbells
    }

    fn interrupt(&self) {
        self.thread.pause();
    }

    fn resume(&self) {
        self.thread.resume();
    }
}

#[cfg(test)]
mod tests;
