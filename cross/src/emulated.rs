//! Tests of the pure crates, built for the cards and run under qemu's emulation of their processor: where a
//! width, an alignment or the order of memory differs, they tell.

use crate::binaries::{BuildError, Kit, Options, Profile};
use crate::places::Places;
use crate::process;

/// Debian's package of the emulator.
pub const HOST_PACKAGES: [&str; 1] = ["qemu-user-static"];

/// The crates of layers 0 and 1.
pub const PURE: [&str; 9] = [
    "nic-wire",
    "nic-flow",
    "nic-policy",
    "nic-table",
    "nic-model",
    "nic-compile",
    "nic-pipeline",
    "nic-slowpath",
    "soft-eswitch",
];

/// The processor whose instructions all boards have.
const CPU: &str = "generic";
/// Generated cases of a property: emulation takes ten times as long, and the cases are not about processors.
const CASES: &str = "16";

/// Builds and runs them; cargo shows what they say.
pub fn test(places: &Places, options: &Options) -> Result<(), BuildError> {
    let kit = Kit::provide(places, options)?;
    println!("cross: compiler: {}", kit.toolchain);
    let mut command = kit.cargo(places, "test", CPU);
    command.args(["--profile", Profile::Ci.name(), "--lib", "--tests", "--no-fail-fast", "--quiet"]);
    command.args(PURE.iter().flat_map(|package| ["--package", package]));
    command.env("PROPTEST_CASES", CASES);
    Ok(process::run(&mut command)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pure_crates_are_those_of_the_table_of_layers() {
        let page = include_str!("../../docs/architecture.md");
        let rows = page.lines().filter_map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let (name, layer) = (cells.next()?, cells.next()?);
            matches!(layer, "L0" | "L1").then(|| name.trim_matches('`').to_owned())
        });
        assert_eq!(rows.collect::<Vec<_>>(), PURE);
    }
}
