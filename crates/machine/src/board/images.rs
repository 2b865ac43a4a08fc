//! Guest images, and the tables that firmware would have left in memory. Both are loaded at the start and at each
//! reset.

use super::BoardError;
use crate::boot::Boot;
use crate::firmware::Firmware;
use crate::layout::RamLayout;
use crate::{acpi, low_memory, mptable, ram};
use kvm_accel::cancel::Cancel;
use kvm_accel::cpu::Topology;
use kvm_accel::trace::Trace;
use kvm_accel::{GuestRam, StartMode, StartState};

/// Images with more bytes than this are loaded on a separate thread. Loading fewer bytes takes less time than starting
/// the thread.
const LONG_LOAD: u64 = 1 << 20;

/// The images of a machine.
pub struct Images {
    pub boot: Boot,
    pub firmware: Option<Firmware>,
}

/// The tables that firmware would have left in memory.
pub struct Tables {
    /// The serial ports of the BIOS data area.
    pub serial_ports: Vec<u16>,
    /// The processors of the MP table, if the guest gets one.
    pub processors: Option<Topology>,
    pub acpi: Option<acpi::Tables>,
}

impl Images {
    /// Returns true if loading these images takes longer than starting a thread for it.
    pub fn are_long(&self) -> bool {
        self.firmware.is_some() || self.boot.image_bytes() > LONG_LOAD
    }

    /// Loads the images, and writes the tables if the boot protocol leaves them to the board.
    pub fn load(
        &mut self,
        tables: &Tables,
        layout: &RamLayout,
        ram: &GuestRam,
        cancel: &Cancel,
    ) -> Result<StartState, BoardError> {
        // First: a kernel may have segments there.
        if !self.boot.is_by_firmware() {
            low_memory::write(ram, &tables.serial_ports)?;
        }
        let loaded = self.boot.load(layout, ram, tables.acpi.as_ref().map(|_| acpi::RSDP), cancel);
        // Checked before `loaded`: lost memory is the cause of any other error, and a load into lost memory can return
        // success.
        ram::check(ram)?;
        let start = loaded?;
        if let Some(firmware) = &self.firmware {
            firmware.load(ram, start.mode == StartMode::Reset, cancel)?;
        }
        // Neither gets tables here. Flat images have no boot protocol that passes an RSDP. Firmware places the ACPI
        // tables itself, from fw_cfg.
        if matches!(start.mode, StartMode::Real | StartMode::Reset) {
            return Ok(start);
        }
        if let Some(topology) = &tables.processors {
            mptable::write(ram, topology)?;
        }
        if let Some(acpi) = &tables.acpi {
            acpi.write(ram)?;
        }
        Ok(start)
    }
}

/// Calls `first` on a new thread, and `second` on this thread at the same time. If the host has no thread left, calls
/// one after the other.
pub fn beside<A: Send, B>(mut first: impl FnMut() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    let trace = Trace::current();
    let first_there = || {
        let _scope = trace.enter();
        first()
    };
    let both = std::thread::scope(|scope| {
        match std::thread::Builder::new().name("kvm-accel/load".into()).spawn_scoped(scope, first_there) {
            Ok(thread) => {
                let second = second();
                // A panic of the thread continues here, as it would without the thread.
                Ok((thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), second))
            }
            Err(_) => Err(second),
        }
    });
    both.unwrap_or_else(|second| (first(), second()))
}
