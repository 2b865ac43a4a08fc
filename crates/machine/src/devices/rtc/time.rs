//! Converts between the date and time registers and nanoseconds since 1970.

/// A time of the clock, or a duration, in nanoseconds. The registers can show the years 0 to 9999, and 64 bits of nanoseconds cover
/// 584 years only.
pub type Nanoseconds = i128;

/// One second.
pub const SECOND: Nanoseconds = 1_000_000_000;
/// Seconds in a day.
const DAY: Nanoseconds = 86_400;
/// The number of years that four digits can show. After the last one the clock starts again at year 0.
const YEARS: i64 = 10_000;
/// The number of days in those years: 25 cycles of the Gregorian calendar, which is a whole number of weeks.
const DAYS: Nanoseconds = 25 * 146_097;

/// The registers of date and time.
pub mod register {
    pub const SECONDS: u8 = 0;
    pub const SECONDS_ALARM: u8 = 1;
    pub const MINUTES: u8 = 2;
    pub const MINUTES_ALARM: u8 = 3;
    pub const HOURS: u8 = 4;
    pub const HOURS_ALARM: u8 = 5;
    pub const WEEKDAY: u8 = 6;
    pub const DAY: u8 = 7;
    pub const MONTH: u8 = 8;
    pub const YEAR: u8 = 9;
    pub const CENTURY: u8 = 0x32;
}

/// The registers of date and time, in the order of [`Calendar`]'s fields.
pub const CLOCK: [u8; 8] = [
    register::SECONDS,
    register::MINUTES,
    register::HOURS,
    register::WEEKDAY,
    register::DAY,
    register::MONTH,
    register::YEAR,
    register::CENTURY,
];

/// The format of numbers in registers, which status register B selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    pub binary: bool,
    pub hours_24: bool,
}

/// The bit of an hour in 12-hour format that means afternoon.
const PM: u8 = 0x80;

impl Format {
    pub const fn encode(self, number: u8) -> u8 {
        if self.binary { number } else { ((number / 10 % 10) << 4) | (number % 10) }
    }

    pub const fn decode(self, register: u8) -> u8 {
        if self.binary { register } else { (register >> 4).wrapping_mul(10).wrapping_add(register & 15) }
    }

    pub const fn encode_hour(self, hour: u8) -> u8 {
        if self.hours_24 {
            return self.encode(hour);
        }
        let twelve = if hour.is_multiple_of(12) { 12 } else { hour % 12 };
        self.encode(twelve) | if hour >= 12 { PM } else { 0 }
    }

    pub const fn decode_hour(self, register: u8) -> u8 {
        if self.hours_24 {
            return self.decode(register);
        }
        let hour = self.decode(register & !PM) % 12;
        if register & PM != 0 { hour + 12 } else { hour }
    }
}

/// A date and a time of day, decoded from registers. They may not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    pub second: u8,
    pub minute: u8,
    pub hour: u8,
    /// 1 is Sunday. The guest can read it; a write has no effect on the date.
    pub weekday: u8,
    pub day: u8,
    pub month: u8,
    pub year: u8,
    pub century: u8,
}

impl Calendar {
    /// Returns the date and time that the clock shows at a time. The year is taken modulo 10,000.
    pub fn at(time: Nanoseconds) -> Self {
        let seconds = time.div_euclid(SECOND);
        // Both fit: the day is below 10,000 years, the second below a day.
        let days = i64::try_from(seconds.div_euclid(DAY).rem_euclid(DAYS)).unwrap_or(0);
        let second = i64::try_from(seconds.rem_euclid(DAY)).unwrap_or(0);
        let (year, month, day) = date(days);
        let year = year.rem_euclid(YEARS);
        Self {
            second: small(second % 60),
            minute: small(second / 60 % 60),
            hour: small(second / 3600),
            weekday: small((days + 4).rem_euclid(7) + 1),
            day: small(day),
            month: small(month),
            year: small(year % 100),
            century: small(year / 100),
        }
    }

    /// Returns the start of this second. A value that is too large for its unit carries into the next larger unit.
    pub fn nanoseconds(self) -> Nanoseconds {
        let year = i64::from(self.century) * 100 + i64::from(self.year);
        let days = days(year, self.month.clamp(1, 12).into(), self.day.into());
        let seconds = ((days * 24 + i64::from(self.hour)) * 60 + i64::from(self.minute)) * 60 + i64::from(self.second);
        Nanoseconds::from(seconds) * SECOND
    }

