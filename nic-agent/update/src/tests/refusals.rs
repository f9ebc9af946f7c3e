//! Bundles that are refused, each for its reason. What runs is untouched, and what is refused for its
//! metadata leaves the other slot alone too.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::bundle::{BundleError, MAGIC, METADATA_LIMIT, make_root};
use crate::medium::Slot;
use crate::{GRACE, InstallError, MetadataError, SLOWEST, Updater};

use super::world::{Build, World, version};
use super::{EXPIRES, Recipe, bundle, new_key, root, updater};

/// A card with an older update in its other slot, which has proven itself.
fn card() -> (World, Updater) {
    let world = World::flashed(root().clone());
    let old = updater(world.boot(|_| true));
    old.install(&mut bundle(2).as_slice()).expect("installed");
    old.activate(version(2)).expect("activated");
    world.shut_down();
    let new = updater(world.boot(|_| true));
    new.bless().expect("blessed");
    (world, new)
}

/// Nothing at all was written.
fn refused_before_anything(bytes: &[u8], why: impl Fn(&InstallError) -> bool) {
    let (world, card) = card();
    refused_by(&world, &card, &mut &bytes[..], why);
}

fn refused_by(world: &World, card: &Updater, source: &mut dyn Read, why: impl Fn(&InstallError) -> bool) {
    let writes = world.writes();
    let error = card.install(source).expect_err("refused");
    assert!(why(&error), "{error:?}: {error}");
    assert_eq!(world.writes(), writes, "something was written");
    assert_eq!(card.status().expect("a status").progress, None);
}

/// The other slot was being written; what runs is as it was, and boots.
fn refused_while_written(bytes: &[u8], why: impl Fn(&InstallError) -> bool) {
    let (world, card) = card();
    let running = world.partition(Slot::B);
    let error = card.install(&mut &bytes[..]).expect_err("refused");
    assert!(why(&error), "{error:?}: {error}");
    assert_eq!(world.partition(Slot::B), running);
    assert_eq!(world.names(), ["nic-2.0.0.efi", "shim.bin"], "there is nothing to activate");
    world.shut_down();
    assert_eq!(world.boot(|_| true).version(), version(2));
    card.install(&mut bundle(3).as_slice()).expect("the next one is installed");
}

/// Where the targets begin.
pub(super) fn behind_metadata(bundle: &[u8]) -> usize {
    let length = bundle[8..12].try_into().expect("four octets");
    12 + u32::from_le_bytes(length) as usize
}

#[test]
fn what_is_no_bundle_is_refused() {
    refused_before_anything(b"", |error| matches!(error, InstallError::Bundle(BundleError::Truncated(_))));
    refused_before_anything(b"PK\x03\x04 an archive", |error| {
        matches!(error, InstallError::Bundle(BundleError::Magic))
    });
    let mut newer = bundle(3);
    newer[7] = 2;
    refused_before_anything(&newer, |error| matches!(error, InstallError::Bundle(BundleError::Format(2))));
}

#[test]
fn a_truncated_bundle_is_refused_wherever_it_breaks_off() {
    let whole = bundle(3);
    let targets = behind_metadata(&whole);
    for end in [3, 11, 12, 100, targets - 1] {
        refused_before_anything(&whole[..end], |error| {
            matches!(error, InstallError::Bundle(BundleError::Truncated(_)))
        });
    }
    let image = Build::of(version(3)).image.len();
    for end in [
        targets,
        targets + 1,
        targets + 5,
        targets + 17,
        targets + 1000,
        targets + image + 20,
        whole.len() - 1,
    ] {
        refused_while_written(&whole[..end], |error| {
            matches!(error, InstallError::Bundle(BundleError::Truncated(_)))
        });
    }
}

#[test]
fn a_flipped_bit_is_refused_wherever_it_is() {
    let whole = bundle(3);
    let targets = behind_metadata(&whole);
    // In the metadata: within signatures, hashes, numbers, names, lengths. The root of trust that this card
    // has itself is not read.
    for place in (file(&whole, "1.root.json").end..targets).step_by(31) {
        let mut corrupt = whole.clone();
        corrupt[place] ^= 1;
        refused_before_anything(&corrupt, |error| {
            matches!(error, InstallError::Metadata(_) | InstallError::Bundle(_))
        });
    }
    let image = Build::of(version(3)).image.len();
    for (place, target) in
        [(targets + 100, "root.img"), (targets + image, "root.img"), (whole.len() - 1, "uki.efi")]
    {
        let mut corrupt = whole.clone();
        corrupt[place] ^= 0x80;
        refused_while_written(
            &corrupt,
            |error| matches!(error, InstallError::Corrupt(name) if *name == target),
        );
    }
}

#[test]
fn a_bundle_for_another_board_is_refused() {
    let other = Recipe { board: "bluefield3", ..Recipe::of(3) };
    refused_before_anything(
        &other.bundle(),
        |error| matches!(error, InstallError::Board { bundle, card } if bundle == "bluefield3" && card == "generic"),
    );
}

