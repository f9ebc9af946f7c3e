//! Update bundles, before anything in them is believed.

use nic_update::bundle::{MAGIC, METADATA_LIMIT, Reader};

/// Whatever comes is read to its end or refused, and what was read is all that was sent.
pub fn update_bundle(bytes: &[u8]) {
    let Ok((mut reader, files)) = Reader::open(bytes) else { return };
    // The metadata is files and nothing between them.
    let metadata: usize = files.iter().map(|(name, contents)| 1 + name.len() + 4 + contents.len()).sum();
    assert!(metadata <= METADATA_LIMIT as usize);
    let mut read = MAGIC.len() + 4 + metadata;
    let mut buffer = [0; 97];
    loop {
        let part = match reader.next_part() {
            Ok(Some(part)) => part,
            Ok(None) => break,
            Err(_) => return,
        };
        assert!(part.name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'), "{:?}", part.name);
        read += 1 + part.name.len() + 8;
        let mut left = part.length;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(some) => {
                    read += some;
                    left -= some as u64;
                }
                Err(_) => return,
            }
        }
        assert_eq!(left, 0, "a part that ends has its length");
    }
    if reader.finish().is_ok() {
        assert_eq!(read, bytes.len());
    }
}
