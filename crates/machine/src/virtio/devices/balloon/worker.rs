//! The worker: the balloon's queues.

use super::pages::{Partial, ranges};
use super::statistics::Statistics;
use super::{FEATURE_PAGE_POISON, FEATURE_REPORTING, FEATURE_STATISTICS, FEATURE_TELLS, Shared};
use crate::Sources;
use crate::virtio::interface::{Chain, Driver, StopFlag, VirtQueue, Worker, WorkerError};
use kvm_accel::GuestRam;
use std::collections::VecDeque;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};

/// Bytes that are reclaimed between two checks of the stop flag. Larger huge pages are reclaimed one at a time.
const SLICE: u64 = 4 << 20;
/// The most chains of a queue before the worker returns to its thread.
const STRETCH: usize = 4;
/// The most page numbers read from a chain, 16 times as many as Linux writes. The guest keeps any further pages. This bounds the time that
/// a guest can occupy the thread.
const MOST_NUMBERS: usize = 4096;
/// The most bytes of statistics that are read, 25 times as many as Linux writes.
const MOST_STATISTICS: usize = 4096;

/// The role of a queue. Its number depends on the negotiated features: queues of features that are not negotiated are not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Inflate,
    Deflate,
    Statistics,
    Reporting,
}

fn roles(features: u64) -> Vec<Role> {
    let mut roles = vec![Role::Inflate, Role::Deflate];
    roles.extend((features & FEATURE_STATISTICS != 0).then_some(Role::Statistics));
    roles.extend((features & FEATURE_REPORTING != 0).then_some(Role::Reporting));
    roles
}

/// The worker.
pub struct Queues {
    shared: Arc<Shared>,
    roles: Vec<Role>,
    queues: Vec<VirtQueue>,
    features: u64,
    /// Only with MUST_TELL_HOST: other drivers use pages again before they deflate. The last page of a huge page could then arrive while
    /// the guest uses others.
    partial: Option<Partial>,
    /// The buffer of the statistics queue. Returning it to the driver requests new statistics.
    held: Option<u16>,
    /// The chain whose pages are being reclaimed.
    work: Option<Work>,
    /// A bitmap of the queues that may have unserved chains.
    left: u8,
    stop: StopFlag,
}

/// A chain of the inflate or reporting queue.
struct Work {
    queue: usize,
    head: u16,
    /// Addresses that are still to be reclaimed.
    ranges: VecDeque<Range<u64>>,
}

impl Queues {
    pub fn new(shared: Arc<Shared>, driver: Driver) -> Self {
        let Driver { features, queues, stop, .. } = driver;
        let page_size = queues.first().map_or(0, |queue| queue.memory().page_size());
        let partial = (features & FEATURE_TELLS != 0).then(|| Partial::new(page_size as u64)).flatten();
        Self { shared, roles: roles(features), queues, features, partial, held: None, work: None, left: 0, stop }
    }

    /// Requests new statistics, if the driver has sent the previous ones.
    fn ask(&mut self) -> Result<(), WorkerError> {
        let Some(head) = self.held.take() else { return Ok(()) };
        let number = self.roles.iter().position(|role| *role == Role::Statistics);
        match number.and_then(|number| self.queues.get_mut(number)) {
            Some(queue) => Ok(queue.push(head, 0)?),
            None => Ok(()),
        }
    }

    /// Reclaims the pages of the current chain in slices, and then returns the chain. Returns false if the stop flag interrupted it.
    fn finish(&mut self) -> Result<bool, WorkerError> {
        let Some(work) = &mut self.work else { return Ok(true) };
        let Some(queue) = self.queues.get_mut(work.queue) else { return Ok(true) };
        let ram = queue.memory();
        // This and the page size are powers of 2, so a cut at a multiple of `step` does not split a page.
        let step = SLICE.max(ram.page_size() as u64);
        while let Some(range) = work.ranges.front_mut() {
            if self.stop.is_set() {
                return Ok(false);
            }
            let end = (range.start / step + 1).saturating_mul(step).min(range.end);
            // If the host cannot reclaim the range, its memory stays allocated, which is harmless.
            drop(ram.discard(range.start..end));
            range.start = end;
            if range.is_empty() {
                work.ranges.pop_front();
            }
        }
        queue.push(work.head, 0)?;
        self.work = None;
        Ok(true)
    }
}

