//! Implements the control thread's [`Machine`] with a board.

use super::direct::DirectAccess;
use crate::vmm::Built;
use crate::{Command, DeviceClaim, Event, Failure, Machine, Outbox, Policy, Reply, Sender};
use kvm_accel::cancel::Cancel;
use kvm_accel::{Error, Warning};
use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::board::Board;
use kvm_accel_machine::bus::AddressSpace;
use kvm_accel_machine::devices::Delegated;
use std::sync::Arc;
use std::time::Instant;

/// Bytes of guest memory that are copied between two checks for cancellation.
const PIECE: u64 = 1 << 20;
/// The most bytes that one command reads.
const MOST_BYTES: u64 = 1 << 30;

/// A board, and the callers' direct access to it.
pub struct BoardMachine {
    board: Board,
    direct: Arc<DirectAccess>,
    outbox: Arc<Outbox>,
}

impl BoardMachine {
    /// Takes ownership of a board that has not run.
    #[must_use]
    pub fn new(
        mut board: Board,
        policy: Policy,
        warnings: Vec<Warning>,
        sender: &Sender,
        direct: Arc<DirectAccess>,
        outbox: Arc<Outbox>,
    ) -> Built<Self> {
        direct.attach(&mut board);
        let ender = board.vcpus().ender();
        sender.on_end(move || ender.end());
        let reply = Reply::Created { notify: board.notify(), debug: board.vcpus().supports_guest_debug() };
        Built { machine: Self { board, direct, outbox }, policy, reply, warnings }
    }

    fn add_device(&mut self, claim: DeviceClaim) -> Result<Reply, Failure> {
        let DeviceClaim { name, pio, base, len, irq, worker } = claim;
        let space = if pio { AddressSpace::Ports } else { AddressSpace::Memory };
        let index = self.direct.next_device();
        let device = Arc::new(if worker {
            Delegated::pulled()
        } else {
            let (accesses, resets) = (Arc::clone(&self.outbox), Arc::clone(&self.outbox));
            Delegated::pushing(
                Box::new(move |access| accesses.emit(Event::DeviceAccess { device: index, access })),
                Box::new(move || resets.emit(Event::DeviceReset { device: index })),
            )
        });
        self.board.add_device(space, name, base, len, irq, Arc::clone(&device))?;
        self.direct.add_device(device);
        Ok(Reply::Device(index))
    }

    fn read_memory(&self, vcpu: Option<u32>, address: u64, length: u64, cancel: &Cancel) -> Result<Reply, Failure> {
        if length > MOST_BYTES {
            let message =
                format!("cannot read {length} bytes of guest memory: expected at most {MOST_BYTES} bytes in one read");
            return Err(MachineConfigError::new("length", message, "Read in several pieces.").into());
        }
        let mut bytes = Vec::new();
        let reserved = usize::try_from(length).is_ok_and(|length| bytes.try_reserve_exact(length).is_ok());
        if !reserved {
            let message = format!("cannot read {length} bytes of guest memory: the host is out of memory");
            return Err(MachineConfigError::new("length", message, "Read in several pieces.").into());
        }
        for (at, piece) in pieces(address, length) {
            cancel.check()?;
            bytes.extend(self.board.vcpus().read_memory(vcpu, at, piece)?);
        }
        Ok(Reply::Memory(bytes))
    }

    fn write_memory(&self, vcpu: Option<u32>, address: u64, bytes: &[u8], cancel: &Cancel) -> Result<(), Failure> {
        let mut rest = bytes;
        for (at, piece) in pieces(address, bytes.len() as u64) {
            cancel.check()?;
            let (now, later) = rest.split_at(piece.min(rest.len()));
            self.board.vcpus().write_memory(vcpu, at, now.to_vec())?;
            rest = later;
        }
        Ok(())
    }
}

