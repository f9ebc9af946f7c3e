//! A machine with an empty disk, whose firmware takes the installer from the network.

use std::time::Instant;

use e2e::story::Story;
use e2e::{Lab, LabError, PARAMETERS, POWER_ON};

use crate::bundles::Images;
use crate::card::{self, Slots};

pub(crate) fn tell(lab: &mut Lab, story: &mut Story, images: &Images) -> Result<(), LabError> {
    story.chapter("The disk is empty; the firmware looks in the network (PXE)");
    let version = images.version("base")?;
    let start = Instant::now();
    lab.power_on()?;
    lab.await_words(1, "nic-install: writing version", POWER_ON)?;
    story.say(format!("the installer begins after {:.0} s, emulated", start.elapsed().as_secs_f64()));
    lab.await_words(1, "; restarting", POWER_ON)?;
    let seconds = start.elapsed().as_secs_f64();
    story.say(format!("it has written the disk, and read it back, after {seconds:.0} s, emulated"));
    story.figure("seconds_to_installed", seconds);
    let told = lab.console_of_boot(1);
    let told = told.lines().rfind(|line| line.contains("nic-install:")).unwrap_or_default();
    story.claim(told.contains(&format!("version {version} is on /dev/vda")), told.trim());
    lab.await_boot(2, POWER_ON)?;
    lab.cut_power();

    // From here on it is a disk as any other.
    lab.put_parameters(PARAMETERS)?;
    card::begin(lab, story)?;
    let slots = Slots::of(lab)?;
    let (runs, state) = slots.running();
    story.claim(runs == version && state == "BLESSED", format!("version {runs} runs from its disk"));
    let (other, _) = slots.other();
    story.claim(other.is_empty(), "its other slot is empty");
    Ok(())
}
