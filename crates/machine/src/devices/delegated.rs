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
    /// No access arrived within the time.
    Idle,
    /// The machine has ended; there will be no further access.
    Closed,
}

/// Called with each access, on the vCPU's thread, which waits from then on.
pub type Asked = Box<dyn Fn(Access) + Send + Sync>;

/// A device whose accesses are answered by the receiver of [`Asked`], or by a thread that calls [`Delegated::next`].
pub struct Delegated {
    answers: Answers<u64>,
    to: To,
}

/// How an access is delivered: by a call, or through a queue.
enum To {
    Pushed(Asked),
    Pulled(Pulled),
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
    closed: bool,
}

impl Delegated {
    /// Creates a device that calls `asked` with each access.
    #[must_use]
    pub fn pushing(asked: Asked) -> Self {
        Self { answers: Answers::default(), to: To::Pushed(asked) }
    }

    /// Creates a device whose accesses a thread fetches with [`Delegated::next`].
    #[must_use]
    pub fn pulled() -> Self {
        Self { answers: Answers::default(), to: To::Pulled(Pulled::default()) }
    }

    /// Waits for the next access for at most `patience`, so that the calling thread can also check whether it has to
    /// end.
    pub fn next(&self, patience: Duration) -> Next {
        let To::Pulled(pulled) = &self.to else { return Next::Closed };
        let idle = |waiting: &mut Waiting| waiting.accesses.is_empty() && !waiting.closed;
        let (mut waiting, _) =
            pulled.changed.wait_timeout_while(pulled.lock(), patience, idle).unwrap_or_else(PoisonError::into_inner);
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
    /// accesses that wait now.
    pub fn close(&self) {
        self.answers.close();
        if let To::Pulled(pulled) = &self.to {
            *pulled.lock() = Waiting { accesses: VecDeque::new(), closed: true };
            pulled.changed.notify_all();
        }
    }

    /// Delivers an access and waits for the answer. Returns `None` after [`Delegated::close`].
    fn ask(&self, write: bool, offset: u64, size: usize, value: u64) -> Option<u64> {
        self.answers.ask(|id| {
            let access = Access { id, write, offset, size, value };
            match &self.to {
                To::Pushed(asked) => asked(access),
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
        let device = Arc::new(Delegated::pushing(Box::new(move |access| sender.send(access).unwrap())));
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
