//! The pair of 8259A interrupt controllers of a PC: eight lines each, the second behind line 2 of the first.
//!
//! A state machine: its inputs are lines and register accesses, its output is a vector. [`crate::interrupts`] connects
//! it.

/// The first port of the master: command and data. `PIC_SLAVE` is that of the slave, and `PIC_ELCR` that of the
/// edge/level control registers.
pub const PIC_MASTER: u16 = 0x20;
/// See [`PIC_MASTER`].
pub const PIC_SLAVE: u16 = 0xa0;
/// See [`PIC_MASTER`].
pub const PIC_ELCR: u16 = 0x4d0;

/// The line of the master that the slave drives.
const CASCADE: u8 = 2;
/// The lines that the ELCR can make level-triggered. Timer, keyboard and cascade, and clock and coprocessor, are always
/// edge-triggered.
const LEVEL_MASK: [u8; 2] = [0xf8, 0xde];

/// The meaning of the next write to a data port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expects {
    /// The interrupt mask (OCW1).
    #[default]
    Mask,
    /// ICW2: the vectors.
    Vectors,
    /// ICW3: the cascade, which is fixed on a PC.
    Cascade,
    /// ICW4: modes.
    Modes,
}

/// One 8259A.
#[derive(Clone, Debug, Default)]
struct Chip {
    /// The levels of the lines.
    lines: u8,
    requests: u8,
    in_service: u8,
    mask: u8,
    /// Lines that are level-triggered.
    level: u8,
    /// The line with the highest priority.
    first: u8,
    /// Bits 7:3 of the vectors.
    vectors: u8,
    expects: Expects,
    needs_icw4: bool,
    single: bool,
    reads_in_service: bool,
    poll: bool,
    special_mask: bool,
    special_fully_nested: bool,
    auto_eoi: bool,
    rotate_on_auto_eoi: bool,
}

impl Chip {
    fn set_line(&mut self, line: u8, high: bool) {
        let bit = 1 << line;
        let rising = high && self.lines & bit == 0;
        if high {
            self.lines |= bit;
        } else {
            self.lines &= !bit;
        }
        if self.level & bit != 0 {
            self.requests = self.requests & !bit | self.lines & bit;
        } else if rising {
            self.requests |= bit;
        } else if !high {
            // A request that falls before it is acknowledged is lost; the processor then gets a spurious interrupt.
            self.requests &= !bit;
        }
    }

    /// Returns the set line with the highest priority, and how many lines have a higher priority.
    fn highest(&self, lines: u8) -> Option<(u8, u8)> {
        let turned = lines.rotate_right(self.first.into());
        let above = (0..8).find(|above| turned & 1 << above != 0)?;
        Some(((self.first + above) & 7, above))
    }

    /// Returns the line that interrupts: requested, not masked, and of a higher priority than those in service.
    fn interrupts(&self, master: bool) -> Option<u8> {
        let (line, above) = self.highest(self.requests & !self.mask)?;
        let mut serving = self.in_service;
        if self.special_mask {
            serving &= !self.mask;
        }
        if self.special_fully_nested && master {
            // The slave may have a request of a higher priority than the one it has in service.
            serving &= !(1 << CASCADE);
        }
        self.highest(serving).is_none_or(|(_, serving)| above < serving).then_some(line)
    }

    fn acknowledge(&mut self, line: u8) {
        let bit = 1 << line;
        if !self.auto_eoi {
            self.in_service |= bit;
        } else if self.rotate_on_auto_eoi {
            self.first = (line + 1) & 7;
        }
        if self.level & bit == 0 {
            self.requests &= !bit;
        }
    }

    fn write_command(&mut self, value: u8) {
        if value & 0x10 != 0 {
            // ICW1 resets everything except the lines' levels and trigger modes.
            *self = Self {
                lines: self.lines,
                requests: self.lines & self.level,
                level: self.level,
                vectors: self.vectors,
                expects: Expects::Vectors,
                needs_icw4: value & 1 != 0,
                single: value & 2 != 0,
                ..Self::default()
            };
        } else if value & 8 != 0 {
            self.poll |= value & 4 != 0;
            if value & 2 != 0 {
                self.reads_in_service = value & 1 != 0;
            }
            if value & 0x40 != 0 {
                self.special_mask = value & 0x20 != 0;
            }
        } else {
            self.end_of_interrupt(value);
        }
    }

