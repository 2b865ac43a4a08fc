//! Sockets, dies, cores and threads: what a vCPU's APIC id says of its place, as QEMU numbers them.

/// How many of each there are; their product is the number of vCPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Topology {
    /// Packages.
    pub sockets: u32,
    /// Dies of a package.
    pub dies: u32,
    /// Cores of a die.
    pub cores: u32,
    /// Threads of a core.
    pub threads: u32,
}

impl Topology {
    /// One package with a core for each vCPU.
    #[must_use]
    pub const fn of_cores(cpus: u32) -> Self {
        Self { sockets: 1, dies: 1, cores: cpus, threads: 1 }
    }

    /// The number of vCPUs.
    #[must_use]
    pub const fn cpus(&self) -> u32 {
        self.sockets.saturating_mul(self.threads_per_package())
    }

    /// Threads of a package.
    #[must_use]
    pub const fn threads_per_package(&self) -> u32 {
        self.cores_per_package().saturating_mul(self.threads)
    }

    /// Cores of a package.
    #[must_use]
    pub const fn cores_per_package(&self) -> u32 {
        self.dies.saturating_mul(self.cores)
    }

    /// Where the core's number begins in an APIC id: the bits of the thread's.
    #[must_use]
    pub const fn core_shift(&self) -> u32 {
        width(self.threads)
    }

    /// Where the die's number begins.
    #[must_use]
    pub const fn die_shift(&self) -> u32 {
        self.core_shift() + width(self.cores)
    }

    /// Where the package's number begins.
    #[must_use]
    pub const fn package_shift(&self) -> u32 {
        self.die_shift() + width(self.dies)
    }

    /// The APIC id of a vCPU. Where a level's count is no power of two, numbers are left out.
    #[must_use]
    pub const fn apic_id(&self, index: u32) -> u32 {
        let thread = index % self.threads;
        let core = index / self.threads % self.cores;
        let die = index / (self.threads * self.cores) % self.dies;
        let package = index / self.threads_per_package();
        package << self.package_shift() | die << self.die_shift() | core << self.core_shift() | thread
    }

    /// What MSR 0x35 tells: cores of a package above its threads.
    #[must_use]
    pub fn core_thread_count(&self) -> u64 {
        u64::from(self.cores_per_package()) << 16 | u64::from(self.threads_per_package())
    }
}

/// Bits that number `count` things from 0.
const fn width(count: u32) -> u32 {
    u32::BITS - count.saturating_sub(1).leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_default_numbers_are_the_indices() {
        let flat = Topology::of_cores(6);
        assert_eq!((0..6).map(|index| flat.apic_id(index)).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        assert_eq!((flat.package_shift(), flat.core_thread_count()), (3, 0x6_0006));
    }

    #[test]
    fn test_levels_are_rounded_to_powers_of_two() {
        let topology = Topology { sockets: 2, dies: 1, cores: 3, threads: 2 };
        let ids: Vec<_> = (0..12).map(|index| topology.apic_id(index)).collect();
        assert_eq!(ids, [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]);
        assert_eq!((topology.cpus(), topology.core_thread_count()), (12, 0x3_0006));
        let dies = Topology { sockets: 1, dies: 2, cores: 2, threads: 1 };
        assert_eq!((dies.die_shift(), dies.package_shift(), dies.apic_id(3)), (1, 2, 3));
    }
}
