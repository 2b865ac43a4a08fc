//! The 8254 timer of a PC: channel 0 drives interrupt line 0, channel 2 the speaker.
//!
//! A state machine. Its clock is an argument, in ticks of 1.193182 MHz; [`crate::interrupts`] passes the time.

/// The first port: channels 0 to 2, then the control register.
pub const PIT_BASE: u16 = 0x40;
/// The PC's port B: channel 2's gate and output, the speaker, the refresh clock.
pub const PORT_B: u16 = 0x61;
/// Ticks per second.
pub const PIT_FREQUENCY: u64 = 1_193_182;

/// How a counter is read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Access {
    Low,
    High,
    #[default]
    LowThenHigh,
}

#[derive(Clone, Debug, Default)]
struct Channel {
    /// The mode, 0 to 5.
    mode: u8,
    access: Access,
    /// The reload value, 1 to 0x10000; 0 until it is loaded.
    reload: u32,
    /// When the counter was loaded, or its gate rose.
    start: u64,
    gate: bool,
    /// The low byte, which is written first, until the high byte follows.
    low: Option<u8>,
    /// The next read returns the high byte.
    reads_high: bool,
    /// A latched count that has not been read yet.
    latched: Option<u16>,
    status: Option<u8>,
}

impl Channel {
    fn elapsed(&self, now: u64) -> u64 {
        now.saturating_sub(self.start)
    }

    /// Returns the output's level.
    fn output(&self, now: u64) -> bool {
        let (ticks, reload) = (self.elapsed(now), u64::from(self.reload));
        if reload == 0 {
            return self.mode != 0;
        }
        match self.mode {
            0 | 1 => ticks >= reload,
            2 => ticks % reload != reload - 1,
            3 => ticks % reload < reload.div_ceil(2),
            _ => ticks != reload,
        }
    }

    /// Returns the counter's value.
    fn count(&self, now: u64) -> u16 {
        let (ticks, reload) = (self.elapsed(now), u64::from(self.reload.max(1)));
        let count = match self.mode {
            2 => reload - ticks % reload,
            3 => reload - 2 * ticks % reload,
            _ => reload.wrapping_sub(ticks),
        };
        (count & 0xffff) as u16
    }

    /// Returns when the output next rises after `now`, if it does.
    fn next_rise(&self, now: u64) -> Option<u64> {
        let reload = u64::from(self.reload);
        if reload == 0 {
            return None;
        }
        let once = |at: u64| (at > now).then_some(at);
        match self.mode {
            0 => once(self.start + reload),
            2 | 3 => Some(self.start + (self.elapsed(now) / reload + 1) * reload),
            4 => once(self.start + reload + 1),
            // Modes 1 and 5 wait for a rising gate, and the gate of channel 0 is always high.
            _ => None,
        }
    }

    fn control(&mut self, value: u8, now: u64) {
        match value >> 4 & 3 {
            0 => self.latch_count(now),
            access => {
                self.access = match access {
                    1 => Access::Low,
                    2 => Access::High,
                    _ => Access::LowThenHigh,
                };
                // Modes 6 and 7 are the same as 2 and 3. BCD counting is not implemented, because no guest uses it.
                self.mode = match value >> 1 & 7 {
                    mode @ 6..=7 => mode - 4,
                    mode => mode,
                };
                (self.reload, self.low, self.reads_high, self.latched, self.status) = (0, None, false, None, None);
            }
        }
    }

    fn latch_count(&mut self, now: u64) {
        let count = self.count(now);
        self.latched.get_or_insert(count);
    }

    fn latch_status(&mut self, now: u64) {
        let access = match self.access {
            Access::Low => 1,
            Access::High => 2,
            Access::LowThenHigh => 3,
        };
        let (output, null) = (u8::from(self.output(now)), u8::from(self.reload == 0));
        self.status.get_or_insert(output << 7 | null << 6 | access << 4 | self.mode << 1);
    }

    fn write(&mut self, value: u8, now: u64) {
        let count = match (self.access, self.low.take()) {
            (Access::Low, _) => value.into(),
            (Access::High, _) => u16::from(value) << 8,
            (Access::LowThenHigh, Some(low)) => u16::from_le_bytes([low, value]),
            (Access::LowThenHigh, None) => {
                self.low = Some(value);
                return;
            }
        };
        self.reload = if count == 0 { 0x1_0000 } else { count.into() };
        self.start = now;
    }

    fn read(&mut self, now: u64) -> u8 {
        if let Some(status) = self.status.take() {
            return status;
        }
        let [low, high] = self.latched.unwrap_or_else(|| self.count(now)).to_le_bytes();
        let is_high = match self.access {
            Access::Low => false,
            Access::High => true,
            Access::LowThenHigh => {
                self.reads_high = !self.reads_high;
                !self.reads_high
            }
        };
        if self.access != Access::LowThenHigh || is_high {
            self.latched = None;
        }
        if is_high { high } else { low }
    }
}

/// The timer and port B.
#[derive(Clone, Debug)]
pub struct Pit {
    channels: [Channel; 3],
    speaker: bool,
}

impl Default for Pit {
    /// The gate of channel 2 is low; those of the others are wired high.
    fn default() -> Self {
        let open = || Channel { gate: true, ..Channel::default() };
        Self { channels: [open(), open(), Channel::default()], speaker: false }
    }
}

