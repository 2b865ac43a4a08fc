//! Virtio devices as TypeScript hands them over.

use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::virtio::{Rng, VirtioDevice};
use napi_derive::napi;
use std::path::Path;
use std::sync::Arc;

/// One device.
#[napi(discriminant = "kind", discriminant_case = "lowercase", object_to_js = false)]
pub enum BindingVirtio {
    /// `virtio-rng`: random bytes from a file.
    Rng { source: String },
}

impl BindingVirtio {
    /// The device.
    pub fn into_device(self) -> Result<Arc<dyn VirtioDevice>, MachineConfigError> {
        Ok(match self {
            Self::Rng { source } => Arc::new(Rng::new(Path::new(&source))?),
        })
    }
}
