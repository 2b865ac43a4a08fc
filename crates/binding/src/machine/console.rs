//! Ports of the virtio console: descriptors cross, their bytes do not.

use crate::machine::BindingMachine;
use crate::serial::BindingSerial;
use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::virtio::console::{Console, HostEnd, PortKind, Size};
use napi_derive::napi;
use std::os::fd::{AsFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A port.
#[napi(object, object_to_js = false)]
pub struct BindingConsolePort {
    /// The name of a channel; a terminal has none.
    pub name: Option<String>,
    /// Where what the guest writes goes; what it reads comes from `takeConsoleFd()` in any case.
    pub target: BindingSerial,
}

/// The device, and the users' ends of its ports.
pub fn make(ports: Vec<BindingConsolePort>) -> Result<(Console, Vec<Option<UnixStream>>), MachineConfigError> {
    let opened = ports.into_iter().map(|BindingConsolePort { name, target }| {
        let kind = name.map_or(PortKind::Console, |name| PortKind::Channel { name });
        let (theirs, end) = open(target)?;
        Ok(((kind, end), Some(theirs)))
    });
    let (ports, ends) = opened.collect::<Result<Vec<_>, MachineConfigError>>()?.into_iter().unzip();
    Ok((Console::new(ports)?, ends))
}

fn open(target: BindingSerial) -> Result<(UnixStream, HostEnd), MachineConfigError> {
    let failed = |error: std::io::Error| {
        let message = format!("a port of the console cannot be opened: {error}");
        MachineConfigError::new("consoles", message, "Raise the limit on open files (ulimit -n).")
    };
    let (theirs, ours) = UnixStream::pair().map_err(failed)?;
    let end = match target {
        BindingSerial::Null => HostEnd::null(ours),
        BindingSerial::Stdout => {
            HostEnd::file(ours, std::io::stdout().as_fd().try_clone_to_owned().map_err(failed)?.into())
        }
        BindingSerial::File { path } => HostEnd::create(ours, Path::new(&path))?,
        BindingSerial::Stream => HostEnd::stream(ours),
    };
    Ok((theirs, end))
}

#[napi]
impl BindingMachine {
    /// The user's end of a console's port, which the caller owns; -1 without one.
    #[napi]
    pub fn take_console_fd(&self, port: u32) -> i32 {
        let end = usize::try_from(port).ok().and_then(|port| self.opened().virtio.console_ends.get_mut(port)?.take());
        end.map_or(-1, IntoRawFd::into_raw_fd)
    }

    /// The size of a console's terminal has changed.
    #[napi]
    pub fn resize_console(&self, port: u32, columns: u16, rows: u16) {
        let console = self.opened().virtio.console.as_ref().and_then(std::sync::Weak::upgrade);
        if let (Some(console), Ok(port)) = (console, usize::try_from(port)) {
            console.resize(port, Size { columns, rows });
        }
    }
}
