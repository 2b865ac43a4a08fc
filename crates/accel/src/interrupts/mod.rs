//! Interrupts from devices to the guest: the interrupt controllers, the route of each GSI, and the ways to raise one.
//!
//! - `irqchip`: the controllers that `kernel-irqchip` selects.
//! - [`routing`]: the GSI routing table as a value; `router`: the same table in the kernel, changed in batches.
//! - `irqfd`: eventfds that raise a GSI, and eventfds that report the acknowledgement of a level-triggered one.
//! - `msi`: message-signalled interrupts and interrupt lines without an eventfd.
//! - `pit`: how lost timer ticks are handled.
//! - `user_irqchip`: the interface to controllers outside the kernel.
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
pub use kvm_accel_kvm::fd::{Msi, PicSetup};
pub use msi::Delivery;
pub use pit::LostTickPolicy;
pub use router::RouteChanges;
pub use user_irqchip::{UserIrqchip, Wake};
