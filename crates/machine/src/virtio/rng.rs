//! The entropy device (section 5.4): buffers that the driver wants filled with random bytes.

use super::{Driver, Malformed, VirtQueue, VirtioDevice, Worker};
use crate::MachineConfigError;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;

/// QEMU's size.
const QUEUES: [u16; 1] = [8];
/// A request gets this much at most: no guest keeps the thread for long.
const LARGEST: usize = 64 << 10;

/// `virtio-rng`: entropy of the host.
#[derive(Debug)]
pub struct Rng {
    source: Arc<File>,
}

impl Rng {
    /// Entropy from a file, usually `/dev/urandom`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn new(source: &Path) -> Result<Self, MachineConfigError> {
        let source = File::open(source).map_err(|error| {
            let message = format!("{} cannot be opened for random bytes: {error}", source.display());
            MachineConfigError::new("rng", message, "Take /dev/urandom.")
        })?;
        Ok(Self { source: Arc::new(source) })
    }
}

impl VirtioDevice for Rng {
    fn name(&self) -> &'static str {
        "virtio-rng"
    }

    fn id(&self) -> u32 {
        VIRTIO_ID_RNG
    }

    fn features(&self) -> u64 {
        0
    }

    fn queues(&self) -> &[u16] {
        &QUEUES
    }

    fn activate(&self, driver: Driver) -> Box<dyn Worker> {
        Box::new(Requests { source: Arc::clone(&self.source), queues: driver.queues })
    }
}

struct Requests {
    source: Arc<File>,
    queues: Vec<VirtQueue>,
}

impl Worker for Requests {
    fn notified(&mut self, queue: usize) -> Result<(), Malformed> {
        let Some(queue) = self.queues.get_mut(queue) else { return Ok(()) };
        while let Some(chain) = queue.pop()? {
            let mut writer = chain.writer()?;
            let mut bytes = vec![0; writer.available_bytes().min(LARGEST)];
            // A source that has nothing gives nothing: the driver asks again.
            let read = self.source.as_ref().read(&mut bytes).unwrap_or(0);
            let written = writer.write(&bytes[..read]).map_err(|error| Malformed(error.to_string()))?;
            queue.push(chain.head(), u32::try_from(written).unwrap_or(0))?;
        }
        Ok(())
    }
}
