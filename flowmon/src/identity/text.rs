//! The border: what runtimes, files and APIs call things is cut and made harmless here, before it
//! gets anywhere else.

use std::sync::Arc;

use crate::model::Labels;

/// Bytes of a name, a label's key or its value: the longest key that Kubernetes allows, prefix and
/// all. What is longer is cut.
const LONGEST: usize = 317;

/// Labels of one endpoint; those after it in alphabetical order are left out.
const MOST_LABELS: usize = 64;

/// The text without anything that moves a cursor or reorders what is read, not too long.
pub(crate) fn clean(text: &str) -> Arc<str> {
    if text.len() <= LONGEST && !text.chars().any(is_unprintable) {
        return text.into();
    }
    let mut clean = String::new();
    for char in text.chars() {
        let before = clean.len();
        if is_unprintable(char) {
            clean.extend(char.escape_unicode());
        } else {
            clean.push(char);
        }
        if clean.len() > LONGEST {
            clean.truncate(before);
            break;
        }
    }
    clean.into()
}

/// As [`clean`]; nothing where there is nothing.
pub(super) fn clean_some(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| clean(text))
}

/// Labels, each as [`clean`].
pub(super) fn labels<K: AsRef<str>, V: AsRef<str>>(
    labels: impl IntoIterator<Item = (K, V)>,
) -> Labels {
    let mut all: Labels = labels
        .into_iter()
        .map(|(key, value)| (clean(key.as_ref()), clean(value.as_ref())))
        .collect();
    while all.len() > MOST_LABELS {
        all.pop_last();
    }
    all
}

/// Control characters, and those that change the direction of text or are not seen at all.
fn is_unprintable(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_names_pass() {
        assert_eq!(&*clean("redis-0"), "redis-0");
        assert_eq!(&*clean("größe"), "größe");
        assert_eq!(clean_some(""), None);
    }

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(&*clean("a\u{1b}[2J\r\nb"), "a\\u{1b}[2J\\u{d}\\u{a}b");
        assert_eq!(&*clean("\u{202e}exe"), "\\u{202e}exe");
    }

    #[test]
    fn there_is_an_end_to_labels() {
        let many = (0..1000).map(|number| (format!("{number:04}"), "x"));
        let kept = labels(many);
        assert_eq!(kept.len(), MOST_LABELS);
        assert_eq!(kept.last_key_value().map(|(key, _)| &**key), Some("0063"));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_short_and_printable(text in "\\PC{0,400}|.{0,400}") {
            let clean = clean(&text);
            prop_assert!(clean.len() <= LONGEST);
            prop_assert!(!clean.chars().any(is_unprintable));
        }
    }
}
