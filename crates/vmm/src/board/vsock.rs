//! Vsock streams that the caller opens.

use super::handle::BoardVmm;
use crate::{Event, Failure, FailureDetails};
use kvm_accel_machine::MachineConfigError;
use kvm_accel_machine::virtio::{Listener, Vsock, VsockError};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

impl From<VsockError> for Failure {
    fn from(error: VsockError) -> Self {
        FailureDetails {
            code: error.code().into(),
            message: error.to_string(),
            remedy: error.remedy().into(),
            problem: Some(error.problem().into()),
            ..FailureDetails::default()
        }
        .into()
    }
}

impl BoardVmm {
    fn vsock(&self) -> Result<Arc<Vsock>, Failure> {
        let vsock = self.direct().vsock().ok_or_else(|| {
            let message = "cannot use vsock: this machine has no vsock device";
            MachineConfigError::new("vsock", message, "Give option vsock, such as { cid: 3 }.")
        })?;
        Ok(vsock.upgrade().ok_or(VsockError::NotReady)?)
    }

    /// Connects to a port of the guest. [`Event::VsockConnected`] with this `id` reports the result.
    ///
    /// # Errors
    /// When the machine has no vsock device or has ended, and when the process has no file descriptors left.
    pub fn connect_vsock(&self, guest_port: u32, id: u32) -> Result<UnixStream, Failure> {
        let vsock = self.vsock()?;
        let (theirs, ours) = UnixStream::pair().map_err(|_| VsockError::TooMany)?;
        let outbox = Arc::clone(self.outbox());
        let done = move |result: Result<u32, VsockError>| {
            let (host_port, error) = match result {
                Ok(host_port) => (host_port, None),
                Err(error) => (0, Some(error.into())),
            };
            outbox.emit(Event::VsockConnected { id, host_port, error });
        };
        vsock.connect(guest_port, ours, Box::new(done));
        Ok(theirs)
    }

    /// Listens on a port of the host. [`Event::VsockConnection`] follows when there is a connection to accept.
    ///
    /// # Errors
    /// When the machine has no vsock device or has ended, and when the port already has a listener.
    pub fn listen_vsock(&self, host_port: u32, backlog: u32) -> Result<Listener, Failure> {
        let outbox = Arc::clone(self.outbox());
        let arrived = Box::new(move || outbox.emit(Event::VsockConnection { host_port }));
        Ok(self.vsock()?.listen(host_port, usize::try_from(backlog).unwrap_or(usize::MAX), arrived)?)
    }
}
