//! ACPI's fixed registers: PM1 event and control, and the PM timer, at the ports that QEMU's `-M pc` gives them.

use crate::bus::BusDevice;
use crate::clock::Clock;
use kvm_accel::Request;
use kvm_accel::lock;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// The first port: PM1 status, then PM1 enable.
pub const ACPI_PM_BASE: u16 = 0x600;
/// The number of ports.
pub const ACPI_PM_PORTS: u32 = 12;
/// Offset of PM1 control.
pub const PM_CONTROL: u16 = 4;
/// Offset of the PM timer.
pub const PM_TIMER: u16 = 8;

/// The sleep type that powers off. The value is QEMU's, so that guests without ACPI that write 0x2000 to port 0x604
/// power off, too.
pub const S5_SLEEP_TYPE: u8 = 0;
/// The sleep type that keeps only memory (S3). The value is QEMU's. No ACPI table lists it, because no firmware here
/// would set up the devices again. It is for guests that know the value.
const S3_SLEEP_TYPE: u8 = 1;

/// Ticks of the PM timer per second.
const FREQUENCY: u64 = 3_579_545;
const TIMER_MASK: u64 = 0xff_ffff;

/// PM1 status and enable: the RTC's alarm.
const RTC: u16 = 1 << 10;
/// PM1 status: the machine slept.
const WAKE: u16 = 1 << 15;
/// PM1 control: events raise the SCI, not an SMI. Always set.
const SCI_EN: u16 = 1;
const SLP_TYP: u16 = 0b111 << 10;
const SLP_EN: u16 = 1 << 13;

/// The registers. The RTC's alarm is the only event: there is no button, and an overflow of the timer raises no
/// interrupt. The alarm wakes the machine. It raises no SCI.
#[derive(Debug)]
pub struct AcpiPm {
    state: Mutex<State>,
    wake: OnceLock<Wake>,
}

/// The function that makes the sleeping vCPU check [`AcpiPm::asleep`].
struct Wake(Arc<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wake")
    }
}

#[derive(Debug)]
struct State {
    clock: Clock,
    status: u16,
    enable: u16,
    control: u16,
    /// The guest has entered S3, and neither an event that it has enabled nor a reset has ended the sleep.
    asleep: bool,
}

impl Default for AcpiPm {
    fn default() -> Self {
        Self::new()
    }
}

