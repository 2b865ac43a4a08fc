//! How much more memory the host can give to this process.

use std::fmt;
use std::fs::read_to_string;
use std::path::{Path, PathBuf};

/// The memory that this process can still get, and what limits it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes, an estimate: other processes use memory, too.
    pub bytes: u64,
    limit: Limit,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Limit {
    Host,
    /// The folder of a control group.
    Group(PathBuf),
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.limit {
            Limit::Host => {
                write!(f, "the host can give {} bytes (MemAvailable and SwapFree in /proc/meminfo)", self.bytes)
            }
            Limit::Group(path) => write!(f, "the control group {} can give {} bytes", path.display(), self.bytes),
        }
    }
}

/// Returns the tightest limit: the host's free memory, or that of a control group that this process is in. `None` if the host does
/// not tell.
pub fn room() -> Option<Room> {
    room_of(Path::new("/"))
}

/// The same as [`room`], with `/proc` and `/sys` in the folder `root`.
fn room_of(root: &Path) -> Option<Room> {
    let meminfo = read_to_string(root.join("proc/meminfo")).ok()?;
    let swap = field(&meminfo, "SwapFree:").unwrap_or(0) << 10;
    let host = field(&meminfo, "MemAvailable:").map(|kib| Room { bytes: (kib << 10) + swap, limit: Limit::Host });
    let groups = read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let groups = groups.lines().flat_map(|line| of_group(root, line, swap)).collect::<Vec<_>>();
    groups.into_iter().chain(host).min_by_key(|room| room.bytes)
}

/// Names of the files of a control group.
struct Files {
    folder: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// Fields of `memory.stat`: page cache, which the kernel drops when the group needs memory.
    cache: [&'static str; 2],
}

const VERSION_1: Files = Files {
    folder: "sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    cache: ["total_inactive_file", "total_active_file"],
};
const VERSION_2: Files = Files {
    folder: "sys/fs/cgroup",
    limit: "memory.max",
    usage: "memory.current",
    cache: ["inactive_file", "active_file"],
};

/// Returns the limits of the group in a line of `/proc/self/cgroup`, and of the groups above it.
fn of_group(root: &Path, line: &str, swap: u64) -> Vec<Room> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let files = match controllers {
        "" => VERSION_2,
        _ if controllers.split(',').any(|controller| controller == "memory") => VERSION_1,
        _ => return Vec::new(),
    };
    let top = root.join(files.folder);
    let above = Path::new(path.trim_start_matches('/')).ancestors();
    above.filter_map(|group| of_folder(top.join(group), &files, swap)).collect()
}

fn of_folder(folder: PathBuf, files: &Files, swap: u64) -> Option<Room> {
    let number = |name: &str| read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    // Without a limit the file contains `max`, or does not exist.
    let left = number(files.limit)?.saturating_sub(number(files.usage)?);
    let stat = read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cache: u64 = files.cache.iter().filter_map(|name| field(&stat, name)).sum();
    // Groups of version 1 have no limit of swap alone.
    let swap_limit = number("memory.swap.max").zip(number("memory.swap.current"));
    let swap = swap_limit.map_or(swap, |(limit, usage)| swap.min(limit.saturating_sub(usage)));
    let bytes = left.saturating_add(cache).saturating_add(swap);
    Some(Room { bytes, limit: Limit::Group(folder) })
}

/// Returns the number after a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == name).and_then(|_| words.next())?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::scratch::Scratch;

    const MIB: u64 = 1 << 20;

    /// A host with 1000 MiB of memory and 24 MiB of swap, and these files.
    fn host(files: &[(&str, &str)]) -> (Scratch, Room) {
        let root = Scratch::new();
        let meminfo = "MemTotal: 9999999 kB\nMemAvailable: 1024000 kB\nSwapFree: 24576 kB\n";
        for (path, text) in [("proc/meminfo", meminfo)].iter().chain(files) {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let room = room_of(root.path()).unwrap();
        (root, room)
    }

    #[test]
    fn test_without_groups_the_host_is_the_limit() {
        let (_root, room) = host(&[]);
        assert_eq!(room, Room { bytes: 1024 * MIB, limit: Limit::Host });
    }

    #[test]
    fn test_a_group_above_limits_too_and_drops_its_page_cache() {
        let (root, room) = host(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/b/memory.current", "0\n"),
            ("sys/fs/cgroup/a/memory.max", "104857600\n"),
            ("sys/fs/cgroup/a/memory.current", "62914560\n"),
            ("sys/fs/cgroup/a/memory.stat", "anon 7\ninactive_file 1048576\nactive_file 2097152\n"),
            ("sys/fs/cgroup/a/memory.swap.max", "4194304\n"),
            ("sys/fs/cgroup/a/memory.swap.current", "0\n"),
        ]);
        assert_eq!(room, Room { bytes: (40 + 3 + 4) * MIB, limit: Limit::Group(root.path().join("sys/fs/cgroup/a")) });
    }

    #[test]
    fn test_a_group_of_version_1_limits_and_other_controllers_do_not() {
        let (_root, room) = host(&[
            ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/outside/of/this/namespace\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "104857600\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "104857600\n"),
        ]);
        assert_eq!(room.bytes, 24 * MIB);
    }

    #[test]
    fn test_a_host_that_does_not_tell_has_no_limit() {
        assert_eq!(room_of(Scratch::new().path()), None);
    }
}
