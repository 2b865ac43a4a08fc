//! Files of `fw_cfg`.

use super::source::{self, Content, TakeBytes};
use crate::Failure;
use serde::{Deserialize, Serialize};

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

impl FwCfgContent {
    /// Replaces a token by its bytes.
    pub(super) fn take(self, bytes: TakeBytes<'_>) -> Result<Content, Failure> {
        Ok(match self {
            Self::File(path) => Content::Path(path),
            Self::String(text) => Content::Bytes(text.into_bytes()),
            Self::Bytes(token) => Content::Bytes(source::take(token, "fwCfg", bytes)?),
        })
    }
}
