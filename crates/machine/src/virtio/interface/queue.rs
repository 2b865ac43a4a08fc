//! A virtqueue as a worker uses it.

use super::interrupt::Interrupt;
use super::{Chain, DriverError};
use kvm_accel::GuestRam;
use std::sync::Arc;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

/// Bytes of a used ring's header: flags and index.
const USED_HEADER: u64 = 4;
/// Bytes of a used ring's element: the head of a chain and the number of bytes written to it, 32 bits each.
const USED_ELEMENT: u64 = 8;

/// The number of popped descriptors after which a worker returns to its thread. Drivers usually need a few for each chain, so the number
/// of chains ends a call first.
pub const ENOUGH_DESCRIPTORS: u64 = 16 << 10;

/// A queue that the driver has set up.
pub struct VirtQueue {
    queue: Queue,
    ram: GuestRam,
    interrupt: Arc<Interrupt>,
    /// Descriptors of all popped chains.
    popped: u64,
}

impl VirtQueue {
    /// Creates a queue from the driver's registers. Fails if a ring of the queue lies outside RAM.
    pub(in crate::virtio) fn new(queue: Queue, ram: GuestRam, interrupt: Arc<Interrupt>) -> Result<Self, DriverError> {
        if queue.ready() && !queue.is_valid(&*ram) {
            return Err(DriverError("a queue is not in RAM".into()));
        }
        Ok(Self { queue, ram, interrupt, popped: 0 })
    }

    /// Takes the next chain that the driver has made available. Before it returns `None`, it enables notifications of the queue.
    ///
    /// # Errors
    /// When the ring or the chain (see [`Chain`]) is inconsistent.
    pub fn pop(&mut self) -> Result<Option<Chain>, DriverError> {
        if !self.queue.ready() {
            return Ok(None);
        }
        if let Some(chain) = self.next()? {
            return Ok(Some(chain));
        }
        if !self.queue.enable_notification(&*self.ram)? {
            return Ok(None);
        }
        match self.next()? {
            Some(chain) => Ok(Some(chain)),
            // Without this, a driver that moves the index to and fro could keep the worker here.
            None => Err(DriverError("the index of an available ring has moved backwards".into())),
        }
    }

    fn next(&mut self) -> Result<Option<Chain>, DriverError> {
        let Some(chain) = self.queue.iter(self.ram.clone())?.next() else { return Ok(None) };
        // The limit is the size that the device offers: drivers size indirect tables by it, also if they use a smaller queue.
        let chain = Chain::new(chain, self.ram.clone(), self.queue.max_size())?;
        self.popped += chain.descriptors().len() as u64;
        Ok(Some(chain))
    }

    /// Returns the chain that was popped last to the queue: the next pop takes it again.
    pub fn undo_pop(&mut self) {
        self.queue.set_next_avail(self.queue.next_avail().wrapping_sub(1));
    }

    /// Puts a chain into the used ring, with `written` bytes in its writable part. Interrupts the driver unless it has suppressed the
    /// interrupt.
    ///
    /// # Errors
    /// When the head is invalid or the ring is not writable.
    pub fn push(&mut self, head: u16, written: u32) -> Result<(), DriverError> {
        self.queue.add_used(&*self.ram, head, written)?;
        if self.queue.needs_notification(&*self.ram)? {
            self.interrupt.used();
        }
        Ok(())
    }

    /// Puts several chains into the used ring at once: the driver sees either none or all of them. Several chains always cause an interrupt.
    ///
    /// # Errors
    /// As [`VirtQueue::push`].
    pub fn push_together(&mut self, used: &[(u16, u32)]) -> Result<(), DriverError> {
        let [earlier @ .., (head, written)] = used else { return Ok(()) };
        if earlier.is_empty() {
            return self.push(*head, *written);
        }
        // The driver looks at the index only, which the last chain moves.
        let first = self.queue.next_used();
        for (after, (head, written)) in (0..).zip(earlier) {
            let slot = u64::from(first.wrapping_add(after) % self.queue.size());
            let element = u64::from(*head) | u64::from(*written) << 32;
            let address = self.queue.used_ring().checked_add(USED_HEADER + slot * USED_ELEMENT);
            let address =
                address.ok_or_else(|| DriverError("the used ring ends above the last guest address".into()))?;
            self.ram
                .write_obj(element.to_le(), GuestAddress(address))
                .map_err(|error| DriverError(error.to_string()))?;
        }
        self.queue.set_next_used(first.wrapping_add(u16::try_from(earlier.len()).unwrap_or(0)));
        self.queue.add_used(&*self.ram, *head, *written)?;
        // The driver suppresses interrupts for single elements. An extra interrupt is harmless.
        self.interrupt.used();
        Ok(())
    }

    /// Returns how many descriptors all popped chains together have, which is a measure of the worker's work.
    #[must_use]
    pub const fn popped(&self) -> u64 {
        self.popped
    }

    /// Returns guest memory.
    #[must_use]
    pub const fn memory(&self) -> &GuestRam {
        &self.ram
    }

    /// Returns the number of descriptors.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.queue.size()
    }
}
