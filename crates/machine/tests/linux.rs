//! Boots a real kernel, if the environment names one.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

mod support;

use kvm_accel::StartMode;
use kvm_accel_machine::ImageRole;
use kvm_accel_machine::boot::{Boot, BootImage, BootOptions, Module};
use std::os::unix::fs::FileExt;
use support::{MIB, Ram};

#[test]
fn vmlinux_and_initrd_are_loaded_for_pvh() {
    let paths = ["KVM_ACCEL_TEST_KERNEL", "KVM_ACCEL_TEST_INITRD"].map(std::env::var_os);
    let [Some(kernel), Some(initrd)] = paths else {
        assert!(std::env::var_os("CI").is_none(), "CI has to set KVM_ACCEL_TEST_KERNEL and KVM_ACCEL_TEST_INITRD");
        println!("skipped: KVM_ACCEL_TEST_KERNEL and KVM_ACCEL_TEST_INITRD are not set");
        return;
    };
    let image = BootImage::open(ImageRole::Initrd, &initrd).unwrap();
    let options = BootOptions {
        cmdline: "console=ttyS0".to_owned(),
        modules: vec![Module { image, cmdline: String::new() }],
        ..BootOptions::default()
    };
    let mut boot = Boot::new(BootImage::open(ImageRole::Kernel, &kernel).unwrap(), options).unwrap();
    let ram = Ram::of(64 * MIB);
    let state = boot.load(&ram.layout, &ram.memory, None, &Default::default()).unwrap();

    assert_eq!(state.mode, StartMode::Protected);
    assert!(state.rip >= MIB);
    assert_eq!(ram.string(ram.u64(state.rbx + 24)), "console=ttyS0");
    let list = ram.u64(state.rbx + 16);
    let initrd = std::fs::read(initrd).unwrap();
    assert_eq!(ram.bytes(ram.u64(list), initrd.len()), initrd);

    // The file's first PT_LOAD, read independently of the loader, lies at its physical address.
    let file = std::fs::File::open(kernel).unwrap();
    let field = |at: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).unwrap();
        u64::from_le_bytes(bytes)
    };
    let header = field(32);
    let [offset, address, size] = [8, 24, 32].map(|at| field(header + at));
    let mut segment = vec![0; usize::try_from(size).unwrap()];
    file.read_exact_at(&mut segment, offset).unwrap();
    assert!(ram.bytes(address, segment.len()) == segment);
}
