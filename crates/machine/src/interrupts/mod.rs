//! The machine's interrupt lines, independent of where their controllers are emulated.
//!
//! Modules, lowest first. A module imports only modules before it:
//!
//! - `chips`: PIC, IOAPIC and PIT outside the kernel, for `kernel-irqchip=split` and `off`.
//! - `ports`: maps their registers to ports and addresses.
//! - `timer`: the thread that ticks the PIT.
//!
//! With `kernel-irqchip=on`, all controllers are in the kernel, and this module uses only [`Lines::Kernel`].

mod chips;
mod ports;
mod timer;

pub use chips::UserChips;
pub use timer::PitTimer;

use crate::MachineConfigError;
use crate::bus::BusBuilder;
use crate::devices::Irq;
use kvm_accel::Accelerator;
use kvm_accel::interrupts::{Interrupts, Irqfd, PicSetup};
use kvm_accel::properties::KernelIrqchip;
use std::sync::Arc;

/// Selects the PC's interrupt and timer chips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsaChips {
    /// The two 8259. The in-kernel ones always exist, as under QEMU.
    pub pic: bool,
    /// The 8254 timer.
    pub pit: bool,
    /// The HPET.
    pub hpet: bool,
}

impl Default for IsaChips {
    fn default() -> Self {
        Self { pic: true, pit: true, hpet: false }
    }
}

impl IsaChips {
    /// Returns the chips that exist with this irqchip.
    ///
    /// # Errors
    /// Fails if no controller is left that could interrupt the processor.
    pub fn with(self, irqchip: KernelIrqchip) -> Result<Self, MachineConfigError> {
        match irqchip {
            KernelIrqchip::On => Ok(Self { pic: true, ..self }),
            KernelIrqchip::Off if !self.pic => {
                let message = "kernel-irqchip=off and pic=off exclude each other: the processor would have no interrupt controller";
                Err(MachineConfigError::new("pic", message, "Use kernel-irqchip=split, which has an IOAPIC."))
            }
            KernelIrqchip::Split | KernelIrqchip::Off => Ok(self),
        }
    }
}

/// The PIC as SeaBIOS leaves it on a PC: timer, keyboard and floppy of the master are open; clock, mouse, coprocessor and
/// disk of the slave.
const PIC_OF_FIRMWARE: [PicSetup; 2] = [PicSetup { vector: 0x08, mask: 0xb8 }, PicSetup { vector: 0x70, mask: 0x8e }];

/// The interrupt controllers on which devices raise their lines.
pub enum Lines {
    /// The controllers are in the kernel.
    Kernel(Interrupts),
    /// The controllers are in this process.
    User(Arc<UserChips>),
}

impl Lines {
    /// Creates the lines of an accelerator, before its vCPUs exist.
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

    /// Puts the PIC and the PIT into the state in which a PC's firmware leaves them, now and at each reset, for kernels
    /// that are entered as if by a boot loader: vectors 0x08 and 0x70, and ticks at 18.2 Hz.
    ///
    /// # Errors
    /// [`kvm_accel::Error::Kvm`] if the kernel refuses the state.
    pub fn program(&self, accel: &mut Accelerator) -> kvm_accel::Result<()> {
        match self {
            Self::Kernel(_) => accel.program_chips(PIC_OF_FIRMWARE),
            Self::User(chips) => {
                chips.program(PIC_OF_FIRMWARE);
                Ok(())
            }
        }
    }

    /// Returns an edge-triggered line: 0 to 15 of the PIC, or pins 16 to 23 of an IOAPIC.
    ///
    /// # Errors
    /// [`kvm_accel::Error::Kvm`] if the kernel refuses the irqfd.
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

    /// Returns a function that sets the level of any line, for a device that drives all of them. A line that the kernel
    /// refuses keeps its level.
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

    /// Returns a function that disconnects the PIT from its line (true) while the HPET drives that line, or connects it.
    #[must_use]
    pub fn replace_pit(&self) -> Box<dyn Fn(bool) + Send + Sync> {
        match self {
            Self::Kernel(interrupts) => {
                let interrupts = interrupts.clone();
                // Fails only without a PIT.
                Box::new(move |replaced| drop(interrupts.replace_pit(replaced)))
            }
            Self::User(chips) => {
                let chips = Arc::clone(chips);
                Box::new(move |replaced| chips.replace_pit(replaced))
            }
        }
    }

    /// Places the registers of the controllers in this process on the bus.
    #[must_use]
    pub fn place(&self, bus: BusBuilder) -> BusBuilder {
        match self {
            Self::Kernel(_) => bus,
            Self::User(chips) => ports::place(chips, bus),
        }
    }

    /// Starts the PIT's thread if the PIT is in this process.
    ///
    /// # Errors
    /// Fails if the host cannot start a thread.
    pub fn start_timer(&self) -> std::io::Result<Option<PitTimer>> {
        match self {
            Self::User(chips) if chips.present().pit => PitTimer::start(Arc::clone(chips)).map(Some),
            Self::Kernel(_) | Self::User(_) => Ok(None),
        }
    }

    /// Resets the controllers in this process to power-on. The accelerator resets those in the kernel.
    pub fn reset(&self) {
        if let Self::User(chips) = self {
            chips.reset();
        }
    }
}
