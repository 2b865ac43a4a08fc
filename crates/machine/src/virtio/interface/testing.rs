//! A driver for tests and fuzzers: queues in a small RAM, and a worker that the test calls on its own thread.

mod fuzz;

pub use fuzz::{Input, fuzz};

use super::interrupt::{ConfigInterrupt, Interrupt};
use super::{Driver, StopFlag, VirtQueue, VirtioDevice, Worker, WorkerError};
use crate::Sources;
use crate::devices::Irq;
use kvm_accel::GuestRam;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress};

/// Size of RAM in bytes.
pub const RAM: u64 = 0x6_0000;
/// Number of descriptors of each queue.
const SIZE: u16 = 16;
/// Bytes for the rings of a queue: the descriptor table, at a quarter the available ring, at half the used ring.
const STRIDE: u64 = 0x1000;
/// Start of the buffers, which take the rest of RAM.
const BUFFERS: u64 = 0x2_0000;

/// The work that a thread has done on virtqueues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Chains that were popped, again after each [`VirtQueue::undo_pop`].
    pub chains: usize,
    /// Descriptors of these chains.
    pub descriptors: usize,
    /// Bytes that were copied from or to chains.
    pub bytes: usize,
}

thread_local! {
    static WORK: Cell<Work> = const { Cell::new(Work { chains: 0, descriptors: 0, bytes: 0 }) };
}

/// Returns the work of this thread since the last call.
#[must_use]
pub fn take_work() -> Work {
    WORK.take()
}

pub(super) fn count_chain(descriptors: usize) {
    let work = WORK.get();
    WORK.set(Work { chains: work.chains + 1, descriptors: work.descriptors + descriptors, ..work });
}

pub(super) fn count_bytes(bytes: usize) {
    let work = WORK.get();
    WORK.set(Work { bytes: work.bytes + bytes, ..work });
}

/// Creates RAM and a driver's set-up, with empty rings.
///
/// # Errors
/// When memory cannot be allocated, or the device has more queues than fit.
pub fn driver(device: &dyn VirtioDevice, features: u64) -> Result<(GuestRam, Driver), Box<dyn std::error::Error>> {
    let len = usize::try_from(RAM)?;
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), len)])?;
    let interrupt = Arc::new(Interrupt::new(Irq::none()));
    let mut queues = Vec::new();
    for (number, &largest) in (0..BUFFERS / STRIDE).zip(device.queues()) {
        let base = number * STRIDE;
        let mut queue = Queue::new(largest)?;
        queue.set_size(largest.min(SIZE));
        queue.try_set_desc_table_address(GuestAddress(base))?;
        queue.try_set_avail_ring_address(GuestAddress(base + STRIDE / 4))?;
        queue.try_set_used_ring_address(GuestAddress(base + STRIDE / 2))?;
        queue.set_event_idx(features & 1 << virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX != 0);
        queue.set_ready(true);
        queues.push(VirtQueue::new(queue, ram.clone(), Arc::clone(&interrupt)).map_err(|error| error.to_string())?);
    }
    Ok((ram, Driver { features, queues, config: ConfigInterrupt(interrupt), stop: StopFlag::default() }))
}

/// Waits for the descriptors of a worker and returns the tokens of those that are ready.
#[must_use]
pub fn ready(worker: &dyn Worker, timeout: Option<Duration>) -> Vec<usize> {
    let mut sources = Sources::new();
    worker.sources(&mut sources);
    let ready = sources.wait(timeout);
    debug_assert!(ready.is_ok());
    ready.unwrap_or_default()
}

/// Waits for the descriptors of a worker, and calls it for those that are ready. Returns their number.
///
/// # Errors
/// The first error of the worker.
pub fn serve(worker: &mut dyn Worker, timeout: Option<Duration>) -> Result<usize, WorkerError> {
    let ready = ready(worker, timeout);
    ready.iter().try_for_each(|source| worker.ready(*source)).map(|()| ready.len())
}

/// A driver that follows the specification, for one queue: it offers buffers and collects used ones.
#[derive(Debug)]
pub struct Ring {
    base: u64,
    /// The address of the next buffer.
    next: u64,
    descriptor: u16,
    offered: u16,
    taken: u16,
}

/// Bytes for the buffers of each queue.
const ROOM: u64 = 0x8000;

/// A buffer of a [`Ring`].
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    address: u64,
    len: usize,
}

impl Buffer {
    /// Returns the current contents.
    #[must_use]
    pub fn read(&self, ram: &GuestRam) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        // The buffer is in RAM: `offer` has placed it there.
        let _ = ram.read_slice(&mut bytes, GuestAddress(self.address));
        bytes
    }
}

impl Ring {
    /// Creates the driver of the queue `queue`.
    #[must_use]
    pub fn new(_ram: &GuestRam, queue: u64) -> Self {
        let next = BUFFERS + queue * ROOM;
        Self { base: queue * STRIDE, next, descriptor: 0, offered: 0, taken: 0 }
    }

    /// Offers buffers as one chain, and returns the last buffer. The given bytes also initialise writable buffers. Descriptors and buffer
    /// memory are reused round-robin.
    pub fn offer(&mut self, ram: &GuestRam, buffers: &[(&[u8], bool)]) -> Buffer {
        let head = self.descriptor;
        let mut last = Buffer { address: 0, len: 0 };
        for (index, (bytes, writable)) in buffers.iter().enumerate() {
            let more = index + 1 < buffers.len();
            if self.next % ROOM + bytes.len() as u64 > ROOM {
                self.next -= self.next % ROOM;
            }
            let following = (self.descriptor + 1) % SIZE;
            let flags = u16::from(more) | u16::from(*writable) << 1;
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let raw =
                [&self.next.to_le_bytes()[..], &len.to_le_bytes(), &flags.to_le_bytes(), &following.to_le_bytes()];
            let at = GuestAddress(self.base + 16 * u64::from(self.descriptor));
            let written = ram.write_slice(&raw.concat(), at).and(ram.write_slice(bytes, GuestAddress(self.next)));
            debug_assert!(written.is_ok());
            last = Buffer { address: self.next, len: bytes.len() };
            self.next += bytes.len() as u64;
            self.descriptor = following;
        }
        let available = self.base + STRIDE / 4;
        let _ = ram.write_obj(head, GuestAddress(available + 4 + 2 * u64::from(self.offered % SIZE)));
        self.offered = self.offered.wrapping_add(1);
        let _ = ram.write_obj(self.offered, GuestAddress(available + 2));
        last
    }

    /// Returns the written length of each chain that was used since the last call.
    pub fn used(&mut self, ram: &GuestRam) -> Vec<u32> {
        let used = self.base + STRIDE / 2;
        let index: u16 = ram.read_obj(GuestAddress(used + 2)).unwrap_or(self.taken);
        let mut written = Vec::new();
        while self.taken != index {
            let element = used + 4 + 8 * u64::from(self.taken % SIZE);
            written.push(ram.read_obj(GuestAddress(element + 4)).unwrap_or(0));
            self.taken = self.taken.wrapping_add(1);
        }
        written
    }

    /// Makes more chains available than the queue has descriptors.
    pub fn corrupt(&mut self, ram: &GuestRam) {
        let _ = ram.write_obj(self.offered.wrapping_add(SIZE + 1), GuestAddress(self.base + STRIDE / 4 + 2));
    }
}
