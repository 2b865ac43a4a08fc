//! The options of a boot: everything that is passed to a kernel in addition to its own image.

use super::BootImage;
use crate::MachineConfigError;
use std::str::FromStr;

/// The boot protocol that the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KernelFormat {
    /// Multiboot, PVH or Linux, whichever the image has a header or a note for.
    #[default]
    Auto,
    /// Real-mode code without a header, loaded and entered at 0x1000. Never detected automatically, since any file
    /// could be such code.
    Flat,
    /// Linux's 64-bit boot protocol: a bzImage, or an ELF64 vmlinux.
    Linux,
    /// Multiboot 1.
    Multiboot,
    /// Xen's PVH entry point, which Linux also has.
    Pvh,
}

impl FromStr for KernelFormat {
    type Err = MachineConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "flat" => Ok(Self::Flat),
            "linux" => Ok(Self::Linux),
            "multiboot" => Ok(Self::Multiboot),
            "pvh" => Ok(Self::Pvh),
            _ => Err(MachineConfigError::new(
                "kernelFormat",
                format!("'{text}' is not a kernel format"),
                "Use auto, flat, linux, multiboot or pvh.",
            )),
        }
    }
}

/// How to boot a kernel, and what to pass to it.
#[derive(Debug, Default)]
pub struct BootOptions {
    /// The boot protocol. By default, detected by the image's magic numbers.
    pub format: KernelFormat,
    /// The program's name, the first word of a multiboot command line: the image's path as the user gave it.
    pub name: String,
    /// The command line.
    pub cmdline: String,
    /// The machine adds no words for Linux to the command line; QEMU's `auto-kernel-cmdline=off`.
    pub fixed_cmdline: bool,
    /// Modules in order. Linux uses the first one as its initrd.
    pub modules: Vec<Module>,
}

/// An image that is loaded unchanged into memory for the kernel.
#[derive(Debug)]
pub struct Module {
    /// The bytes.
    pub image: BootImage,
    /// The module's command line; may be empty.
    pub cmdline: String,
}

impl BootOptions {
    pub(super) fn check(&self) -> Result<(), MachineConfigError> {
        let nul = |option, text: &str| match text.find('\0') {
            Some(at) => Err(MachineConfigError::new(
                option,
                format!("the command line of {option} has a NUL character at offset {at}, which would cut it short"),
                "Remove the NUL character.",
            )),
            None => Ok(()),
        };
        nul("kernel", &self.name)?;
        nul("append", &self.cmdline)?;
        self.modules.iter().try_for_each(|module| nul("initrd", &module.cmdline))?;
        if self.format == KernelFormat::Flat {
            let refuse = |option| {
                let message = format!("a flat image has no boot protocol that passes option '{option}'");
                let remedy = "Leave the option out, or use a multiboot or PVH image.";
                Err(MachineConfigError::new(option, message, remedy))
            };
            if !self.cmdline.is_empty() {
                return refuse("append");
            }
            if !self.modules.is_empty() {
                return refuse("initrd");
            }
        }
        Ok(())
    }
}
