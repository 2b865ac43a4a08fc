//! MSRs that user space emulates: which accesses exit to user space, and who handles them.
//!
//! The kernel handles every MSR itself, except those of at most [`MAX_RANGES`] ranges.

use super::Topology;
use kvm_accel_kvm::fd::FilteredMsrs;
use std::sync::Arc;

/// KVM_MSR_FILTER_MAX_RANGES.
pub const MAX_RANGES: usize = 16;
/// KVM_MSR_FILTER_MAX_BITMAP_SIZE in bits.
pub const MAX_MSRS: u32 = 0x600 * 8;
/// MSR_CORE_THREAD_COUNT.
pub const CORE_THREAD_COUNT: u32 = 0x35;
/// The x2APIC's MSRs. The kernel filters none of them.
const X2APIC: std::ops::RangeInclusive<u32> = 0x800..=0x8ff;

/// Handles the accesses to a range of MSRs. Called on vCPU threads, concurrently. The vCPU waits for the result, so a
/// handler may wait for another thread.
pub trait MsrHandler: Send + Sync {
    /// Handles `rdmsr`: returns the value, or `None` for a #GP.
    fn read(&self, vcpu: u32, index: u32) -> Option<u64>;
    /// Handles `wrmsr`: returns false for a #GP.
    fn write(&self, vcpu: u32, index: u32, value: u64) -> bool;
}

/// The result of an `rdmsr` under a fixed rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadAnswer {
    /// The kernel handles the access.
    Allow,
    /// The guest reads this value.
    Value(u64),
    /// #GP.
    Fault,
}

/// The result of a `wrmsr` under a fixed rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteAnswer {
    /// The kernel handles the access.
    Allow,
    /// The write has no effect.
    Ignore,
    /// #GP.
    Fault,
}

/// A fixed rule for a range of MSRs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MsrRule {
    /// The first MSR.
    pub index: u32,
    /// Number of MSRs, at least 1.
    pub count: u32,
    /// The result of a read.
    pub read: ReadAnswer,
    /// The effect of a write.
    pub write: WriteAnswer,
}

impl MsrHandler for MsrRule {
    fn read(&self, _vcpu: u32, _index: u32) -> Option<u64> {
        match self.read {
            ReadAnswer::Value(value) => Some(value),
            ReadAnswer::Allow | ReadAnswer::Fault => None,
        }
    }

    fn write(&self, _vcpu: u32, _index: u32, _value: u64) -> bool {
        self.write == WriteAnswer::Ignore
    }
}

/// A range of MSRs whose accesses exit to user space, and their handler.
#[derive(Clone)]
pub struct MsrRange {
    /// The first MSR.
    pub index: u32,
    /// Number of MSRs.
    pub count: u32,
    /// `rdmsr` exits to user space.
    pub reads: bool,
    /// `wrmsr` exits to user space.
    pub writes: bool,
    /// The handler of the accesses.
    pub handler: Arc<dyn MsrHandler>,
}

impl MsrRange {
    fn contains(&self, index: u32) -> bool {
        index.checked_sub(self.index).is_some_and(|offset| offset < self.count)
    }

    fn last(&self) -> u32 {
        self.index.saturating_add(self.count - 1)
    }
}

impl PartialEq for MsrRange {
    /// Compares the range and the identity of the handler.
    fn eq(&self, other: &Self) -> bool {
        let of = |range: &Self| (range.index, range.count, range.reads, range.writes);
        of(self) == of(other) && Arc::ptr_eq(&self.handler, &other.handler)
    }
}

impl Eq for MsrRange {}

impl std::fmt::Debug for MsrRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { index, count, reads, writes, .. } = self;
        write!(f, "MsrRange({index:#x} + {count}, reads {reads}, writes {writes})")
    }
}

impl From<MsrRule> for MsrRange {
    fn from(rule: MsrRule) -> Self {
        Self {
            index: rule.index,
            count: rule.count,
            reads: rule.read != ReadAnswer::Allow,
            writes: rule.write != WriteAnswer::Allow,
            handler: Arc::new(rule),
        }
    }
}

/// The MSRs of a machine whose accesses exit to user space.
#[derive(Clone, Debug, Default)]
pub struct MsrFilter(Vec<MsrRange>);

impl MsrFilter {
    /// Returns a filter for the ranges. Adds the core and thread counts unless a range contains their MSR.
    ///
    /// # Errors
    /// The rule that was broken, as a sentence.
    pub fn new(ranges: Vec<MsrRange>, topology: &Topology) -> Result<Self, String> {
        let mut filter = Self::default();
        for range in ranges {
            filter.add(range)?;
        }
        if filter.find(CORE_THREAD_COUNT).is_none() && filter.0.len() < MAX_RANGES {
            let read = ReadAnswer::Value(topology.core_thread_count());
            filter.add(MsrRule { index: CORE_THREAD_COUNT, count: 1, read, write: WriteAnswer::Allow }.into())?;
        }
        Ok(filter)
    }

