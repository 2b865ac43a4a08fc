//! Streams of the guest's AF_VSOCK: descriptors cross, their bytes do not.

use crate::error::BindingError;
use crate::machine::BindingMachine;
use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::virtio::{Vsock, VsockError};
use kvm_accel_vmm::{Event, Failure, FailureDetails};
use napi::bindgen_prelude::Either;
use napi_derive::napi;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// A stream; the caller owns its descriptor.
#[napi(object, object_from_js = false)]
pub struct BindingVsockStream {
    pub fd: i32,
    /// The guest's port.
    pub guest_port: u32,
}

/// Why there is nothing to connect to or to listen to.
enum Refusal {
    NoDevice,
    Vsock(VsockError),
}

impl From<VsockError> for Refusal {
    fn from(error: VsockError) -> Self {
        Self::Vsock(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoDevice => {
                let message = "this machine has no vsock device";
                MachineConfigError::new("vsock", message, "Give option vsock, such as { cid: 3 }.").into()
            }
            Refusal::Vsock(error) => FailureDetails {
                code: error.code().into(),
                message: error.to_string(),
                remedy: error.remedy().into(),
                problem: Some(error.problem().into()),
                ..FailureDetails::default()
            }
            .into(),
        }
    }
}

impl BindingMachine {
    fn vsock(&self) -> Result<Arc<Vsock>, Refusal> {
        let vsock = self.opened().virtio.vsock.clone().ok_or(Refusal::NoDevice)?;
        vsock.upgrade().ok_or(Refusal::Vsock(VsockError::NotReady))
    }

    fn connect_guest(&self, guest_port: u32, id: u32) -> Result<UnixStream, Refusal> {
        let vsock = self.vsock()?;
        let (theirs, ours) = UnixStream::pair().map_err(|_| VsockError::TooMany)?;
        let outbox = Arc::clone(&self.outbox);
        let done = move |result: Result<u32, VsockError>| {
            let (host_port, error) = match result {
                Ok(host_port) => (host_port, None),
                Err(error) => (0, Some(Refusal::from(error).into())),
            };
            outbox.emit(Event::VsockConnected { id, host_port, error });
        };
        vsock.connect(guest_port, ours, Box::new(done));
        Ok(theirs)
    }

    fn listen_host(&mut self, host_port: u32, backlog: u32) -> Result<(), Refusal> {
        let outbox = Arc::clone(&self.outbox);
        let arrived = Box::new(move || outbox.emit(Event::VsockConnection { host_port }));
        let backlog = usize::try_from(backlog).unwrap_or(usize::MAX);
        let listener = self.vsock()?.listen(host_port, backlog, arrived)?;
        self.listeners.insert(host_port, listener);
        Ok(())
    }
}

#[napi]
impl BindingMachine {
    /// Connects to a port of the guest; a `vsock-connected` event with this `id` tells what became of it.
    #[napi]
    pub fn connect_vsock(&self, guest_port: u32, id: u32) -> Either<BindingVsockStream, BindingError> {
        match self.connect_guest(guest_port, id) {
            Ok(socket) => Either::A(BindingVsockStream { fd: socket.into_raw_fd(), guest_port }),
            Err(refusal) => Either::B(Failure::from(refusal).into()),
        }
    }

    /// Listens to a port of the host; a `vsock-connection` event tells that there is something to accept.
    #[napi]
    pub fn listen_vsock(&mut self, host_port: u32, backlog: u32) -> Option<BindingError> {
        self.listen_host(host_port, backlog).err().map(|refusal| Failure::from(refusal).into())
    }

    /// The next connection to a port that is listened to.
    #[napi]
    pub fn accept_vsock(&self, host_port: u32) -> Option<BindingVsockStream> {
        let accepted = self.listeners.get(&host_port)?.accept()?;
        Some(BindingVsockStream { fd: accepted.socket.into_raw_fd(), guest_port: accepted.port })
    }

    /// Listens no more.
    #[napi]
    pub fn unlisten_vsock(&mut self, host_port: u32) {
        self.listeners.remove(&host_port);
    }
}
