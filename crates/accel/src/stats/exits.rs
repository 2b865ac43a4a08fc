//! Counts exits to user space by kind. Each vCPU has its own counters, so counting takes one store to memory that no
//! other thread writes.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! exit_kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// The kinds of exits that are counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ExitKind { $($(#[$doc])* $name,)* }

        impl ExitKind {
            /// All kinds, in the order of their counters.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the name that users see.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

exit_kinds! {
    /// KVM_EXIT_IO.
    Io = "io";
    /// KVM_EXIT_MMIO.
    Mmio = "mmio";
    /// KVM_EXIT_X86_RDMSR and KVM_EXIT_X86_WRMSR.
    Msr = "msr";
    /// KVM_EXIT_X86_BUS_LOCK. A bus lock may also accompany another exit.
    BusLock = "bus-lock";
    /// KVM_EXIT_HLT, which occurs only without a local APIC in the kernel.
    Halt = "halt";
    /// KVM_EXIT_NOTIFY.
    Notify = "notify";
    /// KVM_EXIT_SHUTDOWN: triple faults.
    Shutdown = "shutdown";
    /// KVM_EXIT_INTERNAL_ERROR.
    InternalError = "internal-error";
    /// KVM_RUN interrupted by a kick or another signal.
    Interrupted = "interrupted";
    /// All other exits.
    Other = "other";
}

/// One vCPU's counters.
#[derive(Debug, Default)]
pub struct ExitCounts([AtomicU64; ExitKind::ALL.len()]);

impl ExitCounts {
    /// Increments a counter. Only the vCPU's own thread calls this.
    pub(crate) fn count(&self, kind: ExitKind) {
        let counter = &self.0[kind as usize];
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Returns the number of exits of this kind so far.
    #[must_use]
    pub fn get(&self, kind: ExitKind) -> u64 {
        self.0[kind as usize].load(Ordering::Relaxed)
    }
}
