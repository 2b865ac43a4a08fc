//! Machines do not outlive the JavaScript environment that created them: neither `process.exit()` nor a terminated worker
//! leaves a vCPU running.

use kvm_accel_vmm::Vmm;
use napi::Env;
use std::cell::RefCell;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long the end of an environment waits for each of its machines. All work of a control thread is sliced, so that
/// milliseconds are enough; a host whose disk does not answer must not keep the process.
const PATIENCE: Duration = Duration::from_secs(5);

thread_local! {
    /// The machines of the environment that runs on this thread; `None` before the first one.
    static MACHINES: RefCell<Option<Vec<Weak<Vmm>>>> = const { RefCell::new(None) };
}

/// Remembers a machine, to be ended when its environment ends.
pub fn adopt(env: &Env, machine: &Arc<Vmm>) -> napi::Result<()> {
    MACHINES.with_borrow_mut(|machines| {
        if machines.is_none() {
            env.add_env_cleanup_hook((), |()| end_all())?;
        }
        let machines = machines.get_or_insert_default();
        machines.retain(|machine| machine.strong_count() > 0);
        machines.push(Arc::downgrade(machine));
        Ok(())
    })
}

fn end_all() {
    let machines: Vec<_> = MACHINES.take().unwrap_or_default().iter().filter_map(Weak::upgrade).collect();
    // All of them end at the same time.
    machines.iter().for_each(|machine| machine.end());
    for machine in machines {
        let _ = machine.end_and_wait(PATIENCE);
    }
}
