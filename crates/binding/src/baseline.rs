//! For benchmarks only (feature `baseline`): the raw ioctls inside Node's process, whose many mappings make some of them slower than
//! in a small program.

use kvm_accel::baseline::Baseline;
use kvm_accel_guests::{Format, image};
use kvm_accel_machine::boot::{Boot, BootImage, BootOptions};
use kvm_accel_machine::devices::COM1_BASE;
use kvm_accel_machine::layout::RamLayout;
use kvm_accel_machine::{ImageRole, ram};
use napi_derive::napi;
use std::time::Instant;

/// Milliseconds from nothing to the first byte of the guest `hello` in `memory` bytes, by raw ioctls on this thread.
#[napi]
pub fn raw_first_byte(memory: u32) -> napi::Result<f64> {
    let failed = |error: &dyn std::fmt::Display| napi::Error::from_reason(error.to_string());
    let start = Instant::now();
    let layout = RamLayout::new(memory.into()).map_err(|e| failed(&e))?;
    let ram = ram::allocate(&layout, &Default::default()).map_err(|e| failed(&e))?;
    let kernel = BootImage::from_bytes(ImageRole::Kernel, image("hello", Format::Pvh).unwrap_or_default());
    let state = Boot::new(kernel, BootOptions::default())
        .map_err(|e| failed(&e))?
        .load(&layout, &ram)
        .map_err(|e| failed(&e))?;
    let mut vm = Baseline::new(ram, &state).map_err(|e| failed(&e))?;
    vm.run(|exit| !(exit.write && exit.address == u64::from(COM1_BASE))).map_err(|e| failed(&e))?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