impl Pit {
    /// Writes a byte to one of the four ports, or to port B.
    pub fn write(&mut self, port: u16, value: u8, now: u64) {
        if port == PORT_B {
            let channel = &mut self.channels[2];
            let rises = value & 1 != 0 && !channel.gate;
            channel.gate = value & 1 != 0;
            if rises && matches!(channel.mode, 1 | 2 | 3 | 5) {
                channel.start = now;
            }
            self.speaker = value & 2 != 0;
            return;
        }
        match port.wrapping_sub(PIT_BASE) {
            3 if value >> 6 == 3 => {
                for channel in (0..3).filter(|n| value & 2 << n != 0) {
                    if value & 0x20 == 0 {
                        self.channels[channel].latch_count(now);
                    }
                    if value & 0x10 == 0 {
                        self.channels[channel].latch_status(now);
                    }
                }
            }
            3 => self.channels[usize::from(value >> 6)].control(value, now),
            channel => {
                if let Some(channel) = self.channels.get_mut(usize::from(channel)) {
                    channel.write(value, now);
                }
            }
        }
    }

    /// Reads a byte from one of the four ports, or from port B.
    pub fn read(&mut self, port: u16, now: u64) -> u8 {
        if port == PORT_B {
            let channel = &self.channels[2];
            // The refresh clock toggles every 15 us, about 18 ticks.
            let refresh = u8::from(now / 18 % 2 == 1);
            return u8::from(channel.output(now)) << 5
                | refresh << 4
                | u8::from(self.speaker) << 1
                | u8::from(channel.gate);
        }
        match self.channels.get_mut(usize::from(port.wrapping_sub(PIT_BASE))) {
            Some(channel) => channel.read(now),
            // The control register cannot be read.
            None => 0,
        }
    }

    /// Returns true if line 0 rises again and again (modes 2 and 3).
    #[must_use]
    pub const fn is_periodic(&self) -> bool {
        matches!(self.channels[0].mode, 2 | 3)
    }

    /// Returns when line 0 rises next.
    #[must_use]
    pub fn next_tick(&self, now: u64) -> Option<u64> {
        self.channels[0].next_rise(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn loaded(mode: u8, count: u16) -> Pit {
        let mut pit = Pit::default();
        pit.write(0x43, 0x30 | mode << 1, 0);
        count.to_le_bytes().into_iter().for_each(|byte| pit.write(0x40, byte, 1000));
        pit
    }

    fn read_count(pit: &mut Pit, now: u64) -> u16 {
        pit.write(0x43, 0, now);
        u16::from_le_bytes([pit.read(0x40, now + 5), pit.read(0x40, now + 7)])
    }

    #[test]
    fn test_rate_generator_ticks_every_reload() {
        let mut pit = loaded(2, 100);
        assert_eq!(pit.next_tick(1000), Some(1100));
        assert_eq!(pit.next_tick(1100), Some(1200));
        assert_eq!(pit.next_tick(1199), Some(1200));
        assert_eq!(read_count(&mut pit, 1000), 100);
        assert_eq!(read_count(&mut pit, 1030), 70);
        assert_eq!(read_count(&mut pit, 1199), 1);
    }

    #[test]
    fn test_one_shot_ticks_once_and_counts_on() {
        let mut pit = loaded(0, 10);
        assert_eq!(pit.next_tick(1005), Some(1010));
        assert_eq!(pit.next_tick(1010), None);
        assert_eq!(read_count(&mut pit, 1012), 0xfffe);
    }

    #[test]
    fn test_count_zero_is_the_longest() {
        assert_eq!(loaded(3, 0).next_tick(1000), Some(1000 + 0x1_0000));
    }

    #[test]
    fn test_nothing_ticks_before_it_is_loaded() {
        let mut pit = Pit::default();
        assert_eq!(pit.next_tick(5), None);
        pit.write(0x43, 0x34, 0);
        pit.write(0x40, 1, 0);
        assert_eq!(pit.next_tick(5), None, "the high byte is missing");
    }

    #[test]
    fn test_latch_keeps_the_count_until_both_bytes_are_read() {
        let mut pit = loaded(2, 0x1234);
        pit.write(0x43, 0, 1000);
        pit.write(0x43, 0, 1100);
        assert_eq!([pit.read(0x40, 1200), pit.read(0x40, 1300)], [0x34, 0x12]);
    }

    #[test]
    fn test_read_back_returns_status_and_count() {
        let mut pit = loaded(3, 1000);
        pit.write(0x43, 0xc2, 1000);
        assert_eq!(pit.read(0x40, 1000), 0x80 | 0x30 | 3 << 1);
        assert_eq!([pit.read(0x40, 1000), pit.read(0x40, 1000)], 1000_u16.to_le_bytes());
    }

    #[test]
    fn test_port_b_gates_channel_2_and_shows_its_output() {
        let mut pit = Pit::default();
        pit.write(0x43, 0xb0, 0);
        [10, 0].into_iter().for_each(|byte| pit.write(0x42, byte, 0));
        pit.write(PORT_B, 3, 0);
        assert_eq!(pit.read(PORT_B, 5) & 0x23, 3);
        assert_eq!(pit.read(PORT_B, 10) & 0x23, 0x23);
    }

    proptest! {
        /// For any accesses at any times: nothing panics, and a tick is always in the future.
        #[test]
        fn test_any_sequence_keeps_the_invariants(steps in proptest::collection::vec((any::<bool>(), 0_u16..5, any::<u8>(), 0_u64..100_000), 0..200)) {
            let mut pit = Pit::default();
            let mut now = 0;
            for (write, port, value, later) in steps {
                now += later;
                let port = if port == 4 { PORT_B } else { PIT_BASE + port };
                if write {
                    pit.write(port, value, now);
                } else {
                    let _ = pit.read(port, now);
                }
                prop_assert!(pit.next_tick(now).is_none_or(|tick| tick > now));
            }
        }
    }
}
