//! A machine that is to be built, as plain values.
//!
//! [`BindingConfig::into_plan`](crate::config::BindingConfig::into_plan) makes a plan on Node's thread and touches no file.
//! [`MachinePlan::open`] opens files, connects sockets and starts processes. It can wait, so it belongs on another thread.

use crate::bytes;
use crate::legacy::LegacyPlan;
use crate::serial::{BindingSerial, SerialStreams};
use crate::virtio::{BindingVirtio, VirtioHandles};
use kvm_accel::AccelProperties;
use kvm_accel::cancel::Cancel;
use kvm_accel::cpu::CpuConfig;
use kvm_accel::interrupts::LostTickPolicy;
use kvm_accel_machine::board::{BoardConfig, BoardError, ComPort, PlatformDevice};
use kvm_accel_machine::boot::{Boot, BootImage, BootOptions, Module};
use kvm_accel_machine::devices::DebugExit;
use kvm_accel_machine::firmware::Firmware;
use kvm_accel_machine::ram::RamBackend;
use kvm_accel_machine::{GuestImageError, ImageRole};
use kvm_accel_vmm::Policy;
use napi::bindgen_prelude::{Either3, Uint8Array};

/// A checked configuration whose files are not open yet.
pub struct MachinePlan {
    /// What follows when the guest stops by itself.
    pub policy: Policy,
    pub accel: AccelProperties,
    /// Bytes.
    pub memory: u64,
    pub ram: RamBackend,
    pub cpu: CpuConfig,
    /// None: firmware finds a kernel.
    pub kernel: Option<Source>,
    /// Without modules: `modules` has their images.
    pub options: BootOptions,
    /// Image and command line of each module.
    pub modules: Vec<(Source, String)>,
    pub firmware: Option<Source>,
    /// Where COM1 writes to; none: there is no COM1.
    pub serial: Option<BindingSerial>,
    pub debug_exit: Option<DebugExit>,
    pub lost_tick_policy: LostTickPolicy,
    pub acpi: bool,
    pub generation: Option<[u8; 16]>,
    pub legacy: LegacyPlan,
    /// In the order of their transports.
    pub virtio: Vec<BindingVirtio>,
}

/// What [`MachinePlan::open`] returns.
pub struct OpenMachine {
    /// Everything that the board needs.
    pub config: BoardConfig,
    /// The user's ends of serial streams.
    pub serial: SerialStreams,
    /// Devices that JavaScript talks to.
    pub virtio: VirtioHandles,
}

/// A file's path, or bytes that JavaScript can no longer change.
pub enum Source {
    Path(String),
    Bytes(Vec<u8>),
}

impl From<Either3<String, Uint8Array, u32>> for Source {
    /// Takes staged bytes by their token, and copies others: the caller may change its buffer, and a reset loads an image again.
    fn from(source: Either3<String, Uint8Array, u32>) -> Self {
        match source {
            Either3::A(path) => Self::Path(path),
            Either3::B(bytes) => Self::Bytes(bytes.to_vec()),
            Either3::C(token) => Self::Bytes(bytes::take(token)),
        }
    }
}

impl Source {
    fn open(self, role: ImageRole) -> Result<BootImage, GuestImageError> {
        match self {
            Self::Path(path) => BootImage::open(role, path),
            Self::Bytes(bytes) => Ok(BootImage::from_bytes(role, bytes)),
        }
    }
}

impl MachinePlan {
    /// Opens files, connects sockets and starts processes. A failure closes what was opened before it.
    ///
    /// Returns [`BoardError::Cancelled`] within about 10 ms of [`Cancel::cancel`].
    pub fn open(self, cancel: &Cancel) -> Result<OpenMachine, BoardError> {
        let modules = self
            .modules
            .into_iter()
            .map(|(image, cmdline)| Ok(Module { image: image.open(ImageRole::Initrd)?, cmdline }))
            .collect::<Result<_, GuestImageError>>()?;
        let boot = match self.kernel {
            Some(kernel) => Boot::new(kernel.open(ImageRole::Kernel)?, BootOptions { modules, ..self.options })?,
            None => Boot::by_firmware(),
        };
        let firmware = self.firmware.map(|source| Firmware::new(source.open(ImageRole::Firmware)?)).transpose()?;
        let mut virtio = VirtioHandles::default();
        let devices =
            self.virtio.into_iter().map(|device| device.open(&mut virtio, cancel)).collect::<Result<_, _>>()?;
        let mut streams = SerialStreams::default();
        let mut platform: Vec<Box<dyn PlatformDevice>> = Vec::new();
        if let Some(target) = self.serial {
            platform.push(Box::new(ComPort::new(0, streams.open(0, target)?)?));
        }
        let chips = self.legacy.chips;
        self.legacy.open(&mut platform, &mut streams, cancel)?;
        platform.extend(self.debug_exit.map(|device| Box::new(device) as _));
        let config = BoardConfig {
            accel: self.accel,
            memory: self.memory,
            ram: self.ram,
            cpu: self.cpu,
            boot,
            firmware,
            chips,
            lost_tick_policy: self.lost_tick_policy,
            acpi: self.acpi,
            generation: self.generation,
            devices: platform,
            virtio: devices,
        };
        Ok(OpenMachine { config, serial: streams, virtio })
    }
}

/// Plans and what comes of them cross to other threads.
const _: () = {
    const fn can_be_sent<T: Send>() {}
    can_be_sent::<MachinePlan>();
    can_be_sent::<OpenMachine>();
};
