//! `flash`, with an rshim of files: `boot` is a pipe with a card behind it, `misc` a file
//! that the card writes.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, JoinHandle};

use nic_image_formats::bfb::merge::merge;
use nic_image_formats::bfb::{self, Board, Image, ImageId, Overlay, PrivateKey, Version};
use nic_proto::v1::{DatapathStatus, DeviceStatus, SystemStatus};
use tempfile::TempDir;

use crate::mock::Mock;
use crate::{done, failed};

/// The first test vector of RFC 8032.
const PRIVATE: &str = include_str!("../../../../images/formats/tests/test-key.pem");
const PUBLIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../images/formats/tests/test-key.pub.pem");
const OTHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../images/formats/tests/other-key.pub.pem");

/// Bytes of the kernel: more than a pipe holds.
const KERNEL: usize = 400_000;

/// An rshim in a temporary directory.
struct Card {
    folder: TempDir,
}

impl Card {
    /// Of one whose log says that it runs, and which has no `boot`: whoever opens it fails.
    fn new() -> Card {
        let card = Card { folder: tempfile::tempdir().expect("a folder") };
        card.says(&["INFO[BL2]: start", "INFO[MISC]: DPU is ready"], &[]);
        card
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn argument(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    fn says(&self, log: &[&str], settings: &[(&str, &str)]) {
        write_state(self.folder.path(), log, settings);
    }

    /// Gives it a `boot`. Once it got as many bytes, it logs; what it got is the answer.
    fn takes(&self, bytes: usize, log: &'static [&'static str]) -> JoinHandle<Vec<u8>> {
        let boot = self.path("boot");
        let made = Command::new("mkfifo").arg(&boot).status().expect("mkfifo");
        assert!(made.success());
        let folder = self.folder.path().to_owned();
        thread::spawn(move || {
            let mut got = Vec::new();
            File::open(boot).expect("a pipe").take(bytes as u64).read_to_end(&mut got).expect("an image");
            write_state(&folder, log, &[]);
            got
        })
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).expect("a file");
        self.argument(name)
    }

    /// `nicctl flash` of an image, with more arguments.
    fn flash<'a>(&'a self, image: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let rshim = self.folder.path().to_str().expect("UTF-8");
        let mut arguments = vec!["flash", image, "--rshim", rshim];
        arguments.extend(more);
        arguments
    }
}

/// Writes `misc` as the driver shows it, in one step.
fn write_state(folder: &Path, log: &[&str], settings: &[(&str, &str)]) {
    let mut text = String::from("DISPLAY_LEVEL   2 (0:basic, 1:advanced, 2:log)\n");
    let known = [("DROP_MODE", "0 (0:normal, 1:drop)"), ("DEV_INFO", "BlueField-3(Rev 1)")];
    for (name, value) in settings.iter().chain(&known) {
        text += &format!("{name:<16}{value}\n");
    }
    text += "-----\n             Log Messages\n-----\n";
    for line in log {
        text += &format!(" {line}\n");
    }
    fs::write(folder.join("misc.new"), text).expect("a file");
    fs::rename(folder.join("misc.new"), folder.join("misc")).expect("a file");
}

fn overlay(board: Board, key: Option<&PrivateKey>) -> Vec<Image<'static>> {
    Overlay::new(board, "0.1.0")
        .image(ImageId::IMAGE, std::io::Cursor::new(vec![7; KERNEL]))
        .text(ImageId::BOOT_ARGS, "console=hvc0")
        .seal(key)
        .expect("an overlay")
}

/// An image of ours with a maker's stages.
fn image(board: Board, key: Option<&PrivateKey>) -> Vec<u8> {
    let stage = Image::of_bytes(ImageId::new(1).expect("an id"), Version::COMMON, b"stage");
    let (mut theirs, mut out) = (Vec::new(), Vec::new());
    bfb::write(vec![stage], b"", &mut theirs).expect("a stream");
    merge(board, std::io::Cursor::new(theirs), overlay(board, key), None, &mut out).expect("a stream");
    out
}

fn signed(board: Board) -> Vec<u8> {
    image(board, Some(&PrivateKey::from_pem(PRIVATE).expect("a key")))
}

