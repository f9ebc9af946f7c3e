//! What the image noted while the card booted: files of one line, each named after what it is about.

use std::path::Path;

use nic_policy::AlarmReason;
use nic_policy::alarm::Fault;

/// The most octets of a note that are told.
const LONGEST: usize = 400;

/// What was wrong with this boot.
pub(crate) fn faults(notes: Option<&Path>) -> Vec<Fault> {
    let Some(folder) = notes else { return Vec::new() };
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    let data = match read("data").trim() {
        "recreated" => Some(Fault::of_card(
            AlarmReason::DataRecreated,
            "the data partition was damaged beyond repair and made anew: there is no configuration any more",
        )),
        "absent" => Some(Fault::of_card(AlarmReason::DataAbsent, "the disk has no partition named data")),
        _ => None,
    };
    let refused: String = read("parameters-refused").trim().chars().take(LONGEST).collect();
    let parameters = (!refused.is_empty()).then(|| Fault::of_card(AlarmReason::ParametersRefused, refused));
    data.into_iter().chain(parameters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_boot_found_is_told_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let reasons = || faults(Some(folder.path())).iter().map(|fault| fault.reason).collect::<Vec<_>>();
        assert_eq!((reasons(), faults(None).len()), (Vec::new(), 0));
        let note = |name, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        note("data", "found\n");
        assert_eq!(reasons(), []);
        note("data", "recreated\n");
        note("parameters-refused", "line 2 is not understood\n");
        assert_eq!(reasons(), [AlarmReason::DataRecreated, AlarmReason::ParametersRefused]);
        note("data", "absent\n");
        assert_eq!(reasons(), [AlarmReason::DataAbsent, AlarmReason::ParametersRefused]);
        assert_eq!(faults(Some(folder.path()))[1].text, "line 2 is not understood");
    }
}
