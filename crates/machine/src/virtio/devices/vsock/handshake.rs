//! Parses a host program's request for a connection: `CONNECT port` and a newline, as in Firecracker.

use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

/// Longer than any valid line.
const LINE: usize = 32;

/// How far a handshake has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// No newline has arrived yet.
    Incomplete,
    /// The line is complete and names this port of the guest.
    Connect(u32),
    /// A protocol violation: the line is invalid, or the program has closed the socket.
    Violation,
}

/// A partially read line.
#[derive(Debug, Default)]
pub struct Handshake {
    line: Vec<u8>,
}

impl Handshake {
    /// Reads the line from the socket, and leaves what follows it.
    pub fn read(&mut self, socket: impl AsFd) -> Progress {
        loop {
            let mut buffer = [0; LINE];
            let room = &mut buffer[..LINE - self.line.len()];
            let seen = match recv(&socket, &mut *room, RecvFlags::DONTWAIT | RecvFlags::PEEK) {
                Ok((0, _)) => return Progress::Violation,
                Ok((seen, _)) => seen,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Progress::Incomplete,
                Err(_) => return Progress::Violation,
            };
            let end = room[..seen].iter().position(|&byte| byte == b'\n');
            let part = &mut room[..end.map_or(seen, |end| end + 1)];
            // The bytes that were peeked at are still there: nothing else reads this socket.
            if recv(&socket, &mut *part, RecvFlags::DONTWAIT).map(|(read, _)| read) != Ok(part.len()) {
                return Progress::Violation;
            }
            self.line.extend_from_slice(part);
            if end.is_some() {
                return parse(&self.line).map_or(Progress::Violation, Progress::Connect);
            }
            if self.line.len() == LINE {
                return Progress::Violation;
            }
        }
    }
}

fn parse(line: &[u8]) -> Option<u32> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let port = line.strip_suffix('\r').unwrap_or(line).strip_prefix("CONNECT ")?;
    if port.starts_with('+') { None } else { port.parse().ok() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn test_a_line_may_arrive_in_parts_and_later_bytes_stay() {
        let (mut theirs, mut ours) = UnixStream::pair().unwrap();
        let mut handshake = Handshake::default();
        assert_eq!(handshake.read(&ours), Progress::Incomplete);
        theirs.write_all(b"CONN").unwrap();
        assert_eq!(handshake.read(&ours), Progress::Incomplete);
        theirs.write_all(b"ECT 52\nhello").unwrap();
        assert_eq!(handshake.read(&ours), Progress::Connect(52));
        drop(theirs);
        let mut rest = String::new();
        ours.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "hello");
    }

    #[test]
    fn test_any_other_line_is_a_protocol_violation() {
        for line in
            ["connect 52\n", "CONNECT\n", "CONNECT 4294967296\n", "CONNECT +5\n", "CONNECT -1\n", "\n", "CONNECT 5 \n"]
        {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
        assert_eq!(parse(b"CONNECT 4294967295\r\n"), Some(u32::MAX));
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        theirs.write_all(&[b'x'; 100]).unwrap();
        assert_eq!(Handshake::default().read(&ours), Progress::Violation);
        let (theirs, ours) = UnixStream::pair().unwrap();
        drop(theirs);
        assert_eq!(Handshake::default().read(&ours), Progress::Violation);
    }

    proptest! {
        #[test]
        fn test_only_ports_are_understood(line in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(port) = parse(&line) {
                let text = String::from_utf8(line).unwrap();
                prop_assert!(text.starts_with("CONNECT "));
                prop_assert_eq!(text[8..].trim_end().parse::<u32>().unwrap(), port);
            }
        }
    }
}