/// A status of a card with so many Ports.
fn status(version: &str, connected: bool, ports: usize) -> SystemStatus {
    let device = |index: usize| DeviceStatus {
        device: format!("p{index}"),
        present: true,
        port: if index < ports { format!("ports/p{index}") } else { String::new() },
        link_up: true,
    };
    SystemStatus {
        version: version.into(),
        datapath: Some(DatapathStatus { connected, ..DatapathStatus::default() }),
        devices: (0..2).map(device).collect(),
        ..SystemStatus::default()
    }
}

#[test]
fn flash_pushes_image_and_bf_cfg_and_asks_the_card_what_it_became() {
    let (mock, card) = (Mock::start(), Card::new());
    mock.state().system = Some(status("0.1.0", true, 0));
    let bytes = signed(Board::Bluefield3);
    let path = card.file("image.bfb", &bytes);
    let bf_cfg = card.file("bf.cfg", b"NIC_HOSTNAME=card-7\n");
    let whole = [bytes, b"NIC_HOSTNAME=card-7\n".to_vec()].concat();
    let log = &["INFO[BL2]: start", "INFO[MISC]: Linux up", "INFO[MISC]: DPU is ready \u{1b}[2J"];
    let boot = card.takes(whole.len(), log);
    let server = mock.server();
    let arguments =
        card.flash(&path, &["--key", PUBLIC, "--bf-cfg", &bf_cfg, "--check", &server, "-o", "json"]);
    let output = crate::nicctl(&mock, &arguments);
    let told = crate::stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert_eq!(boot.join().expect("a card"), whole);
    assert!(told.contains("pushed 100 %: 0.4 of 0.4 MiB"), "{told}");
    assert!(told.contains("card: INFO[MISC]: Linux up"), "{told}");
    assert!(told.contains("DPU is ready \\u{1b}[2J"), "what a card says commands no terminal: {told}");
    let json: serde_json::Value = serde_json::from_str(&crate::stdout(&output)).expect("JSON");
    assert_eq!(json["board"], "bluefield3");
    assert_eq!((json["version"].as_str(), json["answers"].as_str()), (Some("0.1.0"), Some("0.1.0")));
    assert_eq!(json["bytes"], whole.len());
    assert!(json["signedBy"].as_str().is_some_and(|id| id.len() == 64), "{json}");
    let shown = fs::read_to_string(card.path("misc")).expect("misc");
    assert!(shown.starts_with("CLEAR_ON_READ 0\n"), "the driver is left as it was: {shown}");
}

#[test]
fn a_card_that_comes_back_as_another_is_a_failure() {
    let (mock, card) = (Mock::start(), Card::new());
    mock.state().system = Some(status("0.0.9", true, 0));
    let bytes = signed(Board::Bluefield3);
    let path = card.file("image.bfb", &bytes);
    let boot =
        card.takes(bytes.len(), &["INFO[BL2]: start", "INFO[UEFI]: start", "INFO[MISC]: DPU is ready"]);
    let server = mock.server();
    let more = ["--key", PUBLIC, "--check", &server, "--boot-timeout", "5"];
    let (code, told) = failed(&mock, &card.flash(&path, &more));
    boot.join().expect("a card");
    assert_eq!(code, 11, "{told}");
    assert!(
        told.contains("does not answer with version 0.1.0 within 5 s: it answers with version 0.0.9"),
        "{told}"
    );
    assert!(told.contains("docs/flashing.md#recovery"), "{told}");
}

/// The exit code and text of a refusal: the card, which has no `boot`, was not touched.
fn refused(card: &Card, mock: &Mock, image: &str, more: &[&str]) -> (i32, String) {
    let (code, told) = failed(mock, &card.flash(image, more));
    assert!(told.ends_with("the card was not touched\n"), "{told}");
    assert!(!told.contains("does not take an image"), "boot was opened: {told}");
    (code, told)
}

