use super::*;
use crate::Failure;
use crate::config::plan::MachinePlan;
use kvm_accel_machine::devices::DelegatedMsrs;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// A machine in which every option is set.
fn whole() -> Value {
    let limits = json!({
        "bytesPerSecond": 0, "bytesPerSecondMax": 0, "bytesPerSecondMaxLength": 0,
        "operationsPerSecond": 0, "operationsPerSecondMax": 0, "operationsPerSecondMaxLength": 0,
    });
    let throttle = json!({ "total": limits, "reads": limits, "writes": limits, "operationSize": 0 });
    json!({
        "accel": {
            "kernelIrqchip": "on", "kvmShadowMem": null, "dirtyRingSize": 0, "notifyVmexit": "run", "notifyWindow": 0,
            "notifyRequired": false, "notifyBudget": { "exits": 3, "seconds": 1 }, "device": "/dev/kvm",
            "notifyAsked": false,
        },
        "memory": {
            "size": 1 << 24, "backend": "anonymous", "path": "", "share": false, "prealloc": false, "hugePages": 0,
        },
        "dumpGuestCore": true,
        "maxQueuedEvents": 1024,
        "cpus": 2,
        "topology": { "sockets": 1, "dies": 1, "cores": 2, "threads": 1 },
        "cpu": {
            "model": "host", "features": [{ "name": "avx2", "on": false }], "check": true, "enforce": false, "kvm": true,
            "vendor": null, "pmu": null, "migratable": false, "hostPhysBits": false, "physBits": 0, "hvSpinlocks": null, "hvVendorId": null, "tscKhz": null,
        },
        "cpuPm": false,
        "msrFilter": [{ "index": 0x10, "count": 1, "read": "18446744073709551615", "write": "ask" }],
        "busLockRatelimit": 0,
        "kernel": { "bytes": 1 },
        "firmware": { "path": "/firmware" },
        "kernelFormat": "auto",
        "initrd": [{ "image": { "bytes": 2 }, "cmdline": "first" }],
        "append": "console=ttyS0",
        "autoKernelCmdline": true,
        "serials": [{ "kind": "stdio" }, null, { "kind": "file", "path": "/log" }, { "kind": "stream" }],
        "debugConsole": { "port": 0xe9, "target": { "kind": "null" } },
        "pic": true,
        "pit": true,
        "hpet": false,
        "rtc": { "offset": -3_600_000, "clock": "vm" },
        "debugExit": { "iobase": 0xf4, "iosize": 4 },
        "fwCfg": { "opt/a": { "file": "/a" }, "opt/b": { "string": "b" }, "opt/c": { "bytes": 3 } },
        "testDevices": false,
        "pvpanic": true,
        "vmGenerationId": "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87",
        "acpi": true,
        "lostTickPolicy": "delay",
        "disks": [{
            "path": "/disk", "format": "qcow2", "readOnly": false, "id": "disk0", "serial": "S", "discard": true,
            "throttle": throttle,
        }],
        "networks": [
            { "backend": { "tap": { "name": "tap0", "create": false } }, "mac": "52:54:00:12:34:56", "id": "net0", "throttle": throttle },
            {
                "backend": { "user": { "forwards": [
                    { "protocol": "tcp", "hostAddress": "127.0.0.1", "hostPort": 8080, "guestPort": 80 },
                    { "protocol": "udp", "hostPort": 53, "guestPort": 53 },
                ] } },
                "mac": "52:54:00:12:34:57", "mtu": 9000, "id": "net1", "throttle": throttle,
            },
        ],
        "rng": { "source": "/dev/urandom", "maxBytes": 1024, "period": 1000 },
        "vsock": { "cid": 3, "path": null, "maxConnections": 128 },
        "balloon": { "deflateOnOom": true, "freePageReporting": false, "statisticsInterval": 0 },
        "consoles": [{ "target": { "kind": "stream" }, "name": "agent" }, { "target": { "kind": "null" }, "name": null }],
        "noReboot": true,
        "noShutdown": false,
        "trace": ["kvm_*"],
        "name": "program",
    })
}

fn read(config: &Value) -> Result<MachineConfig, Failure> {
    MachineConfig::from_json(&config.to_string())
}

fn plan(config: &Value) -> Result<MachinePlan, Failure> {
    let mut staged: HashMap<u32, Vec<u8>> = (1..=3).map(|token| (token, vec![0; 4])).collect();
    let msrs = Arc::new(DelegatedMsrs::new(Box::new(|_| {})));
    read(config)?.plan(&mut |token| staged.remove(&token), &msrs)
}

/// Returns the machine of `whole` with another value at a JSON pointer.
fn with(pointer: &str, value: Value) -> Value {
    let mut config = whole();
    *config.pointer_mut(pointer).unwrap() = value;
    config
}