#[test]
fn a_bundle_that_others_signed_is_refused() {
    // With their own root of trust, which has the number of ours, or the one behind it.
    let stranger = new_key();
    let keys = std::slice::from_ref(&stranger);
    for number in [1, 2] {
        let theirs = make_root(super::number(number), super::time(EXPIRES), keys, super::number(1), keys);
        let forged = Recipe { key: &stranger, roots: vec![theirs.expect("a root")], ..Recipe::of(3) };
        refused_before_anything(&forged.bundle(), |error| {
            matches!(error, InstallError::Metadata(MetadataError::Signature { .. }))
        });
    }
}

#[test]
fn a_bundle_without_signatures_is_refused() {
    let bytes = bundle(3);
    let targets = behind_metadata(&bytes);
    for role in ["timestamp.json", "snapshot.json", "targets.json"] {
        let mut unsigned = bytes[..targets].to_vec();
        let start = file(&bytes, role).start;
        let from = start + find(&unsigned[start..], b"\"signatures\":[{");
        // Another name of the same length: the file is as long as it was, and has no signatures.
        unsigned[from + 1] = b'S';
        unsigned.extend_from_slice(&bytes[targets..]);
        refused_before_anything(&unsigned, |error| matches!(error, InstallError::Metadata(_)));
    }
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|window| window == what).expect("it is there")
}

#[test]
fn an_expired_bundle_is_refused_also_by_a_clock_that_was_set_back() {
    let (world, card) = card();
    let soon = Recipe { expires: 1_850_000_000, ..Recipe::of(3) }.bundle();
    world.set_now(1_850_000_001);
    refused_by(&world, &card, &mut soon.as_slice(), |error| {
        matches!(error, InstallError::Metadata(MetadataError::Expired { role: "timestamp", ago: 1 }))
    });
    card.install(&mut bundle(4).as_slice()).expect("this one has not expired");
    world.set_now(1_700_000_000);
    let soon = Recipe { expires: 1_850_000_000, ..Recipe::of(5) }.bundle();
    refused_by(&world, &card, &mut soon.as_slice(), |error| {
        matches!(error, InstallError::Metadata(MetadataError::Expired { .. }))
    });
}

#[test]
fn an_older_bundle_is_refused_by_its_release_and_by_its_version() {
    let (world, card) = card();
    let older = Recipe { release: 1, ..Recipe::of(3) }.bundle();
    refused_by(&world, &card, &mut older.as_slice(), |error| {
        matches!(error, InstallError::Metadata(MetadataError::Older(_)))
    });
    for number in [1, 2] {
        let again = Recipe { release: 9, ..Recipe::of(number) }.bundle();
        refused_by(
            &world,
            &card,
            &mut again.as_slice(),
            |error| matches!(error, InstallError::NotNewer { bundle, .. } if *bundle == version(number)),
        );
    }
}

#[test]
fn a_refused_bundle_does_not_count_as_seen() {
    // Else a bundle of another board with a high number would keep this card's own ones out.
    let (_, card) = card();
    let other = Recipe { board: "bluefield3", release: 1000, ..Recipe::of(9) };
    card.install(&mut other.bundle().as_slice()).expect_err("another board");
    card.install(&mut bundle(3).as_slice()).expect("release 3");
}

#[test]
fn what_is_trusted_may_be_lost_and_the_images_own_root_is_left() {
    let (world, card) = card();
    world.damage("update-trust");
    let stranger = new_key();
    let forged = Recipe { key: &stranger, roots: vec![super::first_root(&stranger)], ..Recipe::of(3) };
    card.install(&mut forged.bundle().as_slice()).expect_err("signed by strangers");
    card.install(&mut bundle(3).as_slice()).expect("installed");
}

#[test]
fn metadata_of_one_release_does_not_go_with_that_of_another() {
    let (three, four) = (bundle(3), bundle(4));
    // The numbers are as long, so files can be exchanged in place.
    for name in ["snapshot.json", "targets.json", "timestamp.json"] {
        let mut mixed = four.clone();
        mixed[file(&four, name)].copy_from_slice(&three[file(&three, name)]);
        refused_before_anything(&mixed, |error| matches!(error, InstallError::Metadata(_)));
    }
    // The boot entry of one with the image of the other.
    let mut mixed = four.clone();
    let length = Build::of(version(3)).uki.len();
    let (from, to) = (three.len() - length, four.len() - length);
    mixed[to..].copy_from_slice(&three[from..]);
    refused_while_written(&mixed, |error| matches!(error, InstallError::Corrupt("uki.efi")));
}

/// Where a file of the metadata is.
fn file(bundle: &[u8], name: &str) -> std::ops::Range<usize> {
    let head = [&[name.len() as u8], name.as_bytes()].concat();
    let start = find(bundle, &head) + head.len() + 4;
    let length = bundle[start - 4..start].try_into().expect("four octets");
    start..start + u32::from_le_bytes(length) as usize
}

