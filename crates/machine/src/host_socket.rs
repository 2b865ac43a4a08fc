//! Unix sockets on which this process listens, at paths where other processes connect.
//!
//! A file that already exists at the path is kept, with one exception: a socket that refuses connections, because its
//! process has ended. Several processes may start at the same path at once, and exactly one of them gets it:
//!
//! 1. The process binds the socket under a temporary name in the same directory and listens. A socket at the path
//!    therefore never refuses connections while its process lives.
//! 2. It renames the socket to the path, which fails if anything is there.
//! 3. If a socket is there that refuses connections, the rename replaces it. Processes that replace a socket serialise
//!    by a lock (flock) on the directory, and check the path again once they have it. The kernel releases the lock of a
//!    process that ends.
//! 4. At the end it removes the path while the socket still listens, and only if the path still leads to the same
//!    socket.

use crate::SetupError;
use kvm_accel::cancel::Cancel;
use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, RenameFlags, fchmod, flock, openat, renameat, renameat_with,
    statat, unlinkat,
};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Bytes of the longest path of a socket: an address holds 108, and some clients terminate it with a NUL.
const LONGEST: usize = 107;

/// Returns why a path followed by `suffix` bytes is too long for a socket. Completes a message that names the path.
pub(crate) fn too_long(path: &Path, suffix: usize) -> Option<String> {
    let (longest, got) = (LONGEST - suffix, path.as_os_str().len());
    (got > longest).then(|| format!("is too long for a socket: expected at most {longest} bytes, got {got}"))
}

/// How long to wait while another process has the lock on the directory. Processes of this project hold it for less
/// than a millisecond.
const LOCK: Duration = Duration::from_secs(5);
/// How long to wait before the next attempt to take the lock.
const LOCK_AGAIN: Duration = Duration::from_millis(5);

/// A listening stream socket at a path. Dropping it removes the path.
pub struct HostSocket {
    path: PathBuf,
    directory: OwnedFd,
    name: OsString,
    inode: Inode,
    listener: OwnedFd,
}

/// Identifies a file on the host.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
}

/// The reason why this process cannot listen at a path. `why` follows the path in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenError {
    /// For example `is a regular file`.
    pub why: String,
    /// What the user can do about it, as a sentence.
    pub remedy: &'static str,
}

impl ListenError {
    fn new(why: impl Into<String>, remedy: &'static str) -> Self {
        Self { why: why.into(), remedy }
    }

    fn failed(error: impl fmt::Display) -> Self {
        Self::new(
            format!("is not usable for a listener: {error}"),
            "Use a path in a directory that is writable for this user.",
        )
    }
}

/// What is at the path.
enum Existing {
    Nothing,
    /// A socket whose process has ended.
    Dead,
}

impl HostSocket {
    /// Listens at `path` with a backlog of up to `backlog` connections. The descriptor is non-blocking.
    ///
    /// # Errors
    /// `refuse` converts the reason to an error: another file or a listening process is at the path, or listening there
    /// fails. [`SetupError::Cancelled`] within about 10 ms of [`Cancel::cancel`].
    pub fn listen(
        path: &Path,
        backlog: i32,
        cancel: &Cancel,
        refuse: impl Fn(ListenError) -> crate::MachineConfigError,
    ) -> Result<Self, SetupError> {
        let deadline = Instant::now() + LOCK;
        loop {
            cancel.check()?;
            if let Some(socket) = Self::try_listen(path, backlog).map_err(&refuse)? {
                return Ok(socket);
            }
            if Instant::now() >= deadline {
                return Err(refuse(Self::locked()).into());
            }
            std::thread::sleep(LOCK_AGAIN);
        }
    }

