//! Synchronous reads and writes.

use super::vectors::IoVectors;
use super::{GuestRange, LONGEST, behind, note_written, total};
use crate::ram::GuestRam;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Reads from `offset` of the file into guest memory, until the ranges are full or the file ends. Returns the number of
/// bytes.
///
/// # Errors
/// The errors of `preadv`. `EFAULT` for a range that is not RAM.
pub fn read_at(ram: &GuestRam, file: &File, ranges: &[GuestRange], offset: u64) -> io::Result<u64> {
    // SAFETY: the vectors lie in guest RAM, which `ram` keeps mapped during the call; guest memory may change at any time and has no
    // invalid values.
    let done = transfer(ram, ranges, offset, |vectors, offset| unsafe {
        libc::preadv(file.as_raw_fd(), vectors.0.as_ptr(), vectors.count(), offset)
    });
    // A failed read may have written a part of the ranges.
    note_written(ram, ranges, *done.as_ref().unwrap_or(&u64::MAX));
    done
}

/// Writes guest memory to the file, from `offset` on. Returns the number of bytes, which is the length of all ranges.
///
/// # Errors
/// The errors of `pwritev`. `EFAULT` for a range that is not RAM.
pub fn write_at(ram: &GuestRam, file: &File, ranges: &[GuestRange], offset: u64) -> io::Result<u64> {
    // SAFETY: as for reading.
    let written = transfer(ram, ranges, offset, |vectors, offset| unsafe {
        libc::pwritev(file.as_raw_fd(), vectors.0.as_ptr(), vectors.count(), offset)
    })?;
    if written < total(ranges) { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
}

fn transfer(
    ram: &GuestRam,
    ranges: &[GuestRange],
    offset: u64,
    call: impl Fn(&IoVectors, i64) -> isize,
) -> io::Result<u64> {
    let mut done = 0;
    while done < total(ranges) {
        let vectors = IoVectors::new(ram, behind(ranges, done).take(LONGEST))?;
        let at = offset.checked_add(done).and_then(|at| i64::try_from(at).ok()).ok_or(io::ErrorKind::InvalidInput)?;
        match u64::try_from(call(&vectors, at)) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
    Ok(done)
}
