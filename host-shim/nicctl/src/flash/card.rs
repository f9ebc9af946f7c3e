//! What `misc` says of a card, and what its log says.

use nic_image_formats::bfb::Board;

/// By which a card says that it runs an operating system. The last is what we wait for.
const UP: &[&str] = &["Linux up", READY];
/// By which a card says that its image is started and does its work.
const READY: &str = "DPU is ready";

/// What is known of a card before it is touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Card {
    /// What it calls itself.
    pub(super) info: String,
    /// What it is, if it is one that is known.
    pub(super) board: Option<Board>,
    /// Another driver has the card, and this one drops whatever it is given.
    pub(super) dropped: bool,
    /// The card's firmware lets nobody reach it by rshim.
    pub(super) locked: bool,
    /// It runs as a plain network card, its Arm cores unused.
    pub(super) plain: bool,
    /// How much the driver is to show.
    pub(super) display_level: u32,
    /// What its log says.
    pub(super) activity: Activity,
}

/// What a card does, as far as its log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    /// It runs an operating system.
    Up,
    /// It has begun to start, and is not there.
    Starting,
    /// Nothing is in the log: it was cleared, or the card says nothing.
    Silent,
}

impl Card {
    /// From what `misc` says.
    pub(super) fn read(text: &str) -> Card {
        let field = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
            lines.find(|rest| rest.starts_with([' ', '\t'])).map(str::trim).unwrap_or_default()
        };
        let number = |name: &str| {
            let digits = field(name).split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
            digits.parse().unwrap_or(0_u32)
        };
        let info = field("DEV_INFO").to_owned();
        let board = match info.split('(').next().map(str::trim) {
            Some("BlueField-2") => Some(Board::Bluefield2),
            Some("BlueField-3") => Some(Board::Bluefield3),
            _ => None,
        };
        let log = log(text);
        let activity = if log.is_empty() {
            Activity::Silent
        } else if log.iter().any(|line| UP.iter().any(|word| line.contains(word))) {
            Activity::Up
        } else {
            Activity::Starting
        };
        Card {
            info,
            board,
            dropped: number("DROP_MODE") != 0,
            locked: number("SECURE_NIC_MODE") != 0,
            plain: field("BF_MODE") == "NIC mode",
            display_level: number("DISPLAY_LEVEL"),
            activity,
        }
    }
}

/// The lines of the card's log in what `misc` says.
fn log(text: &str) -> Vec<String> {
    let begins = |line: &&str| line.trim() == "Log Messages";
    let mut lines = text.lines();
    if lines.by_ref().find(begins).is_none() {
        return Vec::new();
    }
    let rule = |line: &&str| !line.trim().is_empty() && !line.trim().bytes().all(|byte| byte == b'-');
    lines.filter(rule).map(|line| line.trim().to_owned()).collect()
}

/// What a line of the log means for whoever waits for the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It goes on.
    Progress,
    /// Something went wrong; what comes next may say more, and may even do without it.
    Error,
    /// It will not go on.
    End,
    /// The image is started.
    Ready,
}

impl Meaning {
    /// Of a line.
    pub(super) fn of(line: &str) -> Meaning {
        let begins = |words: &[&str]| words.iter().any(|word| line.starts_with(word));
        if begins(&["PANIC(", "Exception(", "ASSERT["]) || line.contains("CRITICAL ERROR") {
            Meaning::End
        } else if begins(&["ERR["]) {
            Meaning::Error
        } else if line.contains(READY) {
            Meaning::Ready
        } else {
            Meaning::Progress
        }
    }
}

/// Finds what is new in a log that is shown again and again, as it grows, is cleared, or begins anew.
#[derive(Debug, Default)]
pub(super) struct Tail {
    before: Vec<String>,
}

