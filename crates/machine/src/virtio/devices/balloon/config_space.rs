//! `struct virtio_balloon_config`.

/// The configuration space. Sizes are in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConfigSpace {
    /// `num_pages`: the requested size of the balloon.
    pub target: u32,
    /// `actual`: the current size, which the driver writes.
    pub actual: u32,
    /// `poison_val`: the value with which the driver fills free pages.
    pub poison: u32,
}

/// Size in bytes, with `free_page_hint_cmd_id`, which is always 0.
const LEN: usize = 16;

impl ConfigSpace {
    fn bytes(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..4].copy_from_slice(&self.target.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.actual.to_le_bytes());
        bytes[12..].copy_from_slice(&self.poison.to_le_bytes());
        bytes
    }

    pub fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let bytes = self.bytes();
        bytes.iter().skip(start(offset)).zip(data).for_each(|(byte, into)| *into = *byte);
    }

    /// Handles a write of the driver, which may cover part of a field. Fields that the driver must not write stay unchanged.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let mut bytes = self.bytes();
        bytes.iter_mut().skip(start(offset)).zip(data).for_each(|(byte, new)| *byte = *new);
        let [_, _, _, _, actual @ .., _, _, _, _, _, _, _, _] = bytes;
        let [.., a, b, c, d] = bytes;
        (self.actual, self.poison) = (u32::from_le_bytes(actual), u32::from_le_bytes([a, b, c, d]));
    }

    /// Resets the driver's fields: the next driver starts with an empty balloon.
    pub fn driver_gone(&mut self) {
        (self.actual, self.poison) = (0, 0);
    }
}

fn start(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(LEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_the_driver_writes_what_is_its_own() {
        let mut config = ConfigSpace { target: 0x1122_3344, ..ConfigSpace::default() };
        config.write(0, &[0xff; 16]);
        assert_eq!(config, ConfigSpace { target: 0x1122_3344, actual: u32::MAX, poison: u32::MAX });
        config.write(4, &7_u32.to_le_bytes());
        config.write(13, &[0]);
        config.write(15, &[1, 2, 3]);
        config.write(u64::MAX, &[1]);
        assert_eq!((config.actual, config.poison), (7, 0x01ff_00ff));
        let mut bytes = [0xee; 18];
        config.read(0, &mut bytes);
        assert_eq!(bytes, [0x44, 0x33, 0x22, 0x11, 7, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0xff, 1, 0, 0]);
    }
}