    /// Adds a range.
    ///
    /// # Errors
    /// The rule that was broken, as a sentence.
    pub fn add(&mut self, range: MsrRange) -> Result<(), String> {
        if range.count == 0 || range.count > MAX_MSRS || range.index.checked_add(range.count - 1).is_none() {
            return Err(format!(
                "invalid range of {} MSRs from {:#x}: expected 1 to {MAX_MSRS} MSRs that end at 0xffffffff or below",
                range.count, range.index
            ));
        }
        if !range.reads && !range.writes {
            return Err(format!(
                "the rule for MSR {:#x} has no effect: it leaves both reads and writes to the kernel",
                range.index
            ));
        }
        if range.index <= *X2APIC.end() && range.last() >= *X2APIC.start() {
            return Err("the kernel cannot filter the MSRs of the x2APIC, 0x800 to 0x8ff".into());
        }
        if let Some(other) = self.0.iter().find(|other| range.index <= other.last() && other.index <= range.last()) {
            return Err(format!("MSR {:#x} is in two ranges", range.index.max(other.index)));
        }
        if self.0.len() == MAX_RANGES {
            return Err(format!("too many ranges of MSRs: the kernel supports at most {MAX_RANGES}"));
        }
        self.0.push(range);
        Ok(())
    }

    /// Returns the ranges, for KVM_X86_SET_MSR_FILTER.
    #[must_use]
    pub fn filtered(&self) -> Vec<FilteredMsrs> {
        let filtered =
            |&MsrRange { index, count, reads, writes, .. }: &MsrRange| FilteredMsrs { index, count, reads, writes };
        self.0.iter().map(filtered).collect()
    }

    /// Returns the ranges.
    #[must_use]
    pub fn ranges(&self) -> &[MsrRange] {
        &self.0
    }

    fn find(&self, index: u32) -> Option<&MsrRange> {
        self.0.iter().find(|range| range.contains(index))
    }

    /// Handles an `rdmsr` exit. Returns `None` for a #GP.
    #[must_use]
    pub fn read(&self, vcpu: u32, index: u32) -> Option<u64> {
        self.find(index)?.handler.read(vcpu, index)
    }

    /// Handles a `wrmsr` exit. Returns false for a #GP.
    #[must_use]
    pub fn write(&self, vcpu: u32, index: u32, value: u64) -> bool {
        self.find(index).is_some_and(|range| range.handler.write(vcpu, index, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(index: u32, count: u32, read: ReadAnswer, write: WriteAnswer) -> MsrRule {
        MsrRule { index, count, read, write }
    }

    fn filter(rules: &[MsrRule]) -> Result<MsrFilter, String> {
        let ranges = rules.iter().cloned().map(MsrRange::from).collect();
        MsrFilter::new(ranges, &Topology { sockets: 1, dies: 1, cores: 2, threads: 2 })
    }

    #[test]
    fn test_core_and_thread_counts_are_read_and_written_in_the_kernel() {
        let filter = filter(&[]).unwrap();
        let [range] = filter.ranges() else { panic!("{filter:?}") };
        assert_eq!((range.index, range.count, range.reads, range.writes), (0x35, 1, true, false));
        assert_eq!(filter.read(0, 0x35), Some(0x2_0004));
    }

    #[test]
    fn test_rules_answer_for_their_range() {
        let filter = filter(&[
            rule(0x10, 2, ReadAnswer::Value(7), WriteAnswer::Fault),
            rule(0x35, 1, ReadAnswer::Fault, WriteAnswer::Ignore),
        ])
        .unwrap();
        assert_eq!((filter.read(0, 0x11), filter.read(0, 0x12), filter.read(0, 0x35)), (Some(7), None, None));
        assert!(!filter.write(0, 0x10, 1) && filter.write(0, 0x35, 1) && !filter.write(0, 0x99, 1));
    }

    #[test]
    fn test_invalid_rules_are_refused() {
        let fault = |index, count| rule(index, count, ReadAnswer::Fault, WriteAnswer::Fault);
        for (rules, part) in [
            (vec![fault(1, 0)], "1 to 12288"),
            (vec![fault(1, MAX_MSRS + 1)], "1 to 12288"),
            (vec![fault(u32::MAX, 2)], "0xffffffff"),
            (vec![rule(1, 1, ReadAnswer::Allow, WriteAnswer::Allow)], "leaves both reads and writes"),
            (vec![fault(0x7ff, 2)], "x2APIC"),
            (vec![fault(0x10, 4), fault(0x13, 1)], "0x13 is in two"),
            ((0..17).map(|i| fault(0x100 + i, 1)).collect(), "at most 16"),
        ] {
            let problem = filter(&rules).unwrap_err();
            assert!(problem.contains(part), "{problem}");
        }
        assert_eq!(filter(&(0..16).map(|i| fault(0x100 + i, 1)).collect::<Vec<_>>()).unwrap().ranges().len(), 16);
    }
}
