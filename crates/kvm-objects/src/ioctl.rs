//! Calls an ioctl of a table with the caller's argument.

use crate::calls::{Argument, Call};
use crate::errno::{Result, refuse};
use crate::shared_bytes::SharedBytes;
use std::cell::RefCell;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use vmm_sys_util::errno::Error;

/// 64 KiB. This is more than the kernel copies for any call of the tables, including an XSAVE area with every feature
/// of today's CPUs (11 KiB).
const WORDS: usize = 8192;

/// KVM_CAP_HYPERV_ENLIGHTENED_VMCS. Its argument is a pointer through which the kernel writes.
const CAP_WITH_POINTER: u32 = 163;

const KVM_ENABLE_CAP: u32 = 0x4068_aea3;

thread_local! {
    /// The kernel reads and writes this copy, never the caller's bytes, so it sees exactly the counts that were
    /// checked.
    static SCRATCH: RefCell<Box<[u64; WORDS]>> = RefCell::new(Box::new([0; WORDS]));
}

/// Converts a result of ioctl(2).
pub fn answer(result: libc::c_int) -> Result<u32> {
    u32::try_from(result).map_err(|_| Error::last())
}

fn find(table: &'static [Call], request: u32) -> Result<&'static Call> {
    table.iter().find(|call| call.request == request).ok_or(refuse(libc::ENOTTY))
}

/// Calls an ioctl that takes a number.
pub fn with_value(fd: &OwnedFd, table: &'static [Call], request: u32, value: u64) -> Result<u32> {
    let call = find(table, request)?;
    if call.argument != Argument::Value {
        return Err(refuse(libc::EFAULT));
    }
    // SAFETY: by the table, the ioctl takes a number, so the kernel touches no memory of this process.
    answer(unsafe { libc::ioctl(fd.as_raw_fd(), request.into(), value) })
}

/// Calls an ioctl that takes a structure, with the contents of `bytes`. Copies the kernel's result to `bytes`, also
/// when the call fails (for a list that is too short, it contains the required length).
pub fn with_bytes(fd: &OwnedFd, table: &'static [Call], request: u32, bytes: SharedBytes<'_>) -> Result<u32> {
    let call = find(table, request)?;
    SCRATCH.with_borrow_mut(|scratch| {
        let area = as_bytes(scratch);
        bytes.copy_to(area.get_mut(..bytes.len()).ok_or(refuse(libc::E2BIG))?);
        check(call, &area[..bytes.len()])?;
        // Bytes that the kernel may copy beyond the caller's.
        if let Argument::Xsave(_) = call.argument {
            area[bytes.len()..].fill(0);
        }
        // SAFETY: the table contains the ioctl's argument type, `check` has verified that the argument lies within
        // `bytes`, and the area is as large as any argument. The area is ours alone for the call.
        let result = answer(unsafe { libc::ioctl(fd.as_raw_fd(), request.into(), area.as_mut_ptr()) });
        bytes.copy_from(&area[..bytes.len()]);
        result
    })
}

fn as_bytes(words: &mut [u64; WORDS]) -> &mut [u8] {
    // SAFETY: the same memory, and every pattern of bytes is valid for both types.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), WORDS * 8) }
}

/// Checks that the argument that begins with `bytes` lies within them.
fn check(call: &Call, bytes: &[u8]) -> Result<()> {
    let word = |at: usize| -> Result<usize> {
        let word = bytes.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        Ok(word.map(u32::from_ne_bytes).ok_or(refuse(libc::EFAULT))? as usize)
    };
    let within = match call.argument {
        Argument::Value => false,
        Argument::Struct(size) => bytes.len() == size,
        Argument::List { header, entry } => word(0)?.saturating_mul(entry).saturating_add(header) <= bytes.len(),
        Argument::Xsave(size) => bytes.len() >= size,
        Argument::Sized { header } => bytes.len() >= header && word(4)? <= bytes.len(),
    };
    if !within {
        return Err(refuse(libc::EFAULT));
    }
    if call.request == KVM_ENABLE_CAP && word(0)? == CAP_WITH_POINTER as usize {
        return Err(refuse(libc::EINVAL));
    }
    Ok(())
}

/// Takes ownership of the fd that an ioctl created.
pub(crate) fn owned(fd: u32) -> Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(|_| refuse(libc::EBADF))?;
    // SAFETY: the kernel has just created it for this call, and no other code has its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::{SYSTEM, VCPU, VM};
    use proptest::prelude::*;

    fn of(table: &'static [Call], name: &str) -> &'static Call {
        table.iter().find(|call| call.name == name).unwrap()
    }

    #[test]
    fn test_what_is_too_short_for_the_kernel_is_not_called() {
        assert!(check(of(VCPU, "KVM_GET_REGS"), &[0; 144]).is_ok());
        assert!(check(of(VCPU, "KVM_GET_REGS"), &[0; 143]).is_err());
        assert!(check(of(VCPU, "KVM_NMI"), &[]).is_err());
        let mut list = [0u8; 8 + 2 * 40];
        list[0] = 2;
        assert!(check(of(SYSTEM, "KVM_GET_SUPPORTED_CPUID"), &list).is_ok());
        list[0] = 3;
        assert!(check(of(SYSTEM, "KVM_GET_SUPPORTED_CPUID"), &list).is_err());
    }

    #[test]
    fn test_a_capability_with_a_pointer_is_refused() {
        let mut cap = [0u8; 104];
        assert!(check(of(VM, "KVM_ENABLE_CAP"), &cap).is_ok());
        cap[0] = 163;
        assert_eq!(check(of(VCPU, "KVM_ENABLE_CAP"), &cap).unwrap_err().errno(), libc::EINVAL);
        assert_eq!(of(VM, "KVM_ENABLE_CAP").request, KVM_ENABLE_CAP);
    }

    #[test]
    fn test_other_ioctls_are_refused_before_they_reach_the_kernel() {
        let fd = std::fs::File::open("/proc/self/exe").unwrap().into();
        assert_eq!(with_value(&fd, VM, 0x5401, 0).unwrap_err().errno(), libc::ENOTTY);
        assert_eq!(with_value(&fd, VCPU, of(VCPU, "KVM_GET_REGS").request, 1).unwrap_err().errno(), libc::EFAULT);
    }

    proptest! {
        /// A count in the bytes that reaches beyond them is refused before the call, for any bytes.
        #[test]
        fn test_counts_are_within(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            for call in [SYSTEM, VM, VCPU].into_iter().flatten() {
                if check(call, &bytes).is_err() { continue }
                let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
                match call.argument {
                    Argument::Value => prop_assert!(false),
                    Argument::Struct(size) => prop_assert_eq!(size, bytes.len()),
                    Argument::List { header, entry } => prop_assert!(header + word(0) * entry <= bytes.len()),
                    Argument::Xsave(size) => prop_assert!(size <= bytes.len()),
                    Argument::Sized { header } => prop_assert!(header.max(word(4)) <= bytes.len()),
                }
            }
        }
    }
}
