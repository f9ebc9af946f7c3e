//! Tables and other ways to show things to people.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

/// Space between columns.
const GAP: u16 = 2;

/// A table without lines. Columns whose name ends in `>` are aligned to the right.
pub fn table(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|name| name.trim_end_matches('>')).collect::<Vec<_>>());
    for row in rows {
        table.add_row(row.iter().map(|text| printable(text)).collect::<Vec<_>>());
    }
    for (index, name) in columns.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, GAP));
            if name.ends_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// Text that may be shown on a terminal: control characters, which could command it, are escaped.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// A text, or a dash for none.
pub fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".into() } else { text.into() }
}

/// Yes or no.
pub fn yes_no(value: bool) -> String {
    if value { "yes".into() } else { "no".into() }
}

/// A span of time, in the two greatest units that matter.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1}s", duration.as_secs_f64()),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_with_text() {
        let rows =
            [vec!["ports/pf0".into(), "7".into(), String::new()], vec!["a".into(), "123".into(), "x".into()]];
        let expected = "\
NAME         N  NOTE
ports/pf0    7
a          123  x
";
        assert_eq!(table(&["NAME", "N>", "NOTE"], rows), expected);
    }

    #[test]
    fn a_table_is_not_folded_however_long_a_cell_is() {
        let long = "x".repeat(500);
        assert_eq!(table(&["A"], [vec![long.clone()]]), format!("A\n{long}\n"));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
    }

    #[test]
    fn spans_have_one_or_two_units() {
        for (seconds, text) in
            [(0.05, "0.1s"), (59.0, "59.0s"), (61.0, "1m01s"), (3_720.0, "1h02m"), (90_000.0, "1d01h")]
        {
            assert_eq!(span(Duration::from_secs_f64(seconds)), text);
        }
    }
}