impl AcpiPm {
    /// Creates the registers at power-on, with a timer that starts when the machine does.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: Mutex::new(State::new(Clock::new(FREQUENCY))), wake: OnceLock::new() }
    }

    /// Resets the registers to power-on. The timer continues, because guests expect a free-running timer that they
    /// cannot set.
    pub fn reset(&self) {
        let mut state = self.state();
        (state.status, state.enable, state.control, state.asleep) = (0, 0, SCI_EN, false);
    }

    /// Resets the registers after a wake-up, but keeps PM1 status, where the guest reads the cause.
    pub fn wake(&self) {
        let mut state = self.state();
        (state.enable, state.control, state.asleep) = (0, SCI_EN, false);
    }

    /// Signals the RTC's alarm.
    pub fn alarm(&self) {
        let mut state = self.state();
        state.status |= RTC;
        let woken = state.asleep && state.end_sleep();
        drop(state);
        self.call_wake(woken);
    }

    /// Calls the wake function if `woken`. The caller must not hold the lock.
    fn call_wake(&self, woken: bool) {
        if let Some(Wake(wake)) = self.wake.get().filter(|_| woken) {
            wake();
        }
    }

    /// Returns true if the guest sleeps and no event has woken it.
    #[must_use]
    pub fn asleep(&self) -> bool {
        self.state().asleep
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    const fn new(clock: Clock) -> Self {
        Self { clock, status: 0, enable: 0, control: SCI_EN, asleep: false }
    }

    /// Ends the sleep if an event that the guest has enabled is pending. Returns true if one is.
    const fn end_sleep(&mut self) -> bool {
        let event = self.status & self.enable != 0;
        if event {
            self.status |= WAKE;
            self.asleep = false;
        }
        event
    }

    /// Returns all registers as consecutive bytes.
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
        // A status bit is cleared by writing 1 to it.
        registers[..2].fill(0);
        let to = usize::try_from(offset).ok().and_then(|offset| registers.get_mut(offset..)).unwrap_or_default();
        to.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
        state.status &= !u16::from_le_bytes([registers[0], registers[1]]);
        state.enable = u16::from_le_bytes([registers[2], registers[3]]);
        let control = u16::from_le_bytes([registers[4], registers[5]]);
        state.control = (control | SCI_EN) & !SLP_EN;
        if control & SLP_EN == 0 {
            // Another vCPU may enable an event that is already pending.
            let woken = state.asleep && state.end_sleep();
            drop(state);
            self.call_wake(woken);
            return None;
        }
        match u8::try_from((control & SLP_TYP) >> SLP_TYP.trailing_zeros()) {
            Ok(S5_SLEEP_TYPE) => Some(Request::Shutdown),
            Ok(S3_SLEEP_TYPE) => {
                // An event that is already pending wakes the machine at once.
                state.asleep = !state.end_sleep();
                Some(Request::Wake)
            }
            _ => None,
        }
    }

    fn interrupt(&self) {
        self.state().clock.stop();
    }

    fn resume(&self) {
        self.state().clock.start();
    }

    fn asleep(&self) -> bool {
        Self::asleep(self)
    }

    fn on_wake(&self, wake: &Arc<dyn Fn() + Send + Sync>) {
        // The function is set only once.
        let _ = self.wake.set(Wake(Arc::clone(wake)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

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
        let pm = AcpiPm { state: Mutex::new(State::new(hour)), wake: OnceLock::new() };
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

    const S3: u16 = (S3_SLEEP_TYPE as u16) << 10 | SLP_EN;

    /// Counts the calls of the wake function.
    fn wakes(pm: &AcpiPm) -> Arc<AtomicU32> {
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        BusDevice::on_wake(pm, &wake);
        count
    }

    #[test]
    fn test_a_guest_sleeps_until_the_alarm_that_it_enabled() {
        let pm = AcpiPm::new();
        let wakes = wakes(&pm);
        pm.alarm();
        pm.write(0, &RTC.to_le_bytes());
        assert_eq!(wakes.load(Ordering::Relaxed), 0, "the guest does not sleep");
        pm.write(2, &RTC.to_le_bytes());
        assert_eq!(pm.write(4, &S3.to_le_bytes()), Some(Request::Wake));
        assert!(pm.asleep());
        pm.alarm();
        assert!(!pm.asleep());
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        pm.wake();
        assert_eq!(read::<4>(&pm, 0), [0, 0x84, 0, 0], "it finds why, by a register that it clears");
        pm.write(0, &[0, 0x80]);
        assert_eq!(read::<2>(&pm, 0), [0, 4]);
    }

    #[test]
    fn test_neither_a_pause_nor_an_event_that_is_not_enabled_ends_sleep() {
        let pm = AcpiPm::new();
        let wakes = wakes(&pm);
        pm.resume();
        pm.write(4, &S3.to_le_bytes());
        pm.interrupt();
        assert!(pm.asleep());
        pm.resume();
        pm.alarm();
        assert!(pm.asleep());
        assert_eq!(wakes.load(Ordering::Relaxed), 0);
        pm.write(2, &RTC.to_le_bytes());
        assert!(!pm.asleep(), "another vCPU has enabled the event that had come");
        assert_eq!(wakes.load(Ordering::Relaxed), 1);

        pm.reset();
        pm.write(4, &S3.to_le_bytes());
        assert!(pm.asleep());
        pm.reset();
        assert!(!pm.asleep());
    }

    #[test]
    fn test_a_guest_whose_event_has_come_already_does_not_sleep() {
        let pm = AcpiPm::new();
        pm.alarm();
        pm.write(2, &RTC.to_le_bytes());
        assert_eq!(pm.write(4, &S3.to_le_bytes()), Some(Request::Wake));
        assert!(!pm.asleep());
        assert_eq!(read::<2>(&pm, 0), [0, 0x84]);
    }
}
