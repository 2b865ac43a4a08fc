//! The MC146818's registers as a function of the time that the caller passes: date and time, alarm, periodic and update
//! interrupts, and battery-backed bytes.

use super::time::{CLOCK, Calendar, Format, Nanoseconds, SECOND, register};

/// Status registers.
pub const A: u8 = 0x0a;
pub const B: u8 = 0x0b;
pub const C: u8 = 0x0c;
pub const D: u8 = 0x0d;

/// The number of bytes, registers included.
pub const BYTES: usize = 128;

/// Status register A: an update is about to occur; the divider of the oscillator; the rate of the periodic interrupt.
const A_UPDATE_IN_PROGRESS: u8 = 0x80;
const A_DIVIDER: u8 = 0x70;
const A_RATE: u8 = 0x0f;
/// The divider for the oscillator's 32768 Hz, and a rate of 1024 Hz.
const A_POWER_ON: u8 = 0x26;
/// Dividers from this value on hold the clock.
const DIVIDER_RESET: u8 = 0x60;

/// Status register B: hold the clock to set it; square wave; binary numbers; 24 hours.
const B_SET: u8 = 0x80;
const B_SQUARE_WAVE: u8 = 0x08;
const B_BINARY: u8 = 0x04;
const B_24_HOURS: u8 = 0x02;
/// The interrupts: enabled in status register B, pending in C.
const PERIODIC: u8 = 0x40;
const ALARM: u8 = 0x20;
const UPDATE: u8 = 0x10;
const INTERRUPTS: u8 = PERIODIC | ALARM | UPDATE;
/// Status register C: an enabled interrupt is pending.
const C_REQUEST: u8 = 0x80;
/// Status register D: the battery is good.
const D_VALID: u8 = 0x80;

/// How long before an update its flag is set: 8 ticks of 32768 Hz.
const UPDATE_WARNING: Nanoseconds = SECOND * 8 / TICKS;
/// Ticks of the oscillator per second.
const TICKS: Nanoseconds = 32_768;
/// The bits of an alarm register that make it match any value.
const ANY: u8 = 0xc0;

/// The chip. A [`Nanoseconds`] is a time of the chip's own clock; a time of the host's clock is an `i64` named `host`.
/// Both count from 1970.
#[derive(Clone, Debug)]
pub struct Chip {
    /// The registers. Those of date and time are valid only while the clock is held; otherwise they are computed.
    bytes: [u8; BYTES],
    /// The chip's clock minus the host's.
    offset: Nanoseconds,
    /// While the clock is held: the fraction of a second from which it will continue.
    held: Option<Nanoseconds>,
    /// The time up to which the flags of C have been computed.
    seen: Nanoseconds,
    /// The interrupt line has risen since the last [`Chip::take_edge`].
    edge: bool,
}

impl Chip {
    /// Creates a chip whose clock is ahead of the host's by `offset`.
    pub fn new(offset: Nanoseconds, host: i64) -> Self {
        let mut bytes = [0; BYTES];
        bytes[A as usize] = A_POWER_ON;
        bytes[B as usize] = B_24_HOURS;
        Self { bytes, offset, held: None, seen: offset + Nanoseconds::from(host), edge: false }
    }

    /// Resets the chip: clears and disables the interrupts. The time and the bytes are kept.
    pub fn reset(&mut self) {
        *self.at(B) &= !(INTERRUPTS | B_SQUARE_WAVE);
        *self.at(C) = 0;
    }

    /// Sets a byte that firmware reads.
    pub fn preset(&mut self, index: u8, value: u8) {
        *self.at(index) = value;
    }

    /// Sets the clock back by `duration`, the time for which the machine was stopped.
    pub fn delay(&mut self, duration: i64) {
        self.offset -= Nanoseconds::from(duration);
    }

