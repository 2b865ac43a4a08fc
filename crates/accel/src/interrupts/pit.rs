//! The in-kernel PIT's lost ticks: those that come while the one before is still pending.

/// What becomes of lost ticks: `lost_tick_policy` of QEMU's `kvm-pit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LostTickPolicy {
    /// They are delivered late, as soon as the guest takes them: none is missing in its count.
    #[default]
    Delay,
    /// They are gone: for guests that read the time elsewhere.
    Discard,
}
