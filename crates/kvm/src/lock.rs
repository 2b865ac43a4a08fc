use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, and ignores poisoning.
///
/// A panic of a lock owner is contained: it fails a vCPU, a device or a call. Lock owners leave the data valid at every
/// point that can panic, so that other threads can continue with it, for example to stop the machine.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::lock;
    use std::sync::Mutex;

    #[test]
    fn the_data_stays_accessible_after_a_lock_owner_panicked() {
        let mutex = Mutex::new(1);
        std::thread::scope(|scope| {
            let owner = scope.spawn(|| {
                *lock(&mutex) = 2;
                let _guard = lock(&mutex);
                panic!("the lock owner panics");
            });
            assert!(owner.join().is_err());
        });
        assert!(mutex.is_poisoned());
        assert_eq!(*lock(&mutex), 2);
    }
}
