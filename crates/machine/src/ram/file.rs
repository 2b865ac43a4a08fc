//! A file as RAM, like QEMU's `-mem-path`.

use crate::error::remedy_of_open;
use crate::layout::PAGE_SIZE;
use crate::{MachineConfigError, host_file};
use rustix::fs::{FileType, fstat, fstatfs};
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Files of hugetlbfs consist of huge pages.
const HUGETLBFS_MAGIC: i64 = 0x9584_58f6;

/// Opens the file and returns its page size. As in QEMU: in a directory, creates an unnamed file; a file that is
/// missing or empty gets the size of RAM; a file with contents must be long enough.
pub fn open(path: &Path, size: u64, share: bool) -> Result<(File, u64), MachineConfigError> {
    let refuse = |what: String, remedy: &'static str| {
        MachineConfigError::new("memory", format!("the memory file {} {what}", path.display()), remedy)
    };
    let failed = |error: io::Error| {
        let remedy = remedy_of_open(&error, "Check the path and its permissions.");
        refuse(format!("is not usable: {error}"), remedy)
    };
    let (file, new) = open_or_create(path, share).map_err(|error| {
        let link = rustix::io::Errno::from_io_error(&error).and_then(host_file::refused_link);
        link.map_or_else(|| failed(error), |(what, remedy)| refuse(what.into(), remedy))
    })?;
    let stat = fstat(&file).map_err(|error| failed(error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refuse("is not a file".into(), "Use the path of a file, or of a directory for an unnamed file."));
    }
    let fs = fstatfs(&file).map_err(|error| failed(error.into()))?;
    let page = match u64::try_from(fs.f_bsize) {
        Ok(page) if fs.f_type == HUGETLBFS_MAGIC && page.is_power_of_two() => page,
        _ => PAGE_SIZE,
    };
    if !size.is_multiple_of(page) {
        let what =
            format!("consists of huge pages of {page} bytes: expected memory of a multiple of them, got {size} bytes");
        return Err(refuse(what, "Round the size of memory to a multiple of the huge pages."));
    }
    let len = u64::try_from(stat.st_size).unwrap_or(0);
    if len == 0 {
        let extended = file.set_len(size);
        extended.map_err(|error| {
            if new {
                let _ = std::fs::remove_file(path);
            }
            failed(error)
        })?;
    } else if !len.is_multiple_of(page) {
        let what = format!("has an invalid size of {len} bytes: expected a multiple of its page size, {page} bytes");
        return Err(refuse(what, "Use a file of whole pages, or an empty one."));
    } else if len < size {
        let what = format!("is too short with {len} bytes: expected the {size} bytes of memory");
        return Err(refuse(what, "Use a file of the size of memory, an empty file, or a path that does not exist."));
    }
    Ok((file, page))
}

/// Returns the file, and whether it was created under its name.
fn open_or_create(path: &Path, share: bool) -> io::Result<(File, bool)> {
    if path.is_dir() {
        return Ok((unnamed(path)?, false));
    }
    let mut options = File::options();
    // A new file contains the guest's secrets.
    let flags = host_file::written_flags(path).bits().cast_signed();
    options.read(true).mode(0o600).custom_flags(flags);
    match options.clone().write(true).open(path) {
        Ok(file) => Ok((file, false)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok((options.write(true).create_new(true).open(path)?, true))
        }
        // A private mapping never writes to the file, so read access is enough.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !share => {
            Ok((options.open(path).map_err(|_| error)?, false))
        }
        Err(error) => Err(error),
    }
}

/// Creates a file in `folder` that is deleted with its last descriptor. Creates it under a name and removes the name at
/// once, because not every file system supports O_TMPFILE.
fn unnamed(folder: &Path) -> io::Result<File> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let name = format!(".kvm-accel-ram-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = folder.join(name);
        match File::options().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return std::fs::remove_file(&path).map(|()| file),
            // A process with this id was killed between the creation and the removal of the name.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::os::unix::fs::PermissionsExt;

    /// A folder that is removed with the test.
    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("kvm-accel-file-{name}-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_link_in_a_directory_that_every_user_may_write_is_not_followed() {
        let folder = Scratch::new();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
        let error = open(&link, PAGE_SIZE, true).unwrap_err().to_string();
        assert!(error.ends_with("is a symbolic link in a directory that every user may write"), "{error}");
        assert!(!target.exists());
    }

    #[test]
    fn test_only_its_owner_reads_a_new_memory_file_and_an_old_one_keeps_its_mode() {
        let folder = Folder::new("mode");
        let path = folder.0.join("ram");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        drop(open(&path, PAGE_SIZE, true).unwrap());
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        drop(open(&path, PAGE_SIZE, true).unwrap());
        assert_eq!(mode(), 0o640);
    }

    #[test]
    fn test_a_fifo_is_refused_without_waiting_for_its_other_end() {
        let folder = Folder::new("fifo");
        let path = folder.0.join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from(0o400)).unwrap();
        for share in [true, false] {
            let error = open(&path, PAGE_SIZE, share).unwrap_err();
            assert!(error.to_string().contains("is not a file"), "{error}");
        }
    }
}
