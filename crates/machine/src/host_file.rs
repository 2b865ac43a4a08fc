//! Host files that a user names. Opening never blocks, whatever the path leads to. Each use accepts the types of files
//! that it can work with.

use crate::error::remedy_of_open;
use crate::{MachineConfigError, SetupError};
use kvm_accel::cancel::Cancel;
use rustix::fs::{FileType, Mode, OFlags, Stat, fcntl_getfl, fstat, major, minor, open, stat};
use rustix::io::Errno;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

/// Does not wait for the other end of a FIFO or for a modem's carrier, does not acquire a controlling terminal, and is
/// closed on exec.
pub const FLAGS: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Bytes that are read between two checks of the cancellation flag.
const SLICE: usize = 1 << 20;

/// The reason why a file cannot be used. `why` follows the path in a message.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub why: String,
    pub remedy: &'static str,
}

impl Refusal {
    fn new(why: impl Into<String>, remedy: &'static str) -> Self {
        Self { why: why.into(), remedy }
    }

    /// Converts this to the error of a machine option. `what` is, for example, `serial file`.
    pub fn of(&self, option: &'static str, what: &str, path: &Path) -> MachineConfigError {
        let message = format!("{what} '{}' {}", path.display(), self.why);
        MachineConfigError::new(option, message, self.remedy)
    }
}

const CHECK: &str = "Check the path and its permissions.";

/// Returns the flags for a path that this process creates or writes. In a directory that every user may write, such as
/// /tmp, a symbolic link is not followed: another user may have created it.
pub fn written_flags(path: &Path) -> OFlags {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let shared = stat(parent).is_ok_and(|stat| Mode::from_raw_mode(stat.st_mode).contains(Mode::WOTH));
    if shared { FLAGS | OFlags::NOFOLLOW } else { FLAGS }
}

/// The refusal of a symbolic link, see [`written_flags`].
pub fn refused_link(errno: Errno) -> Option<(&'static str, &'static str)> {
    (errno == Errno::LOOP).then_some((
        "is a symbolic link in a directory that every user may write",
        "Use the path of the file that it leads to.",
    ))
}

/// Opens a file for a guest's output: a regular file, which is created or truncated, a FIFO that a process reads, a terminal or
/// another character device. The descriptor is non-blocking.
pub fn create(path: &Path) -> Result<File, Refusal> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | written_flags(path);
    // The guest's output may be secret.
    let file = open(path, flags, Mode::RUSR | Mode::WUSR).map_err(|errno| cannot_create(path, errno))?;
    let kind = fstat(&file).map(|stat| FileType::from_raw_mode(stat.st_mode)).map_err(cannot_open)?;
    match kind {
        FileType::RegularFile | FileType::Fifo | FileType::CharacterDevice => Ok(file.into()),
        kind => Err(wrong_type(kind)),
    }
}

/// Reopens a file that is a pipe or a terminal, so that its writes never block. The new open file description is
/// non-blocking. The given one keeps its mode, because other processes may have it as their standard output. Returns
/// the file unchanged if it is of another type or the host does not let this process reopen it.
///
/// `poll` is not enough: it reports a terminal as writable that takes one more byte only, and another process may fill
/// a pipe first.
pub fn nonblocking(file: File) -> File {
    reopened(&file).unwrap_or(file)
}

fn reopened(file: &File) -> Option<File> {
    let flags = fcntl_getfl(file).ok()?;
    let before = fstat(file).ok()?;
    if flags.contains(OFlags::NONBLOCK) || !is_pipe_or_terminal(file, &before) {
        return None;
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let again = open(path, flags & OFlags::ACCMODE | FLAGS, Mode::empty()).ok()?;
    let after = fstat(&again).ok()?;
    let id = |stat: &Stat| (stat.st_dev, stat.st_ino, stat.st_rdev);
    (id(&before) == id(&after)).then(|| again.into())
}

fn is_pipe_or_terminal(file: &File, stat: &Stat) -> bool {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => true,
        // Opening the master side of a pseudoterminal again would create another pseudoterminal.
        FileType::CharacterDevice => {
            (major(stat.st_rdev), minor(stat.st_rdev)) != (5, 2) && rustix::termios::isatty(file.as_fd())
        }
        _ => false,
    }
}

