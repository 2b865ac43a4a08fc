//! The board's devices at fixed ports, as every PC has them, and what a machine's owner can choose about them.

use super::BoardError;
use crate::bus::{BusBuilder, BusDevice};
use crate::devices::{
    AcpiPm, COM1_BASE, COM1_IRQ, COM1_PORTS, DebugConsole, FW_CFG_BASE, FW_CFG_PORTS, FwCfg, FwCfgItems, InputDrained,
    MORE_COM_PORTS, PVPANIC_PORT, Pvpanic, RTC_BASE, RTC_IRQ, RTC_PORTS, Rtc, RtcConfig, SerialOutput, SerialPort,
    TEST_BYTE_LATCH_BASE, TEST_FLUSH_BASE, TEST_LATCH_BASE, TEST_LATCH_PORTS, TEST_LINES_BASE, TEST_LINES_PORTS,
    TEST_MEMORY_BASE, TEST_MEMORY_SIZE, TestFlush, TestLatch, TestLines,
};
use crate::interrupts::{IsaChips, Lines};
use crate::layout::RamLayout;
use kvm_accel::GuestRam;
use std::sync::Arc;

/// What can be chosen; by default, what a machine has anyway.
#[derive(Default)]
pub struct LegacyConfig {
    /// COM2 to COM4.
    pub serials: [Option<SerialConfig>; 3],
    /// What the CMOS clock shows.
    pub rtc: RtcConfig,
    /// A port whose bytes go somewhere, as firmware's messages do.
    pub debug_console: Option<(u16, SerialOutput)>,
    /// Files of fw_cfg, by name.
    pub fw_cfg: Vec<(String, Vec<u8>)>,
    /// Whether there is `pc-testdev`.
    pub test_devices: bool,
    /// Whether there is `pvpanic`.
    pub pvpanic: bool,
    /// Which of a PC's older chips there are.
    pub chips: IsaChips,
}

/// A serial port besides COM1.
pub struct SerialConfig {
    /// Where it writes to.
    pub output: SerialOutput,
    /// Called on a vCPU thread when it takes input again after it was full.
    pub input_drained: Option<InputDrained>,
}

impl LegacyConfig {
    /// First port and line of each serial port, COM1 first, if there is `com1`.
    pub(super) fn serial_ports(&self, com1: bool) -> Vec<(u16, u8)> {
        let more = self.serials.iter().zip(MORE_COM_PORTS).filter_map(|(serial, place)| serial.as_ref().map(|_| place));
        com1.then_some((COM1_BASE, COM1_IRQ)).into_iter().chain(more).collect()
    }
}

/// The rest of the machine, as far as these devices are connected to it.
pub(super) struct Connections<'a> {
    pub layout: &'a RamLayout,
    pub ram: &'a GuestRam,
    pub lines: &'a Lines,
    pub cpus: u32,
    pub pm: &'a Arc<AcpiPm>,
}

/// The devices.
pub(super) struct Legacy {
    serials: [Option<Arc<SerialPort>>; 3],
    rtc: Arc<Rtc>,
    fw_cfg: Arc<FwCfg>,
    debug_console: Option<(u16, Arc<DebugConsole>)>,
    test_devices: bool,
    pvpanic: bool,
}

impl Legacy {
    /// # Errors
    /// Files of fw_cfg that cannot be, and what the kernel refuses.
    pub fn new(config: LegacyConfig, to: &Connections<'_>) -> Result<Self, BoardError> {
        let mut serials = [None, None, None];
        for ((port, config), (_, line)) in serials.iter_mut().zip(config.serials).zip(MORE_COM_PORTS) {
            if let Some(SerialConfig { output, input_drained }) = config {
                *port = Some(Arc::new(SerialPort::new(to.lines.edge(line)?, output, input_drained)));
            }
        }
        let pm = Arc::clone(to.pm);
        let alarm = Box::new(move || pm.alarm());
        let rtc = Rtc::new(config.rtc, to.layout, to.cpus, to.lines.edge(RTC_IRQ)?, alarm);
        let mut items = FwCfgItems::of_machine(to.layout, to.cpus);
        for (name, contents) in config.fw_cfg {
            items.add_file(&name, contents)?;
        }
        Ok(Self {
            serials,
            rtc: Arc::new(rtc),
            fw_cfg: Arc::new(FwCfg::new(items, to.ram.clone())),
            debug_console: config.debug_console.map(|(port, output)| (port, Arc::new(DebugConsole::new(output)))),
            test_devices: config.test_devices,
            pvpanic: config.pvpanic,
        })
    }

    /// Places them.
    pub fn place(&self, bus: BusBuilder, to: &Connections<'_>) -> BusBuilder {
        let mut bus = bus.ports("RTC", RTC_BASE, RTC_PORTS, Arc::clone(&self.rtc) as Arc<dyn BusDevice>).ports(
            "fw_cfg",
            FW_CFG_BASE,
            FW_CFG_PORTS,
            Arc::clone(&self.fw_cfg) as Arc<dyn BusDevice>,
        );
        for (serial, (base, _)) in self.serials.iter().zip(MORE_COM_PORTS) {
            if let Some(serial) = serial {
                bus = bus.ports("serial", base, COM1_PORTS, Arc::clone(serial) as Arc<dyn BusDevice>);
            }
        }
        if let Some((port, console)) = &self.debug_console {
            bus = bus.ports("isa-debugcon", *port, 1, Arc::clone(console) as Arc<dyn BusDevice>);
        }
        if self.pvpanic {
            bus = bus.ports("pvpanic", PVPANIC_PORT, 1, Arc::new(Pvpanic));
        }
        if self.test_devices { place_test_devices(bus, to) } else { bus }
    }

    /// Back to power-on.
    pub fn reset(&self) {
        self.serials.iter().flatten().for_each(|serial| serial.reset());
        self.rtc.reset();
        self.fw_cfg.reset();
    }

    /// COM2 to COM4.
    pub const fn serials(&self) -> &[Option<Arc<SerialPort>>; 3] {
        &self.serials
    }

    /// Passes on what output readers take at once.
    pub fn flush_pending(&self) {
        for serial in self.serials.iter().flatten() {
            serial.flush_pending();
        }
        if let Some((_, console)) = &self.debug_console {
            console.flush_pending();
        }
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