#[test]
fn what_is_no_sound_image_is_refused_before_the_card_is_touched() {
    let (mock, card) = (Mock::start(), Card::new());
    let sound = signed(Board::Bluefield3);
    let mut damaged = sound.clone();
    damaged[KERNEL] ^= 1;
    for (bytes, text) in [
        (b"no image at all".to_vec(), "no BFB: it begins with something else"),
        (b"\xd0\x0d\xfe\xed".to_vec(), "a device tree"),
        (damaged, "is damaged: its CRC is"),
        (sound[..sound.len() - 100].to_vec(), "it ends within image 62 (image)"),
    ] {
        let path = card.file("image.bfb", &bytes);
        let (code, told) = refused(&card, &mock, &path, &["--key", PUBLIC, "--force"]);
        assert!(code == 3 && told.contains(text), "{code}: {told}");
    }
    let (code, told) = refused(&card, &mock, &card.argument("none.bfb"), &["--key", PUBLIC, "--force"]);
    assert!(code == 1 && told.contains("none.bfb: cannot be read"), "{code}: {told}");
}

#[test]
fn what_is_not_for_this_card_is_refused_before_it_is_touched() {
    let (mock, card) = (Mock::start(), Card::new());
    let refused = |bytes: &[u8], more: &[&str]| {
        let path = card.file("image.bfb", bytes);
        let (code, told) = refused(&card, &mock, &path, &[more, &["--force"]].concat());
        assert_eq!(code, 3, "{told}");
        told
    };
    let other = refused(&signed(Board::Bluefield2), &["--key", PUBLIC]);
    assert!(other.contains("it is for bluefield2, and this card is bluefield3"), "{other}");
    let unsigned = refused(&image(Board::Bluefield3, None), &["--key", PUBLIC]);
    assert!(unsigned.contains("the manifest is not signed"), "{unsigned}");
    let others = refused(&signed(Board::Bluefield3), &["--key", OTHER]);
    assert!(others.contains("not by the key"), "{others}");
    let no_key = card.file("no-key", b"nothing");
    assert!(refused(&signed(Board::Bluefield3), &["--key", &no_key]).contains("no public Ed25519 key"));
    let mut alone = Vec::new();
    bfb::write(overlay(Board::Bluefield3, None), b"", &mut alone).expect("a stream");
    assert!(refused(&alone, &["--unsigned"]).contains("to be merged with the site's default.bfb"));
    let large = refused(&signed(Board::Bluefield3), &["--unsigned", "--max-mib", "0"]);
    assert!(large.contains("more than 0; --max-mib"), "{large}");
    let zero = card.file("bf.cfg", b"A\0B");
    assert!(refused(&signed(Board::Bluefield3), &["--unsigned", "--bf-cfg", &zero]).contains("zero bytes"));
}

#[test]
fn a_card_that_takes_no_image_is_left_alone() {
    let (mock, card) = (Mock::start(), Card::new());
    let path = card.file("image.bfb", &signed(Board::Bluefield3));
    for (settings, code, text) in [
        (("DROP_MODE", "1 (0:normal, 1:drop)"), 6, "belongs to another rshim driver"),
        (("SECURE_NIC_MODE", "1 (0:no, 1:yes)"), 7, "secure NIC mode"),
        (("BF_MODE", "NIC mode"), 4, "its Arm cores start no image"),
        (("DEV_INFO", "BlueField-9(Rev 1)"), 4, "\"BlueField-9(Rev 1)\", which is no card"),
    ] {
        card.says(&["INFO[BL2]: start"], &[settings]);
        let (found, told) = refused(&card, &mock, &path, &["--key", PUBLIC, "--force"]);
        assert!(found == code && told.contains(text), "{found}: {told}");
    }
    fs::remove_file(card.path("misc")).expect("misc");
    let (code, told) = refused(&card, &mock, &path, &["--key", PUBLIC, "--force"]);
    assert!(code == 6 && told.contains("rshim does not answer"), "{code}: {told}");
}

