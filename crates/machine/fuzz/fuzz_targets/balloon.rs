//! Fuzzes the balloon's queues.
#![no_main]

use kvm_accel_machine::virtio::{Balloon, BalloonConfig, testing};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use std::time::Duration;

static DEVICE: LazyLock<Balloon> = LazyLock::new(|| {
    let statistics_interval = Duration::from_micros(1);
    let config = BalloonConfig { deflate_on_oom: true, free_page_reporting: true, statistics_interval };
    Balloon::new(&config).expect("there is a timer")
});

fuzz_target!(|input: &[u8]| {
    testing::fuzz(&*DEVICE, input).expect("the driver can be made");
    let _ = (DEVICE.actual(), DEVICE.statistics());
});
