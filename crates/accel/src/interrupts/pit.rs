//! The in-kernel PIT's lost ticks: ticks that occur while the previous one is still pending.

/// How lost ticks are handled: `lost_tick_policy` of QEMU's `kvm-pit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LostTickPolicy {
    /// Deliver them late, as soon as the guest accepts them: the guest's count is complete.
    #[default]
    Delay,
    /// Discard them, for guests that read the time elsewhere.
    Discard,
}
