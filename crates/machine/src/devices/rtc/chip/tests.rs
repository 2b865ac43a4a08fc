use super::*;
use proptest::prelude::*;

/// One second of the host's clock.
const SECOND: i64 = 1_000_000_000;
/// Thu Feb 29 23:59:58 2024, by the host's clock.
const NOW: i64 = 1_709_251_198 * SECOND;

fn clock(chip: &mut Chip, host: i64) -> [u8; 8] {
    CLOCK.map(|index| chip.read(index, host))
}

fn rises(chip: &mut Chip, host: i64) -> bool {
    chip.take_edge();
    chip.advance(host);
    chip.take_edge()
}

#[test]
fn test_it_shows_the_time_and_keeps_a_time_that_is_set() {
    let mut chip = Chip::new(0, NOW);
    assert_eq!(clock(&mut chip, NOW), [0x58, 0x59, 0x23, 0x05, 0x29, 0x02, 0x24, 0x20]);
    assert_eq!(clock(&mut chip, NOW + 2 * SECOND), [0, 0, 0, 0x06, 0x01, 0x03, 0x24, 0x20]);
    chip.write(B, B_SET | B_24_HOURS, NOW);
    for (index, value) in [(register::YEAR, 0x99), (register::CENTURY, 0x19), (register::SECONDS, 0)] {
        chip.write(index, value, NOW + SECOND);
    }
    assert_eq!(clock(&mut chip, NOW + 9 * SECOND)[0], 0);
    chip.write(B, B_24_HOURS, NOW + 10 * SECOND);
    // 1999 has no Feb 29.
    assert_eq!(clock(&mut chip, NOW + 11 * SECOND), [0x01, 0x59, 0x23, 0x02, 0x01, 0x03, 0x99, 0x19]);
    chip.reset();
    assert_eq!(clock(&mut chip, NOW + 11 * SECOND)[6..], [0x99, 0x19]);
}

#[test]
fn test_numbers_are_binary_where_they_are_to_be() {
    let mut chip = Chip::new(0, NOW);
    chip.write(B, B_BINARY, NOW);
    assert_eq!(clock(&mut chip, NOW), [58, 59, 11 | 0x80, 5, 29, 2, 24, 0x20]);
}

#[test]
fn test_each_second_updates_and_announces_the_update() {
    let mut chip = Chip::new(0, NOW);
    assert_eq!((chip.read(A, NOW), chip.read(A, NOW + SECOND - 1)), (A_POWER_ON, A_POWER_ON | 0x80));
    assert_eq!((chip.read(C, NOW), chip.read(D, NOW)), (PERIODIC, D_VALID));
    chip.write(B, UPDATE, NOW);
    assert_eq!(chip.next_interrupt(), Some(NOW + SECOND));
    assert!(
        !rises(&mut chip, NOW + SECOND - 1) && rises(&mut chip, NOW + SECOND) && !rises(&mut chip, NOW + 2 * SECOND)
    );
    assert_eq!(chip.next_interrupt(), None);
    // Alarm registers of zero match midnight.
    assert_eq!(chip.read(C, NOW + 2 * SECOND), C_REQUEST | UPDATE | PERIODIC | ALARM);
    assert_eq!(chip.read(C, NOW + 2 * SECOND), 0);
    assert_eq!(chip.next_interrupt(), Some(NOW + 3 * SECOND));
    chip.reset();
    assert_eq!(chip.next_interrupt(), None);
}

#[test]
fn test_the_periodic_interrupt_has_its_rate() {
    let mut chip = Chip::new(0, NOW);
    for (rate, frequency) in [(1, 256), (2, 128), (3, 8192), (6, 1024), (15, 2)] {
        chip.write(A, 0x20 | rate, NOW);
        chip.write(B, PERIODIC, NOW);
        assert_eq!(chip.next_interrupt(), Some(NOW + (SECOND + frequency - 1) / frequency), "{rate}");
    }
    chip.write(A, 0x20, NOW);
    assert_eq!(chip.next_interrupt(), None);
}

#[test]
fn test_an_alarm_fires_when_its_registers_match() {
    let mut chip = Chip::new(0, NOW);
    let mut alarm = |hour, minute, second| {
        chip.write(register::HOURS_ALARM, hour, NOW);
        chip.write(register::MINUTES_ALARM, minute, NOW);
        chip.write(register::SECONDS_ALARM, second, NOW);
        chip.write(B, ALARM | B_24_HOURS, NOW);
        chip.next_interrupt().map(|time| (time - NOW) / SECOND)
    };
    assert_eq!(alarm(0xff, 0xff, 0xff), Some(1));
    assert_eq!(alarm(0x23, 0x59, 0x59), Some(1));
    assert_eq!(alarm(0x23, 0x59, 0x58), Some(86_400));
    assert_eq!(alarm(0x06, 0x30, 0), Some(2 + 6 * 3600 + 1800));
    assert_eq!(alarm(0xc0, 0x30, 0xc5), Some(2 + 1800));
    assert_eq!(alarm(0x25, 0, 0), None);
    alarm(0, 0, 1);
    assert!(!rises(&mut chip, NOW + 2 * SECOND) && rises(&mut chip, NOW + 3 * SECOND));
    assert_eq!(chip.read(C, NOW + 3 * SECOND) & (C_REQUEST | ALARM), C_REQUEST | ALARM);
}

