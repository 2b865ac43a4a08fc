//! A pseudo-terminal behind a socket, for a serial port that a terminal program opens.
//!
//! A thread relays bytes between the two, because a terminal's state cannot be waited for: while no program has the
//! terminal open, `poll` always reports a hang-up. Bytes written to it then are lost, as with QEMU's `-chardev pty`.

use crate::Sources;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags, fcntl_setfl, open};
use rustix::io::{Errno, read, write};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

/// How often the thread checks whether a program has opened the terminal.
const LOOK: Duration = Duration::from_millis(200);
/// How long the thread still delivers pending bytes after the socket has been closed.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Bytes that are relayed at once.
const BLOCK: usize = 4096;

/// A pseudo-terminal in raw mode. It ends when the socket is closed.
#[derive(Debug)]
pub struct Pty {
    /// The serial port's end. A terminal program reads the bytes that are written here. Reads return the program's input.
    pub socket: OwnedFd,
    /// The path of the terminal, `/dev/pts/3` for example.
    pub path: String,
}

/// Creates a pseudo-terminal and starts its thread.
///
/// # Errors
/// Fails if the host cannot create a pseudo-terminal, a socket pair or a thread.
///
/// # Examples
/// ```
/// let pty = kvm_accel_machine::pty::open_pty()?;
/// assert!(pty.path.starts_with("/dev/pts/"));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn open_pty() -> std::io::Result<Pty> {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&controller)?;
    unlockpt(&controller)?;
    let path = ptsname(&controller, Vec::new())?;
    {
        // Opened and closed at once: a terminal that was never open does not report a hang-up.
        let terminal = open(path.as_c_str(), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let mut modes = tcgetattr(&terminal)?;
        // Otherwise the guest's output would come back as its input.
        modes.make_raw();
        tcsetattr(&terminal, OptionalActions::Now, &modes)?;
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (socket, near) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fcntl_setfl(&controller, OFlags::RDWR | OFlags::NONBLOCK)?;
    thread::Builder::new().name("pty".into()).spawn(move || Relay::new(near, controller).run())?;
    Ok(Pty { socket, path: path.to_string_lossy().into_owned() })
}

/// Bytes that were read from one descriptor and not yet written to the other.
#[derive(Default)]
struct Pipe {
    bytes: Vec<u8>,
}

/// The result of a read.
enum Input {
    Bytes,
    Nothing,
    End,
}

impl Pipe {
    fn fill(&mut self, from: &OwnedFd) -> Input {
        let mut block = [0; BLOCK];
        match read(from, &mut block) {
            Ok(0) => Input::End,
            Ok(count) => {
                self.bytes.extend_from_slice(block.get(..count).unwrap_or_default());
                Input::Bytes
            }
            Err(Errno::AGAIN | Errno::INTR) => Input::Nothing,
            Err(_) => Input::End,
        }
    }

    /// Writes pending bytes. Returns false if the other end has been closed.
    fn drain(&mut self, to: &OwnedFd) -> bool {
        match write(to, &self.bytes) {
            Ok(count) => {
                self.bytes.drain(..count.min(self.bytes.len()));
                true
            }
            Err(error) => matches!(error, Errno::AGAIN | Errno::INTR),
        }
    }
}

/// An event for which the relay waits.
enum Event {
    /// The socket has bytes, or has been closed.
    Socket,
    /// The terminal has bytes, or no program has it open any more.
    Terminal,
    /// A side has room for the bytes of the other side.
    Room,
}

struct Relay {
    socket: OwnedFd,
    controller: OwnedFd,
    /// Bytes from the socket to the terminal.
    output: Pipe,
    /// Bytes from the terminal to the socket.
    input: Pipe,
    /// When the thread ends although bytes are pending. Set once the socket has been closed.
    ends: Option<Instant>,
}

impl Relay {
    fn new(socket: OwnedFd, controller: OwnedFd) -> Self {
        Self { socket, controller, output: Pipe::default(), input: Pipe::default(), ends: None }
    }

    fn run(mut self) {
        while self.turn() {}
    }

    /// Waits for events and relays bytes. Returns false when the thread has to end.
    fn turn(&mut self) -> bool {
        let open = !self.hung_up();
        if !open {
            self.output.bytes.clear();
        }
        if self.ends.is_some_and(|ends| self.output.bytes.is_empty() || Instant::now() >= ends) {
            return false;
        }
        for event in self.wait(open) {
            match event {
                Event::Socket => {
                    if matches!(self.output.fill(&self.socket), Input::End) {
                        self.ends = Some(Instant::now() + LAST_WORDS);
                    }
                }
                Event::Terminal => {
                    // The next turn detects a hang-up.
                    let _ = self.input.fill(&self.controller);
                }
                // Each turn writes the available bytes.
                Event::Room => {}
            }
        }
        if open && !self.output.bytes.is_empty() {
            let _ = self.output.drain(&self.controller);
        }
        self.input.bytes.is_empty() || self.input.drain(&self.socket) || self.ends.is_some()
    }

    /// Waits for events of the socket and of the terminal. A side is read only once all bytes read from it before have
    /// been written.
    fn wait(&self, open: bool) -> Vec<Event> {
        let when = |condition: bool, flags: PollFlags| if condition { flags } else { PollFlags::empty() };
        let idle = self.output.bytes.is_empty();
        let mut sources = Sources::new();
        // A closed socket is always ready, so then only the terminal is waited for.
        if self.ends.is_none() {
            sources.add(Event::Socket, PollFd::new(&self.socket, when(idle, PollFlags::IN)));
            let room = PollFd::new(&self.socket, PollFlags::OUT);
            sources.add(Event::Room, (!self.input.bytes.is_empty()).then_some(room));
        }
        if open {
            let input = when(self.input.bytes.is_empty(), PollFlags::IN);
            sources.add(Event::Terminal, PollFd::new(&self.controller, input));
            let room = PollFd::new(&self.controller, PollFlags::OUT);
            sources.add(Event::Room, (!idle).then_some(room));
        }
        let timeout = (!open || self.ends.is_some()).then_some(LOOK);
        // If the kernel has no memory for the list, the next turn waits again.
        sources.wait(timeout).unwrap_or_default()
    }

    /// Returns true while no program has the terminal open.
    fn hung_up(&self) -> bool {
        let mut sources = Sources::new();
        sources.add((), PollFd::new(&self.controller, PollFlags::empty()));
        sources.wait(Some(Duration::ZERO)).is_ok_and(|events| !events.is_empty())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use std::fs::OpenOptions;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn make() -> (UnixStream, String) {
        let Pty { socket, path } = open_pty().unwrap();
        let stream = UnixStream::from(socket);
        stream.set_nonblocking(false).unwrap();
        (stream, path)
    }

    fn terminal(path: &str) -> std::fs::File {
        OpenOptions::new().read(true).write(true).open(path).unwrap()
    }

    #[test]
    fn test_bytes_pass_both_ways_and_unchanged() {
        let (mut stream, path) = make();
        let mut terminal = terminal(&path);
        let mut bytes = [0; 3];
        terminal.write_all(b"\x03\r\n").unwrap();
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"\x03\r\n");
        stream.write_all(b"a\n\x04").unwrap();
        terminal.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"a\n\x04");
    }

    #[test]
    fn test_output_without_a_reader_is_lost_and_stalls_nothing() {
        let (mut stream, path) = make();
        stream.write_all(&vec![b'x'; 1 << 20]).unwrap();
        // Bytes from programs that open the terminal later arrive, and programs may connect and disconnect.
        for _ in 0..2 {
            let mut terminal = terminal(&path);
            terminal.write_all(b"hello").unwrap();
            let mut bytes = [0; 5];
            stream.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"hello");
        }
    }

    #[test]
    fn test_it_ends_with_the_socket() {
        let (mut stream, path) = make();
        let mut terminal = terminal(&path);
        stream.write_all(b"bye").unwrap();
        let mut bytes = [0; 3];
        terminal.read_exact(&mut bytes).unwrap();
        drop(stream);
        // The other end is closed, so the read returns no bytes or an input/output error.
        assert!(!matches!(terminal.read(&mut bytes), Ok(1..)));
    }
}
