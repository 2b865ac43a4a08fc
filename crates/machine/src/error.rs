//! Errors of a machine's setup: of its configuration and of the images it boots. [`SetupError`] is either of them, or
//! the cancellation of the setup.

use kvm_accel::cancel::Cancelled;

/// The guest image that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageRole {
    /// The image that holds the entry point.
    Kernel,
    /// A module that is passed to the kernel; the first one is Linux's initrd.
    Initrd,
    /// Code at the reset vector.
    Firmware,
}

impl ImageRole {
    /// `kernel`, `initrd` or `firmware`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::Firmware => "firmware",
        }
    }
}

/// What is wrong with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestImageProblem {
    /// A header declares more bytes than the image has.
    Truncated,
    /// An ELF file for another word size, byte order or processor.
    WrongClass,
    /// Two parts of the guest claim the same memory.
    Overlap,
    /// A part lies outside the guest's RAM, or no room is left for it.
    DoesNotFit,
    /// No boot protocol of this machine recognises the image.
    Unrecognised,
    /// The file cannot be opened or read.
    Unreadable,
    /// A header contradicts itself or its format.
    Malformed,
}

impl GuestImageProblem {
    /// Returns the stable name, the same in Rust and TypeScript.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::WrongClass => "wrong-class",
            Self::Overlap => "overlap",
            Self::DoesNotFit => "does-not-fit",
            Self::Unrecognised => "unrecognised",
            Self::Unreadable => "unreadable",
            Self::Malformed => "malformed",
        }
    }

    pub(crate) const fn default_remedy(self) -> &'static str {
        match self {
            Self::Truncated => "Copy or download the image again: it is shorter than its headers state.",
            Self::WrongClass => "Use an image for x86-64: a bzImage, ELF64, or ELF32 with a multiboot-1 header.",
            Self::Overlap => "Link the image so that its parts do not overlap, or give the guest more memory.",
            Self::DoesNotFit => "Give the guest more memory, or link the image at lower addresses.",
            Self::Unrecognised => {
                "Use a bzImage, an ELF64 kernel or a multiboot-1 image, \
                 or ask for the flat format if the file is real-mode code for 0x1000."
            }
            Self::Unreadable => "Use a regular file that this process may read.",
            Self::Malformed => "Build the image again. `readelf -lnW` prints its headers.",
        }
    }
}

/// A guest image was refused. Holds what is wrong and what the user can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GuestImageError {
    role: ImageRole,
    problem: GuestImageProblem,
    message: String,
    remedy: &'static str,
}

impl GuestImageError {
    /// `what` starts with the fault, in lower case. The message starts with the image's role and name.
    pub(crate) fn new(image: &ImageName<'_>, problem: GuestImageProblem, what: impl AsRef<str>) -> Self {
        let message = format!("{} '{}': {}", image.role.as_str(), image.name, what.as_ref());
        Self { role: image.role, problem, message, remedy: problem.default_remedy() }
    }

    /// Replaces the problem's default remedy with a more specific one.
    pub(crate) fn with_remedy(mut self, remedy: &'static str) -> Self {
        self.remedy = remedy;
        self
    }

    /// Returns the stable error code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "ERR_GUEST_IMAGE"
    }

    /// Returns the role of the image.
    #[must_use]
    pub const fn image(&self) -> ImageRole {
        self.role
    }

    /// Returns what is wrong with the image.
    #[must_use]
    pub const fn problem(&self) -> GuestImageProblem {
        self.problem
    }

    /// Returns what the user can do about it, as a sentence.
    #[must_use]
    pub const fn remedy(&self) -> &str {
        self.remedy
    }
}

/// Returns the remedy of a file that cannot be opened: `otherwise`, unless the process or the host has too many open
/// files.
pub(crate) fn remedy_of_open(error: &std::io::Error, otherwise: &'static str) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE) => "Close files, or raise this process's limit on open files (ulimit -n).",
        Some(libc::ENFILE) => "Close files, or raise the host's limit on open files (sysctl fs.file-max).",
        _ => otherwise,
    }
}

/// The name of an image in messages: its role, and its path or `(bytes)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImageName<'a> {
    pub role: ImageRole,
    pub name: &'a str,
}

/// A machine cannot be built with this configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MachineConfigError {
    option: &'static str,
    message: String,
    remedy: &'static str,
}

impl MachineConfigError {
    /// `option` is the machine option that caused the error (`memory`, `append`, ...). `message` states the rule that
    /// was broken. `remedy` is a sentence that describes how to comply with it.
    #[must_use]
    pub fn new(option: &'static str, message: impl Into<String>, remedy: &'static str) -> Self {
        Self { option, message: message.into(), remedy }
    }

    /// Replaces the message.
    #[must_use]
    pub(crate) fn with_message(self, message: String) -> Self {
        Self { message, ..self }
    }

    /// Returns the stable error code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "ERR_MACHINE_CONFIG"
    }

    /// Returns the option that caused the error, by its name in the TypeScript API.
    #[must_use]
    pub const fn option(&self) -> &'static str {
        self.option
    }

    /// Returns what the user can do about it, as a sentence.
    #[must_use]
    pub const fn remedy(&self) -> &str {
        self.remedy
    }
}

/// Why a step of building or resetting a machine failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// A part of the configuration is invalid, or the host lacks a resource for it.
    #[error(transparent)]
    Config(#[from] MachineConfigError),
    /// An image cannot be loaded.
    #[error(transparent)]
    Image(#[from] GuestImageError),
    /// The machine was ended during the step.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}
