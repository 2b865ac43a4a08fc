//! The bell of a vCPU. A vCPU thread waits for the bell outside `KVM_RUN` while its guest is halted or asleep.
//!
//! A bell is a futex and not a condition variable, because the SIGBUS handler rings it: `ring` takes no lock and
//! allocates nothing.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

/// Wakes one thread. If the bell rings between [`Bell::ticket`] and [`Bell::wait`], the wait returns at once.
#[derive(Debug, Default)]
pub struct Bell {
    /// Number of rings. Wraps around.
    rings: AtomicU32,
    /// Number of threads inside [`Bell::wait`]. While it is 0, a ring needs no system call.
    waiters: AtomicU32,
}

/// A point in time, identified by the number of rings: see [`Bell::ticket`].
#[derive(Clone, Copy, Debug)]
pub struct Ticket(u32);

impl Bell {
    /// Takes a ticket for [`Bell::wait`]. Take it before checking the reasons not to wait.
    pub fn ticket(&self) -> Ticket {
        Ticket(self.rings.load(SeqCst))
    }

    /// Waits until the bell has rung since the ticket was taken, a signal arrives or `time` has passed. May also return
    /// spuriously.
    pub fn wait(&self, ticket: Ticket, time: Option<Duration>) {
        let time = time.map(|time| libc::timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        self.waiters.fetch_add(1, SeqCst);
        // SAFETY: the kernel reads the word, which `self` keeps, and the time, which outlives the call. The result does
        // not matter: the caller checks its reasons again.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.rings.as_ptr(),
                libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                ticket.0,
                time,
            )
        };
        self.waiters.fetch_sub(1, SeqCst);
    }

    /// Ends the current or next wait. Async-signal-safe.
    pub fn ring(&self) {
        self.rings.fetch_add(1, SeqCst);
        if self.waiters.load(SeqCst) != 0 {
            // SAFETY: the kernel uses only the address of the word, which `self` keeps.
            unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    self.rings.as_ptr(),
                    libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
                    libc::c_int::MAX,
                )
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Bell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::time::Duration;

    #[test]
    fn test_a_ring_after_the_ticket_ends_the_wait() {
        let bell = Bell::default();
        let ticket = bell.ticket();
        bell.ring();
        bell.wait(ticket, None);
    }

    #[test]
    fn test_no_ring_is_lost() {
        const ROUNDS: u32 = 2000;
        let (bell, asked, seen) = (Arc::new(Bell::default()), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let waiter = {
            let (bell, asked, seen) = (Arc::clone(&bell), Arc::clone(&asked), Arc::clone(&seen));
            std::thread::spawn(move || {
                while seen.load(SeqCst) < ROUNDS {
                    let ticket = bell.ticket();
                    let now = asked.load(SeqCst);
                    if now == seen.load(SeqCst) {
                        bell.wait(ticket, None);
                    }
                    seen.store(now, SeqCst);
                }
            })
        };
        for round in 1..=ROUNDS {
            asked.store(round, SeqCst);
            bell.ring();
            while seen.load(SeqCst) < round {
                std::thread::yield_now();
            }
        }
        waiter.join().unwrap();
    }

    #[test]
    fn test_a_wait_ends_with_its_time() {
        let bell = Bell::default();
        bell.wait(bell.ticket(), Some(Duration::from_millis(1)));
        assert_eq!(bell.waiters.load(SeqCst), 0);
    }
}
