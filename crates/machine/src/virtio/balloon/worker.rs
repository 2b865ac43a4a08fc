//! The balloon's queues.

use super::pages::{Partial, ranges};
use super::statistics::Statistics;
use super::{FEATURE_PAGE_POISON, FEATURE_REPORTING, FEATURE_STATISTICS, FEATURE_TELLS, Shared};
use crate::virtio::{Chain, Driver, Malformed, VirtQueue, Worker};
use kvm_accel::GuestRam;
use rustix::event::PollFd;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};

/// Chains of a queue at a stretch, before the transport has its turn.
const STRETCH: usize = 4;
/// Page numbers that are read of one chain, 16 times as many as Linux writes; more stay with the guest. No guest keeps the thread for long.
const MOST_NUMBERS: usize = 4096;
/// Bytes of statistics that are read, 25 times as many as Linux writes.
const MOST_STATISTICS: usize = 4096;

/// What a queue is for. Its number depends on what the driver knows: queues of features that it does not have are not counted.
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

/// The device at work.
pub struct Queues {
    shared: Arc<Shared>,
    roles: Vec<Role>,
    queues: Vec<VirtQueue>,
    features: u64,
    /// Only of a driver that tells before it uses a page again: otherwise the last page of a huge one could come while others are in use.
    partial: Option<Partial>,
    /// The statistics queue's buffer. Giving it back asks for the next.
    held: Option<u16>,
    /// The queue that was left after a stretch.
    more: Option<usize>,
}

impl Queues {
    pub fn new(shared: Arc<Shared>, driver: Driver) -> Self {
        let Driver { features, queues, .. } = driver;
        let page_size = queues.first().map_or(0, |queue| queue.memory().page_size());
        let partial = (features & FEATURE_TELLS != 0).then(|| Partial::new(page_size as u64)).flatten();
        Self { shared, roles: roles(features), queues, features, partial, held: None, more: None }
    }

    /// Asks for new statistics, if those before have been said.
    fn ask(&mut self) -> Result<(), Malformed> {
        let Some(head) = self.held.take() else { return Ok(()) };
        let number = self.roles.iter().position(|role| *role == Role::Statistics);
        match number.and_then(|number| self.queues.get_mut(number)) {
            Some(queue) => queue.push(head, 0),
            None => Ok(()),
        }
    }
}

impl Worker for Queues {
    fn notified(&mut self, number: usize) -> Result<(), Malformed> {
        let Some(role) = self.roles.get(number).copied() else { return Ok(()) };
        // Pages come back as zeroes, which is not what this driver expects to find in them.
        let poisoned = self.features & FEATURE_PAGE_POISON != 0 && self.shared.poison() != 0;
        let Some(queue) = self.queues.get_mut(number) else { return Ok(()) };
        self.more = None;
        for _ in 0..STRETCH {
            let Some(chain) = queue.pop()? else { return Ok(()) };
            match role {
                Role::Inflate => inflate(queue.memory(), self.partial.as_mut(), ranges(numbers(&chain)?)),
                Role::Deflate => {
                    if let Some(partial) = &mut self.partial {
                        ranges(numbers(&chain)?).for_each(|range| partial.deflate(range));
                    }
                }
                Role::Reporting if poisoned => {}
                Role::Reporting => report(queue.memory(), &chain)?,
                Role::Statistics => {
                    let statistics = Statistics::parse(&bytes(&chain, MOST_STATISTICS)?, SystemTime::now());
                    *super::lock(&self.shared.statistics) = Some(statistics);
                    // It should have been the only one: the one before goes back, as QEMU does.
                    let Some(before) = self.held.replace(chain.head()) else { continue };
                    queue.push(before, 0)?;
                    continue;
                }
            }
            queue.push(chain.head(), 0)?;
        }
        self.more = Some(number);
        Ok(())
    }

    fn unfinished(&self) -> Option<usize> {
        self.more
    }

    fn sources<'a>(&'a self, poll: &mut Vec<PollFd<'a>>) {
        poll.push(self.shared.timer_source());
    }

    fn ready(&mut self, _: usize) -> Result<(), Malformed> {
        self.more = None;
        self.shared.timer_fired();
        self.ask()
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        self.shared.driver_gone();
    }
}

/// Gives pages back; what the host cannot take stays where it is, which does no harm.
pub(super) fn inflate(ram: &GuestRam, partial: Option<&mut Partial>, ranges: impl Iterator<Item = Range<u64>>) {
    let Some(partial) = partial else {
        return ranges.for_each(|range| drop(ram.discard(range)));
    };
    for range in ranges.flat_map(|range| in_ram(ram, &range)) {
        partial.inflate(range).into_iter().for_each(|huge| drop(ram.discard(huge)));
    }
}

/// The pages of a chain of the reporting queue: the buffers themselves.
fn report(ram: &GuestRam, chain: &Chain) -> Result<(), Malformed> {
    // All of it is in RAM, or the chain is none.
    chain.writer()?;
    for buffer in chain.descriptors().filter(virtio_queue::desc::split::Descriptor::is_write_only) {
        let start = buffer.addr().raw_value();
        drop(ram.discard(start..start.saturating_add(buffer.len().into())));
    }
    Ok(())
}

/// The parts of a range that are RAM.
fn in_ram(ram: &GuestRam, range: &Range<u64>) -> Vec<Range<u64>> {
    let part = |start: u64, len: u64| range.start.max(start)..range.end.min(start.saturating_add(len));
    let parts = ram.iter().map(|region| part(region.start_addr().raw_value(), region.len()));
    parts.filter(|part| !part.is_empty()).collect()
}

fn numbers(chain: &Chain) -> Result<Vec<u32>, Malformed> {
    let bytes = bytes(chain, MOST_NUMBERS * 4)?;
    Ok(bytes.as_chunks().0.iter().map(|number| u32::from_le_bytes(*number)).collect())
}

/// The first `most` bytes that the driver has written.
fn bytes(chain: &Chain, most: usize) -> Result<Vec<u8>, Malformed> {
    let mut reader = chain.reader()?;
    let mut bytes = vec![0; reader.available_bytes().min(most)];
    reader.read_exact(&mut bytes).map_err(|error| Malformed(error.to_string()))?;
    Ok(bytes)
}
