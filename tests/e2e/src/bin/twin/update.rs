//! A newer version: what is refused, what is installed and proves itself, and the way back.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use e2e::story::Story;
use e2e::{Lab, LabError, number};

use crate::bundles::{Images, Recipe, later, next_week};
use crate::card::{self, BOOT, Slots};

/// Octets of a root image that are more than its partition has.
const TOO_LARGE: u64 = 208 << 20;
/// A station that is added to the configuration of the newer version.
const ADDED: &str =
    "---\napiVersion: nic.v1\nkind: Port\nname: ports/vm3\nspec: {device: pf0vf2, mtu: 1450}\n";

pub(crate) fn tell(lab: &mut Lab, story: &mut Story, images: &Images) -> Result<(), LabError> {
    card::begin(lab, story)?;
    let (old, new) = (images.version("base")?, images.version("newer")?);
    card::proven(lab, story, &old)?;
    refused(lab, story, images, &old)?;

    story.chapter("A newer version is installed, and nobody notices");
    let bundle = images.bundle("newer");
    let took = card::under_traffic(lab, story, |lab, story| card::install(lab, story, &bundle))?;
    story.figure("install_seconds", took.as_secs_f64());
    let slots = Slots::of(lab)?;
    story.claim(slots.other() == (&new, "INSTALLED"), format!("{new} waits in the other slot"));

    story.chapter("It is activated, and the card restarts");
    card::system(lab, story, &["activate", &new])?;
    let start = Instant::now();
    card::system(lab, story, &["reboot"])?;
    lab.await_boot(2, BOOT)?;
    lab.await_card()?;
    story.say(format!("it answers again after {:.0} s", start.elapsed().as_secs_f64()));
    card::proven(lab, story, &new)?;
    let entries = card::entries(lab)?;
    story.claim(
        entries.contains(&format!("nic-{new}.efi")),
        format!("its boot entry says so: {}", entries.join(" ")),
    );
    card::forwards(lab, story)?;
    back(lab, story, &old)
}

/// Bundles that no card may take.
fn refused(lab: &mut Lab, story: &mut Story, images: &Images, version: &str) -> Result<(), LabError> {
    story.chapter("Bundles that are not good are refused, and what runs does not hear of them");
    let before = Slots::of(lab)?;
    for (what, bundle, because) in bad_bundles(lab.folder(), images, version)? {
        let answer = lab.nicctl(&["system", "install", &bundle.to_string_lossy()])?;
        let said = card::said(&answer);
        let clear = said.contains(because);
        story.claim(answer.code != 0 && clear, format!("{what}: {said}"));
        fs::remove_file(&bundle).map_err(LabError::io("removing a bundle"))?;
    }
    let after = Slots::of(lab)?;
    story.claim(after == before, "the slots are as they were");
    card::forwards(lab, story)
}

/// What is wrong with it, the bundle, and words of the refusal.
type Bad = (&'static str, PathBuf, &'static str);

fn bad_bundles(folder: &Path, images: &Images, version: &str) -> Result<Vec<Bad>, LabError> {
    let path = |name: &str| folder.join(format!("{name}.nicbundle"));
    let good = fs::read(images.bundle("newer")).map_err(LabError::io("reading the good bundle"))?;
    let write = |name: &str, octets: &[u8]| {
        let path = path(name);
        fs::write(&path, octets).map_err(LabError::io("writing a bad bundle")).map(|()| path)
    };
    let cut = write("cut-off", &good[..good.len() / 8])?;
    let corrupt = {
        let mut octets = good.clone();
        let middle = octets.len() / 2;
        octets[middle] ^= 1;
        write("corrupt", &octets)?
    };
    let unsigned = write("unsigned", &without_signatures(&good))?;

    let strangers = folder.join("strangers");
    images.foreign_keys(&strangers)?;
    let huge = folder.join("huge.img");
    let file = fs::File::create(&huge).map_err(LabError::io("making a large file"))?;
    file.set_len(TOO_LARGE).map_err(LabError::io("making a large file"))?;
    let (keys, targets) = (images.keys(), images.targets("newer"));
    let newest = later(version, 50);
    let usual = Recipe {
        keys: &keys,
        board: "generic",
        version: &newest,
        kind: "slot",
        expires: next_week(),
        targets: &targets,
    };
    let older = later(version, -50);
    let too_large = [huge.clone(), targets[1].clone()];
    let made = [
        ("stranger", Recipe { keys: &strangers, ..usual.clone() }),
        ("other-board", Recipe { board: "bluefield2", ..usual.clone() }),
        ("expired", Recipe { expires: 1_700_000_000, ..usual.clone() }),
        ("older", Recipe { version: &older, ..usual.clone() }),
        ("huge", Recipe { targets: &too_large, ..usual }),
    ];
    for (name, recipe) in &made {
        images.write(recipe, &path(name))?;
    }
    fs::remove_file(&huge).map_err(LabError::io("removing a large file"))?;
    Ok(vec![
        ("cut off", cut, "ends within"),
        ("one bit is another", corrupt, "not what the metadata says"),
        ("without signatures", unsigned, "not signed by enough keys"),
        ("signed by strangers", path("stranger"), "not signed by enough keys"),
        ("for another board", path("other-board"), "for board bluefield2"),
        ("expired", path("expired"), "expired"),
        ("older than what runs", path("older"), "only a newer one"),
        ("larger than a slot", path("huge"), "and the partition"),
    ])
}

/// The same bundle with all signatures zero.
fn without_signatures(good: &[u8]) -> Vec<u8> {
    let mut octets = good.to_vec();
    let key = b"\"sig\":";
    // They stand in the metadata, at the beginning.
    let limit = octets.len().min(1 << 16);
    let mut at = 0;
    while let Some(found) = octets[at..limit].windows(key.len()).position(|window| window == key) {
        let start = at + found + key.len();
        let digits = octets[start..limit].iter_mut().skip_while(|octet| !octet.is_ascii_hexdigit());
        digits.take_while(|octet| octet.is_ascii_hexdigit()).for_each(|octet| *octet = b'0');
        at = start;
    }
    octets
}

/// A rollback after the version had proven itself.
fn back(lab: &mut Lab, story: &mut Story, old: &str) -> Result<(), LabError> {
    story.chapter("The configuration is changed, and then somebody wants the old version back");
    let file = lab.folder().join("added.yaml");
    fs::write(&file, ADDED).map_err(LabError::io("writing the configuration"))?;
    let answer = lab.nicctl(&["apply", "-f", &file.to_string_lossy(), "--yes", "--wait"])?;
    story.claim(answer.code == 0, "a port is added to the configuration");
    let said = card::system(lab, story, &["rollback", "--yes"])?;
    story.claim(said.contains("lost"), "it says what of the configuration will be lost");
    card::system(lab, story, &["reboot"])?;
    lab.await_boot(3, BOOT)?;
    lab.await_card()?;
    card::proven(lab, story, old)?;
    let ports = lab.json(&["get", "ports"])?;
    let names = ports.to_string();
    story.claim(
        names.contains("ports/vm1") && !names.contains("ports/vm3"),
        "the configuration is the one of before: the added port is gone",
    );
    let status = lab.json(&["status"])?;
    story.say(format!("its revision: {}", number(&status["revision"])));
    card::forwards(lab, story)
}
