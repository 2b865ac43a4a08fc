//! The state of a disk that vCPU threads and the worker share.

use super::image::Image;
use super::leftover::Leftover;
use super::request::Limits;
use crate::virtio::throttle::ExclusiveThrottle;
use kvm_accel::lock;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use virtio_bindings::virtio_blk::{VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_FLUSH};

/// Bytes of a serial number.
pub const SERIAL: usize = 20;

/// The state of a disk that its device and its workers share.
#[derive(Debug)]
pub struct Disk {
    pub image: Image,
    pub limits: Limits,
    pub serial: [u8; SERIAL],
    pub discard: bool,
    pub throttle: Option<ExclusiveThrottle>,
    /// The write cache is on. The driver may switch it at any time.
    pub writeback: AtomicBool,
    /// The calls that the last worker left in flight.
    pub leftover: Mutex<Option<Leftover>>,
}

impl Disk {
    /// Keeps the calls that a worker has left in flight. The next worker waits until they have completed.
    pub fn leave(&self, leftover: Leftover) {
        *lock(&self.leftover) = Some(leftover);
    }

    pub fn take_leftover(&self) -> Option<Leftover> {
        lock(&self.leftover).take()
    }

    /// True if a write completes only when it is on the medium. A driver that cannot flush has no other way to make a write durable.
    pub fn durable(&self, features: u64) -> bool {
        let has = |feature: u32| features & 1 << feature != 0;
        if has(VIRTIO_BLK_F_CONFIG_WCE) { !self.writeback.load(Ordering::Acquire) } else { !has(VIRTIO_BLK_F_FLUSH) }
    }
}
