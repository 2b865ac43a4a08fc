//! Guest RAM: anonymous memory, mapped but never populated.

use vm_memory::{Address, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

/// Guest memory as vm-memory regions. Cloning is cheap: the mappings are shared and live as long as any clone.
pub type GuestRam = vm_memory::GuestMemoryMmap<()>;

/// Where `size` bytes from `address` on are in this process, if they are one piece.
pub(crate) fn host_address(ram: &GuestRam, address: u64, size: u64) -> Option<u64> {
    let region = ram.find_region(GuestAddress(address))?;
    let offset = address - region.start_addr().raw_value();
    (size <= region.len() - offset).then(|| region.as_ptr() as u64 + offset)
}

/// Whether `host` is an address of this RAM in this process.
pub(crate) fn holds(ram: &GuestRam, host: u64) -> bool {
    ram.iter().any(|region| (host.wrapping_sub(region.as_ptr() as u64)) < region.len())
}
