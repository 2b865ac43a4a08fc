//! Firmware: an image that ends at 4 GiB, where a processor starts after a reset. A PC also maps the image's end below
//! 1 MiB.

use crate::boot::BootImage;
use crate::{GuestImageError, GuestImageProblem, SetupError};
use kvm_accel::GuestRam;
use kvm_accel::cancel::Cancel;
use kvm_accel::memory::Region;
use vm_memory::GuestAddress;

const END: u64 = 1 << 32;
/// The size of an image is a multiple of this, as in QEMU.
const GRANULE: u64 = 64 << 10;
const MAX_SIZE: u64 = 8 << 20;

/// The end of the first mebibyte, and the most bytes of the image that are copied below it. A PC maps 128 KiB there
/// until firmware has its chipset copy the rest to RAM. This machine has no such chipset, so RAM is there from the
/// start.
const LOW_END: u64 = 1 << 20;
const LOW_SIZE: u64 = 256 << 10;

/// A firmware image and the ROM that holds it.
#[derive(Debug)]
pub struct Firmware {
    image: BootImage,
    rom: GuestRam,
    size: u64,
}

impl Firmware {
    /// Allocates the ROM for an image; [`Firmware::load`] fills it.
    ///
    /// # Errors
    /// Fails if the image cannot be read, or its size is not a multiple of 64 KiB up to 8 MiB.
    pub fn new(image: BootImage) -> Result<Self, GuestImageError> {
        let size = image.len()?;
        if size > MAX_SIZE || !size.is_multiple_of(GRANULE) {
            let what = format!("has an invalid size of {size} bytes: expected a multiple of 64 KiB, at most 8 MiB");
            return Err(image.refuse(GuestImageProblem::Malformed, what).with_remedy(REMEDY));
        }
        let len = usize::try_from(size).unwrap_or(usize::MAX);
        let rom = GuestRam::from_ranges(&[(GuestAddress(END - size), len)]).map_err(|error| {
            image.refuse(GuestImageProblem::DoesNotFit, format!("does not fit into this process's memory: {error}"))
        })?;
        Ok(Self { image, rom, size })
    }

    /// Returns the read-only memory region below 4 GiB.
    #[must_use]
    pub fn region(&self) -> Region {
        Region::new(&self.rom, END - self.size..END).read_only(true)
    }

    /// Reads the image into the ROM. With `starts`, also copies its end to RAM below 1 MiB, where firmware runs and
    /// keeps its variables.
    ///
    /// # Errors
    /// Fails if the file has become shorter or cannot be read; with [`SetupError::Cancelled`] if `cancel` is set.
    pub fn load(&self, ram: &GuestRam, starts: bool, cancel: &Cancel) -> Result<(), SetupError> {
        self.image.copy_to(&self.rom, 0, self.size, END - self.size, cancel)?;
        if !starts {
            return Ok(());
        }
        let low = self.size.min(LOW_SIZE);
        self.image.copy_to(ram, self.size - low, low, LOW_END - low, cancel)
    }
}

const REMEDY: &str = "Use an image for QEMU's -bios, such as SeaBIOS's bios-256k.bin or bios-microvm.bin.";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ImageRole;
    use vm_memory::Bytes;

    fn firmware(size: usize) -> Result<Firmware, GuestImageError> {
        let bytes: Vec<u8> = (0..size).map(|at| u8::try_from(at >> 16).unwrap() + 1).collect();
        Firmware::new(BootImage::from_bytes(ImageRole::Firmware, bytes))
    }

    #[test]
    fn test_an_image_ends_at_4_gib_and_its_end_at_1_mib() {
        for (kib, low) in [(64u64, [1, 1]), (128, [1, 2]), (256, [1, 4]), (512, [5, 8])] {
            let ram = GuestRam::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
            let firmware = firmware(usize::try_from(kib << 10).unwrap()).unwrap();
            firmware.load(&ram, false, &Cancel::default()).unwrap();
            assert_eq!(ram.read_obj::<u8>(GuestAddress(LOW_END - 1)).unwrap(), 0);
            firmware.load(&ram, true, &Cancel::default()).unwrap();
            let at = |address| ram.read_obj::<u8>(GuestAddress(address)).unwrap();
            assert_eq!([at(LOW_END - (kib << 10).min(LOW_SIZE)), at(LOW_END - 1)], low);
            let region = firmware.region();
            assert_eq!((region.start + region.size, region.read_only), (END, true));
            assert_eq!(firmware.rom.read_obj::<u8>(GuestAddress(END - 16)).unwrap(), low[1]);
        }
    }

    #[test]
    fn test_other_sizes_are_refused() {
        for size in [0, 1, 65_535, 65_537, (8 << 20) + 65_536] {
            assert_eq!(firmware(size).unwrap_err().image(), ImageRole::Firmware, "{size}");
        }
    }
}
