//! The HPET: a counter and timers that a guest reads and sets by MMIO.
//!
//! - `chip`: the registers.
//!
//! [`Hpet`] adds the clock, the thread that interrupts, and the lines.

mod chip;

pub use chip::{CAPABILITIES as HPET_CAPABILITIES, CLOCK_LINE as HPET_CLOCK_LINE, TIMER_LINE as HPET_TIMER_LINE};

use crate::bus::BusDevice;
use crate::clock::Clock;
use chip::{Chip, FREQUENCY};
use kvm_accel::Request;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// The address of the registers on a PC.
pub const HPET_BASE: u64 = 0xfed0_0000;
/// The size of the registers in bytes.
pub const HPET_SIZE: u64 = 0x400;

const STACK_SIZE: usize = 128 << 10;

/// What the HPET drives. The functions must not call the HPET.
pub struct HpetLines {
    /// Puts an edge on a line.
    pub pulse: Box<dyn Fn(u8) + Send + Sync>,
    /// Connects lines 0 and 8 to the HPET (true), or to the PIT and the CMOS clock. Called in the order of the guest's
    /// writes.
    pub replace: Box<dyn Fn(bool) + Send + Sync>,
}

/// The HPET. Its thread starts when the guest first sets a timer with an enabled interrupt.
pub struct Hpet {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    /// Notified when a timer was set, the machine stops or runs, or the device ends.
    changed: Condvar,
    lines: HpetLines,
}

struct State {
    chip: Chip,
    clock: Clock,
    over: bool,
}

impl Hpet {
    /// Creates the HPET at power-on.
    #[must_use]
    pub fn new(lines: HpetLines) -> Self {
        let state = State { chip: Chip::default(), clock: Clock::new(FREQUENCY), over: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), lines });
        Self { shared, thread: Mutex::default() }
    }

    /// Resets the registers to power-on.
    pub fn reset(&self) {
        let mut state = self.shared.state();
        self.change(&mut state, |chip, _| *chip = Chip::default());
    }

    /// Changes the registers. Connects lines 0 and 8 if that changes.
    fn change(&self, state: &mut State, change: impl FnOnce(&mut Chip, u64)) {
        let (before, now) = (state.chip.legacy(), state.clock.now());
        change(&mut state.chip, now);
        let legacy = state.chip.legacy();
        if legacy != before {
            (self.shared.lines.replace)(legacy);
        }
        if state.chip.next().is_some() {
            self.start_thread();
        }
        self.shared.changed.notify_all();
    }

    fn start_thread(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let builder = std::thread::Builder::new().name("kvm-accel HPET".into()).stack_size(STACK_SIZE);
            // Without a thread the guest gets no interrupts and has to poll. Its next write tries again.
            *thread = builder.spawn(move || shared.interrupt()).ok();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread's function: interrupts when a timer expires.
    fn interrupt(&self) {
        let mut state = self.state();
        while !state.over {
            let now = state.clock.now();
            let next = state.chip.next().filter(|_| state.clock.runs());
            state = match next {
                Some(due) if due <= now => {
                    let lines = state.chip.expire(now);
                    lines.into_iter().for_each(|line| (self.lines.pulse)(line));
                    state
                }
                Some(due) => {
                    let wait = state.clock.until(due);
                    self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl BusDevice for Hpet {
    /// Reads 1 to 8 bytes of one register.
    fn read(&self, offset: u64, data: &mut [u8]) {
        let state = self.shared.state();
        let register = state.chip.register(offset & !7, state.clock.now()).to_le_bytes();
        data.fill(0);
        let from = register.iter().skip(usize::try_from(offset & 7).unwrap_or(0));
        data.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }

    /// Writes 1 to 8 bytes of one register. The others keep their values.
    fn write(&self, offset: u64, data: &[u8]) -> Option<Request> {
        /// A register whose set bits a write clears: the others are written as 0.
        const STATUS: u64 = 0x20;
        let mut state = self.shared.state();
        let before = if offset & !7 == STATUS { 0 } else { state.chip.register(offset & !7, state.clock.now()) };
        let mut register = before.to_le_bytes();
        let to = register.iter_mut().skip(usize::try_from(offset & 7).unwrap_or(0));
        to.zip(data).for_each(|(to, from)| *to = *from);
        let value = u64::from_le_bytes(register);
        self.change(&mut state, |chip, now| chip.set_register(offset & !7, value, now));
        None
    }

    fn interrupt(&self) {
        self.shared.state().clock.stop();
        self.shared.changed.notify_all();
    }

    fn resume(&self) {
        self.shared.state().clock.start();
        self.shared.changed.notify_all();
    }
}

impl Drop for Hpet {
    fn drop(&mut self) {
        self.shared.state().over = true;
        self.shared.changed.notify_all();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // The thread returns no value. A panic of it is ignored during teardown.
        let _ = thread.map(JoinHandle::join);
    }
}

impl fmt::Debug for Hpet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hpet").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    fn read<const N: usize>(hpet: &Hpet, offset: u64) -> [u8; N] {
        let mut data = [0xee; N];
        hpet.read(offset, &mut data);
        data
    }

    fn hpet() -> (Hpet, mpsc::Receiver<u8>, mpsc::Receiver<bool>) {
        let ((pulses, pulsed), (replaces, replaced)) = (mpsc::channel(), mpsc::channel());
        let pulse = Box::new(move |line| pulses.send(line).unwrap_or_default());
        let replace = Box::new(move |legacy| replaces.send(legacy).unwrap_or_default());
        (Hpet::new(HpetLines { pulse, replace }), pulsed, replaced)
    }

    #[test]
    fn test_registers_are_read_and_written_in_any_width() {
        let (hpet, _, replaced) = hpet();
        assert_eq!(read::<4>(&hpet, 4), 10_000_000_u32.to_le_bytes());
        assert_eq!(read::<8>(&hpet, 0)[..4], HPET_CAPABILITIES.to_le_bytes());
        hpet.write(0x0f0, &[1, 2, 3, 4, 5, 6, 7, 8]);
        hpet.write(0x0f4, &[9, 9, 9, 9]);
        assert_eq!(read::<8>(&hpet, 0xf0), [1, 2, 3, 4, 9, 9, 9, 9]);
        hpet.write(0x10, &[2]);
        hpet.write(0x10, &[2]);
        hpet.reset();
        assert_eq!(replaced.try_iter().collect::<Vec<_>>(), [true, false]);
        assert_eq!(read::<8>(&hpet, 0xf0), [0; 8]);
    }

    #[test]
    fn test_it_interrupts_while_the_machine_runs() {
        let (hpet, pulsed, _) = hpet();
        hpet.write(0x10, &[3]);
        // Timer 1 is periodic and sets its comparator: every millisecond.
        hpet.write(0x120, &[0x4c]);
        hpet.write(0x128, &100_000_u64.to_le_bytes());
        assert!(pulsed.recv_timeout(Duration::from_millis(50)).is_err());
        hpet.resume();
        for _ in 0..5 {
            assert_eq!(pulsed.recv_timeout(Duration::from_secs(60)), Ok(HPET_CLOCK_LINE));
        }
        hpet.interrupt();
        // The thread may still deliver what was due.
        drop(hpet.shared.state());
        pulsed.try_iter().for_each(drop);
        assert!(pulsed.recv_timeout(Duration::from_millis(50)).is_err());
    }
}
