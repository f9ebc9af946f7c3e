//! A terminal's second screen: what was there before comes back when it is left.

use std::io::{self, Write};

/// The second screen, no cursor, and lines that are cut at the edge instead of folded.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// To the upper left corner.
const HOME: &str = "\x1b[H";
/// Clears what is left of a line, of the screen.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
/// Where a terminal does not say how many lines it has.
const LINES: usize = 24;

/// Text that is drawn over and over. The terminal is as it was once this is dropped.
pub(super) struct Screen<'a> {
    out: &'a mut dyn Write,
    left: bool,
}

impl<'a> Screen<'a> {
    pub(super) fn enter(out: &'a mut dyn Write) -> io::Result<Screen<'a>> {
        // From here on it is left whatever happens.
        let screen = Screen { out, left: false };
        screen.out.write_all(ENTER.as_bytes())?;
        screen.out.flush()?;
        Ok(screen)
    }

    pub(super) fn draw(&mut self, text: &str) -> io::Result<()> {
        self.draw_lines(text, lines())
    }

    /// Draws as many lines as there is room for; the last stays free, so that nothing scrolls.
    fn draw_lines(&mut self, text: &str, lines: usize) -> io::Result<()> {
        let mut drawn = String::from(HOME);
        for line in text.lines().take(lines.saturating_sub(1)) {
            drawn += line;
            drawn += CLEAR_LINE;
            drawn += "\r\n";
        }
        self.out.write_all((drawn + CLEAR_BELOW).as_bytes())?;
        self.out.flush()
    }

    pub(super) fn leave(mut self) -> io::Result<()> {
        self.restore()
    }

    fn restore(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.left, true) {
            self.out.write_all(LEAVE.as_bytes())?;
            self.out.flush()?;
        }
        Ok(())
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        // Where nothing can be written there is nothing to restore.
        let _ = self.restore();
    }
}

fn lines() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    size.map(|size| usize::from(size.ws_row)).filter(|rows| *rows > 0).unwrap_or(LINES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_left_once_however_it_ends() {
        let text = |out: Vec<u8>| String::from_utf8(out).expect("UTF-8");
        let mut out = Vec::new();
        Screen::enter(&mut out).and_then(Screen::leave).expect("memory takes all");
        assert_eq!(text(out), format!("{ENTER}{LEAVE}"));
        let mut out = Vec::new();
        drop(Screen::enter(&mut out));
        assert_eq!(text(out), format!("{ENTER}{LEAVE}"));
        // Each mode that is set is reset.
        let modes = |text: &str, end| text.matches(end).count();
        assert_eq!((modes(ENTER, "?1049h"), modes(ENTER, "?25l"), modes(ENTER, "?7l")), (1, 1, 1));
        assert_eq!((modes(LEAVE, "?1049l"), modes(LEAVE, "?25h"), modes(LEAVE, "?7h")), (1, 1, 1));
    }

    #[test]
    fn what_does_not_fit_is_cut_and_what_was_there_is_cleared() {
        let mut out = Vec::new();
        let mut screen = Screen::enter(&mut out).expect("memory takes all");
        screen.draw_lines("one\ntwo\nthree\n", 3).expect("memory takes all");
        drop(screen);
        let drawn = String::from_utf8(out).expect("UTF-8");
        assert_eq!(drawn, format!("{ENTER}\x1b[Hone\x1b[K\r\ntwo\x1b[K\r\n\x1b[J{LEAVE}"));
    }
}
