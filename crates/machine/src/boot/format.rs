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

/// As in QEMU's `-kernel`, a multiboot header takes precedence over a PVH note, except in ELF64, which multiboot cannot
/// load. An ELF64 file without the note, which QEMU refuses, is loaded as a Linux kernel.
fn detect(kernel: &BootImage, head: &[u8]) -> Result<Protocol, GuestImageError> {
    let class = Class::of(head);
    match (Header::find(kernel, head)?, class) {
        (Some(header), Some(Class::Elf32)) => Ok(Protocol::Multiboot(header)),
        (Some(header), _) if header.addresses.is_some() => Ok(Protocol::Multiboot(header)),
        (_, Some(Class::Elf64)) => {
            let pvh = Elf::parse(kernel, head)?.pvh_entry(kernel)?.is_some();
            Ok(if pvh { Protocol::Pvh } else { Protocol::Linux })
        }
        _ if bzimage::is(head) => Ok(Protocol::Linux),
        (None, Some(Class::Elf32)) => Err(kernel.refuse(
            GuestImageProblem::WrongClass,
            "is a 32-bit ELF file without a multiboot-1 header; a PVH kernel must be ELF64",
        )),
        _ => Err(kernel.refuse(
            GuestImageProblem::Unrecognised,
            "is neither an ELF file nor a bzImage, nor does it have a multiboot-1 header with load addresses",
        )),
    }
}
