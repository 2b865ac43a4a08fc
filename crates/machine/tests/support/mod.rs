//! Builds guest images byte by byte, and RAM to load them into.

#![allow(dead_code, reason = "each test file uses a part of it")]

use kvm_accel::{GuestRam, StartState};
use kvm_accel_machine::boot::{Boot, BootImage, BootOptions, Module};
use kvm_accel_machine::layout::RamLayout;
use kvm_accel_machine::{GuestImageError, ImageRole, SetupError, ram};
use vm_memory::{Bytes, GuestAddress};

/// A PT_LOAD segment, or a PT_NOTE if `kind` is 4.
#[derive(Clone, Debug)]
pub struct Piece {
    pub kind: u32,
    /// The physical address.
    pub address: u64,
    pub virtual_address: u64,
    pub bytes: Vec<u8>,
    pub memory_size: u64,
}

impl Piece {
    pub fn load(address: u64, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self { kind: 1, address, virtual_address: address, memory_size: bytes.len() as u64, bytes }
    }

    pub fn with_memory_size(self, memory_size: u64) -> Self {
        Self { memory_size, ..self }
    }

    pub fn at(self, virtual_address: u64) -> Self {
        Self { virtual_address, ..self }
    }

    pub fn notes(notes: &[Vec<u8>]) -> Self {
        Self { kind: 4, ..Self::load(0, notes.concat()) }
    }
}

pub fn note(name: &[u8], kind: u32, value: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    note.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
    note.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
    note.extend(kind.to_le_bytes());
    for part in [name, value] {
        note.extend(part);
        note.resize(note.len().next_multiple_of(4), 0);
    }
    note
}

pub fn pvh_note(entry: u32) -> Vec<u8> {
    note(b"Xen\0", 18, &entry.to_le_bytes())
}

/// Builds an ELF64 file for x86-64.
pub fn elf64(entry: u64, pieces: &[Piece]) -> Vec<u8> {
    let mut file = vec![0; 64 + 56 * pieces.len()];
    file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
    put(&mut file, 18, &62u16.to_le_bytes());
    put(&mut file, 24, &entry.to_le_bytes());
    put(&mut file, 32, &64u64.to_le_bytes());
    put(&mut file, 54, &56u16.to_le_bytes());
    put(&mut file, 56, &u16::try_from(pieces.len()).unwrap().to_le_bytes());
    for (index, piece) in pieces.iter().enumerate() {
        let at = 64 + 56 * index;
        let offset = file.len() as u64;
        put(&mut file, at, &piece.kind.to_le_bytes());
        put(&mut file, at + 8, &offset.to_le_bytes());
        put(&mut file, at + 16, &piece.virtual_address.to_le_bytes());
        put(&mut file, at + 24, &piece.address.to_le_bytes());
        put(&mut file, at + 32, &(piece.bytes.len() as u64).to_le_bytes());
        put(&mut file, at + 40, &piece.memory_size.to_le_bytes());
        file.extend(&piece.bytes);
    }
    file
}

/// Builds an ELF32 file for i386.
pub fn elf32(entry: u32, pieces: &[Piece]) -> Vec<u8> {
    let mut file = vec![0; 52 + 32 * pieces.len()];
    file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 1, 1]);
    put(&mut file, 18, &3u16.to_le_bytes());
    put(&mut file, 24, &entry.to_le_bytes());
    put(&mut file, 28, &52u32.to_le_bytes());
    put(&mut file, 42, &32u16.to_le_bytes());
    put(&mut file, 44, &u16::try_from(pieces.len()).unwrap().to_le_bytes());
    for (index, piece) in pieces.iter().enumerate() {
        let at = 52 + 32 * index;
        let Piece { kind, address, virtual_address, memory_size, .. } = *piece;
        let (offset, len) = (file.len() as u64, piece.bytes.len() as u64);
        let fields = [kind.into(), offset, virtual_address, address, len, memory_size];
        for (index, field) in fields.into_iter().enumerate() {
            put(&mut file, at + 4 * index, &u32::try_from(field).unwrap().to_le_bytes());
        }
        file.extend(&piece.bytes);
    }
    file
}

/// Builds a multiboot-1 header with these flags and address fields.
pub fn multiboot_header(flags: u32, addresses: &[u32]) -> Vec<u8> {
    let magic = 0x1bad_b002u32;
    let checksum = 0u32.wrapping_sub(magic).wrapping_sub(flags);
    [magic, flags, checksum].iter().chain(addresses).flat_map(|field| field.to_le_bytes()).collect()
}

/// Builds a multiboot guest: the header and then `code`, both at `address`, where it is entered.
pub fn multiboot_guest(address: u32, code: &[u8]) -> Vec<u8> {
    elf32(address, &[Piece::load(address.into(), [&multiboot_header(0, &[]), code].concat())])
}

