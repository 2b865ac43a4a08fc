//! QEMU's firmware configuration device: items behind a selector, read byte by byte or copied to guest memory (QEMU's docs/specs/fw_cfg).
//!
//! - `items`: what there is to read, as a value. Here: the registers.

mod items;

pub use items::{FwCfgItems, MAX_FILE_NAME, key};

use crate::bus::BusDevice;
use kvm_accel::{GuestRam, Request};
use std::sync::{Mutex, MutexGuard, PoisonError};
use vm_memory::{Bytes, GuestAddress};

/// The first port: the selector.
pub const FW_CFG_BASE: u16 = 0x510;
/// The number of ports, up to the end of the DMA address.
pub const FW_CFG_PORTS: u32 = 12;

const SELECTOR: u64 = 0;
const DATA: u64 = 1;
const DMA_HIGH: u64 = 4;
const DMA_LOW: u64 = 8;

/// What the DMA address reads as, big-endian: how a guest knows that there is one.
const DMA_SIGNATURE: [u8; 8] = *b"QEMU CFG";

/// Bits of a transfer's control word; the selector is in its upper half.
const CONTROL_ERROR: u32 = 1;
const CONTROL_READ: u32 = 1 << 1;
const CONTROL_SKIP: u32 = 1 << 2;
const CONTROL_SELECT: u32 = 1 << 3;
const CONTROL_WRITE: u32 = 1 << 4;

/// A transfer's description in guest memory: control, length, address.
const TRANSFER_SIZE: usize = 16;
/// How much of the zeroes behind an item is written at once.
const CHUNK: usize = 4 << 10;

/// The device. Items do not change, and a guest cannot write them.
#[derive(Debug)]
pub struct FwCfg {
    items: FwCfgItems,
    ram: GuestRam,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    selected: u16,
    /// In the selected item; may be beyond its end.
    offset: u64,
    dma_high: u32,
}

impl FwCfg {
    /// A device with these items, which copies them to `ram` where it is told.
    #[must_use]
    pub fn new(items: FwCfgItems, ram: GuestRam) -> Self {
        Self { items, ram, state: Mutex::default() }
    }

    /// The machine is reset.
    pub fn reset(&self) {
        *self.state() = State::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next bytes of the selected item; behind its end there are zeroes, which are not in the answer.
    fn next(&self, state: &mut State, len: u64) -> &[u8] {
        let rest = usize::try_from(state.offset)
            .ok()
            .and_then(|offset| self.items.get(state.selected)?.get(offset..))
            .unwrap_or_default();
        state.offset = state.offset.saturating_add(len);
        usize::try_from(len).ok().and_then(|len| rest.get(..len)).unwrap_or(rest)
    }

    /// Carries out the transfer that is described at `address`, and writes there how it went.
    fn transfer(&self, state: &mut State, address: u64) {
        let mut description = [0; TRANSFER_SIZE];
        if self.ram.read_slice(&mut description, GuestAddress(address)).is_err() {
            return; // Nowhere to say so.
        }
        let [c0, c1, c2, c3, l0, l1, l2, l3, target @ ..] = description;
        let control = u32::from_be_bytes([c0, c1, c2, c3]);
        let len = u32::from_be_bytes([l0, l1, l2, l3]);
        if control & CONTROL_SELECT != 0 {
            (state.selected, state.offset) = (u16::from_be_bytes([c0, c1]), 0);
        }
        let done = if control & CONTROL_READ != 0 {
            self.copy(state, u64::from_be_bytes(target), len.into())
        } else if control & CONTROL_WRITE != 0 {
            None
        } else {
            if control & CONTROL_SKIP != 0 {
                self.next(state, len.into());
            }
            Some(())
        };
        let result = if done.is_some() { 0 } else { CONTROL_ERROR };
        // It was just read from there.
        let _ = self.ram.write_slice(&result.to_be_bytes(), GuestAddress(address));
    }

    /// Copies the next `len` bytes to guest memory; nothing when that is not memory.
    fn copy(&self, state: &mut State, mut target: u64, len: u64) -> Option<()> {
        let bytes = self.next(state, len);
        self.ram.write_slice(bytes, GuestAddress(target)).ok()?;
        target = target.checked_add(bytes.len() as u64)?;
        let end = target.checked_add(len - bytes.len() as u64)?;
        while target < end {
            let piece = usize::try_from(end - target).map_or(CHUNK, |left| left.min(CHUNK));
            self.ram.write_slice(&[0; CHUNK][..piece], GuestAddress(target)).ok()?;
            target += piece as u64;
        }
        Some(())
    }
}

impl BusDevice for FwCfg {
    /// Only the DMA address can be read in words; of anything else there is a byte at a time.
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        match (offset, data) {
            (SELECTOR | DATA, [byte]) => *byte = self.next(&mut self.state(), 1).first().copied().unwrap_or(0),
            (DMA_HIGH.., data) => {
                let signature = DMA_SIGNATURE.into_iter().skip(usize::try_from(offset - DMA_HIGH).unwrap_or(8));
                data.iter_mut().zip(signature).for_each(|(to, from)| *to = from);
            }
            _ => {}
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Option<Request> {
        let mut state = self.state();
        match (offset, data) {
            (SELECTOR, &[low, high]) => {
                (state.selected, state.offset) = (u16::from_le_bytes([low, high]), 0);
            }
            (DMA_HIGH, &[b0, b1, b2, b3]) => state.dma_high = u32::from_be_bytes([b0, b1, b2, b3]),
            (DMA_LOW, &[b0, b1, b2, b3]) => {
                let high = std::mem::take(&mut state.dma_high);
                let address = u64::from(high) << 32 | u64::from(u32::from_be_bytes([b0, b1, b2, b3]));
                self.transfer(&mut state, address);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests;
