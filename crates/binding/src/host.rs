//! What the host supports.

use crate::error::{self, BindingError};
use napi::bindgen_prelude::Either;
use napi_derive::napi;
use std::path::Path;

/// What the KVM device reports.
#[napi(object, object_from_js = false)]
pub struct BindingHost {
    /// KVM_GET_API_VERSION.
    pub api_version: u32,
    /// Pairs of capability number and value, for every capability whose value is not 0.
    pub capabilities: Vec<Vec<u32>>,
}

/// Opens the device and reads every capability. Creates no VM.
#[napi]
pub fn probe_host(device: String) -> Either<BindingHost, BindingError> {
    match kvm_accel::probe(Path::new(&device)) {
        Ok(report) => Either::A(BindingHost {
            api_version: report.api_version,
            capabilities: report.capabilities.into_iter().map(|(number, value)| vec![number, value]).collect(),
        }),
        Err(why) => Either::B(error::json(kvm_accel::Error::from(why))),
    }
}
