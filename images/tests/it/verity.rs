//! The tree of hashes.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};

use images::{BLOCK, Verity, append_verity};

const SALT: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const UUID: &str = "6e69632d-6167-4e74-8000-000000000001";

fn read(file: &Path, verity: &Verity) -> Output {
    let reader = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verity.py");
    let mut command = Command::new("python3");
    command.arg(reader).arg(file).arg(&verity.root_hash);
    command.arg(verity.blocks.to_string()).arg(&verity.salt).output().expect("python3 runs")
}

#[test]
fn another_reader_finds_every_block_proved_and_every_changed_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("root");
    // More than one level of hashes, and an end within a block.
    let content: Vec<u8> = (0..BLOCK as u32 * 300 + 77).map(|at| (at % 251) as u8).collect();
    fs::write(&path, &content).expect("written");
    let verity = append_verity(&path, SALT, UUID).expect("a tree");
    assert_eq!((verity.blocks, verity.salt.as_str()), (301, SALT));
    let output = read(&path, &verity);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "301 blocks, 2 levels, 4 blocks of hashes\n");

    let size = fs::metadata(&path).expect("there").len();
    assert_eq!(size, (301 + 1 + 4) * BLOCK);
    let file = fs::File::options().read(true).write(true).open(&path).expect("opened");
    // The first octet, the last one, one of the description, one of each level.
    for at in [0, content.len() as u64 - 1, 301 * BLOCK, 302 * BLOCK + 5, 303 * BLOCK + 5, 305 * BLOCK] {
        let mut octet = [0];
        file.read_exact_at(&mut octet, at).expect("read");
        file.write_all_at(&[octet[0] ^ 1], at).expect("written");
        assert!(!read(&path, &verity).status.success(), "a changed octet at {at} is not found");
        file.write_all_at(&octet, at).expect("written");
    }
    assert!(read(&path, &verity).status.success());
}

#[test]
fn the_same_content_has_the_same_tree() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = ["a", "b"].map(|name| {
        let path = folder.path().join(name);
        fs::write(&path, [7; 9000]).expect("written");
        let verity = append_verity(&path, SALT, UUID).expect("a tree");
        (verity, fs::read(&path).expect("read"))
    });
    assert!(made[0] == made[1]);
}