#[track_caller]
fn assert_refused(config: &Value, option: &str, mentions: &str) {
    let failure = plan(config).err().unwrap_or_else(|| panic!("accepted, although {option} is wrong"));
    assert_eq!((failure.code.as_str(), failure.option.as_deref()), ("ERR_MACHINE_CONFIG", Some(option)), "{failure:?}");
    assert!(failure.message.contains(mentions), "{:?} does not mention {mentions:?}", failure.message);
    assert!(!failure.remedy.is_empty());
}

#[test]
fn test_a_configuration_survives_a_round_trip() {
    let config = read(&whole()).unwrap();
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(MachineConfig::from_json(&text).unwrap(), config);
}

#[test]
fn test_the_whole_machine_is_accepted() {
    plan(&whole()).unwrap();
}

#[test]
fn test_every_object_refuses_an_unknown_field_and_names_it() {
    fn objects(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.push(at.to_owned());
                for (name, field) in fields {
                    objects(field, &format!("{at}/{}", name.replace('/', "~1")), found);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    objects(item, &format!("{at}/{index}"), found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    objects(&whole(), "", &mut found);
    // The keys of `fwCfg` are names of files, not fields.
    for pointer in found.iter().filter(|pointer| *pointer != "/fwCfg") {
        let mut config = whole();
        config.pointer_mut(pointer).unwrap()["surplus"] = json!({});
        let failure = read(&config).err().unwrap_or_else(|| panic!("{pointer} accepted a surplus field"));
        assert_eq!(failure.code, "ERR_MACHINE_CONFIG");
        // An image and a file of `fw_cfg` are enumerations, which have a single field.
        let (option, _) =
            pointer.get(1..).unwrap_or_default().split_once('/').unwrap_or((pointer.get(1..).unwrap_or_default(), ""));
        assert_eq!(failure.option.as_deref(), Some(if pointer.is_empty() { "surplus" } else { option }), "{failure:?}");
    }
}

#[test]
fn test_a_missing_field_is_refused() {
    for (name, value) in whole().as_object().unwrap() {
        let mut config = whole();
        config.as_object_mut().unwrap().remove(name);
        match read(&config) {
            Err(failure) => assert!(failure.message.contains(name.as_str()), "{failure:?}"),
            Ok(_) => assert!(OPTIONAL.contains(&name.as_str()), "{name} can be missing: {value}"),
        }
    }
}

/// Fields that may be null or absent, with the same meaning.
const OPTIONAL: [&str; 9] =
    ["balloon", "debugConsole", "debugExit", "firmware", "kernel", "name", "rng", "vmGenerationId", "vsock"];

#[test]
fn test_a_wrong_type_is_refused_with_the_path_of_its_field() {
    assert_refused(&with("/memory/size", json!("16M")), "memory", "memory.size");
    assert_refused(&with("/memory/size", json!(-1)), "memory", "memory.size");
    assert_refused(&with("/disks/0/readOnly", json!(1)), "disks", "disks[0].readOnly");
    assert_refused(&with("/cpus", json!(1.5)), "cpus", "cpus");
    for events in [15, 65_537] {
        assert_refused(&with("/maxQueuedEvents", json!(events)), "maxQueuedEvents", "expected 16 to 65536");
    }
    assert_refused(&with("/kernel", json!({ "bytes": u64::MAX })), "kernel", "kernel");
    assert_refused(&with("/debugConsole/port", json!(0x1_0000)), "debugConsole", "debugConsole.port");
    assert_refused(&with("/lostTickPolicy", json!("catchup")), "lostTickPolicy", "catchup");
}

#[test]
fn test_text_that_is_not_json_is_refused() {
    for text in ["", "{", "[]", "null", "\u{0}"] {
        assert_eq!(MachineConfig::from_json(text).unwrap_err().code, "ERR_MACHINE_CONFIG");
    }
    let twice = whole().to_string() + "{}";
    assert_eq!(MachineConfig::from_json(&twice).unwrap_err().code, "ERR_MACHINE_CONFIG");
}

#[test]
fn test_values_out_of_range_are_refused() {
    let cases = [
        ("/memory/hugePages", json!(4096), "memory", "4096"),
        ("/cpus", json!(3), "topology", "cpus 3"),
        ("/cpus", json!(0), "topology", "cpus 0"),
        ("/topology/cores", json!(u32::MAX), "topology", "4294967295"),
        ("/cpu/tscKhz", json!(0), "cpu", "tscKhz"),
        ("/cpu/vendor", json!("Intel"), "cpu", "vendor is 'Intel'"),
        ("/cpu/hvVendorId", json!("thirteen long"), "cpu", "hvVendorId is 'thirteen long'"),
        ("/cpu/physBits", json!(31), "cpu", "physBits is 31"),
        ("/cpu/physBits", json!(53), "cpu", "physBits is 53"),
        ("/msrFilter/0/read", json!("18446744073709551616"), "msrFilter", "18446744073709551616"),
        ("/msrFilter/0/read", json!("-1"), "msrFilter", "-1"),
        ("/msrFilter/0/write", json!("7"), "msrFilter", "7"),
        ("/kernelFormat", json!("coff"), "kernelFormat", "coff"),
        ("/serials", json!([null, null, null, null, null]), "serials", "5"),
        ("/serials/0/kind", json!("pty"), "serials", "pty"),
        ("/rtc/offset", json!(0.5), "rtc", "rtc.offset"),
        ("/rtc/clock", json!("rt"), "rtc", "rt"),
        ("/debugExit/iosize", json!(0), "debugExit", "iosize"),
        ("/debugExit/iobase", json!(0x1_0000), "debugExit", "iobase"),
        ("/vmGenerationId", json!("324e6eaf"), "vmGenerationId", "324e6eaf"),
        ("/vmGenerationId", json!("324e6eaf-d1d1-4bf6-bf41-b9bb6c91fbég"), "vmGenerationId", "UUID"),
        ("/disks/0/format", json!("vmdk"), "disks", "vmdk"),
        ("/disks/0/throttle/reads/bytesPerSecond", json!(u64::MAX), "disks", "rate limit"),
        ("/networks/0/throttle/total/operationsPerSecond", json!(u64::MAX), "networks", "rate limit"),
        ("/networks/0/mac", json!("52:54:00:12:34"), "networks", "52:54:00:12:34"),
        ("/networks/0/mac", json!("52:54:00:12:34:+6"), "networks", "+6"),
        ("/networks/0/mtu", json!(0x1_0000), "networks", "networks[0]"),
        ("/networks/0/backend", json!({ "bridge": "br0" }), "networks", "bridge"),
        ("/networks/1/backend/user/forwards/0/hostPort", json!(0), "networks", "networks[1].backend"),
        ("/networks/1/backend/user/forwards/0/guestPort", json!(0x1_0000), "networks", "networks[1].backend"),
        ("/networks/1/backend/user/forwards/0/hostAddress", json!("a b"), "networks", "a b"),
        ("/networks/1/backend/user/forwards/0/hostAddress", json!(""), "networks", "''"),
        ("/rng/maxBytes", json!(0), "rng", "maxBytes"),
        ("/rng/period", json!(0), "rng", "period"),
        ("/vsock/maxConnections", json!(0), "vsock", "maxConnections"),
        ("/vsock/maxConnections", json!(1025), "vsock", "1025"),
        ("/balloon/statisticsInterval", json!(-1), "balloon", "balloon.statisticsInterval"),
    ];
    for (pointer, value, option, mentions) in cases {
        let mut config = whole();
        match config.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => config["networks"][0]["mtu"] = value,
        }
        assert_refused(&config, option, mentions);
    }
}

#[test]
fn test_accelerator_properties_keep_their_own_code() {
    let cases = [
        ("/accel/kernelIrqchip", json!("yes"), "kernel-irqchip"),
        ("/accel/kvmShadowMem", json!(-2), "kvm-shadow-mem"),
        ("/accel/dirtyRingSize", json!(3), "dirty-ring-size"),
        ("/accel/notifyVmexit", json!("warn"), "notify-vmexit"),
        ("/accel/notifyBudget/exits", json!(0), "notify-budget"),
        ("/accel/notifyBudget/seconds", json!(0), "notify-budget"),
    ];
    for (pointer, value, property) in cases {
        let failure = plan(&with(pointer, value)).err().unwrap();
        assert_eq!((failure.code.as_str(), failure.property.as_deref()), ("ERR_ACCEL_PROPERTY", Some(property)));
    }
}

#[test]
fn test_bytes_are_taken_once_and_an_unknown_token_is_refused() {
    assert_refused(&with("/kernel/bytes", json!(4)), "kernel", "token 4");
    assert_refused(&with("/kernel/bytes", json!(2)), "kernel", "token 2");
    assert_refused(&with("/initrd/0/image/bytes", json!(9)), "initrd", "token 9");
    assert_refused(&with("/fwCfg/opt~1c/bytes", json!(9)), "fwCfg", "token 9");
}

#[test]
fn test_the_generation_has_its_first_three_fields_reversed() {
    let bytes = generation::generation("324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87").unwrap();
    let expected = [0xaf, 0x6e, 0x4e, 0x32, 0xd1, 0xd1, 0xf6, 0x4b, 0xbf, 0x41, 0xb9, 0xbb, 0x6c, 0x91, 0xfb, 0x87];
    assert_eq!(bytes, expected);
}

#[test]
fn test_a_program_is_named_by_its_file_or_by_its_name() {
    for (path, name) in [("/boot/vmlinux", "vmlinux"), ("vmlinux", "vmlinux"), ("a/b//", "b"), ("..", "..")] {
        assert_eq!(Source::Path(path.into()).file_name(), Some(name));
    }
    assert_eq!(Source::Bytes(1).file_name(), None);
}
