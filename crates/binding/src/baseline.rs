//! For benchmarks only (feature `baseline`): runs the raw ioctls inside the Node.js process. Its many mappings make some ioctls slower
//! than in a small program.

use kvm_accel::baseline::Baseline;
use kvm_accel::{GuestRam, StartMode, StartState};
use kvm_accel_guests::{Format, image};
use kvm_accel_machine::boot::{Boot, BootImage, BootOptions};
use kvm_accel_machine::devices::COM1_BASE;
use kvm_accel_machine::layout::RamLayout;
use kvm_accel_machine::{ImageRole, ram};
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;
use std::time::Instant;
use vm_memory::{Bytes, GuestAddress};

/// Returns the milliseconds from opening the KVM device to the first output byte of the guest `hello`, by raw ioctls on this thread.
/// `memory` is the guest's RAM in bytes.
#[napi]
pub fn raw_first_byte(memory: u32) -> napi::Result<f64> {
    let start = Instant::now();
    let layout = RamLayout::new(memory.into()).map_err(|e| failed(&e))?;
    let ram = ram::allocate(&layout, &Default::default()).map_err(|e| failed(&e))?;
    let kernel = BootImage::from_bytes(ImageRole::Kernel, image("hello", Format::Pvh).unwrap_or_default());
    let state = Boot::new(kernel, BootOptions::default())
        .map_err(|e| failed(&e))?
        .load(&layout, &ram, None, &Default::default())
        .map_err(|e| failed(&e))?;
    let mut vm = Baseline::new(ram, &state).map_err(|e| failed(&e))?;
    vm.run(|exit| !(exit.write && exit.address == u64::from(COM1_BASE))).map_err(|e| failed(&e))?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

const ENTRY: u64 = 0x1000;

fn failed(error: &dyn std::fmt::Display) -> napi::Error {
    napi::Error::from_reason(error.to_string())
}

/// A guest of a few bytes in real mode that causes exits in an endless loop. The host only repeats KVM_RUN.
#[napi]
pub struct BindingRawExits(Baseline);

#[napi]
impl BindingRawExits {
    /// Creates a guest with 64 KiB of RAM that runs `code` at 0x1000.
    #[napi(constructor)]
    pub fn new(code: Uint8Array) -> napi::Result<Self> {
        let ram = GuestRam::from_ranges(&[(GuestAddress(0), 0x1_0000)]).map_err(|e| failed(&e))?;
        ram.write_slice(&code, GuestAddress(ENTRY)).map_err(|e| failed(&e))?;
        let start = StartState { mode: StartMode::Real, rip: ENTRY, rax: 0, rbx: 0, rsi: 0, rsp: 0 };
        Ok(Self(Baseline::new(ram, &start).map_err(|e| failed(&e))?))
    }

    /// Returns the mean time of an exit in microseconds, over `count` exits.
    #[napi]
    pub fn run(&mut self, count: u32) -> napi::Result<f64> {
        let start = Instant::now();
        let mut left = count;
        let mut written = 0u64;
        let result = self.0.run(|exit| {
            written += u64::from(exit.byte);
            left -= 1;
            left > 0
        });
        result.map_err(|e| failed(&e))?;
        std::hint::black_box(written);
        Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(count))
    }
}