/// Builds a PVH guest of one segment, entered at its start.
pub fn pvh_guest(address: u32, code: &[u8]) -> Vec<u8> {
    elf64(address.into(), &[Piece::load(address.into(), code), Piece::notes(&[pvh_note(address)])])
}

pub fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Returns true if `/dev/kvm` exists. Its absence is a failure in CI, and a reason to skip the test elsewhere.
#[allow(clippy::print_stdout, reason = "a test says why it is skipped")]
pub fn kvm() -> bool {
    let there = std::path::Path::new("/dev/kvm").exists();
    assert!(there || std::env::var_os("CI").is_none(), "/dev/kvm is missing in CI");
    if !there {
        println!("skipped: no /dev/kvm on this host");
    }
    there
}

/// Converts the error to that of an image, the only error of a load without cancellation.
#[allow(clippy::panic, reason = "helpers of tests may fail loudly")]
pub fn image_error<T>(loaded: Result<T, SetupError>) -> Result<T, GuestImageError> {
    loaded.map_err(|error| match error {
        SetupError::Image(error) => error,
        other => panic!("loading failed: {other}"),
    })
}

/// RAM and its layout.
pub struct Ram {
    pub layout: RamLayout,
    pub memory: GuestRam,
}

impl Ram {
    pub fn of(size: u64) -> Self {
        let layout = RamLayout::new(size).unwrap();
        Self { layout, memory: ram::allocate(&layout, &Default::default()).unwrap() }
    }

    pub fn load(&self, kernel: &[u8], options: BootOptions) -> Result<StartState, GuestImageError> {
        let kernel = BootImage::from_bytes(ImageRole::Kernel, kernel.to_vec());
        image_error(Boot::new(kernel, options).unwrap().load(&self.layout, &self.memory, None, &Default::default()))
    }

    pub fn bytes(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }

    pub fn u32(&self, address: u64) -> u32 {
        self.memory.read_obj(GuestAddress(address)).unwrap()
    }

    pub fn u64(&self, address: u64) -> u64 {
        self.memory.read_obj(GuestAddress(address)).unwrap()
    }

    /// Returns the NUL-terminated string at an address.
    pub fn string(&self, address: u64) -> String {
        let bytes = (address..).map(|at| self.bytes(at, 1)[0]).take_while(|byte| *byte != 0).collect();
        String::from_utf8(bytes).unwrap()
    }
}

pub fn module(bytes: &[u8], cmdline: &str) -> Module {
    Module { image: BootImage::from_bytes(ImageRole::Initrd, bytes.to_vec()), cmdline: cmdline.to_owned() }
}

pub const MIB: u64 = 1 << 20;

/// The offsets of a setup header's fields in a bzImage.
pub mod setup {
    pub const SETUP_SECTS: usize = 0x1f1;
    pub const SYSSIZE: usize = 0x1f4;
    pub const VERSION: usize = 0x206;
    pub const LOADFLAGS: usize = 0x211;
    pub const CODE32_START: usize = 0x214;
    pub const INITRD_ADDR_MAX: usize = 0x22c;
    pub const RELOCATABLE: usize = 0x234;
    pub const XLOADFLAGS: usize = 0x236;
    pub const CMDLINE_SIZE: usize = 0x238;
    pub const PREF_ADDRESS: usize = 0x258;
    pub const INIT_SIZE: usize = 0x260;
}

/// Builds a relocatable bzImage of two setup sectors. Its kernel is `code` behind 512 bytes, prefers `address` and
/// unpacks within 1 MiB.
pub fn bzimage(address: u64, code: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 3 * 512 + 512];
    file.extend(code);
    file.resize(file.len().next_multiple_of(16), 0);
    let paragraphs = u32::try_from((file.len() - 3 * 512) / 16).unwrap();
    put(&mut file, setup::SETUP_SECTS, &[2]);
    put(&mut file, setup::SYSSIZE, &paragraphs.to_le_bytes());
    put(&mut file, 0x1fe, &[0x55, 0xaa, 0xeb, 0x6a]);
    put(&mut file, 0x202, b"HdrS");
    put(&mut file, setup::VERSION, &[0x0f, 2]);
    put(&mut file, setup::LOADFLAGS, &[1]);
    put(&mut file, setup::CODE32_START, &0x10_0000u32.to_le_bytes());
    put(&mut file, setup::INITRD_ADDR_MAX, &0x7fff_ffffu32.to_le_bytes());
    put(&mut file, setup::RELOCATABLE, &[1]);
    put(&mut file, setup::XLOADFLAGS, &[1]);
    put(&mut file, setup::CMDLINE_SIZE, &2047u32.to_le_bytes());
    put(&mut file, setup::PREF_ADDRESS, &address.to_le_bytes());
    put(&mut file, setup::INIT_SIZE, &0x10_0000u32.to_le_bytes());
    file
}
