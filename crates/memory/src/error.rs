//! Errors of mapping memory into a guest.

/// The result of a change to memory slots.
pub type Result<T> = std::result::Result<T, Error>;

/// Why memory slots could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error(transparent)]
    Kvm(#[from] kvm_accel_kvm::Error),
    /// The region is invalid.
    #[error(transparent)]
    Region(#[from] RegionError),
}

/// A memory region that is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot map memory at guest address {start:#x}: {rule}")]
pub struct RegionError {
    /// The first guest physical address.
    pub start: u64,
    /// The rule that the region breaks.
    pub rule: String,
}
