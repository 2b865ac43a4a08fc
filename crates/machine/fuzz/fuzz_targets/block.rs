//! Fuzzes a disk's queue. Requests reach an image of 16 MiB in memory, larger than the slices of a request.
#![no_main]

use kvm_accel_machine::virtio::{Block, DiskConfig, testing};
use libfuzzer_sys::fuzz_target;
use std::fs::File;
use std::sync::LazyLock;

static DEVICE: LazyLock<Block> = LazyLock::new(|| {
    let path = format!("/dev/shm/kvm-accel-fuzz-{}", std::process::id());
    let image = File::create(&path).and_then(|file| file.set_len(16 << 20));
    image.expect("there is a /dev/shm");
    let disk = DiskConfig { path: path.clone().into(), discard: true, ..Default::default() };
    let block = Block::new(disk).expect("the image can be opened");
    std::fs::remove_file(path).expect("the image was made");
    block
});

fuzz_target!(|input: &[u8]| testing::fuzz(&*DEVICE, input).expect("the driver can be made"));
