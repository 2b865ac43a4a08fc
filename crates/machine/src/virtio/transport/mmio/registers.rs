//! The registers that a driver writes, as plain values.

use virtio_bindings::virtio_config::{VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK};
use virtio_bindings::virtio_mmio as register;
use virtio_queue::{Queue, QueueT};

/// The values that the driver has written. The bit DEVICE_NEEDS_RESET of Status is in `Failures`.
pub struct Registers {
    pub status: u32,
    pub device_features_sel: u32,
    pub driver_features_sel: u32,
    pub driver_features: u64,
    pub queue_sel: u32,
    pub queues: Vec<Queue>,
}

impl Registers {
    pub fn new(sizes: &[u16]) -> Result<Self, virtio_queue::Error> {
        Ok(Self {
            status: 0,
            device_features_sel: 0,
            driver_features_sel: 0,
            driver_features: 0,
            queue_sel: 0,
            queues: sizes.iter().map(|&size| Queue::new(size)).collect::<Result<_, _>>()?,
        })
    }

    pub fn reset(&mut self) {
        (self.status, self.driver_features) = (0, 0);
        (self.device_features_sel, self.driver_features_sel, self.queue_sel) = (0, 0, 0);
        self.queues.iter_mut().for_each(Queue::reset);
    }

    pub fn has(&self, status: u32) -> bool {
        self.status & status != 0
    }

    /// Returns the selected queue, if it exists.
    pub fn queue(&self) -> Option<&Queue> {
        self.queues.get(usize::try_from(self.queue_sel).ok()?)
    }

    /// Returns the selected queue if it may be changed: the features have been negotiated, and the queue is not in use.
    pub fn queue_mut(&mut self) -> Option<&mut Queue> {
        let agreed = self.has(VIRTIO_CONFIG_S_FEATURES_OK) && !self.has(VIRTIO_CONFIG_S_DRIVER_OK);
        self.queues.get_mut(usize::try_from(self.queue_sel).ok()?).filter(|_| agreed)
    }
}

/// Writes a register of a queue.
pub fn write_queue(queue: &mut Queue, offset: u32, value: u32) {
    match offset {
        // `set_size` ignores an invalid size.
        register::VIRTIO_MMIO_QUEUE_NUM => queue.set_size(u16::try_from(value).unwrap_or(0)),
        register::VIRTIO_MMIO_QUEUE_READY => queue.set_ready(value & 1 != 0),
        register::VIRTIO_MMIO_QUEUE_DESC_LOW => queue.set_desc_table_address(Some(value), None),
        register::VIRTIO_MMIO_QUEUE_DESC_HIGH => queue.set_desc_table_address(None, Some(value)),
        register::VIRTIO_MMIO_QUEUE_AVAIL_LOW => queue.set_avail_ring_address(Some(value), None),
        register::VIRTIO_MMIO_QUEUE_AVAIL_HIGH => queue.set_avail_ring_address(None, Some(value)),
        register::VIRTIO_MMIO_QUEUE_USED_LOW => queue.set_used_ring_address(Some(value), None),
        register::VIRTIO_MMIO_QUEUE_USED_HIGH => queue.set_used_ring_address(None, Some(value)),
        _ => {}
    }
}

/// Returns the 32-bit word of `value` that `selector` selects.
pub fn word(value: u64, selector: u32) -> u32 {
    let [low, high] = [value, value >> 32].map(|value| u32::try_from(value & 0xffff_ffff).unwrap_or(0));
    match selector {
        0 => low,
        1 => high,
        _ => 0,
    }
}

/// Sets the low 32 bits.
pub fn set_low(value: &mut u64, low: u32) {
    *value = *value & !0xffff_ffff | u64::from(low);
}

/// Sets the high 32 bits.
pub fn set_high(value: &mut u64, high: u32) {
    *value = *value & 0xffff_ffff | u64::from(high) << 32;
}
