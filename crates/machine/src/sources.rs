//! Waits for descriptors. All loops of this crate wait this way: the I/O threads of devices, the relays of pseudo-terminals and the start of
//! passt. Only a vCPU that writes to a serial port waits without it, for one descriptor, because it must not allocate memory.
//!
//! The owner of a loop declares its descriptors again before each wait, and `poll(2)` waits for them. epoll, and therefore the crates
//! `polling` and `event-manager`, does not fit: it refuses regular files and `/dev/hwrng`, and it keeps the registration of a closed
//! descriptor whose file another process shares, such as standard output.

use rustix::event::{PollFd, Timespec, poll};
use rustix::io::Errno;
use std::time::Duration;

/// The descriptors of one wait. The caller of [`Sources::wait`] gets the tokens of those that are ready.
///
/// A descriptor can have several tokens, for different events.
///
/// # Examples
/// ```
/// use kvm_accel_machine::Sources;
/// use rustix::event::{PollFd, PollFlags};
/// use std::io::Write;
/// use std::os::unix::net::UnixStream;
///
/// #[derive(Debug, PartialEq)]
/// enum Event {
///     Input,
///     Room,
/// }
///
/// let (mut guest, host) = UnixStream::pair()?;
/// guest.write_all(b"x")?;
/// let mut sources = Sources::new();
/// sources.add(Event::Input, PollFd::new(&host, PollFlags::IN));
/// sources.add(Event::Room, PollFd::new(&host, PollFlags::OUT));
/// assert_eq!(sources.wait(None)?, [Event::Input, Event::Room]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Sources<'fd, T> {
    fds: Vec<PollFd<'fd>>,
    /// The token of each descriptor.
    tokens: Vec<T>,
}

impl<T> Default for Sources<'_, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'fd, T> Sources<'fd, T> {
    /// Creates a list without descriptors.
    #[must_use]
    pub const fn new() -> Self {
        Self { fds: Vec::new(), tokens: Vec::new() }
    }

    /// Creates a list without descriptors, with room for `capacity`.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { fds: Vec::with_capacity(capacity), tokens: Vec::with_capacity(capacity) }
    }

    /// Adds a descriptor with the events to wait for; `None` adds nothing. A hang-up and an error of the descriptor always end the wait.
    pub fn add(&mut self, token: T, fd: impl Into<Option<PollFd<'fd>>>) {
        if let Some(fd) = fd.into() {
            self.fds.push(fd);
            self.tokens.push(token);
        }
    }

    /// Adds the descriptors of `other`. `token` converts their tokens.
    pub fn append<U>(&mut self, other: Sources<'fd, U>, token: impl Fn(U) -> T) {
        self.fds.extend(other.fds);
        self.tokens.extend(other.tokens.into_iter().map(token));
    }

    /// Returns true if there is no descriptor.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fds.is_empty()
    }

    /// Waits until a descriptor is ready or `timeout` has passed; `None` waits without a limit. Returns the tokens of the ready descriptors
    /// in the order of [`Sources::add`]; none after the timeout, or if a signal has interrupted the wait.
    ///
    /// # Errors
    /// `ENOMEM` when the kernel has no memory for the list.
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub fn wait(mut self, timeout: Option<Duration>) -> Result<Vec<T>, Errno> {
        // A timeout that the kernel's type cannot hold is longer than any wait.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(&mut self.fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
        let mut fds = self.fds.iter();
        self.tokens.retain(|_| fds.next().is_some_and(|fd| !fd.revents().is_empty()));
        Ok(self.tokens)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::scratch::Scratch;
    use rustix::event::PollFlags;
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    const NOW: Option<Duration> = Some(Duration::ZERO);

    fn input(fd: &impl AsFd) -> PollFd<'_> {
        PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)
    }

    #[test]
    fn a_wait_returns_the_tokens_of_the_ready_descriptors_in_order() {
        let pairs = [(); 3].map(|()| UnixStream::pair().unwrap());
        for at in [2, 0] {
            (&pairs[at].0).write_all(b"x").unwrap();
        }
        let mut sources = Sources::new();
        for (token, (_, far)) in ["first", "second", "third"].into_iter().zip(&pairs) {
            sources.add(token, input(far));
        }
        assert_eq!(sources.wait(NOW).unwrap(), ["first", "third"]);
    }

    #[test]
    fn a_timeout_returns_no_token() {
        let (_near, far) = UnixStream::pair().unwrap();
        let mut sources = Sources::new();
        sources.add("input", input(&far));
        assert!(sources.wait(Some(Duration::from_millis(1))).unwrap().is_empty());
    }

    #[test]
    fn a_hang_up_ends_a_wait_for_other_events() {
        let (near, far) = UnixStream::pair().unwrap();
        drop(near);
        let mut sources = Sources::new();
        sources.add("socket", PollFd::new(&far, PollFlags::empty()));
        assert_eq!(sources.wait(None).unwrap(), ["socket"]);
    }

    #[test]
    fn a_regular_file_is_always_ready() {
        let scratch = Scratch::new();
        let file = File::create(scratch.path().join("output")).unwrap();
        let mut sources = Sources::new();
        sources.add("room", PollFd::new(&file, PollFlags::OUT));
        assert_eq!(sources.wait(NOW).unwrap(), ["room"]);
    }

    #[test]
    fn appended_descriptors_get_new_tokens() {
        let (mut near, far) = UnixStream::pair().unwrap();
        near.write_all(b"x").unwrap();
        let (mut all, mut some) = (Sources::new(), Sources::new());
        all.add((0, "quiet"), input(&near));
        some.add("input", input(&far));
        all.append(some, |token| (1, token));
        assert_eq!(all.wait(NOW).unwrap(), [(1, "input")]);
    }
}
