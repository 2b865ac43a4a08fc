//! The CMOS clock, an MC146818 with 128 bytes: its two ports, and the thread that raises interrupts.
//!
//! - `chip`: the registers, as a function of time. `time`: the formats of dates in registers.
//!
//! The thread starts when a guest first enables an interrupt, which most guests never do.

mod chip;
mod time;

use super::Irq;
use crate::bus::BusDevice;
use crate::layout::{HOLE_END, RamLayout};
use chip::Chip;
use kvm_accel::Request;
use kvm_accel::lock;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use vm_superio::Trigger;

/// The first port: the index. The second port is the register that the index selects.
pub const RTC_BASE: u16 = 0x70;
/// The number of ports.
pub const RTC_PORTS: u32 = 2;
/// The interrupt line.
pub const RTC_IRQ: u8 = 8;

const INDEX: u64 = 0;
const DATA: u64 = 1;
const STACK_SIZE: usize = 128 << 10;

/// The configuration of a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RtcConfig {
    /// Nanoseconds by which the clock is ahead of the host's. 64 bits are too few for all years that the clock can
    /// show.
    pub offset: i128,
    /// The clock stops while the machine is stopped. Otherwise it follows the host's clock.
    pub stops: bool,
}

/// The clock.
pub struct Rtc {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    /// Notified when the next interrupt may have changed.
    changed: Condvar,
    irq: Irq,
    /// Wakes a machine that sleeps (S3).
    alarm: Box<dyn Fn() + Send + Sync>,
}

struct State {
    chip: Chip,
    index: u8,
    /// The clock stops while the machine is stopped.
    stops: bool,
    /// When the machine stopped, by the host's clock; `None` while it runs.
    stopped: Option<i64>,
    over: bool,
}

