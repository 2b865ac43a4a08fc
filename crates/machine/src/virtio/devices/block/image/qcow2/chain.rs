//! Opens a qcow2 image with its backing files.

use super::super::file::{self, OpenFile, refuse, unreadable};
use super::super::format::{Detected, ImageFormat};
use super::super::lock::Lock;
use super::super::refuse_foreign;
use super::fault::Fault;
use super::header::{Backing, Header};
use super::{bitmaps, guarded, tables};
use crate::MachineConfigError;
use imago::file::File as Storage;
use imago::qcow2::Qcow2;
use imago::raw::Raw;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, StorageOpenOptions};
use kvm_accel::{Warning, WarningCode};
use std::path::{Path, PathBuf};

/// The longest chain of backing files.
const DEEPEST: usize = 32;

/// The remedy for a backing file that cannot be used.
const REBASE: &str = "Check the image with 'qemu-img info --backing-chain', and correct it with 'qemu-img rebase -u'.";

/// Collects the locks and the warnings of a chain of images while it is opened.
pub struct Chain<'a> {
    pub locks: Vec<Lock>,
    pub warnings: &'a mut Vec<Warning>,
}

impl Chain<'_> {
    /// Opens a qcow2 image that has `depth` overlays.
    pub fn open_qcow2(
        &mut self,
        OpenFile { file, len, lock }: OpenFile,
        path: &Path,
        read_only: bool,
        depth: usize,
    ) -> Result<FormatAccess<Storage>, MachineConfigError> {
        let fault = |Fault { what, remedy }| refuse(path, what, remedy);
        self.locks.push(lock);
        let header = Header::read(&file, len).map_err(fault)?;
        if !read_only {
            tables::check(&file, &header).map_err(fault)?;
            self.warnings.extend(cleared(&file, path, &header));
        }
        let backing = header.backing.as_ref().map(|backing| self.open_backing(backing, path, depth + 1)).transpose()?;
        let opened = guarded(|| {
            let options = StorageOpenOptions::new().filename(path).write(!read_only);
            let storage = Storage::from_open_file(file, options)?;
            let builder = Qcow2::<Storage>::builder(storage).backing(backing).data_file(None).write(!read_only);
            builder.open(DenyImplicitOpenGate::default()).map(FormatAccess::new)
        });
        opened.map_err(|error| {
            let Fault { what, remedy } = Fault::corrupt(error);
            refuse(path, what, remedy)
        })
    }

    fn open_backing(
        &mut self,
        backing: &Backing,
        overlay: &Path,
        depth: usize,
    ) -> Result<FormatAccess<Storage>, MachineConfigError> {
        if depth > DEEPEST {
            let what = format_args!("has more than {DEEPEST} backing files, or backs itself");
            return Err(refuse(overlay, what, REBASE));
        }
        let path = backing_path(&backing.name, overlay)?;
        self.open_layer(backing.format.as_deref(), &path, depth).map_err(|error| {
            let message = format!("{error} (the backing file of {})", overlay.display());
            error.with_message(message)
        })
    }

    fn open_layer(
        &mut self,
        format: Option<&str>,
        path: &Path,
        depth: usize,
    ) -> Result<FormatAccess<Storage>, MachineConfigError> {
        let open = file::open(path, true)?;
        let format = match format {
            Some("qcow2") => ImageFormat::Qcow2,
            Some("raw" | "file" | "host_device") => ImageFormat::Raw,
            Some(other) => {
                let what = format_args!("has the unsupported format '{other}': expected 'raw' or 'qcow2'");
                return Err(refuse(path, what, "Convert the whole chain with 'qemu-img convert -O qcow2 OLD NEW'."));
            }
            None => match Detected::of_file(&open.file, open.len).map_err(|error| unreadable(path, &error))? {
                Detected::Known(format) => format,
                Detected::Foreign(name) => return Err(refuse_foreign(path, name)),
            },
        };
        if format == ImageFormat::Qcow2 {
            return self.open_qcow2(open, path, true, depth);
        }
        let OpenFile { file, lock, .. } = open;
        self.locks.push(lock);
        let opened = guarded(|| {
            let options = StorageOpenOptions::new().filename(path).write(false);
            let builder = Raw::builder(Storage::from_open_file(file, options)?);
            builder.open(DenyImplicitOpenGate::default()).map(FormatAccess::new)
        });
        opened.map_err(|error| unreadable(path, &error))
    }
}

/// Returns the path of a backing file. As in QEMU, a name with a colon in front of the first slash names a protocol.
fn backing_path(name: &str, overlay: &Path) -> Result<PathBuf, MachineConfigError> {
    let name = name.strip_prefix("file:").unwrap_or(name);
    if name.split('/').next().is_some_and(|start| start.contains(':')) {
        let what = format_args!("has the backing file '{name}', which is not a file");
        return Err(refuse(overlay, what, REBASE));
    }
    // An absolute name replaces the folder.
    Ok(overlay.parent().unwrap_or(Path::new("")).join(name))
}

/// Returns the warning of an image whose autoclear features become invalid when it is opened for writing.
fn cleared(file: &std::fs::File, path: &Path, header: &Header) -> Option<Warning> {
    if header.autoclear == 0 {
        return None;
    }
    let names = header.bitmaps.map(|found| bitmaps::names(file, found)).unwrap_or_default();
    let what = if names.is_empty() {
        format!("its autoclear features {:#x} are cleared", header.autoclear)
    } else {
        let names = names.join("', '");
        format!("its persistent bitmaps '{names}' become inconsistent: the guest's writes are not recorded")
    };
    let message = format!("the disk image {} is opened for writing: {what}", path.display());
    Some(Warning { code: WarningCode::DiskFeaturesCleared, message })
}
