//! User-mode networking: passt, a process of its own, which translates the guest's frames to sockets of the host.

use crate::MachineConfigError;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// passt tells what is wrong with its options within milliseconds; one that lives longer has started.
const START: Duration = Duration::from_millis(100);

/// The guest's network, as with QEMU's `-netdev user`: the gateway leads to the host.
const ADDRESSES: [&str; 10] = [
    "--address",
    "10.0.2.15",
    "--netmask",
    "24",
    "--gateway",
    "10.0.2.2",
    "--dns-forward",
    "10.0.2.3",
    "--dns",
    "10.0.2.3",
];

/// What passt is asked for, in its own words (passt(1)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// TCP ports of the host that lead into the guest, `--tcp-ports`: `127.0.0.1/8080:80`.
    pub tcp: Vec<String>,
    /// UDP ports, `--udp-ports`.
    pub udp: Vec<String>,
}

/// The process. It ends when its socket is closed; to be sure, it is killed when this is dropped.
#[derive(Debug)]
pub struct Passt(Child);

impl Passt {
    /// Starts it on one end of a socket pair, as its standard input; the other end speaks QEMU's `-netdev stream`.
    ///
    /// # Errors
    /// When it is not installed, or ends at once.
    pub fn start(options: &Options) -> Result<(Self, OwnedFd), MachineConfigError> {
        let refuse = |why: &dyn std::fmt::Display, remedy| {
            MachineConfigError::new("networks", format!("passt, for user-mode networking, {why}"), remedy)
        };
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|error| refuse(&format_args!("gets no socket: {error}"), "Raise the limit of open files."))?;
        let mut command = Command::new("passt");
        command.args(["--foreground", "--quiet", "--fd", "0"]).args(ADDRESSES);
        for (option, values) in [("--tcp-ports", &options.tcp), ("--udp-ports", &options.udp)] {
            command.args(values.iter().flat_map(|value| [option, value]));
        }
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| {
            let remedy = match error.kind() {
                ErrorKind::NotFound => "Install it (package passt), or take a tap interface.",
                _ => "Look whether it runs by itself.",
            };
            refuse(&format_args!("does not start: {error}"), remedy)
        })?;
        // The command holds their end as long as it lives, and its end is how passt hears of ours.
        drop(command);
        let mut this = Self(child);
        this.started().map_err(|why| refuse(&format_args!("ended: {why}"), "See passt(1) for what it needs."))?;
        Ok((this, ours))
    }

    /// What it complained of, when it has ended.
    fn started(&mut self) -> Result<(), String> {
        let start = Instant::now();
        while start.elapsed() < START {
            if let Ok(Some(status)) = self.0.try_wait() {
                let mut complaint = String::new();
                if let Some(stderr) = &mut self.0.stderr {
                    // What cannot be read says nothing.
                    let _ = stderr.read_to_string(&mut complaint);
                }
                let lines = complaint.lines().filter(|line| !line.contains("syslog")).collect::<Vec<_>>();
                return Err(if lines.is_empty() { status.to_string() } else { lines.join("; ") });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Nobody reads on: a full pipe would stop it.
        self.0.stderr = None;
        Ok(())
    }
}

impl Drop for Passt {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
