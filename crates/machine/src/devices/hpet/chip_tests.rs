use super::*;
use proptest::prelude::*;

const TIMER_0: u64 = 0x100;
const TIMER_1: u64 = 0x120;

fn running(configuration: u64) -> Chip {
    let mut chip = Chip::default();
    chip.set_register(CONFIGURATION, ENABLE | configuration, 0);
    chip
}

#[test]
fn test_capabilities_are_those_of_three_timers_with_legacy_routes() {
    let chip = Chip::default();
    assert_eq!(chip.register(0, 7), 10_000_000 << 32 | 0x8086_a201);
    assert_eq!(chip.register(TIMER_0, 7), 4 << 32 | 0x30);
    assert_eq!(chip.register(0x160, 7), 0, "there is no fourth timer");
}

#[test]
fn test_the_counter_runs_while_it_is_enabled_and_can_be_set_while_it_stands() {
    let mut chip = Chip::default();
    chip.set_register(COUNTER, 500, 10);
    assert_eq!(chip.register(COUNTER, 20), 500);
    chip.set_register(CONFIGURATION, ENABLE, 20);
    assert_eq!(chip.register(COUNTER, 25), 505);
    chip.set_register(COUNTER, 0, 25);
    assert_eq!(chip.register(COUNTER, 30), 510);
    chip.set_register(CONFIGURATION, 0, 40);
    assert_eq!(chip.register(COUNTER, 99), 520);
}

#[test]
fn test_a_one_shot_timer_expires_once_and_at_once_if_its_time_has_passed() {
    let mut chip = running(LEGACY);
    chip.set_register(TIMER_1, INTERRUPTS | BITS_32, 0);
    chip.expire(0);
    chip.set_register(TIMER_1 + 8, 1000, 10);
    assert_eq!(chip.next(), Some(1000));
    assert_eq!(chip.expire(999), []);
    assert_eq!(chip.expire(1000), [CLOCK_LINE]);
    assert_eq!((chip.next(), chip.expire(5000)), (None, vec![]));
    chip.set_register(TIMER_1 + 8, 4000, 5000);
    assert_eq!(chip.expire(5000), [CLOCK_LINE]);
}

#[test]
fn test_a_periodic_timer_takes_its_first_time_then_its_period_and_loses_what_was_missed() {
    let mut chip = running(LEGACY);
    chip.set_register(TIMER_0, INTERRUPTS | PERIODIC | SETS_COMPARATOR, 0);
    chip.set_register(TIMER_0 + 8, 30_000, 0);
    chip.set_register(TIMER_0 + 8, 20_000, 0);
    assert_eq!(chip.next(), Some(30_000));
    assert_eq!(chip.expire(30_000), [TIMER_LINE]);
    assert_eq!(chip.next(), Some(50_000));
    assert_eq!(chip.expire(95_000), [TIMER_LINE]);
    assert_eq!((chip.next(), chip.register(TIMER_0 + 8, 0)), (Some(110_000), 110_000));
}

#[test]
fn test_a_short_period_is_bounded() {
    let mut chip = running(LEGACY);
    chip.set_register(TIMER_0, INTERRUPTS | PERIODIC | SETS_COMPARATOR, 0);
    chip.set_register(TIMER_0 + 8, 1, 0);
    assert_eq!(chip.expire(1), [TIMER_LINE]);
    assert_eq!(chip.next(), Some(1 + SHORTEST_PERIOD));
}

#[test]
fn test_routes_and_status() {
    let mut chip = running(0);
    let timer_2 = TIMER + 2 * TIMER_SIZE;
    let mut expired = |route: u64, more: u64| {
        chip.set_register(timer_2, INTERRUPTS | more | route << 9, 100);
        let lines = chip.expire(100);
        (lines, chip.register(STATUS, 100))
    };
    assert_eq!(expired(2, 0), (vec![TIMER_LINE], 0));
    assert_eq!(expired(3, 0), (vec![], 0), "a pin that the timer cannot drive");
    assert_eq!(expired(2, LEVEL), (vec![TIMER_LINE], 4));
    chip.set_register(STATUS, 4, 100);
    assert_eq!(chip.register(STATUS, 100), 0);
}

proptest! {
    /// For any accesses: nothing panics, and no timer is due again at once.
    #[test]
    fn test_any_accesses(steps in proptest::collection::vec((0u64..0x30, any::<u64>(), 0u64..1 << 40), 0..100)) {
        let mut chip = Chip::default();
        let mut now = 0;
        for (register, value, later) in steps {
            now += later;
            chip.set_register(register * 8, value, now);
            chip.register(register * 8, now);
            chip.expire(now);
            prop_assert!(chip.next().is_none_or(|due| due > now));
        }
    }
}
