//! The list of breakpoints, following QEMU's rules.

use serde::{Deserialize, Serialize};
use std::fmt;

/// `int3`.
const INT3: u8 = 0xcc;
/// Number of breakpoint registers of the processor.
const MAX_HARDWARE: usize = 4;

/// The kind of a breakpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BreakpointKind {
    /// An `int3` in the guest's memory. Their number is unlimited.
    Software,
    /// A breakpoint register for execution.
    Hardware,
    /// A breakpoint register for stores.
    Write,
    /// A breakpoint register for loads and stores.
    Access,
}

impl BreakpointKind {
    /// Returns the name that users see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::Hardware => "hardware",
            Self::Write => "write",
            Self::Access => "access",
        }
    }

    /// Returns the kind with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Software, Self::Hardware, Self::Write, Self::Access].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// One breakpoint or watchpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breakpoint {
    /// The kind.
    pub kind: BreakpointKind,
    /// Linear address.
    pub address: u64,
    /// Bytes that a watchpoint covers: 1, 2, 4 or 8. 1 for breakpoints.
    pub length: u64,
}

impl fmt::Display for Breakpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_watchpoint() { "watchpoint" } else { "breakpoint" };
        write!(f, "{} {what} at {:#x}", self.kind.as_str(), self.address)
    }
}

impl Breakpoint {
    const fn is_watchpoint(&self) -> bool {
        matches!(self.kind, BreakpointKind::Write | BreakpointKind::Access)
    }

    /// Sets the length of an execute breakpoint to one byte, whatever the caller requested.
    const fn normal(self) -> Self {
        if self.is_watchpoint() { self } else { Self { length: 1, ..self } }
    }
}

/// Why setting or removing a breakpoint fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakpointProblem {
    /// The same breakpoint already exists.
    Exists,
    /// All four registers are in use.
    TooMany,
    /// A watchpoint that is not 1, 2, 4 or 8 bytes long.
    Length,
    /// A watchpoint whose address is not a multiple of its length.
    Alignment,
    /// The breakpoint does not exist.
    Unknown,
    /// Its address is not in the guest's memory.
    Unreachable,
    /// The processor does not support this kind.
    Unsupported,
}

impl BreakpointProblem {
    /// Returns the stable name, the same in Rust and TypeScript.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::TooMany => "too-many",
            Self::Length => "length",
            Self::Alignment => "alignment",
            Self::Unknown => "unknown",
            Self::Unreachable => "unreachable",
            Self::Unsupported => "unsupported",
        }
    }

    /// Returns the rule that was broken.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Exists => "it already exists",
            Self::TooMany => "the processor has four breakpoint registers, and all are in use",
            Self::Length => "a watchpoint covers 1, 2, 4 or 8 bytes",
            Self::Alignment => "a watchpoint's address is a multiple of its length",
            Self::Unknown => "it does not exist",
            Self::Unreachable => "the address is not in the guest's memory",
            Self::Unsupported => "the kinds are software, hardware, write and access; x86 cannot watch for loads alone",
        }
    }

    /// Returns what the user can do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::TooMany => "Remove another breakpoint first, or use software breakpoints: their number is unlimited.",
            Self::Unreachable => "Set it after the guest has mapped the page, or name a vCPU whose page tables map it.",
            Self::Unknown => "Repeat the kind, the address and the length with which it was set.",
            Self::Exists | Self::Length | Self::Alignment | Self::Unsupported => "Use another kind, address or length.",
        }
    }
}

/// Access to bytes at linear addresses of a guest.
pub trait ByteMemory {
    /// Reads the byte. Returns `None` if the address is unreachable.
    fn read(&mut self, address: u64) -> Option<u8>;
    /// Writes the byte. Returns whether the write succeeded.
    fn write(&mut self, address: u64, byte: u8) -> bool;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Software {
    address: u64,
    saved: u8,
    uses: u32,
}

/// All breakpoints of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breakpoints {
    software: Vec<Software>,
    hardware: Vec<Breakpoint>,
}

impl Breakpoints {
    /// Breakpoints in breakpoint registers, by register.
    #[must_use]
    pub fn hardware(&self) -> &[Breakpoint] {
        &self.hardware
    }

    /// Returns whether an `int3` at this address is ours.
    #[must_use]
    pub fn is_software(&self, address: u64) -> bool {
        self.software.iter().any(|breakpoint| breakpoint.address == address)
    }

    /// Returns whether there is at least one `int3`.
    #[must_use]
    pub const fn any_software(&self) -> bool {
        !self.software.is_empty()
    }