    /// Handles OCW2: end-of-interrupt and rotation commands.
    fn end_of_interrupt(&mut self, value: u8) {
        let named = value & 7;
        match value >> 5 {
            0 | 4 => self.rotate_on_auto_eoi = value & 0x80 != 0,
            command @ (1 | 5) => {
                if let Some((line, _)) = self.highest(self.in_service) {
                    self.in_service &= !(1 << line);
                    if command == 5 {
                        self.first = (line + 1) & 7;
                    }
                }
            }
            command @ (3 | 7) => {
                self.in_service &= !(1 << named);
                if command == 7 {
                    self.first = (named + 1) & 7;
                }
            }
            6 => self.first = (named + 1) & 7,
            _ => {}
        }
    }

    fn write_data(&mut self, value: u8) {
        self.expects = match self.expects {
            Expects::Mask => {
                self.mask = value;
                Expects::Mask
            }
            Expects::Vectors => {
                self.vectors = value & 0xf8;
                match (self.single, self.needs_icw4) {
                    (false, _) => Expects::Cascade,
                    (true, true) => Expects::Modes,
                    (true, false) => Expects::Mask,
                }
            }
            Expects::Cascade if self.needs_icw4 => Expects::Modes,
            Expects::Cascade => Expects::Mask,
            Expects::Modes => {
                self.auto_eoi = value & 2 != 0;
                self.special_fully_nested = value & 0x10 != 0;
                Expects::Mask
            }
        };
    }

    fn read(&mut self, data: bool, master: bool) -> u8 {
        if std::mem::take(&mut self.poll) {
            // A poll is an acknowledgement by software.
            return self.interrupts(master).map_or(0, |line| {
                self.acknowledge(line);
                0x80 | line
            });
        }
        match (data, self.reads_in_service) {
            (true, _) => self.mask,
            (false, true) => self.in_service,
            (false, false) => self.requests,
        }
    }
}

/// Both controllers.
#[derive(Clone, Debug, Default)]
pub struct Pic {
    chips: [Chip; 2],
}

impl Pic {
    /// Sets the level of ISA line 0 to 15. Ignores the cascade, which no device drives.
    pub fn set_line(&mut self, line: u8, high: bool) {
        if let Some(chip) = self.chips.get_mut(usize::from(line / 8))
            && line != CASCADE
        {
            chip.set_line(line % 8, high);
        }
        self.cascade();
    }

    /// Returns true if an interrupt is pending for the processor.
    #[must_use]
    pub fn pending(&self) -> bool {
        self.chips[0].interrupts(true).is_some()
    }

    /// Acknowledges the interrupt. Returns its vector, or the vector of line 7 (15) if the request has fallen
    /// meanwhile.
    pub fn acknowledge(&mut self) -> u8 {
        let [master, slave] = &mut self.chips;
        let line = master.interrupts(true).inspect(|&line| master.acknowledge(line));
        let vector = match line {
            Some(CASCADE) => {
                let line = slave.interrupts(false).inspect(|&line| slave.acknowledge(line));
                slave.vectors | line.unwrap_or(7)
            }
            line => master.vectors | line.unwrap_or(7),
        };
        self.cascade();
        vector
    }

    /// Writes a byte to `port`, one of the six.
    pub fn write(&mut self, port: u16, value: u8) {
        match port {
            PIC_MASTER => self.chips[0].write_command(value),
            PIC_SLAVE => self.chips[1].write_command(value),
            _ if port == PIC_MASTER + 1 => self.chips[0].write_data(value),
            _ if port == PIC_SLAVE + 1 => self.chips[1].write_data(value),
            _ if port == PIC_ELCR => self.chips[0].level = value & LEVEL_MASK[0],
            _ if port == PIC_ELCR + 1 => self.chips[1].level = value & LEVEL_MASK[1],
            _ => {}
        }
        self.cascade();
    }

    /// Reads a byte from `port`, one of the six.
    pub fn read(&mut self, port: u16) -> u8 {
        let value = match port {
            PIC_MASTER => self.chips[0].read(false, true),
            PIC_SLAVE => self.chips[1].read(false, false),
            _ if port == PIC_MASTER + 1 => self.chips[0].read(true, true),
            _ if port == PIC_SLAVE + 1 => self.chips[1].read(true, false),
            _ if port == PIC_ELCR => self.chips[0].level,
            _ if port == PIC_ELCR + 1 => self.chips[1].level,
            _ => 0xff,
        };
        self.cascade();
        value
    }

