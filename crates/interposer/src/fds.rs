//! What the file descriptors of this process are, as far as KVM is concerned.
//!
//! A descriptor's number is its index, so that looking one up takes no lock. Closing is not watched: a number that is given
//! out again is overwritten, and calls are told apart by their request, so a stale entry is never acted on.

use crate::config::MAX_EXIT_RULES;
use kvm_bindings::kvm_run;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering};

/// Descriptors from here on are passed through.
const LIMIT: usize = 4096;

static FDS: [Fd; LIMIT] = [const { Fd::new() }; LIMIT];

/// A VM or a vCPU. A descriptor is one of both, so each uses only its own fields.
#[derive(Debug)]
pub struct Fd {
    /// VM: KVM_CREATE_VCPU succeeded this often.
    pub vcpus: AtomicU32,
    /// VM: capability 219 is enabled.
    pub notify_enabled: AtomicBool,
    /// vCPU: the descriptor of its VM; negative: not a vCPU.
    pub vm: AtomicI32,
    /// vCPU: its id.
    pub id: AtomicU32,
    /// vCPU: where the program mapped its shared pages; valid as long as the program may enter the vCPU.
    pub run: AtomicPtr<kvm_run>,
    /// vCPU: entries so far, interposed or not.
    pub entries: AtomicU32,
    /// vCPU: real exits so far that count, by rule.
    pub exits: [AtomicU32; MAX_EXIT_RULES],
    /// vCPU: notify exits given so far, by rule.
    pub notified: [AtomicU32; MAX_EXIT_RULES],
}

impl Fd {
    const fn new() -> Self {
        Self {
            vcpus: AtomicU32::new(0),
            notify_enabled: AtomicBool::new(false),
            vm: AtomicI32::new(-1),
            id: AtomicU32::new(0),
            run: AtomicPtr::new(null_mut()),
            entries: AtomicU32::new(0),
            exits: [const { AtomicU32::new(0) }; MAX_EXIT_RULES],
            notified: [const { AtomicU32::new(0) }; MAX_EXIT_RULES],
        }
    }

    fn clear(&self) {
        for counter in [&self.vcpus, &self.id, &self.entries].into_iter().chain(&self.exits).chain(&self.notified) {
            counter.store(0, Ordering::Relaxed);
        }
        self.notify_enabled.store(false, Ordering::Relaxed);
        self.vm.store(-1, Ordering::Relaxed);
        self.run.store(null_mut(), Ordering::Relaxed);
    }
}

/// The entry of a descriptor.
pub fn get(fd: i32) -> Option<&'static Fd> {
    FDS.get(usize::try_from(fd).ok()?)
}

/// The entry of a vCPU's descriptor.
pub fn vcpu(fd: i32) -> Option<&'static Fd> {
    get(fd).filter(|entry| entry.vm.load(Ordering::Acquire) >= 0)
}

/// The kernel has given out `fd` as a VM.
pub fn vm_created(fd: i32) {
    if let Some(entry) = get(fd) {
        entry.clear();
    }
}

/// The kernel has given out `fd` as vCPU `id` of `vm`.
pub fn vcpu_created(vm: i32, fd: i32, id: u32) {
    if let Some(entry) = get(fd) {
        entry.clear();
        entry.id.store(id, Ordering::Relaxed);
        entry.vm.store(vm, Ordering::Release);
    }
    if let Some(vm) = get(vm) {
        vm.vcpus.fetch_add(1, Ordering::AcqRel);
    }
}
