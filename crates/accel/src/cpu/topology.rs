//! Sockets, dies, cores and threads: how a vCPU's APIC id encodes its position, in QEMU's numbering.

/// The number of each level's units. Their product is the number of vCPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Topology {
    /// Packages.
    pub sockets: u32,
    /// Dies per package.
    pub dies: u32,
    /// Cores per die.
    pub cores: u32,
    /// Threads per core.
    pub threads: u32,
}

impl Topology {
    /// Returns a topology of one package with a core for each vCPU.
    #[must_use]
    pub const fn of_cores(cpus: u32) -> Self {
        Self { sockets: 1, dies: 1, cores: cpus, threads: 1 }
    }

    /// Returns the number of vCPUs.
    #[must_use]
    pub const fn cpus(&self) -> u32 {
        self.sockets.saturating_mul(self.threads_per_package())
    }

    /// Returns the number of threads per package.
    #[must_use]
    pub const fn threads_per_package(&self) -> u32 {
        self.cores_per_package().saturating_mul(self.threads)
    }

    /// Returns the number of cores per package.
    #[must_use]
    pub const fn cores_per_package(&self) -> u32 {
        self.dies.saturating_mul(self.cores)
    }

    /// Returns the bit at which the core's number begins in an APIC id: the number of bits for the thread.
    #[must_use]
    pub const fn core_shift(&self) -> u32 {
        width(self.threads)
    }

    /// Returns the bit at which the die's number begins.
    #[must_use]
    pub const fn die_shift(&self) -> u32 {
        self.core_shift() + width(self.cores)
    }

    /// Returns the bit at which the package's number begins.
    #[must_use]
    pub const fn package_shift(&self) -> u32 {
        self.die_shift() + width(self.dies)
    }

    /// Returns the APIC id of a vCPU. If a level's count is not a power of two, ids are skipped.
    #[must_use]
    pub const fn apic_id(&self, index: u32) -> u32 {
        let thread = index % self.threads;
        let core = index / self.threads % self.cores;
        let die = index / (self.threads * self.cores) % self.dies;
        let package = index / self.threads_per_package();
        package << self.package_shift() | die << self.die_shift() | core << self.core_shift() | thread
    }

    /// Returns the value of MSR 0x35: the cores of a package in the bits above its threads.
    #[must_use]
    pub fn core_thread_count(&self) -> u64 {
        u64::from(self.cores_per_package()) << 16 | u64::from(self.threads_per_package())
    }
}

/// Returns the number of bits that are needed to number `count` units from 0.
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
