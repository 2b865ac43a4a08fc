//! Guest RAM: anonymous memory, mapped but never populated.

/// Guest memory as vm-memory regions. Cloning is cheap: the mappings are shared and live as long as any clone.
pub type GuestRam = vm_memory::GuestMemoryMmap<()>;
