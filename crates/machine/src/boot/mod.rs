//! Loads a guest image and computes the state in which the first vCPU starts.
//!
//! [`Boot::load`] writes a kernel, its modules and the data of its boot protocol into guest RAM. [`Boot`] keeps only
//! the images' open files (or bytes), so a reset can repeat the load. Images are not trusted: every header is checked
//! against the file and the RAM before a byte is written.
//!
//! Modules, lowest first. A module imports only modules before it:
//!
//! - `image`: an image's file or bytes.
//! - `options`: what is passed to a kernel in addition to its image.
//! - `placement`: the free ranges of guest RAM.
//! - `segment`: a part of an image at a fixed address.
//! - `elf`: ELF files.
//! - `bzimage`: Linux's compressed images.
//! - `modules`: initrds and multiboot modules.
//! - `boot_data`: the block of data that a boot protocol passes to the kernel.
//! - `long_mode`: page tables and descriptors for a start in 64-bit mode.
//! - `flat`, `linux`, `multiboot`, `pvh`: the boot protocols.
//! - `format`: detects the protocol of an image.

mod boot_data;
mod bzimage;
mod elf;
mod flat;
mod format;
mod image;
mod linux;
mod long_mode;
mod modules;
mod multiboot;
mod options;
mod placement;
mod pvh;
mod segment;

pub use image::BootImage;
pub use options::{BootOptions, KernelFormat, Module};

use crate::layout::RamLayout;
use crate::{MachineConfigError, SetupError};
use format::Protocol;
use kvm_accel::cancel::Cancel;
use kvm_accel::{GuestRam, StartMode, StartState};
use placement::Placement;

/// A guest that can be loaded repeatedly, at the start and at each reset of the machine.
#[derive(Debug)]
pub struct Boot {
    /// `None` if firmware starts the guest.
    kernel: Option<BootImage>,
    options: BootOptions,
    /// The words that the machine adds to Linux's command line.
    announced: String,
}

impl Boot {
    /// Creates a guest from a kernel and its options.
    ///
    /// # Errors
    /// Fails if a command line contains a NUL, or if the flat format has a command line or modules, which it cannot
    /// pass to the guest.
    pub fn new(kernel: BootImage, options: BootOptions) -> Result<Self, MachineConfigError> {
        options.check()?;
        Ok(Self { kernel: Some(kernel), options, announced: String::new() })
    }

    /// Creates a guest that firmware starts: nothing is loaded, and the first vCPU begins at the reset vector.
    #[must_use]
    pub fn by_firmware() -> Self {
        Self { kernel: None, options: BootOptions::default(), announced: String::new() }
    }

    /// Returns true if firmware starts the guest.
    pub(crate) const fn is_by_firmware(&self) -> bool {
        self.kernel.is_none()
    }

    /// Returns the size of all images in bytes. An image whose size cannot be read counts as empty: loading reports the
    /// error.
    pub(crate) fn image_bytes(&self) -> u64 {
        let modules = self.options.modules.iter().map(|module| &module.image);
        self.kernel.iter().chain(modules).filter_map(|image| image.len().ok()).sum()
    }

    /// Adds words to the command line of a kernel that could be Linux. They describe devices that Linux cannot
    /// discover.
    pub fn announce(&mut self, words: String) {
        self.announced = words;
    }

    /// Loads the guest into `ram`, which has the given layout, and returns the start state of the first vCPU. `rsdp` is
    /// the address of the board's ACPI root pointer, for protocols that pass it.
    ///
    /// Takes `&mut self`, because reading moves the position of the images' files.
    ///
    /// # Errors
    /// Fails if the images cannot be read, are invalid, or do not fit; with [`SetupError::Cancelled`] within about 10
    /// ms of [`Cancel::cancel`].
    pub fn load(
        &mut self,
        layout: &RamLayout,
        ram: &GuestRam,
        rsdp: Option<u64>,
        cancel: &Cancel,
    ) -> Result<StartState, SetupError> {
        let Some(kernel) = &self.kernel else {
            return Ok(StartState { mode: StartMode::Reset, rip: 0, rax: 0, rbx: 0, rsi: 0, rsp: 0 });
        };
        let head = kernel.head()?;
        let guest = Guest {
            kernel,
            head: &head,
            options: &self.options,
            announced: &self.announced,
            layout,
            ram,
            rsdp,
            cancel,
            space: Placement::new(layout),
        };
        match format::protocol(kernel, &head, self.options.format)? {
            Protocol::Linux => linux::load(guest),
            Protocol::Flat => flat::load(guest),
            Protocol::Multiboot(header) => multiboot::load(guest, &header),
            Protocol::Pvh => pvh::load(guest),
        }
    }
}

/// The input of every protocol's loader.
struct Guest<'a> {
    kernel: &'a BootImage,
    /// The kernel's first bytes.
    head: &'a [u8],
    options: &'a BootOptions,
    announced: &'a str,
    layout: &'a RamLayout,
    ram: &'a GuestRam,
    rsdp: Option<u64>,
    cancel: &'a Cancel,
    space: Placement,
}

impl Guest<'_> {
    /// Returns the command line for Linux: the user's, then the machine's words.
    fn linux_cmdline(&self) -> String {
        let announced = if self.options.fixed_cmdline { "" } else { self.announced };
        [self.options.cmdline.as_str(), announced]
            .into_iter()
            .filter(|words| !words.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }
}
