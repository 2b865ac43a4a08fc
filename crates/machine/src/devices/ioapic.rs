//! The 82093AA IOAPIC: 24 pins, each with a redirection entry that selects the message to the local APICs.
//!
//! A state machine: its inputs are lines, register accesses and ends of interrupts, its outputs are messages.
//! [`crate::interrupts`] connects it.

use kvm_accel::interrupts::Msi;

/// The address of a PC's first IOAPIC.
pub const IOAPIC_BASE: u64 = 0xfec0_0000;
/// The size of its registers in bytes.
pub const IOAPIC_LEN: u64 = 0x1000;
/// The number of pins.
pub const IOAPIC_PINS: u8 = 24;

/// Register select, window, and the end-of-interrupt register of version 0x20.
const SELECT: u64 = 0x00;
const WINDOW: u64 = 0x10;
const END_OF_INTERRUPT: u64 = 0x40;

/// Version 0x20, which has the end-of-interrupt register, as QEMU's does; the last entry is 23.
const VERSION: u32 = 0x0017_0020;
const FIRST_ENTRY: u8 = 0x10;

const REMOTE_IRR: u64 = 1 << 14;
const LEVEL: u64 = 1 << 15;
const MASKED: u64 = 1 << 16;
const DELIVERY_STATUS: u64 = 1 << 12;
/// Bits that a guest cannot write.
const READ_ONLY: u64 = REMOTE_IRR | DELIVERY_STATUS;

/// The IOAPIC.
#[derive(Clone, Debug)]
pub struct Ioapic {
    id: u32,
    select: u8,
    entries: [u64; IOAPIC_PINS as usize],
    /// The levels of the lines.
    lines: u32,
    /// Lines with a message to send.
    requests: u32,
}

impl Default for Ioapic {
    fn default() -> Self {
        Self { id: 0, select: 0, entries: [MASKED; IOAPIC_PINS as usize], lines: 0, requests: 0 }
    }
}

/// Returns the message of an entry.
fn message(entry: u64) -> Msi {
    let (destination, logical) = (entry >> 56, entry >> 11 & 1);
    let (vector_and_mode, level) = (entry & 0x7ff, entry & LEVEL);
    // A level-triggered message is always an assertion.
    let data = vector_and_mode | level | if level != 0 { 1 << 14 } else { 0 };
    Msi { address: 0xfee0_0000 | destination << 12 | logical << 2, data: u32::try_from(data).unwrap_or_default() }
}

impl Ioapic {
    /// Sets the level of a pin. Returns the message that this sends.
    #[must_use]
    pub fn set_line(&mut self, pin: u8, high: bool) -> Option<Msi> {
        let index = usize::from(pin);
        let entry = *self.entries.get(index)?;
        let bit = 1 << pin;
        let rising = high && self.lines & bit == 0;
        if high {
            self.lines |= bit;
        } else {
            self.lines &= !bit;
        }
        if entry & LEVEL != 0 {
            self.requests = self.requests & !bit | self.lines & bit;
        } else if rising && entry & MASKED == 0 {
            // An edge on a masked pin is ignored, as in the manual.
            self.requests |= bit;
        }
        self.service(pin)
    }

    /// Handles the end of the interrupt `vector`. Returns the level-triggered pins with that vector, each with a
    /// message if it is still raised. The pins include those that an irqfd raised: the kernel sent their messages
    /// itself.
    pub fn end_of_interrupt(&mut self, vector: u8) -> Vec<(u8, Option<Msi>)> {
        let served = |entry: u64| entry & 0xff == u64::from(vector) && entry & LEVEL != 0;
        let pins: Vec<u8> = (0..IOAPIC_PINS).filter(|&pin| served(self.entry(pin))).collect();
        let acknowledge = |pin| {
            if let Some(entry) = self.entries.get_mut(usize::from(pin)) {
                *entry &= !REMOTE_IRR;
            }
            (pin, self.service(pin))
        };
        pins.into_iter().map(acknowledge).collect()
    }

