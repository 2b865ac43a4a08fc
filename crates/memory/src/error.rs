//! Why memory cannot be mapped into a guest.

/// The result of a change of memory slots.
pub type Result<T> = std::result::Result<T, Error>;

/// Why memory slots could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The kernel refused a call.
    #[error(transparent)]
    Kvm(#[from] kvm_accel_kvm::Error),
    /// A region cannot be mapped.
    #[error(transparent)]
    Region(#[from] RegionError),
}

/// A memory region that cannot be mapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("memory at guest address {start:#x} cannot be mapped: {rule}")]
pub struct RegionError {
    /// The first guest physical address.
    pub start: u64,
    /// The rule that was broken.
    pub rule: String,
}
