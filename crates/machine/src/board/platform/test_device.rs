//! QEMU's `pc-testdev`.

use super::{PlatformDevice, Slot};
use crate::board::BoardError;
use crate::devices::{
    TEST_BYTE_LATCH_BASE, TEST_FLUSH_BASE, TEST_LATCH_BASE, TEST_LATCH_PORTS, TEST_LINES_BASE, TEST_LINES_PORTS,
    TEST_MEMORY_BASE, TEST_MEMORY_SIZE, TestFlush, TestLatch, TestLines,
};
use std::sync::Arc;

/// The devices of `pc-testdev`, which kvm-unit-tests use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TestDevices;

impl PlatformDevice for TestDevices {
    fn attach(self: Box<Self>, slot: &mut Slot<'_>) -> Result<(), BoardError> {
        const OWNER: &str = "pc-testdev";
        let latch = Arc::new(TestLatch::new(TEST_LATCH_PORTS as usize));
        let memory = TestLatch::new(TEST_MEMORY_SIZE as usize);
        let ram = slot.ram.clone();
        let lines = slot.lines.levels();
        slot.ports(OWNER, TEST_LATCH_BASE, TEST_LATCH_PORTS, Arc::clone(&latch) as _);
        slot.ports(OWNER, TEST_FLUSH_BASE, TEST_LATCH_PORTS, Arc::new(TestFlush(move |address| ram.flush(address))));
        slot.ports(OWNER, TEST_BYTE_LATCH_BASE, TEST_LATCH_PORTS, latch);
        slot.ports(OWNER, TEST_LINES_BASE, TEST_LINES_PORTS, Arc::new(TestLines(lines)));
        slot.memory(OWNER, TEST_MEMORY_BASE, TEST_MEMORY_SIZE.into(), Arc::new(memory));
        Ok(())
    }
}
