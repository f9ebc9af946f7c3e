//! Whom a card is given: signatures, boards, and that nothing else is started.

use std::io::{Cursor, Write};
use std::process::Command;

use nic_image_formats::bfb::merge::merge;
use nic_image_formats::bfb::{
    Board, Checked, Image, ImageId, KeyError, Overlay, PrivateKey, PublicKey, Trust, TrustError, survey,
};

use crate::{OTHER, default_bfb, image, private, public, run, script, stream, unhex};

const BOARD: Board = Board::Bluefield3;

fn overlay(key: Option<&PrivateKey>) -> Vec<Image<'static>> {
    Overlay::new(BOARD, "0.1.0")
        .image(ImageId::IMAGE, Cursor::new(b"kernel"))
        .image(ImageId::INITRAMFS, Cursor::new(b"first root"))
        .text(ImageId::BOOT_PATH, "our path")
        .text(ImageId::BOOT_ARGS, "our arguments")
        .seal(key)
        .expect("an overlay")
}

fn merged(theirs: &[u8], ours: Vec<Image<'_>>) -> Vec<u8> {
    let mut out = Vec::new();
    merge(BOARD, Cursor::new(theirs), ours, None, &mut out).expect("a stream");
    out
}

fn signed() -> Vec<u8> {
    merged(&default_bfb(), overlay(Some(&private())))
}

fn check(stream: &[u8], card: Board, trust: Trust<'_>) -> Result<Checked, TrustError> {
    survey(stream).expect("a sound stream").check(card, trust)
}

fn refused(stream: &[u8]) -> String {
    check(stream, BOARD, Trust::Key(&public())).expect_err("a refusal").to_string()
}

#[test]
fn a_stream_that_was_signed_is_believed() {
    let checked = check(&signed(), BOARD, Trust::Key(&public())).expect("a good stream");
    let manifest = checked.manifest.expect("a manifest");
    assert_eq!((manifest.board(), manifest.version()), (BOARD, "0.1.0"));
    assert_eq!(checked.signed_by, Some(public().id()));
}

#[test]
fn openssl_makes_the_same_of_key_and_signature() {
    let read = run(script("read_bfb.py").arg("--envelope"), &signed());
    let found: serde_json::Value = serde_json::from_slice(&read).expect("JSON");
    assert_eq!(found["envelope"]["manifest"]["board"], "bluefield3");
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, field: &serde_json::Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, unhex(field.as_str().expect("text"))).expect("a file");
        path
    };
    let signature = file("signature", &found["envelope"]["signatures"][0]);
    let message = file("message", &found["envelope"]["signed"]);
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/test-key.pub.pem");
    let mut verify = Command::new("openssl");
    verify.args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey", key, "-sigfile"]);
    verify.arg(signature).arg("-in").arg(message);
    let told = run(&mut verify, b"");
    assert!(told.starts_with(b"Signature Verified"), "{}", String::from_utf8_lossy(&told));
}

#[test]
fn unsigned_or_signed_by_others_is_refused() {
    assert!(refused(&merged(&default_bfb(), overlay(None))).contains("not signed"));
    let other = PublicKey::from_pem(OTHER).expect("a key");
    let error = check(&signed(), BOARD, Trust::Key(&other)).expect_err("a refusal").to_string();
    assert!(error.contains(&other.id()) && error.contains(&public().id()), "{error}");
    check(&merged(&default_bfb(), overlay(None)), BOARD, Trust::Anyone).expect("anyone's");
}

/// The image of that id in an overlay with other bytes in it.
fn with(mut images: Vec<Image<'static>>, id: ImageId, bytes: Vec<u8>) -> Vec<Image<'static>> {
    let image = images.iter_mut().find(|image| image.id == id).expect("an image");
    *image = Image::of_bytes(id, image.version, bytes);
    images
}

#[test]
fn a_manifest_that_was_changed_is_refused() {
    let mut images = overlay(Some(&private()));
    let info = images.iter_mut().find(|image| image.id == ImageId::INFO).expect("an image");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut info.source, &mut text).expect("text");
    let envelope: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let unsigned = overlay(None);
    let mut info = unsigned.into_iter().find(|image| image.id == ImageId::INFO).expect("an image");
    text.clear();
    std::io::Read::read_to_string(&mut info.source, &mut text).expect("text");
    let same: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(envelope["payload"], same["payload"], "only the signature differs");

    let mut other = same;
    other["signatures"] = envelope["signatures"].clone();
    let payload = Overlay::new(BOARD, "0.2.0").image(ImageId::IMAGE, Cursor::new(b"evil")).seal(None);
    let mut info = payload.expect("images").pop().expect("info");
    text.clear();
    std::io::Read::read_to_string(&mut info.source, &mut text).expect("text");
    let forged: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    other["payload"] = forged["payload"].clone();
    let images = with(overlay(None), ImageId::INFO, serde_json::to_vec(&other).expect("JSON"));
    assert!(refused(&merged(&default_bfb(), images)).contains("is wrong"));
}

