//! Files of `fw_cfg`.

use super::source::{self, TakeBytes};
use crate::Failure;
use kvm_accel::cancel::Cancel;
use kvm_accel_machine::SetupError;
use kvm_accel_machine::devices::FwCfgItems;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The content of a file of `fw_cfg`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FwCfgContent {
    /// The content of this host file when the machine is created.
    File(String),
    /// This text in UTF-8, without a terminating NUL.
    String(String),
    /// The token of bytes that the caller staged before it sent the configuration.
    Bytes(u32),
}

/// A [`FwCfgContent`] whose token has been exchanged for its bytes.
pub enum FwCfgFile {
    Path(String),
    Bytes(Vec<u8>),
}

impl FwCfgContent {
    pub(super) fn take(self, bytes: TakeBytes<'_>) -> Result<FwCfgFile, Failure> {
        Ok(match self {
            Self::File(path) => FwCfgFile::Path(path),
            Self::String(text) => FwCfgFile::Bytes(text.into_bytes()),
            Self::Bytes(token) => FwCfgFile::Bytes(source::take(token, "fwCfg", bytes)?),
        })
    }
}

impl FwCfgFile {
    /// Returns the bytes, read from the file if this is a path.
    pub fn read(self, cancel: &Cancel) -> Result<Vec<u8>, SetupError> {
        match self {
            Self::Path(path) => FwCfgItems::read_file(Path::new(&path), cancel),
            Self::Bytes(bytes) => Ok(bytes),
        }
    }
}
