//! Machines do not outlive the JavaScript environment that made them: neither `process.exit()` nor a terminated worker
//! leaves a vCPU running.

use crate::handle::Handle;
use napi::Env;
use std::cell::RefCell;
use std::sync::{Arc, Weak};

thread_local! {
    /// The machines of the environment that runs on this thread; `None` before the first one.
    static MACHINES: RefCell<Option<Vec<Weak<Handle>>>> = const { RefCell::new(None) };
}

/// Remembers a machine, to be closed when its environment ends.
pub fn adopt(env: &Env, machine: &Arc<Handle>) -> napi::Result<()> {
    MACHINES.with_borrow_mut(|machines| {
        if machines.is_none() {
            env.add_env_cleanup_hook((), |()| close_all())?;
        }
        let machines = machines.get_or_insert_default();
        machines.retain(|machine| machine.strong_count() > 0);
        machines.push(Arc::downgrade(machine));
        Ok(())
    })
}

fn close_all() {
    let machines = MACHINES.take().unwrap_or_default();
    machines.iter().filter_map(Weak::upgrade).for_each(|machine| machine.close_and_wait());
}
