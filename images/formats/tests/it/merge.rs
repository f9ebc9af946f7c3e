//! An overlay over a site's own stream.

use std::io::Cursor;

use nic_image_formats::bfb::merge::{MergeError, merge};
use nic_image_formats::bfb::{Board, Image, ImageId, Overlay};
use proptest::prelude::*;

use crate::{default_bfb, found, id, image, private, read_bfb, stream};

fn overlay(board: Board) -> Vec<Image<'static>> {
    Overlay::new(board, "0.1.0")
        .image(ImageId::IMAGE, Cursor::new(b"kernel"))
        .image(ImageId::INITRAMFS, Cursor::new(b"first root"))
        .text(ImageId::BOOT_PATH, "our path")
        .text(ImageId::BOOT_ARGS, "our arguments")
        .seal(Some(&private()))
        .expect("an overlay")
}

fn merged(board: Board, theirs: &[u8], ours: Vec<Image<'_>>) -> Result<Vec<u8>, MergeError> {
    let mut out = Vec::new();
    merge(board, Cursor::new(theirs), ours, None, &mut out).map(|written| {
        assert_eq!(written, out.len() as u64);
        out
    })
}

#[test]
fn the_makers_stages_stay_and_ours_are_what_the_card_starts() {
    for (board, of) in [(Board::Bluefield2, 1), (Board::Bluefield3, 2)] {
        let theirs = default_bfb();
        let images = found(&merged(board, &theirs, overlay(board)).expect("a stream"));
        let makers = |images: &[(u64, u64, Vec<u8>)]| {
            images.iter().filter(|image| image.0 < 48 || image.0 == 52).cloned().collect::<Vec<_>>()
        };
        assert_eq!(makers(&images), makers(&found(&theirs)));
        let used = |number: u64| {
            let versions = images.iter().filter(|image| image.0 == number && image.1 <= of);
            versions.max_by_key(|image| image.1).map(|image| image.2.clone())
        };
        assert_eq!(used(59).as_deref(), Some(&b"our arguments"[..]));
        assert_eq!(used(58).as_deref(), Some(&b"our path"[..]));
        assert_eq!(used(62).as_deref(), Some(&b"kernel"[..]));
        assert_eq!(used(63).as_deref(), Some(&b"first root"[..]));
    }
}

#[test]
fn a_merged_stream_is_in_the_order_that_a_card_wants() {
    let images =
        found(&merged(Board::Bluefield3, &default_bfb(), overlay(Board::Bluefield3)).expect("a stream"));
    let order: Vec<(u64, u64)> = images.iter().map(|image| (image.0, image.1)).collect();
    let behind = [(52, 0), (55, 0), (58, 0), (58, 2), (59, 0), (59, 2), (50, 2), (62, 2), (63, 2)];
    assert_eq!(order[order.len() - behind.len()..], behind);
}

#[test]
fn ours_replace_theirs_of_the_same_id_and_version() {
    let images =
        found(&merged(Board::Bluefield3, &default_bfb(), overlay(Board::Bluefield3)).expect("a stream"));
    let arguments: Vec<&[u8]> = images.iter().filter(|image| image.0 == 59).map(|image| &*image.2).collect();
    assert_eq!(arguments, [&b"their arguments"[..], b"our arguments"]);
}

#[test]
fn the_sites_bf_cfg_stays_unless_there_is_another() {
    let theirs = stream(vec![image(1, 0, b"stage")], b"THEIRS=1\n");
    let trailer = |bytes: &[u8]| crate::unhex(read_bfb(bytes)["trailer"].as_str().expect("text"));
    let kept = merged(Board::Bluefield3, &theirs, overlay(Board::Bluefield3)).expect("a stream");
    assert_eq!(trailer(&kept), b"THEIRS=1\n");
    let mut out = Vec::new();
    let board = Board::Bluefield3;
    merge(board, Cursor::new(&theirs), overlay(board), Some(b"OURS=1\n"), &mut out).expect("a stream");
    assert_eq!(trailer(&out), b"OURS=1\n");
}

#[test]
fn what_could_not_start_is_refused() {
    let board = Board::Bluefield2;
    let refused = |theirs: &[u8], ours| merged(board, theirs, ours).expect_err("a refusal").to_string();
    let none = stream(vec![image(62, 0, b"their kernel")], b"");
    assert!(refused(&none, overlay(board)).contains("no boot loader stages for bluefield2"));
    let newer = stream(vec![image(1, 2, b"stage")], b"");
    assert!(refused(&newer, overlay(board)).contains("no boot loader stages for bluefield2"));
    let ours = vec![image(3, 1, b"a stage of ours")];
    assert!(refused(&default_bfb(), ours).contains("image 3 (bl31)"));
    let common = vec![image(59, 0, b"ours")];
    let hidden = merged(Board::Bluefield3, &default_bfb(), common).expect_err("a refusal").to_string();
    assert!(hidden.contains("would use image 59 (boot-args) v2"), "{hidden}");
    let mut damaged = default_bfb();
    damaged[30] ^= 1;
    assert!(matches!(merged(board, &damaged, overlay(board)), Err(MergeError::Theirs(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever else a site has: nothing of it is lost but what ours replace, and its order stays.
    #[test]
    fn nothing_of_the_sites_is_lost(
        more in prop::collection::btree_map(
            (0..=63_u8, 0..=2_u8),
            prop::collection::vec(any::<u8>(), 0..40),
            0..20,
        ),
    ) {
        let mut images: Vec<Image<'_>> =
            more.iter().map(|(&(number, of), bytes)| image(number, of, bytes)).collect();
        if !more.contains_key(&(1, 0)) {
            images.push(image(1, 0, b"stage"));
        }
        let theirs = stream(images, b"");
        let ours: Vec<(u64, u64)> = overlay(Board::Bluefield3)
            .iter()
            .map(|image| (image.id.number().into(), image.version.number().into()))
            .collect();
        let out = merged(Board::Bluefield3, &theirs, overlay(Board::Bluefield3)).expect("a stream");
        let merged = found(&out);
        let kept: Vec<_> =
            merged.iter().filter(|image| !ours.contains(&(image.0, image.1))).cloned().collect();
        let before: Vec<_> =
            found(&theirs).into_iter().filter(|image| !ours.contains(&(image.0, image.1))).collect();
        prop_assert_eq!(kept, before);
        // Known ids are in their order, and versions of one too.
        let ranks: Vec<_> = merged
            .iter()
            .filter(|image| id(image.0 as u8).name().is_some())
            .map(|image| (place(image.0), image.1))
            .collect();
        prop_assert!(ranks.is_sorted(), "{ranks:?}");
    }
}

/// Where an id stands, as the stream of all of them has it.
fn place(number: u64) -> usize {
    static ORDER: std::sync::OnceLock<Vec<u64>> = std::sync::OnceLock::new();
    let order = ORDER.get_or_init(|| {
        let all = (0..=63).filter(|number| id(*number).name().is_some());
        found(&stream(all.map(|number| image(number, 0, b"x")).collect(), b""))
            .iter()
            .map(|image| image.0)
            .collect()
    });
    order.iter().position(|other| *other == number).expect("an id with a name")
}
