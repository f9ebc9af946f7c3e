//! Kernel modules: which ones are needed, and in which order they can be loaded.

use std::collections::{BTreeMap, BTreeSet};

/// Which module needs which others, as `modules.dep` has it.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    /// By name: the file, and the files that must be loaded before it, in their order.
    found: BTreeMap<String, (String, Vec<String>)>,
}

impl Modules {
    /// Reads `modules.dep`.
    pub(crate) fn parse(text: &str) -> Modules {
        let mut found = BTreeMap::new();
        for line in text.lines() {
            let Some((file, needed)) = line.split_once(':') else { continue };
            // What is needed first stands last.
            let needed = needed.split_whitespace().rev().map(str::to_owned).collect();
            found.insert(name(file), (file.to_owned(), needed));
        }
        Modules { found }
    }

    /// The files of these modules and of all that they need, each once and behind what it needs. Names of
    /// modules that there are none of are left out.
    pub(crate) fn closure<'a>(&self, wanted: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for (file, needed) in wanted.into_iter().filter_map(|wanted| self.found.get(&name(wanted))) {
            for file in needed.iter().chain([file]) {
                if seen.insert(file.clone()) {
                    order.push(file.clone());
                }
            }
        }
        order
    }
}

/// The kernel's name of a module: `-` and `_` are the same in it.
fn name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split('.').next().unwrap_or(base).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/lib/crc16.ko.xz:
kernel/fs/jbd2/jbd2.ko.xz: kernel/lib/crc16.ko.xz
kernel/fs/ext4/ext4.ko.xz: kernel/fs/mbcache.ko.xz kernel/fs/jbd2/jbd2.ko.xz kernel/lib/crc16.ko.xz
kernel/fs/mbcache.ko.xz:
kernel/drivers/md/dm-mod.ko.xz:
";

    #[test]
    fn what_a_module_needs_comes_before_it_and_nothing_twice() {
        let modules = Modules::parse(DEP);
        let order = modules.closure(["jbd2", "ext4"]);
        let place = |name: &str| order.iter().position(|file| file.contains(name)).unwrap();
        assert_eq!(order.len(), 4);
        assert!(place("crc16") < place("jbd2"));
        assert!(place("jbd2") < place("ext4") && place("mbcache") < place("ext4"));
    }

    #[test]
    fn dashes_are_underscores_and_what_is_not_there_is_left_out() {
        let modules = Modules::parse(DEP);
        assert_eq!(modules.closure(["dm_mod", "virtio_pci"]), ["kernel/drivers/md/dm-mod.ko.xz"]);
        assert_eq!(modules.closure(["dm-mod"]), ["kernel/drivers/md/dm-mod.ko.xz"]);
    }
}