#[test]
fn a_card_in_service_is_not_reset_unless_told_to() {
    let (mock, card) = (Mock::start(), Card::new());
    let path = card.file("image.bfb", &signed(Board::Bluefield3));
    let server = mock.server();
    let asked = ["--key", PUBLIC, "--check", &server];
    mock.state().system = Some(status("0.1.0", true, 2));
    let (code, told) = refused(&card, &mock, &path, &asked);
    assert!(code == 4 && told.contains("in service: 2 of its devices have Ports"), "{code}: {told}");
    mock.state().system = Some(status("0.1.0", false, 0));
    let (code, told) = refused(&card, &mock, &path, &asked);
    assert!(code == 4 && told.contains("has no nic-datapath"), "{code}: {told}");
    let (code, told) = refused(&card, &mock, &path, &["--key", PUBLIC]);
    assert!(code == 4 && told.contains("--check ADDRESS asks it"), "{code}: {told}");
    let (code, told) = refused(&card, &mock, &path, &["--key", PUBLIC, "--check", "unix:/nobody/there"]);
    assert!(code == 4 && told.contains("unix:/nobody/there does not answer"), "{code}: {told}");
    card.says(&[], &[]);
    let (code, told) = refused(&card, &mock, &path, &["--key", PUBLIC]);
    assert!(code == 4 && told.contains("nothing is in the card's log"), "{code}: {told}");

    // Then it goes on, and finds that this card has no boot.
    for more in [&["--force"][..], &["--force", "--check", &server]] {
        let (code, told) = failed(&mock, &card.flash(&path, &[&["--key", PUBLIC], more].concat()));
        assert!(
            code == 6 && told.contains("does not take an image: there is no such rshim"),
            "{code}: {told}"
        );
    }
    card.says(&["INFO[BL2]: start"], &[]);
    let (code, told) = failed(&mock, &card.flash(&path, &["--key", PUBLIC]));
    assert!(
        code == 6 && told.contains("does not take an image"),
        "a card that only starts serves nobody: {told}"
    );
}

#[test]
fn flash_says_whom_to_believe_or_refuses_the_command_line() {
    let (mock, card) = (Mock::start(), Card::new());
    assert_eq!(failed(&mock, &card.flash("image.bfb", &[])).0, 2);
    assert_eq!(failed(&mock, &card.flash("image.bfb", &["--key", PUBLIC, "--unsigned"])).0, 2);
    assert!(done(&mock, &["flash", "--help"]).contains("--rshim <DIR>"));
}

#[test]
fn an_overlay_is_merged_and_what_comes_out_is_shown_and_flashed() {
    let (mock, card) = (Mock::start(), Card::new());
    let stage = Image::of_bytes(ImageId::new(1).expect("an id"), Version::COMMON, b"stage");
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    bfb::write(vec![stage], b"", &mut theirs).expect("a stream");
    let key = PrivateKey::from_pem(PRIVATE).expect("a key");
    bfb::write(overlay(Board::Bluefield3, Some(&key)), b"", &mut ours).expect("a stream");
    let (theirs, ours) = (card.file("default.bfb", &theirs), card.file("overlay.bfb", &ours));
    let to = card.argument("image.bfb");
    let merge = ["bfb", "merge", &ours, "--over", &theirs, "--to", &to];
    let told = done(&mock, &[&merge[..], &["--key", PUBLIC]].concat());
    assert!(told.ends_with("bytes for a bluefield3 with nic-agent 0.1.0\n"), "{told}");
    assert_eq!(fs::read(&to).expect("an image"), signed(Board::Bluefield3));

    let shown = done(&mock, &["bfb", "show", &to]);
    assert!(shown.contains("62  image") && shown.contains("for a bluefield3: nic-agent 0.1.0"), "{shown}");
    let json: serde_json::Value =
        serde_json::from_str(&done(&mock, &["bfb", "show", &to, "-o", "json"])).expect("JSON");
    assert_eq!((&json["images"][0]["name"], &json["bfCfgBytes"]), (&"bl2".into(), &0.into()));
    assert!(mock.state().calls.is_empty(), "no card is asked");

    fs::remove_file(&to).expect("an image");
    for (more, text) in
        [(&["--key", OTHER][..], "not by the key"), (&["--over", &ours], "no boot loader stages")]
    {
        let mut arguments = merge.to_vec();
        if more[0] == "--over" {
            arguments[4] = more[1];
        } else {
            arguments.extend(more);
        }
        let (code, told) = failed(&mock, &arguments);
        assert!(code == 3 && told.contains(text), "{code}: {told}");
        assert!(!card.path("image.bfb").exists() && !card.path("image.bfb.part").exists());
    }
    let (code, told) = failed(&mock, &["bfb", "show", PUBLIC]);
    assert!(code == 3 && told.contains("no BFB"), "{code}: {told}");
}
