//! The registers of the HPET (IA-PC HPET specification 1.0a): a counter of 64 bits and three timers.
//!
//! A state machine. Its clock is an argument, in ticks of [`FREQUENCY`]; its outputs are the interrupts that
//! [`Chip::expire`] returns.

/// Ticks per second: 100 MHz, as in QEMU.
pub const FREQUENCY: u64 = 100_000_000;
/// The length of a tick in femtoseconds.
const PERIOD: u64 = 10_000_000;
/// The number of timers.
pub const TIMERS: usize = 3;

/// The lower half of the capabilities: revision 1, three timers, a counter of 64 bits, legacy replacement routes, Intel.
pub const CAPABILITIES: u32 = 0x8086_a201;

/// Offsets of the registers. Each timer has 32 bytes from `TIMER` on.
const CONFIGURATION: u64 = 0x10;
const STATUS: u64 = 0x20;
const COUNTER: u64 = 0xf0;
const TIMER: u64 = 0x100;
const TIMER_SIZE: u64 = 0x20;
const TIMER_COMPARATOR: u64 = 8;

/// Configuration: the counter runs; timers 0 and 1 replace the PIT and the CMOS clock.
const ENABLE: u64 = 1;
const LEGACY: u64 = 1 << 1;

/// Configuration of a timer.
const LEVEL: u64 = 1 << 1;
const INTERRUPTS: u64 = 1 << 2;
const PERIODIC: u64 = 1 << 3;
const SETS_COMPARATOR: u64 = 1 << 6;
const BITS_32: u64 = 1 << 8;
const ROUTE: u64 = 0x1f << 9;
const WRITABLE: u64 = LEVEL | INTERRUPTS | PERIODIC | SETS_COMPARATOR | BITS_32 | ROUTE;
/// Each timer can be periodic and has 64 bits. Its interrupt can be routed to pin 2 of the IOAPIC only, as in QEMU.
const FIXED: u64 = 1 << 4 | 1 << 5 | 1 << PIN << 32;
/// The pin of the IOAPIC that line 0 drives, too.
const PIN: u64 = 2;

/// The shortest time between two interrupts of a periodic timer, 100 us. A guest cannot make the host's thread busy by a
/// shorter period.
const SHORTEST_PERIOD: u64 = FREQUENCY / 10_000;

/// The lines on which timers raise interrupts.
pub const TIMER_LINE: u8 = 0;
/// The line of timer 1 with legacy replacement routes.
pub const CLOCK_LINE: u8 = 8;

#[derive(Clone, Copy, Debug, Default)]
struct Timer {
    configuration: u64,
    comparator: u64,
    period: u64,
    /// When the timer next expires. `None` after a one-shot timer has expired.
    due: Option<u64>,
}

impl Timer {
    const fn has(&self, bits: u64) -> bool {
        self.configuration & bits == bits
    }

    /// Returns the value cut to the timer's width.
    const fn cut(&self, value: u64) -> u64 {
        if self.has(BITS_32) { value & 0xffff_ffff } else { value }
    }

    /// Returns the ticks from `counter` to the comparator. A comparator up to half the timer's range behind the counter
    /// counts as passed, and the timer expires at once.
    const fn distance(&self, counter: u64) -> u64 {
        let distance = self.cut(self.comparator.wrapping_sub(counter));
        let half = if self.has(BITS_32) { 1 << 31 } else { 1 << 63 };
        if distance < half { distance } else { 0 }
    }
}

/// The registers.
#[derive(Clone, Debug, Default)]
pub struct Chip {
    configuration: u64,
    status: u64,
    /// The counter's value, as of the tick `since` if it runs.
    counter: u64,
    since: u64,
    timers: [Timer; TIMERS],
}

impl Chip {
    const fn runs(&self) -> bool {
        self.configuration & ENABLE != 0
    }

    /// Returns true if timers 0 and 1 replace the PIT and the CMOS clock.
    pub const fn legacy(&self) -> bool {
        self.configuration & LEGACY != 0
    }

    const fn counter(&self, now: u64) -> u64 {
        if self.runs() { self.counter.wrapping_add(now.saturating_sub(self.since)) } else { self.counter }
    }

    /// Returns the 64-bit register at `offset`, a multiple of 8.
    pub fn register(&self, offset: u64, now: u64) -> u64 {
        match offset {
            0 => PERIOD << 32 | u64::from(CAPABILITIES),
            CONFIGURATION => self.configuration,
            STATUS => self.status,
            COUNTER => self.counter(now),
            _ => match self.timer(offset) {
                Some((index, 0)) => self.timers[index].configuration | FIXED,
                Some((index, TIMER_COMPARATOR)) => self.timers[index].comparator,
                _ => 0,
            },
        }
    }

