//! The interface to the machine: the bus that handles I/O and MMIO exits.

use std::sync::Arc;

/// What a device access requests from the whole machine (QEMU's guest-caused shutdown requests).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The guest powered itself off.
    Shutdown,
    /// The guest requested a reset (i8042, triple fault, reset register).
    Reset,
    /// The guest's kernel panicked and reported the panic.
    Panic,
    /// As a stop reason: the guest resumes at its waking vector after sleep (ACPI S3). As a result from the bus: the
    /// guest requests sleep. The vCPU that receives this result stays outside the guest while [`Bus::asleep`] is true,
    /// also across pauses, and then requests the wake from the machine.
    Wake,
    /// The guest wrote `value` to `isa-debug-exit`; the process status is `(value << 1) | 1`.
    DebugExit {
        /// The value as written, before shifting.
        value: u32,
    },
}

/// Handles the accesses that exit to user space. Called on vCPU threads, concurrently, on the exit path: an
/// implementation takes only the device's own lock and never waits for another thread's work.
///
/// An access of `data.len()` bytes (1, 2, 4 or 8) at one address; string I/O arrives one element at a time.
pub trait Bus: Send + Sync {
    /// Handles an `in`: fills `data`. A port without a device reads all ones.
    fn pio_read(&self, port: u16, data: &mut [u8]);
    /// Handles an `out`. The vCPU leaves the guest if the access returns a request.
    fn pio_write(&self, port: u16, data: &[u8]) -> Option<Request>;
    /// Handles a load from an address without RAM: fills `data`. An address without a device reads all ones.
    fn mmio_read(&self, addr: u64, data: &mut [u8]);
    /// Handles a store to an address without RAM, or to read-only memory.
    fn mmio_write(&self, addr: u64, data: &[u8]) -> Option<Request>;
    /// Interrupts waiting accesses because the machine stops. An access that waits (for example for a reader of its
    /// output) returns, and no access waits until [`Bus::resume`]. Called on any thread before the vCPUs are kicked,
    /// because a signal alone can arrive just before a wait begins.
    fn interrupt(&self);
    /// Ends [`Bus::interrupt`]: the vCPUs are about to run again.
    fn resume(&self);
    /// Returns whether the guest sleeps: it has requested sleep ([`Request::Wake`]), and no wake event has occurred
    /// since.
    fn asleep(&self) -> bool {
        false
    }
    /// Sets the function to call, on any thread, when [`Bus::asleep`] may have become false.
    fn on_wake(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        drop(wake);
    }
    /// Completes the accesses of the calling vCPU's thread that [`Bus::interrupt`] has cut short. Each vCPU's thread
    /// calls it after a stop, before the guest runs again. An interrupt may cut it short, too.
    fn complete(&self) {}
}
