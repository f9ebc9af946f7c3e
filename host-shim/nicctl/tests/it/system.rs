//! `nicctl system`.

use nic_proto::v1::BundleKind;

use crate::mock::Mock;
use crate::{done, failed, nicctl, stderr};

#[test]
fn a_bundle_is_sent_whole_and_activated_if_that_is_asked_for() {
    let mock = Mock::start();
    let bundle = "0123456789".repeat(30_000);
    let file = mock.file("card.nicbundle", &bundle);
    let file = file.to_str().expect("UTF-8");
    let text = done(&mock, &["system", "install", file]);
    assert_eq!(text, "installed 1.3.0, 300000 octets\n");
    assert!(mock.state().software.received == bundle.as_bytes());
    assert_eq!(mock.state().software.asked, [""; 0]);
    done(&mock, &["system", "install", file, "--activate"]);
    done(&mock, &["system", "install", file, "--activate", "--reboot"]);
    assert_eq!(mock.state().software.asked, ["activate 1.3.0 false", "activate 1.3.0 true"]);
    assert_eq!(failed(&mock, &["system", "install", file, "--reboot"]).0, 2, "of what is not activated");
}

#[test]
fn a_bundle_comes_from_standard_input_too_and_what_it_does_not_hold_is_said() {
    let mock = Mock::start();
    let output = crate::with_input(&mock, &["system", "install", "-"], "some octets");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(mock.state().software.received, b"some octets");
    let (code, text) = failed(&mock, &["system", "install", "/nowhere/card.nicbundle"]);
    assert_eq!(code, 1);
    assert!(text.starts_with("error: /nowhere/card.nicbundle: "), "{text}");
}

#[test]
fn a_refused_bundle_is_told_with_the_cards_reason() {
    let mock = Mock::start();
    mock.state().software.refuse_at = Some(100_000);
    let file = mock.file("card.nicbundle", &"x".repeat(4 << 20));
    let (code, text) = failed(&mock, &["system", "install", file.to_str().expect("UTF-8")]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("for another board (INVALID_ARGUMENT, BUNDLE_BOARD)"), "{text}");
    assert!(text.contains("board: bluefield3"), "{text}");
    assert!(mock.state().software.received.len() < 4 << 20, "the rest is not sent");
}

#[test]
fn status_shows_both_slots_and_waits_until_what_runs_has_proven_itself() {
    let mock = Mock::start();
    let text = done(&mock, &["system", "status"]);
    let expected = "\
SLOT    RUNS  VERSION  STATE              BOOTS NEXT
root-b  yes   1.3.0    proven             yes
root-a  no    1.2.0    failed in 3 boots  no

version 1.4.0 is being installed: 25 %
";
    assert_eq!(text, expected);
    mock.state().software.looks = 2;
    assert!(done(&mock, &["system", "status"]).contains("on trial: boot 1 of 3"));
    let text = done(&mock, &["system", "status", "--wait"]);
    assert!(text.contains("proven"), "{text}");
    mock.state().software.looks = 9;
    let output = nicctl(&mock, &["system", "status", "--wait=0"]);
    assert_eq!(output.status.code(), Some(10), "{}", stderr(&output));
    let json = done(&mock, &["system", "status", "-o", "json"]);
    assert!(json.contains("\"nextVersion\": \"1.3.0\""), "{json}");
}

#[test]
fn a_rollback_says_what_it_means_and_a_dry_run_does_nothing() {
    let mock = Mock::start();
    let means = "the next boot takes version 1.2.0, and the configuration is that of revision 77 again: \
                 revisions 78 to 80 are lost\n";
    assert_eq!(done(&mock, &["system", "rollback", "--dry-run"]), means);
    assert_eq!(mock.state().software.asked, ["rollback true false"]);
    assert_eq!(done(&mock, &["system", "rollback", "--reboot", "--yes"]), means);
    assert_eq!(mock.state().software.asked[1..], ["rollback true false", "rollback false true"]);
}

#[test]
fn of_nic_agent_alone_it_is_said_that_no_packet_notices() {
    let mock = Mock::start();
    mock.state().software.kind = BundleKind::AgentAlone;
    let file = mock.file("agent.nicbundle", "some octets");
    let text = done(&mock, &["system", "install", file.to_str().expect("UTF-8"), "--activate"]);
    assert_eq!(text, "installed nic-agent 1.3.0, 11 octets\n");
    let text = done(&mock, &["system", "status"]);
    let expected = "\n\
NIC-AGENT        RUNS  VERSION  STATE
installed alone  yes   1.3.1    on trial: start 1 of 3
of the image     no    1.3.0    -
";
    assert!(text.contains(expected), "{text}");
    let output = nicctl(&mock, &["system", "status", "--wait=0"]);
    assert_eq!(output.status.code(), Some(10), "it has not proven itself: {}", stderr(&output));
    let text = done(&mock, &["system", "rollback"]);
    assert!(text.starts_with("nic-agent starts again, and no packet notices, as version 1.2.0"), "{text}");
}

#[test]
fn reboot_reset_and_activation_are_asked_of_the_card() {
    let mock = Mock::start();
    done(&mock, &["system", "activate", "1.3.0"]);
    done(&mock, &["system", "reboot"]);
    done(&mock, &["system", "factory-reset", "--reboot"]);
    assert_eq!(mock.state().software.asked, ["activate 1.3.0 false", "reboot", "reset true"]);
    assert_eq!(failed(&mock, &["system", "activate", "9.9.9"]).0, 5);
}
