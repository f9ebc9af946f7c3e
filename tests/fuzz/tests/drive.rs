//! Drives every target over its seeds and mutations of them, without libFuzzer.
//!
//! The same inputs come up each time. `NIC_FUZZ_SECONDS=600` goes on for that long per
//! target, with another start each time; `NIC_FUZZ_TARGET=arp` drives that target alone.

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nic_fuzz::TARGETS;

/// xorshift64*: small, seeded, good enough to pick bytes.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides.max(1)
    }

    fn byte(&mut self) -> u8 {
        // Values at which length and type fields turn.
        const EDGES: [u8; 8] = [0, 1, 4, 5, 0x40, 0x7f, 0x80, 0xff];
        if self.roll(3) == 0 { EDGES[self.roll(EDGES.len())] } else { self.roll(256) as u8 }
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder can be listed").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a seed can be read")).collect()
}

fn mutate(input: &mut Vec<u8>, seeds: &[Vec<u8>], dice: &mut Dice) {
    for _ in 0..=dice.roll(5) {
        let at = dice.roll(input.len() + 1);
        match dice.roll(8) {
            0 => input.truncate(at),
            1 => input.insert(at, dice.byte()),
            2 => {
                let other = &seeds[dice.roll(seeds.len())];
                input.truncate(at);
                input.extend_from_slice(&other[dice.roll(other.len() + 1)..]);
            }
            3 => {
                let end = at + dice.roll(input.len() - at + 1);
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            _ if at < input.len() && dice.roll(2) == 0 => input[at] ^= 1 << dice.roll(8),
            _ if at < input.len() => input[at] = dice.byte(),
            _ => {}
        }
    }
    input.truncate(4096);
}

fn drive(name: &str, target: fn(&[u8]), start: u64, more: impl Fn(u64) -> bool) {
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "{name} has no seeds");
    let mut dice = Dice(start);
    let mut count = 0;
    while count < seeds.len() as u64 || more(count) {
        let mut input = seeds[count as usize % seeds.len()].clone();
        if count >= seeds.len() as u64 {
            mutate(&mut input, &seeds, &mut dice);
        }
        let result = panic::catch_unwind(AssertUnwindSafe(|| target(&input)));
        if result.is_err() {
            let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
            panic!("{name} failed on input {count} from start {start}: {hex}");
        }
        count += 1;
    }
}

#[test]
fn no_input_breaks_a_promise() {
    let seconds = std::env::var("NIC_FUZZ_SECONDS").ok();
    let only = std::env::var("NIC_FUZZ_TARGET").ok();
    assert!(only.as_deref().is_none_or(|only| TARGETS.iter().any(|target| target.name == only)), "{only:?}");
    for target in TARGETS.iter().filter(|target| only.as_deref().is_none_or(|only| target.name == only)) {
        let (name, run) = (target.name, target.run);
        match &seconds {
            None => drive(name, run, 0x9e37_79b9_7f4a_7c15, |count| count < target.inputs),
            Some(seconds) => {
                let seconds = seconds.parse().expect("NIC_FUZZ_SECONDS is a number of seconds");
                let end = Instant::now() + Duration::from_secs(seconds);
                let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
                drive(name, run, now.as_nanos() as u64 | 1, |_| Instant::now() < end);
            }
        }
    }
}

#[test]
fn every_target_has_a_program() {
    for name in TARGETS.iter().map(|target| target.name) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("libfuzzer/fuzz_targets")
            .join(name)
            .with_extension("rs");
        let program = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(program.contains(&format!("::{name}(data)")), "{} runs another target", path.display());
    }
}
