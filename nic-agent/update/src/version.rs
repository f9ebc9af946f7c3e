//! Versions of what is installed.

use std::fmt;
use std::str::FromStr;

/// Three numbers, as `1.20.3`. Nothing else is a version here: of these every boot loader that compares
/// versions has the same opinion which is the newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version([u32; 3]);

/// A text is no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a version is three numbers without leading zeros, as 1.20.3")]
pub struct VersionError;

impl Version {
    /// The version of three numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Version {
        Version([major, minor, patch])
    }

    /// The first two numbers: what has them in common is made for the same image.
    pub const fn series(self) -> (u32, u32) {
        let [major, minor, _] = self.0;
        (major, minor)
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Version, VersionError> {
        let mut parts = text.split('.');
        let mut numbers = [0; 3];
        for number in &mut numbers {
            *number = parts.next().and_then(decimal).ok_or(VersionError)?;
        }
        if parts.next().is_some() { Err(VersionError) } else { Ok(Version(numbers)) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// A number as it is written: digits, no sign, no leading zero.
pub(crate) fn decimal(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (text.len() > 1 && text.starts_with('0')) { None } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_version_is_refused() {
        for bad in
            ["", "1", "1.2", "1.2.3.4", "1.2.03", "1.2.+3", "1.2.-3", "1..3", "1.2.4294967296", "1.2.3 "]
        {
            assert_eq!(bad.parse::<Version>(), Err(VersionError), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_version_reads_back_from_its_text(numbers: [u32; 3]) {
            let version = Version(numbers);
            prop_assert_eq!(version.to_string().parse(), Ok(version));
        }

        #[test]
        fn any_text_is_a_version_or_is_refused(text in "[0-9.+-]{0,12}") {
            if let Ok(version) = text.parse::<Version>() {
                prop_assert_eq!(version.to_string(), text);
            }
        }
    }
}
