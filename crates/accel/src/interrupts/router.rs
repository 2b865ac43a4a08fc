//! The routing table in the kernel. Setting it replaces the whole table and waits for interrupts in delivery. So
//! changes are collected and passed to the kernel in one call, and only if the table differs.

use super::routing::{RoutingError, RoutingTable};
use crate::{Error, Result};
use kvm_accel_kvm::Error as KvmError;
use kvm_accel_kvm::fd::IrqCalls;
use kvm_accel_kvm::lock;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard};

/// The table that the kernel uses.
#[derive(Debug)]
pub struct Router(Mutex<RoutingTable>);

impl Router {
    /// Sets the kernel's first table.
    pub fn new(calls: &IrqCalls, table: RoutingTable) -> Result<Self> {
        if !table.entries().is_empty() {
            calls.set_gsi_routing(table.entries())?;
        }
        Ok(Self(Mutex::new(table)))
    }

    pub fn change<'a>(&'a self, calls: &'a IrqCalls) -> RouteChanges<'a> {
        let current = lock(&self.0);
        RouteChanges { calls, table: current.clone(), current }
    }
}

/// A transaction on the routing table. It dereferences to a table, which [`RouteChanges::commit`] passes to the kernel.
/// Dropping it without a commit changes nothing.
#[derive(Debug)]
pub struct RouteChanges<'a> {
    calls: &'a IrqCalls,
    current: MutexGuard<'a, RoutingTable>,
    table: RoutingTable,
}

impl RouteChanges<'_> {
    /// Calls KVM_SET_GSI_ROUTING, if any route differs.
    ///
    /// # Errors
    /// [`Error::Kvm`] when the ioctl fails. The kernel keeps its current table then.
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
    /// Converts to QEMU's error numbers: ENOSPC and ESRCH.
    fn from(error: RoutingError) -> Self {
        let errno = match error {
            RoutingError::Full(_) => libc::ENOSPC,
            RoutingError::Unknown(_) => libc::ESRCH,
        };
        KvmError::Ioctl { ioctl: "KVM_SET_GSI_ROUTING", context: error.to_string(), errno }.into()
    }
}
