//! Ends an environment's machines when the JavaScript environment ends, by `process.exit()` or `worker.terminate()` for example.

use kvm_accel_vmm::Vmm;
use napi::Env;
use std::cell::RefCell;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How long the end of an environment waits for each of its machines. A control thread works in short slices and ends within
/// milliseconds. The limit keeps a disk that does not answer from blocking the end of the process.
const PATIENCE: Duration = Duration::from_secs(5);

thread_local! {
    /// The machines of the environment that runs on this thread. `None` before the first machine.
    static MACHINES: RefCell<Option<Vec<Weak<Vmm>>>> = const { RefCell::new(None) };
}

/// Registers a machine, so that it ends with its environment.
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
    // Stop all machines first, so that they end in parallel.
    machines.iter().for_each(|machine| machine.end());
    for machine in machines {
        let _ = machine.end_and_wait(PATIENCE);
    }
}
