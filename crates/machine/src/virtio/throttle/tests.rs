use super::bucket::Bucket;
use super::config::LARGEST;
use super::*;
use proptest::prelude::*;
use std::time::Duration;

fn rate(average: u64) -> Rate {
    Rate::new("throttle", average).unwrap()
}

fn bytes(rate: Rate) -> Rates {
    Rates { bytes: Some(rate), operations: None }
}

fn operations(rate: Rate) -> Rates {
    Rates { bytes: None, operations: Some(rate) }
}

/// Returns how many units pass within `time` if a request of `size` is always waiting.
fn passed(rate: Rate, size: u64, time: Duration) -> u64 {
    let start = Instant::now();
    let mut now = start;
    let mut buckets = Buckets::new(&ThrottleConfig { total: bytes(rate), ..Default::default() }, start);
    let mut units = 0;
    while now - start < time {
        match buckets.admit(Direction::Read, size, now) {
            Ok(()) => units += size,
            Err(wait) => now += wait,
        }
    }
    units
}

#[test]
fn the_average_holds_over_seconds() {
    let units = passed(rate(1_000_000), 4096, Duration::from_secs(10));
    assert!((10_000_000..10_200_000).contains(&units), "{units}");
}

#[test]
fn a_request_larger_than_the_bucket_passes_and_is_paid_for() {
    let units = passed(rate(1000), 100_000, Duration::from_secs(950));
    assert_eq!(units, 1_000_000);
}

#[test]
fn a_burst_lasts_for_its_length() {
    let burst = rate(1000).with_burst("throttle", 10_000, 3).unwrap();
    let units = passed(burst, 10, Duration::from_secs(2));
    assert!((20_000..22_000).contains(&units), "a long burst goes at its own rate: {units}");
    let units = passed(burst, 10, Duration::from_secs(1000));
    assert!((1_000_000..1_035_000).contains(&units), "and the average holds afterwards: {units}");
}

#[test]
fn a_large_request_counts_as_several_operations() {
    let start = Instant::now();
    let config = ThrottleConfig { total: operations(rate(10)), operation_size: 4096, ..Default::default() };
    let mut buckets = Buckets::new(&config, start);
    assert_eq!(buckets.admit(Direction::Read, 40_960, start), Ok(()));
    assert_eq!(buckets.admit(Direction::Write, 1, start), Err(Duration::from_millis(900)));
    assert_eq!(buckets.admit(Direction::Write, 1, start + Duration::from_millis(900)), Ok(()));
}

#[test]
fn reads_and_writes_have_limits_of_their_own() {
    let start = Instant::now();
    let config = ThrottleConfig { reads: operations(rate(1)), writes: bytes(rate(1 << 20)), ..Default::default() };
    let mut buckets = Buckets::new(&config, start);
    assert_eq!(buckets.admit(Direction::Read, 1 << 30, start), Ok(()));
    assert_eq!(buckets.admit(Direction::Read, 1, start), Err(Duration::from_millis(900)));
    assert_eq!(buckets.admit(Direction::Write, 1 << 20, start), Ok(()));
    assert_eq!(buckets.admit(Direction::Write, 1, start), Err(Duration::from_millis(900)));
    let later = start + Duration::from_millis(900);
    assert_eq!(buckets.admit(Direction::Read, 1, later), Ok(()));
    assert_eq!(buckets.admit(Direction::Write, 1, later), Ok(()));
}

#[test]
fn invalid_rates_are_refused() {
    assert!(Rate::new("throttle", 0).is_err());
    assert!(Rate::new("throttle", LARGEST + 1).is_err());
    assert!(rate(10).with_burst("throttle", 9, 1).is_err());
    assert!(rate(10).with_burst("throttle", 10, 0).is_err());
    assert!(rate(10).with_burst("throttle", LARGEST, 2).is_err());
}

#[test]
fn the_timer_fires_when_a_request_may_pass() {
    let mut throttle = Throttle::new(&ThrottleConfig { total: operations(rate(100)), ..Default::default() }).unwrap();
    while throttle.admit(Direction::Write, 0).unwrap() {}
    let mut sources = crate::Sources::new();
    sources.add((), throttle.source());
    assert_eq!(sources.wait(None).unwrap().len(), 1);
    throttle.fired();
    assert!(throttle.admit(Direction::Write, 0).unwrap());
}

proptest! {
    #[test]
    fn waiting_for_the_returned_time_is_sufficient(
        average in 1..=LARGEST, factor in 1..100_u64, seconds in 1..100_u64, sizes in prop::collection::vec(any::<u64>(), 1..20),
    ) {
        let burst = rate(average).with_burst("throttle", average.saturating_mul(factor), seconds);
        let mut bucket = Bucket::new(burst.unwrap_or(rate(average)));
        for size in sizes {
            bucket.fill(size);
            let wait = bucket.wait();
            bucket.leak(wait);
            prop_assert!(wait == Duration::from_nanos(u64::MAX) || bucket.wait().is_zero());
        }
    }
}
