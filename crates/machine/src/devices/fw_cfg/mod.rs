//! QEMU's firmware configuration device: items that a guest selects, and reads byte by byte or copies to its memory
//! (QEMU's docs/specs/fw_cfg).
//!
//! - `items`: the items, as a value.
//! - `transfer`: one DMA transfer to guest memory, in slices.
//!
//! This file implements the registers. A guest can request a DMA transfer of 4 GiB. Its vCPU's thread copies without a
//! lock and checks a flag between slices. When the machine stops, the thread keeps the rest of the transfer, and
//! completes it before its vCPU enters the guest again. A driver sees no difference: its transfer is complete when the
//! write to the DMA address returns, as in QEMU.

mod items;
mod transfer;

pub use items::{FwCfgItems, MAX_FILE_NAME, key};

use crate::bus::BusDevice;
use kvm_accel::lock;
use kvm_accel::{GuestRam, Request};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread::{self, ThreadId};
use transfer::{Progress, Transfer};
use vm_memory::{Bytes, GuestAddress};

/// The first port: the selector.
pub const FW_CFG_BASE: u16 = 0x510;
/// The number of ports, up to the end of the DMA address.
pub const FW_CFG_PORTS: u32 = 12;

const SELECTOR: u64 = 0;
const DATA: u64 = 1;
const DMA_HIGH: u64 = 4;
const DMA_LOW: u64 = 8;

/// The value that the DMA address reads as, big-endian. A guest reads it to detect the DMA interface.
const DMA_SIGNATURE: [u8; 8] = *b"QEMU CFG";

/// Bits of a transfer's control word. Its upper half is the selector.
const CONTROL_ERROR: u32 = 1;
const CONTROL_READ: u32 = 1 << 1;
const CONTROL_SKIP: u32 = 1 << 2;
const CONTROL_SELECT: u32 = 1 << 3;
const CONTROL_WRITE: u32 = 1 << 4;

/// The size of a transfer's description in guest memory: control, length, address.
const TRANSFER_SIZE: usize = 16;

/// The device. Items do not change, and guests cannot write them.
#[derive(Debug)]
pub struct FwCfg {
    items: FwCfgItems,
    ram: GuestRam,
    state: Mutex<State>,
    /// Set while the machine stops: a transfer is kept after the slice in progress.
    interrupted: AtomicBool,
    /// Interrupted transfers, and the vCPU threads that have begun them. At most one for each thread.
    kept: Mutex<Vec<(ThreadId, Transfer)>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    selected: u16,
    /// Offset in the selected item; may be beyond its end.
    offset: u64,
    dma_high: u32,
}

impl FwCfg {
    /// Creates a device with these items. It copies them to `ram` at the guest's request.
    #[must_use]
    pub fn new(items: FwCfgItems, ram: GuestRam) -> Self {
        Self { items, ram, state: Mutex::default(), interrupted: AtomicBool::new(false), kept: Mutex::default() }
    }

    /// Resets the registers and drops interrupted transfers.
    pub fn reset(&self) {
        *self.state() = State::default();
        self.kept().clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(ThreadId, Transfer)>> {
        lock(&self.kept)
    }

    /// Returns the next byte of the selected item, or zero beyond its end.
    fn next(&self) -> u8 {
        let mut state = self.state();
        let at = state.advance(1);
        let item = self.items.get(state.selected).unwrap_or_default();
        usize::try_from(at).ok().and_then(|at| item.get(at)).copied().unwrap_or(0)
    }

    /// Reads the transfer's description at `address`, and carries the transfer out until the machine stops.
    fn begin(&self, address: u64) {
        let mut description = [0; TRANSFER_SIZE];
        if self.ram.read_slice(&mut description, GuestAddress(address)).is_err() {
            return; // There is no control word to report the error in.
        }
        let [c0, c1, c2, c3, l0, l1, l2, l3, target @ ..] = description;
        let control = u32::from_be_bytes([c0, c1, c2, c3]);
        let len = u64::from(u32::from_be_bytes([l0, l1, l2, l3]));
        let mut state = self.state();
        if control & CONTROL_SELECT != 0 {
            (state.selected, state.offset) = (u16::from_be_bytes([c0, c1]), 0);
        }
        if control & CONTROL_READ != 0 {
            let (selector, offset) = (state.selected, state.advance(len));
            drop(state);
            self.carry_out(Transfer::new(address, selector, offset, u64::from_be_bytes(target), len));
        } else if control & CONTROL_WRITE != 0 {
            self.answer(address, CONTROL_ERROR);
        } else {
            if control & CONTROL_SKIP != 0 {
                state.advance(len);
            }
            self.answer(address, 0);
        }
    }

    /// Copies slice after slice, without a lock. When the machine stops, keeps the rest of the transfer.
    fn carry_out(&self, mut transfer: Transfer) {
        let item = self.items.get(transfer.selector()).unwrap_or_default();
        loop {
            if self.interrupted.load(Ordering::Acquire) {
                return self.kept().push((thread::current().id(), transfer));
            }
            match transfer.copy_slice(item, &self.ram) {
                Progress::More => {}
                Progress::Complete => return self.answer(transfer.address(), 0),
                Progress::Failed => return self.answer(transfer.address(), CONTROL_ERROR),
            }
        }
    }

    /// Writes a transfer's result to its control word in guest memory.
    fn answer(&self, address: u64, result: u32) {
        // Succeeds, because the control word was read from the same address.
        let _ = self.ram.write_slice(&result.to_be_bytes(), GuestAddress(address));
    }
}

impl State {
    /// Advances by `len` bytes. Returns the offset before that.
    const fn advance(&mut self, len: u64) -> u64 {
        let before = self.offset;
        self.offset = before.saturating_add(len);
        before
    }
}

impl BusDevice for FwCfg {
    /// Reads the registers. Only the DMA address can be read in words; the others are read one byte at a time.
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        match (offset, data) {
            (SELECTOR | DATA, [byte]) => *byte = self.next(),
            (DMA_HIGH.., data) => {
                let signature = DMA_SIGNATURE.into_iter().skip(usize::try_from(offset - DMA_HIGH).unwrap_or(8));
                data.iter_mut().zip(signature).for_each(|(to, from)| *to = from);
            }
            _ => {}
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Request> {
        match (offset, data) {
            (SELECTOR, &[low, high]) => {
                let mut state = self.state();
                (state.selected, state.offset) = (u16::from_le_bytes([low, high]), 0);
            }
            (DMA_HIGH, &[b0, b1, b2, b3]) => self.state().dma_high = u32::from_be_bytes([b0, b1, b2, b3]),
            (DMA_LOW, &[b0, b1, b2, b3]) => {
                let high = std::mem::take(&mut self.state().dma_high);
                self.begin(u64::from(high) << 32 | u64::from(u32::from_be_bytes([b0, b1, b2, b3])));
            }
            _ => {}
        }
        None
    }

    fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Release);
    }

    fn resume(&self) {
        self.interrupted.store(false, Ordering::Release);
    }

    fn complete(&self) {
        let this = thread::current().id();
        let own = {
            let mut kept = self.kept();
            kept.iter().position(|(thread, _)| *thread == this).map(|at| kept.swap_remove(at).1)
        };
        if let Some(transfer) = own {
            self.carry_out(transfer);
        }
    }
}

#[cfg(test)]
mod tests;
