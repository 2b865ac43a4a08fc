//! The seam towards the machine: what answers I/O and MMIO exits.

use std::sync::Arc;

/// What a device access asks of the whole machine (QEMU's guest-caused shutdown requests).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The guest powered itself off.
    Shutdown,
    /// The guest asked for a reset (i8042, triple fault, reset register).
    Reset,
    /// The guest's kernel panicked, and said so.
    Panic,
    /// The guest goes on at its waking vector after sleep (ACPI S3). From the bus: the guest asks to sleep. The vCPU that gets this answer stays
    /// outside the guest while [`Bus::asleep`] is true, also across pauses, and only then asks the machine to wake.
    Wake,
    /// The guest wrote `value` to `isa-debug-exit`; the process status is `(value << 1) | 1`.
    DebugExit {
        /// The value as written, before shifting.
        value: u32,
    },
}

/// Answers the accesses that leave the guest. Called on vCPU threads, concurrently, on the exit path:
/// an implementation takes no lock but the device's own and never waits for another thread's work.
///
/// An access of `data.len()` bytes (1, 2, 4 or 8) at one address; string I/O arrives one element at a time.
pub trait Bus: Send + Sync {
    /// An `in`: fills `data`; a port nobody claims reads all ones.
    fn pio_read(&self, port: u16, data: &mut [u8]);
    /// An `out`. The vCPU leaves the guest when the access asks something of the machine.
    fn pio_write(&self, port: u16, data: &[u8]) -> Option<Request>;
    /// A load from an address without RAM: fills `data`; an address nobody claims reads all ones.
    fn mmio_read(&self, addr: u64, data: &mut [u8]);
    /// A store to an address without RAM, or to read-only memory.
    fn mmio_write(&self, addr: u64, data: &[u8]) -> Option<Request>;
    /// The machine stops: an access that waits (for a reader of its output, say) returns, and none waits until
    /// [`Bus::resume`]. Called on any thread before the vCPUs are kicked, because a signal alone can come just before a wait
    /// begins.
    fn interrupt(&self);
    /// The vCPUs are about to run again.
    fn resume(&self);
    /// Whether the guest sleeps: it has asked to ([`Request::Wake`]), and no event that wakes it has come.
    fn asleep(&self) -> bool {
        false
    }
    /// Takes the function to call, on any thread, when [`Bus::asleep`] may have become false.
    fn on_wake(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        drop(wake);
    }
    /// Completes the accesses of the calling vCPU's thread that [`Bus::interrupt`] has cut short. Each vCPU's thread calls it after a stop,
    /// before the guest runs again. It may be cut short, too.
    fn complete(&self) {}
}