    /// Returns the value of a register at a time of the host.
    pub fn read(&mut self, index: u8, host: i64) -> u8 {
        self.advance(host);
        match index {
            A if self.updates_soon(host) => self.byte(A) | A_UPDATE_IN_PROGRESS,
            C => {
                self.edge = false;
                std::mem::take(self.at(C))
            }
            D => D_VALID,
            _ if self.held.is_some() => self.byte(index),
            _ => Calendar::at(self.now(host)).register(index, self.format()).unwrap_or(self.byte(index)),
        }
    }

    /// Writes a register at a time of the host.
    pub fn write(&mut self, index: u8, value: u8, host: i64) {
        self.advance(host);
        match index {
            A | B => {
                // Registers that were set while the clock was held are in the format of that time.
                let now = self.now(host);
                *self.at(index) = if index == A { value & !A_UPDATE_IN_PROGRESS } else { value };
                self.hold(now, host);
            }
            C | D => {}
            _ if CLOCK.contains(&index) && self.held.is_none() => self.set_time(index, value, host),
            _ => *self.at(index) = value,
        }
        self.request();
    }

    /// Returns true if the interrupt line has risen since the last call.
    pub const fn take_edge(&mut self) -> bool {
        std::mem::replace(&mut self.edge, false)
    }

    /// Returns true if an enabled alarm is pending.
    pub fn alarmed(&self) -> bool {
        self.byte(C) & self.byte(B) & ALARM != 0
    }

    /// Sets the flags of the interrupts that have occurred up to this time of the host.
    pub fn advance(&mut self, host: i64) {
        if self.held.is_some() {
            return;
        }
        let now = self.now(host);
        let before = std::mem::replace(&mut self.seen, now);
        if now <= before {
            return;
        }
        let mut came = 0;
        if now.div_euclid(SECOND) != before.div_euclid(SECOND) {
            came |= UPDATE;
        }
        if self.period().is_some_and(|period| ticks(now).div_euclid(period) != ticks(before).div_euclid(period)) {
            came |= PERIODIC;
        }
        if self.next_alarm(before).is_some_and(|alarm| alarm <= now) {
            came |= ALARM;
        }
        *self.at(C) |= came;
        self.request();
    }

    /// Returns when, by the host's clock, the interrupt line rises next, unless a register is accessed before.
    pub fn next_interrupt(&self) -> Option<i64> {
        let wanted = self.byte(B) & INTERRUPTS;
        if self.held.is_some() || wanted == 0 || self.byte(C) & C_REQUEST != 0 {
            return None;
        }
        let second = (self.seen.div_euclid(SECOND) + 1) * SECOND;
        let tick = |period| at_tick((ticks(self.seen).div_euclid(period) + 1) * period);
        [
            self.period().map(tick).filter(|_| wanted & PERIODIC != 0),
            self.next_alarm(self.seen).filter(|_| wanted & ALARM != 0),
            Some(second).filter(|_| wanted & UPDATE != 0),
        ]
        .into_iter()
        .flatten()
        .min()
        // The host's clock ends in the year 2262.
        .map(|time| i64::try_from(time - self.offset).unwrap_or(i64::MAX))
    }

    /// Sets the request bit of C if an enabled interrupt is pending.
    fn request(&mut self) {
        if self.byte(C) & self.byte(B) & INTERRUPTS != 0 {
            self.edge |= self.byte(C) & C_REQUEST == 0;
            *self.at(C) |= C_REQUEST;
        }
    }

    fn now(&self, host: i64) -> Nanoseconds {
        match self.held {
            Some(fraction) => Calendar::read(|index| self.byte(index), self.format()).nanoseconds() + fraction,
            None => self.offset + Nanoseconds::from(host),
        }
    }

