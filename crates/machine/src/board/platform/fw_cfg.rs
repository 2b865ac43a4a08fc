//! QEMU's firmware configuration device.

use super::{Attached, PlatformDevice, Slot};
use crate::board::BoardError;
use crate::devices::{FW_CFG_BASE, FW_CFG_PORTS, FwCfg, FwCfgItems};
use std::sync::Arc;

/// Configures `fw_cfg` with these files, name and contents, in addition to the files that every machine has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FwCfgFiles(pub Vec<(String, Vec<u8>)>);

impl PlatformDevice for FwCfgFiles {
    fn attach(self: Box<Self>, slot: &mut Slot<'_>) -> Result<(), BoardError> {
        let mut items = FwCfgItems::of_machine(slot.layout, slot.cpus);
        for (name, contents) in self.0.into_iter().chain(std::mem::take(&mut slot.firmware_files)) {
            items.add_file(&name, contents)?;
        }
        let fw_cfg = Arc::new(FwCfg::new(items, slot.ram.clone()));
        slot.ports("fw_cfg", FW_CFG_BASE, FW_CFG_PORTS, Arc::clone(&fw_cfg) as _);
        slot.add_attached(fw_cfg);
        Ok(())
    }
}

impl Attached for FwCfg {
    fn reset(&self) {
        Self::reset(self);
    }
}
