//! The worker: all ports, and the control messages about them.

use super::control::{FromDriver, MESSAGE, ToDriver};
use super::host_end::HostEnd;
use super::port::Port;
use super::{FEATURE_MULTIPORT, PortKind, Size, Terminals, first_id};
use crate::Sources;
use crate::virtio::interface::exclusive::Claim;
use crate::virtio::interface::{ConfigInterrupt, Driver, StopFlag, VirtQueue, Worker, WorkerError};
use crate::virtio::io_thread::ring;
use kvm_accel::io::borrow_fd;
use rustix::event::{PollFd, PollFlags};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::Arc;

/// The worker reads no message of the driver while this many messages wait for the driver's buffers. One call reads at most this many.
const MAX_WAITING: usize = 64;
/// The numbers of the control queues: to the driver, and from the driver.
const CONTROL: [usize; 2] = [2, 3];

/// The worker, see the module.
pub struct Ports {
    kinds: Arc<[PortKind]>,
    /// The ports by index. The number that the driver uses differs, see `id()`.
    ports: Vec<Port>,
    /// `None` if the driver has not negotiated control messages and uses port 0 only.
    control: Option<Control>,
    ends: Claim<Vec<HostEnd>>,
    terminals: Arc<Terminals>,
    /// The terminal sizes that were last reported to the driver.
    reported_sizes: Vec<Option<Size>>,
    config: ConfigInterrupt,
    stop: StopFlag,
}

/// The source that is ready when a size has changed, or a port has unfinished work.
const WAKE: usize = 0;

/// Returns the source that is ready when a port has input.
const fn input_source(port: usize) -> usize {
    1 + 2 * port
}

/// Returns the source that is ready when a port's host end has room for output.
const fn room_source(port: usize) -> usize {
    2 + 2 * port
}

impl Ports {
    /// Creates the worker. Returns `None` if the driver has not set up the queues of all ports.
    pub fn new(
        driver: Driver,
        kinds: Arc<[PortKind]>,
        ends: Claim<Vec<HostEnd>>,
        terminals: Arc<Terminals>,
    ) -> Option<Self> {
        let Driver { features, queues, config, stop } = driver;
        let mut queues = queues.into_iter();
        let mut pair = || Some([queues.next()?, queues.next()?]);
        let multiport = features & FEATURE_MULTIPORT != 0;
        let [receive, transmit] = pair()?;
        let zero = Port::new(receive, transmit, !multiport);
        let mut ports = Vec::new();
        if first_id(&kinds) == 0 {
            ports.push(zero);
        }
        let mut control = None;
        if multiport {
            let [receive, transmit] = pair()?;
            control = Some(Control { receive, transmit, waiting: VecDeque::new() });
            while ports.len() < kinds.len() {
                let [receive, transmit] = pair()?;
                ports.push(Port::new(receive, transmit, false));
            }
        }
        let reported_sizes = vec![None; kinds.len()];
        Some(Self { kinds, ports, control, ends, terminals, reported_sizes, config, stop })
    }

    /// Returns the index of the port with this number.
    fn index(&self, id: u32) -> Option<usize> {
        let index = usize::try_from(id).ok()?.checked_sub(first_id(&self.kinds))?;
        (index < self.ports.len()).then_some(index)
    }

    fn id(&self, index: usize) -> u32 {
        u32::try_from(index + first_id(&self.kinds)).unwrap_or(u32::MAX)
    }

    /// Returns the index of the port that uses this queue.
    fn owner(&self, queue: usize) -> Option<usize> {
        let id = match queue {
            0 | 1 => 0,
            _ => (queue.checked_sub(CONTROL[0])?) / 2,
        };
        self.index(u32::try_from(id).ok()?)
    }

    /// Returns a port, its host's end, and the stop flag.
    fn port(&mut self, index: usize) -> Option<(&mut Port, &mut HostEnd, &StopFlag)> {
        Some((self.ports.get_mut(index)?, self.ends.get_mut()?.get_mut(index)?, &self.stop))
    }

    fn output(&mut self, index: usize) -> Result<(), WorkerError> {
        let Some((port, end, stop)) = self.port(index) else { return Ok(()) };
        if port.output(end, stop)? {
            ring(&self.terminals.wake);
        }
        Ok(())
    }

    /// Reads and answers control messages of the driver, while there is room for the answers.
    fn answer_messages(&mut self) -> Result<(), WorkerError> {
        for _ in 0..MAX_WAITING {
            if self.stop.is_set() {
                break;
            }
            let Some(control) = &mut self.control else { return Ok(()) };
            control.flush()?;
            let Some(message) = control.next()? else { return Ok(()) };
            self.answer(message);
        }
        ring(&self.terminals.wake);
        Ok(())
    }

