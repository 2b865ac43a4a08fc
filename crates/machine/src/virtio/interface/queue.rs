//! A virtqueue as a worker uses it.

use super::DriverError;
use super::interrupt::Interrupt;
use kvm_accel::{GuestMappings, GuestRam};
use std::sync::Arc;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT, Reader, Writer};
use vm_memory::bitmap::MS;
use vm_memory::{Bytes, GuestAddress};

/// Bytes of a used ring's header: flags and index.
const USED_HEADER: u64 = 4;
/// Bytes of a used ring's element: the head of a chain and the number of bytes written to it, 32 bits each.
const USED_ELEMENT: u64 = 8;

/// The most descriptors in a chain, as in QEMU. A chain must not be longer than its queue (section 2.7.5.3.1), and our queues are shorter
/// than this.
pub const MOST_DESCRIPTORS: usize = 1024;

/// A queue that the driver has set up.
pub struct VirtQueue {
    queue: Queue,
    ram: GuestRam,
    interrupt: Arc<Interrupt>,
}

impl VirtQueue {
    /// Creates a queue from the driver's registers. Fails if a ring of the queue lies outside RAM.
    pub(in crate::virtio) fn new(queue: Queue, ram: GuestRam, interrupt: Arc<Interrupt>) -> Result<Self, DriverError> {
        if queue.ready() && !queue.is_valid(&*ram) {
            return Err(DriverError("a queue is not in RAM".into()));
        }
        Ok(Self { queue, ram, interrupt })
    }

    /// Takes the next chain that the driver has made available. Before it returns `None`, it enables notifications of the queue.
    ///
    /// # Errors
    /// When the ring or the chain (see [`Chain`]) is inconsistent.
    pub fn pop(&mut self) -> Result<Option<Chain>, DriverError> {
        if !self.queue.ready() {
            return Ok(None);
        }
        loop {
            if let Some(chain) = self.queue.iter(self.ram.clone())?.next() {
                return Chain::new(chain).map(Some);
            }
            if !self.queue.enable_notification(&*self.ram)? {
                return Ok(None);
            }
        }
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

/// A descriptor chain: device-readable buffers followed by device-writable buffers. A chain ends as the driver's flags specify, has at most
/// 1024 descriptors, and holds less than 4 GiB.
#[derive(Clone, Debug)]
pub struct Chain {
    chain: DescriptorChain<GuestRam>,
    descriptors: Descriptors,
}

/// Descriptors that a chain stores without an allocation. A disk request usually has three.
const INLINE: usize = 4;

/// The descriptors of a chain.
#[derive(Clone, Debug, Default)]
struct Descriptors {
    first: [Descriptor; INLINE],
    /// Number of valid elements in `first`.
    inline: usize,
    /// The descriptors after those in `first`.
    more: Vec<Descriptor>,
}

impl Descriptors {
    fn len(&self) -> usize {
        self.inline + self.more.len()
    }

    fn push(&mut self, descriptor: Descriptor) {
        match self.first.get_mut(self.inline) {
            Some(place) => {
                *place = descriptor;
                self.inline += 1;
            }
            None => self.more.push(descriptor),
        }
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = &Descriptor> {
        self.first.iter().take(self.inline).chain(&self.more)
    }
}

/// The dirty bitmap, which records the pages that the device writes.
type Pages<'a> = MS<'a, GuestMappings>;

impl Chain {
    /// Reads all descriptors, each one once.
    fn new(chain: DescriptorChain<GuestRam>) -> Result<Self, DriverError> {
        let mut descriptors = Descriptors::default();
        for descriptor in chain.clone() {
            if descriptors.len() == MOST_DESCRIPTORS {
                return Err(DriverError(format!("a descriptor chain has more than {MOST_DESCRIPTORS} descriptors")));
            }
            descriptors.push(descriptor);
        }
        // If the driver breaks a rule, the library ends the chain early without an error.
        if descriptors.iter().next_back().is_none_or(Descriptor::has_next) {
            let what = "a descriptor chain has 4 GiB or more, is a loop, or leaves its table";
            return Err(DriverError(what.into()));
        }
        Ok(Self { chain, descriptors })
    }

    /// Returns the head, which identifies the chain in the used ring.
    #[must_use]
    pub fn head(&self) -> u16 {
        self.chain.head_index()
    }

    /// Returns a reader of the device-readable part.
    ///
    /// # Errors
    /// When the part is not in RAM, or is longer than a chain may be.
    pub fn reader(&self) -> Result<Reader<'_, Pages<'_>>, DriverError> {
        Ok(self.chain.clone().reader(self.chain.memory())?)
    }

    /// Returns a writer of the device-writable part.
    ///
    /// # Errors
    /// When the part is not in RAM, or is longer than a chain may be.
    pub fn writer(&self) -> Result<Writer<'_, Pages<'_>>, DriverError> {
        Ok(self.chain.clone().writer(self.chain.memory())?)
    }

    /// Returns the length of the device-writable part in bytes.
    #[must_use]
    pub fn writable_bytes(&self) -> usize {
        let lens = self.descriptors.iter().filter(|descriptor| descriptor.is_write_only()).map(Descriptor::len);
        lens.map(|len| usize::try_from(len).unwrap_or(usize::MAX)).sum()
    }

    /// Returns the descriptors, with indirect ones resolved. Their addresses and lengths are not validated.
    pub fn descriptors(&self) -> impl Iterator<Item = Descriptor> {
        self.descriptors.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::Irq;

    const TABLE: u64 = 0x8000;

    /// Creates a queue with one chain, whose descriptors are in an indirect table: length, flags, next.
    fn queue(descriptors: impl Iterator<Item = (u32, u16, u16)>) -> VirtQueue {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), 0x10_0000)]).unwrap();
        let mut table = Vec::new();
        for (len, flags, next) in descriptors {
            table.extend([0; 8]);
            table.extend(len.to_le_bytes());
            table.extend([flags.to_le_bytes(), next.to_le_bytes()].concat());
        }
        ram.write_slice(&table, GuestAddress(TABLE)).unwrap();
        ram.write_obj(TABLE, GuestAddress(0)).unwrap();
        ram.write_obj(u32::try_from(table.len()).unwrap(), GuestAddress(8)).unwrap();
        ram.write_obj(4_u16, GuestAddress(12)).unwrap();
        ram.write_obj(1_u16, GuestAddress(0x1002)).unwrap();
        let mut queue = Queue::new(16).unwrap();
        queue.set_size(16);
        queue.try_set_avail_ring_address(GuestAddress(0x1000)).unwrap();
        queue.try_set_used_ring_address(GuestAddress(0x2000)).unwrap();
        queue.set_ready(true);
        VirtQueue::new(queue, ram, Arc::new(Interrupt::new(Irq::none()))).unwrap()
    }

