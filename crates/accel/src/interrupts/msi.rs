//! The result of raising an interrupt.

/// How the kernel handled an interrupt that was raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The interrupt is masked, or no local APIC accepts it.
    Ignored,
    /// The same interrupt was already pending. For a message, it can also mean that no local APIC accepted it.
    Coalesced,
    /// Delivered to this many local APICs (for a line: controllers).
    Delivered(u32),
}

impl From<i32> for Delivery {
    /// Converts the kernel's status: below 0 ignored, 0 coalesced, above 0 delivered.
    fn from(status: i32) -> Self {
        match u32::try_from(status) {
            Err(_) => Self::Ignored,
            Ok(0) => Self::Coalesced,
            Ok(count) => Self::Delivered(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_status_is_ignored_coalesced_or_delivered() {
        let deliveries = [i32::MIN, -1, 0, 1, i32::MAX].map(Delivery::from);
        let delivered = Delivery::Delivered;
        let meant = [Delivery::Ignored, Delivery::Ignored, Delivery::Coalesced, delivered(1), delivered(0x7fff_ffff)];
        assert_eq!(deliveries, meant);
    }
}
