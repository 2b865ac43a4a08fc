//! A vCPU's registers across stops: the copy with pending changes, the power-on state, and the clock.

mod clock;
mod copy;
mod power_on;

pub(crate) use clock::Clock;
pub(crate) use copy::StateCopy;
pub use kvm_accel_kvm::state::{
    DebugRegisters, Events, Exception, Interrupt, Level, MpState, Msr, Nested, Nmi, Smi, VcpuState,
};
pub(crate) use power_on::power_on_state;
