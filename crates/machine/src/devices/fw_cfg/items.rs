//! The contents of fw_cfg: numbered items, and files, which a directory lists.

use crate::layout::RamLayout;
use crate::{MachineConfigError, SetupError, host_file};
use kvm_accel::cancel::Cancel;
use std::collections::BTreeMap;
use std::path::Path;

/// The longest name of a file, in bytes.
pub const MAX_FILE_NAME: usize = 55;

/// The keys of the numbered items.
pub mod key {
    /// The signature `QEMU`, which shows that the device exists.
    pub const SIGNATURE: u16 = 0x00;
    /// A bit mask of the interfaces.
    pub const ID: u16 = 0x01;
    /// The machine's UUID.
    pub const UUID: u16 = 0x02;
    /// The size of RAM in bytes.
    pub const RAM_SIZE: u16 = 0x03;
    /// Set if there is no screen.
    pub const NO_GRAPHIC: u16 = 0x04;
    /// The number of processors.
    pub const CPUS: u16 = 0x05;
    /// The maximum number of processors.
    pub const MAX_CPUS: u16 = 0x0f;
    /// The directory of the files.
    pub const FILE_DIRECTORY: u16 = 0x19;
    /// The first file.
    pub const FILE_FIRST: u16 = 0x20;
    /// Set if the PIT is connected to pin 2 of the IOAPIC.
    pub const IRQ0_OVERRIDE: u16 = 0x8002;
}

/// A bit of the selector that is ignored for reads.
const WRITE_CHANNEL: u16 = 0x4000;

/// The interfaces: ports and DMA.
const ID_PORTS_AND_DMA: u32 = 0b11;

/// The size of the name with its NUL in a directory entry. The entry holds size, key, two reserved bytes and the name.
const NAME_FIELD: usize = MAX_FILE_NAME + 1;

/// The type of RAM in `etc/e820`.
const E820_RAM: u32 = 1;

/// The items of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FwCfgItems {
    numbered: BTreeMap<u16, Vec<u8>>,
    files: BTreeMap<String, Vec<u8>>,
}

impl FwCfgItems {
    /// Returns the items that every machine has: its memory and its processors.
    #[must_use]
    pub fn of_machine(layout: &RamLayout, cpus: u32) -> Self {
        let mut items = Self::default();
        let cpus = u16::try_from(cpus).unwrap_or(u16::MAX);
        for (key, bytes) in [
            (key::SIGNATURE, &b"QEMU"[..]),
            (key::ID, &ID_PORTS_AND_DMA.to_le_bytes()),
            (key::UUID, &[0; 16]),
            (key::RAM_SIZE, &layout.size().to_le_bytes()),
            (key::NO_GRAPHIC, &1u16.to_le_bytes()),
            (key::CPUS, &cpus.to_le_bytes()),
            (key::MAX_CPUS, &cpus.to_le_bytes()),
            (key::IRQ0_OVERRIDE, &1u32.to_le_bytes()),
        ] {
            items.numbered.insert(key, bytes.to_vec());
        }
        items.files.insert("etc/e820".to_owned(), e820(layout));
        items.number_files();
        items
    }

    /// Adds a file.
    ///
    /// # Errors
    /// Fails if the name is empty, longer than [`MAX_FILE_NAME`], not printable ASCII, or in use, or if the contents
    /// have 4 GiB or more.
    pub fn add_file(&mut self, name: &str, contents: Vec<u8>) -> Result<(), MachineConfigError> {
        let refuse = |rule: &str, remedy| {
            Err(MachineConfigError::new("fwCfg", format!("the fw_cfg file '{name}' {rule}"), remedy))
        };
        if name.is_empty() || name.len() > MAX_FILE_NAME || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            let rule = format!("needs a name of 1 to {MAX_FILE_NAME} printable ASCII characters");
            return refuse(&rule, "Name it opt/…, by RFQDN as QEMU advises: opt/org.example/file.");
        }
        if u32::try_from(contents.len()).is_err() {
            return refuse(
                "is too long: expected less than 4 GiB, the limit of its size field",
                "Pass the data on a disk.",
            );
        }
        if self.files.contains_key(name) {
            return refuse("has a name that is already in use", "Choose another name.");
        }
        let most = usize::from(WRITE_CHANNEL - key::FILE_FIRST);
        if self.files.len() >= most {
            let rule = format!("cannot be added: expected at most {most} files");
            return refuse(&rule, "Combine several files into one.");
        }
        self.files.insert(name.to_owned(), contents);
        self.number_files();
        Ok(())
    }

    /// Reads the file at `path` for [`FwCfgItems::add_file`].
    ///
    /// # Errors
    /// Fails if the path leads to no regular file, or the file cannot be read or is longer than 4 GiB - 1, the most an
    /// item can hold; with [`SetupError::Cancelled`] within about 10 ms of [`Cancel::cancel`].
    pub fn read_file(path: &Path, cancel: &Cancel) -> Result<Vec<u8>, SetupError> {
        host_file::read(path, u32::MAX, cancel, |refusal| refusal.of("fwCfg", "fw_cfg file", path))
    }

    /// Returns the bytes of a selector's item; `None` if the selector has no item.
    #[must_use]
    pub fn get(&self, selector: u16) -> Option<&[u8]> {
        let key = selector & !WRITE_CHANNEL;
        let file = |index: u16| self.files.values().nth(index.into());
        let item = self.numbered.get(&key).or_else(|| key.checked_sub(key::FILE_FIRST).and_then(file));
        item.map(Vec::as_slice)
    }

    /// Assigns the keys of the files in the order of their names, as QEMU does.
    fn number_files(&mut self) {
        let mut directory = self.files.len().to_be_bytes()[4..].to_vec();
        for (key, (name, contents)) in (key::FILE_FIRST..).zip(&self.files) {
            let size = u32::try_from(contents.len()).unwrap_or(u32::MAX);
            directory.extend(size.to_be_bytes());
            directory.extend(key.to_be_bytes());
            directory.extend([0; 2]);
            let mut field = [0; NAME_FIELD];
            field[..name.len()].copy_from_slice(name.as_bytes());
            directory.extend(field);
        }
        self.numbered.insert(key::FILE_DIRECTORY, directory);
    }
}

/// Returns an e820 table with all RAM, including the ranges that boot protocols reserve: firmware builds its own map
/// from this table.
fn e820(layout: &RamLayout) -> Vec<u8> {
    layout
        .ranges()
        .flat_map(|range| {
            let size = range.end - range.start;
            [&range.start.to_le_bytes()[..], &size.to_le_bytes(), &E820_RAM.to_le_bytes()].concat()
        })
        .collect()
}
