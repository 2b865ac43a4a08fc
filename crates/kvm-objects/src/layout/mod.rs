//! The kernel's layout for TypeScript. The structures, numbers and tables here generate `ts/kvm/generated/`, and a test
//! compares the result. To regenerate it: `UPDATE_LAYOUT=1 cargo test -p kvm-accel-kvm-objects layout`.

mod constants;
mod structs;

use super::calls::{SYSTEM, VCPU, VM};
use std::fmt::Write as _;
use std::path::Path;

/// A member of a structure.
struct Field {
    name: &'static str,
    /// `u64`, `[u8; 8]`, `KvmSegment`, ...; `gpa` is a u64 below 2^53.
    kind: &'static str,
    offset: usize,
    size: usize,
}

/// A structure of the kernel.
struct Struct {
    /// The name in TypeScript.
    name: &'static str,
    /// The name in the kernel.
    kernel: &'static str,
    size: usize,
    fields: Vec<Field>,
}

/// Converts `data_offset` to `dataOffset`, and `type_` to `type`.
fn camel(name: &str) -> String {
    let mut words = name.split('_').filter(|word| !word.is_empty());
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(1);
        camel += &first.to_ascii_uppercase();
        camel += rest;
    }
    camel
}

/// Returns the element and the count of a kind.
fn element(kind: &str) -> (&str, usize) {
    match kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']')).and_then(|kind| kind.split_once(';')) {
        Some((element, count)) => (element.trim(), count.trim().parse().unwrap()),
        None => (kind, 1),
    }
}

fn field(field: &Field, before: &[Struct]) -> String {
    let (element, count) = element(field.kind);
    let array = field.kind.starts_with('[');
    let scalar = match element {
        "u8" => 1,
        "u16" => 2,
        "u32" | "i32" => 4,
        "u64" | "i64" | "gpa" => 8,
        _ => 0,
    };
    let size = if scalar > 0 { scalar } else { before.iter().find(|one| one.name == element).unwrap().size };
    assert_eq!(size * count, field.size, "{}: {}", field.name, field.kind);
    let offset = field.offset;
    match (scalar > 0, array) {
        (true, false) => format!("{element}({offset})"),
        (true, true) => format!("{element}s({offset}, {count})"),
        (false, false) => format!("nested({offset}, {element})"),
        (false, true) => format!("nesteds({offset}, {count}, {element})"),
    }
}

const HEAD: &str = "// Written from the kernel's headers by crates/kvm-objects/src/layout. Do not edit.\n\n";

fn structs_ts(group: &[Struct]) -> String {
    let mut body = String::new();
    for (index, one) in group.iter().enumerate() {
        let Struct { name, kernel, size, fields } = one;
        let _ = writeln!(body, "\n/** The kernel's `{kernel}`. */");
        let _ = writeln!(body, "export const {name} = struct('{kernel}', {size}, {{");
        for one in fields {
            assert!(one.offset + one.size <= *size, "{kernel}.{}", one.name);
            let _ = writeln!(body, "  {}: {},", camel(one.name), field(one, &group[..index]));
        }
        let _ = writeln!(body, "}})\n/** A view of a `{kernel}`. */\nexport type {name} = InstanceType<typeof {name}>");
    }
    let kinds = "gpa i32 i64 nested nesteds struct u16 u32 u64 u64s u8 u8s";
    let used: Vec<_> = kinds.split(' ').filter(|kind| body.contains(&format!(" {kind}("))).collect();
    format!("{HEAD}import {{ {} }} from '../struct.js'\n{body}", used.join(", "))
}

fn constants_ts() -> String {
    let mut text = HEAD.to_owned();
    for (title, constants) in constants::all() {
        let _ = writeln!(text, "// {title}");
        for (name, value) in *constants {
            let _ = writeln!(text, "export const {name} = {value}");
        }
        text.push('\n');
    }
    text.pop();
    text
}

fn requests_ts() -> String {
    let mut text = HEAD.to_owned();
    for (name, table) in [("systemRequests", SYSTEM), ("vmRequests", VM), ("vcpuRequests", VCPU)] {
        let _ = writeln!(text, "export const {name} = {{");
        for call in table {
            let _ = writeln!(text, "  {}: {:#x},", call.name, call.request);
        }
        text += "} as const\n\n";
    }
    text.pop();
    text
}

#[test]
fn test_typescript_has_the_kernels_layout() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ts/kvm/generated");
    for (name, text) in [
        ("run-page.ts", structs_ts(&structs::run())),
        ("vcpu-structs.ts", structs_ts(&structs::vcpu())),
        ("vm-structs.ts", structs_ts(&structs::vm())),
        ("constants.ts", constants_ts()),
        ("requests.ts", requests_ts()),
    ] {
        let path = folder.join(name);
        if std::env::var_os("UPDATE_LAYOUT").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, text).unwrap();
        } else {
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{name}");
        }
    }
}
