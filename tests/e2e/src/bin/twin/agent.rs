//! nic-agent alone is replaced while packets cross the card: by a newer one, and by one that ends at once.

use std::fs;
use std::time::Duration;

use e2e::story::Story;
use e2e::{Lab, LabError};
use serde_json::Value;

use crate::bundles::{self, Images, Recipe, later, next_week};
use crate::card::{self, Slots};

/// How long a nic-agent may have to prove itself, or to be given up: all its starts.
const TRIAL: Duration = Duration::from_secs(900);

pub(crate) fn tell(lab: &mut Lab, story: &mut Story, images: &Images) -> Result<(), LabError> {
    card::begin(lab, story)?;
    let (image, newer) = (images.version("base")?, images.version("newer")?);
    card::proven(lab, story, &image)?;
    let forwarder = forwarder(lab)?;

    story.chapter("A newer nic-agent is installed alone, and activated");
    let bundle = images.file("newer", "agent.nicbundle");
    replaced(lab, story, &bundle, &newer)?;
    let slots = Slots::of(lab)?;
    story.claim(
        slots.agent(&newer) == ("BLESSED", true),
        format!("nic-agent {newer} serves, and has proven itself"),
    );
    story.claim(slots.running().0 == image, format!("on the image {image} as before"));
    story.claim(forwarder == self::forwarder(lab)?, "nic-datapath did not start again");

    story.chapter("One that ends as soon as it starts");
    let (program, bundle) = (lab.folder().join("ends"), lab.folder().join("ends.nicbundle"));
    fs::write(&program, bundles::program_that_ends()).map_err(LabError::io("writing a program"))?;
    let broken = later(&newer, 1);
    let keys = images.keys();
    let recipe = Recipe {
        keys: &keys,
        board: "generic",
        version: &broken,
        kind: "agent",
        expires: next_week(),
        targets: std::slice::from_ref(&program),
    };
    images.write(&recipe, &bundle)?;
    replaced(lab, story, &bundle, &broken)?;
    let slots = Slots::of(lab)?;
    story.claim(slots.agent(&broken) == ("GIVEN_UP", false), format!("nic-agent {broken} is given up"));
    story.claim(
        slots.agent(&newer) == ("BLESSED", true),
        format!("nic-agent {newer} serves again, and nobody was asked"),
    );
    story.claim(forwarder == self::forwarder(lab)?, "nic-datapath did not start again");
    card::forwards(lab, story)
}

/// Installs and activates it under traffic, until it is clear what becomes of it.
fn replaced(
    lab: &mut Lab,
    story: &mut Story,
    bundle: &std::path::Path,
    version: &str,
) -> Result<(), LabError> {
    card::under_traffic(lab, story, |lab, story| {
        card::install(lab, story, bundle)?;
        card::system(lab, story, &["activate", version])?;
        // While nic-agent starts again nobody answers.
        lab.until(&format!("an end of the trial of nic-agent {version}"), TRIAL, |lab| {
            let answer = lab.nicctl(&["system", "status", "-o", "json"])?;
            let slots = Slots(serde_json::from_str::<Value>(&answer.out).unwrap_or_default());
            let (state, _) = slots.agent(version);
            let serves = slots.serving().is_some();
            let done = serves && matches!(state, "BLESSED" | "GIVEN_UP");
            std::thread::sleep(Duration::from_millis(500));
            Ok(if done { Ok(()) } else { Err(answer.out + &answer.err) })
        })
    })
}

/// What tells whether nic-datapath is the one of before.
fn forwarder(lab: &mut Lab) -> Result<String, LabError> {
    lab.shell("systemctl show -p MainPID -p NRestarts -p ActiveEnterTimestampMonotonic nic-datapath")
}