    /// Returns the message of a pin that is not masked. The kernel needs it, to know which vectors are level-triggered.
    #[must_use]
    pub fn route(&self, pin: u8) -> Option<Msi> {
        let entry = self.entry(pin);
        (entry & MASKED == 0).then(|| message(entry))
    }

    /// Writes 32 bits at `offset`.
    pub fn write(&mut self, offset: u64, value: u32) -> Written {
        match offset {
            SELECT => {
                self.select = (value & 0xff) as u8;
                Written::default()
            }
            WINDOW => self.write_register(value),
            END_OF_INTERRUPT => {
                Written { acknowledged: self.end_of_interrupt((value & 0xff) as u8), ..Default::default() }
            }
            _ => Written::default(),
        }
    }

    /// Reads 32 bits at `offset`.
    #[must_use]
    pub fn read(&self, offset: u64) -> u32 {
        match (offset, self.select) {
            (SELECT, select) => select.into(),
            (WINDOW, 0 | 2) => self.id << 24,
            (WINDOW, 1) => VERSION,
            (WINDOW, select) => {
                self.half(select).map_or(0, |(pin, shift)| (self.entry(pin) >> shift & 0xffff_ffff) as u32)
            }
            _ => 0,
        }
    }

    fn entry(&self, pin: u8) -> u64 {
        self.entries.get(usize::from(pin)).copied().unwrap_or(MASKED)
    }

    /// Returns the pin of the selected register, and the register's bit offset in the entry.
    fn half(&self, select: u8) -> Option<(u8, u32)> {
        let index = select.checked_sub(FIRST_ENTRY)?;
        (index / 2 < IOAPIC_PINS).then_some((index / 2, u32::from(index % 2) * 32))
    }

    fn write_register(&mut self, value: u32) -> Written {
        if self.select == 0 {
            self.id = value >> 24 & 0xf;
            return Written::default();
        }
        let Some((pin, shift)) = self.half(self.select) else { return Written::default() };
        let Some(entry) = self.entries.get_mut(usize::from(pin)) else { return Written::default() };
        let before = *entry;
        let half = 0xffff_ffff << shift & !READ_ONLY;
        *entry = before & !half | u64::from(value) << shift & half;
        if *entry & LEVEL == 0 {
            // Only a level-triggered interrupt waits for its end. A level does not count as an edge if the entry
            // becomes edge-triggered.
            *entry &= !REMOTE_IRR;
            if before & LEVEL != 0 {
                self.requests &= !(1 << pin);
            }
        } else if before & LEVEL == 0 {
            self.requests = self.requests & !(1 << pin) | self.lines & 1 << pin;
        }
        let changed = (before ^ self.entry(pin)) & !READ_ONLY != 0;
        Written { changed: changed.then_some(pin), sent: self.service(pin), acknowledged: Vec::new() }
    }

    /// Sends the pending message of a pin, if its entry allows that.
    fn service(&mut self, pin: u8) -> Option<Msi> {
        let bit = 1 << pin;
        let entry = self.entries.get_mut(usize::from(pin))?;
        if self.requests & bit == 0 || *entry & MASKED != 0 {
            return None;
        }
        if *entry & LEVEL == 0 {
            self.requests &= !bit;
        } else if *entry & REMOTE_IRR != 0 {
            return None;
        } else {
            *entry |= REMOTE_IRR;
        }
        Some(message(*entry))
    }
}

