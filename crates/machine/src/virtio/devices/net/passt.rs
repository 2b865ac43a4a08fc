//! User-mode networking by passt, a separate process that translates the guest's frames to sockets of the host.

use super::backend::{HEADER, LARGEST, Received};
use super::forward::{Forward, Protocol, check_free};
use super::stream::Stream;
use crate::{MachineConfigError, SetupError, Sources};
use kvm_accel::cancel::Cancel;
use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// passt starts within 5 to 20 ms. An overloaded host may need longer.
const START: Duration = Duration::from_secs(10);

/// About how many bytes of passt's error messages are kept.
const COMPLAINT: usize = 64 << 10;

/// Size of an Ethernet frame with an ARP packet for IPv4, in bytes.
const ARP_LEN: usize = 42;
/// The frame from its EtherType on: ARP, Ethernet, IPv4, the lengths of their addresses, and the operation.
const ARP_REQUEST: [u8; 10] = [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1];
const ARP_REPLY: [u8; 10] = [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2];
/// The gateway of [`ADDRESSES`].
const GATEWAY: [u8; 4] = [10, 0, 2, 2];

/// The guest's network, as with QEMU's `-netdev user`. The gateway's address reaches the host.
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

/// The passt process. It ends when its socket is closed. Dropping this also kills it.
#[derive(Debug)]
pub struct Passt {
    child: Child,
    /// The standard error of passt, until it has started.
    stderr: Option<ChildStderr>,
    complaint: Vec<u8>,
}

impl Passt {
    /// Starts passt with one end of a socket pair as its standard input. The other end uses QEMU's `-netdev stream`.
    /// [`Passt::wait_until_started`] later reports whether passt accepts its options.
    ///
    /// # Errors
    /// When passt is not installed, or a port of the host is taken.
    pub fn start(forwards: &[Forward]) -> Result<(Self, OwnedFd), MachineConfigError> {
        check_free(forwards)?;
        let mut command = Command::new("passt");
        command.args(["--foreground", "--quiet", "--fd", "0"]).args(ADDRESSES);
        for forward in forwards {
            let option = match forward.protocol {
                Protocol::Tcp => "--tcp-ports",
                Protocol::Udp => "--udp-ports",
            };
            command.arg(option).arg(forward.to_string());
        }
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Result<(Self, OwnedFd), MachineConfigError> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(|error| {
                refuse(&format_args!("cannot create its socket: {error}"), "Raise the limit on open files (ulimit -n).")
            })?;
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            let remedy = match error.kind() {
                ErrorKind::NotFound => "Install the package passt, or use a tap interface.",
                _ => "Check whether the command 'passt' runs.",
            };
            refuse(&format_args!("cannot start: {error}"), remedy)
        })?;
        // The command holds passt's end of the socket. If this process kept it open, it would not see that passt closes its end.
        drop(command);
        let stderr = child.stderr.take();
        Ok((Self { child, stderr, complaint: Vec::new() }, ours))
    }

    /// Waits until passt has started. It sends an ARP probe through `stream`, with the guest's MAC address as the sender. passt answers
    /// after it has accepted its options, opened its ports and finished its set-up. The guest must not use the stream yet, because other
    /// frames that arrive are dropped.
    ///
    /// # Errors
    /// [`SetupError::Config`] with passt's error messages if it ends or does not answer for 10 s; [`SetupError::Cancelled`] within about 10
    /// ms of [`Cancel::cancel`].
    pub fn wait_until_started(&mut self, stream: &mut Stream, mac: [u8; 6], cancel: &Cancel) -> Result<(), SetupError> {
        let deadline = Instant::now() + START;
        let mut frame = vec![0; ARP_LEN.max(LARGEST - HEADER)];
        let mut hung_up = false;
        stream.send(&arp_probe(mac));
        loop {
            cancel.check()?;
            if Instant::now() >= deadline {
                let seconds = START.as_secs();
                let why = format!("no answer within {seconds} s");
                return Err(refuse(
                    &why,
                    "Check whether the command 'passt' runs, and whether the host is overloaded.",
                )
                .into());
            }
            match stream.receive(&mut frame) {
                Received::Frame(len) if is_arp_reply(frame.get(..len).unwrap_or_default()) => break,
                Received::Frame(_) => continue,
                Received::Closed => hung_up = true,
                Received::Nothing => {}
            }
            self.listen();
            // If waiting for the process fails, it counts as running: the deadline ends the wait.
            if let Ok(Some(status)) = self.child.try_wait() {
                self.listen();
                return Err(refuse(
                    &format_args!("process ended: {}", self.reason(status)),
                    "passt(1) lists its requirements.",
                )
                .into());
            }
            self.wait(stream, hung_up);
        }
        // passt's messages are discarded from here on, because a full pipe would block it.
        self.stderr = None;
        Ok(())
    }

    /// Waits for a frame, a message or the end of the process, but at most until the next check for cancellation.
    fn wait(&self, stream: &Stream, hung_up: bool) {
        let mut sources = Sources::new();
        if !hung_up {
            sources.add((), PollFd::new(stream.socket(), PollFlags::IN));
        }
        sources.add((), self.stderr.as_ref().map(|stderr| PollFd::new(stderr, PollFlags::IN)));
        // A process that has closed its socket or its standard error is about to end. Its end cannot be polled for.
        let ending = hung_up || self.stderr.is_none();
        // If the wait fails, the next check is just earlier.
        let _ = sources.wait(Some(Duration::from_millis(if ending { 1 } else { 10 })));
    }

    /// Keeps passt's error messages.
    fn listen(&mut self) {
        let mut block = [0; 4096];
        while let Some(stderr) = &mut self.stderr {
            if !readable(stderr) {
                return;
            }
            match stderr.read(&mut block) {
                Ok(0) | Err(_) => self.stderr = None,
                Ok(len) if self.complaint.len() < COMPLAINT => {
                    self.complaint.extend_from_slice(block.get(..len).unwrap_or_default());
                }
                Ok(_) => {}
            }
        }
    }

    /// Returns the reason why passt has ended, from its error messages.
    fn reason(&self, status: ExitStatus) -> String {
        let complaint = String::from_utf8_lossy(&self.complaint);
        let lines = complaint.lines().filter(|line| !line.contains("syslog")).collect::<Vec<_>>();
        if lines.is_empty() { status.to_string() } else { lines.join("; ") }
    }
}

