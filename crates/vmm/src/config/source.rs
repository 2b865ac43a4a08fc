//! Sources of the bytes of an image or of a `fw_cfg` file.

use crate::Failure;
use kvm_accel::cancel::Cancel;
use kvm_accel_machine::boot::BootImage;
use kvm_accel_machine::devices::FwCfgItems;
use kvm_accel_machine::{GuestImageError, ImageRole, MachineConfigError, SetupError};
use serde::{Deserialize, Serialize};
use std::path::Path;

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

/// A [`Source`] or a [`FwCfgContent`](super::fw_cfg::FwCfgContent) whose token has been exchanged for its bytes.
pub enum Content {
    Path(String),
    Bytes(Vec<u8>),
}

impl Source {
    /// Replaces the token by its bytes. `option` is the machine option that errors name.
    pub fn take(self, option: &'static str, bytes: TakeBytes<'_>) -> Result<Content, Failure> {
        Ok(match self {
            Self::Path(path) => Content::Path(path),
            Self::Bytes(token) => Content::Bytes(take(token, option, bytes)?),
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
        let message = format!("cannot read the bytes of machine option '{option}': unknown token {token}");
        MachineConfigError::new(option, message, "Stage the bytes first; a token is valid once.").into()
    })
}

impl Content {
    /// Opens the image's file, if this is a path.
    pub fn open(self, role: ImageRole) -> Result<BootImage, GuestImageError> {
        match self {
            Self::Path(path) => BootImage::open(role, path),
            Self::Bytes(bytes) => Ok(BootImage::from_bytes(role, bytes)),
        }
    }

    /// Returns the bytes of a file of `fw_cfg`. Reads the host's file, if this is a path.
    pub fn read(self, cancel: &Cancel) -> Result<Vec<u8>, SetupError> {
        match self {
            Self::Path(path) => FwCfgItems::read_file(Path::new(&path), cancel),
            Self::Bytes(bytes) => Ok(bytes),
        }
    }
}
