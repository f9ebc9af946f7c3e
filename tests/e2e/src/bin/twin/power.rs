//! Three real power cuts, at the worst moments: whatever boots is whole, and forwards as configured.

use std::time::{Duration, Instant};

use e2e::story::Story;
use e2e::{Lab, LabError, number};
use serde_json::Value;

use crate::bundles::Images;
use crate::card::{self, Slots};

/// Between two looks at an install, in which little of it is written.
const LOOK: Duration = Duration::from_millis(100);
/// How long it may take until the write of the root image is under way.
const UNDER_WAY: Duration = Duration::from_secs(300);

pub(crate) fn tell(lab: &mut Lab, story: &mut Story, images: &Images) -> Result<(), LabError> {
    card::begin(lab, story)?;
    let (old, new) = (images.version("base")?, images.version("newer")?);

    story.chapter("The power goes while a root image is being written");
    let written = cut_in_install(lab, images)?;
    story.say(format!("with {written} % of it written"));
    card::power_on_again(lab)?;
    card::proven(lab, story, &old)?;
    let slots = Slots::of(lab)?;
    story.claim(slots.other().0.is_empty(), format!("the other slot is empty: {:?}", slots.other()));
    card::forwards(lab, story)?;

    story.chapter("The power goes right after an activation");
    card::install(lab, story, &images.bundle("newer"))?;
    card::system(lab, story, &["activate", &new])?;
    lab.cut_power();
    card::power_on_again(lab)?;
    let slots = Slots::of(lab)?;
    let (runs, state) = slots.running();
    story.claim(runs == old || runs == new, format!("version {runs} runs: {state}"));
    story.claim(
        (runs, state) == (new.as_str(), "TRIAL"),
        "which is the one that was activated, and it is on trial",
    );

    story.chapter("The power goes in its first boot, before it has proven itself");
    lab.cut_power();
    card::power_on_again(lab)?;
    card::proven(lab, story, &new)?;
    let ports = lab.json(&["get", "ports"])?;
    story.claim(ports.to_string().contains("ports/vm1"), "the configuration is there");
    card::forwards(lab, story)
}

/// Cuts the power in the middle of an install; gives how many percent were written.
fn cut_in_install(lab: &mut Lab, images: &Images) -> Result<u64, LabError> {
    let (console, bundle) = (lab.console(), images.bundle("newer"));
    let install = std::thread::spawn(move || {
        // The power goes while it runs: what it says then is not of interest.
        let _ = console.nicctl(&["system", "install", &bundle.to_string_lossy()]);
    });
    let start = Instant::now();
    let percent = loop {
        let status: Value = lab.json(&["system", "status"])?;
        let (written, total) = (number(&status["install"]["written"]), number(&status["install"]["total"]));
        let percent = written * 100 / total.max(1);
        if percent >= 20 {
            break percent;
        }
        if start.elapsed() > UNDER_WAY {
            return Err(LabError::Late {
                what: "the write of a root image".into(),
                limit: UNDER_WAY,
                last: status.to_string(),
            });
        }
        std::thread::sleep(LOOK);
    };
    lab.cut_power();
    install.join().map_err(|_| LabError::Output {
        command: "nicctl system install".into(),
        output: String::new(),
        why: "its thread ended early".into(),
    })?;
    Ok(percent)
}