impl Drop for Passt {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn refuse(why: &dyn std::fmt::Display, remedy: &'static str) -> MachineConfigError {
    MachineConfigError::new("networks", format!("user-mode networking by passt failed: {why}"), remedy)
}

fn readable(pipe: &ChildStderr) -> bool {
    let mut sources = Sources::new();
    sources.add((), PollFd::new(pipe, PollFlags::IN));
    sources.wait(Some(Duration::ZERO)).is_ok_and(|ready| !ready.is_empty())
}

/// Builds a probe for the gateway's address (RFC 5227). It has no protocol address of the sender, so passt learns none from it.
fn arp_probe(mac: [u8; 6]) -> [u8; ARP_LEN] {
    let mut frame = [0; ARP_LEN];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac);
    frame[12..22].copy_from_slice(&ARP_REQUEST);
    frame[22..28].copy_from_slice(&mac);
    frame[38..].copy_from_slice(&GATEWAY);
    frame
}

/// True if a frame answers the probe.
fn is_arp_reply(frame: &[u8]) -> bool {
    frame.get(12..22) == Some(&ARP_REPLY) && frame.get(28..32) == Some(&GATEWAY)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use kvm_accel::cancel::Cancelled;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    fn spawn(program: &str, arguments: &[&str]) -> (Passt, Stream) {
        let mut command = Command::new(program);
        command.args(arguments);
        let (passt, socket) = Passt::spawn(command).unwrap();
        (passt, Stream::new(socket).unwrap())
    }

    #[test]
    fn test_a_process_that_ends_is_an_error_with_its_messages() {
        let script = "exec <&-; echo 'first line' >&2; echo 'sent to syslog' >&2; echo second >&2; exit 3";
        for (script, reason) in [(script, "first line; second"), ("exit 3", "exit status: 3")] {
            let (mut passt, mut stream) = spawn("sh", &["-c", script]);
            let error = passt.wait_until_started(&mut stream, MAC, &Cancel::default()).unwrap_err();
            assert_eq!(error.to_string(), format!("user-mode networking by passt failed: process ended: {reason}"));
        }
    }

    #[test]
    fn test_a_process_with_long_messages_is_not_blocked_by_a_full_pipe() {
        let (mut passt, mut stream) = spawn("sh", &["-c", "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 3"]);
        let error = passt.wait_until_started(&mut stream, MAC, &Cancel::default()).unwrap_err();
        assert!(error.to_string().contains("ended: xxx"), "{error}");
        assert!(passt.complaint.len() < 2 * COMPLAINT);
    }

    #[test]
    fn test_waiting_for_a_silent_process_ends_when_it_is_cancelled() {
        let (mut passt, mut stream) = spawn("sleep", &["100"]);
        let cancel = Cancel::default();
        let waiter = std::thread::spawn({
            let cancel = cancel.clone();
            move || passt.wait_until_started(&mut stream, MAC, &cancel)
        });
        cancel.cancel();
        assert_eq!(waiter.join().unwrap(), Err(SetupError::Cancelled(Cancelled)));
    }

    #[test]
    fn test_the_answer_to_the_probe_ends_the_wait_and_other_frames_do_not() {
        let (mut passt, _) = spawn("sleep", &["100"]);
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let (mut stream, mut peer) = (Stream::new(ours).unwrap(), std::os::unix::net::UnixStream::from(theirs));
        let answerer = std::thread::spawn(move || {
            use std::io::Write;
            let mut request = [0; 4 + ARP_LEN];
            peer.read_exact(&mut request).unwrap();
            let mut frame = request;
            for answers in [false, true] {
                frame[4 + 21] = if answers { 2 } else { 1 };
                frame[4 + 28..4 + 32].copy_from_slice(&GATEWAY);
                peer.write_all(&frame).unwrap();
            }
            (request, peer)
        });
        assert_eq!(passt.wait_until_started(&mut stream, MAC, &Cancel::default()), Ok(()));
        let (request, _peer) = answerer.join().unwrap();
        assert_eq!(request[..4], [0, 0, 0, 42]);
        assert_eq!(request[4..18], [255, 255, 255, 255, 255, 255, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 8, 6]);
        assert_eq!(request[42..], [10, 0, 2, 2]);
        assert_eq!(stream.receive(&mut [0; 64]), Received::Nothing);
    }
}
