//! `virtio-console`.

use crate::config::serial::Target;
use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::virtio::console::{Console, HostEnd, PortKind};
use serde::{Deserialize, Serialize};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A port of the virtio console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleConfig {
    /// The destination of the guest's output. The guest's input always comes from the caller's end of the port.
    pub target: Target,
    /// The name of a channel; none for a terminal.
    pub name: Option<String>,
}

/// Creates the device. Returns it with the caller's end of each port.
pub fn open(ports: Vec<ConsoleConfig>) -> Result<(Console, Vec<UnixStream>), MachineConfigError> {
    let opened = ports.into_iter().map(|ConsoleConfig { target, name }| {
        let kind = name.map_or(PortKind::Console, |name| PortKind::Channel { name });
        let (theirs, end) = host_end(target)?;
        Ok(((kind, end), theirs))
    });
    let (ports, ends) = opened.collect::<Result<Vec<_>, MachineConfigError>>()?.into_iter().unzip();
    Ok((Console::new(ports)?, ends))
}

fn host_end(target: Target) -> Result<(UnixStream, HostEnd), MachineConfigError> {
    let failed = |error: std::io::Error| {
        let message = format!("cannot open a port of the console: {error}");
        MachineConfigError::new("consoles", message, "Raise the limit on open files (ulimit -n).")
    };
    let (theirs, ours) = UnixStream::pair().map_err(failed)?;
    // At the end of the machine, the caller reads what is there.
    theirs.set_nonblocking(true).map_err(failed)?;
    let end = match target {
        Target::Null {} => HostEnd::null(ours),
        Target::Stdio {} => HostEnd::stdout(ours).map_err(failed)?,
        Target::File { path } => HostEnd::create(ours, Path::new(&path))?,
        Target::Stream {} => HostEnd::stream(ours),
    };
    Ok((theirs, end))
}
