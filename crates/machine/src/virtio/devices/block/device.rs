//! The block device, as its driver sees it before activation.

use super::config_space::{self, ConfigSpace};
use super::disk::{Disk, SERIAL};
use super::image::{DiskConfig, Image};
use super::request::Limits;
use super::requests::Requests;
use crate::MachineConfigError;
use crate::virtio::interface::read_space;
use crate::virtio::interface::{Driver, VirtioDevice, Worker, WorkerError};
use crate::virtio::throttle::{ExclusiveThrottle, Throttle, ThrottleConfig};
use kvm_accel::Warning;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_GEOMETRY,
    VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_F_WRITE_ZEROES,
};
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;

/// The size of QEMU's queues.
const QUEUES: [u16; 1] = [256];

/// Sectors of a page, the unit in which file systems free space.
const DISCARD_SECTORS: u32 = 8;

/// `virtio-blk`: a disk.
///
/// ```
/// use kvm_accel_machine::virtio::{Block, DiskConfig};
///
/// let path = std::env::temp_dir().join(format!("kvm-accel-disk-{}", std::process::id()));
/// std::fs::write(&path, [0; 4096])?;
/// let disk = DiskConfig { path: path.clone(), serial: "disk-0".into(), ..Default::default() };
/// let block = Block::new(disk.clone())?;
/// assert!(Block::new(disk).is_err(), "an image is written by one machine at a time");
/// # drop(block);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Block(Arc<Disk>);

impl Block {
    /// Opens and locks the image, and creates the device.
    ///
    /// # Errors
    /// [`MachineConfigError`]: the image cannot be opened, is not supported, is corrupt or is in use, or the serial number is too long.
    pub fn new(config: DiskConfig) -> Result<Self, MachineConfigError> {
        let text = config.serial.as_bytes();
        let mut serial = [0; SERIAL];
        let Some(place) = serial.get_mut(..text.len()) else {
            let message = format!("the serial number '{}' of a disk is longer than {SERIAL} bytes", config.serial);
            return Err(MachineConfigError::new("disks", message, "Take a shorter one."));
        };
        place.copy_from_slice(text);
        let image = Image::open(&config)?;
        let limited = config.throttle != ThrottleConfig::default();
        let throttle = limited.then(|| Throttle::new(&config.throttle)).transpose().map_err(|error| {
            let message = format!("the rate limit of a disk has no timer: {error}");
            MachineConfigError::new("disks", message, "Raise this process's limit of open files (ulimit -n).")
        })?;
        let limits = Limits { sectors: image.sectors(), read_only: config.read_only };
        Ok(Self(Arc::new(Disk {
            image,
            limits,
            serial,
            discard: config.discard,
            throttle: throttle.map(ExclusiveThrottle::new),
            writeback: AtomicBool::new(true),
            leftover: Mutex::default(),
        })))
    }

    /// Returns the warnings about the image.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.0.image.warnings
    }

    /// Simulates that the kernel has reported a failed flush.
    #[cfg(test)]
    pub(super) fn note_lost(&self) {
        self.0.image.note_lost();
    }

    /// Creates a worker like on a kernel without io_uring.
    #[cfg(test)]
    pub(crate) fn activate_without_ring(&self, driver: Driver) -> Box<dyn Worker> {
        let Driver { features, queues, stop, .. } = driver;
        let queues = queues.into_iter().map(|queue| {
            let requests = Requests::new(Arc::clone(&self.0), features, queue, stop.clone());
            Box::new(requests.without_ring()) as Box<dyn Worker>
        });
        queues.last().unwrap_or_else(|| Box::new(Idle))
    }

    fn config_space(&self) -> ConfigSpace {
        ConfigSpace {
            sectors: self.0.limits.sectors,
            queue_size: QUEUES[0],
            discard_sectors: DISCARD_SECTORS,
            writeback: self.0.writeback.load(Ordering::Acquire),
        }
    }
}

impl VirtioDevice for Block {
    fn name(&self) -> &'static str {
        "virtio-blk"
    }

    fn id(&self) -> u32 {
        VIRTIO_ID_BLOCK
    }

    fn features(&self) -> u64 {
        let always = [
            VIRTIO_BLK_F_SEG_MAX,
            VIRTIO_BLK_F_GEOMETRY,
            VIRTIO_BLK_F_BLK_SIZE,
            VIRTIO_BLK_F_FLUSH,
            VIRTIO_BLK_F_TOPOLOGY,
            VIRTIO_BLK_F_CONFIG_WCE,
            VIRTIO_BLK_F_DISCARD,
            VIRTIO_BLK_F_WRITE_ZEROES,
        ];
        let read_only = self.0.limits.read_only.then_some(&VIRTIO_BLK_F_RO);
        always.iter().chain(read_only).fold(0, |features, feature| features | 1 << feature)
    }

    fn queues(&self) -> &[u16] {
        &QUEUES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_space(&self.config_space().bytes(), offset, data);
    }

    fn write_config(&self, offset: u64, data: &[u8]) {
        if let (config_space::WRITEBACK, [writeback]) = (offset, data) {
            self.0.writeback.store(writeback & 1 != 0, Ordering::Release);
        }
    }

    fn activate(&self, driver: Driver) -> Box<dyn Worker> {
        let Driver { features, queues, stop, .. } = driver;
        match queues.into_iter().next() {
            Some(queue) => Box::new(Requests::new(Arc::clone(&self.0), features, queue, stop)),
            None => Box::new(Idle),
        }
    }
}

/// The worker of a driver that has enabled no queue. It does nothing.
struct Idle;

impl Worker for Idle {
    fn notified(&mut self, _queue: usize) -> Result<(), WorkerError> {
        Ok(())
    }
}
