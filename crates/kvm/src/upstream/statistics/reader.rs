//! Reads a VM's or a vCPU's statistics, on any thread, also while the vCPUs run, without slowing them.

use super::format::{HEADER_SIZE, Header, StatDescriptor, StatsSchema, complete};
use super::histogram::Bucket;
use super::{Result, StatsError};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

/// The target of a statistics file. The kernel describes each target once for all machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The VM as a whole.
    Vm,
    /// One vCPU.
    Vcpu,
}

/// One target's file and the buffer for its values. The file stays open as long as its machine exists.
#[derive(Debug)]
pub struct StatsReader {
    file: File,
    target: Target,
    data: Vec<u8>,
}

fn read_at(file: &File, part: &'static str, bytes: &mut [u8], offset: u64) -> Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        let rest = bytes.get_mut(done..).unwrap_or_default();
        match file.read_at(rest, offset + u64::try_from(done).unwrap_or(u64::MAX)) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => {
                let errno = e.raw_os_error().unwrap_or(libc::EIO);
                return Err(StatsError::Read { part, errno });
            }
        }
    }
    complete(part, bytes.len(), done)
}

/// Reads the header and descriptors of a statistics file.
fn read_schema(file: &File) -> Result<StatsSchema> {
    let mut header = [0; HEADER_SIZE];
    read_at(file, "header", &mut header, 0)?;
    let header = Header::parse(&header)?;
    let mut descriptors = vec![0; header.descriptors_len];
    read_at(file, "descriptors", &mut descriptors, header.descriptors_offset)?;
    StatsSchema::parse(header, &descriptors)
}

/// Returns the schema of a target. Reads it once per process and target, as QEMU does.
fn schema(target: Target, file: &File) -> Result<&'static StatsSchema> {
    static VM: OnceLock<StatsSchema> = OnceLock::new();
    static VCPU: OnceLock<StatsSchema> = OnceLock::new();
    let cell = match target {
        Target::Vm => &VM,
        Target::Vcpu => &VCPU,
    };
    match cell.get() {
        Some(schema) => Ok(schema),
        None => read_schema(file).map(|schema| cell.get_or_init(|| schema)),
    }
}

impl StatsReader {
    /// Creates a reader. Reads nothing yet.
    pub const fn new(file: File, target: Target) -> Self {
        Self { file, target, data: Vec::new() }
    }

    /// Reads the current values with one `pread`, into the same buffer each time.
    pub fn read(&mut self) -> Result<Readings<'_>> {
        let schema = schema(self.target, &self.file)?;
        self.data.resize(schema.data_len, 0);
        read_at(&self.file, "data", &mut self.data, schema.data_offset)?;
        Ok(Readings { schema, data: &self.data })
    }
}

/// The statistics at the time of the read.
#[derive(Clone, Copy, Debug)]
pub struct Readings<'a> {
    schema: &'static StatsSchema,
    data: &'a [u8],
}

impl<'a> Readings<'a> {
    /// Returns the descriptors, in the order of [`Readings::values`].
    #[must_use]
    pub const fn schema(&self) -> &'static StatsSchema {
        self.schema
    }

    /// Returns all values: [`StatDescriptor::size`] values for each statistic in turn.
    pub fn values(&self) -> impl Iterator<Item = u64> + 'a {
        let data = self.data;
        self.schema.descriptors.iter().flat_map(move |descriptor| values_of(data, descriptor))
    }

    /// Returns the first value of the statistic with this name, if the kernel has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<u64> {
        self.find(name).and_then(|descriptor| values_of(self.data, descriptor).next())
    }

    /// Returns the buckets of the histogram with this name, in ascending order. Empty if the statistic is not a
    /// histogram.
    pub fn buckets(&self, name: &str) -> impl Iterator<Item = Bucket> + 'a {
        let data = self.data;
        self.find(name).into_iter().flat_map(move |descriptor| {
            values_of(data, descriptor).enumerate().filter_map(|(index, count)| {
                let (from, to) = descriptor.kind.bucket_bounds(index, descriptor.size)?;
                Some(Bucket { from, to, count })
            })
        })
    }

    fn find(&self, name: &str) -> Option<&'static StatDescriptor> {
        self.schema.descriptors.iter().find(|descriptor| descriptor.name == name)
    }
}

fn values_of<'a>(data: &'a [u8], descriptor: &StatDescriptor) -> impl Iterator<Item = u64> + use<'a> {
    let values = data.get(descriptor.offset..).unwrap_or_default();
    values.chunks_exact(8).take(descriptor.size).map(|bytes| bytes.try_into().map_or(0, u64::from_ne_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> File {
        let path = std::env::temp_dir().join(format!("kvm-accel-stats-{}-{}", std::process::id(), bytes.len()));
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn test_truncated_files_are_errors_that_say_where() {
        let mut bytes: Vec<u8> = [0_u32, 8, 1, 24, 24, 48].into_iter().flat_map(u32::to_ne_bytes).collect();
        assert!(read_schema(&file(&bytes[..10])).unwrap_err().to_string().contains("expected 24 bytes of header"));
        assert!(read_schema(&file(&bytes)).unwrap_err().to_string().contains("expected 24 bytes of descriptors"));
        bytes.extend([0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(b"exits\0\0\0");
        let schema = read_schema(&file(&bytes)).unwrap();
        assert_eq!((schema.descriptors[0].size, schema.data_len), (1, 8));
        let mut data = [0; 8];
        assert!(read_at(&file(&bytes), "data", &mut data, schema.data_offset).is_err());
    }
}