#[test]
fn an_image_that_was_changed_is_refused_though_its_checksum_is_right() {
    let images = with(overlay(Some(&private())), ImageId::IMAGE, b"kernex".to_vec());
    assert!(
        refused(&merged(&default_bfb(), images)).contains("62 (image) v2 is not the one that was signed")
    );
    let mut images = overlay(Some(&private()));
    images.retain(|image| image.id != ImageId::INITRAMFS);
    assert!(
        refused(&merged(&default_bfb(), images)).contains("63 (initramfs) v2 of the manifest is missing")
    );
}

#[test]
fn an_image_that_nobody_signed_is_not_slipped_in() {
    let stages = || vec![image(1, 0, b"stage")];
    for slipped in [51, 54, 56, 48] {
        let mut theirs = stages();
        theirs.push(image(slipped, 0, b"slipped in"));
        let stream = merged(&stream(theirs, b""), overlay(Some(&private())));
        assert!(refused(&stream).contains(&format!("would use image {slipped}")), "{}", refused(&stream));
    }
    // Of what a card would use of the maker's own, nothing decides what is started.
    for harmless in [55, 57, 60, 52] {
        let mut theirs = stages();
        theirs.push(image(harmless, 0, b"the maker's"));
        let stream = merged(&stream(theirs, b""), overlay(Some(&private())));
        check(&stream, BOARD, Trust::Key(&public())).expect("a good stream");
    }
}

#[test]
fn a_stream_for_another_board_is_refused() {
    let error =
        check(&signed(), Board::Bluefield2, Trust::Key(&public())).expect_err("a refusal").to_string();
    assert_eq!(error, "it is for bluefield3, and this card is bluefield2");
    let newer = stream(vec![image(1, 0, b"stage"), image(62, 2, b"kernel")], b"");
    let error = check(&newer, Board::Bluefield2, Trust::Anyone).expect_err("a refusal").to_string();
    assert!(error.contains("no kernel"), "{error}");
}

#[test]
fn an_overlay_alone_is_refused() {
    let alone = stream(overlay(Some(&private())), b"");
    assert!(refused(&alone).contains("to be merged with the site's default.bfb"));
}

#[test]
fn a_makers_own_stream_is_for_those_who_ask_for_it() {
    let theirs = || vec![image(1, 0, b"stage"), image(62, 0, b"kernel"), image(50, 0, br#"{"Members": []}"#)];
    let error = refused(&stream(theirs(), b""));
    assert!(error.contains("none of ours"), "{error}");
    let checked = check(&stream(theirs(), b""), BOARD, Trust::Anyone).expect("a stream");
    assert_eq!(checked, Checked { manifest: None, signed_by: None });
    let without = stream(vec![image(1, 0, b"stage"), image(62, 0, b"kernel")], b"");
    assert!(matches!(check(&without, BOARD, Trust::Key(&public())), Err(TrustError::NoManifest)));
}

#[test]
fn a_makers_own_info_may_stand_beside_ours() {
    let theirs = stream(vec![image(1, 0, b"stage"), image(50, 0, b"not even JSON")], b"");
    check(&merged(&theirs, overlay(Some(&private()))), BOARD, Trust::Key(&public())).expect("a good stream");
    // One of ours for another board, too: a stream may be for several.
    let other = Overlay::new(Board::Bluefield2, "0.1.0").image(ImageId::IMAGE, Cursor::new(b"other"));
    let mut both = vec![image(1, 0, b"stage"), image(50, 15, br#"{"payloadType": ""}"#)];
    both.extend(other.seal(Some(&private())).expect("an overlay"));
    let both = merged(&stream(both, b""), overlay(Some(&private())));
    for (card, kernel) in [(BOARD, "kernel"), (Board::Bluefield2, "other")] {
        let manifest = check(&both, card, Trust::Key(&public())).expect("a good stream").manifest;
        let listed = manifest.expect("a manifest").images()[&(ImageId::IMAGE, card.version())];
        assert_eq!(listed.length, kernel.len() as u64);
    }
}

#[test]
fn of_two_manifests_for_a_board_the_one_at_its_version_counts() {
    let older = Overlay::new(BOARD, "0.0.9").image(ImageId::IMAGE, Cursor::new(b"older"));
    let mut older = older.seal(Some(&private())).expect("an overlay");
    for image in &mut older {
        image.version = crate::version(1);
    }
    older.push(image(1, 0, b"stage"));
    let stream = merged(&stream(older, b""), overlay(Some(&private())));
    let manifest = check(&stream, BOARD, Trust::Key(&public())).expect("a good stream").manifest;
    assert_eq!(manifest.expect("a manifest").version(), "0.1.0");
}

#[test]
fn what_is_no_key_is_refused() {
    assert!(matches!(PrivateKey::from_pem("nothing"), Err(KeyError::Private(_))));
    assert!(matches!(PublicKey::from_pem("nothing"), Err(KeyError::Public(_))));
    assert!(PublicKey::from_pem(crate::PRIVATE).is_err(), "a private key is not to be spread");
    assert_eq!(private().public(), public());
}

#[test]
fn bf_cfg_is_the_sites_and_not_signed() {
    let mut bytes = signed();
    bytes.write_all(b"NIC_HOSTNAME=card-7\n").expect("memory");
    let contents = survey(&*bytes).expect("a sound stream");
    assert_eq!(contents.bf_cfg, b"NIC_HOSTNAME=card-7\n");
    contents.check(BOARD, Trust::Key(&public())).expect("a good stream");
}