    pub fn read(registers: impl Fn(u8) -> u8, format: Format) -> Self {
        let [second, minute, hour, weekday, day, month, year, century] = CLOCK.map(|register| match register {
            register::HOURS => format.decode_hour(registers(register)),
            // The century is firmware's byte, always BCD, whatever the chip's format is.
            register::CENTURY => BCD.decode(registers(register)),
            _ => format.decode(registers(register)),
        });
        Self { second, minute, hour, weekday, day, month, year, century }
    }

    /// Returns the value of a register.
    pub const fn register(self, register: u8, format: Format) -> Option<u8> {
        Some(match register {
            register::SECONDS => format.encode(self.second),
            register::MINUTES => format.encode(self.minute),
            register::HOURS => format.encode_hour(self.hour),
            register::WEEKDAY => format.encode(self.weekday),
            register::DAY => format.encode(self.day),
            register::MONTH => format.encode(self.month),
            register::YEAR => format.encode(self.year),
            register::CENTURY => BCD.encode(self.century),
            _ => return None,
        })
    }
}

const BCD: Format = Format { binary: false, hours_24: true };

fn small(number: i64) -> u8 {
    u8::try_from(number).unwrap_or(0)
}

/// Returns the days from 1970-01-01 to a day of the Gregorian calendar. A year starts in March here, so that a leap day
/// is its last day.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [`days`].
const fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let of_era = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * of_era + of_era / 4 - of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + of_era;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const H24: Format = Format { binary: false, hours_24: true };
    const H12: Format = Format { binary: false, hours_24: false };

    #[test]
    fn test_a_moment_has_its_date() {
        // date -u -d @1709251199: Thu Feb 29 23:59:59 2024
        let leap = Calendar { second: 59, minute: 59, hour: 23, weekday: 5, day: 29, month: 2, year: 24, century: 20 };
        assert_eq!(Calendar::at(1_709_251_199 * SECOND + 5), leap);
        assert_eq!(leap.nanoseconds(), 1_709_251_199 * SECOND);
        assert_eq!(Calendar::at(-1).year, 69);
    }

    #[test]
    fn test_hours_are_of_12_or_24_and_bcd_or_binary() {
        let hours = [(0, 0x12), (1, 0x01), (11, 0x11), (12, 0x92), (13, 0x81), (23, 0x91)];
        for (hour, register) in hours {
            assert_eq!((H12.encode_hour(hour), H12.decode_hour(register)), (register, hour));
        }
        assert_eq!((H24.encode_hour(23), H24.decode_hour(0x23)), (0x23, 23));
        assert_eq!(Format { binary: true, hours_24: true }.encode(59), 59);
    }

    /// 0000-01-01 00:00:00 and the second after 9999-12-31 23:59:59, in seconds since 1970.
    const FIRST: i64 = -62_167_219_200;
    const END: i64 = 253_402_300_800;

    #[test]
    fn test_the_first_and_the_last_year_are_shown_and_the_year_after_9999_is_0() {
        let first = Calendar { second: 0, minute: 0, hour: 0, weekday: 7, day: 1, month: 1, year: 0, century: 0 };
        assert_eq!(Calendar::at(Nanoseconds::from(FIRST) * SECOND), first);
        let last = Calendar { second: 59, minute: 59, hour: 23, weekday: 6, day: 31, month: 12, year: 99, century: 99 };
        assert_eq!(Calendar::at(Nanoseconds::from(END) * SECOND - 1), last);
        assert_eq!(Calendar::at(Nanoseconds::from(END) * SECOND), first);
        assert_eq!(Calendar::at(Nanoseconds::from(FIRST) * SECOND - 1), last);
    }

    proptest! {
        #[test]
        fn test_registers_hold_any_second(second in FIRST..END, binary: bool, hours_24: bool) {
            let (time, format) = (Nanoseconds::from(second) * SECOND, Format { binary, hours_24 });
            let moment = Calendar::at(time);
            prop_assert_eq!(moment.nanoseconds(), time);
            let registers = |at| moment.register(at, format).unwrap_or(0);
            prop_assert_eq!(Calendar::read(registers, format), moment);
        }

        #[test]
        fn test_any_registers_are_a_time_that_the_registers_can_show(
            bytes in any::<[u8; 128]>(),
            binary: bool,
            hours_24: bool,
        ) {
            let time = Calendar::read(|at| bytes[usize::from(at)], Format { binary, hours_24 }).nanoseconds();
            let shown = Calendar::at(time).nanoseconds();
            prop_assert_eq!((time - shown).rem_euclid(DAYS * DAY * SECOND), 0);
            prop_assert_eq!(Calendar::at(shown), Calendar::at(time));
        }
    }
}