impl Rtc {
    /// Creates the clock of a stopped machine, with the bytes that firmware reads. `alarm` is called when the guest's
    /// alarm interrupts, with the clock's lock held.
    #[must_use]
    pub fn new(config: RtcConfig, layout: &RamLayout, cpus: u32, irq: Irq, alarm: Box<dyn Fn() + Send + Sync>) -> Self {
        let now = host();
        let mut chip = Chip::new(config.offset, now);
        for (index, value) in presets(layout, cpus) {
            chip.preset(index, value);
        }
        let state = State { chip, index: 0, stops: config.stops, stopped: Some(now), over: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), irq, alarm });
        Self { shared, thread: Mutex::default() }
    }

    /// Resets the interrupts; the time and the bytes are kept.
    pub fn reset(&self) {
        self.shared.state().chip.reset();
    }

    /// Schedules the next interrupt after an access. A read may enable it as well as a write: the next interrupt is
    /// possible only after the guest has read C.
    fn schedule(&self, state: MutexGuard<'_, State>) {
        let due = state.chip.next_interrupt().is_some();
        drop(state);
        if due {
            self.start_thread();
        }
        self.shared.changed.notify_all();
    }

    fn start_thread(&self) {
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let builder = std::thread::Builder::new().name("kvm-accel RTC".into()).stack_size(STACK_SIZE);
            // Without a thread the guest gets no interrupts and has to poll. Its next access tries to start the thread
            // again.
            *thread = builder.spawn(move || shared.interrupt()).ok();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Raises the line if the chip has an edge to deliver.
    fn raise(&self, state: &mut State) {
        if state.chip.take_edge() {
            if state.chip.alarmed() {
                (self.alarm)();
            }
            // `trigger` of this line never fails.
            let _ = self.irq.trigger();
        }
    }

    /// The thread's function: raises the line when an interrupt is due.
    fn interrupt(&self) {
        let mut state = self.state();
        while !state.over {
            let now = host();
            let next = state.chip.next_interrupt().filter(|_| state.stopped.is_none());
            state = match next {
                Some(next) if next <= now => {
                    state.chip.advance(now);
                    self.raise(&mut state);
                    state
                }
                Some(next) => {
                    let wait = Duration::from_nanos(next.abs_diff(now));
                    self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl BusDevice for Rtc {
    fn read(&self, offset: u64, data: &mut [u8]) {
        for (offset, byte) in (offset..).zip(data) {
            let mut state = self.shared.state();
            let index = state.index;
            *byte = if offset == DATA { state.chip.read(index, host()) } else { 0xff };
            self.shared.raise(&mut state);
            self.schedule(state);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Request> {
        for (offset, &byte) in (offset..).zip(data) {
            let mut state = self.shared.state();
            match offset {
                // The top bit masks NMIs on a PC. This machine ignores it.
                INDEX => state.index = byte & 0x7f,
                DATA => {
                    let index = state.index;
                    state.chip.write(index, byte, host());
                    self.shared.raise(&mut state);
                    self.schedule(state);
                }
                _ => {}
            }
        }
        None
    }

    fn interrupt(&self) {
        self.shared.state().stopped.get_or_insert_with(host);
    }

    fn resume(&self) {
        let mut state = self.shared.state();
        if let Some(stopped) = state.stopped.take()
            && state.stops
        {
            state.chip.delay(host().saturating_sub(stopped));
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Rtc {
    fn drop(&mut self) {
        self.shared.state().over = true;
        self.shared.changed.notify_all();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // The thread returns no value. A panic of it is ignored during teardown.
        let _ = thread.map(JoinHandle::join);
    }
}

impl fmt::Debug for Rtc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rtc").finish_non_exhaustive()
    }
}

/// Returns the nanoseconds since 1970 by the host's clock.
fn host() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Returns the bytes that QEMU's board presets for firmware: memory in several units, and the number of other
/// processors.
fn presets(layout: &RamLayout, cpus: u32) -> Vec<(u8, u8)> {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    /// The equipment byte: a coprocessor, no floppy disks.
    const EQUIPMENT: u8 = 2;
    let low = layout.low().end;
    let high = layout.high().map_or(0, |range| range.end - HOLE_END);
    let word = |value: u64| u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes();
    let [base, extended] = [word(640), word(low.saturating_sub(MIB) / KIB)];
    let above_16_mib = word(low.saturating_sub(16 * MIB) / (64 * KIB));
    let [h0, h1, h2, ..] = (high / (64 * KIB)).to_le_bytes();
    vec![
        (0x14, EQUIPMENT),
        (0x15, base[0]),
        (0x16, base[1]),
        (0x17, extended[0]),
        (0x18, extended[1]),
        (0x30, extended[0]),
        (0x31, extended[1]),
        (0x34, above_16_mib[0]),
        (0x35, above_16_mib[1]),
        (0x5b, h0),
        (0x5c, h1),
        (0x5d, h2),
        (0x5f, u8::try_from(cpus.saturating_sub(1)).unwrap_or(u8::MAX)),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::mpsc;

    fn rtc(memory: u64, cpus: u32, irq: Irq) -> Rtc {
        Rtc::new(RtcConfig::default(), &RamLayout::new(memory).unwrap(), cpus, irq, Box::new(|| {}))
    }

    fn read(rtc: &Rtc, index: u8) -> u8 {
        let mut byte = [0];
        rtc.write(INDEX, &[index]);
        rtc.read(DATA, &mut byte);
        byte[0]
    }

    #[test]
    fn test_firmware_finds_memory_and_processors() {
        let rtc = rtc(5 << 30, 4, Irq::none());
        let bytes = [0x15, 0x16, 0x17, 0x18, 0x34, 0x35, 0x5b, 0x5c, 0x5d, 0x5f].map(|index| read(&rtc, index));
        assert_eq!(bytes, [0x80, 0x02, 0xff, 0xff, 0x00, 0xbf, 0x00, 0x80, 0x00, 3]);
        let mut index = [0];
        rtc.read(INDEX, &mut index);
        assert_eq!(index, [0xff]);
    }

    #[test]
    fn test_it_interrupts_while_the_machine_runs() {
        let (raised, interrupts) = mpsc::channel();
        let rtc = rtc(1 << 20, 1, Irq::edge(move || raised.send(()).unwrap_or_default()));
        // The rate is 0, so that no tick occurs between the two writes.
        rtc.write(INDEX, &[chip::A, 0x20]);
        read(&rtc, chip::C);
        rtc.write(INDEX, &[chip::B, 0x42]);
        // Periodic, 1024 Hz.
        rtc.write(INDEX, &[chip::A, 0x26]);
        assert!(interrupts.recv_timeout(Duration::from_millis(50)).is_err());
        rtc.resume();
        for _ in 0..5 {
            interrupts.recv_timeout(Duration::from_secs(60)).unwrap();
            assert_eq!(read(&rtc, chip::C) & 0xc0, 0xc0);
        }
        rtc.interrupt();
        read(&rtc, chip::C);
        interrupts.try_iter().for_each(drop);
        assert!(interrupts.recv_timeout(Duration::from_millis(50)).is_err());
    }

    #[test]
    fn test_interrupts_continue_after_one_that_was_due_when_the_guest_enabled_it() {
        let (raised, interrupts) = mpsc::channel();
        let rtc = rtc(1 << 20, 1, Irq::edge(move || raised.send(()).unwrap_or_default()));
        rtc.resume();
        // Two ticks of 1024 Hz, the rate at power-on.
        std::thread::sleep(Duration::from_millis(2));
        rtc.write(INDEX, &[chip::B, 0x42]);
        for _ in 0..3 {
            interrupts.recv_timeout(Duration::from_secs(60)).unwrap();
            assert_eq!(read(&rtc, chip::C) & 0xc0, 0xc0);
        }
    }

    #[test]
    fn test_an_alarm_is_reported_and_a_tick_is_not() {
        let (alarm, alarms) = mpsc::channel();
        let layout = RamLayout::new(1 << 20).unwrap();
        let alarm = Box::new(move || alarm.send(()).unwrap_or_default());
        let rtc = Rtc::new(RtcConfig::default(), &layout, 1, Irq::none(), alarm);
        rtc.resume();
        // Periodic, 1024 Hz.
        rtc.write(INDEX, &[chip::B, 0x42]);
        assert!(alarms.recv_timeout(Duration::from_millis(50)).is_err());
        // An alarm every second: the registers match any time.
        for register in [1, 3, 5] {
            rtc.write(INDEX, &[register, 0xff]);
        }
        rtc.write(INDEX, &[chip::B, 0x22]);
        read(&rtc, chip::C);
        alarms.recv_timeout(Duration::from_secs(60)).unwrap();
    }
}
