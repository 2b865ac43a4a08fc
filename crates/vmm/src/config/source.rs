//! Sources of the bytes of an image or of a `fw_cfg` file.

use crate::Failure;
use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::boot::BootImage;
use kvm_accel_machine::{GuestImageError, ImageRole};
use serde::{Deserialize, Serialize};

/// Removes and returns the bytes that a token of the configuration refers to. Returns `None` for an unknown token.
pub type TakeBytes<'a> = &'a mut dyn FnMut(u32) -> Option<Vec<u8>>;

/// The source of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// The path of a file.
    Path(String),
    /// The token of bytes that the caller staged before it sent the configuration.
    Bytes(u32),
}

/// A [`Source`] whose token has been exchanged for its bytes.
pub enum Image {
    Path(String),
    Bytes(Vec<u8>),
}

impl Source {
    /// Replaces the token by its bytes. `option` is the machine option that errors name.
    pub fn take(self, option: &'static str, bytes: TakeBytes<'_>) -> Result<Image, Failure> {
        Ok(match self {
            Self::Path(path) => Image::Path(path),
            Self::Bytes(token) => Image::Bytes(take(token, option, bytes)?),
        })
    }

    /// Returns the last component of the path; `None` for bytes.
    pub fn file_name(&self) -> Option<&str> {
        match self {
            Self::Path(path) => path.trim_end_matches('/').rsplit('/').next(),
            Self::Bytes(_) => None,
        }
    }
}

/// Returns the bytes of a token. `option` is the machine option that errors name.
pub fn take(token: u32, option: &'static str, bytes: TakeBytes<'_>) -> Result<Vec<u8>, Failure> {
    bytes(token).ok_or_else(|| {
        let message = format!("machine option '{option}' names the bytes of token {token}, which is unknown");
        MachineConfigError::new(option, message, "Stage the bytes first; a token is valid once.").into()
    })
}

impl Image {
    /// Opens the file, if this is a path.
    pub fn open(self, role: ImageRole) -> Result<BootImage, GuestImageError> {
        match self {
            Self::Path(path) => BootImage::open(role, path),
            Self::Bytes(bytes) => Ok(BootImage::from_bytes(role, bytes)),
        }
    }
}
