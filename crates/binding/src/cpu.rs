//! The names of CPU features and models.

use kvm_accel::cpu::{features, hyperv, models};
use napi_derive::napi;

/// Every feature's name.
#[napi]
pub fn cpu_feature_names() -> Vec<String> {
    features::names().into_iter().chain(hyperv::names()).map(Into::into).collect()
}

/// Every supported model, by each of its names.
#[napi]
pub fn cpu_model_names() -> Vec<String> {
    models::MODELS.iter().flat_map(|model| model.names).map(|name| (*name).into()).collect()
}
