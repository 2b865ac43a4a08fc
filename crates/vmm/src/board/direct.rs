//! What callers reach of a machine without its control thread.

use crate::config::Opened;
use crate::sync::{Mutex, lock};
use kvm_accel::cancel::{Cancel, Cancelled};
use kvm_accel::stats::MachineStatistics;
use kvm_accel::vcpu::Counters;
use kvm_accel_machine::board::Board;
use kvm_accel_machine::devices::{Delegated, SerialPort};
use kvm_accel_machine::virtio::console::Console;
use kvm_accel_machine::virtio::{Balloon, Vsock};
use std::io::PipeReader;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock, Weak};

/// What callers reach without the control thread, because it never waits: counters, statistics, serial input, and the answers that
/// vCPUs wait for. Empty until the machine exists.
#[derive(Default)]
pub struct DirectAccess {
    counters: OnceLock<Counters>,
    /// `None` once the machine has ended: open statistics keep the VM alive.
    statistics: Mutex<Option<MachineStatistics>>,
    serials: Mutex<[Option<Arc<SerialPort>>; 4]>,
    /// Only the control thread adds one.
    devices: Mutex<Vec<Arc<Delegated>>>,
    opened: Mutex<Opened>,
}

impl DirectAccess {
    /// What the vCPU threads have counted, also after the machine has ended; none before it exists.
    #[must_use]
    pub fn counters(&self) -> Option<&Counters> {
        self.counters.get()
    }

    /// Reads the kernel's statistics; none when the machine has ended.
    pub fn statistics<T>(&self, read: impl FnOnce(&mut MachineStatistics) -> T) -> Option<T> {
        lock(&self.statistics).as_mut().map(read)
    }

    /// Gives input to a serial port, COM1 being 0, and returns how many bytes fitted. A port that does not exist, or of a machine that
    /// has ended, takes all.
    #[must_use]
    pub fn serial_input(&self, port: usize, bytes: &[u8]) -> usize {
        let serial = lock(&self.serials).get(port).cloned().flatten();
        serial.map_or(bytes.len(), |serial| serial.input(bytes))
    }

    /// A device that was added by [`Command::AddDevice`](crate::Command::AddDevice).
    #[must_use]
    pub fn device(&self, index: u32) -> Option<Arc<Delegated>> {
        lock(&self.devices).get(usize::try_from(index).ok()?).cloned()
    }

    /// The reading end of a port's stream, once; COM1 is 0 and the debug console 4.
    #[must_use]
    pub fn take_serial_end(&self, port: u32) -> Option<PipeReader> {
        lock(&self.opened).take_stream(port)
    }

    /// The caller's end of a console port, once.
    #[must_use]
    pub fn take_console_end(&self, port: u32) -> Option<UnixStream> {
        lock(&self.opened).take_console_end(usize::try_from(port).ok()?)
    }

    /// The console; none when the machine has none or has ended.
    #[must_use]
    pub fn console(&self) -> Option<Arc<Console>> {
        lock(&self.opened).find_console()
    }

    /// The balloon; none when the machine has none or has ended.
    #[must_use]
    pub fn balloon(&self) -> Option<Arc<Balloon>> {
        lock(&self.opened).find_balloon()
    }

    pub(crate) fn vsock(&self) -> Option<Weak<Vsock>> {
        lock(&self.opened).find_vsock()
    }

    /// Hands the caller what the control thread opened, unless the machine is being ended: the caller takes nothing then.
    pub(crate) fn open(&self, opened: Opened, cancel: &Cancel) -> Result<(), Cancelled> {
        let mut place = lock(&self.opened);
        cancel.check()?;
        *place = opened;
        Ok(())
    }

    /// Closes the ends that the caller did not take.
    pub(crate) fn close_ends(&self) {
        lock(&self.opened).close_ends();
    }

    pub(crate) fn attach(&self, board: &mut Board) {
        let _ = self.counters.set(board.counters());
        *lock(&self.statistics) = board.take_statistics();
        *lock(&self.serials) = board.serial_ports();
    }

    /// The index that the next added device gets.
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
