//! Interrupts on their way to the guest: which controllers there are, where each GSI leads, and who may raise one.
//!
//! - `irqchip`: the controllers that `kernel-irqchip` asks for.
//! - [`routing`]: the GSI routing table as a value; `router`: the same table in the kernel, changed in batches.
//! - `irqfd`: eventfds that raise a GSI, and those that are signalled when a level-triggered one is acknowledged.
//! - `msi`: message-signalled interrupts and interrupt lines without an eventfd.
//! - `pit`: what becomes of timer ticks that the guest was too late for.
//!
//! - `user_irqchip`: the seam towards controllers outside the kernel.
//!
//! [`Interrupts`] is the handle that devices keep.

mod handle;
pub(crate) mod irqchip;
mod irqfd;
mod msi;
mod pit;
mod router;
pub mod routing;
mod user_irqchip;

pub use handle::Interrupts;
pub use irqfd::Irqfd;
pub use kvm_accel_kvm::fd::Msi;
pub use msi::Delivery;
pub use pit::LostTickPolicy;
pub use router::RouteChanges;
pub use user_irqchip::{UserIrqchip, Wake};
