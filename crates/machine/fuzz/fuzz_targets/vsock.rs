//! The socket device's queues.
#![no_main]

use kvm_accel_machine::virtio::{Listener, Vsock, testing};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// A device on which every guest finds somebody: packets get further than the first check when they are for port 0.
static DEVICE: LazyLock<(Vsock, Listener)> = LazyLock::new(|| {
    let vsock = Vsock::new(3, None).expect("there are descriptors");
    let listener = vsock.listen(0, 4, Box::new(|| {})).expect("nobody listens");
    (vsock, listener)
});

fuzz_target!(|input: &[u8]| {
    let (vsock, listener) = &*DEVICE;
    testing::fuzz(vsock, input).expect("the driver can be made");
    while listener.accept().is_some() {}
});
