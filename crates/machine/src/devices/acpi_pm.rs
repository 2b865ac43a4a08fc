//! ACPI's fixed registers: PM1 event and control, and the PM timer, at the ports that QEMU's `-M pc` gives them.

use crate::bus::BusDevice;
use crate::clock::Clock;
use kvm_accel::Request;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The first port: PM1 status, then PM1 enable.
pub const ACPI_PM_BASE: u16 = 0x600;
/// The number of ports.
pub const ACPI_PM_PORTS: u32 = 12;
/// Offset of PM1 control.
pub const PM_CONTROL: u16 = 4;
/// Offset of the PM timer.
pub const PM_TIMER: u16 = 8;

/// The sleep type that powers off. As QEMU's, so that guests without ACPI that write 0x2000 to port 0x604 are right, too.
pub const S5_SLEEP_TYPE: u8 = 0;
/// The sleep type that keeps nothing but memory, as QEMU's. No table tells of it, since no device here would be set up again by firmware;
/// it is for guests that know it.
const S3_SLEEP_TYPE: u8 = 1;

/// Ticks of the PM timer in a second.
const FREQUENCY: u64 = 3_579_545;
const TIMER_MASK: u64 = 0xff_ffff;

/// Of PM1 status and enable: the clock's alarm.
const RTC: u16 = 1 << 10;
/// Of PM1 status: the machine slept.
const WAKE: u16 = 1 << 15;
/// Of PM1 control: the SCI is how events are told, there is no SMI; always so.
const SCI_EN: u16 = 1;
const SLP_TYP: u16 = 0b111 << 10;
const SLP_EN: u16 = 1 << 13;

/// The registers. The clock's alarm is the only event: there is no button, and an overflow of the timer raises no interrupt. It wakes, and
/// raises no interrupt either.
#[derive(Debug)]
pub struct AcpiPm {
    state: Mutex<State>,
    /// There was an event, or the machine stops.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    clock: Clock,
    status: u16,
    enable: u16,
    control: u16,
}

impl Default for AcpiPm {
    fn default() -> Self {
        Self::new()
    }
}

impl AcpiPm {
    /// Registers at power-on, with a timer that starts when the machine does.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: Mutex::new(State::new(Clock::new(FREQUENCY))), changed: Condvar::new() }
    }

    /// Back to power-on; the timer goes on, as a guest expects of one that it cannot set.
    pub fn reset(&self) {
        let mut state = self.state();
        (state.status, state.enable, state.control) = (0, 0, SCI_EN);
    }

    /// The machine is woken: as a reset, but the guest finds why.
    pub fn wake(&self) {
        let mut state = self.state();
        (state.enable, state.control) = (0, SCI_EN);
    }

    /// The clock's alarm.
    pub fn alarm(&self) {
        self.state().status |= RTC;
        self.changed.notify_all();
    }

    /// Waits for an event that the guest has enabled. A machine that stops wakes, because nobody would wait when it goes on.
    fn sleep(&self, state: MutexGuard<'_, State>) -> Request {
        let asleep = |state: &mut State| state.clock.runs() && state.status & state.enable == 0;
        let mut state = self.changed.wait_while(state, asleep).unwrap_or_else(PoisonError::into_inner);
        state.status |= WAKE;
        Request::Wake
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    const fn new(clock: Clock) -> Self {
        Self { clock, status: 0, enable: 0, control: SCI_EN }
    }

    /// All registers, as a row of bytes.
    fn registers(&self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..2].copy_from_slice(&self.status.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.enable.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.control.to_le_bytes());
        bytes[8..].copy_from_slice(&(self.clock.now() & TIMER_MASK).to_le_bytes()[..4]);
        bytes
    }
}

impl BusDevice for AcpiPm {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let registers = self.state().registers();
        data.fill(0);
        let from = usize::try_from(offset).ok().and_then(|offset| registers.get(offset..)).unwrap_or_default();
        data.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Request> {
        let mut state = self.state();
        let mut registers = state.registers();
        // Writing 1 clears.
        registers[..2].fill(0);
        let to = usize::try_from(offset).ok().and_then(|offset| registers.get_mut(offset..)).unwrap_or_default();
        to.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
        state.status &= !u16::from_le_bytes([registers[0], registers[1]]);
        state.enable = u16::from_le_bytes([registers[2], registers[3]]);
        let control = u16::from_le_bytes([registers[4], registers[5]]);
        state.control = (control | SCI_EN) & !SLP_EN;
        if control & SLP_EN == 0 {
            return None;
        }
        match u8::try_from((control & SLP_TYP) >> SLP_TYP.trailing_zeros()) {
            Ok(S5_SLEEP_TYPE) => Some(Request::Shutdown),
            Ok(S3_SLEEP_TYPE) => Some(self.sleep(state)),
            _ => None,
        }
    }