impl Tail {
    /// The lines that were not there last time.
    pub(super) fn new_lines(&mut self, text: &str) -> Vec<String> {
        let lines = log(text);
        // The longest end of what was there that is now the beginning.
        let same = (0..=self.before.len().min(lines.len()))
            .rev()
            .find(|&same| self.before[self.before.len() - same..] == lines[..same])
            .unwrap_or_default();
        let new = lines[same..].to_vec();
        self.before = lines;
        new
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It comes from the card.
        #[test]
        fn any_text_is_read(before in any::<String>(), lines in prop::collection::vec("[ -~]{0,9}", 0..9)) {
            let text = format!("{before}\nDROP_MODE \n Log Messages\n{}", lines.join("\n"));
            let card = Card::read(&text);
            let mut tail = Tail::default();
            let new = tail.new_lines(&text);
            prop_assert_eq!(card.activity == Activity::Silent, new.is_empty());
            prop_assert!(tail.new_lines(&text).is_empty());
        }
    }

    const SHOWN: &str = "\
DISPLAY_LEVEL   2 (0:basic, 1:advanced, 2:log)
BF_MODE         DPU mode
BOOT_MODE       1 (0:rshim, 1:emmc, 2:emmc-boot-swap)
DROP_MODE       0 (0:normal, 1:drop)
DEV_NAME        pcie-0000:04:00.2
DEV_INFO        BlueField-3(Rev 1)
SECURE_NIC_MODE 0 (0:no, 1:yes)
---------------------------------------
             Log Messages
---------------------------------------
 INFO[BL2]: start
 INFO[MISC]: DPU is ready
";

    #[test]
    fn what_the_driver_says_is_read() {
        let card = Card::read(SHOWN);
        assert_eq!((card.board, &*card.info), (Some(Board::Bluefield3), "BlueField-3(Rev 1)"));
        assert_eq!((card.dropped, card.locked, card.plain), (false, false, false));
        assert_eq!((card.display_level, card.activity), (2, Activity::Up));
        let other = SHOWN
            .replace("BlueField-3", "BlueField-2")
            .replace("DROP_MODE       0", "DROP_MODE       1")
            .replace("DPU mode", "NIC mode")
            .replace("SECURE_NIC_MODE 0", "SECURE_NIC_MODE 1")
            .replace("DPU is ready", "UEFI: PCI enum start");
        let card = Card::read(&other);
        assert_eq!((card.board, card.activity), (Some(Board::Bluefield2), Activity::Starting));
        assert_eq!((card.dropped, card.locked, card.plain), (true, true, true));
        let none = Card::read("");
        assert_eq!((none.board, none.activity, none.display_level), (None, Activity::Silent, 0));
    }

    #[test]
    fn lines_mean_what_they_begin_with() {
        for (line, meaning) in [
            ("INFO[BL31]: start", Meaning::Progress),
            ("WARN[UEFI]: slow", Meaning::Progress),
            ("ERR[BL2]: image auth failed", Meaning::Error),
            ("ASSERT[BL2]: ddr", Meaning::End),
            ("PANIC(BL1): PC = 0x4", Meaning::End),
            ("Exception(BL2): syndrome = 0x0", Meaning::End),
            ("INFO[MISC]: CRITICAL ERROR: no disk", Meaning::End),
            ("INFO[MISC]: DPU is ready", Meaning::Ready),
        ] {
            assert_eq!(Meaning::of(line), meaning, "{line}");
        }
    }

    #[test]
    fn each_line_of_a_log_comes_once() {
        let shown = |lines: &[&str]| format!("---\n Log Messages\n---\n{}\n", lines.join("\n"));
        let mut tail = Tail::default();
        let mut new = |lines: &[&str]| tail.new_lines(&shown(lines));
        assert_eq!(new(&["a", "b"]), ["a", "b"]);
        assert_eq!(new(&["a", "b", "c"]), ["c"]);
        assert!(new(&["a", "b", "c"]).is_empty());
        assert_eq!(new(&["b", "c", "d"]), ["d"], "the oldest were pushed out");
        assert!(new(&[]).is_empty());
        assert_eq!(new(&["e"]), ["e"], "cleared when it was read");
        assert_eq!(new(&["a", "b"]), ["a", "b"], "the card was reset");
    }
}
