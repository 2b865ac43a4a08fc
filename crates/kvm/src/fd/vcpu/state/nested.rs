//! Nested state as bytes.

use super::Vcpu;
use crate::Result;
use crate::state::Nested;
use kvm_ioctls::KvmNestedStateBuffer;
use vmm_sys_util::errno;

/// Size of flags, format and size in bytes.
const HEADER: usize = 8;
const CAPACITY: usize = size_of::<KvmNestedStateBuffer>();

impl Vcpu {
    pub(super) fn nested(&self) -> Result<Option<Nested>> {
        if !self.features.nested {
            return Ok(None);
        }
        let mut buffer = KvmNestedStateBuffer::empty();
        self.fd.nested_state(&mut buffer).map_err(self.failed("KVM_GET_NESTED_STATE"))?;
        Ok(Some(from_kernel(&buffer)))
    }

    pub(super) fn set_nested(&self, nested: &Nested) -> Result<()> {
        let done = match to_kernel(nested) {
            Some(buffer) => self.fd.set_nested_state(&buffer),
            None => Err(errno::Error::new(libc::EINVAL)),
        };
        done.map_err(self.failed("KVM_SET_NESTED_STATE"))
    }
}

fn from_kernel(buffer: &KvmNestedStateBuffer) -> Nested {
    let size = usize::try_from(buffer.size).unwrap_or(0).clamp(HEADER, CAPACITY);
    // SAFETY: the structure is plain bytes without padding, all of them initialised, and `size` is within it.
    let bytes = unsafe { std::slice::from_raw_parts(std::ptr::from_ref(buffer).cast::<u8>(), size) };
    Nested { flags: buffer.flags, format: buffer.format, data: bytes.iter().copied().skip(HEADER).collect() }
}

/// Returns `None` if the data is larger than the kernel's maximum.
fn to_kernel(nested: &Nested) -> Option<KvmNestedStateBuffer> {
    let size = HEADER + nested.data.len();
    if size > CAPACITY {
        return None;
    }
    let mut buffer = KvmNestedStateBuffer::empty();
    // SAFETY: as above, and any bytes are valid for every field.
    let bytes = unsafe { std::slice::from_raw_parts_mut(std::ptr::from_mut(&mut buffer).cast::<u8>(), CAPACITY) };
    bytes.get_mut(HEADER..size)?.copy_from_slice(&nested.data);
    (buffer.flags, buffer.format, buffer.size) = (nested.flags, nested.format, u32::try_from(size).ok()?);
    Some(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn test_nested_state_round_trips(flags: u16, format: u16, data in proptest::collection::vec(any::<u8>(), 0..8400)) {
            let nested = Nested { flags, format, data };
            match to_kernel(&nested) {
                Some(buffer) => prop_assert_eq!(from_kernel(&buffer), nested),
                None => prop_assert!(nested.data.len() > CAPACITY - HEADER),
            }
        }

        /// For any size that the kernel reports, reading stays inside the buffer.
        #[test]
        fn test_any_size_stays_inside(size: u32) {
            let mut buffer = KvmNestedStateBuffer::empty();
            buffer.size = size;
            prop_assert!(from_kernel(&buffer).data.len() <= CAPACITY - HEADER);
        }
    }
}
