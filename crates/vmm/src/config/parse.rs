//! Parses JSON into a [`MachineConfig`].

use super::machine::MachineConfig;
use crate::{Failure, FailureDetails};

impl MachineConfig {
    /// Parses a configuration.
    ///
    /// # Errors
    /// [`Failure`] with code `ERR_MACHINE_CONFIG`, which names the field. The field is unknown or missing, or its value has the wrong type
    /// or is out of range.
    pub fn from_json(text: &str) -> Result<Self, Failure> {
        // Recording the field's path takes time, so only a failure parses the text again with it.
        serde_json::from_str(text).map_err(|_| refusal(text))
    }
}

fn refusal(text: &str) -> Failure {
    let mut reader = serde_json::Deserializer::from_str(text);
    let (path, why) = match serde_path_to_error::deserialize::<_, MachineConfig>(&mut reader) {
        Err(error) => (error.path().to_string(), error.into_inner().to_string()),
        Ok(_) => (String::new(), "expected nothing after the object".into()),
    };
    let option = path.split(['.', '[']).next().unwrap_or_default();
    FailureDetails {
        code: "ERR_MACHINE_CONFIG".into(),
        message: format!("invalid machine configuration at '{path}': {why}"),
        remedy: "Install the same version of the kvm-accel package and of its native addon.".into(),
        option: Some(option.into()),
        ..FailureDetails::default()
    }
    .into()
}
