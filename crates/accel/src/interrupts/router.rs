//! The routing table in the kernel. Setting it replaces all of it and waits for the interrupts on their way, so changes are
//! collected and given to the kernel at once, and only when something is different.

use super::routing::{RoutingError, RoutingTable};
use crate::{Error, Result};
use kvm_accel_kvm::Error as KvmError;
use kvm_accel_kvm::fd::IrqCalls;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The table that the kernel has.
#[derive(Debug)]
pub struct Router(Mutex<RoutingTable>);

impl Router {
    /// Gives the kernel its first table.
    pub fn new(calls: &IrqCalls, table: RoutingTable) -> Result<Self> {
        if !table.entries().is_empty() {
            calls.set_gsi_routing(table.entries())?;
        }
        Ok(Self(Mutex::new(table)))
    }

    pub fn change<'a>(&'a self, calls: &'a IrqCalls) -> RouteChanges<'a> {
        let current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        RouteChanges { calls, table: current.clone(), current }
    }
}

/// Changes to the routing table on their way: a table like any other until [`RouteChanges::commit`]. Dropped without it, nothing
/// has changed.
#[derive(Debug)]
pub struct RouteChanges<'a> {
    calls: &'a IrqCalls,
    current: MutexGuard<'a, RoutingTable>,
    table: RoutingTable,
}

impl RouteChanges<'_> {
    /// KVM_SET_GSI_ROUTING, if any route is different.
    ///
    /// # Errors
    /// [`Error::Kvm`] when the kernel refuses; it keeps the table it has.
    pub fn commit(mut self) -> Result<()> {
        if self.table.entries() != self.current.entries() {
            self.calls.set_gsi_routing(self.table.entries())?;
        }
        *self.current = self.table;
        Ok(())
    }
}

impl Deref for RouteChanges<'_> {
    type Target = RoutingTable;

    fn deref(&self) -> &RoutingTable {
        &self.table
    }
}

impl DerefMut for RouteChanges<'_> {
    fn deref_mut(&mut self) -> &mut RoutingTable {
        &mut self.table
    }
}

impl From<RoutingError> for Error {
    /// With the error numbers that QEMU answers: ENOSPC and ESRCH.
    fn from(error: RoutingError) -> Self {
        let errno = match error {
            RoutingError::Full(_) => libc::ENOSPC,
            RoutingError::Unknown(_) => libc::ESRCH,
        };
        KvmError::Ioctl { ioctl: "KVM_SET_GSI_ROUTING", context: error.to_string(), errno }.into()
    }
}
