//! The file descriptors of this process that are KVM VMs or vCPUs.
//!
//! A table indexed by descriptor number, so that a lookup takes no lock. Closing is not intercepted. When the kernel
//! reuses a number for a VM or a vCPU, the entry is overwritten. A stale entry has no effect, because calls are
//! distinguished by their request.

use crate::config::MAX_EXIT_RULES;
use kvm_bindings::kvm_run;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering};

/// Descriptors with this number or a larger one are not intercepted.
const LIMIT: usize = 4096;

static FDS: [Fd; LIMIT] = [const { Fd::new() }; LIMIT];

/// A VM or a vCPU. A descriptor is either, and uses only the fields of its kind.
#[derive(Debug)]
pub struct Fd {
    /// VM: number of vCPUs created.
    pub vcpus: AtomicU32,
    /// VM: capability 219 has been enabled.
    pub notify_enabled: AtomicBool,
    /// vCPU: the descriptor of its VM; negative if this is not a vCPU.
    pub vm: AtomicI32,
    /// vCPU: its id.
    pub id: AtomicU32,
    /// vCPU: the program's mapping of `kvm_run`, valid as long as the program may enter the vCPU.
    pub run: AtomicPtr<kvm_run>,
    /// vCPU: number of entries, interposed ones included.
    pub entries: AtomicU32,
    /// vCPU: number of real exits that count, by rule.
    pub exits: [AtomicU32; MAX_EXIT_RULES],
    /// vCPU: number of interposed exits, by rule.
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

/// Returns the entry of a descriptor.
pub fn get(fd: i32) -> Option<&'static Fd> {
    FDS.get(usize::try_from(fd).ok()?)
}

/// Returns the entry of a vCPU's descriptor.
pub fn vcpu(fd: i32) -> Option<&'static Fd> {
    get(fd).filter(|entry| entry.vm.load(Ordering::Acquire) >= 0)
}

/// Records that the kernel has created a VM with descriptor `fd`.
pub fn vm_created(fd: i32) {
    if let Some(entry) = get(fd) {
        entry.clear();
    }
}

/// Records that the kernel has created vCPU `id` of `vm` with descriptor `fd`.
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