#[test]
fn test_an_interrupt_that_is_enabled_late_fires_at_once() {
    let mut chip = Chip::new(0, NOW);
    assert!(!rises(&mut chip, NOW + SECOND));
    chip.write(B, UPDATE, NOW + SECOND);
    assert!(chip.take_edge());
    // A read of C clears the edge, so a later `take_edge` does not report it.
    chip.read(C, NOW + SECOND);
    assert_eq!(chip.read(C, NOW + 2 * SECOND) & C_REQUEST, C_REQUEST);
    assert!(!chip.take_edge());
}

#[test]
fn test_bytes_are_kept_and_flags_are_not_written() {
    let mut chip = Chip::new(0, NOW);
    chip.preset(0x34, 0x12);
    chip.write(0x7f, 0x55, NOW);
    chip.write(C, 0xff, NOW);
    chip.reset();
    assert_eq!([0x34, 0x7f, C, D].map(|index| chip.read(index, NOW)), [0x12, 0x55, 0, D_VALID]);
}

/// Writes all registers of date and time, in any order.
fn set(chip: &mut Chip, registers: impl IntoIterator<Item = (u8, u8)>, host: i64) {
    let b = chip.read(B, host);
    chip.write(B, b | B_SET, host);
    for (index, value) in registers {
        chip.write(index, value, host);
    }
    chip.write(B, b, host);
}

#[test]
fn test_the_order_in_which_a_date_is_written_does_not_matter() {
    // Jan 31 2024: Linux writes year, month and day, and Feb 31 lies in between.
    let mut chip = Chip::new(0, NOW - 29 * 86_400 * SECOND);
    assert_eq!(clock(&mut chip, NOW - 29 * 86_400 * SECOND)[4..6], [0x31, 0x01]);
    set(&mut chip, [(register::YEAR, 0x25), (register::MONTH, 0x02), (register::DAY, 0x15)], NOW);
    assert_eq!(clock(&mut chip, NOW)[4..], [0x15, 0x02, 0x25, 0x20]);
}

#[test]
fn test_a_held_clock_keeps_what_is_written_and_counts_on_from_it() {
    let mut chip = Chip::new(0, NOW + SECOND / 4);
    chip.write(B, B_SET | B_24_HOURS | UPDATE, NOW);
    chip.write(register::MONTH, 0x77, NOW);
    assert_eq!(chip.read(register::MONTH, NOW + 100 * SECOND), 0x77);
    assert_eq!(chip.next_interrupt(), None);
    chip.write(register::MONTH, 0x12, NOW + 100 * SECOND);
    chip.write(B, B_24_HOURS | UPDATE, NOW + 100 * SECOND);
    assert_eq!(clock(&mut chip, NOW + 100 * SECOND), [0x58, 0x59, 0x23, 0x01, 0x29, 0x12, 0x24, 0x20]);
    assert_eq!(chip.next_interrupt(), Some(NOW + 101 * SECOND));
}

/// Returns a register; those of the clock and the alarm are more frequent.
fn index() -> impl Strategy<Value = u8> {
    prop_oneof![0..=D, prop::sample::select(&CLOCK[..]), 0u8..128]
}

proptest! {
    #[test]
    fn test_a_written_date_of_any_year_is_read_back(
        second in 0i128..10_000 * 365 * 86_400,
        order in Just(CLOCK).prop_shuffle(),
        binary: bool,
        hours_24: bool,
        wanted in any::<u8>(),
        offset in any::<i64>(),
    ) {
        // `second` counts from the year 0 on.
        let written = Calendar::at((second - 62_167_219_200) * super::SECOND);
        let format = Format { binary, hours_24 };
        let mut chip = Chip::new(offset.into(), NOW);
        let b = (u8::from(binary) * B_BINARY) | (u8::from(hours_24) * B_24_HOURS) | (wanted & INTERRUPTS);
        chip.write(B, b, NOW);
        chip.read(C, NOW);
        set(&mut chip, order.map(|index| (index, written.register(index, format).unwrap_or(0))), NOW);
        prop_assert_eq!(clock(&mut chip, NOW), CLOCK.map(|index| written.register(index, format).unwrap_or(0)));
        if let Some(next) = chip.next_interrupt() {
            prop_assert!(next > NOW && next <= NOW + 86_400 * SECOND);
            prop_assert!(!rises(&mut chip.clone(), next - 1));
            prop_assert!(rises(&mut chip, next));
        }
    }

    #[test]
    fn test_any_sequence_of_accesses_leaves_the_next_interrupt_in_the_future(
        accesses in prop::collection::vec((any::<bool>(), index(), any::<u8>(), any::<u32>()), 0..100),
        offset in any::<i64>(),
    ) {
        let mut chip = Chip::new(offset.into(), NOW);
        let mut host = NOW;
        for (write, index, value, later) in accesses {
            host += i64::from(later);
            if write {
                chip.write(index, value, host);
            } else {
                chip.read(index, host);
            }
            if let Some(next) = chip.next_interrupt() {
                prop_assert!(next > host);
                prop_assert!(!rises(&mut chip.clone(), next - 1));
                prop_assert!(rises(&mut chip.clone(), next));
            }
        }
    }
}
