//! Modules: images that are loaded unchanged into guest memory.

use super::Guest;
use super::options::Module;
use super::placement::{BOOT_DATA_FLOOR, Placement};
use crate::GuestImageProblem::DoesNotFit;
use crate::layout::PAGE_SIZE;
use crate::{GuestImageError, SetupError};

/// A module with its address in guest memory, page-aligned and below 4 GiB.
pub(super) struct PlacedModule<'a> {
    pub module: &'a Module,
    pub address: u64,
    pub size: u64,
}

/// Where a protocol places modules.
#[derive(Clone, Copy)]
pub(super) enum Side {
    /// Directly above the kernel, as multiboot loaders do; below it when there is no room.
    AboveKernel,
    /// At the end of low RAM, away from a kernel that grows, as Linux expects its initrd. No byte lies beyond `last`.
    Top { last: u64 },
}

impl Side {
    fn place(self, space: &mut Placement, size: u64) -> Option<u64> {
        match self {
            Self::AboveKernel => {
                let end = space.end();
                space
                    .lowest(size, PAGE_SIZE, end.max(BOOT_DATA_FLOOR))
                    .or_else(|| space.lowest(size, PAGE_SIZE, BOOT_DATA_FLOOR))
            }
            Self::Top { last } => space.highest(size, last),
        }
    }
}

impl<'a> Guest<'a> {
    /// Reserves memory for each module, in order.
    pub(super) fn place_modules(&mut self, side: Side) -> Result<Vec<PlacedModule<'a>>, GuestImageError> {
        let modules = &self.options.modules;
        modules.iter().map(|module| self.place_module(module, side)).collect()
    }

    fn place_module(&mut self, module: &'a Module, side: Side) -> Result<PlacedModule<'a>, GuestImageError> {
        let size = module.image.len()?;
        let address = side.place(&mut self.space, size).ok_or_else(|| {
            let ram = self.layout.size();
            let bound = match side {
                Side::Top { last } if last < ram => format!(" up to {last:#x} (header field initrd_addr_max)"),
                _ => String::new(),
            };
            let what =
                format!("has {size:#x} bytes, which do not fit beside the kernel in {ram:#x} bytes of RAM{bound}");
            module.image.refuse(DoesNotFit, what).with_remedy("Give the guest more memory, or use a smaller image.")
        })?;
        Ok(PlacedModule { module, address, size })
    }

    pub(super) fn copy_modules(&self, modules: &[PlacedModule<'_>]) -> Result<(), SetupError> {
        modules
            .iter()
            .try_for_each(|placed| placed.module.image.copy_to(self.ram, 0, placed.size, placed.address, self.cancel))
    }
}