#[test]
fn endless_data_is_refused_where_it_should_end() {
    refused_before_anything(&[&MAGIC[..], &(METADATA_LIMIT + 1).to_le_bytes()].concat(), |error| {
        matches!(error, InstallError::Bundle(BundleError::MetadataLength(_)))
    });
    for more in [&b"x"[..], &[4; 100], &bundle(3)] {
        let endless = [&bundle(3)[..], more].concat();
        refused_while_written(&endless, |error| matches!(error, InstallError::Bundle(BundleError::Endless)));
    }
    // A target that says that it is longer than what was signed.
    let mut longer = bundle(3);
    let length = behind_metadata(&longer) + 1 + "root.img".len();
    longer[length + 5] = 1;
    refused_while_written(&longer, |error| matches!(error, InstallError::Corrupt("root.img")));
}

#[test]
fn targets_come_in_their_order_and_all_of_them() {
    let whole = bundle(3);
    let (targets, image) = (behind_metadata(&whole), Build::of(version(3)).image.len());
    let second = targets + 1 + "root.img".len() + 8 + image;
    let swapped = [&whole[..targets], &whole[second..], &whole[targets..second]].concat();
    refused_while_written(
        &swapped,
        |error| matches!(error, InstallError::Order { expected: "root.img", found } if found == "uki.efi"),
    );
    refused_while_written(&whole[..second], |error| {
        matches!(error, InstallError::Bundle(BundleError::Truncated("its targets")))
    });
}

/// Hands out few octets at a time, for each of which time passes.
struct Trickle<'a> {
    world: World,
    bytes: &'a [u8],
    each: (usize, Duration),
}

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.world.pass(self.each.1);
        let most = buffer.len().min(self.each.0);
        self.bytes.read(&mut buffer[..most])
    }
}

#[test]
fn a_sender_that_trickles_is_given_up_and_a_slow_one_is_not() {
    let (world, card) = card();
    let whole = bundle(3);
    let mut trickle = Trickle { world: world.clone(), bytes: &whole, each: (1, Duration::from_millis(500)) };
    refused_by(
        &world,
        &card,
        &mut trickle,
        |error| matches!(error, InstallError::TooSlow(slow) if slow.after > GRACE && slow.received < 200),
    );
    let each = (SLOWEST as usize, Duration::from_secs(1));
    let mut slow = Trickle { world: world.clone(), bytes: &whole, each };
    card.install(&mut slow).expect("as slow as allowed");
}

#[test]
fn a_source_that_fails_is_told_in_its_own_words() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the client went away"))
        }
    }
    let (world, card) = card();
    refused_by(&world, &card, &mut Broken, |error| error.to_string().contains("the client went away"));
}

#[test]
fn without_room_nothing_is_written() {
    let (world, card) = card();
    // Room for the running entry and a half: what is in the other slot goes, and it is still not enough.
    world.shrink_esp(160_000);
    refused_by(&world, &card, &mut bundle(3).as_slice(), |error| {
        matches!(error, InstallError::EspFull { needed: 100_001, .. })
    });
    let (world, card) = self::card();
    world.fill_data();
    let error = card.install(&mut bundle(3).as_slice()).expect_err("no room for what is trusted");
    assert!(matches!(error, InstallError::DataFull), "{error:?}");
    assert!(!world.names().iter().any(|name| name.ends_with(".new")), "so it cannot be activated");
}

#[test]
fn a_partition_in_use_is_never_written() {
    let (world, card) = card();
    world.occupy(Slot::A);
    refused_by(&world, &card, &mut bundle(3).as_slice(), |error| matches!(error, InstallError::InUse));
}

#[test]
fn there_is_one_install_at_a_time() {
    /// Asks for a second one while it is read.
    struct Second(Arc<Updater>, Mutex<Option<String>>, Vec<u8>, usize);
    impl Read for Second {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let refused = match self.0.install(&mut bundle(4).as_slice()) {
                Err(InstallError::Busy(busy)) => busy.to_string(),
                other => format!("{other:?}"),
            };
            assert!(self.0.activate(version(3)).is_err() && self.0.rollback().is_err());
            self.1.lock().expect("not poisoned").get_or_insert(refused);
            let rest = &self.2[self.3..];
            let length = rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&rest[..length]);
            self.3 += length;
            Ok(length)
        }
    }
    let (_, card) = card();
    let card = Arc::new(card);
    let mut source = Second(Arc::clone(&card), Mutex::default(), bundle(3), 0);
    card.install(&mut source).expect("the first one goes on");
    let told = source.1.into_inner().expect("not poisoned").expect("asked");
    assert!(told.contains("only one at a time"), "{told}");
}

#[test]
fn a_bundle_that_does_not_fit_the_partition_is_refused_before_anything_is_written() {
    use crate::bundle::{self, Contents, Kind, Manifest, Source};
    let image = vec![7; super::world::PARTITION + 1];
    let contents = Contents {
        manifest: Manifest { board: super::BOARD.to_owned(), version: version(3), kind: Kind::Slot },
        release: super::number(3),
        expires: super::time(EXPIRES),
        targets: vec![Source::Bytes(&image), Source::Bytes(b"uki")],
    };
    let mut bytes = Vec::new();
    let keys = std::slice::from_ref(super::key());
    bundle::write(&mut bytes, std::slice::from_ref(root()), keys, &contents).expect("a bundle");
    refused_before_anything(&bytes, |error| matches!(error, InstallError::PartitionTooSmall { .. }));
}
