//! A vCPU, with KVM_RUN, the only call that must be fast.

use crate::calls::VCPU;
use crate::errno::Result;
use crate::ioctl;
use crate::kicks;
use crate::shared_bytes::SharedBytes;
use crate::slots::Slots;
use crate::watch::{Watch, Watched};
use kvm_accel_kvm::Mapping;
use kvm_accel_kvm::run::kick::{self, Kick};
use kvm_accel_kvm::run::{ImmediateExit, RunPage};
use kvm_bindings::KVM_EXIT_INTR;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

const KVM_RUN: libc::Ioctl = 0xae80;

/// The result of a KVM_RUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// An exit: KVM_EXIT_*. A kick is KVM_EXIT_INTR.
    Exit(u32),
    /// A signal that is not a kick interrupted the call. The caller may process events and run again.
    Again,
    /// The kernel's error number.
    Failed(i32),
}

/// A vCPU. It belongs to the thread that created it.
#[derive(Debug)]
pub struct Vcpu {
    /// Declared, and so dropped, before the memory of its guest.
    fd: OwnedFd,
    page: RunPage,
    immediate_exit: ImmediateExit,
    watched: Arc<Watched>,
    token: u32,
    _watch: Arc<Watch>,
    _slots: Arc<Slots>,
    /// Neither `Send` nor `Sync`: kicks go to this thread.
    _here: PhantomData<*const ()>,
}

impl Vcpu {
    pub(super) fn new(fd: OwnedFd, run_size: usize, slots: &Arc<Slots>) -> Result<Self> {
        kick::install_handler()?;
        let page = RunPage::map(fd.as_raw_fd(), run_size)?;
        let kick = Kick::new(page.immediate_exit());
        kick.aim();
        let watched = Arc::new(Watched::new(kick));
        let watch = Watch::over(&watched)?;
        let immediate_exit = page.immediate_exit();
        let token = kicks::register(&watched);
        let slots = Arc::clone(slots);
        Ok(Self { fd, page, immediate_exit, watched, token, _watch: watch, _slots: slots, _here: PhantomData })
    }

    /// Calls KVM_RUN. Completes the I/O or MMIO of the previous exit.
    pub fn run(&self) -> Ran {
        loop {
            self.watched.enter();
            // SAFETY: KVM_RUN takes no argument; it writes the shared pages, of which no reference exists, and the guest's own memory.
            let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), KVM_RUN, 0) };
            self.watched.leave();
            if result >= 0 {
                return Ran::Exit(self.page.reason());
            }
            match vmm_sys_util::errno::Error::last().errno() {
                // Only a kick, or the owner of the page, sets the byte. The caller checks for requests after this line, so
                // clearing the byte here loses no request: a later kick sets it again.
                libc::EINTR if self.immediate_exit.take() => {
                    self.page.set_reason(KVM_EXIT_INTR);
                    return Ran::Exit(KVM_EXIT_INTR);
                }
                libc::EINTR => return Ran::Again,
                // A vCPU that waited for its start-up message has received it.
                libc::EAGAIN => {}
                errno => return Ran::Failed(errno),
            }
        }
    }

    /// Returns the shared pages: `kvm_run`, PIO data, coalesced ring.
    pub const fn pages(&self) -> &Arc<Mapping> {
        self.page.mapping()
    }

    /// Returns the token with which any thread kicks the vCPU: [`kicks::kick`].
    pub const fn token(&self) -> u32 {
        self.token
    }

    /// Calls an ioctl that takes a number.
    ///
    /// # Errors
    /// ENOTTY for an ioctl that is not in the table; otherwise the error of the ioctl.
    pub fn with_value(&self, request: u32, value: u64) -> Result<u32> {
        ioctl::with_value(&self.fd, VCPU, request, value)
    }

    /// Calls an ioctl that takes a structure.
    ///
    /// # Errors
    /// ENOTTY for an ioctl that is not in the table, EFAULT or E2BIG if `bytes` do not match its argument; otherwise the
    /// error of the ioctl.
    pub fn with_bytes<'a>(&self, request: u32, bytes: impl Into<SharedBytes<'a>>) -> Result<u32> {
        ioctl::with_bytes(&self.fd, VCPU, request, bytes.into())
    }
}

impl Drop for Vcpu {
    fn drop(&mut self) {
        kicks::forget(self.token);
        self.watched.disarm();
    }
}
