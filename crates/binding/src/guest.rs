//! The embedded guests.

use kvm_accel_guests::{Format, GUESTS};
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

/// Returns the image of an embedded guest, a PVH or multiboot kernel. Returns nothing for an unknown name.
#[napi]
pub fn guest_image(name: String, multiboot: bool) -> Option<Uint8Array> {
    let format = if multiboot { Format::Multiboot } else { Format::Pvh };
    kvm_accel_guests::image(&name, format).map(|image| Uint8Array::new(image.to_vec()))
}

/// An embedded guest: its name, what it does, and its options with their defaults.
#[napi(object)]
pub struct BindingGuest {
    pub name: String,
    pub about: String,
}

/// Lists the embedded guests, by name.
#[napi]
pub fn guests() -> Vec<BindingGuest> {
    GUESTS.iter().map(|guest| BindingGuest { name: guest.name.into(), about: guest.about.into() }).collect()
}
