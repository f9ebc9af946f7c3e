//! FIT images, as Python, dtc's tools and U-Boot's own read them.

use std::path::Path;
use std::process::Command;

use nic_image_formats::fit::{self, Compression, Fit, FitError, Kernel, Part, STINGRAY_SLOT};
use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

use crate::{run, script, unhex};

const KERNEL: &[u8] = b"a kernel";
const DTB: &[u8] = b"a device tree";
const RAMDISK: &[u8] = b"a first root file system";

fn fit() -> Fit<'static> {
    Fit {
        description: "nic-agent 0.1.0 for stingray",
        timestamp: 1_700_000_000,
        kernel: Kernel {
            bytes: KERNEL,
            compression: Compression::None,
            unpacked: 16 << 20,
            load: 0x8008_0000,
            entry: 0x8008_0000,
        },
        dtb: Part { bytes: DTB, load: 0x8200_0000 },
        ramdisk: Part { bytes: RAMDISK, load: 0x9200_0000 },
        load: 0x9000_0000,
        limit: STINGRAY_SLOT,
        key_name: None,
    }
}

fn written(fit: &Fit<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    assert_eq!(fit::write(fit, &mut out).expect("a FIT"), out.len() as u64);
    out
}

fn read(bytes: &[u8]) -> Value {
    serde_json::from_slice(&run(&mut script("read_fit.py"), bytes)).expect("JSON")
}

/// A property by its path as Python found it.
fn property(tree: &Value, path: &[&str], name: &str) -> Vec<u8> {
    let node = path.iter().fold(tree, |node, name| &node["nodes"][name]);
    unhex(node["properties"][name].as_str().unwrap_or_else(|| panic!("{path:?} {name}")))
}

fn file(folder: &TempDir, bytes: &[u8]) -> std::path::PathBuf {
    let path = folder.path().join("image.itb");
    std::fs::write(&path, bytes).expect("a file");
    path
}

#[test]
fn a_reader_of_another_hand_finds_what_was_put_in() {
    let tree = read(&written(&fit()));
    for (node, bytes, load) in [
        ("kernel-1", KERNEL, 0x8008_0000_u32),
        ("fdt-1", DTB, 0x8200_0000),
        ("ramdisk-1", RAMDISK, 0x9200_0000),
    ] {
        assert_eq!(property(&tree, &["images", node], "data"), bytes, "{node}");
        assert_eq!(property(&tree, &["images", node], "load"), load.to_be_bytes(), "{node}");
        assert_eq!(property(&tree, &["images", node], "arch"), b"arm64\0", "{node}");
    }
    assert_eq!(property(&tree, &["configurations"], "default"), b"conf-1\0");
    assert_eq!(property(&tree, &["configurations", "conf-1"], "ramdisk"), b"ramdisk-1\0");
}

#[test]
fn u_boots_own_tools_read_it_and_find_its_hashes_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = file(&folder, &written(&fit()));
    let listed = run(Command::new("dumpimage").arg("-l").arg(&path), b"");
    let listed = String::from_utf8(listed).expect("text");
    for line in [
        "FIT description: nic-agent 0.1.0 for stingray",
        "Default Configuration: 'conf-1'",
        "Load Address: 0x80080000",
        "Load Address: 0x92000000",
        "Hash algo:    sha256",
        "Architecture: AArch64",
    ] {
        assert!(listed.contains(line), "{line} is not in {listed}");
    }
    let extracted = folder.path().join("kernel");
    run(Command::new("dumpimage").args(["-T", "flat_dt", "-p", "0", "-o"]).arg(&extracted).arg(&path), b"");
    assert_eq!(std::fs::read(&extracted).expect("a kernel"), KERNEL);
    let got = run(Command::new("fdtget").arg(&path).args(["/images/ramdisk-1", "compression"]), b"");
    assert_eq!(got, b"none\n");
}

