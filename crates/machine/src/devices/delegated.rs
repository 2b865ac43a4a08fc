//! A device whose accesses another thread answers: the interface for devices that are not written in Rust.
//!
//! The vCPU that made the access waits for the answer, as it would for a device in Rust. A pause waits, too, because a
//! register read has no value before it is answered. The end of the machine does not wait: [`Delegated::close`] answers
//! every access.

use super::DelegatedMsrs;
use super::answers::Answers;
use crate::bus::BusDevice;
use kvm_accel::Request;
use kvm_accel::lock;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One access of the guest, to be answered by [`Delegated::answer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Identifies the access in its answer.
    pub id: u32,
    /// True for a store or an `out`.
    pub write: bool,
    /// Offset from the device's first port or address.
    pub offset: u64,
    /// Width of the access in bytes: 1, 2, 4 or 8.
    pub size: usize,
    /// The value written; 0 for a read.
    pub value: u64,
}

/// The result of [`Delegated::next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The guest waits for an answer to this access.
    Access(Access),
    /// The machine was reset. The accesses that follow are those of the guest after the reset.
    Reset,
    /// No access arrived within the time.
    Idle,
    /// The machine has ended; there will be no further access.
    Closed,
}

/// Called with each access, on the vCPU's thread, which waits from then on.
pub type Asked = Box<dyn Fn(Access) + Send + Sync>;

/// Called on the control thread when the machine was reset. It is called again only after [`Delegated::take_reset`].
pub type WasReset = Box<dyn Fn() + Send + Sync>;

/// Sets the level of an interrupt line, or puts an edge on it for `true`. Must not block.
pub type SetLine = Box<dyn Fn(bool) + Send + Sync>;

/// A device whose accesses are answered by the receiver of [`Asked`], or by a thread that calls [`Delegated::next`].
pub struct Delegated {
    answers: Answers<u64>,
    to: To,
    /// `None` without an interrupt line, and after the end of the machine: a line keeps the VM alive.
    line: Mutex<Option<SetLine>>,
}

/// How accesses and resets are delivered: by calls, or through a queue.
enum To {
    Pushed(Pushed),
    Pulled(Pulled),
}

struct Pushed {
    asked: Asked,
    was_reset: WasReset,
    /// The receiver has not seen the last reset yet.
    reset: AtomicBool,
}

#[derive(Default)]
struct Pulled {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// Accesses that no thread has fetched yet.
    accesses: VecDeque<Access>,
    /// The machine was reset, and no thread has fetched that yet.
    reset: bool,
    closed: bool,
}

impl Delegated {
    fn new(to: To) -> Self {
        Self { answers: Answers::default(), to, line: Mutex::new(None) }
    }

    /// Creates a device that calls `asked` with each access, and `was_reset` after a reset.
    #[must_use]
    pub fn pushing(asked: Asked, was_reset: WasReset) -> Self {
        Self::new(To::Pushed(Pushed { asked, was_reset, reset: AtomicBool::new(false) }))
    }

    /// Creates a device whose accesses a thread fetches with [`Delegated::next`].
    #[must_use]
    pub fn pulled() -> Self {
        Self::new(To::Pulled(Pulled::default()))
    }

    /// Connects the device with an interrupt line.
    pub fn connect(&self, line: SetLine) {
        *self.line() = Some(line);
    }

    /// Raises or lowers the interrupt line. Does nothing without a line, and after [`Delegated::close`].
    pub fn set_line(&self, high: bool) {
        if let Some(line) = &*self.line() {
            line(high);
        }
    }

    /// Lowers the interrupt line and reports the reset of the machine. No access waits at that time.
    pub fn reset(&self) {
        self.set_line(false);
        match &self.to {
            To::Pushed(pushed) => {
                if !pushed.reset.swap(true, Ordering::AcqRel) {
                    (pushed.was_reset)();
                }
            }
            To::Pulled(pulled) => {
                pulled.lock().reset = true;
                pulled.changed.notify_all();
            }
        }
    }

    /// Acknowledges a reset that [`WasReset`] reported: the next reset is reported again.
    pub fn take_reset(&self) {
        if let To::Pushed(pushed) = &self.to {
            pushed.reset.store(false, Ordering::Release);
        }
    }

    fn line(&self) -> MutexGuard<'_, Option<SetLine>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next access for at most `patience`, so that the calling thread can also check whether it has to
    /// end.
    pub fn next(&self, patience: Duration) -> Next {
        let To::Pulled(pulled) = &self.to else { return Next::Closed };
        let idle = |waiting: &mut Waiting| waiting.accesses.is_empty() && !waiting.reset && !waiting.closed;
        let (mut waiting, _) =
            pulled.changed.wait_timeout_while(pulled.lock(), patience, idle).unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut waiting.reset) {
            return Next::Reset;
        }
        match waiting.accesses.pop_front() {
            Some(access) => Next::Access(access),
            None if waiting.closed => Next::Closed,
            None => Next::Idle,
        }
    }

    /// Answers an access. `value` is the value read; any value for a write.
    pub fn answer(&self, id: u32, value: u64) {
        self.answers.answer(id, value);
    }

    /// Closes the device: from now on reads return all ones and writes are dropped, without a wait. This includes the
    /// accesses that wait now. The interrupt line is released.
    pub fn close(&self) {
        self.answers.close();
        *self.line() = None;
        if let To::Pulled(pulled) = &self.to {
            *pulled.lock() = Waiting { accesses: VecDeque::new(), reset: false, closed: true };
            pulled.changed.notify_all();
        }
    }

    /// Delivers an access and waits for the answer. Returns `None` after [`Delegated::close`].
    fn ask(&self, write: bool, offset: u64, size: usize, value: u64) -> Option<u64> {
        self.answers.ask(|id| {
            let access = Access { id, write, offset, size, value };
            match &self.to {
                To::Pushed(pushed) => (pushed.asked)(access),
                To::Pulled(pulled) => {
                    pulled.lock().accesses.push_back(access);
                    pulled.changed.notify_all();
                }
            }
        })
    }
}

