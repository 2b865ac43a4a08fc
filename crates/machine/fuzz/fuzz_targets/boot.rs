//! Fuzzes kernel images: every file is loaded or refused. The first byte selects the format and the size of RAM.
#![no_main]

use kvm_accel::GuestRam;
use kvm_accel_machine::ImageRole::{Initrd, Kernel};
use kvm_accel_machine::boot::{Boot, BootImage, BootOptions, KernelFormat, Module};
use kvm_accel_machine::layout::RamLayout;
use kvm_accel_machine::{SetupError, ram};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const FORMATS: [KernelFormat; 4] =
    [KernelFormat::Auto, KernelFormat::Linux, KernelFormat::Multiboot, KernelFormat::Pvh];

static MEMORIES: LazyLock<[(RamLayout, GuestRam); 2]> = LazyLock::new(|| {
    [1, 48].map(|mebibytes| {
        let layout = RamLayout::new(mebibytes << 20).expect("a size that can be");
        (layout, ram::allocate(&layout, &Default::default()).expect("memory"))
    })
});

fuzz_target!(|input: &[u8]| {
    let Some((choice, image)) = input.split_first() else { return };
    let module = BootImage::from_bytes(Initrd, &b"initrd"[..]);
    let options = BootOptions {
        format: FORMATS[usize::from(choice & 3)],
        name: "fuzz".into(),
        cmdline: "a b".into(),
        fixed_cmdline: choice & 8 != 0,
        modules: vec![Module { image: module, cmdline: "m".into() }],
    };
    let kernel = BootImage::from_bytes(Kernel, image.to_vec());
    let (layout, ram) = &MEMORIES[usize::from(choice >> 2 & 1)];
    let mut boot = Boot::new(kernel, options).expect("options that can be");
    match boot.load(layout, ram, Some(0xe_0000), &Default::default()) {
        Ok(_) => {}
        Err(SetupError::Image(error)) => assert!(!error.to_string().is_empty() && error.remedy().ends_with('.')),
        Err(error) => panic!("no error of an image: {error}"),
    }
});