fn cannot_create(path: &Path, errno: Errno) -> Refusal {
    if let Some((why, remedy)) = refused_link(errno) {
        return Refusal::new(why, remedy);
    }
    let kind = stat(path).map(|stat| FileType::from_raw_mode(stat.st_mode));
    match (errno, kind) {
        (Errno::NXIO, Ok(FileType::Fifo)) => {
            Refusal::new("is a FIFO that no process reads", "Start the reader first: it opens the FIFO and waits.")
        }
        (Errno::NXIO | Errno::ISDIR, Ok(kind @ (FileType::Socket | FileType::Directory))) => wrong_type(kind),
        _ => cannot_open(errno),
    }
}

fn wrong_type(kind: FileType) -> Refusal {
    let (name, remedy) = match kind {
        FileType::Socket => ("a socket", "Use { socket: PATH } to connect to a socket."),
        FileType::Directory => ("a directory", "Use the path of a file in the directory."),
        FileType::BlockDevice => ("a block device", "Use a regular file: output would overwrite the disk."),
        _ => ("of an unsupported type", "Use a regular file, a FIFO or a terminal."),
    };
    Refusal::new(format!("is {name}"), remedy)
}

fn cannot_open(errno: Errno) -> Refusal {
    let error = io::Error::from(errno);
    Refusal::new(format!("cannot be opened: {error}"), remedy_of_open(&error, CHECK))
}