/// The results of a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The pin whose entry has changed.
    pub changed: Option<u8>,
    /// The message of that pin.
    pub sent: Option<Msi>,
    /// The same as [`Ioapic::end_of_interrupt`] returns.
    pub acknowledged: Vec<(u8, Option<Msi>)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(ioapic: &mut Ioapic, pin: u8, entry: u64) -> Written {
        ioapic.write(SELECT, u32::from(FIRST_ENTRY + 2 * pin + 1));
        let _ = ioapic.write(WINDOW, (entry >> 32) as u32);
        ioapic.write(SELECT, u32::from(FIRST_ENTRY + 2 * pin));
        ioapic.write(WINDOW, (entry & 0xffff_ffff) as u32)
    }

    const fn msi(address: u64, data: u32) -> Option<Msi> {
        Some(Msi { address, data })
    }

    #[test]
    fn test_version_and_entries_are_a_pcs() {
        let mut ioapic = Ioapic::default();
        ioapic.write(SELECT, 1);
        assert_eq!(ioapic.read(WINDOW), 0x0017_0020);
        ioapic.write(SELECT, 0);
        ioapic.write(WINDOW, 0x0500_0000);
        assert_eq!(ioapic.read(WINDOW), 0x0500_0000);
        ioapic.write(SELECT, 0x10);
        assert_eq!(ioapic.read(WINDOW), 1 << 16, "masked at power-on");
        assert_eq!(ioapic.read(0x20), 0);
    }

    #[test]
    fn test_edges_send_once_and_are_lost_while_masked() {
        let mut ioapic = Ioapic::default();
        assert_eq!(ioapic.set_line(4, true), None);
        let _ = ioapic.set_line(4, false);
        assert_eq!(set(&mut ioapic, 4, 0x0300_0000_0000_0841).sent, None);
        assert_eq!(ioapic.set_line(4, true), msi(0xfee0_3004, 0x041));
        assert_eq!(ioapic.set_line(4, true), None);
        assert_eq!(ioapic.set_line(4, false), None);
        assert_eq!(ioapic.route(4), msi(0xfee0_3004, 0x041));
    }

    #[test]
    fn test_levels_wait_for_their_end_and_are_sent_again_while_raised() {
        let mut ioapic = Ioapic::default();
        let _ = set(&mut ioapic, 10, 0x8051);
        assert_eq!(ioapic.set_line(10, true), msi(0xfee0_0000, 0xc051));
        assert_eq!(ioapic.set_line(10, true), None, "remote IRR");
        assert_eq!(ioapic.end_of_interrupt(0x52), []);
        assert_eq!(ioapic.end_of_interrupt(0x51), [(10, msi(0xfee0_0000, 0xc051))]);
        assert_eq!(ioapic.set_line(10, false), None);
        assert_eq!(ioapic.write(END_OF_INTERRUPT, 0x51).acknowledged, [(10, None)]);
        assert_eq!(ioapic.end_of_interrupt(0x51), [(10, None)], "of an irqfd's");
    }

    #[test]
    fn test_unmasking_a_raised_level_sends_it_and_edge_forgets_remote_irr() {
        let mut ioapic = Ioapic::default();
        let _ = set(&mut ioapic, 10, 0x1_8051);
        assert_eq!(ioapic.set_line(10, true), None);
        let written = set(&mut ioapic, 10, 0x8051);
        assert_eq!((written.changed, written.sent), (Some(10), msi(0xfee0_0000, 0xc051)));
        ioapic.write(SELECT, 0x10 + 20);
        assert_eq!(ioapic.read(WINDOW), 0xc051);
        assert_eq!(set(&mut ioapic, 10, 0x51).sent, None);
        assert_eq!(ioapic.read(WINDOW), 0x51);
    }

    proptest! {
        /// For any accesses and lines: nothing panics, and no guest changes the read-only bits.
        #[test]
        fn test_any_sequence_keeps_the_invariants(steps in proptest::collection::vec((0_u8..4, any::<u8>(), any::<u32>()), 0..200)) {
            let mut ioapic = Ioapic::default();
            for (what, which, value) in steps {
                match what {
                    0 => drop(ioapic.set_line(which % 30, value & 1 != 0)),
                    1 => drop(ioapic.write(SELECT, u32::from(which % 0x50))),
                    2 => drop(ioapic.write([WINDOW, END_OF_INTERRUPT, 0x100][usize::from(which) % 3], value)),
                    _ => drop(ioapic.end_of_interrupt(which)),
                }
                for (pin, entry) in (0..).zip(ioapic.entries) {
                    prop_assert!(entry & REMOTE_IRR == 0 || entry & LEVEL != 0, "pin {pin}: {entry:#x}");
                    prop_assert_eq!(entry & DELIVERY_STATUS, 0);
                }
            }
        }
    }
}
