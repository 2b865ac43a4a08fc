//! Devices at fixed ports as TypeScript hands them over.

use crate::plan::Source;
use crate::serial::{BindingSerial, DEBUG_CONSOLE, SerialStreams};
use kvm_accel::cancel::Cancel;
use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::board::{BoardError, ComPort, DebugPort, FwCfgFiles, PlatformDevice, TestDevices};
use kvm_accel_machine::devices::{FwCfgItems, Pvpanic, RtcConfig};
use kvm_accel_machine::interrupts::IsaChips;
use napi::bindgen_prelude::{Either3, Uint8Array};
use napi_derive::napi;
use std::path::Path;

/// A file of fw_cfg.
#[napi(object, object_to_js = false)]
pub struct BindingFwCfgFile {
    /// Its name in the directory.
    pub name: String,
    /// The path of a file, or the bytes.
    pub contents: Either3<String, Uint8Array, u32>,
}

/// A serial port besides COM1.
#[napi(object, object_to_js = false)]
pub struct BindingSerialPort {
    /// 1 is COM2, 3 is COM4.
    pub port: u32,
    /// Where it writes to.
    pub target: BindingSerial,
}

/// The debug console.
#[napi(object, object_to_js = false)]
pub struct BindingDebugConsole {
    /// Its I/O port.
    pub port: u32,
    /// Where it writes to.
    pub target: BindingSerial,
}

/// What the CMOS clock shows.
#[napi(object, object_to_js = false)]
pub struct BindingRtc {
    /// Milliseconds by which it is ahead of the host's.
    pub offset: f64,
    /// It stands still while the machine does.
    pub stops: bool,
}

/// Which devices there are, and what they hold.
#[napi(object, object_to_js = false)]
pub struct BindingLegacy {
    /// COM2 to COM4.
    pub serials: Vec<BindingSerialPort>,
    /// The debug console.
    pub debug_console: Option<BindingDebugConsole>,
    /// The CMOS clock.
    pub rtc: BindingRtc,
    /// Files of fw_cfg.
    pub fw_cfg: Vec<BindingFwCfgFile>,
    /// `pc-testdev`.
    pub test_devices: bool,
    /// `pvpanic`.
    pub pvpanic: bool,
    /// Whether there are two 8259.
    pub pic: bool,
    /// Whether there is a PIT.
    pub pit: bool,
}

/// A checked configuration of these devices whose files are not open yet.
pub struct LegacyPlan {
    rtc: RtcConfig,
    test_devices: bool,
    pvpanic: bool,
    /// The older interrupt and timer chips of a PC.
    pub chips: IsaChips,
    /// Where COM2 to COM4 write to.
    serials: [Option<BindingSerial>; 3],
    /// The debug console's port, and where it writes to.
    debug_console: Option<(u16, BindingSerial)>,
    fw_cfg: Vec<(String, Source)>,
}

impl BindingLegacy {
    /// Checks the values and copies bytes; touches no file.
    pub fn into_plan(self) -> Result<LegacyPlan, MachineConfigError> {
        let mut serials = [None, None, None];
        for BindingSerialPort { port, target } in self.serials {
            let slot = usize::try_from(port).ok().and_then(|port| serials.get_mut(port.checked_sub(1)?));
            let slot = slot.ok_or_else(|| {
                let message = format!("COM{} does not exist", u64::from(port) + 1);
                MachineConfigError::new("serials", message, "A board has COM1 to COM4.")
            })?;
            *slot = Some(target);
        }
        let debug_console = self.debug_console.map(|BindingDebugConsole { port, target }| {
            let port = u16::try_from(port).map_err(|_| {
                let message = format!("the debug console's port is 0 to 0xffff, and not {port:#x}");
                MachineConfigError::new("debugConsole", message, "QEMU's is 0xe9, SeaBIOS's 0x402.")
            })?;
            Ok((port, target))
        });
        let fw_cfg = self.fw_cfg.into_iter().map(|file| (file.name, file.contents.into())).collect();
        Ok(LegacyPlan {
            rtc: self.rtc.into(),
            test_devices: self.test_devices,
            pvpanic: self.pvpanic,
            chips: IsaChips { pic: self.pic, pit: self.pit },
            serials,
            debug_console: debug_console.transpose()?,
            fw_cfg,
        })
    }
}

impl LegacyPlan {
    /// Opens the outputs of ports, reads the files of fw_cfg, and adds the devices to a board's list.
    pub fn open(
        self,
        devices: &mut Vec<Box<dyn PlatformDevice>>,
        streams: &mut SerialStreams,
        cancel: &Cancel,
    ) -> Result<(), BoardError> {
        for (port, target) in (1..).zip(self.serials) {
            if let Some(target) = target {
                devices.push(Box::new(ComPort::new(port, streams.open(port, target)?)?));
            }
        }
        devices.push(Box::new(self.rtc));
        let debug_port = self
            .debug_console
            .map(|(port, target)| Ok::<_, BoardError>(DebugPort { port, output: streams.open(DEBUG_CONSOLE, target)? }))
            .transpose()?;
        let mut files = Vec::new();
        for (name, source) in self.fw_cfg {
            let contents = match source {
                Source::Path(path) => FwCfgItems::read_file(Path::new(&path), cancel)?,
                Source::Bytes(bytes) => bytes,
            };
            files.push((name, contents));
        }
        devices.push(Box::new(FwCfgFiles(files)));
        devices.extend(debug_port.map(|device| Box::new(device) as _));
        devices.extend(self.pvpanic.then(|| Box::new(Pvpanic) as _));
        devices.extend(self.test_devices.then(|| Box::new(TestDevices) as _));
        Ok(())
    }
}

impl From<BindingRtc> for RtcConfig {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "an integer of JavaScript: TypeScript computes it from two dates"
    )]
    fn from(raw: BindingRtc) -> Self {
        Self { offset: i128::from(raw.offset as i64) * 1_000_000, stops: raw.stops }
    }
}