    /// Adds a breakpoint. For a software breakpoint that already exists, increments its use count.
    ///
    /// # Errors
    /// The rule that the breakpoint breaks. Nothing changes then.
    pub fn insert(&mut self, breakpoint: Breakpoint, memory: &mut impl ByteMemory) -> Result<(), BreakpointProblem> {
        let Breakpoint { kind, address, length } = breakpoint.normal();
        if kind == BreakpointKind::Software {
            return self.insert_software(address, memory);
        }
        if !matches!(length, 1 | 2 | 4 | 8) {
            return Err(BreakpointProblem::Length);
        }
        if address % length != 0 {
            return Err(BreakpointProblem::Alignment);
        }
        if self.hardware.contains(&breakpoint.normal()) {
            return Err(BreakpointProblem::Exists);
        }
        if self.hardware.len() == MAX_HARDWARE {
            return Err(BreakpointProblem::TooMany);
        }
        self.hardware.push(breakpoint.normal());
        Ok(())
    }

    /// Removes a breakpoint. A software breakpoint is deleted only when it has been removed as often as it was set. The
    /// original byte is restored only if the `int3` is still there.
    ///
    /// # Errors
    /// [`BreakpointProblem::Unknown`]; or [`BreakpointProblem::Unreachable`], and the breakpoint remains.
    pub fn remove(&mut self, breakpoint: Breakpoint, memory: &mut impl ByteMemory) -> Result<(), BreakpointProblem> {
        if breakpoint.kind == BreakpointKind::Software {
            return self.remove_software(breakpoint.address, memory);
        }
        let at = self.hardware.iter().position(|other| *other == breakpoint.normal());
        self.hardware.remove(at.ok_or(BreakpointProblem::Unknown)?);
        Ok(())
    }

    /// Removes all breakpoints. A byte that none of `memories`, one for each vCPU, can reach is not restored.
    pub fn clear<M: ByteMemory>(&mut self, memories: &mut [M]) {
        self.hardware.clear();
        for Software { address, saved, .. } in self.software.drain(..) {
            memories.iter_mut().any(|memory| restore(memory, address, saved));
        }
    }

    /// Removes the `int3` at this address temporarily, if it is ours.
    pub fn lift(&self, address: u64, memory: &mut impl ByteMemory) {
        if let Some(known) = self.software.iter().find(|known| known.address == address) {
            restore(memory, address, known.saved);
        }
    }

    /// Puts the `int3` back, if the saved byte is still there.
    pub fn plant(&self, address: u64, memory: &mut impl ByteMemory) {
        if let Some(known) = self.software.iter().find(|known| known.address == address)
            && memory.read(address) == Some(known.saved)
        {
            memory.write(address, INT3);
        }
    }

    fn insert_software(&mut self, address: u64, memory: &mut impl ByteMemory) -> Result<(), BreakpointProblem> {
        if let Some(known) = self.software.iter_mut().find(|known| known.address == address) {
            known.uses += 1;
            return Ok(());
        }
        let saved = memory.read(address).ok_or(BreakpointProblem::Unreachable)?;
        if !memory.write(address, INT3) {
            return Err(BreakpointProblem::Unreachable);
        }
        self.software.push(Software { address, saved, uses: 1 });
        Ok(())
    }

    fn remove_software(&mut self, address: u64, memory: &mut impl ByteMemory) -> Result<(), BreakpointProblem> {
        let at = self.software.iter().position(|known| known.address == address).ok_or(BreakpointProblem::Unknown)?;
        if let Some(known) = self.software.get_mut(at)
            && known.uses > 1
        {
            known.uses -= 1;
            return Ok(());
        }
        if !self.software.get(at).is_some_and(|known| restore(memory, address, known.saved)) {
            return Err(BreakpointProblem::Unreachable);
        }
        self.software.remove(at);
        Ok(())
    }
}

