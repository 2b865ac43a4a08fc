//! The state of the interrupt controllers and the PIT in the kernel.

use super::Vm;
use crate::Result;
use crate::error::failed;
use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_irqchip, kvm_pic_state, kvm_pit_state2,
};
use std::sync::OnceLock;

/// The state of the in-kernel interrupt controllers and the PIT.
#[derive(Clone, Debug)]
pub struct ChipState {
    /// Both 8259, then the IOAPIC.
    chips: Vec<kvm_irqchip>,
    /// `None` without a PIT.
    pit: Option<kvm_pit_state2>,
}

/// How a program sets up one 8259: the vector of its first line, and the mask of its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PicSetup {
    /// The vector of line 0, a multiple of 8.
    pub vector: u8,
    /// A set bit masks the line.
    pub mask: u8,
}

/// Channel 0 of the PIT as a rate generator with the longest period, 65536 ticks: 18.2 Hz.
mod rate {
    pub const MODE: u8 = 2;
    pub const COUNT: u32 = 0x1_0000;
    /// The low byte is read and written before the high byte.
    pub const LOW_THEN_HIGH: u8 = 3;
}

impl ChipState {
    /// Returns this state after a program has initialised the master and the slave 8259 (ICW1 to ICW4 of a PC, then the
    /// masks), and channel 0 of the PIT, if there is one, to 18.2 Hz.
    #[must_use]
    pub fn programmed(&self, setup: [PicSetup; 2]) -> Self {
        let mut state = self.clone();
        for (chip, setup) in state.chips.iter_mut().zip(setup) {
            // SAFETY: the first two chips are the 8259 (see the field), so `pic` is the member that KVM_GET_IRQCHIP
            // wrote; each bit pattern is a valid `kvm_pic_state`, which consists of bytes.
            let elcr_mask = unsafe { chip.chip.pic.elcr_mask };
            let pic =
                kvm_pic_state { irq_base: setup.vector, imr: setup.mask, init4: 1, elcr_mask, ..Default::default() };
            chip.chip.pic = pic;
        }
        if let Some(pit) = &mut state.pit {
            let channel = &mut pit.channels[0];
            (channel.mode, channel.count) = (rate::MODE, rate::COUNT);
            (channel.rw_mode, channel.read_state, channel.write_state) =
                (rate::LOW_THEN_HIGH, rate::LOW_THEN_HIGH, rate::LOW_THEN_HIGH);
        }
        state
    }
}

impl Vm {
    /// Returns the state of the in-kernel chips at power-on (`kernel-irqchip=on` only). It is the same in every machine
    /// of a process, so it is read once, before a guest can have changed it. `pit`: whether this VM has a PIT.
    pub fn power_on_chip_state(&self, pit: bool) -> Result<&'static ChipState> {
        static POWER_ON: [OnceLock<ChipState>; 2] = [const { OnceLock::new() }; 2];
        let power_on = &POWER_ON[usize::from(pit)];
        if let Some(state) = power_on.get() {
            return Ok(state);
        }
        let state = self.chip_state(pit)?;
        Ok(power_on.get_or_init(|| state))
    }

    fn chip_state(&self, pit: bool) -> Result<ChipState> {
        let chips = [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC]
            .into_iter()
            .map(|chip_id| {
                let mut chip = kvm_irqchip { chip_id, ..Default::default() };
                self.fd.get_irqchip(&mut chip).map_err(failed("KVM_GET_IRQCHIP", format!("chip {chip_id}")))?;
                Ok(chip)
            })
            .collect::<Result<_>>()?;
        let pit = pit.then(|| self.fd.get_pit2().map_err(failed("KVM_GET_PIT2", ""))).transpose()?;
        Ok(ChipState { chips, pit })
    }

    /// Writes the state of the in-kernel chips, for a reset.
    pub fn set_chip_state(&self, state: &ChipState) -> Result<()> {
        for chip in &state.chips {
            self.fd.set_irqchip(chip).map_err(failed("KVM_SET_IRQCHIP", format!("chip {}", chip.chip_id)))?;
        }
        let Some(pit) = &state.pit else { return Ok(()) };
        self.fd.set_pit2(pit).map_err(failed("KVM_SET_PIT2", ""))
    }
}
