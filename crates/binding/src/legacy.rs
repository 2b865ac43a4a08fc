//! Devices at fixed ports as TypeScript hands them over.

use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::board::LegacyConfig;
use napi::bindgen_prelude::{Either, Uint8Array};
use napi_derive::napi;

/// A file of fw_cfg.
#[napi(object, object_to_js = false)]
pub struct BindingFwCfgFile {
    /// Its name in the directory.
    pub name: String,
    /// The path of a file, or the bytes.
    pub contents: Either<String, Uint8Array>,
}

/// Which devices there are, and what they hold.
#[napi(object, object_to_js = false)]
pub struct BindingLegacy {
    /// Files of fw_cfg.
    pub fw_cfg: Vec<BindingFwCfgFile>,
    /// `pc-testdev`.
    pub test_devices: bool,
}

impl BindingLegacy {
    /// The board's part of it.
    pub fn into_board(self) -> Result<LegacyConfig, MachineConfigError> {
        let fw_cfg = self.fw_cfg.into_iter().map(|file| Ok((file.name, contents(file.contents)?)));
        Ok(LegacyConfig { fw_cfg: fw_cfg.collect::<Result<_, MachineConfigError>>()?, test_devices: self.test_devices })
    }
}

fn contents(source: Either<String, Uint8Array>) -> Result<Vec<u8>, MachineConfigError> {
    let path = match source {
        Either::A(path) => path,
        Either::B(bytes) => return Ok(bytes.to_vec()),
    };
    let read = || {
        // Nothing else ends for sure.
        if !std::fs::metadata(&path)?.is_file() {
            return Err(std::io::Error::other("it is not a regular file"));
        }
        std::fs::read(&path)
    };
    read().map_err(|error| {
        let message = format!("The file '{path}' for fw_cfg cannot be read: {error}");
        MachineConfigError::new("fwCfg", message, "Name a regular file that this process may read.")
    })
}
