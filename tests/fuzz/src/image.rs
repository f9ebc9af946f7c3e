//! Images for cards: any bytes are a sound stream or refused, and what is put over a sound one is what a card
//! takes.

use std::io::Cursor;

use nic_image_formats::bfb::merge::merge;
use nic_image_formats::bfb::{
    Board, Contents, ImageId, Manifest, Overlay, PublicKey, Trust, TrustError, survey, unseal,
};

/// The first test vector of RFC 8032.
const KEY: &str = include_str!("../../../images/formats/tests/test-key.pub.pem");

fn kept(contents: &Contents) -> Vec<(ImageId, u8, [u8; 32])> {
    let images = contents.images.iter();
    images.map(|found| (found.header.id, found.header.version.number(), found.sha256)).collect()
}

/// `nic_image_formats::bfb`: streams, and overlays over them.
pub fn bfb(bytes: &[u8]) {
    let Ok(contents) = survey(bytes) else {
        return;
    };
    assert_eq!(contents.bytes, bytes.len() as u64);
    for board in Board::ALL {
        let _ = contents.check(board, Trust::Anyone);
        let mut same = Vec::new();
        if merge(board, Cursor::new(bytes), Vec::new(), None, &mut same).is_err() {
            continue;
        }
        let again = survey(&*same).expect("what was written is sound");
        assert_eq!((kept(&again), &again.bf_cfg), (kept(&contents), &contents.bf_cfg));
        let ours = Overlay::new(board, "1").image(ImageId::IMAGE, Cursor::new(b"kernel")).seal(None);
        let mut merged = Vec::new();
        merge(board, Cursor::new(bytes), ours.expect("an overlay"), None, &mut merged)
            .expect("it has stages, and nothing is above a board's own version");
        let merged = survey(&*merged).expect("what was written is sound");
        match merged.check(board, Trust::Anyone) {
            Ok(checked) => assert_eq!(checked.manifest.expect("ours").board(), board),
            Err(error) => assert!(matches!(error, TrustError::NotListed { .. }), "{error}"),
        }
    }
}

/// The info image of a stream, and the manifest in it.
pub fn bfb_manifest(bytes: &[u8]) {
    let key = PublicKey::from_pem(KEY).expect("a key");
    let anyones = unseal(bytes, None).ok();
    if let Ok(manifest) = unseal(bytes, Some(&key)) {
        assert_eq!(Some(manifest), anyones);
    }
    if let Ok(manifest) = Manifest::parse(bytes) {
        let text = manifest.encode().expect("what was read can be written");
        assert_eq!(Manifest::parse(&text).expect("a manifest"), manifest);
    }
}