/// Reads a regular file of at most `most` bytes. `refuse` converts a refusal to an error.
///
/// The size that the file system reports is not trusted: files of /proc and /sys report a wrong one, and a file can
/// grow during the read.
pub fn read(
    path: &Path,
    most: u32,
    cancel: &Cancel,
    refuse: impl Fn(Refusal) -> MachineConfigError,
) -> Result<Vec<u8>, SetupError> {
    let too_long = || {
        refuse(Refusal::new(format!("is longer than {most} bytes"), "Use a shorter file, or pass the data on a disk."))
    };
    let failed = |error: &dyn fmt::Display| refuse(Refusal::new(format!("cannot be read: {error}"), CHECK));
    let mut file: File =
        open(path, OFlags::RDONLY | FLAGS, Mode::empty()).map_err(|errno| refuse(cannot_open(errno)))?.into();
    let metadata = file.metadata().map_err(|error| failed(&error))?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "is a directory" } else { "is not a regular file" };
        return Err(refuse(Refusal::new(what, "Use a regular file that this process may read.")).into());
    }
    if metadata.len() > most.into() {
        return Err(too_long().into());
    }
    let mut bytes = Vec::new();
    loop {
        cancel.check()?;
        bytes.try_reserve(SLICE).map_err(|error| failed(&error))?;
        // `read_to_end` retries a read that a signal interrupts.
        let read = (&mut file).take(SLICE as u64).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
        if bytes.len() > most as usize {
            return Err(too_long().into());
        }
        if read == 0 {
            return Ok(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::scratch::Scratch;
    use kvm_accel::cancel::Cancelled;
    use rustix::fs::{CWD, mknodat};
    use std::io::Write;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    fn fifo(folder: &Scratch) -> PathBuf {
        let path = folder.path().join("fifo");
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        path
    }

    #[test]
    fn test_output_files_are_created_and_truncated() {
        let folder = Scratch::new();
        let path = folder.path().join("output");
        for text in ["longer", "short"] {
            create(&path).unwrap().write_all(text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        create(Path::new("/dev/null")).unwrap().write_all(b"x").unwrap();
    }

    #[test]
    fn test_output_files_are_private_and_are_not_created_through_a_link_of_another_user() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = Scratch::new();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        symlink(&target, &link).unwrap();
        create(&link).unwrap();
        assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o1777, 0o777] {
            std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let refusal = create(&link).unwrap_err();
            assert_eq!(refusal.why, "is a symbolic link in a directory that every user may write");
            create(&target).unwrap();
        }
    }

    #[test]
    fn test_a_fifo_is_opened_only_while_a_process_reads_it() {
        let folder = Scratch::new();
        let path = fifo(&folder);
        let refusal = create(&path).unwrap_err();
        assert_eq!(refusal.why, "is a FIFO that no process reads");
        assert!(refusal.remedy.starts_with("Start the reader first"));
        let mut reader: File = open(&path, OFlags::RDONLY | FLAGS, Mode::empty()).unwrap().into();
        let mut writer = create(&path).unwrap();
        writer.write_all(b"hello").unwrap();
        let mut bytes = [0; 5];
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
        // A full FIFO does not block the writer.
        let error = loop {
            if let Err(error) = writer.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }

    #[test]
    fn test_pipes_and_terminals_are_opened_once_more_and_keep_their_own_mode() {
        let (_reader, writer) = rustix::pipe::pipe().unwrap();
        let master = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        let terminal = open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        for file in [File::from(writer), File::from(terminal)] {
            let own = nonblocking(file.try_clone().unwrap());
            let mode = |file: &File| fcntl_getfl(file).unwrap().contains(OFlags::NONBLOCK);
            assert_eq!((mode(&own), mode(&file)), (true, false));
            // Writes until the pipe or the terminal is full.
            while (&own).write_all(&[b'x'; 4096]).is_ok() {}
        }
        // A file that cannot be reopened, or must not be, stays the same file.
        let number = master.as_raw_fd();
        assert_eq!(nonblocking(master.into()).as_raw_fd(), number);
        let regular = File::open("/proc/self/exe").unwrap();
        let number = regular.as_raw_fd();
        assert_eq!(nonblocking(regular).as_raw_fd(), number);
    }

    #[test]
    fn test_output_to_another_type_of_file_is_refused_with_a_remedy() {
        let folder = Scratch::new();
        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        for (path, why, remedy) in [
            (socket, "is a socket", "socket: PATH"),
            (folder.path().to_path_buf(), "is a directory", "Use the path of a file"),
            (folder.path().join("no/file"), "cannot be opened: No such file or directory (os error 2)", CHECK),
        ] {
            let refusal = create(&path).unwrap_err();
            assert_eq!(refusal.why, why);
            assert!(refusal.remedy.contains(remedy), "{refusal:?}");
        }
    }

    fn read_all(path: &Path, most: u32, cancel: &Cancel) -> Result<Vec<u8>, SetupError> {
        read(path, most, cancel, |refusal| refusal.of("fwCfg", "fw_cfg file", path))
    }

    #[test]
    fn test_a_file_is_read_whole_up_to_the_limit() {
        let folder = Scratch::new();
        let path = folder.path().join("input");
        let bytes: Vec<u8> = (0..700_000u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&path, &bytes).unwrap();
        let len = u32::try_from(bytes.len()).unwrap();
        assert!(read_all(&path, len, &Cancel::default()).unwrap() == bytes);
        let error = read_all(&path, len - 1, &Cancel::default()).unwrap_err().to_string();
        assert_eq!(error, format!("fw_cfg file '{}' is longer than {} bytes", path.display(), len - 1));
        // The file system reports a size of 0 for this file.
        assert!(!read_all(Path::new("/proc/self/status"), u32::MAX, &Cancel::default()).unwrap().is_empty());
        let error = read_all(Path::new("/proc/self/status"), 10, &Cancel::default()).unwrap_err().to_string();
        assert_eq!(error, "fw_cfg file '/proc/self/status' is longer than 10 bytes");
    }

    #[test]
    fn test_reading_what_is_no_regular_file_fails_at_once() {
        let folder = Scratch::new();
        for (path, why) in [
            (fifo(&folder), "is not a regular file"),
            (folder.path().to_path_buf(), "is a directory"),
            ("/dev/zero".into(), "is not a regular file"),
            (folder.path().join("missing"), "cannot be opened: No such file or directory (os error 2)"),
        ] {
            let error = read_all(&path, u32::MAX, &Cancel::default()).unwrap_err().to_string();
            assert_eq!(error, format!("fw_cfg file '{}' {why}", path.display()));
        }
    }

    #[test]
    fn test_reading_ends_when_it_is_cancelled() {
        let folder = Scratch::new();
        let path = folder.path().join("input");
        std::fs::write(&path, b"bytes").unwrap();
        let cancel = Cancel::default();
        cancel.cancel();
        assert_eq!(read_all(&path, u32::MAX, &cancel), Err(SetupError::Cancelled(Cancelled)));
    }
}