#[test]
fn mkimage_signs_it_with_the_owners_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = file(&folder, &written(&Fit { key_name: Some("owner"), ..fit() }));
    let name = |name: &str| folder.path().join(name);
    let mut key = Command::new("openssl");
    key.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=owner", "-keyout"]);
    run(key.arg(name("owner.key")).arg("-out").arg(name("owner.crt")), b"");
    run(Command::new("mkimage").arg("-F").arg("-k").arg(folder.path()).arg("-r").arg(&path), b"");
    let tree = read(&std::fs::read(&path).expect("a file"));
    let value = property(&tree, &["configurations", "conf-1", "signature-1"], "value");
    assert_eq!(value.len(), 256);
    let hashed = property(&tree, &["configurations", "conf-1", "signature-1"], "hashed-nodes");
    for node in ["kernel-1", "fdt-1", "ramdisk-1"] {
        let node = format!("/images/{node}\0");
        assert!(hashed.windows(node.len()).any(|part| part == node.as_bytes()), "{node} is not signed");
    }
}

#[test]
fn more_than_a_slot_holds_is_refused_with_what_takes_the_room() {
    let ramdisk = vec![7; 20 << 20];
    let kernel = vec![7; 5 << 20];
    let mut large = fit();
    large.ramdisk.bytes = &ramdisk;
    large.kernel.bytes = &kernel;
    let mut out = Vec::new();
    let told = fit::write(&large, &mut out).expect_err("too large").to_string();
    assert!(out.is_empty());
    for part in ["room for 25165824", "kernel 5242880", "device tree 13", "ramdisk 20971520"] {
        assert!(told.contains(part), "{told}");
    }
    large.ramdisk.bytes = &ramdisk[..18 << 20];
    written(&large);
}

#[test]
fn what_would_lie_over_each_other_in_memory_is_refused() {
    let overlap = |change: fn(&mut Fit<'_>)| {
        let mut fit = fit();
        change(&mut fit);
        fit::write(&fit, &mut Vec::new()).expect_err("an overlap").to_string()
    };
    let told = overlap(|fit| fit.kernel.unpacked = 0x0200_0000);
    assert!(told.starts_with("the kernel at 0x80080000 and the device tree at 0x82000000 overlap"), "{told}");
    assert!(overlap(|fit| fit.kernel.unpacked = u64::MAX).contains("overlap"));
    assert!(
        overlap(|fit| fit.ramdisk.load = fit.load + 64).contains("the FIT at 0x90000000 and the ramdisk")
    );
    assert!(overlap(|fit| fit.dtb.load = fit.ramdisk.load).contains("overlap"));
}

#[test]
fn what_could_not_start_is_refused() {
    let refused = |change: fn(&mut Fit<'_>)| {
        let mut fit = fit();
        change(&mut fit);
        let mut out = Vec::new();
        let error = fit::write(&fit, &mut out).expect_err("a refusal");
        assert!(out.is_empty());
        error
    };
    assert!(matches!(refused(|fit| fit.dtb.bytes = b""), FitError::Empty("device tree")));
    assert!(matches!(refused(|fit| fit.kernel.entry = 0x100), FitError::Entry { .. }));
    assert!(matches!(refused(|fit| fit.key_name = Some("a\0b")), FitError::Text { field: "key_name" }));
}

#[test]
fn the_same_input_makes_the_same_bytes() {
    assert_eq!(written(&fit()), written(&fit()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_payloads_come_out_as_they_went_in(
        parts in prop::array::uniform3(prop::collection::vec(any::<u8>(), 1..200)),
        description in "[ -~]{0,40}",
    ) {
        let mut fit = fit();
        (fit.kernel.bytes, fit.dtb.bytes, fit.ramdisk.bytes) = (&parts[0], &parts[1], &parts[2]);
        fit.description = &description;
        let tree = read(&written(&fit));
        for (node, bytes) in ["kernel-1", "fdt-1", "ramdisk-1"].into_iter().zip(&parts) {
            prop_assert_eq!(&property(&tree, &["images", node], "data"), bytes);
        }
        prop_assert_eq!(property(&tree, &[], "description"), format!("{description}\0").into_bytes());
    }
}

#[test]
fn its_readers_are_there() {
    // `cargo xtask setup` installs them; without them nothing above says anything.
    for tool in ["/usr/bin/dumpimage", "/usr/bin/fdtget", "/usr/bin/mkimage"] {
        assert!(Path::new(tool).exists(), "{tool} is missing: run `cargo xtask setup`");
    }
}