    /// Returns the timer that has a register at `offset`, and the register's offset in the timer.
    fn timer(&self, offset: u64) -> Option<(usize, u64)> {
        let offset = offset.checked_sub(TIMER)?;
        let index = usize::try_from(offset / TIMER_SIZE).ok().filter(|index| *index < TIMERS)?;
        Some((index, offset % TIMER_SIZE))
    }

    /// Writes the 64-bit register at `offset`, a multiple of 8.
    pub fn set_register(&mut self, offset: u64, value: u64, now: u64) {
        match offset {
            CONFIGURATION => {
                let ran = self.runs();
                (self.counter, self.since) = (self.counter(now), now);
                self.configuration = value & (ENABLE | LEGACY);
                if ran != self.runs() {
                    (0..TIMERS).for_each(|index| self.arm(index, now));
                }
            }
            // A status bit is cleared by writing 1 to it.
            STATUS => self.status &= !value,
            // A running counter cannot be set.
            COUNTER if !self.runs() => self.counter = value,
            _ => match self.timer(offset) {
                Some((index, 0)) => {
                    let timer = &mut self.timers[index];
                    timer.configuration = value & WRITABLE;
                    (timer.comparator, timer.period) = (timer.cut(timer.comparator), timer.cut(timer.period));
                    if !timer.has(LEVEL) {
                        self.status &= !(1 << index);
                    }
                    self.arm(index, now);
                }
                Some((index, TIMER_COMPARATOR)) => {
                    self.timers[index].set_comparator(value);
                    self.arm(index, now);
                }
                _ => {}
            },
        }
    }

    fn arm(&mut self, index: usize, now: u64) {
        let (runs, counter) = (self.runs(), self.counter(now));
        let timer = &mut self.timers[index];
        timer.due = runs.then(|| now.saturating_add(timer.distance(counter)));
    }

    /// Returns when the next timer with an enabled interrupt expires.
    pub fn next(&self) -> Option<u64> {
        self.timers.iter().filter(|timer| timer.has(INTERRUPTS)).filter_map(|timer| timer.due).min()
    }

    /// Expires all timers that are due at `now`. Returns the lines that get an edge.
    pub fn expire(&mut self, now: u64) -> Vec<u8> {
        let (legacy, counter) = (self.legacy(), self.counter(now));
        let mut lines = Vec::new();
        for (index, timer) in self.timers.iter_mut().enumerate() {
            if !timer.has(INTERRUPTS) || timer.due.is_none_or(|due| due > now) {
                continue;
            }
            timer.next_period(counter, now);
            if timer.has(LEVEL) {
                self.status |= 1 << index;
            }
            match index {
                0 if legacy => lines.push(TIMER_LINE),
                1 if legacy => lines.push(CLOCK_LINE),
                _ if (timer.configuration & ROUTE) >> ROUTE.trailing_zeros() == PIN => lines.push(TIMER_LINE),
                // The guest has chosen a pin that the timer cannot drive.
                _ => {}
            }
        }
        lines
    }
}

impl Timer {
    /// Sets the comparator, or the period of a periodic timer. With `SETS_COMPARATOR`, the first write sets both.
    fn set_comparator(&mut self, value: u64) {
        let value = self.cut(value);
        if self.has(PERIODIC) {
            self.period = value;
        }
        if !self.has(PERIODIC) || self.has(SETS_COMPARATOR) {
            self.comparator = value;
        }
        self.configuration &= !SETS_COMPARATOR;
    }

    /// Moves the comparator behind the counter by whole periods. Periods that have passed meanwhile are lost.
    fn next_period(&mut self, counter: u64, now: u64) {
        if !self.has(PERIODIC) || self.period == 0 {
            self.due = None;
            return;
        }
        let passed = self.cut(counter.wrapping_sub(self.comparator)) / self.period + 1;
        self.comparator = self.cut(self.comparator.wrapping_add(passed.wrapping_mul(self.period)));
        let distance = self.cut(self.comparator.wrapping_sub(counter)).max(SHORTEST_PERIOD);
        self.due = Some(now.saturating_add(distance));
    }
}

#[cfg(test)]
#[path = "chip_tests.rs"]
mod tests;
