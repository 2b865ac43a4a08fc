//! Replies to TypeScript.

use super::vcpu_state::BindingVcpuState;
use kvm_accel::debug::DebugStop;
use kvm_accel_vmm::Reply;
use napi::bindgen_prelude::{BigInt, Float64Array, Uint8Array};
use napi_derive::napi;

/// The result of a command that succeeded.
#[napi(discriminant = "kind", discriminant_case = "kebab-case", object_from_js = false)]
#[allow(clippy::large_enum_variant, reason = "napi does not convert boxed values, and few replies exist at a time")]
pub enum BindingReply {
    Done,
    /// The machine exists. The fields report whether the notify properties are supported and enabled, and whether the kernel supports
    /// guest debugging.
    Created {
        notify_supported: bool,
        notify_enabled: bool,
        debug: bool,
    },
    /// Where the machine has stopped after a step. Absent if the guest ended, reset itself or was paused first.
    Stepped {
        stop: Option<BindingDebugStop>,
    },
    /// False if too many injections wait already.
    Injected {
        accepted: bool,
    },
    VcpuState {
        state: BindingVcpuState,
    },
    Memory {
        bytes: Uint8Array,
    },
    /// The number of the device in events and answers.
    Device {
        index: u32,
    },
    /// Start and length of each run of pages, alternately.
    DirtyPages {
        ranges: Float64Array,
    },
    DirtyTotals {
        totals: Vec<i64>,
    },
}

/// Where the debugger has stopped the guest.
#[napi(object, object_from_js = false)]
pub struct BindingDebugStop {
    pub vcpu: u32,
    pub reason: String,
    pub address: BigInt,
    pub rip: BigInt,
}

impl From<DebugStop> for BindingDebugStop {
    fn from(stop: DebugStop) -> Self {
        Self {
            vcpu: stop.vcpu,
            reason: stop.cause.reason.as_str().into(),
            address: stop.cause.address.into(),
            rip: stop.rip.into(),
        }
    }
}

impl From<Reply> for BindingReply {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Done => Self::Done,
            Reply::Created { notify, debug } => {
                Self::Created { notify_supported: notify.supported, notify_enabled: notify.enabled, debug }
            }
            Reply::Stepped(stop) => Self::Stepped { stop: stop.map(Into::into) },
            Reply::Injected(accepted) => Self::Injected { accepted },
            Reply::VcpuState(state) => Self::VcpuState { state: (*state).into() },
            Reply::Memory(bytes) => Self::Memory { bytes: bytes.into() },
            Reply::Device(index) => Self::Device { index },
            Reply::DirtyPages(ranges) => {
                // A double holds every guest physical address exactly: addresses have at most 52 bits.
                #[allow(clippy::cast_precision_loss, reason = "see above")]
                let numbers: Vec<_> = ranges.into_iter().flat_map(|(at, length)| [at as f64, length as f64]).collect();
                Self::DirtyPages { ranges: numbers.into() }
            }
            Reply::DirtyTotals(totals) => Self::DirtyTotals {
                totals: totals.into_iter().map(|total| i64::try_from(total).unwrap_or(i64::MAX)).collect(),
            },
        }
    }
}
