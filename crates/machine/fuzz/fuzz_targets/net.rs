//! Fuzzes a network card's queues.
#![no_main]

use kvm_accel_machine::virtio::net::Backend;
use kvm_accel_machine::virtio::throttle::ThrottleConfig;
use kvm_accel_machine::virtio::{Net, NetConfig, testing};
use libfuzzer_sys::fuzz_target;
use std::io::Write;
use std::os::unix::net::UnixStream;

fuzz_target!(|input: &[u8]| {
    let (mut peer, ours) = UnixStream::pair().expect("there is a socket pair");
    // Sends the input to the guest as frames, in pieces.
    peer.set_nonblocking(true).expect("a socket can be non-blocking");
    for piece in input.chunks(40).take(8) {
        let len = u32::try_from(piece.len()).unwrap_or(0);
        let _ = peer.write_all(&len.to_be_bytes()).and_then(|()| peer.write_all(piece));
    }
    let backend = Backend::stream(ours.into()).expect("it is a socket");
    let config = NetConfig { backend, mac: [2, 0, 0, 0, 0, 1], mtu: None, throttle: ThrottleConfig::default() };
    testing::fuzz(&Net::new(config).expect("the address is one"), input).expect("the driver can be made");
});
