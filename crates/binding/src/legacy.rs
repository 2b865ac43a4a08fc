//! Devices at fixed ports as TypeScript hands them over.

use crate::serial::{BindingSerial, DEBUG_CONSOLE, SerialStreams};
use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::board::{LegacyConfig, SerialConfig};
use kvm_accel_machine::devices::RtcConfig;
use kvm_accel_machine::interrupts::IsaChips;
use napi::bindgen_prelude::{Either, Uint8Array};
use napi_derive::napi;

/// A file of fw_cfg.
#[napi(object, object_to_js = false)]
pub struct BindingFwCfgFile {
    /// Its name in the directory.
    pub name: String,
    /// The path of a file, or the bytes.
    pub contents: Either<String, Uint8Array>,
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

impl BindingLegacy {
    /// The board's part of it.
    pub fn into_board(self, streams: &mut SerialStreams) -> Result<LegacyConfig, MachineConfigError> {
        let mut config = LegacyConfig {
            test_devices: self.test_devices,
            pvpanic: self.pvpanic,
            rtc: self.rtc.into(),
            chips: IsaChips { pic: self.pic, pit: self.pit },
            ..Default::default()
        };
        for BindingSerialPort { port, target } in self.serials {
            let slot = usize::try_from(port).ok().and_then(|port| config.serials.get_mut(port.checked_sub(1)?));
            let slot = slot.ok_or_else(|| {
                MachineConfigError::new("serials", format!("There is no COM{}", port + 1), "A board has COM1 to COM4.")
            })?;
            *slot = Some(SerialConfig { output: streams.open(port, target)?, input_drained: None });
        }
        if let Some(BindingDebugConsole { port, target }) = self.debug_console {
            let port = u16::try_from(port).map_err(|_| {
                MachineConfigError::new("debugConsole", "A port is 0 to 0xffff", "QEMU's is 0xe9, SeaBIOS's 0x402.")
            })?;
            config.debug_console = Some((port, streams.open(DEBUG_CONSOLE, target)?));
        }
        for file in self.fw_cfg {
            config.fw_cfg.push((file.name, contents(file.contents)?));
        }
        Ok(config)
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

fn contents(source: Either<String, Uint8Array>) -> Result<Vec<u8>, MachineConfigError> {
    let path = match source {
        Either::A(path) => path,
        Either::B(bytes) => return Ok(bytes.to_vec()),
    };
    let read = || {
        // Nothing else ends for sure.
        if !std::fs::metadata(&path)?.is_file() {
            return Err(std::io::Error::other("it is not a regular file"));
        }
        std::fs::read(&path)
    };
    read().map_err(|error| {
        let message = format!("The file '{path}' for fw_cfg cannot be read: {error}");
        MachineConfigError::new("fwCfg", message, "Name a regular file that this process may read.")
    })
}
