//! Whole updates on a card in memory, and on files.

mod agents;
mod folders;
mod lifecycle;
mod power;
mod refusals;
mod signing;
mod world;

use std::num::NonZeroU64;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::bundle::{self, Contents, Key, Kind, Manifest, Source};
use crate::{Updater, Version};

use world::{BOARD, Booted, Build, version};

/// When everything that is signed here expires, unless a test says otherwise.
const EXPIRES: u64 = 1_900_000_000;

fn time(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn number(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).expect("not 0")
}

fn new_key() -> Key {
    Key::generate().expect("random numbers")
}

/// The key of those who make bundles.
fn key() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(new_key)
}

fn first_root(key: &Key) -> Vec<u8> {
    let keys = std::slice::from_ref(key);
    bundle::make_root(number(1), time(EXPIRES), keys, number(1), keys).expect("a root")
}

/// The root of trust that every image has.
fn root() -> &'static Vec<u8> {
    static ROOT: OnceLock<Vec<u8>> = OnceLock::new();
    ROOT.get_or_init(|| first_root(key()))
}

/// How a bundle differs from an ordinary one.
struct Recipe<'a> {
    kind: Kind,
    version: Version,
    release: u64,
    board: &'a str,
    expires: u64,
    key: &'a Key,
    roots: Vec<Vec<u8>>,
}

impl Recipe<'_> {
    fn of(number: u32) -> Recipe<'static> {
        Recipe {
            kind: Kind::Slot,
            version: version(number),
            release: u64::from(number),
            board: BOARD,
            expires: EXPIRES,
            key: key(),
            roots: vec![root().clone()],
        }
    }

    fn bundle(&self) -> Vec<u8> {
        let targets = match self.kind {
            Kind::Slot => {
                let Build { image, uki, .. } = Build::of(self.version);
                vec![image.clone(), uki.clone()]
            }
            Kind::Agent => vec![agents::program(self.version)],
        };
        let contents = Contents {
            manifest: Manifest { board: self.board.to_owned(), version: self.version, kind: self.kind },
            release: number(self.release),
            expires: time(self.expires),
            targets: targets.iter().map(|bytes| Source::Bytes(bytes)).collect(),
        };
        let mut bytes = Vec::new();
        let keys = std::slice::from_ref(self.key);
        bundle::write(&mut bytes, &self.roots, keys, &contents).expect("a bundle");
        bytes
    }
}

/// An ordinary bundle of a version.
fn bundle(number: u32) -> Vec<u8> {
    static MADE: [OnceLock<Vec<u8>>; 10] = [const { OnceLock::new() }; 10];
    MADE[number as usize].get_or_init(|| Recipe::of(number).bundle()).clone()
}

fn updater(booted: Booted) -> Updater {
    Updater::new(std::sync::Arc::new(booted))
}