impl Pulled {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.state)
    }
}

impl BusDevice for Delegated {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let value = self.ask(false, offset, data.len(), 0).unwrap_or(u64::MAX).to_le_bytes();
        data.iter_mut().zip(value).for_each(|(to, from)| *to = from);
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Request> {
        let mut value = [0; 8];
        value.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
        let _ = self.ask(true, offset, data.len(), u64::from_le_bytes(value));
        None
    }
}

/// The delegated devices and MSRs of a machine. Dropping it releases every vCPU that waits for one of them.
#[derive(Default)]
pub struct DelegatedDevices {
    devices: Vec<Arc<Delegated>>,
    msrs: Option<Arc<DelegatedMsrs>>,
}

impl DelegatedDevices {
    /// Adds a device, to close it with the machine.
    pub fn push(&mut self, device: Arc<Delegated>) {
        self.devices.push(device);
    }

    /// Adds the MSRs, to close them with the machine.
    pub fn set_msrs(&mut self, msrs: Arc<DelegatedMsrs>) {
        self.msrs = Some(msrs);
    }

    /// Resets all devices: see [`Delegated::reset`].
    pub fn reset(&self) {
        self.devices.iter().for_each(|device| device.reset());
    }

    /// Closes all devices and MSRs: see [`Delegated::close`].
    pub fn close(&self) {
        self.devices.iter().for_each(|device| device.close());
        self.msrs.iter().for_each(|msrs| msrs.close());
    }
}

impl Drop for DelegatedDevices {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::thread;

    #[test]
    fn test_read_waits_for_its_own_answer() {
        let (sender, asked) = channel();
        let push = Box::new(move |access| sender.send(access).unwrap());
        let device = Arc::new(Delegated::pushing(push, Box::new(|| {})));
        let readers: Vec<_> = [4_u64, 9]
            .into_iter()
            .map(|offset| {
                let device = Arc::clone(&device);
                thread::spawn(move || {
                    let mut data = [0; 2];
                    device.read(offset, &mut data);
                    (offset, u16::from_le_bytes(data))
                })
            })
            .collect();
        let mut accesses = [asked.recv().unwrap(), asked.recv().unwrap()];
        accesses.reverse();
        for access in accesses {
            assert_eq!((access.write, access.size), (false, 2));
            device.answer(access.id, 0x1_0000 + access.offset);
        }
        for reader in readers {
            let (offset, value) = reader.join().unwrap();
            assert_eq!(u64::from(value), offset);
        }
    }

    #[test]
    fn test_pulling_thread_sees_writes_idleness_and_the_end() {
        let device = Arc::new(Delegated::pulled());
        assert_eq!(device.next(Duration::ZERO), Next::Idle);
        let writer = {
            let device = Arc::clone(&device);
            thread::spawn(move || device.write(1, &[0x34, 0x12]))
        };
        let Next::Access(access) = device.next(Duration::from_secs(60)) else { panic!("no access") };
        assert_eq!((access.write, access.offset, access.size, access.value), (true, 1, 2, 0x1234));
        device.answer(access.id, 0);
        assert_eq!(writer.join().unwrap(), None);
        device.close();
        assert_eq!(device.next(Duration::from_secs(60)), Next::Closed);
    }

    #[test]
    fn test_reset_is_reported_once_until_it_is_taken_and_precedes_later_accesses() {
        let (sender, resets) = channel();
        let device = Delegated::pushing(Box::new(|_| {}), Box::new(move || sender.send(()).unwrap()));
        device.reset();
        device.reset();
        assert_eq!(resets.try_iter().count(), 1);
        device.take_reset();
        device.reset();
        assert_eq!(resets.try_iter().count(), 1);

        let device = Arc::new(Delegated::pulled());
        device.reset();
        let writer = {
            let device = Arc::clone(&device);
            thread::spawn(move || device.write(0, &[1]))
        };
        assert_eq!(device.next(Duration::from_secs(60)), Next::Reset);
        let Next::Access(access) = device.next(Duration::from_secs(60)) else { panic!("no access") };
        device.answer(access.id, 0);
        assert_eq!(writer.join().unwrap(), None);
    }

    #[test]
    fn test_reset_lowers_the_line_and_close_releases_it() {
        let (sender, levels) = channel();
        let device = Delegated::pulled();
        device.set_line(true);
        device.connect(Box::new(move |high| sender.send(high).unwrap()));
        device.set_line(true);
        device.reset();
        assert_eq!(levels.try_iter().collect::<Vec<_>>(), [true, false]);
        device.close();
        device.set_line(true);
        assert!(levels.recv().is_err(), "the line still exists");
    }

    #[test]
    fn test_close_answers_waiting_and_later_accesses() {
        let device = Arc::new(Delegated::pulled());
        let reader = {
            let device = Arc::clone(&device);
            thread::spawn(move || {
                let mut data = [0; 4];
                device.read(0, &mut data);
                data
            })
        };
        assert!(matches!(device.next(Duration::from_secs(60)), Next::Access(_)));
        device.close();
        assert_eq!(reader.join().unwrap(), [0xff; 4]);
        let mut data = [0];
        device.read(0, &mut data);
        assert_eq!(data, [0xff]);
        device.answer(1, 5);
    }
}
