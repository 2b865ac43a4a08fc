//! Builds each program twice, with the C compiler and binutils on PATH: an ELF32 image with a multiboot-1 header, and
//! an ELF64 image with a PVH note. Both contain the same 32-bit code.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Flags for 32-bit freestanding code without instructions that need an FPU or set-up by the program.
const CFLAGS: &[&str] = &[
    "-m32",
    "-march=i686",
    "-std=gnu11",
    "-O1",
    "-Wall",
    "-Wextra",
    "-Wno-main",
    "-ffreestanding",
    "-nostdinc",
    "-fno-pic",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fcf-protection=none",
    "-mgeneral-regs-only",
];

fn main() {
    println!("cargo::rerun-if-changed=programs");
    println!("cargo::rerun-if-env-changed=CC");
    if let Err(problem) = build() {
        println!("cargo::error={problem}");
    }
}

fn build() -> Result<(), String> {
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    if arch != "x86_64" {
        return Err(format!("the guest programs are x86 code; there are none for {arch}"));
    }
    let out = PathBuf::from(env::var("OUT_DIR").map_err(|e| format!("OUT_DIR: {e}"))?);
    let runtime = ["start.S", "runtime.c", "smp.c"].map(|name| Path::new("programs/runtime").join(name));
    for (suffix, define) in [("multiboot", "-DMULTIBOOT"), ("pvh", "-DPVH")] {
        let runtime =
            runtime.iter().map(|source| compile(source, &out, suffix, define)).collect::<Result<Vec<_>, _>>()?;
        for program in programs()? {
            let object = compile(&program, &out, suffix, define)?;
            let image = object.with_extension("elf");
            let mut link = Command::new("ld");
            link.args(["-m", "elf_i386", "-n", "--build-id=none", "--gc-sections", "--strip-all"])
                .args(["--no-warn-rwx-segments", "-T", "programs/runtime/link.ld", "-o"])
                .arg(&image)
                .args(&runtime)
                .arg(&object);
            run(link, "GNU ld (Debian, Ubuntu: apt install binutils)")?;
            if suffix == "pvh" {
                let mut widen = Command::new("objcopy");
                widen.args(["-O", "elf64-x86-64"]).arg(&image);
                run(widen, "GNU objcopy (Debian, Ubuntu: apt install binutils)")?;
            }
        }
    }
    Ok(())
}

/// Returns the program sources, one file each, in a stable order.
fn programs() -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir("programs").map_err(|e| format!("programs: {e}"))?;
    let mut sources: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    sources.sort();
    Ok(sources)
}

fn compile(source: &Path, out: &Path, suffix: &str, define: &str) -> Result<PathBuf, String> {
    let stem = source.file_stem().unwrap_or_default().to_string_lossy();
    // The folder is part of the name, because the runtime and a program may have files of the same name.
    let folder = source.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let object = out.join(format!("{folder}-{stem}.{suffix}.o"));
    let mut compile = Command::new(env::var("CC").unwrap_or_else(|_| "cc".into()));
    compile.args(CFLAGS).args([define, "-c", "-o"]).arg(&object).arg(source);
    run(compile, "a C compiler for x86 (Debian, Ubuntu: apt install gcc)")?;
    Ok(object)
}

fn run(mut command: Command, needed: &str) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.output().map_err(|e| format!("cannot run `{program}` ({e}); the guest programs need {needed}"))?;
    let report = String::from_utf8_lossy(&output.stderr).trim_end().replace('\n', " | ");
    if output.status.success() {
        if !report.is_empty() {
            println!("cargo::warning={report}");
        }
        return Ok(());
    }
    Err(format!("`{program}` failed; the guest programs need {needed}: {report}"))
}
