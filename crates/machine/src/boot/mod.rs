//! From a guest image to the state in which the first vCPU starts.
//!
//! [`Boot::load`] writes a kernel, its modules and what its boot protocol wants to tell it into guest RAM. Nothing is
//! kept of it but the images' open files (or bytes), so it can be repeated, as a reset does. Images are not trusted:
//! every header is checked against the file and the RAM before a byte is written.

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

pub use format::KernelFormat;
pub use image::BootImage;
pub use options::{BootOptions, Module};

use crate::layout::RamLayout;
use crate::{MachineConfigError, SetupError};
use format::Protocol;
use kvm_accel::cancel::Cancel;
use kvm_accel::{GuestRam, StartMode, StartState};
use placement::Placement;

/// A guest that can be loaded, as often as the machine is reset.
#[derive(Debug)]
pub struct Boot {
    /// None: whatever firmware finds.
    kernel: Option<BootImage>,
    options: BootOptions,
    /// What the machine adds to Linux's command line.
    announced: String,
}

impl Boot {
    /// A guest of a kernel and what is handed to it.
    ///
    /// # Errors
    /// When a command line contains a NUL, or the flat format, which has no way to hand anything over, is given a
    /// command line or modules.
    pub fn new(kernel: BootImage, options: BootOptions) -> Result<Self, MachineConfigError> {
        options.check()?;
        Ok(Self { kernel: Some(kernel), options, announced: String::new() })
    }

    /// A guest that firmware starts: nothing is loaded, and the first vCPU begins at the reset vector.
    #[must_use]
    pub fn by_firmware() -> Self {
        Self { kernel: None, options: BootOptions::default(), announced: String::new() }
    }

    /// The size of all images in bytes. An image whose size cannot be read counts as empty: loading reports the error.
    pub(crate) fn image_bytes(&self) -> u64 {
        let modules = self.options.modules.iter().map(|module| &module.image);
        self.kernel.iter().chain(modules).filter_map(|image| image.len().ok()).sum()
    }

    /// Adds words to the command line of a kernel that could be Linux: devices that it cannot find by itself.
    pub fn announce(&mut self, words: String) {
        self.announced = words;
    }

    /// Loads the guest into `ram`, which has the given layout, and answers how the first vCPU starts. `rsdp` is where the board puts
    /// ACPI's root pointer, for protocols that hand it over.
    ///
    /// Exclusive, because reading moves the position of the images' files.
    ///
    /// # Errors
    /// When the images cannot be read, are not what they claim to be, or do not fit; [`SetupError::Cancelled`] within about 10 ms of
    /// [`Cancel::cancel`].
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

/// What the loaders of all protocols start from.
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
    /// The command line for Linux: the user's, then what the machine adds.
    fn linux_cmdline(&self) -> String {
        let announced = if self.options.fixed_cmdline { "" } else { self.announced };
        [self.options.cmdline.as_str(), announced]
            .into_iter()
            .filter(|words| !words.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }
}
