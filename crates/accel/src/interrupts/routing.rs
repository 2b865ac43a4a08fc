//! The GSI routing table: the route of each global system interrupt. A value; [`super::RouteChanges`] passes it to the
//! kernel.

pub use kvm_accel_kvm::fd::{Chip, IrqRoute, Route};

use kvm_accel_kvm::fd::Msi;
use kvm_accel_kvm::trace::trace;
use std::collections::BTreeSet;

/// Why a change to the table fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoutingError {
    /// Every GSI is in use, or the table has the maximum number of entries that the kernel accepts.
    #[error("all {0} GSIs or routing entries are in use")]
    Full(u32),
    /// The GSI has no route to change.
    #[error("GSI {0} has no message route")]
    Unknown(u32),
}

/// Number of pins of the IOAPIC.
pub const IOAPIC_PINS: u32 = 24;
/// The line that cascades the second PIC to the first. No device uses it.
const CASCADE: u32 = 2;
/// The IOAPIC pin of the PIT's line on a PC.
const TIMER_PIN: u32 = 2;

/// The table of one machine.
///
/// ```
/// use kvm_accel::interrupts::{Msi, routing::RoutingTable};
///
/// let mut table = RoutingTable::for_full_irqchip(4095);
/// let gsi = table.add_msi(Msi { address: 0xfee0_0000, data: 0x41 })?;
/// assert_eq!(gsi, 24, "the lowest GSI that no line uses");
/// table.release(gsi);
/// # Ok::<(), kvm_accel::interrupts::routing::RoutingError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingTable {
    entries: Vec<IrqRoute>,
    /// GSIs that are in use and not available to messages.
    used: BTreeSet<u32>,
    /// The number of GSIs and the maximum number of entries.
    limit: u32,
}

impl RoutingTable {
    /// Returns a table without routes, with `limit` GSIs.
    #[must_use]
    pub const fn new(limit: u32) -> Self {
        Self { entries: Vec::new(), used: BTreeSet::new(), limit }
    }

    /// Returns the lines of a PC whose PICs and IOAPIC are in the kernel: 0 to 15 lead to a PIC, 0 to 23 to the IOAPIC,
    /// the timer's to its pin 2. As in QEMU, except that a message never receives the cascade's GSI 2.
    #[must_use]
    pub fn for_full_irqchip(limit: u32) -> Self {
        let mut table = Self::new(limit);
        let pic = |gsi| if gsi < 8 { Route::Pin(Chip::PicMaster, gsi) } else { Route::Pin(Chip::PicSlave, gsi - 8) };
        let ioapic = |gsi| Route::Pin(Chip::Ioapic, if gsi == 0 { TIMER_PIN } else { gsi });
        let lines = || (0..IOAPIC_PINS).filter(|&gsi| gsi != CASCADE);
        table.entries.extend(lines().filter(|&gsi| gsi < 16).map(|gsi| IrqRoute { gsi, route: pic(gsi) }));
        table.entries.extend(lines().map(|gsi| IrqRoute { gsi, route: ioapic(gsi) }));
        table.used.extend(0..IOAPIC_PINS);
        table
    }

    /// Returns the messages of an IOAPIC outside the kernel: one GSI for each of its pins, which the IOAPIC updates as
    /// the guest programs the pins.
    #[must_use]
    pub fn for_split_irqchip(limit: u32) -> Self {
        let mut table = Self::new(limit);
        table.entries.extend((0..IOAPIC_PINS).map(|gsi| IrqRoute { gsi, route: Route::Msi(Msi::default()) }));
        table.used.extend(0..IOAPIC_PINS);
        table
    }

    /// Returns all entries.
    #[must_use]
    pub fn entries(&self) -> &[IrqRoute] {
        &self.entries
    }

    /// Assigns the lowest unused GSI to a message.
    ///
    /// # Errors
    /// [`RoutingError::Full`].
    pub fn add_msi(&mut self, msi: Msi) -> Result<u32, RoutingError> {
        let full = RoutingError::Full(self.limit);
        if self.entries.len() >= usize::try_from(self.limit).unwrap_or(usize::MAX) {
            return Err(full);
        }
        let gsi = (0..self.limit).find(|gsi| !self.used.contains(gsi)).ok_or(full)?;
        self.entries.push(IrqRoute { gsi, route: Route::Msi(msi) });
        self.used.insert(gsi);
        trace!(KvmIrqchipAddMsiRoute { address: msi.address, data: msi.data, virq: gsi });
        Ok(gsi)
    }

