//! Images that qemu-img creates, and checks after the device has written them.

use super::*;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Returns a program of Debian's package qemu-utils: `KVM_ACCEL_TEST_QEMU_IMG` names qemu-img, and the others are beside it. `None` if it
/// is not set, which is a failure with `CI=true`.
fn tool(name: &str) -> Option<PathBuf> {
    let image = std::env::var_os("KVM_ACCEL_TEST_QEMU_IMG").map(|path| PathBuf::from(path).with_file_name(name));
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(image.is_some() || !in_ci, "KVM_ACCEL_TEST_QEMU_IMG does not name qemu-img (.ci/qemu-img prints it)");
    image
}

fn run(program: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

fn succeeds(program: &Path, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Asserts that qemu-img finds neither errors nor leaks.
fn check(img: &Path, file: &Temporary) {
    let output = succeeds(img, &["check", file.0.to_str().unwrap()]);
    assert!(output.contains("No errors were found"), "{output}");
}

/// Writes, discards and zeroes parts of the first MiB, and compares the disk with what it must contain.
fn exercise(file: &Temporary, expected: &mut [u8]) {
    let mut guest = Guest::new(&Block::new(config(file)).unwrap(), FLUSH);
    let all = u32::try_from(expected.len()).unwrap();
    assert_eq!(guest.read(0, all), (0, expected.to_vec()));
    for (sector, len) in [(3, 5), (127, 2), (900, 300), (300, 1), (1, 700)] {
        let bytes: Vec<_> = pattern(len * 512).iter().map(|byte| byte ^ u8::try_from(len % 256).unwrap()).collect();
        assert_eq!(guest.write(sector, &bytes), 0);
        expected[usize::try_from(sector).unwrap() * 512..][..bytes.len()].copy_from_slice(&bytes);
    }
    assert_eq!(guest.segment(VIRTIO_BLK_T_WRITE_ZEROES, 260, 600, 1), 0);
    expected[260 * 512..860 * 512].fill(0);
    assert_eq!(guest.read(0, all), (0, expected.to_vec()));
    assert_eq!(guest.write(400, &pattern(4096)), 0);
    expected[400 * 512..][..4096].copy_from_slice(&pattern(4096));
    assert_eq!(guest.request(VIRTIO_BLK_T_FLUSH, 0, &[]).0, 0);
    assert_eq!(guest.read(0, all), (0, expected.to_vec()));
}

#[test]
fn images_of_every_option_are_used_and_qemu_img_finds_no_error_afterwards() {
    let (Some(img), Some(io)) = (tool("qemu-img"), tool("qemu-io")) else { return };
    for options in [
        "cluster_size=64k",
        "cluster_size=512",
        "cluster_size=4k,refcount_bits=1",
        "cluster_size=64k,refcount_bits=2",
        "cluster_size=1k,refcount_bits=8",
        "cluster_size=1k,refcount_bits=64",
        "cluster_size=2M,refcount_bits=32",
        "lazy_refcounts=on",
        "preallocation=metadata",
        "preallocation=falloc,cluster_size=4k",
        "preallocation=full",
    ] {
        let file = Temporary::new(&[]);
        let path = file.0.to_str().unwrap();
        succeeds(&img, &["create", "-q", "-f", "qcow2", "-o", options, path, "8M"]);
        succeeds(&io, &["-c", "write -P 7 64k 128k", "-c", "write -z 512k 4k", "-c", "write -P 9 4M 1M", path]);
        let mut expected = vec![0; 1 << 20];
        expected[64 << 10..192 << 10].fill(7);
        exercise(&file, &mut expected);
        check(&img, &file);
        succeeds(&io, &["-r", "-c", "read -P 9 4M 1M", path]);
    }
}

#[test]
fn compressed_clusters_snapshots_and_backing_files_stay_intact() {
    let (Some(img), Some(io)) = (tool("qemu-img"), tool("qemu-io")) else { return };
    let raw = Temporary::new(&pattern(2 << 20));
    let base = Temporary::new(&[]);
    let (raw_path, base_path) = (raw.0.to_str().unwrap(), base.0.to_str().unwrap());
    succeeds(&img, &["convert", "-q", "-c", "-f", "raw", "-O", "qcow2", raw_path, base_path]);
    let compressed = base.bytes();
    let mut expected = pattern(2 << 20)[..1 << 20].to_vec();

    let overlay = Temporary::new(&[]);
    let overlay_path = overlay.0.to_str().unwrap();
    succeeds(&img, &["create", "-q", "-f", "qcow2", "-b", base_path, "-F", "qcow2", overlay_path]);
    exercise(&overlay, &mut expected.clone());
    check(&img, &overlay);
    assert_eq!(base.bytes(), compressed, "a backing file is not written");

    succeeds(&img, &["snapshot", "-c", "before", base_path]);
    succeeds(&io, &["-c", "write -P 3 256k 64k", base_path]);
    expected[256 << 10..320 << 10].fill(3);
    succeeds(&img, &["snapshot", "-c", "second", base_path]);
    exercise(&base, &mut expected);
    check(&img, &base);
    succeeds(&img, &["snapshot", "-a", "before", base_path]);
    assert_eq!(
        succeeds(&img, &["compare", "-f", "raw", "-F", "qcow2", raw_path, base_path]).trim(),
        "Images are identical."
    );
    check(&img, &base);
}

#[test]
fn opening_for_writing_warns_of_persistent_bitmaps_and_reading_keeps_them() {
    let Some(img) = tool("qemu-img") else { return };
    let file = Temporary::new(&[]);
    let path = file.0.to_str().unwrap();
    succeeds(&img, &["create", "-q", "-f", "qcow2", path, "4M"]);
    for name in ["monday", "tuesday"] {
        succeeds(&img, &["bitmap", "--add", path, name]);
    }
    let before = file.bytes();
    let reading = Block::new(DiskConfig { read_only: true, ..config(&file) }).unwrap();
    assert_eq!(reading.warnings(), []);
    drop(reading);
    assert_eq!(file.bytes(), before);
    let block = Block::new(config(&file)).unwrap();
    let [warning] = block.warnings() else { panic!("{:?}", block.warnings()) };
    assert_eq!(warning.code.as_str(), "DISK_FEATURES_CLEARED");
    assert!(warning.message.contains("its persistent bitmaps 'monday', 'tuesday' become inconsistent"), "{warning:?}");
    assert!(warning.message.contains(path), "{warning:?}");
    let mut guest = Guest::new(&block, FLUSH);
    assert_eq!(guest.write(0, &pattern(65536)), 0);
    assert_eq!(guest.request(VIRTIO_BLK_T_FLUSH, 0, &[]).0, 0);
    drop((guest, block));
    let again = Block::new(config(&file)).unwrap();
    assert_eq!(again.warnings(), [], "they are inconsistent already");
    drop(again);
    let output = run(&img, &["check", path]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("a program lacking bitmap support modified this file"), "{output:?}");
}

#[test]
fn images_that_qemu_img_encrypts_or_marks_are_refused() {
    let Some(img) = tool("qemu-img") else { return };
    for (options, message) in [
        // Not LUKS: qemu-img measures the time of its key derivation, which fails on a busy host.
        (&["encrypt.format=aes,encrypt.key-secret=key"][..], "is an encrypted qcow2 image (AES)"),
        (&["data_file=DATA"], "with an external data file"),
        (&["compression_type=zstd"], "with another compression than deflate"),
        (&["extended_l2=on"], "with extended L2 entries"),
    ] {
        let (file, data) = (Temporary::new(&[]), Temporary::new(&[]));
        let options = options[0].replace("DATA", data.0.to_str().unwrap());
        let secret = "secret,id=key,data=password";
        let path = file.0.to_str().unwrap();
        succeeds(&img, &["create", "-q", "--object", secret, "-f", "qcow2", "-o", &options, path, "4M"]);
        for read_only in [false, true] {
            let error = refused(&file, read_only);
            assert!(error.contains(message), "{error}");
        }
    }
}
