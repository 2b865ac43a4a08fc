//! Why a qcow2 image is refused.

/// The remedy for an image whose tables contradict each other.
const REPAIR: &str = "Repair a copy of the image with 'qemu-img check -r all'.";

/// The remedy for an image with a feature that is not supported.
const CONVERT: &str = "Convert the image with 'qemu-img convert -O qcow2 OLD NEW'.";

/// Why an image is refused. `what` continues a sentence whose subject is the image.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub what: String,
    pub remedy: &'static str,
}

impl Fault {
    /// The header or a table has an invalid value.
    pub fn corrupt(what: impl std::fmt::Display) -> Self {
        Self { what: format!("is a corrupt qcow2 image: {what}"), remedy: REPAIR }
    }

    /// The image has a feature that is not supported.
    pub fn unsupported(what: impl std::fmt::Display) -> Self {
        Self { what: format!("is a qcow2 image {what}"), remedy: CONVERT }
    }

    /// Reading the image failed.
    pub fn unreadable(what: &str, error: &std::io::Error) -> Self {
        Self {
            what: format!("cannot be read ({what}): {error}"),
            remedy: "Check the file and the device that stores it.",
        }
    }
}