    /// Returns `count` consecutive descriptors of `len` bytes. `last` is the flags of the last one.
    fn row(count: u16, len: u32, last: u16) -> impl Iterator<Item = (u32, u16, u16)> {
        (1..=count).map(move |next| (len, if next < count { 1 } else { last }, next))
    }

    #[test]
    fn a_chain_holds_less_than_4_gib() {
        let chain = queue(row(3, u32::MAX / 3, 2)).pop().unwrap().unwrap();
        assert_eq!(chain.descriptors().map(|descriptor| u64::from(descriptor.len())).sum::<u64>(), u64::from(u32::MAX));
        assert_eq!(chain.writable_bytes(), 0x5555_5555);
        for chain in [row(4, 1 << 30, 0), row(2, u32::MAX, 2)] {
            assert!(queue(chain).pop().unwrap_err().0.contains("4 GiB"));
        }
    }

    #[test]
    fn a_chain_has_at_most_1024_descriptors() {
        assert_eq!(queue(row(1024, 1, 0)).pop().unwrap().unwrap().descriptors().count(), 1024);
        assert!(queue(row(1025, 1, 0)).pop().unwrap_err().0.contains("more than 1024"));
    }

    #[test]
    fn a_chain_ends_in_its_table() {
        let broken: [Vec<(u32, u16, u16)>; 4] = [
            // A loop; a next descriptor outside the table; an indirect table in an indirect table; no descriptor.
            vec![(1, 1, 1), (1, 1, 0)],
            vec![(1, 1, 2), (1, 0, 0)],
            vec![(16, 4, 0)],
            vec![],
        ];
        for chain in broken {
            assert!(queue(chain.iter().copied()).pop().is_err(), "{chain:?}");
        }
    }
}
