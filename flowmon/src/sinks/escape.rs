//! Names come from outside: they must not move the cursor.

use std::borrow::Cow;

/// The text with control characters escaped, fit for a terminal.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        Cow::Owned(text.escape_default().to_string())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(escaped("veth0"), "veth0");
        assert_eq!(escaped("v\u{1b}[2J"), "v\\u{1b}[2J");
    }
}
