//! The board's devices at fixed ports, as every PC has them, and what a machine's owner can choose about them.

use crate::MachineConfigError;
use crate::bus::{BusBuilder, BusDevice};
use crate::devices::{
    FW_CFG_BASE, FW_CFG_PORTS, FwCfg, FwCfgItems, TEST_BYTE_LATCH_BASE, TEST_FLUSH_BASE, TEST_LATCH_BASE,
    TEST_LATCH_PORTS, TEST_LINES_BASE, TEST_LINES_PORTS, TEST_MEMORY_BASE, TEST_MEMORY_SIZE, TestFlush, TestLatch,
    TestLines,
};
use crate::interrupts::Lines;
use crate::layout::RamLayout;
use kvm_accel::GuestRam;
use std::sync::Arc;

/// What can be chosen; by default, what a machine has anyway.
#[derive(Debug, Default)]
pub struct LegacyConfig {
    /// Files of fw_cfg, by name.
    pub fw_cfg: Vec<(String, Vec<u8>)>,
    /// Whether there is `pc-testdev`.
    pub test_devices: bool,
}

/// The rest of the machine, as far as these devices are connected to it.
pub(super) struct Connections<'a> {
    pub layout: &'a RamLayout,
    pub ram: &'a GuestRam,
    pub lines: &'a Lines,
    pub cpus: u32,
}

/// The devices.
pub(super) struct Legacy {
    fw_cfg: Arc<FwCfg>,
    test_devices: bool,
}

impl Legacy {
    pub fn new(config: LegacyConfig, to: &Connections<'_>) -> Result<Self, MachineConfigError> {
        let mut items = FwCfgItems::of_machine(to.layout, to.cpus);
        for (name, contents) in config.fw_cfg {
            items.add_file(&name, contents)?;
        }
        Ok(Self { fw_cfg: Arc::new(FwCfg::new(items, to.ram.clone())), test_devices: config.test_devices })
    }

    /// Places them.
    pub fn place(&self, bus: BusBuilder, to: &Connections<'_>) -> BusBuilder {
        let bus = bus.ports("fw_cfg", FW_CFG_BASE, FW_CFG_PORTS, Arc::clone(&self.fw_cfg) as Arc<dyn BusDevice>);
        if self.test_devices { place_test_devices(bus, to) } else { bus }
    }

    /// Back to power-on.
    pub fn reset(&self) {
        self.fw_cfg.reset();
    }
}

fn place_test_devices(bus: BusBuilder, to: &Connections<'_>) -> BusBuilder {
    const OWNER: &str = "pc-testdev";
    let latch = Arc::new(TestLatch::new(TEST_LATCH_PORTS as usize));
    let memory = TestLatch::new(TEST_MEMORY_SIZE as usize);
    let ram = to.ram.clone();
    bus.ports(OWNER, TEST_LATCH_BASE, TEST_LATCH_PORTS, Arc::clone(&latch) as Arc<dyn BusDevice>)
        .ports(OWNER, TEST_FLUSH_BASE, TEST_LATCH_PORTS, Arc::new(TestFlush(move |address| ram.flush(address))))
        .ports(OWNER, TEST_BYTE_LATCH_BASE, TEST_LATCH_PORTS, latch)
        .ports(OWNER, TEST_LINES_BASE, TEST_LINES_PORTS, Arc::new(TestLines(to.lines.levels())))
        .memory(OWNER, TEST_MEMORY_BASE, TEST_MEMORY_SIZE.into(), Arc::new(memory))
}
