//! Errors of a board.

use super::transports::Unquiet;
use crate::error::{GuestImageError, MachineConfigError, SetupError};
use kvm_accel::cancel::Cancelled;

/// Why a board could not be built or reset.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// A part of the configuration is invalid, or the host lacks a resource for it.
    #[error(transparent)]
    Config(#[from] MachineConfigError),
    /// An image cannot be loaded.
    #[error(transparent)]
    Image(#[from] GuestImageError),
    /// The accelerator failed.
    #[error(transparent)]
    Accel(#[from] kvm_accel::Error),
    /// Another thread ended the machine during the operation.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// A device did not stop in time.
    #[error(transparent)]
    Unquiet(#[from] Unquiet),
}

impl From<SetupError> for BoardError {
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::Config(error) => error.into(),
            SetupError::Image(error) => error.into(),
            SetupError::Cancelled(error) => error.into(),
        }
    }
}
