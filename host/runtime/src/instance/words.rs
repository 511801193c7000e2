//! A guest's words, made fit to be shown: bounded, on one line, and without what moves a terminal.
//!
//! What a guest says (errors, health, names, log lines) ends up in logs, events, the history and on a person's screen. It
//! must not be able to forge a line of the log, colour a terminal or turn the reading direction of what follows.

/// Cuts a guest's text to `limit` bytes, at a character's border, and makes it legible.
pub(crate) fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
        text.push('…');
    }
    if text.chars().all(|c| legible(c) == c) { text } else { text.chars().map(legible).collect() }
}

/// What is shown in place of a character.
pub(crate) fn legible(c: char) -> char {
    match c {
        '\t' | '\n' | '\r' => ' ',
        // Direction overrides and isolates: with them a text reads otherwise than it is.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("aä".repeat(3), 5), "aäa…");
        assert_eq!(cut("short".to_owned(), 5), "short");
    }

    #[test]
    fn what_moves_a_terminal_or_forges_a_line_is_replaced() {
        let said = "red \x1b[31m\nERROR forged\u{202e}\u{7}";
        assert_eq!(cut(said.to_owned(), 100), "red \u{fffd}[31m ERROR forged\u{fffd}\u{fffd}");
    }
}