    /// The same as [`HostSocket::listen`], but never waits: returns `None` while another process has the directory
    /// locked. Try again after some milliseconds.
    ///
    /// # Errors
    /// Fails with the reason why this process cannot listen at the path.
    pub fn try_listen(path: &Path, backlog: i32) -> Result<Option<Self>, ListenError> {
        if let Some(why) = too_long(path, 0) {
            return Err(ListenError::new(why, "Use a shorter path, for example a relative one."));
        }
        let address = SocketAddrUnix::new(path).map_err(ListenError::failed)?;
        let name = path
            .file_name()
            .ok_or_else(|| ListenError::new("has no file name", "Use the path of a file in a directory."))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, parent, flags, Mode::empty()).map_err(ListenError::failed)?;
        let listener = stream().map_err(ListenError::failed)?;
        let temporary = Temporary::bind(&directory, &listener).map_err(ListenError::failed)?;
        listen(&listener, backlog).map_err(ListenError::failed)?;
        let inode = inode(&directory, &temporary.name).map_err(ListenError::failed)?;
        loop {
            match renameat_with(&directory, &temporary.name, &directory, name, RenameFlags::NOREPLACE) {
                Ok(()) => break,
                Err(Errno::EXIST) => match look(&directory, name, &address)? {
                    Existing::Nothing => {}
                    Existing::Dead => {
                        let Some(_lock) = lock(&directory)? else { return Ok(None) };
                        // Another process may have replaced the socket before this one had the lock.
                        if let Existing::Dead = look(&directory, name, &address)? {
                            renameat(&directory, &temporary.name, &directory, name).map_err(ListenError::failed)?;
                            break;
                        }
                    }
                },
                Err(error) => return Err(ListenError::failed(error)),
            }
        }
        temporary.renamed();
        Ok(Some(Self { path: path.into(), directory, name: name.into(), inode, listener }))
    }

    /// Returns the error for a directory that stays locked.
    #[must_use]
    pub fn locked() -> ListenError {
        ListenError::new(
            "cannot replace the socket of a process that has ended: another process holds a lock on the directory",
            "Use a path in another directory, or remove the socket.",
        )
    }

    /// Returns the listening descriptor. It is readable when there is a connection to accept.
    #[must_use]
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for HostSocket {
    /// Removes the path while the socket still listens, so that no other process replaces it before.
    fn drop(&mut self) {
        if inode(&self.directory, &self.name) == Ok(self.inode) {
            // An error means that another process has removed the path.
            let _ = unlinkat(&self.directory, &self.name, AtFlags::empty());
        }
    }
}

impl fmt::Debug for HostSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HostSocket").field(&self.path).finish()
    }
}

/// A socket's temporary name, removed unless the socket was renamed.
struct Temporary<'a> {
    directory: Option<&'a OwnedFd>,
    name: String,
}

impl<'a> Temporary<'a> {
    /// Binds `listener` to a name in `directory` that is not in use.
    fn bind(directory: &'a OwnedFd, listener: &OwnedFd) -> io::Result<Self> {
        // The file of a socket gets the mode that the socket has before.
        fchmod(listener, Mode::RUSR | Mode::WUSR)?;
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let name = format!(".kvm-accel-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            // Names the directory by its descriptor, because the directory's path and this name can be longer than a
            // socket's address.
            let path = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
            match bind(listener, &SocketAddrUnix::new(path)?) {
                Ok(()) => return Ok(Self { directory: Some(directory), name }),
                // A process that had this id left the name behind: it was killed before the rename.
                Err(Errno::ADDRINUSE) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn renamed(mut self) {
        self.directory = None;
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Some(directory) = self.directory {
            let _ = unlinkat(directory, &self.name, AtFlags::empty());
        }
    }
}

/// Checks what is at the path.
///
/// # Errors
/// Fails if the file at the path must be kept.
fn look(directory: &OwnedFd, name: &OsStr, address: &SocketAddrUnix) -> Result<Existing, ListenError> {
    let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Existing::Nothing),
        Err(error) => return Err(ListenError::failed(error)),
    };
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket => None,
        FileType::RegularFile => Some("is a regular file, not a socket"),
        FileType::Directory => Some("is a directory"),
        FileType::Symlink => Some("is a symbolic link, not a socket"),
        _ => Some("exists, but is not a socket"),
    };
    if let Some(kind) = kind {
        return Err(ListenError::new(kind, "Use a path that does not exist."));
    }
    let probe = stream().map_err(ListenError::failed)?;
    match retry_on_intr(|| connect(&probe, address)) {
        Err(Errno::CONNREFUSED) => Ok(Existing::Dead),
        Err(Errno::NOENT) => Ok(Existing::Nothing),
        // AGAIN means that the backlog is full, so a process listens.
        Ok(()) | Err(Errno::AGAIN) => {
            let remedy = "Use another path, or stop the other process.";
            Err(ListenError::new("is in use: another process listens at it", remedy))
        }
        Err(error) => {
            let why = format!("is a socket that does not accept connections: {error}");
            Err(ListenError::new(why, "Use another path."))
        }
    }
}

/// Locks the directory, to replace a socket in it. Returns `None` while another process has the lock.
fn lock(directory: &OwnedFd) -> Result<Option<OwnedFd>, ListenError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let lock = openat(directory, ".", flags, Mode::empty()).map_err(ListenError::failed)?;
    match retry_on_intr(|| flock(&lock, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) => Ok(Some(lock)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(ListenError::failed(error)),
    }
}

fn inode(directory: &OwnedFd, name: impl rustix::path::Arg) -> rustix::io::Result<Inode> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(Inode { device: stat.st_dev, number: stat.st_ino })
}

/// Creates a non-blocking stream socket.
pub(crate) fn stream() -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

#[cfg(test)]
mod tests;
