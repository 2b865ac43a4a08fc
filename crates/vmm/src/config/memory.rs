//! Guest memory.

use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::ram::{HugePages, RamBackend, RamSource};
use serde::{Deserialize, Serialize};

/// RAM and its backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemoryConfig {
    /// Bytes.
    pub size: u64,
    /// The kind of memory that is mapped as RAM.
    pub backend: MemoryBackend,
    /// The path for the backend `file`; empty for the others.
    pub path: String,
    /// The mapping is shared: writes reach the file, and every process that maps the file.
    pub share: bool,
    /// The host allocates every page before the guest starts.
    pub prealloc: bool,
    /// Size of a huge page in bytes; 0 for ordinary pages.
    pub huge_pages: u64,
}

/// The kind of memory that is mapped as RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MemoryBackend {
    /// Anonymous memory of this process.
    Anonymous,
    /// An unnamed file that `memfd_create` creates.
    Memfd,
    /// A file, or an unnamed file in a directory.
    File,
}

impl MemoryConfig {
    /// Returns the size in bytes and the backend. With `dump`, core dumps of this process contain the memory.
    pub(super) fn check(self, dump: bool) -> Result<(u64, RamBackend), MachineConfigError> {
        let huge = (self.huge_pages != 0).then(|| HugePages::new(self.huge_pages)).transpose()?;
        let source = match (self.backend, huge) {
            (MemoryBackend::Anonymous, huge) => RamSource::Anonymous(huge),
            (MemoryBackend::Memfd, huge) => RamSource::Memfd(huge),
            (MemoryBackend::File, None) => RamSource::File(self.path.into()),
            (MemoryBackend::File, Some(_)) => {
                let message = format!("memory.hugePages is {}: the backend 'file' takes 0", self.huge_pages);
                let remedy = "Name a directory on hugetlbfs as memory.path, and leave hugePages.";
                return Err(MachineConfigError::new("memory", message, remedy));
            }
        };
        Ok((self.size, RamBackend { source, share: self.share, prealloc: self.prealloc, no_dump: !dump }))
    }
}
