//! Parameters of nonsense, a data partition of garbage, a full ESP.

use e2e::story::Story;
use e2e::{Lab, LabError, PARAMETERS, POWER_ON};

use crate::bundles::Images;
use crate::card::{self, Slots};

/// The third line is no parameter, and the value of the fourth is none.
const NONSENSE: &str =
    "HOSTNAME=nonsense\nMANAGEMENT_ADDRESS=192.168.100.2/30\nKERNEL=mine\nMANAGEMENT_GATEWAY=$(reboot)\n";
/// What is left of the ESP: less than any boot entry needs.
const LEFT: u64 = 1 << 20;

pub(crate) fn tell(lab: &mut Lab, story: &mut Story, images: &Images) -> Result<(), LabError> {
    nonsense(lab, story)?;
    lab.put_parameters(PARAMETERS)?;
    card::begin(lab, story)?;
    let version = images.version("base")?;
    let taken_over = lab.shell("cat /proc/sys/kernel/hostname")?;
    story.claim(taken_over.trim() == "twin", "parameters that are good are taken over at the next boot");

    story.chapter("The data partition is overwritten with garbage, and the ESP is filled up");
    lab.cut_power();
    lab.spoil_partition("data")?;
    lab.fill_esp(LEFT)?;
    card::power_on_again(lab)?;
    let found = lab.shell("cat /run/nic/data")?;
    story.claim(found.trim() == "recreated", format!("the data partition is {}", found.trim()));
    let boot = lab.boots();
    let told = lab.console_of_boot(boot);
    let told = told.lines().find(|line| line.contains("data partition")).unwrap_or_default();
    story.claim(told.contains("made anew"), format!("the console says so: {}", told.trim()));
    card::is_closed(lab, story)?;
    let before = Slots::of(lab)?;
    let (runs, state) = before.running();
    story.claim(runs == version && state == "BLESSED", format!("version {runs} runs as before"));

    let answer = lab.nicctl(&["system", "install", &images.bundle("newer").to_string_lossy()])?;
    let said = card::said(&answer);
    let clear = ["room", "space", "full"].iter().any(|word| said.to_lowercase().contains(word));
    story.claim(answer.code != 0 && clear, format!("an install is refused: {said}"));
    story.claim(Slots::of(lab)? == before, "the slots are as they were");
    card::configure(lab, story)?;
    card::forwards(lab, story)
}

/// Nothing of such a file is used.
fn nonsense(lab: &mut Lab, story: &mut Story) -> Result<(), LabError> {
    story.chapter("Parameters of nonsense");
    lab.put_parameters(NONSENSE)?;
    lab.power_on()?;
    lab.await_words(1, "nothing of bf.cfg is used", POWER_ON)?;
    let told = lab.console_of_boot(1);
    for line in ["line 3 is not understood", "line 4: the value of MANAGEMENT_GATEWAY is not of its form"] {
        story.claim(told.contains(line), format!("the console says: {line}"));
    }
    // The shell comes when the boot is over.
    let host = lab.shell("cat /proc/sys/kernel/hostname; ls /data/system/parameters")?;
    story.claim(!host.contains("nonsense"), format!("its hostname is {}", host.trim()));
    let addresses = lab.shell("cat /proc/net/fib_trie")?;
    story.claim(!addresses.contains("192.168.100.2"), "it has no address of that file");
    lab.cut_power();
    Ok(())
}
