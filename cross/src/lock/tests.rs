use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A package that could be.
pub(crate) fn entry(name: &str, version: &str) -> Entry {
    Entry {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: "arm64".to_owned(),
        archive: Archive::Main,
        path: format!("pool/main/{name}_{version}_arm64.deb"),
        size: 1,
        sha256: format!("{:064x}", version.bytes().fold(7_u128, |sum, byte| sum * 31 + u128::from(byte))),
    }
}

fn lock_of(entries: Vec<Entry>) -> Lock {
    let section =
        Section { architecture: Architecture::Arm64, wanted: vec!["libc6-dev".into()], packages: entries };
    Lock { sections: BTreeMap::from([("sysroot".to_owned(), section)]) }
}

fn set<'a>(name: &'a str, wanted: &'a [&'a str], architecture: Architecture) -> Set<'a> {
    Set { name, architecture, wanted, keep: |_| true }
}

fn in_file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder of our own");
    let path = folder.path().join("packages.lock");
    fs::write(&path, text).expect("it can be written");
    (folder, path)
}

#[test]
fn the_committed_lock_is_right_and_has_the_sets_of_the_build() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packages.lock");
    let lock = Lock::read(&path).expect("it is right");
    let sets = [crate::toolchain::RUST, crate::toolchain::RUST_STD, crate::sysroot::SYSROOT];
    for set in sets {
        let section = lock.section(&set).expect("it is there");
        let stray = section.packages.iter().find(|entry| !(set.keep)(&entry.name));
        assert_eq!(stray, None, "[{}]", set.name);
    }
    // A compiler takes only the standard library that was built with it.
    let version = |set: &str, name: &str| {
        let found = lock.sections[set].packages.iter().find(|entry| entry.name == name);
        found.map(|entry| entry.version.clone()).unwrap_or_else(|| panic!("[{set}] has no {name}"))
    };
    assert_eq!(version("rust", "rustc-web"), version("rust-std", "libstd-rust-web-dev"));
}

#[test]
fn a_lock_that_is_not_there_is_empty_and_says_how_to_write_it() {
    let folder = tempfile::tempdir().expect("a folder of our own");
    let lock = Lock::read(&folder.path().join("packages.lock")).expect("it is empty");
    let error = lock.section(&set("sysroot", &["libc6-dev"], Architecture::Arm64)).expect_err("it is empty");
    assert_eq!(error.to_string(), "packages.lock has no section [sysroot]; write it by --update-lock");
}

#[test]
fn a_set_that_was_changed_is_told_by_what_is_new_and_what_is_gone() {
    let lock = lock_of(vec![entry("libc6", "2.36")]);
    let told = |wanted: &[&str], architecture| match lock.section(&set("sysroot", wanted, architecture)) {
        Ok(section) => format!("{} packages", section.packages.len()),
        Err(error) => error.to_string(),
    };
    assert_eq!(told(&["libc6-dev"], Architecture::Arm64), "1 packages");
    let other = told(&["libdpdk-dev"], Architecture::Arm64);
    assert!(other.contains("libdpdk-dev wanted now, libc6-dev wanted then"), "{other}");
    assert!(told(&["libc6-dev"], Architecture::Amd64).contains("another architecture"));
}

#[test]
fn a_lock_that_leads_elsewhere_is_refused_by_set_and_package() {
    let good = lock_of(vec![entry("libc6", "2.36")]).text();
    let error = |from: &str, to: &str| {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        let (_folder, path) = in_file(&text);
        Lock::read(&path).expect_err(to).to_string()
    };
    for (from, to, expected) in [
        ("\"libc6\"", "\"../libc6\"", "[sysroot]: ../libc6: its name or version"),
        ("\"2.36\"", "\"2/36\"", "[sysroot]: libc6: its name or version"),
        ("pool/main/", "http://elsewhere/", "[sysroot]: libc6: its path leaves"),
        ("pool/main/", "pool/../../", "[sysroot]: libc6: its path leaves"),
        ("sha256 = \"0", "sha256 = \"x", "[sysroot]: libc6: its sha256 is not"),
        ("sha256 = \"0", "sha256 = \"", "[sysroot]: libc6: its sha256 is not"),
        ("\"arm64\", archive", "\"riscv64\", archive", "[sysroot]: libc6: its architecture"),
        ("\"main\"", "\"elsewhere\"", "is no lock of packages"),
        ("size = 1", "size = -1", "is no lock of packages"),
    ] {
        let told = error(from, to);
        assert!(told.contains(expected), "{to}: {told}");
    }
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let one =
        ("[a-z0-9][a-z0-9+.-]{1,20}", "([0-9]:)?[0-9][A-Za-z0-9.+~-]{0,20}", any::<bool>(), any::<u64>());
    let one = one.prop_map(|(name, version, security, size)| Entry {
        archive: if security { Archive::Security } else { Archive::Main },
        size: size >> 1,
        path: format!("pool/main/{name}_arm64.deb"),
        ..entry(&name, &version)
    });
    vec(one, 0..20)
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was(entries in entries()) {
        let lock = lock_of(entries);
        let (_folder, path) = in_file("");
        lock.write(&path).expect("it can be written");
        prop_assert_eq!(Lock::read(&path).expect("it is right"), lock);
    }

    #[test]
    fn a_package_is_a_file_in_its_folder(entries in entries()) {
        for entry in entries {
            let name = entry.file_name();
            prop_assert_eq!(Path::new(&name).components().count(), 1);
            prop_assert!(name.ends_with("_arm64.deb") && !name.starts_with('.'));
        }
    }
}
