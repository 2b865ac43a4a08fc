//! The functions that replace libc's.

use crate::config::Config;
use crate::fds;
use crate::log::{Call, Log};
use crate::names::{CHECK_EXTENSION, CREATE_VCPU, CREATE_VM, ENABLE_CAP, MMAP, RUN, SET_CPUID2, is_kvm};
use crate::{notify, run};
use kvm_bindings::{kvm_cpuid_entry2, kvm_cpuid2, kvm_enable_cap};
use libc::{c_int, c_long, c_ulong, c_void, off_t, size_t};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

/// The rules and the log, if the variable is set.
static RULES: OnceLock<(Config, Option<Log>)> = OnceLock::new();

/// Parses the rules before the program's `main`, so that no call has to.
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    let Some(text) = std::env::var_os("KVM_INTERPOSE") else { return };
    let rules = Config::parse(&text.to_string_lossy()).and_then(|config| {
        let log = config.log.as_deref().map(Log::open).transpose()?;
        Ok((config, log))
    });
    match rules {
        Ok(rules) => drop(RULES.set(rules)),
        Err(problem) => {
            eprintln!("KVM_INTERPOSE: {problem}");
            // SAFETY: _exit has no preconditions. Exit handlers must not run before `main`.
            unsafe { libc::_exit(2) };
        }
    }
}

/// Returns the calling thread's errno.
pub fn errno() -> c_int {
    // SAFETY: the pointer is valid for the calling thread.
    unsafe { *libc::__errno_location() }
}

/// Sets the calling thread's errno.
pub fn set_errno(value: c_int) {
    // SAFETY: the pointer is valid for the calling thread.
    unsafe { *libc::__errno_location() = value };
}

/// Calls the kernel's ioctl, with libc's error convention.
pub fn kernel_ioctl(fd: c_int, request: u32, arg: *mut c_void) -> c_int {
    // SAFETY: the arguments are those that the program passed for this request.
    let result = unsafe { libc::syscall(libc::SYS_ioctl, c_long::from(fd), c_ulong::from(request), arg) };
    c_int::try_from(result).unwrap_or(-1)
}

/// Replaces libc's `ioctl`. The C function is variadic; in this calling convention, a third variadic argument is passed
/// like a named one.
///
/// # Safety
/// As for `ioctl`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    // The kernel reads 32 bits of the request. Programs that store it in an `int` pass it sign-extended.
    let request = u32::try_from(request & 0xffff_ffff).unwrap_or_default();
    match RULES.get() {
        Some((config, log)) if is_kvm(request) => {
            // SAFETY: as for `ioctl`.
            unsafe { call(config, log.as_ref(), fd, request, arg) }
        }
        _ => kernel_ioctl(fd, request, arg),
    }
}