    fn interrupt(&self) {
        self.state().clock.stop();
        self.changed.notify_all();
    }

    fn resume(&self) {
        self.state().clock.start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<const N: usize>(pm: &AcpiPm, offset: u16) -> [u8; N] {
        let mut data = [0xee; N];
        pm.read(offset.into(), &mut data);
        data
    }

    #[test]
    fn test_the_timer_ticks_while_the_machine_runs() {
        let pm = AcpiPm::new();
        let ticks = || u64::from(u32::from_le_bytes(read(&pm, PM_TIMER)));
        assert_eq!((ticks(), ticks()), (0, 0));
        pm.resume();
        std::thread::sleep(std::time::Duration::from_millis(2));
        pm.interrupt();
        let now = ticks();
        assert!(now >= FREQUENCY / 500, "{now}");
        assert_eq!(ticks(), now);
        pm.reset();
        assert_eq!(ticks(), now);
    }

    #[test]
    fn test_the_timer_has_24_bits() {
        let hour = Clock::after(FREQUENCY, std::time::Duration::from_secs(3600));
        let pm = AcpiPm { state: Mutex::new(State::new(hour)), changed: Condvar::new() };
        let expected = (3600 * FREQUENCY) & TIMER_MASK;
        assert_eq!(u64::from(u32::from_le_bytes(read(&pm, PM_TIMER))), expected);
        assert_eq!(read::<1>(&pm, PM_TIMER + 3), [0]);
    }

    #[test]
    fn test_registers_hold_what_is_written_by_any_width() {
        let pm = AcpiPm::new();
        assert_eq!(pm.write(2, &[0x21, 0x01]), None);
        assert_eq!(read::<4>(&pm, 0), [0, 0, 0x21, 0x01]);
        assert_eq!(pm.write(0, &[0xff, 0xff]), None);
        assert_eq!(read::<2>(&pm, 0), [0, 0]);
        assert_eq!(pm.write(4, &[0]), None);
        assert_eq!(read::<2>(&pm, PM_CONTROL), [1, 0]);
        assert_eq!(pm.write(8, &[1; 4]), None);
        assert_eq!(read::<8>(&pm, PM_TIMER), [0; 8]);
        pm.reset();
        assert_eq!(read::<4>(&pm, 0), [0; 4]);
    }

    #[test]
    fn test_sleep_type_0_powers_off_and_most_others_do_nothing() {
        let pm = AcpiPm::new();
        for sleep_type in (0..8u16).filter(|sleep_type| *sleep_type != u16::from(S3_SLEEP_TYPE)) {
            let value = sleep_type << 10;
            assert_eq!(pm.write(4, &value.to_le_bytes()), None);
            assert_eq!(read::<2>(&pm, PM_CONTROL), (value | SCI_EN).to_le_bytes());
            let off = (sleep_type == u16::from(S5_SLEEP_TYPE)).then_some(Request::Shutdown);
            assert_eq!(pm.write(4, &(value | SLP_EN).to_le_bytes()), off);
            assert_eq!(pm.write(5, &[(value | SLP_EN).to_le_bytes()[1]]), off);
            assert_eq!(read::<2>(&pm, PM_CONTROL), (value | SCI_EN).to_le_bytes());
        }
    }

    #[test]
    fn test_a_guest_sleeps_until_the_alarm_that_it_enabled() {
        const S3: u16 = (S3_SLEEP_TYPE as u16) << 10 | SLP_EN;
        let pm = AcpiPm::new();
        pm.resume();
        pm.write(2, &RTC.to_le_bytes());
        std::thread::scope(|scope| {
            let vcpu = scope.spawn(|| pm.write(4, &S3.to_le_bytes()));
            std::thread::sleep(std::time::Duration::from_millis(5));
            assert!(!vcpu.is_finished());
            pm.alarm();
            assert_eq!(vcpu.join().unwrap(), Some(Request::Wake));
        });
        pm.wake();
        assert_eq!(read::<4>(&pm, 0), [0, 0x84, 0, 0], "it finds why, by a register that it clears");
        pm.write(0, &[0, 0x80]);
        assert_eq!(read::<2>(&pm, 0), [0, 4]);

        // Nothing is enabled: only a machine that stops wakes this one.
        std::thread::scope(|scope| {
            let vcpu = scope.spawn(|| pm.write(4, &S3.to_le_bytes()));
            std::thread::sleep(std::time::Duration::from_millis(5));
            assert!(!vcpu.is_finished());
            pm.interrupt();
            assert_eq!(vcpu.join().unwrap(), Some(Request::Wake));
        });
    }
}
