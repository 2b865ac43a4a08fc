//! Performs slices on the I/O thread, with blocking system calls.

use super::image::Image;
use super::job::Job;
use super::request::{Action, Status};
use super::slice::{cut, extent};
use kvm_accel::GuestRam;

/// Performs the next slice of a job, or its flush after the last slice. With `discard`, writing zeroes may free space on the host.
pub fn perform(job: &mut Job, image: &Image, discard: bool, ram: &GuestRam) {
    let from = job.begun;
    let mut slice = Vec::new();
    let done = match &job.request.action {
        _ if from == job.len => {
            job.flush = false;
            image.flush().map(|()| 0)
        }
        Action::Read { offset, ranges } => {
            let (ranges, len) = cut(ranges, from, job.len, &mut slice);
            image.read(ram, ranges, offset + from).map(|()| len)
        }
        Action::Write { offset, ranges } => {
            let (ranges, len) = cut(ranges, from, job.len, &mut slice);
            image.write(ram, ranges, offset + from).map(|()| len)
        }
        Action::Discard { offset, len } => {
            let len = extent(*offset + from, *len - from, image.extent());
            image.discard(offset + from, len).map(|()| len)
        }
        Action::WriteZeroes { offset, len, unmap } => {
            let len = extent(*offset + from, *len - from, image.extent());
            image.write_zeroes(offset + from, len, *unmap && discard)
        }
        Action::Flush | Action::Id { .. } | Action::Refuse(_) => return,
    };
    match done {
        Ok(len) => job.begun += len,
        Err(_) => job.status = Status::IoError,
    }
}
