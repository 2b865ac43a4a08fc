//! A guest image: bytes, or an open file that is never copied to memory as a whole.

use crate::error::ImageName;
use crate::error::remedy_of_open;
use crate::{GuestImageError, GuestImageProblem, ImageRole, SetupError};
use kvm_accel::GuestRam;
use kvm_accel::cancel::Cancel;
use rustix::fs::{Mode, OFlags};
use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

/// The bytes that are searched for magic numbers: multiboot headers lie in the first 8 KiB.
const HEAD_SIZE: usize = 8192;

/// Bytes that are copied between two checks of the cancellation flag. Copying them takes some hundred microseconds.
const SLICE: u64 = 1 << 20;

/// A kernel, a module or firmware. It is kept for each reset.
pub struct BootImage {
    role: ImageRole,
    name: String,
    content: Content,
}

enum Content {
    Bytes(Cow<'static, [u8]>),
    /// A regular file. It may change or shrink at any time, so each load reads its size again.
    File(File),
}

impl BootImage {
    /// Opens a file and keeps it open.
    ///
    /// # Errors
    /// Fails if the file cannot be opened or is not a regular file. Opening never waits, not even for a FIFO's writer.
    pub fn open(role: ImageRole, path: impl AsRef<Path>) -> Result<Self, GuestImageError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let refuse =
            |what: &str| GuestImageError::new(&ImageName { role, name: &name }, GuestImageProblem::Unreadable, what);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file: File = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| {
                let error = io::Error::from(errno);
                let refusal = refuse(&format!("cannot be opened: {error}"));
                let remedy = remedy_of_open(&error, GuestImageProblem::Unreadable.default_remedy());
                refusal.with_remedy(remedy)
            })?
            .into();
        let metadata = file.metadata().map_err(|error| refuse(&format!("cannot be examined: {error}")))?;
        if !metadata.is_file() {
            return Err(refuse(if metadata.is_dir() { "is a directory" } else { "is not a regular file" }));
        }
        Ok(Self { role, name, content: Content::File(file) })
    }

    /// Creates an image from bytes in memory.
    #[must_use]
    pub fn from_bytes(role: ImageRole, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { role, name: "(bytes)".to_owned(), content: Content::Bytes(bytes.into()) }
    }

    /// Returns an error about this image.
    pub(crate) fn refuse(&self, problem: GuestImageProblem, what: impl AsRef<str>) -> GuestImageError {
        GuestImageError::new(&ImageName { role: self.role, name: &self.name }, problem, what)
    }

    /// Returns the current size in bytes, never 0.
    pub(crate) fn len(&self) -> Result<u64, GuestImageError> {
        let len = match &self.content {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(file) => file.metadata().map_err(|error| self.unreadable(&error))?.len(),
        };
        if len == 0 { Err(self.refuse(GuestImageProblem::Truncated, "is empty")) } else { Ok(len) }
    }

    /// Returns the first bytes, up to 8 KiB.
    pub(super) fn head(&self) -> Result<Vec<u8>, GuestImageError> {
        let len = usize::try_from(self.len()?).map_or(HEAD_SIZE, |len| len.min(HEAD_SIZE));
        let mut head = vec![0; len];
        self.read_at(0, &mut head)?;
        Ok(head)
    }

    /// Reads the bytes from `offset` on into `buffer`.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), GuestImageError> {
        let result = match &self.content {
            Content::File(file) => file.read_exact_at(buffer, offset),
            Content::Bytes(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                match bytes.get(from..).and_then(|rest| rest.get(..buffer.len())) {
                    Some(piece) => {
                        buffer.copy_from_slice(piece);
                        Ok(())
                    }
                    None => Err(io::ErrorKind::UnexpectedEof.into()),
                }
            }
        };
        result.map_err(|error| self.unreadable(&error))
    }

    /// Copies `len` bytes from `offset` on to `address`, from a file straight into guest memory. Checks `cancel` before
    /// each slice.
    pub(crate) fn copy_to(
        &self,
        ram: &GuestRam,
        offset: u64,
        len: u64,
        address: u64,
        cancel: &Cancel,
    ) -> Result<(), SetupError> {
        let mut done = 0;
        while done < len {
            cancel.check()?;
            let slice = SLICE.min(len - done);
            // The caller has checked that the range ends within both the file and RAM.
            let (from, to) = (offset.saturating_add(done), address.saturating_add(done));
            self.copy_slice(ram, from, slice, to).map_err(|error| self.unreadable(&error))?;
            done += slice;
        }
        Ok(())
    }

    /// Copies a slice. Retries a read that a signal interrupts.
    fn copy_slice(&self, ram: &GuestRam, offset: u64, len: u64, address: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let address = GuestAddress(address);
        let copied = match &self.content {
            Content::Bytes(bytes) => {
                let from = usize::try_from(offset).map_err(io::Error::other)?;
                let slice = bytes.get(from..).and_then(|rest| rest.get(..len)).ok_or(io::ErrorKind::UnexpectedEof)?;
                ram.write_slice(slice, address)
            }
            Content::File(file) => {
                let mut file: &File = file;
                file.seek(SeekFrom::Start(offset))?;
                ram.read_exact_volatile_from(address, &mut file, len)
            }
        };
        copied.map_err(|error| match error {
            GuestMemoryError::IOError(error) => error,
            error => io::Error::other(error),
        })
    }

    fn unreadable(&self, error: &io::Error) -> GuestImageError {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            self.refuse(GuestImageProblem::Truncated, "ends before the data that its headers describe")
        } else {
            self.refuse(GuestImageProblem::Unreadable, format!("cannot be read: {error}"))
        }
    }
}

impl fmt::Debug for BootImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}'", self.role.as_str(), self.name)
    }
}
