//! The names of CPU features and models.

use kvm_accel::cpu::{features, hyperv, models};
use napi_derive::napi;

/// Returns the name of every CPU feature.
#[napi]
pub fn cpu_feature_names() -> Vec<String> {
    features::names().into_iter().chain(hyperv::names()).map(Into::into).collect()
}

/// Returns every name of every supported CPU model.
#[napi]
pub fn cpu_model_names() -> Vec<String> {
    models::MODELS.iter().flat_map(|model| model.names).map(|name| (*name).into()).collect()
}
