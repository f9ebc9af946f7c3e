//! Versions that cannot prove themselves: the card goes back by itself.

use e2e::story::Story;
use e2e::{Lab, LabError};

use crate::bundles::Images;
use crate::card::{self, BOOT, Slots};

/// Boots that a version has to prove itself in.
const TRIES: usize = 3;

pub(crate) fn tell(lab: &mut Lab, story: &mut Story, images: &Images) -> Result<(), LabError> {
    card::begin(lab, story)?;
    goes_back(lab, story, images, "panicking", "One whose first program ends: the kernel gives up")?;
    goes_back(lab, story, images, "failing", "One that comes up and does not forward")
}

fn goes_back(
    lab: &mut Lab,
    story: &mut Story,
    images: &Images,
    image: &str,
    title: &str,
) -> Result<(), LabError> {
    story.chapter(title);
    let (old, new) = (images.version("base")?, images.version(image)?);
    card::install(lab, story, &images.bundle(image))?;
    let before = lab.boots();
    card::system(lab, story, &["activate", &new, "--reboot", "--yes"])?;
    for boot in before + 1..=before + TRIES + 1 {
        lab.await_boot(boot, BOOT)?;
        story.say(format!("boot {boot}"));
    }
    lab.await_card()?;
    card::proven(lab, story, &old)?;
    let slots = Slots::of(lab)?;
    story.claim(slots.other() == (&new, "GIVEN_UP"), format!("{new} is given up: {:?}", slots.other()));
    let entries = card::entries(lab)?;
    let given_up = format!("nic-{new}+0-{TRIES}.efi");
    story.claim(entries.contains(&given_up), format!("after {TRIES} boots: {}", entries.join(" ")));
    story.claim(lab.boots() == before + TRIES + 1, "nobody was asked for anything");
    card::forwards(lab, story)
}
