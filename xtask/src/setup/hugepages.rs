//! Step two: hugepages, where the machine allows them. Nothing needs them, so
//! nothing here is an error; what happened is printed.

use std::fs;
use std::process::Command;

use crate::process::{self, Privilege};

const POOL: &str = "/proc/sys/vm/nr_hugepages";
const MEMORY: &str = "/proc/meminfo";

/// How many pages the lab can use. Of 2 MiB each, that is half a gigabyte.
const WANTED: u64 = 256;

/// Of the memory that is available, at most this part is taken for hugepages.
const LARGEST_PART: u64 = 8;

/// Sees to it that hugepages are there, and says how it went.
pub(super) fn reserve(privilege: Privilege) {
    println!("setup: hugepages: {}", try_reserve(privilege));
}

fn try_reserve(privilege: Privilege) -> String {
    let Some(before) = reserved() else {
        return "this kernel has none; ordinary memory is used".to_owned();
    };
    if before >= WANTED {
        return format!("{before} are reserved already");
    }
    let memory = fs::read_to_string(MEMORY).unwrap_or_default();
    let Some((size_kb, available_kb)) = size_and_available(&memory) else {
        return "their size is unknown; ordinary memory is used".to_owned();
    };
    if WANTED * size_kb > available_kb / LARGEST_PART {
        return format!("{WANTED} of {size_kb} KiB are too many for this machine; ordinary memory is used");
    }
    if privilege == Privilege::None {
        return format!("{before} are reserved, and only root may reserve more; ordinary memory is used");
    }
    let mut write: Command = privilege.command("sh");
    write.args(["-c", &format!("echo {WANTED} > {POOL}")]);
    if let Err(error) = process::output(&mut write) {
        return format!("the kernel refuses to reserve any ({error}); ordinary memory is used");
    }
    match reserved().unwrap_or(0) {
        after if after >= WANTED => format!("{after} of {size_kb} KiB reserved until the next boot"),
        after => format!("{after} of the {WANTED} wanted could be reserved"),
    }
}

fn reserved() -> Option<u64> {
    fs::read_to_string(POOL).ok()?.trim().parse().ok()
}

/// A hugepage's size and the available memory, in KiB, from /proc/meminfo.
fn size_and_available(meminfo: &str) -> Option<(u64, u64)> {
    let field = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    Some((field("Hugepagesize:")?, field("MemAvailable:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_and_memory_come_from_meminfo() {
        let text = "MemTotal:       100 kB\nMemAvailable:   24117248 kB\nHugepagesize:       2048 kB\n";
        assert_eq!(size_and_available(text), Some((2048, 24_117_248)));
        assert_eq!(size_and_available("MemAvailable: 1 kB\n"), None);
        assert_eq!(size_and_available("MemAvailable: x kB\nHugepagesize: 2048 kB\n"), None);
    }
}
