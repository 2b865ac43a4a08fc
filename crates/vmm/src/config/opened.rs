//! Streams and devices that the control thread opens for the caller while it builds the machine.

use kvm_accel::Warning;
use kvm_accel_machine::virtio::console::Console;
use kvm_accel_machine::virtio::{Balloon, Block, Vsock};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};

/// The caller's ends of streams, until the caller takes them, and the devices that the caller accesses. The devices are dropped with the
/// machine.
#[derive(Default)]
pub struct Opened {
    /// By number of the serial port. COM1 is 0 and the debug console is 4.
    streams: HashMap<u32, OwnedFd>,
    /// By number of the console port.
    console_ends: Vec<Option<UnixStream>>,
    console: Option<Weak<Console>>,
    balloon: Option<Weak<Balloon>>,
    vsock: Option<Weak<Vsock>>,
    /// What the user should know about the files that were opened.
    pub warnings: Vec<Warning>,
}

impl Opened {
    pub fn stream(&mut self, port: u32, end: OwnedFd) {
        self.streams.insert(port, end);
    }

    pub fn disk(&mut self, disk: Block) -> Arc<Block> {
        self.warnings.extend_from_slice(disk.warnings());
        Arc::new(disk)
    }

    pub fn console(&mut self, console: Console, ends: Vec<UnixStream>) -> Arc<Console> {
        let console = Arc::new(console);
        self.console = Some(Arc::downgrade(&console));
        self.console_ends = ends.into_iter().map(Some).collect();
        console
    }

    pub fn balloon(&mut self, balloon: Balloon) -> Arc<Balloon> {
        let balloon = Arc::new(balloon);
        self.balloon = Some(Arc::downgrade(&balloon));
        balloon
    }

    pub fn vsock(&mut self, vsock: Vsock) -> Arc<Vsock> {
        let vsock = Arc::new(vsock);
        self.vsock = Some(Arc::downgrade(&vsock));
        vsock
    }

    /// Returns the balloon. `None` if the machine has no balloon or has ended.
    pub fn find_balloon(&self) -> Option<Arc<Balloon>> {
        self.balloon.as_ref()?.upgrade()
    }

    /// Returns the console. `None` if the machine has no console or has ended.
    pub fn find_console(&self) -> Option<Arc<Console>> {
        self.console.as_ref()?.upgrade()
    }

    /// Returns the vsock device. `None` if the machine has none. Upgrading the reference fails once the machine has ended.
    pub fn find_vsock(&self) -> Option<Weak<Vsock>> {
        self.vsock.clone()
    }

    pub fn take_stream(&mut self, port: u32) -> Option<OwnedFd> {
        self.streams.remove(&port)
    }

    pub fn take_console_end(&mut self, port: usize) -> Option<UnixStream> {
        self.console_ends.get_mut(port)?.take()
    }

    /// Closes the ends that the caller has not taken.
    pub fn close_ends(&mut self) {
        self.streams.clear();
        self.console_ends.clear();
    }
}
