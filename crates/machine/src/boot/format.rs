//! Detects an image's boot protocol by its magic numbers.

use super::elf::{Class, Elf};
use super::multiboot::Header;
use super::options::KernelFormat;
use super::{BootImage, bzimage};
use crate::{GuestImageError, GuestImageProblem};

/// The detected protocol.
pub(super) enum Protocol {
    Flat,
    Linux,
    Multiboot(Header),
    Pvh,
}

/// Detects the protocol of a kernel that begins with `head`.
pub(super) fn protocol(kernel: &BootImage, head: &[u8], format: KernelFormat) -> Result<Protocol, GuestImageError> {
    match format {
        KernelFormat::Flat => Ok(Protocol::Flat),
        KernelFormat::Linux => Ok(Protocol::Linux),
        KernelFormat::Pvh => Ok(Protocol::Pvh),
        KernelFormat::Multiboot => Header::find(kernel, head)?.map(Protocol::Multiboot).ok_or_else(|| {
            kernel.refuse(
                GuestImageProblem::Unrecognised,
                "has no multiboot-1 header (magic 0x1badb002, 4-byte aligned, with a valid checksum) in its first 8 KiB",
            )
        }),
        KernelFormat::Auto => detect(kernel, head),
    }
}

/// As in QEMU's `-kernel`, a bzImage is always Linux, and a multiboot header takes precedence over a PVH note.
///
/// ELF64 differs, because QEMU refuses these files:
/// - A multiboot header without load addresses: a PVH note takes precedence. Without a note, the file is loaded as by GRUB.
/// - Neither a multiboot header nor a PVH note: the file is Linux.
fn detect(kernel: &BootImage, head: &[u8]) -> Result<Protocol, GuestImageError> {
    let class = Class::of(head);
    if class.is_none() && bzimage::is(head) {
        return Ok(Protocol::Linux);
    }
    let header = Header::find(kernel, head)?;
    if let Some(header) = header.filter(|header| header.addresses.is_some() || class == Some(Class::Elf32)) {
        return Ok(Protocol::Multiboot(header));
    }
    let Some(class) = class else {
        return Err(kernel.refuse(
            GuestImageProblem::Unrecognised,
            "is neither an ELF file nor a bzImage, nor does it have a multiboot-1 header with load addresses",
        ));
    };
    if Elf::parse(kernel, head)?.pvh_entry(kernel)?.is_some() {
        return Ok(Protocol::Pvh);
    }
    match (header, class) {
        (Some(header), _) => Ok(Protocol::Multiboot(header)),
        (None, Class::Elf64) => Ok(Protocol::Linux),
        (None, Class::Elf32) => Err(kernel.refuse(
            GuestImageProblem::WrongClass,
            "is a 32-bit ELF file with neither a multiboot-1 header nor a PVH note; Linux must be ELF64 or a bzImage",
        )),
    }
}
