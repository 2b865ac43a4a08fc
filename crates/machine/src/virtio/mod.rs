//! virtio devices.

pub mod throttle;
