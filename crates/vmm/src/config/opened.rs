//! What the control thread opened for the caller while it built the machine.

use kvm_accel_machine::virtio::console::Console;
use kvm_accel_machine::virtio::{Balloon, Vsock};
use std::collections::HashMap;
use std::io::PipeReader;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};

/// The caller's ends of streams, until the caller takes them, and the devices that it talks to. The devices end with the machine.
#[derive(Default)]
pub struct Opened {
    /// By serial port, COM1 being 0 and the debug console 4.
    streams: HashMap<u32, PipeReader>,
    /// By console port.
    console_ends: Vec<Option<UnixStream>>,
    console: Option<Weak<Console>>,
    balloon: Option<Weak<Balloon>>,
    vsock: Option<Weak<Vsock>>,
}

impl Opened {
    pub fn stream(&mut self, port: u32, end: PipeReader) {
        self.streams.insert(port, end);
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

    /// None without one, and when the machine has ended.
    pub fn find_balloon(&self) -> Option<Arc<Balloon>> {
        self.balloon.as_ref()?.upgrade()
    }

    /// None without one, and when the machine has ended.
    pub fn find_console(&self) -> Option<Arc<Console>> {
        self.console.as_ref()?.upgrade()
    }

    /// None without one. A device whose machine has ended cannot be upgraded.
    pub fn find_vsock(&self) -> Option<Weak<Vsock>> {
        self.vsock.clone()
    }

    pub fn take_stream(&mut self, port: u32) -> Option<PipeReader> {
        self.streams.remove(&port)
    }

    pub fn take_console_end(&mut self, port: usize) -> Option<UnixStream> {
        self.console_ends.get_mut(port)?.take()
    }

    /// Closes the ends that the caller did not take.
    pub fn close_ends(&mut self) {
        self.streams.clear();
        self.console_ends.clear();
    }
}
