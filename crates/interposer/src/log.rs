//! The log: one line of JSON for each call, written immediately and without allocation.

use crate::names::ioctl_name;
use kvm_bindings::kvm_cpuid_entry2;
use libc::c_int;
use std::ffi::CString;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The open log.
#[derive(Debug)]
pub struct Log(c_int);

/// A line of the log.
#[derive(Debug, Default)]
pub struct Call<'a> {
    pub request: u32,
    pub fd: c_int,
    /// The result that the program gets; a negative errno if the call failed.
    pub result: c_int,
    /// The kernel did not get the call, or the program did not get the kernel's result.
    pub interposed: bool,
    /// KVM_CHECK_EXTENSION and KVM_ENABLE_CAP: the capability.
    pub cap: Option<u32>,
    /// KVM_ENABLE_CAP: `flags` and `args[0]`.
    pub enable: Option<(u32, u64)>,
    /// KVM_CREATE_VCPU: the vCPU's id.
    pub id: Option<u32>,
    /// Calls on a vCPU: the vCPU's id.
    pub vcpu: Option<u32>,
    /// KVM_RUN: the flags of an interposed notify exit.
    pub notify: Option<u32>,
    /// KVM_SET_CPUID2: the leaves.
    pub leaves: &'a [kvm_cpuid_entry2],
}

impl Call<'_> {
    /// Creates a line without optional fields.
    pub fn new(request: u32, fd: c_int, result: c_int, interposed: bool) -> Self {
        Self { request, fd, result, interposed, ..Self::default() }
    }
}

impl Log {
    /// Opens the file for appending.
    pub fn open(path: &Path) -> Result<Self, String> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|e| e.to_string())?;
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC;
        // SAFETY: `name` is a string with a final NUL.
        let fd = unsafe { libc::open(name.as_ptr(), flags, 0o600) };
        if fd < 0 { Err(format!("{}: {}", path.display(), std::io::Error::last_os_error())) } else { Ok(Self(fd)) }
    }

    /// Appends one line, and preserves `errno`.
    pub fn write(&self, call: &Call<'_>) {
        let saved = crate::hooks::errno();
        if call.leaves.is_empty() {
            let mut line = Line::default();
            // A line that does not fit is truncated. All calls without leaves fit.
            let _ = put(call, &mut line);
            self.append(line.bytes.get(..line.len).unwrap_or_default());
        } else {
            // Leaves may need 16 KiB. A buffer of that size on the stack enlarges the frame of every call.
            let mut line = String::new();
            let _ = put(call, &mut line);
            self.append(line.as_bytes());
        }
        crate::hooks::set_errno(saved);
    }

    fn append(&self, line: &[u8]) {
        // SAFETY: the pointer and the length are those of `line`.
        unsafe { libc::write(self.0, line.as_ptr().cast(), line.len()) };
    }
}

/// The maximum length of a line without leaves.
const LINE: usize = 512;

/// A line buffer on the stack.
struct Line {
    bytes: [u8; LINE],
    len: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self { bytes: [0; LINE], len: 0 }
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

fn put(call: &Call<'_>, line: &mut impl Write) -> fmt::Result {
    // SAFETY: getpid has no preconditions.
    let pid = unsafe { libc::getpid() };
    write!(line, "{{\"pid\":{pid},\"ioctl\":\"")?;
    match ioctl_name(call.request) {
        Some(name) => line.write_str(name)?,
        None => write!(line, "{:#x}", call.request)?,
    }
    write!(line, "\",\"fd\":{},\"result\":{},\"interposed\":{}", call.fd, call.result, call.interposed)?;
    if let Some((flags, arg)) = call.enable {
        // A string, because the argument has more bits than a JavaScript number.
        write!(line, ",\"flags\":{flags},\"arg\":\"{arg:#x}\"")?;
    }
    for (key, value) in [("cap", call.cap), ("id", call.id), ("vcpu", call.vcpu), ("notify", call.notify)] {
        if let Some(value) = value {
            write!(line, ",\"{key}\":{value}")?;
        }
    }
    if !call.leaves.is_empty() {
        line.write_str(",\"leaves\":\"")?;
        for entry in call.leaves {
            let kvm_cpuid_entry2 { function, index, flags, eax, ebx, ecx, edx, .. } = entry;
            write!(line, "{function:x}.{index:x}.{flags:x}:{eax:x},{ebx:x},{ecx:x},{edx:x} ")?;
        }
        line.write_str("\"")?;
    }
    line.write_str("}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{ENABLE_CAP, RUN};

    fn line(call: &Call<'_>) -> String {
        let mut text = String::new();
        put(call, &mut text).unwrap();
        // The process id differs between runs.
        text.split_once(',').unwrap().1.to_owned()
    }

    #[test]
    fn test_lines_name_the_call_and_its_particulars() {
        let call = Call { cap: Some(219), enable: Some((0, 0x7_0000_0003)), ..Call::new(ENABLE_CAP, 9, 0, true) };
        assert_eq!(
            line(&call),
            "\"ioctl\":\"KVM_ENABLE_CAP\",\"fd\":9,\"result\":0,\"interposed\":true,\"flags\":0,\"arg\":\"0x700000003\",\"cap\":219}\n"
        );
        let call = Call { vcpu: Some(1), ..Call::new(RUN, 9, -libc::EINTR, false) };
        assert_eq!(line(&call), "\"ioctl\":\"KVM_RUN\",\"fd\":9,\"result\":-4,\"interposed\":false,\"vcpu\":1}\n");
        assert!(line(&Call::new(0xaefe, 0, 0, false)).starts_with("\"ioctl\":\"0xaefe\""));
        let leaves = [kvm_cpuid_entry2 { function: 4, index: 1, flags: 1, eax: 0xabc, ..kvm_cpuid_entry2::default() }];
        let call = Call { leaves: &leaves, ..Call::new(0xaefe, 0, 0, false) };
        assert!(line(&call).ends_with(",\"leaves\":\"4.1.1:abc,0,0,0 \"}\n"));
    }
}