    /// Replaces the message of `gsi`.
    ///
    /// # Errors
    /// [`RoutingError::Unknown`].
    pub fn update_msi(&mut self, gsi: u32, msi: Msi) -> Result<(), RoutingError> {
        let is_it = |entry: &&mut IrqRoute| entry.gsi == gsi && matches!(entry.route, Route::Msi(_));
        let entry = self.entries.iter_mut().find(is_it).ok_or(RoutingError::Unknown(gsi))?;
        entry.route = Route::Msi(msi);
        trace!(KvmIrqchipUpdateMsiRoute { virq: gsi });
        Ok(())
    }

    /// Removes all routes of `gsi` and makes it available to other messages.
    pub fn release(&mut self, gsi: u32) {
        self.entries.retain(|entry| entry.gsi != gsi);
        self.used.remove(&gsi);
        trace!(KvmIrqchipReleaseVirq { virq: gsi });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn msi(data: u32) -> Msi {
        Msi { address: 0xfee0_0000, data }
    }

    #[test]
    fn test_full_table_is_a_pcs() {
        let table = RoutingTable::for_full_irqchip(4095);
        let routes = |gsi: u32| {
            let of_gsi = table.entries().iter().filter(move |entry| entry.gsi == gsi);
            of_gsi.map(|entry| entry.route).collect::<Vec<_>>()
        };
        assert_eq!(routes(0), [Route::Pin(Chip::PicMaster, 0), Route::Pin(Chip::Ioapic, 2)]);
        assert_eq!(routes(1), [Route::Pin(Chip::PicMaster, 1), Route::Pin(Chip::Ioapic, 1)]);
        assert_eq!(routes(2), []);
        assert_eq!(routes(15), [Route::Pin(Chip::PicSlave, 7), Route::Pin(Chip::Ioapic, 15)]);
        assert_eq!(routes(23), [Route::Pin(Chip::Ioapic, 23)]);
        assert_eq!((table.entries().len(), routes(24)), (15 + 23, vec![]));
    }

    #[test]
    fn test_split_table_reserves_a_message_for_each_pin() {
        let mut table = RoutingTable::for_split_irqchip(4095);
        assert_eq!(table.entries().len(), 24);
        assert_eq!(table.add_msi(msi(1)), Ok(24));
        assert_eq!(table.update_msi(4, msi(2)), Ok(()));
        assert_eq!(table.entries()[4], IrqRoute { gsi: 4, route: Route::Msi(msi(2)) });
    }

    #[test]
    fn test_a_line_has_no_message_route_and_a_full_table_is_an_error() {
        let mut table = RoutingTable::for_full_irqchip(40);
        assert_eq!(table.update_msi(4, msi(1)), Err(RoutingError::Unknown(4)));
        assert_eq!((table.add_msi(msi(1)), table.add_msi(msi(2))), (Ok(24), Ok(25)));
        assert_eq!(table.add_msi(msi(3)), Err(RoutingError::Full(40)), "rows, not GSIs, are used up");
        table.release(24);
        assert_eq!(table.add_msi(msi(3)), Ok(24));
    }

    #[derive(Clone, Copy, Debug)]
    enum Change {
        Add(u32),
        Update(u32, u32),
        Release(u32),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            3 => any::<u32>().prop_map(Change::Add),
            1 => (0u32..12, any::<u32>()).prop_map(|(gsi, data)| Change::Update(gsi, data)),
            2 => (0u32..12).prop_map(Change::Release),
        ]
    }

    proptest! {
        /// After any sequence of changes, the table contains the same messages as a plain map.
        #[test]
        fn test_table_is_a_map_with_the_lowest_gsi_first(changes in prop::collection::vec(change(), 0..60)) {
            const LIMIT: u32 = 8;
            let mut table = RoutingTable::new(LIMIT);
            let mut model = std::collections::BTreeMap::new();
            for change in changes {
                match change {
                    Change::Add(data) => {
                        let free = (0..LIMIT).find(|gsi| !model.contains_key(gsi));
                        prop_assert_eq!(table.add_msi(msi(data)), free.ok_or(RoutingError::Full(LIMIT)));
                        model.extend(free.map(|gsi| (gsi, data)));
                    }
                    Change::Update(gsi, data) => {
                        let known = model.get_mut(&gsi).map(|old| *old = data);
                        prop_assert_eq!(table.update_msi(gsi, msi(data)), known.ok_or(RoutingError::Unknown(gsi)));
                    }
                    Change::Release(gsi) => {
                        table.release(gsi);
                        model.remove(&gsi);
                    }
                }
                let mut entries = table.entries().to_vec();
                entries.sort_by_key(|entry| entry.gsi);
                let modelled = model.iter().map(|(&gsi, &data)| IrqRoute { gsi, route: Route::Msi(msi(data)) });
                prop_assert_eq!(entries, modelled.collect::<Vec<_>>());
            }
        }
    }
}
