//! Fuzzes a device with a driver that breaks all rules.

use super::{Work, ready, take_work};
use crate::devices::Irq;
use crate::virtio::interface::interrupt::{ConfigInterrupt, Interrupt};
use crate::virtio::interface::{Driver, StopFlag, VirtQueue, VirtioDevice, Worker, WorkerError};
use kvm_accel::GuestRam;
use std::sync::Arc;
use std::time::Duration;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

/// Size of RAM in bytes.
const RAM: usize = 2 << 20;
/// The smallest and the largest size of a queue. Devices offer at most 256 descriptors, but nothing may depend on that.
const SIZES: (u16, u16) = (16, 1024);
/// Bytes for the rings of a queue of the largest size: the descriptor table, the available ring, the used ring.
const STRIDE: u64 = 0x8000;
const AVAILABLE: u64 = 0x4000;
const USED: u64 = 0x5000;
/// The most queues that have a place below the buffers.
const QUEUES: u64 = 32;
/// Start of the buffers and indirect tables, which take the rest of RAM.
const BUFFERS: u64 = QUEUES * STRIDE;

/// The most work of a call of a worker. A network with queues of 1024 descriptors does the most: frames until `ENOUGH_DESCRIPTORS` in
/// one direction, the last of which takes 65,548 buffers of a byte, and as much in the other.
const MOST: Work = Work { chains: 256 << 10, descriptors: 256 << 10, bytes: 64 << 20 };
/// The most work of a call while the worker's stop flag is set: it begins nothing.
const MOST_STOPPED: Work = Work { chains: 1, descriptors: SIZES.1 as usize, bytes: 1 << 10 };

/// Supplies bytes of the input, then zeroes when the input is used up.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    /// Takes the next `N` bytes.
    pub fn take<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_at(N.min(self.0.len()));
        self.0 = rest;
        let mut bytes = [0; N];
        bytes[..taken.len()].copy_from_slice(taken);
        bytes
    }

    fn number(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }
}

/// Fuzzes a device. `input` chooses the sizes of the queues, and then steps: the driver writes descriptors, offers chains, notifies the
/// device, writes its configuration space, resets it or stops it. Most descriptors point into RAM; with random ones few would pass the
/// first check.
///
/// # Errors
/// When memory cannot be allocated, or the device has too many queues. No `input` causes an error.
///
/// # Panics
/// When a call of the worker does more work than it may.
pub fn fuzz(device: &dyn VirtioDevice, input: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    let mut input = Input(input);
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), RAM)])?;
    let mut running = Running::new(device, &ram, &mut input)?;
    while !input.0.is_empty() {
        let [step, queue] = input.take();
        let queue = usize::from(queue) % running.sizes.len().max(1);
        let done = match step % 8 {
            0 | 1 => running.describe(queue, &mut input).map_err(Into::into),
            2 => running.offer(queue, &mut input).map_err(Into::into),
            3 => running.notify(queue, MOST),
            4 => running.serve(),
            5 => {
                let [offset, len] = input.take();
                let mut data: [u8; 8] = input.take();
                device.write_config(offset.into(), &data[..usize::from(len % 9)]);
                device.read_config(offset.into(), &mut data);
                Ok(())
            }
            6 => {
                running.driver_stop.set_pause(true);
                let done = running.notify(queue, MOST_STOPPED);
                running.driver_stop.set_pause(false);
                done
            }
            _ => Err(Ended::Reset),
        };
        if let Err(ended) = done {
            match ended {
                Ended::Reset => {}
                Ended::Memory(error) => return Err(error.into()),
            }
            // The worker before has to be dropped first, as by a transport.
            drop(running);
            running = Running::new(device, &ram, &mut input)?;
        }
    }
    Ok(())
}

/// Why a driver does not continue with its worker.
enum Ended {
    /// The driver resets the device, perhaps because of an error.
    Reset,
    Memory(GuestMemoryError),
}

impl From<GuestMemoryError> for Ended {
    fn from(error: GuestMemoryError) -> Self {
        Self::Memory(error)
    }
}

/// A device with an active driver.
struct Running<'a> {
    ram: &'a GuestRam,
    sizes: Vec<u16>,
    worker: Box<dyn Worker>,
    driver_stop: StopFlag,
}