impl Worker for Queues {
    fn notified(&mut self, number: usize) -> Result<(), WorkerError> {
        let Some(role) = self.roles.get(number).copied() else { return Ok(()) };
        let bit = 1 << number;
        self.left |= bit;
        if !self.finish()? {
            return Ok(());
        }
        for _ in 0..STRETCH {
            // Reclaimed pages read as zeroes, but this driver expects its poison value in them.
            let poisoned = self.features & FEATURE_PAGE_POISON != 0 && self.shared.poison() != 0;
            if self.stop.is_set() {
                return Ok(());
            }
            let Some(queue) = self.queues.get_mut(number) else { return Ok(()) };
            let Some(chain) = queue.pop()? else {
                self.left &= !bit;
                return Ok(());
            };
            let mut ranges = VecDeque::new();
            match role {
                Role::Inflate => ranges = inflated(queue.memory(), self.partial.as_mut(), pages(&chain)?),
                Role::Deflate => {
                    if let Some(partial) = &mut self.partial {
                        pages(&chain)?.for_each(|range| partial.deflate(range));
                    }
                }
                Role::Reporting if poisoned => {}
                Role::Reporting => ranges = reported(&chain)?,
                Role::Statistics => {
                    let statistics = Statistics::parse(&bytes(&chain, MOST_STATISTICS)?, SystemTime::now());
                    *super::lock(&self.shared.statistics) = Some(statistics);
                    // The driver may have only one buffer here. If there is another one, it is returned, as in QEMU.
                    let Some(before) = self.held.replace(chain.head()) else { continue };
                    queue.push(before, 0)?;
                    continue;
                }
            }
            self.work = Some(Work { queue: number, head: chain.head(), ranges });
            if !self.finish()? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn unfinished(&self) -> Option<usize> {
        (self.left != 0).then(|| usize::try_from(self.left.trailing_zeros()).unwrap_or(0))
    }

    fn sources<'a>(&'a self, sources: &mut Sources<'a, usize>) {
        sources.add(0, self.shared.timer_source());
    }

    fn ready(&mut self, _: usize) -> Result<(), WorkerError> {
        self.shared.timer_fired();
        self.ask()
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        self.shared.driver_gone();
    }
}

/// Returns the ranges to reclaim when pages are added to the balloon: the pages themselves, or the huge pages that are now completely in
/// the balloon.
pub(super) fn inflated(
    ram: &GuestRam,
    partial: Option<&mut Partial>,
    ranges: impl Iterator<Item = Range<u64>>,
) -> VecDeque<Range<u64>> {
    match partial {
        None => ranges.collect(),
        Some(partial) => {
            ranges.flat_map(|range| in_ram(ram, &range)).flat_map(|range| partial.inflate(range)).collect()
        }
    }
}

/// Returns the pages of a chain of the reporting queue, which are the buffers themselves.
fn reported(chain: &Chain) -> Result<VecDeque<Range<u64>>, WorkerError> {
    // Fails unless all buffers are in RAM.
    chain.writer()?;
    let buffers = chain.descriptors().filter(virtio_queue::desc::split::Descriptor::is_write_only);
    let range = |start: u64, len: u32| start..start.saturating_add(len.into());
    Ok(buffers.map(|buffer| range(buffer.addr().raw_value(), buffer.len())).filter(|range| !range.is_empty()).collect())
}

/// Returns the parts of a range that are RAM.
fn in_ram(ram: &GuestRam, range: &Range<u64>) -> Vec<Range<u64>> {
    let part = |start: u64, len: u64| range.start.max(start)..range.end.min(start.saturating_add(len));
    let parts = ram.iter().map(|region| part(region.start_addr().raw_value(), region.len()));
    parts.filter(|part| !part.is_empty()).collect()
}

/// Returns the pages whose numbers the driver has written into the chain.
fn pages(chain: &Chain) -> Result<impl Iterator<Item = Range<u64>> + use<>, WorkerError> {
    let bytes = bytes(chain, MOST_NUMBERS * 4)?;
    Ok(ranges(bytes.as_chunks().0.iter().map(|number| u32::from_le_bytes(*number)).collect()))
}

/// Returns at most the first `most` bytes of the device-readable part.
fn bytes(chain: &Chain, most: usize) -> Result<Vec<u8>, WorkerError> {
    let mut reader = chain.reader()?;
    let mut bytes = vec![0; reader.available_bytes().min(most)];
    reader.read_exact(&mut bytes).map_err(WorkerError::driver)?;
    Ok(bytes)
}
