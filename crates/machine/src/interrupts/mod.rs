//! The machine's interrupt lines, wherever their controllers are.
//!
//! - [`UserChips`]: PIC, IOAPIC and PIT outside the kernel, as `kernel-irqchip=split` and `off` have them.
//! - `timer`: the thread that makes the PIT tick; `ports`: where the guest finds the registers.
//!
//! With `kernel-irqchip=on` all of them are in the kernel, and nothing here exists but [`Lines::Kernel`].

mod chips;
mod ports;
mod timer;

pub use chips::UserChips;
pub use timer::PitTimer;

use crate::MachineConfigError;
use crate::bus::BusBuilder;
use crate::devices::Irq;
use kvm_accel::Accelerator;
use kvm_accel::interrupts::{Interrupts, Irqfd};
use kvm_accel::properties::KernelIrqchip;
use std::sync::Arc;

/// Which of a PC's older chips there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsaChips {
    /// Two 8259. Those in the kernel are there in any case, as under QEMU.
    pub pic: bool,
    /// The timer.
    pub pit: bool,
}

impl Default for IsaChips {
    fn default() -> Self {
        Self { pic: true, pit: true }
    }
}

impl IsaChips {
    /// What there is with this irqchip.
    ///
    /// # Errors
    /// When nothing is left that could interrupt.
    pub fn with(self, irqchip: KernelIrqchip) -> Result<Self, MachineConfigError> {
        match irqchip {
            KernelIrqchip::On => Ok(Self { pic: true, ..self }),
            KernelIrqchip::Off if !self.pic => {
                let message =
                    "kernel-irqchip=off leaves the PIC alone to interrupt the processor, and pic=off leaves it out";
                Err(MachineConfigError::new("pic", message, "Use kernel-irqchip=split, which has an IOAPIC."))
            }
            KernelIrqchip::Split | KernelIrqchip::Off => Ok(self),
        }
    }
}

/// What devices raise their lines on.
pub enum Lines {
    /// The controllers are in the kernel.
    Kernel(Interrupts),
    /// They are here.
    User(Arc<UserChips>),
}

impl Lines {
    /// The lines of an accelerator, whose vCPUs do not exist yet.
    #[must_use]
    pub fn new(accel: &mut Accelerator, irqchip: KernelIrqchip, present: IsaChips) -> Self {
        let interrupts = accel.interrupts().clone();
        let ioapic = match irqchip {
            KernelIrqchip::On => return Self::Kernel(interrupts),
            KernelIrqchip::Split => Some(interrupts),
            KernelIrqchip::Off => None,
        };
        let chips = Arc::new(UserChips::new(ioapic, present));
        accel.set_user_irqchip(Arc::clone(&chips) as _);
        Self::User(chips)
    }

    /// An edge-triggered line: those of the PIC, 0 to 15, and the other pins of an IOAPIC, 16 to 23.
    ///
    /// # Errors
    /// [`kvm_accel::Error::Kvm`] when the kernel refuses.
    pub fn edge(&self, line: u8) -> kvm_accel::Result<Irq> {
        Ok(match self {
            Self::Kernel(interrupts) => {
                let irqfd: Irqfd = interrupts.irqfd(line.into())?;
                Irq::edge(move || irqfd.raise())
            }
            Self::User(chips) => {
                let chips = Arc::clone(chips);
                Irq::edge(move || chips.pulse(line))
            }
        })
    }

    /// The level of any line, for a device that has them all; a line that the kernel refuses stays as it is.
    #[must_use]
    pub fn levels(&self) -> Box<dyn Fn(u8, bool) + Send + Sync> {
        match self {
            Self::Kernel(interrupts) => {
                let interrupts = interrupts.clone();
                Box::new(move |line, high| drop(interrupts.set_line(line.into(), high)))
            }
            Self::User(chips) => {
                let chips = Arc::clone(chips);
                Box::new(move |line, high| chips.set_line(line, high))
            }
        }
    }

    /// Places the registers of the controllers that are here.
    #[must_use]
    pub fn place(&self, bus: BusBuilder) -> BusBuilder {
        match self {
            Self::Kernel(_) => bus,
            Self::User(chips) => ports::place(chips, bus),
        }
    }

    /// Starts the PIT, where it is here.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start_timer(&self) -> std::io::Result<Option<PitTimer>> {
        match self {
            Self::User(chips) if chips.present().pit => PitTimer::start(Arc::clone(chips)).map(Some),
            Self::Kernel(_) | Self::User(_) => Ok(None),
        }
    }

    /// Back to power-on; what is in the kernel is the accelerator's.
    pub fn reset(&self) {
        if let Self::User(chips) = self {
            chips.reset();
        }
    }
}
