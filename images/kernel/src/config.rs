//! Kernel configurations as text: what is asked for, and what came of it.

use std::collections::BTreeMap;
use std::fmt;

/// Symbols and their values: `y`, `m`, `n`, a number or a text in quotes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config(BTreeMap<String, String>);

impl Config {
    /// From the lines of a `.config` or a fragment of one. Lines that are neither say nothing.
    pub fn read(text: &str) -> Config {
        let lines = text.lines().filter_map(|line| {
            let line = line.trim();
            let unset = || line.strip_prefix("# ")?.strip_suffix(" is not set").map(|name| (name, "n"));
            let (name, value) = line.split_once('=').or_else(unset)?;
            let name = name.strip_prefix("CONFIG_")?;
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            name.bytes().all(fits).then(|| (name.to_owned(), value.to_owned()))
        });
        Config(lines.collect())
    }

    /// The value of a symbol; one that stands nowhere is off.
    pub fn value(&self, name: &str) -> &str {
        self.0.get(name).map_or("n", String::as_str)
    }

    /// How many symbols it names.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A wish that did not come true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// The symbol, without `CONFIG_`.
    pub name: String,
    /// What was asked for.
    pub wanted: String,
    /// What it is.
    pub found: String,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CONFIG_{} is {} instead of {}", self.name, self.found, self.wanted)
    }
}

/// The wishes of a fragment that a configuration does not fulfil, in the order of their names.
pub fn unmet(fragment: &Config, config: &Config) -> Vec<Unmet> {
    let differs = fragment.0.iter().filter(|(name, wanted)| config.value(name) != wanted.as_str());
    differs
        .map(|(name, wanted)| Unmet {
            name: name.clone(),
            wanted: wanted.clone(),
            found: config.value(name).to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_wish_that_kconfig_dropped_is_found_by_name() {
        let wanted =
            Config::read("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"-nic\"\nCONFIG_D=y\nCONFIG_E=y\n");
        let found = Config::read("# comment\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_C=\"\"\n# CONFIG_D is not set\n");
        let told: Vec<String> = unmet(&wanted, &found).iter().map(Unmet::to_string).collect();
        assert_eq!(
            told,
            [
                "CONFIG_B is y instead of n",
                "CONFIG_C is \"\" instead of \"-nic\"",
                "CONFIG_D is n instead of y",
                "CONFIG_E is n instead of y",
            ]
        );
        assert!(unmet(&wanted, &wanted).is_empty());
    }

    #[test]
    fn a_symbol_that_is_nowhere_is_off() {
        let wanted = Config::read("# CONFIG_SOUND is not set\n");
        assert!(unmet(&wanted, &Config::default()).is_empty());
    }

    #[test]
    fn every_line_of_our_fragment_is_a_wish_or_a_comment_and_none_stands_there_twice() {
        let lines = crate::FRAGMENT.lines().filter(|line| !line.trim().is_empty());
        let wishes = lines.filter(|line| !line.starts_with("# ") || line.ends_with(" is not set"));
        assert_eq!(Config::read(crate::FRAGMENT).len(), wishes.count());
    }

    #[test]
    fn our_fragment_has_what_a_root_that_proves_itself_and_the_cards_need() {
        let wanted = Config::read(crate::FRAGMENT);
        for name in ["DM_VERITY", "DM_INIT", "EROFS_FS", "OVERLAY_FS", "VFIO_PCI", "MLX5_ESWITCH", "MLX5_SF"]
        {
            assert_eq!(wanted.value(name), "y", "{name}");
        }
        for name in ["BNXT_FLOWER_OFFLOAD", "NET_SWITCHDEV", "MLXBF_TMFIFO", "NET_CLS_FLOWER", "VXLAN"] {
            assert_eq!(wanted.value(name), "y", "{name}");
        }
        assert_eq!(wanted.value("MODULES"), "n", "its signature says what the kernel is");
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String) {
            let config = Config::read(&text);
            prop_assert!(unmet(&config, &config).is_empty());
        }
    }
}
