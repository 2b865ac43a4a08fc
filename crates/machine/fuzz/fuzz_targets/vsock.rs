//! Fuzzes the queues of the vsock device.
#![no_main]

use kvm_accel_machine::virtio::{Listener, Vsock, testing};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// A device with a listener on port 0, so that packets for this port pass the first check.
static DEVICE: LazyLock<(Vsock, Listener)> = LazyLock::new(|| {
    let vsock = Vsock::new(3, None).expect("there are descriptors");
    let listener = vsock.listen(0, 4, Box::new(|| {})).expect("the port is free");
    (vsock, listener)
});

fuzz_target!(|input: &[u8]| {
    let (vsock, listener) = &*DEVICE;
    testing::fuzz(vsock, input).expect("the driver can be made");
    while listener.accept().is_some() {}
});
