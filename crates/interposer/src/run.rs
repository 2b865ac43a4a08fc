//! KVM_RUN: gives a vCPU its interposed exits without losing an exit of the kernel.

use crate::config::{Config, Given};
use crate::fds::{self, Fd};
use crate::hooks::{errno, kernel_ioctl};
use crate::log::{Call, Log};
use crate::names::RUN;
use crate::notify;
use kvm_bindings::{
    KVM_EXIT_DEBUG, KVM_EXIT_IO, KVM_EXIT_NOTIFY, KVM_EXIT_X86_BUS_LOCK, KVM_RUN_X86_BUS_LOCK, kvm_debug_exit_arch,
    kvm_run,
};
use libc::c_int;
use std::ptr::{addr_of, addr_of_mut, null_mut};
use std::sync::atomic::{AtomicU8, Ordering};

/// The interposer's value of `immediate_exit`. The kernel tests only for non-zero, and a kick writes 1.
const COMPLETE_ONLY: u8 = 2;

/// Handles KVM_RUN of the vCPU with descriptor `fd`.
pub fn enter(config: &Config, log: Option<&Log>, fd: c_int, vcpu: &Fd) -> c_int {
    let first = vcpu.entries.fetch_add(1, Ordering::Relaxed) == 0;
    let run = vcpu.run.load(Ordering::Acquire);
    let enabled = fds::get(vcpu.vm.load(Ordering::Relaxed)).is_some_and(|vm| vm.notify_enabled.load(Ordering::Relaxed));
    let due = if run.is_null() { None } else { notify::due(&config.exits, vcpu, enabled) };
    let (result, given) = match due {
        None => (real(config, fd, vcpu), None),
        Some((rule, exit)) => match complete(config, fd, vcpu, run) {
            Completed::Nothing => {
                vcpu.notified.get(rule).map(|given| given.fetch_add(1, Ordering::Relaxed));
                give(run, exit);
                (0, Some(exit))
            }
            Completed::Returned(result) => (result, None),
        },
    };
    if let Some(log) = log.filter(|_| first || given.is_some()) {
        let id = vcpu.id.load(Ordering::Relaxed);
        let result = if result < 0 { -errno() } else { result };
        let notify = match given {
            Some(Given::Notify(flags)) => Some(flags),
            _ => None,
        };
        log.write(&Call { vcpu: Some(id), notify, ..Call::new(RUN, fd, result, given.is_some()) });
    }
    result
}

/// Enters the vCPU through the kernel, and counts the exit, if there was one.
fn real(config: &Config, fd: c_int, vcpu: &Fd) -> c_int {
    let result = kernel_ioctl(fd, RUN, null_mut());
    if result == 0 && !config.exits.is_empty() {
        notify::count(&config.exits, vcpu, port(vcpu.run.load(Ordering::Acquire)));
    }
    result
}

/// Returns the port of the last exit, if it is an I/O exit.
fn port(run: *mut kvm_run) -> Option<u16> {
    if run.is_null() {
        return None;
    }
    // SAFETY: as in `complete`; the vCPU's thread has returned from the kernel, which alone writes these fields, and
    // KVM_EXIT_IO selects the member of the union.
    unsafe {
        (addr_of!((*run).exit_reason).read() == KVM_EXIT_IO).then(|| addr_of!((*run).__bindgen_anon_1.io.port).read())
    }
}

enum Completed {
    /// The previous exit is complete; the vCPU has not run.
    Nothing,
    /// KVM_RUN has returned, and the program must get this result first.
    Returned(c_int),
}

/// Makes the kernel complete the previous exit without running the guest.
fn complete(config: &Config, fd: c_int, vcpu: &Fd, run: *mut kvm_run) -> Completed {
    // SAFETY: `run` is the program's mapping of this vCPU, which lives while the vCPU may be entered; every writer of this
    // byte writes just this byte.
    let immediate_exit = unsafe { AtomicU8::from_ptr(addr_of_mut!((*run).immediate_exit)) };
    if immediate_exit.compare_exchange(0, COMPLETE_ONLY, Ordering::SeqCst, Ordering::SeqCst).is_err() {
        // There has been a kick.
        return Completed::Returned(real(config, fd, vcpu));
    }
    let result = real(config, fd, vcpu);
    let interrupted = result != 0 && errno() == libc::EINTR;
    let kicked = immediate_exit.compare_exchange(COMPLETE_ONLY, 0, Ordering::SeqCst, Ordering::SeqCst).is_err();
    if interrupted && !kicked { Completed::Nothing } else { Completed::Returned(result) }
}

/// Writes an interposed exit to `kvm_run`.
fn give(run: *mut kvm_run, exit: Given) {
    // SAFETY: as in `complete`; the caller is the vCPU's thread between two entries, so no other code accesses these
    // fields, and the exit that the union held is complete.
    unsafe {
        match exit {
            Given::Notify(flags) => {
                addr_of_mut!((*run).exit_reason).write(KVM_EXIT_NOTIFY);
                addr_of_mut!((*run).__bindgen_anon_1.notify.flags).write(flags);
            }
            Given::BusLock => {
                let flags = addr_of_mut!((*run).flags);
                flags.write(flags.read() | u16::try_from(KVM_RUN_X86_BUS_LOCK).unwrap_or(0));
                addr_of_mut!((*run).exit_reason).write(KVM_EXIT_X86_BUS_LOCK);
            }
            Given::Debug { exception, pc, dr6, dr7 } => {
                let arch = kvm_debug_exit_arch { exception, pc, dr6, dr7, ..Default::default() };
                addr_of_mut!((*run).exit_reason).write(KVM_EXIT_DEBUG);
                addr_of_mut!((*run).__bindgen_anon_1.debug.arch).write(arch);
            }
        }
    }
}
