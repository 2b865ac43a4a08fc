//! Access to a machine that does not go through its control thread.

use crate::config::Opened;
use crate::sync::{Mutex, lock};
use kvm_accel::cancel::{Cancel, Cancelled};
use kvm_accel::stats::MachineStatistics;
use kvm_accel::vcpu::Counters;
use kvm_accel_machine::board::Board;
use kvm_accel_machine::devices::{Delegated, SerialPort};
use kvm_accel_machine::virtio::console::Console;
use kvm_accel_machine::virtio::{Balloon, Vsock};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock, Weak};

/// Access that does not go through the control thread, because it never blocks: counters, statistics, serial input, and answers for waiting
/// vCPUs. Empty until the machine exists.
#[derive(Default)]
pub struct DirectAccess {
    counters: OnceLock<Counters>,
    /// `None` once the machine has ended: open statistics descriptors keep the VM alive.
    statistics: Mutex<Option<MachineStatistics>>,
    serials: Mutex<[Option<Arc<SerialPort>>; 4]>,
    /// Only the control thread adds devices.
    devices: Mutex<Vec<Arc<Delegated>>>,
    opened: Mutex<Opened>,
}

impl DirectAccess {
    /// Returns the counters of the vCPU threads, also after the machine has ended. `None` before the machine exists.
    #[must_use]
    pub fn counters(&self) -> Option<&Counters> {
        self.counters.get()
    }

    /// Reads the kernel's statistics. Returns `None` once the machine has ended.
    pub fn statistics<T>(&self, read: impl FnOnce(&mut MachineStatistics) -> T) -> Option<T> {
        lock(&self.statistics).as_mut().map(read)
    }

    /// Writes input to a serial port (COM1 is 0), and returns the number of bytes that fitted. If the port does not exist or the machine
    /// has ended, all bytes are accepted and discarded.
    #[must_use]
    pub fn serial_input(&self, port: usize, bytes: &[u8]) -> usize {
        let serial = lock(&self.serials).get(port).cloned().flatten();
        serial.map_or(bytes.len(), |serial| serial.input(bytes))
    }

    /// Returns a device that [`Command::AddDevice`](crate::Command::AddDevice) added.
    #[must_use]
    pub fn device(&self, index: u32) -> Option<Arc<Delegated>> {
        lock(&self.devices).get(usize::try_from(index).ok()?).cloned()
    }

    /// Returns the reading end of a port's stream, on the first call only. COM1 is 0 and the debug console is 4.
    #[must_use]
    pub fn take_serial_end(&self, port: u32) -> Option<OwnedFd> {
        lock(&self.opened).take_stream(port)
    }

    /// Returns the caller's end of a console port, on the first call only.
    #[must_use]
    pub fn take_console_end(&self, port: u32) -> Option<UnixStream> {
        lock(&self.opened).take_console_end(usize::try_from(port).ok()?)
    }

    /// Returns the console. `None` if the machine has no console or has ended.
    #[must_use]
    pub fn console(&self) -> Option<Arc<Console>> {
        lock(&self.opened).find_console()
    }

    /// Returns the balloon. `None` if the machine has no balloon or has ended.
    #[must_use]
    pub fn balloon(&self) -> Option<Arc<Balloon>> {
        lock(&self.opened).find_balloon()
    }

    pub(crate) fn vsock(&self) -> Option<Weak<Vsock>> {
        lock(&self.opened).find_vsock()
    }

    /// Gives the caller access to the streams and devices that the control thread opened. Fails if the machine is being ended, because the
    /// caller takes no streams then.
    pub(crate) fn open(&self, opened: Opened, cancel: &Cancel) -> Result<(), Cancelled> {
        let mut place = lock(&self.opened);
        cancel.check()?;
        *place = opened;
        Ok(())
    }

    /// Closes the stream ends that the caller has not taken.
    pub(crate) fn close_ends(&self) {
        lock(&self.opened).close_ends();
    }

    pub(crate) fn attach(&self, board: &mut Board) {
        let _ = self.counters.set(board.counters());
        *lock(&self.statistics) = board.take_statistics();
        *lock(&self.serials) = board.serial_ports();
    }

    /// Returns the index of the next device that is added.
    pub(crate) fn next_device(&self) -> u32 {
        u32::try_from(lock(&self.devices).len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn add_device(&self, device: Arc<Delegated>) {
        lock(&self.devices).push(device);
    }

    pub(crate) fn close(&self) {
        drop(lock(&self.statistics).take());
        *lock(&self.serials) = Default::default();
    }
}
