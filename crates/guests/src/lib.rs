//! Small guest programs for the demo, the tests and the benchmarks of kvm-accel, embedded as kernel images.
//!
//! Each program in `programs/` is 32-bit ring-0 code, linked at 1 MiB, and built twice: [`Format::Pvh`] and
//! [`Format::Multiboot`]. Both images run under kvm-accel and under QEMU (`-M microvm` for the first, `-M pc` for
//! either). Programs print on COM1. Unless [`Guest::about`] describes another end, they end with a reset through the
//! keyboard controller (with a triple fault on a machine without one). Options are `key=number` words of the command
//! line.

mod catalogue;

pub use catalogue::GUESTS;

/// A guest program and its two images.
#[derive(Debug)]
pub struct Guest {
    /// The name of the program.
    pub name: &'static str,
    /// What the program does, and its options with their defaults.
    pub about: &'static str,
    /// ELF64 with a PVH note.
    pub pvh: &'static [u8],
    /// ELF32 with a multiboot-1 header.
    pub multiboot: &'static [u8],
}

/// The format of a guest's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// ELF64 with a Xen ELF note of type 18, entered in 32-bit protected mode.
    Pvh,
    /// ELF32 with a multiboot-1 header.
    Multiboot,
}

/// Returns the image of the guest `name`; `None` if the name is unknown.
#[must_use]
pub fn image(name: &str, format: Format) -> Option<&'static [u8]> {
    let guest = GUESTS.iter().find(|guest| guest.name == name)?;
    Some(match format {
        Format::Pvh => guest.pvh,
        Format::Multiboot => guest.multiboot,
    })
}