    fn answer(&mut self, message: FromDriver) {
        match message {
            FromDriver::DeviceReady => (0..self.ports.len()).for_each(|index| self.enqueue(index, &ToDriver::Add)),
            FromDriver::PortReady { id } => {
                let Some(index) = self.index(id) else { return };
                if let Some(port) = self.ports.get_mut(index) {
                    port.ready = true;
                }
                match self.kinds.get(index).cloned() {
                    Some(PortKind::Console) => {
                        self.enqueue(index, &ToDriver::Console);
                        if let Some(reported) = self.reported_sizes.get_mut(index) {
                            *reported = None;
                        }
                        self.report_size(index);
                    }
                    Some(PortKind::Channel { name }) => self.enqueue(index, &ToDriver::Name(&name)),
                    None => return,
                }
                self.enqueue(index, &ToDriver::Open);
            }
            FromDriver::PortOpen { id, open } => {
                let index = self.index(id);
                if let Some(port) = index.and_then(|index| self.ports.get_mut(index)) {
                    port.open = open;
                }
            }
            FromDriver::Other => {}
        }
    }

    fn enqueue(&mut self, index: usize, message: &ToDriver<'_>) {
        let bytes = message.to_bytes(self.id(index));
        if let Some(control) = &mut self.control {
            control.waiting.push_back(bytes);
        }
    }

    /// Reports the size of a terminal to the driver if it differs from the size last reported.
    fn report_size(&mut self, index: usize) {
        let ready = self.ports.get(index).is_some_and(|port| port.ready);
        let size = self.terminals.size(index);
        let Some(reported) = self.reported_sizes.get_mut(index).filter(|reported| ready && **reported != size) else {
            return;
        };
        *reported = size;
        let Some(size) = size else { return };
        let id = self.id(index);
        if let Some(control) = &mut self.control {
            // A queued message with the previous size is out of date.
            control.waiting.retain(|message| !ToDriver::is_resize(message, id));
            self.enqueue(index, &ToDriver::Resize(size));
        } else {
            self.config.signal();
        }
    }

    fn woken(&mut self) -> Result<(), WorkerError> {
        // The counter's value does not matter.
        let _ = self.terminals.wake.read();
        for index in 0..self.ports.len() {
            if self.kinds.get(index) == Some(&PortKind::Console) {
                self.report_size(index);
            }
            self.output(index)?;
        }
        self.answer_messages()
    }
}

impl Worker for Ports {
    fn notified(&mut self, queue: usize) -> Result<(), WorkerError> {
        if self.control.is_some() && CONTROL.contains(&queue) {
            return self.answer_messages();
        }
        let Some(index) = self.owner(queue) else { return Ok(()) };
        if queue % 2 == 1 {
            return self.output(index);
        }
        let Some((port, end, stop)) = self.port(index) else { return Ok(()) };
        port.fed(end, stop)
    }

    fn sources<'a>(&'a self, sources: &mut Sources<'a, usize>) {
        sources.add(WAKE, PollFd::from_borrowed_fd(borrow_fd(&self.terminals.wake), PollFlags::IN));
        for (index, (port, end)) in self.ports.iter().zip(self.ends.get().into_iter().flatten()).enumerate() {
            sources.add(input_source(index), end.readable().filter(|_| port.wants_input()));
            sources.add(room_source(index), end.writable().filter(|_| port.wants_room()));
        }
    }

    fn ready(&mut self, source: usize) -> Result<(), WorkerError> {
        let Some(port) = source.checked_sub(1) else { return self.woken() };
        let index = port / 2;
        if source == room_source(index) {
            return self.output(index);
        }
        let Some((port, end, stop)) = self.port(index) else { return Ok(()) };
        port.input(end, stop)
    }
}

/// The control queues.
struct Control {
    receive: VirtQueue,
    transmit: VirtQueue,
    /// Messages that wait for a buffer of the driver.
    waiting: VecDeque<Vec<u8>>,
}

impl Control {
    fn flush(&mut self) -> Result<(), WorkerError> {
        while let Some(message) = self.waiting.front() {
            let Some(chain) = self.receive.pop()? else { return Ok(()) };
            let written = chain.writer()?.write_all(message);
            written.map_err(|_| WorkerError::driver("a control buffer has no room for a message"))?;
            self.receive.push(chain.head(), u32::try_from(message.len()).unwrap_or(0))?;
            self.waiting.pop_front();
        }
        Ok(())
    }

    /// Returns the next message of the driver. A message that is too short is `FromDriver::Other`.
    fn next(&mut self) -> Result<Option<FromDriver>, WorkerError> {
        if self.waiting.len() >= MAX_WAITING {
            return Ok(None);
        }
        let Some(chain) = self.transmit.pop()? else { return Ok(None) };
        let mut message = [0; MESSAGE];
        let whole = chain.reader()?.read_exact(&mut message).is_ok();
        self.transmit.push(chain.head(), 0)?;
        Ok(Some(if whole { FromDriver::from_bytes(message) } else { FromDriver::Other }))
    }
}