/// Splits a range into pieces, as addresses and lengths. An address beyond 2^64 wraps around, to addresses that have no RAM.
fn pieces(address: u64, length: u64) -> impl Iterator<Item = (u64, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let piece = (length - done).min(PIECE);
        let at = address.wrapping_add(done);
        done += piece;
        (piece > 0).then(|| (at, usize::try_from(piece).unwrap_or(0)))
    })
}

fn done(result: Result<(), Error>) -> Result<Reply, Failure> {
    Ok(result.map(|()| Reply::Done)?)
}

impl Machine for BoardMachine {
    fn resume(&self) {
        self.board.resume();
    }

    fn prepare_step(&self, vcpu: u32) -> Result<(), Failure> {
        Ok(self.board.vcpus().prepare_step(vcpu)?)
    }

    fn resume_only(&self, vcpu: u32) {
        self.board.vcpus().resume_only(vcpu);
    }

    fn pause(&self) {
        // If the vCPUs have left the guest already, the reason is in the inbox.
        let _ = self.board.pause();
    }

    fn running_vcpus(&self) -> Vec<usize> {
        self.board.vcpus().unparked().into_iter().map(|unparked| unparked.vcpu).collect()
    }

    fn quiesce(&self, deadline: Instant) -> Result<(), Failure> {
        Ok(self.board.quiesce(deadline)?)
    }

    fn reset(&mut self, cancel: &Cancel) -> Result<(), Failure> {
        Ok(self.board.reset(cancel)?)
    }

    fn wake(&mut self, cancel: &Cancel) -> Result<(), Failure> {
        Ok(self.board.wake(cancel)?)
    }

    fn perform(&mut self, command: Command, cancel: &Cancel) -> Result<Reply, Failure> {
        let vcpus = self.board.vcpus();
        match command {
            Command::InjectNmi => {
                self.board.inject_nmi();
                Ok(Reply::Done)
            }
            Command::InjectNotify { vcpu, context_invalid } => {
                Ok(Reply::Injected(self.board.inject_notify(vcpu, context_invalid)))
            }
            Command::VcpuState { vcpu, .. } => Ok(Reply::VcpuState(Box::new(self.board.vcpu_state(vcpu)?))),
            Command::SetVcpuState { vcpu, state } => {
                self.board.set_vcpu_state(vcpu, *state)?;
                Ok(Reply::Done)
            }
            Command::InsertBreakpoint { vcpu, breakpoint } => done(vcpus.insert_breakpoint(vcpu, breakpoint)),
            Command::RemoveBreakpoint { vcpu, breakpoint } => done(vcpus.remove_breakpoint(vcpu, breakpoint)),
            Command::ClearBreakpoints => done(vcpus.clear_breakpoints()),
            Command::ReadMemory { vcpu, address, length } => self.read_memory(vcpu, address, length, cancel),
            Command::WriteMemory { vcpu, address, bytes } => {
                self.write_memory(vcpu, address, &bytes, cancel).map(|()| Reply::Done)
            }
            Command::AddDevice(claim) => self.add_device(claim),
            Command::ReadDeviceMemory { address, length } => self.read_memory(None, address, length, cancel),
            Command::WriteDeviceMemory { address, bytes } => {
                self.write_memory(None, address, &bytes, cancel).map(|()| Reply::Done)
            }
            Command::StartDirtyLog => done(self.board.dirty_log().start()),
            Command::StopDirtyLog => done(self.board.dirty_log().stop()),
            Command::TakeDirtyPages => {
                let pages = self.board.dirty_log().take()?;
                Ok(Reply::DirtyPages(pages.ranges().map(|range| (range.start, range.end - range.start)).collect()))
            }
            Command::DirtyTotals => Ok(Reply::DirtyTotals(self.board.dirty_log().vcpu_totals()?)),
            // The control thread executes these commands itself and does not pass them on.
            Command::Start | Command::Resume | Command::Pause | Command::Reset | Command::Step { .. } => {
                Ok(Reply::Done)
            }
        }
    }

    fn end(&mut self) {
        self.board.end();
        self.direct.close();
    }
}
