//! Coalesced writes: the kernel stores them in a ring that all vCPUs of a machine share, and this module drains the
//! ring.

use crate::bus::{Bus, Request};
use kvm_accel_kvm::lock;
use kvm_accel_kvm::run::{CoalescedRing, CoalescedWrite, IoAddress};
use std::cell::Cell;
use std::sync::{Mutex, MutexGuard, OnceLock, Weak};

/// The coalesced writes of one machine.
#[derive(Debug, Default)]
pub struct Coalesced {
    /// Set once a vCPU exists, because the ring is in a vCPU's mapping. Stays empty if the kernel has no ring.
    attached: OnceLock<Attached>,
    /// Held while writes are delivered, so that all of them arrive before another thread's access.
    pending: Mutex<Option<Request>>,
}

struct Attached {
    ring: CoalescedRing,
    bus: Weak<dyn Bus>,
}

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attached").field("ring", &self.ring).finish_non_exhaustive()
    }
}

thread_local! {
    /// True while this thread delivers coalesced writes. A device that it calls then finds nothing to drain.
    static DRAINING: Cell<bool> = const { Cell::new(false) };
}

/// Resets [`DRAINING`] when it is dropped, also when a device panics.
struct Draining;

impl Draining {
    fn begin() -> Option<Self> {
        (!DRAINING.replace(true)).then(|| Self)
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        DRAINING.set(false);
    }
}

impl Coalesced {
    /// Connects the ring: from now on, writes drained from `ring` go to `bus`.
    pub fn attach(&self, ring: CoalescedRing, bus: Weak<dyn Bus>) {
        // A machine launches once. A second launch would pass the same ring.
        let _ = self.attached.set(Attached { ring, bus });
    }

    pub fn drain(&self) {
        let Some(Attached { ring, bus }) = self.attached.get() else { return };
        let (Some(_draining), Some(bus)) = (Draining::begin(), bus.upgrade()) else { return };
        let mut pending = self.lock();
        while let Some(entry) = ring.take() {
            let Some(write) = CoalescedWrite::parse(&entry) else { continue };
            let request = match write.address {
                IoAddress::Pio(port) => bus.pio_write(port, write.data()),
                IoAddress::Mmio(address) => bus.mmio_write(address, write.data()),
            };
            *pending = pending.or(request);
        }
    }

    pub fn take_request(&self) -> Option<Request> {
        // The thread that delivers writes takes their request when it has finished.
        if DRAINING.get() { None } else { self.lock().take() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Request>> {
        lock(&self.pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvm_accel_kvm::run::testing::Fabricated;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn entry(address: u64, len: u32, pio: u32, data: u64) -> [u8; CoalescedWrite::SIZE] {
        let words = [address.to_le_bytes(), (u64::from(len) | u64::from(pio) << 32).to_le_bytes(), data.to_le_bytes()];
        words.concat().try_into().unwrap()
    }

    #[test]
    fn test_parse_knows_ports_and_addresses() {
        let port = CoalescedWrite::parse(&entry(0x3f8, 2, 1, 0x1234)).unwrap();
        assert_eq!((port.address, port.data()), (IoAddress::Pio(0x3f8), &[0x34, 0x12][..]));
        let address = CoalescedWrite::parse(&entry(1 << 40, 8, 0, u64::MAX)).unwrap();
        assert_eq!((address.address, address.data()), (IoAddress::Mmio(1 << 40), &[0xff; 8][..]));
        for wrong in [entry(0, 0, 0, 0), entry(0, 9, 0, 0), entry(0x1_0000, 1, 1, 0)] {
            assert_eq!(CoalescedWrite::parse(&wrong), None);
        }
    }

    proptest! {
        #[test]
        fn test_any_entry_is_a_write_or_none(bytes in any::<[u8; CoalescedWrite::SIZE]>()) {
            if let Some(write) = CoalescedWrite::parse(&bytes) {
                prop_assert!((1..=8).contains(&write.data().len()));
            }
        }
    }

    /// A device that drains again while it handles a write, as a device on the bus does.
    #[derive(Default)]
    struct Nested {
        coalesced: OnceLock<Arc<Coalesced>>,
        written: Mutex<Vec<(u64, u8)>>,
    }

    impl Bus for Nested {
        fn pio_read(&self, _: u16, _: &mut [u8]) {}
        fn pio_write(&self, port: u16, data: &[u8]) -> Option<Request> {
            self.mmio_write(port.into(), data)
        }
        fn mmio_read(&self, _: u64, _: &mut [u8]) {}
        fn mmio_write(&self, address: u64, data: &[u8]) -> Option<Request> {
            let coalesced = self.coalesced.get().unwrap();
            coalesced.drain();
            assert_eq!(coalesced.take_request(), None);
            self.written.lock().unwrap().push((address, data[0]));
            assert_ne!(data[0], 0xee, "a device that fails");
            (data[0] == 0x99).then_some(Request::Reset)
        }
        fn interrupt(&self) {}
        fn resume(&self) {}
    }

    fn attached() -> (Fabricated, Arc<Coalesced>, Arc<Nested>) {
        let (ring, coalesced, bus) =
            (Fabricated::new().unwrap(), Arc::new(Coalesced::default()), Arc::new(Nested::default()));
        bus.coalesced.set(Arc::clone(&coalesced)).unwrap();
        let weak: Weak<dyn Bus> = Arc::downgrade(&(Arc::clone(&bus) as Arc<dyn Bus>));
        coalesced.attach(ring.ring(), weak);
        (ring, coalesced, bus)
    }

    #[test]
    fn test_writes_arrive_in_order_and_their_request_is_kept() {
        let (ring, coalesced, bus) = attached();
        for n in 0..3 {
            ring.push(&entry(0x10 + n, 1, 1, 0x98 + n));
        }
        coalesced.drain();
        assert_eq!(*bus.written.lock().unwrap(), [(0x10, 0x98), (0x11, 0x99), (0x12, 0x9a)]);
        assert_eq!((coalesced.take_request(), coalesced.take_request()), (Some(Request::Reset), None));
    }

    #[test]
    fn test_a_failing_device_loses_its_write_and_no_other() {
        let (ring, coalesced, bus) = attached();
        for byte in [1, 0xee, 2] {
            ring.push(&entry(0x10, 1, 0, byte));
        }
        let drain = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| coalesced.drain()));
        assert!(drain().is_err() && drain().is_ok());
        assert_eq!(*bus.written.lock().unwrap(), [(0x10, 1), (0x10, 0xee), (0x10, 2)]);
    }

    #[test]
    fn test_threads_that_drain_at_once_pass_each_write_on_once_and_in_order() {
        let (ring, coalesced, bus) = attached();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        coalesced.drain();
                    }
                });
            }
            for n in 0..500 {
                while !ring.push(&entry(n, 1, 0, 0)) {
                    std::thread::yield_now();
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        coalesced.drain();
        let addresses: Vec<_> = bus.written.lock().unwrap().iter().map(|(address, _)| *address).collect();
        assert_eq!(addresses, (0..500).collect::<Vec<_>>());
    }
}
