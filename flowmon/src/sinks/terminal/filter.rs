//! Words that what is looked at must have, or must not have.

use std::fmt::Write as _;

use super::{state::TalkNow, violations::Group};
use crate::{
    model::{Direction, Verdict},
    sinks::talks::Talk,
};

/// Longer than anybody means.
const LONGEST: usize = 200;

/// What was typed.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter(String);

impl Filter {
    /// As it was typed.
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Is there none?
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, char: char) {
        if self.0.len() < LONGEST && !char.is_control() {
            self.0.push(char);
        }
    }

    pub(super) fn pop(&mut self) {
        self.0.pop();
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// All words are in it, and none that begins with `!`.
    fn accepts(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        self.0.split_whitespace().all(|word| {
            let word = word.to_lowercase();
            match word.strip_prefix('!') {
                Some("") => true,
                Some(unwanted) => !text.contains(unwanted),
                None => text.contains(&word),
            }
        })
    }

    pub(super) fn accepts_talk(&self, talk: &Talk, now: &TalkNow) -> bool {
        self.is_empty() || {
            let mut text = words(talk);
            let outcome = now.outcome.map_or("", |outcome| outcome.label());
            let interface = &now.endpoint.interface;
            let trouble = now.trouble.unwrap_or_default();
            let _infallible = write!(text, " {interface} {outcome} {trouble}");
            self.accepts(&text)
        }
    }

    pub(super) fn accepts_group(&self, group: &Group) -> bool {
        self.is_empty() || {
            let Verdict {
                outcome,
                policy,
                reason,
                ..
            } = &group.verdict;
            let mut text = words(&group.talk);
            let policy = policy.as_deref().unwrap_or_default();
            let _infallible = write!(text, " {} {policy} {reason}", outcome.label());
            self.accepts(&text)
        }
    }
}

fn words(talk: &Talk) -> String {
    let direction = match talk.direction {
        Direction::Egress => "egress",
        Direction::Ingress => "ingress",
        Direction::Unknown => "",
    };
    let port = talk
        .port
        .map_or_else(String::new, |port| format!("/{port}"));
    let Talk {
        endpoint,
        protocol,
        peer,
        ..
    } = talk;
    format!("{endpoint} {peer} {protocol}{port} {direction}")
}

#[cfg(test)]
mod tests {
    use super::Filter;

    #[test]
    fn all_words_and_none_of_the_unwanted() {
        let filter = |text: &str| Filter(text.to_owned());
        let text = "shop/web-0 shop/redis-0 tcp/6379 egress";
        for (typed, accepted) in [
            ("", true),
            ("redis", true),
            ("REDIS web", true),
            ("redis api", false),
            ("redis !web", false),
            ("redis !api", true),
            ("redis !", true),
            ("tcp/63", true),
        ] {
            assert_eq!(filter(typed).accepts(text), accepted, "{typed}");
        }
    }

    #[test]
    fn nothing_that_is_typed_grows_without_bound() {
        let mut filter = Filter::default();
        (0..10_000).for_each(|_| filter.push('ä'));
        filter.push('\u{1b}');
        assert!(filter.text().len() <= super::LONGEST + 1);
        assert!(!filter.text().contains('\u{1b}'));
    }
}
