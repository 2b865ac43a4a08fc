//! Requests for single vCPUs: injected notify exits, NMIs and interrupts.

use super::{Attention, Control, MAX_INJECTED, Phase};
use kvm_accel_kvm::run::NotifyInfo;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

impl Control {
    /// Returns the pending request. Called by a vCPU thread before it enters the guest and when `KVM_RUN` was
    /// interrupted.
    pub fn attend(&self, index: usize) -> Attention {
        let mut state = self.lock();
        if state.phase != Phase::Running {
            return Attention::Leave;
        }
        let attention = if state.nmi.get_mut(index).is_some_and(std::mem::take) {
            Attention::Nmi
        } else if let Some(info) = state.injected.get_mut(index).and_then(VecDeque::pop_front) {
            Attention::Inject(info)
        } else {
            return Attention::Enter;
        };
        // More requests may be pending: check again after this one.
        if let Some(kick) = self.kicks.get(index) {
            kick.look_again();
        }
        attention
    }

    /// Queues a notify exit for vCPU `index`.
    pub fn inject(&self, index: u32, info: NotifyInfo) -> bool {
        let Ok(index) = usize::try_from(index) else { return false };
        match self.lock().injected.get_mut(index) {
            Some(waiting) if waiting.len() < MAX_INJECTED => waiting.push_back(info),
            _ => return false,
        }
        self.kick_one(index);
        true
    }

    /// Delays vCPU `index` outside the guest for `time`. Returns early when a request is pending or `lost` returns
    /// true.
    pub fn hold_back(&self, index: usize, time: Duration, lost: impl Fn() -> bool) {
        let Some(kick) = self.kicks.get(index) else { return };
        let start = Instant::now();
        loop {
            let ticket = kick.ticket();
            let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) else { return };
            let state = self.lock();
            let asked = state.phase != Phase::Running
                || state.nmi.get(index) == Some(&true)
                || state.injected.get(index).is_some_and(|waiting| !waiting.is_empty());
            drop(state);
            if asked || lost() {
                return;
            }
            kick.wait(ticket, Some(left));
        }
    }

    /// Queues an NMI for every vCPU. The vCPUs of a stopped machine receive it when they resume.
    pub fn inject_nmi(&self) {
        self.lock().nmi.fill(true);
        self.kick_all();
    }

    /// Kicks vCPU `index`, so that it checks its interrupt controller and whether the guest still sleeps.
    pub fn interrupt(&self, index: usize) {
        self.kick_one(index);
    }

    /// Kicks every vCPU, so that each checks its interrupt controller and whether the guest still sleeps.
    pub fn interrupt_all(&self) {
        (0..self.kicks.len()).for_each(|index| self.kick_one(index));
    }
}
