//! Files that earlier versions wrote.

use super::*;

/// One of format 1, with objects of schema version 2.
const FIRST: &str = include_str!("policy.format-1.schema-2.txt");

/// The bytes of a file from its text, whose first lines say how.
fn bytes(text: &str) -> Vec<u8> {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let number = |text: &str| usize::from_str_radix(text, 16).expect("a number");
    let mut bytes = vec![0; number(lines.next().expect("a length"))];
    for line in lines {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("three words");
        let (mut offset, times, row) = (number(word()), word(), hex(word()));
        for _ in 0..times.parse::<usize>().expect("a number") {
            bytes[offset..offset + row.len()].copy_from_slice(&row);
            offset += row.len();
        }
    }
    bytes
}

fn hex(text: &str) -> Vec<u8> {
    let octet = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("an octet");
    (0..text.len()).step_by(2).map(octet).collect()
}

/// What the file says.
fn first() -> State {
    State::default().after(STORE, &full(7, puts(0..12, 0x102)))
}

#[test]
fn a_file_of_the_first_format_is_read_as_it_was_meant_and_goes_on_as_one_of_this_version() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("policy.redb"), bytes(FIRST)).expect("writable");
    let opened = crate::open(folder.path()).expect("nobody else uses it");
    let loaded = opened.loaded().expect("a policy");
    assert_eq!(State::of(loaded.store, &loaded.delta), first());
    let next = first().after(STORE, &delta(8, puts([3, 50], 1)));
    let keeper = opened.keep(0).expect("a thread");
    keeper.published(1, STORE, delta(8, puts([3, 50], 1)), Arc::new(next.clone()));
    let mut status = keeper.status();
    drop(keeper);
    assert!(status.borrow_and_update().not_saved.is_none());
    let opened = crate::open(folder.path()).expect("nobody else uses it");
    let loaded = opened.loaded().expect("a policy");
    assert_eq!(State::of(loaded.store, &loaded.delta), next);
}

#[test]
fn a_file_of_an_older_schema_is_written_afresh_by_the_first_change() {
    let disk = Disk::default();
    let mut bench = Bench::start(&disk);
    bench.publish(STORE, full(1, puts(0..12, 0)));
    assert_eq!(bench.writer.work(), None);
    drop(bench);
    let oldest = *nic_link::SCHEMA_VERSIONS.iter().min().expect("one");
    disk.set_meta("schema", &oldest.to_be_bytes());
    let mut bench = Bench::start(&disk);
    assert_eq!(bench.newest().revision, 1);
    assert_eq!(disk.meta("schema"), oldest.to_be_bytes());
    bench.publish(STORE, delta(2, puts([1], 1)));
    assert_eq!(bench.writer.work(), None);
    assert_eq!(disk.meta("schema"), crate::tables::newest_schema().to_be_bytes());
    assert_eq!(found(&disk.copy()).as_ref(), Some(bench.newest()));
}
