//! Fuzzes the entropy device's queue.
#![no_main]

use kvm_accel_machine::virtio::{Rng, testing};
use libfuzzer_sys::fuzz_target;
use std::path::Path;
use std::sync::LazyLock;

static DEVICE: LazyLock<Rng> = LazyLock::new(|| Rng::new(Path::new("/dev/zero"), None).expect("there is a /dev/zero"));

fuzz_target!(|input: &[u8]| testing::fuzz(&*DEVICE, input).expect("the driver can be made"));
