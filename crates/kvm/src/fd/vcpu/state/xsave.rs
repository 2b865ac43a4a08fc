//! The XSAVE area as bytes.

use super::Vcpu;
use crate::{Error, Result};
use kvm_bindings::{Xsave, kvm_xsave};

/// The size of the area on every kernel.
const LEGACY: usize = size_of::<kvm_xsave>();

impl Vcpu {
    pub(super) fn xsave(&self) -> Result<Vec<u8>> {
        if !self.features.xsave2() {
            let xsave = self.fd.get_xsave().map_err(self.failed("KVM_GET_XSAVE"))?;
            return Ok(bytes(&xsave.region).collect());
        }
        let mut xsave = self.buffer("KVM_GET_XSAVE2")?;
        // SAFETY: the buffer has the size that KVM_CAP_XSAVE2 reports.
        unsafe { self.fd.get_xsave2(&mut xsave) }.map_err(self.failed("KVM_GET_XSAVE2"))?;
        Ok(bytes(&xsave.as_fam_struct_ref().xsave.region).chain(bytes(xsave.as_slice())).collect())
    }

    pub(super) fn set_xsave(&self, area: &[u8]) -> Result<()> {
        if area.len() != self.features.xsave_size {
            return Err(self.failed("KVM_SET_XSAVE")(vmm_sys_util::errno::Error::new(libc::EINVAL)));
        }
        let mut xsave = self.buffer("KVM_SET_XSAVE")?;
        let (legacy, extra) = area.split_at(LEGACY.min(area.len()));
        // SAFETY: no length is changed.
        let header = unsafe { xsave.as_mut_fam_struct() };
        fill(&mut header.xsave.region, legacy);
        fill(xsave.as_mut_slice(), extra);
        // SAFETY: the buffer has the size that KVM_CAP_XSAVE2 reports, or the 4096 bytes of a kernel without it.
        unsafe { self.fd.set_xsave2(&xsave) }.map_err(self.failed("KVM_SET_XSAVE"))
    }

    fn buffer(&self, ioctl: &'static str) -> Result<Xsave> {
        let words = (self.features.xsave_size - LEGACY).div_ceil(size_of::<u32>());
        Xsave::new(words).map_err(|_| Error::Ioctl { ioctl, context: "the buffer".into(), errno: libc::ENOMEM })
    }
}

fn bytes(words: &[u32]) -> impl Iterator<Item = u8> {
    words.iter().flat_map(|word| word.to_le_bytes())
}

fn fill(words: &mut [u32], from: &[u8]) {
    for (word, bytes) in words.iter_mut().zip(from.chunks_exact(size_of::<u32>())) {
        *word = bytes.try_into().map_or(0, u32::from_le_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn test_words_and_bytes_round_trip(words in proptest::collection::vec(any::<u32>(), 0..64)) {
            let mut back = vec![0; words.len()];
            fill(&mut back, &bytes(&words).collect::<Vec<_>>());
            prop_assert_eq!(back, words);
        }
    }
}
