//! Image formats, and how the format of an image is detected.
//!
//! A guest can write any bytes to a raw image. If its first or last sector then looked like another format, the next start would open the
//! image as that format. Therefore [`Detected::of_sector`] also checks what a guest writes to those sectors of an image without a stated
//! format.

use super::SECTOR;
use crate::MachineConfigError;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::str::FromStr;

/// The format of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFormat {
    /// The file has the disk's contents, byte for byte.
    Raw,
    /// QEMU's format. Only written clusters take space, and an image may have a backing image.
    Qcow2,
}

impl FromStr for ImageFormat {
    type Err = MachineConfigError;

    fn from_str(name: &str) -> Result<Self, MachineConfigError> {
        match name {
            "raw" => Ok(Self::Raw),
            "qcow2" => Ok(Self::Qcow2),
            other => {
                let message = format!("unknown image format '{other}': expected 'raw' or 'qcow2'");
                Err(MachineConfigError::new("disks", message, "Convert other images with 'qemu-img convert -O qcow2'."))
            }
        }
    }
}

/// Where the magic number of a format is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the first sector.
    First,
    /// In the last sector, for a file that consists of whole sectors.
    Last,
}

/// The magic numbers of formats that are not supported: place, offset in the sector, bytes, name.
const FOREIGN: [(Place, usize, &[u8], &str); 15] = [
    (Place::First, 0, b"QFI\xfb\0\0\0\x01", "qcow version 1"),
    (Place::First, 0, b"KDMV", "VMDK"),
    (Place::First, 0, b"COWD", "VMDK"),
    (Place::First, 0, b"# Disk DescriptorFile", "VMDK"),
    (Place::First, 0x40, &[0x7f, 0x10, 0xda, 0xbe], "VDI"),
    (Place::First, 0, b"vhdxfile", "VHDX"),
    (Place::First, 0, b"conectix", "VPC (VHD)"),
    (Place::Last, 0, b"conectix", "VPC (VHD)"),
    (Place::First, 0, b"QED\0", "QED"),
    (Place::First, 0, b"LUKS\xba\xbe", "LUKS"),
    (Place::First, 0, b"WithoutFreeSpace", "Parallels"),
    (Place::First, 0, b"WithouFreSpacExt", "Parallels"),
    (Place::First, 0, b"Bochs Virtual HD Image", "Bochs"),
    (Place::First, 0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop", "cloop"),
    (Place::Last, 0, b"koly", "DMG"),
];

/// The format that the first and the last sector of a file indicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detected {
    /// A supported format. Anything without a known magic number is raw.
    Known(ImageFormat),
    /// A format that is not supported, by its name.
    Foreign(&'static str),
}

impl Detected {
    /// Detects the format of a file of `len` bytes.
    ///
    /// # Errors
    /// The error of reading the file.
    pub fn of_file(file: &File, len: u64) -> io::Result<Self> {
        let mut sector = [0; 512];
        let (head, _) = sector.split_at_mut(usize::try_from(len.min(SECTOR)).unwrap_or(0));
        file.read_exact_at(head, 0)?;
        let first = Self::of_sector(Place::First, &sector);
        if first != Self::Known(ImageFormat::Raw) || len < SECTOR || !len.is_multiple_of(SECTOR) {
            return Ok(first);
        }
        file.read_exact_at(&mut sector, len - SECTOR)?;
        Ok(Self::of_sector(Place::Last, &sector))
    }

    /// Detects the format by the contents of one sector.
    pub fn of_sector(place: Place, sector: &[u8]) -> Self {
        let found = FOREIGN.iter().find(|(at, offset, magic, _)| {
            *at == place && sector.get(*offset..).is_some_and(|rest| rest.starts_with(magic))
        });
        match found {
            Some((.., name)) => Self::Foreign(name),
            None if place == Place::First && sector.starts_with(b"QFI\xfb") => Self::Known(ImageFormat::Qcow2),
            None => Self::Known(ImageFormat::Raw),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_magic_number_counts_only_in_its_place() {
        for (place, offset, magic, name) in FOREIGN {
            let mut sector = [0; 512];
            sector[offset..][..magic.len()].copy_from_slice(magic);
            assert_eq!(Detected::of_sector(place, &sector), Detected::Foreign(name));
            let mut moved = [0; 512];
            moved[offset + 1..][..magic.len()].copy_from_slice(magic);
            assert_eq!(Detected::of_sector(place, &moved), Detected::Known(ImageFormat::Raw));
        }
        assert_eq!(Detected::of_sector(Place::First, b"QFI\xfb\0\0\0\x03"), Detected::Known(ImageFormat::Qcow2));
        assert_eq!(Detected::of_sector(Place::Last, b"QFI\xfb\0\0\0\x03"), Detected::Known(ImageFormat::Raw));
        assert_eq!(Detected::of_sector(Place::First, b"QFI"), Detected::Known(ImageFormat::Raw));
    }

    #[test]
    fn only_a_file_of_whole_sectors_has_a_last_sector() {
        let path = std::env::temp_dir().join(format!("kvm-accel-format-{}", std::process::id()));
        for (len, found) in [
            (0, Detected::Known(ImageFormat::Raw)),
            (100, Detected::Known(ImageFormat::Raw)),
            (2048, Detected::Foreign("VPC (VHD)")),
            (2049, Detected::Known(ImageFormat::Raw)),
        ] {
            let mut bytes = vec![0; len];
            if len >= 2048 {
                bytes[1536..1544].copy_from_slice(b"conectix");
            }
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(Detected::of_file(&File::open(&path).unwrap(), len as u64).unwrap(), found, "{len}");
        }
        std::fs::remove_file(path).unwrap();
    }
}