/// Handles a KVM call: fails it, answers it or passes it on; records the descriptor that it created; logs it.
///
/// # Safety
/// As for `ioctl`.
unsafe fn call(config: &Config, log: Option<&Log>, fd: c_int, request: u32, arg: *mut c_void) -> c_int {
    let number = u32::try_from(arg.addr()).unwrap_or(u32::MAX);
    let enable = if request == ENABLE_CAP && !arg.is_null() {
        // SAFETY: KVM_ENABLE_CAP's argument points to this structure.
        Some(unsafe { arg.cast::<kvm_enable_cap>().read_unaligned() })
    } else {
        None
    };
    let cap = if request == CHECK_EXTENSION { Some(number) } else { enable.map(|enable| enable.cap) };
    let answer = match config.fail.iter().find_map(|rule| rule.errno(request, cap)) {
        Some(errno) => Some(Err(errno)),
        None if request == CHECK_EXTENSION => config.capability(number).map(Ok),
        None => config.answer(request).map(Ok).or_else(|| enable.and_then(|enable| answer_enable(config, fd, &enable))),
    };
    let result = match answer {
        Some(Ok(value)) => value,
        Some(Err(errno)) => {
            set_errno(errno);
            -1
        }
        None if request == RUN => match fds::vcpu(fd) {
            Some(vcpu) => return run::enter(config, log, fd, vcpu),
            None => kernel_ioctl(fd, request, arg),
        },
        None => kernel_ioctl(fd, request, arg),
    };
    if result >= 0 {
        match request {
            CREATE_VM => fds::vm_created(result),
            CREATE_VCPU => fds::vcpu_created(fd, result, number),
            _ => {}
        }
    }
    if let Some(log) = log {
        // SAFETY: the kernel has accepted the argument, so it points to a table with as many entries as it states.
        let leaves = if request == SET_CPUID2 && result >= 0 { unsafe { leaves(arg.cast()) } } else { &[] };
        log.write(&Call {
            cap,
            leaves,
            enable: enable.map(|enable| (enable.flags, enable.args[0])),
            id: (request == CREATE_VCPU).then_some(number),
            vcpu: fds::vcpu(fd).map(|vcpu| vcpu.id.load(Ordering::Relaxed)),
            ..Call::new(request, fd, if result < 0 { -errno() } else { result }, answer.is_some())
        });
    }
    result
}

/// Returns the entries of a table of CPUID leaves.
///
/// # Safety
/// `table` is followed by its entries, and no thread writes them while the result exists.
unsafe fn leaves<'a>(table: *const kvm_cpuid2) -> &'a [kvm_cpuid_entry2] {
    // SAFETY: as for this function.
    unsafe {
        let count = usize::try_from((&raw const (*table).nent).read()).unwrap_or(0);
        std::slice::from_raw_parts((&raw const (*table).entries).cast(), count)
    }
}

/// Answers KVM_ENABLE_CAP of the notify capability on a VM, if the rules provide the capability.
fn answer_enable(config: &Config, fd: c_int, enable: &kvm_enable_cap) -> Option<Result<c_int, c_int>> {
    if enable.cap != notify::CAPABILITY || !config.notify_capability || fds::vcpu(fd).is_some() {
        return None;
    }
    let vm = fds::get(fd)?;
    Some(notify::validate(enable, vm.vcpus.load(Ordering::Acquire)).map(|()| {
        vm.notify_enabled.store(true, Ordering::Relaxed);
        0
    }))
}

/// Replaces libc's `mmap`, and records the address of a vCPU's `kvm_run`.
///
/// # Safety
/// As for `mmap`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap(
    addr: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    let vcpu = if fd >= 0 && offset == 0 { RULES.get().zip(fds::vcpu(fd)) } else { None };
    if let Some(((config, log), _)) = vcpu
        && let Some(errno) = config.fail.iter().find_map(|rule| rule.errno(MMAP, None))
    {
        if let Some(log) = log {
            log.write(&Call::new(MMAP, fd, -errno, true));
        }
        set_errno(errno);
        return libc::MAP_FAILED;
    }
    // SAFETY: the arguments are the program's.
    let base = unsafe { libc::syscall(libc::SYS_mmap, addr, len, prot, flags, fd, offset) } as *mut c_void;
    if let Some(((_, log), vcpu)) = vcpu
        && base != libc::MAP_FAILED
    {
        // A later mapping replaces an earlier one. A program with two mappings must keep the second at least as long as
        // the first.
        vcpu.run.store(base.cast(), Ordering::Release);
        if let Some(log) = log {
            let id = vcpu.id.load(Ordering::Relaxed);
            log.write(&Call { vcpu: Some(id), ..Call::new(MMAP, fd, 0, false) });
        }
    }
    base
}

/// Replaces libc's `mmap64`, which is the same function on x86-64.
///
/// # Safety
/// As for `mmap`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap64(
    addr: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    // SAFETY: as for `mmap`.
    unsafe { mmap(addr, len, prot, flags, fd, offset) }
}