    /// Holds or releases the clock according to status registers A and B. `now` is the time of the chip. A held clock keeps the bytes
    /// that the guest writes: the guest writes the parts of a date one by one, and the intermediate values may not be a
    /// valid date.
    fn hold(&mut self, now: Nanoseconds, host: i64) {
        let holds = self.byte(B) & B_SET != 0 || self.byte(A) & A_DIVIDER >= DIVIDER_RESET;
        if holds == self.held.is_some() {
            return;
        }
        if holds {
            let (calendar, format) = (Calendar::at(now), self.format());
            for index in CLOCK {
                *self.at(index) = calendar.register(index, format).unwrap_or(0);
            }
        } else {
            self.offset = now - Nanoseconds::from(host);
        }
        self.held = holds.then_some(now.rem_euclid(SECOND));
        self.seen = now;
    }

    /// Sets one register of a clock that is not held.
    fn set_time(&mut self, index: u8, value: u8, host: i64) {
        let (now, format) = (self.now(host), self.format());
        let calendar = Calendar::at(now);
        let read = |register| {
            if register == index { value } else { calendar.register(register, format).unwrap_or(0) }
        };
        self.seen = Calendar::read(read, format).nanoseconds() + now.rem_euclid(SECOND);
        self.offset = self.seen - Nanoseconds::from(host);
    }

    const fn format(&self) -> Format {
        let b = self.bytes[B as usize];
        Format { binary: b & B_BINARY != 0, hours_24: b & B_24_HOURS != 0 }
    }

    fn updates_soon(&self, host: i64) -> bool {
        self.held.is_none() && self.now(host).rem_euclid(SECOND) >= SECOND - UPDATE_WARNING
    }

    /// Returns the period of the periodic interrupt, in ticks.
    fn period(&self) -> Option<Nanoseconds> {
        Some(match self.byte(A) & A_RATE {
            0 => return None,
            // These two rates are the same as 8 and 9.
            rate @ 1..=2 => 1 << (rate + 6),
            rate => 1 << (rate - 1),
        })
    }

    /// Returns the first second after `time` that the alarm's registers match.
    fn next_alarm(&self, time: Nanoseconds) -> Option<Nanoseconds> {
        let format = self.format();
        let wanted = |index| Some(self.byte(index)).filter(|byte| byte & ANY != ANY);
        let second = wanted(register::SECONDS_ALARM).map(|byte| format.decode(byte));
        let minute = wanted(register::MINUTES_ALARM).map(|byte| format.decode(byte));
        let hour = wanted(register::HOURS_ALARM).map(|byte| format.decode_hour(byte));
        let differs = |wanted: Option<u8>, is: u8| wanted.is_some_and(|wanted| wanted != is);
        let mut at = time.div_euclid(SECOND) + 1;
        // The search takes at most a day's hours, an hour's minutes and a minute's seconds, each twice.
        for _ in 0..2 * (24 + 60 + 60) {
            let is = Calendar::at(at * SECOND);
            at = if differs(hour, is.hour) {
                (at.div_euclid(3600) + 1) * 3600
            } else if differs(minute, is.minute) {
                (at.div_euclid(60) + 1) * 60
            } else if differs(second, is.second) {
                at + 1
            } else {
                return Some(at * SECOND);
            };
        }
        None
    }

    fn byte(&self, index: u8) -> u8 {
        self.bytes[usize::from(index) % BYTES]
    }

    fn at(&mut self, index: u8) -> &mut u8 {
        &mut self.bytes[usize::from(index) % BYTES]
    }
}

/// Returns the number of oscillator ticks before a time. A second is a whole number of ticks, so no fraction of a nanosecond adds up.
const fn ticks(time: Nanoseconds) -> Nanoseconds {
    time.div_euclid(SECOND) * TICKS + time.rem_euclid(SECOND) * TICKS / SECOND
}

/// Returns the first time at which so many ticks have passed.
const fn at_tick(ticks: Nanoseconds) -> Nanoseconds {
    let rest = (ticks.rem_euclid(TICKS) * SECOND + TICKS - 1) / TICKS;
    ticks.div_euclid(TICKS) * SECOND + rest
}

#[cfg(test)]
mod tests;