/// Restores the byte if the `int3` is still there. Returns false when the address is unreachable.
fn restore(memory: &mut impl ByteMemory, address: u64, saved: u8) -> bool {
    match memory.read(address) {
        Some(INT3) => memory.write(address, saved),
        // The guest has overwritten the `int3`, so its code stays unchanged.
        Some(_) => true,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[derive(Clone, Debug, Default, PartialEq)]
    struct Memory(HashMap<u64, u8>);

    impl ByteMemory for Memory {
        fn read(&mut self, address: u64) -> Option<u8> {
            self.0.get(&address).copied()
        }
        fn write(&mut self, address: u64, byte: u8) -> bool {
            self.0.get_mut(&address).map(|at| *at = byte).is_some()
        }
    }

    fn memory() -> Memory {
        Memory((0..16).zip(0x10..).collect())
    }

    const fn of(kind: BreakpointKind, address: u64, length: u64) -> Breakpoint {
        Breakpoint { kind, address, length }
    }

    #[test]
    fn test_software_breakpoints_are_counted_and_restored() {
        let (mut list, mut memory) = (Breakpoints::default(), memory());
        let at3 = of(BreakpointKind::Software, 3, 1);
        list.insert(at3, &mut memory).unwrap();
        list.insert(at3, &mut memory).unwrap();
        assert_eq!((memory.0[&3], list.is_software(3), list.is_software(4)), (INT3, true, false));
        list.remove(at3, &mut memory).unwrap();
        assert_eq!(memory.0[&3], INT3);
        list.remove(at3, &mut memory).unwrap();
        assert_eq!((memory.0[&3], list.any_software()), (0x13, false));
        assert_eq!(list.remove(at3, &mut memory), Err(BreakpointProblem::Unknown));
    }

    #[test]
    fn test_byte_that_the_guest_overwrote_is_unchanged() {
        let (mut list, mut memory) = (Breakpoints::default(), memory());
        let at3 = of(BreakpointKind::Software, 3, 1);
        list.insert(at3, &mut memory).unwrap();
        memory.0.insert(3, 0x90);
        list.remove(at3, &mut memory).unwrap();
        assert_eq!(memory.0[&3], 0x90);
    }

    #[test]
    fn test_unreachable_address_is_refused_and_an_unreachable_byte_keeps_its_breakpoint() {
        let (mut list, mut memory) = (Breakpoints::default(), memory());
        let away = of(BreakpointKind::Software, 99, 1);
        assert_eq!(list.insert(away, &mut memory), Err(BreakpointProblem::Unreachable));
        let at3 = of(BreakpointKind::Software, 3, 1);
        list.insert(at3, &mut memory).unwrap();
        assert_eq!(list.remove(at3, &mut Memory::default()), Err(BreakpointProblem::Unreachable));
        assert!(list.is_software(3));
        // Clearing tries each vCPU's view in turn.
        let mut views = [Memory::default(), memory];
        list.clear(&mut views);
        assert_eq!((views[1].0[&3], list), (0x13, Breakpoints::default()));
    }

    #[test]
    fn test_lifted_breakpoint_is_planted_again_unless_the_guest_wrote_there() {
        let (mut list, mut memory) = (Breakpoints::default(), memory());
        list.insert(of(BreakpointKind::Software, 3, 1), &mut memory).unwrap();
        list.lift(3, &mut memory);
        assert_eq!(memory.0[&3], 0x13);
        list.plant(3, &mut memory);
        assert_eq!(memory.0[&3], INT3);
        list.lift(3, &mut memory);
        memory.0.insert(3, 0x90);
        list.plant(3, &mut memory);
        list.lift(4, &mut memory);
        list.plant(4, &mut memory);
        assert_eq!((memory.0[&3], memory.0[&4]), (0x90, 0x14));
    }

    #[test]
    fn test_hardware_rules() {
        let (mut list, mut memory) = (Breakpoints::default(), memory());
        let mut insert = |kind, address, length| list.insert(of(kind, address, length), &mut memory);
        assert_eq!(insert(BreakpointKind::Write, 0x1000, 3), Err(BreakpointProblem::Length));
        assert_eq!(insert(BreakpointKind::Write, 0x1000, 0), Err(BreakpointProblem::Length));
        assert_eq!(insert(BreakpointKind::Access, 0x1004, 8), Err(BreakpointProblem::Alignment));
        assert_eq!(insert(BreakpointKind::Hardware, 0x1001, 8), Ok(()), "an execute breakpoint has length 1");
        assert_eq!(insert(BreakpointKind::Hardware, 0x1001, 1), Err(BreakpointProblem::Exists));
        assert_eq!(insert(BreakpointKind::Write, 0x1000, 8), Ok(()));
        assert_eq!(insert(BreakpointKind::Write, 0x1000, 4), Ok(()), "another length is another watchpoint");
        assert_eq!(insert(BreakpointKind::Access, 0x1000, 8), Ok(()));
        assert_eq!(insert(BreakpointKind::Access, 0x2000, 8), Err(BreakpointProblem::TooMany));
        let write = of(BreakpointKind::Write, 0x1000, 4);
        assert_eq!(list.remove(write, &mut memory), Ok(()));
        assert_eq!(list.remove(write, &mut memory), Err(BreakpointProblem::Unknown));
        assert_eq!(list.hardware().len(), 3);
    }

    proptest! {
        /// After any sequence of insertions and removals, memory is unchanged once every breakpoint is removed.
        #[test]
        fn test_memory_is_restored(steps in proptest::collection::vec((any::<bool>(), 0u64..20), 0..64)) {
            let (mut list, mut memory) = (Breakpoints::default(), memory());
            for (insert, address) in steps {
                let breakpoint = of(BreakpointKind::Software, address, 1);
                let _ = if insert { list.insert(breakpoint, &mut memory) } else { list.remove(breakpoint, &mut memory) };
                let set = memory.0.values().filter(|byte| **byte == INT3).count();
                prop_assert_eq!(set, list.software.len());
            }
            list.clear(&mut [&mut memory]);
            prop_assert_eq!(memory, super::tests::memory());
        }
    }

    impl ByteMemory for &mut Memory {
        fn read(&mut self, address: u64) -> Option<u8> {
            (**self).read(address)
        }
        fn write(&mut self, address: u64, byte: u8) -> bool {
            (**self).write(address, byte)
        }
    }
}
