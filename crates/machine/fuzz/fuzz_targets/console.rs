//! Fuzzes the queues of a console with two terminals and a channel.
#![no_main]

use kvm_accel_machine::virtio::console::{Console, HostEnd, PortKind};
use kvm_accel_machine::virtio::testing;
use libfuzzer_sys::fuzz_target;
use std::io::Write;
use std::os::unix::net::UnixStream;

fuzz_target!(|input: &[u8]| {
    let (ours, mut theirs) = UnixStream::pair().expect("there are descriptors");
    theirs.write_all(&input[..input.len().min(64)]).expect("it fits");
    let discarded = || HostEnd::null(UnixStream::pair().expect("there are descriptors").0);
    let channel = PortKind::Channel { name: "org.example.fuzz".into() };
    let ports =
        vec![(PortKind::Console, HostEnd::stream(ours)), (PortKind::Console, discarded()), (channel, discarded())];
    let console = Console::new(ports).expect("there are descriptors");
    testing::fuzz(&console, input).expect("the driver can be made");
});