    /// Drives the master's cascade line with the slave's output.
    fn cascade(&mut self) {
        let [master, slave] = &mut self.chips;
        let high = slave.interrupts(false).is_some();
        // Two consecutive requests of the slave are two edges.
        if high && master.lines & 1 << CASCADE != 0 && master.requests & 1 << CASCADE == 0 {
            master.set_line(CASCADE, false);
        }
        master.set_line(CASCADE, high);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns a PIC with vectors from 0x20 and 0x28 on and no masked line, as every kernel initialises it.
    fn initialised() -> Pic {
        let mut pic = Pic::default();
        for (base, vectors, cascade) in [(PIC_MASTER, 0x20, 4), (PIC_SLAVE, 0x28, 2)] {
            pic.write(base, 0x11);
            [vectors, cascade, 1, 0].into_iter().for_each(|value| pic.write(base + 1, value));
        }
        pic
    }

    fn pulse(pic: &mut Pic, line: u8) {
        pic.set_line(line, false);
        pic.set_line(line, true);
    }

    #[test]
    fn test_lines_interrupt_in_priority_and_wait_for_the_end_of_what_is_served() {
        let mut pic = initialised();
        pulse(&mut pic, 4);
        pulse(&mut pic, 0);
        assert_eq!(pic.acknowledge(), 0x20);
        assert!(!pic.pending(), "line 4 is below line 0");
        pic.write(PIC_MASTER, 0x20);
        assert!(pic.pending());
        assert_eq!(pic.acknowledge(), 0x24);
        pulse(&mut pic, 0);
        assert!(pic.pending(), "line 0 is above line 4");
    }

    #[test]
    fn test_slave_interrupts_through_the_cascade() {
        let mut pic = initialised();
        pulse(&mut pic, 12);
        pulse(&mut pic, 8);
        assert_eq!(pic.acknowledge(), 0x28);
        assert!(!pic.pending());
        pic.write(PIC_SLAVE, 0x20);
        pic.write(PIC_MASTER, 0x20);
        assert_eq!(pic.acknowledge(), 0x2c);
    }

    #[test]
    fn test_masked_lines_are_remembered_and_read_back() {
        let mut pic = initialised();
        pic.write(PIC_MASTER + 1, 0xff);
        pulse(&mut pic, 4);
        assert!(!pic.pending());
        assert_eq!((pic.read(PIC_MASTER), pic.read(PIC_MASTER + 1)), (0x10, 0xff));
        pic.write(PIC_MASTER + 1, 0xef);
        assert_eq!(pic.acknowledge(), 0x24);
        pic.write(PIC_MASTER, 0x0b);
        assert_eq!(pic.read(PIC_MASTER), 0x10, "in service");
    }

    #[test]
    fn test_level_lines_interrupt_until_they_fall() {
        let mut pic = initialised();
        pic.write(PIC_ELCR + 1, 0xff);
        assert_eq!(pic.read(PIC_ELCR + 1), 0xde);
        pic.set_line(11, true);
        for _ in 0..2 {
            assert_eq!(pic.acknowledge(), 0x2b);
            pic.write(PIC_SLAVE, 0x63);
            pic.write(PIC_MASTER, 0x62);
        }
        pic.set_line(11, false);
        assert!(!pic.pending());
    }

    #[test]
    fn test_an_interrupt_that_was_withdrawn_is_spurious() {
        let mut pic = initialised();
        assert_eq!(pic.acknowledge(), 0x27);
        pulse(&mut pic, 3);
        pic.set_line(3, false);
        assert!(!pic.pending());
    }

    #[test]
    fn test_poll_acknowledges() {
        let mut pic = initialised();
        pulse(&mut pic, 6);
        pic.write(PIC_MASTER, 0x0c);
        assert_eq!(pic.read(PIC_MASTER), 0x86);
        pic.write(PIC_MASTER, 0x0c);
        assert_eq!(pic.read(PIC_MASTER), 0);
    }

    proptest! {
        /// For any accesses and lines: nothing panics, a pending interrupt has a vector, and masking everything clears
        /// it.
        #[test]
        fn test_any_sequence_keeps_the_invariants(steps in proptest::collection::vec((0_u8..4, any::<u8>(), any::<u8>()), 0..200)) {
            let ports = [PIC_MASTER, PIC_MASTER + 1, PIC_SLAVE, PIC_SLAVE + 1, PIC_ELCR, PIC_ELCR + 1];
            let mut pic = Pic::default();
            for (what, which, value) in steps {
                let port = ports[usize::from(which) % ports.len()];
                match what {
                    0 => pic.set_line(which % 20, value & 1 != 0),
                    1 => pic.write(port, value),
                    2 => drop(pic.read(port)),
                    _ => drop(pic.acknowledge()),
                }
            }
            pic.chips.iter_mut().for_each(|chip| chip.expects = Expects::Mask);
            pic.write(PIC_MASTER + 1, 0xff);
            prop_assert!(!pic.pending());
        }
    }
}