impl<'a> Running<'a> {
    /// Activates the device with empty rings.
    fn new(
        device: &dyn VirtioDevice,
        ram: &'a GuestRam,
        input: &mut Input<'_>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let features = device.features() & u64::from_le_bytes(input.take()) | u64::from(input.take::<1>()[0] & 1) << 29;
        let interrupt = Arc::new(Interrupt::new(Irq::none()));
        let mut sizes = Vec::new();
        let mut queues = Vec::new();
        for (number, _) in (0..QUEUES).zip(device.queues()) {
            let base = number * STRIDE;
            let [shift] = input.take();
            let size = SIZES.0 << (shift % 7);
            ram.write_slice(&[0; 4], GuestAddress(base + AVAILABLE))?;
            let mut queue = Queue::new(SIZES.1)?;
            queue.set_size(size);
            queue.try_set_desc_table_address(GuestAddress(base))?;
            queue.try_set_avail_ring_address(GuestAddress(base + AVAILABLE))?;
            queue.try_set_used_ring_address(GuestAddress(base + USED))?;
            queue.set_event_idx(features & 1 << VIRTIO_RING_F_EVENT_IDX != 0);
            queue.set_ready(true);
            sizes.push(size);
            queues.push(VirtQueue::new(queue, ram.clone(), Arc::clone(&interrupt)).map_err(|error| error.to_string())?);
        }
        let stop = StopFlag::default();
        let driver = Driver { features, queues, config: ConfigInterrupt(interrupt), stop: stop.clone() };
        Ok(Self { ram, sizes, worker: device.activate(driver), driver_stop: stop })
    }

    /// Writes a row of equal descriptors into a queue's table or into an indirect table, or bytes into a buffer.
    fn describe(&self, queue: usize, input: &mut Input<'_>) -> Result<(), GuestMemoryError> {
        let [place, flags, count, wild] = input.take();
        let (index, at, len) = (input.number(), input.number(), input.number());
        let buffer = BUFFERS + u64::from(at % 0xf000) * 16;
        let base = match place % 4 {
            // An indirect table in the buffers. Flags have no effect.
            0 => return self.ram.write_slice(&input.take::<64>(), GuestAddress(buffer)),
            1 => BUFFERS + u64::from(index % 64) * STRIDE / 4,
            _ => queue as u64 * STRIDE,
        };
        let first = if place % 4 == 1 { 0 } else { index % SIZES.1 };
        let (address, len) = match wild {
            0xf0.. => (u64::from_le_bytes(input.take()), u32::from_le_bytes(input.take())),
            // Descriptors of a byte, of which most fit into a frame or a request.
            0xc0.. => (buffer, 1),
            _ => (buffer, u32::from(len)),
        };
        // Up to 1024 descriptors in one step, so that few bytes of input make long chains.
        let count = 1_u16 << (count % 11);
        for descriptor in (first..first.saturating_add(count)).take_while(|descriptor| *descriptor < SIZES.1) {
            let last = descriptor + 1 == first + count;
            // NEXT except at the end of the row; WRITE and INDIRECT as the input says.
            let flags = u16::from(flags & 6) | u16::from(!last || flags & 1 != 0 && flags & 8 != 0);
            let next = if flags & 0x10 == 0 { descriptor + 1 } else { index };
            let rest = [flags.to_le_bytes(), next.to_le_bytes()].concat();
            let raw = [&address.to_le_bytes()[..], &len.to_le_bytes(), &rest].concat();
            self.ram.write_slice(&raw, GuestAddress(base + 16 * u64::from(descriptor)))?;
        }
        Ok(())
    }

    /// Offers the same head several times, seldom more often than the queue allows.
    fn offer(&self, queue: usize, input: &mut Input<'_>) -> Result<(), GuestMemoryError> {
        let [count, step] = input.take();
        let head = input.number() % SIZES.1;
        let size = self.sizes.get(queue).copied().unwrap_or(1);
        let available = queue as u64 * STRIDE + AVAILABLE;
        let index: u16 = self.ram.read_obj(GuestAddress(available + 2))?;
        let count = if count == 0xff { 0x1234 } else { 1 << (count % 11) };
        for offered in 0..size.min(count) {
            let slot = index.wrapping_add(offered) % size;
            let head = head.wrapping_add(offered.wrapping_mul((step % 4).into()));
            self.ram.write_obj(head, GuestAddress(available + 4 + 2 * u64::from(slot)))?;
        }
        self.ram.write_obj(index.wrapping_add(count), GuestAddress(available + 2))
    }

    /// Notifies the device, and lets it continue a few times if it has more to do.
    fn notify(&mut self, queue: usize, most: Work) -> Result<(), Ended> {
        self.call(most, |worker| worker.notified(queue))?;
        for _ in 0..4 {
            let Some(queue) = self.worker.unfinished() else { break };
            self.call(most, |worker| worker.notified(queue))?;
        }
        Ok(())
    }

    /// Handles the descriptors that are ready.
    fn serve(&mut self) -> Result<(), Ended> {
        for source in ready(&*self.worker, Some(Duration::ZERO)) {
            self.call(MOST, |worker| worker.ready(source))?;
        }
        Ok(())
    }

    /// Calls the worker, and checks the work that it has done.
    fn call(&mut self, most: Work, call: impl FnOnce(&mut dyn Worker) -> Result<(), WorkerError>) -> Result<(), Ended> {
        let _ = take_work();
        let done = call(&mut *self.worker);
        let work = take_work();
        let within = work.chains <= most.chains && work.descriptors <= most.descriptors && work.bytes <= most.bytes;
        assert!(within, "a call has done {work:?}, more than {most:?}");
        done.map_err(|_| Ended::Reset)
    }
}
