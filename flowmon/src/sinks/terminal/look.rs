//! What things look like: styles that mean something, characters that this terminal has, text that fits.

use ratatui::{
    style::{Color, Modifier, Style},
    text::{Line, Span},
};
use unicode_width::UnicodeWidthChar as _;

/// What this terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Colours, unless `NO_COLOR` is set.
    pub(super) has_colours: bool,
    /// Other characters than ASCII.
    pub(super) has_unicode: bool,
}

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII_BARS: [char; 8] = ['.', '.', ':', ':', '-', '=', '*', '#'];

impl Look {
    fn coloured(self, colour: Color, style: Style) -> Style {
        if self.has_colours {
            style.fg(colour)
        } else {
            style
        }
    }

    /// Something is wrong: denied, or lost.
    pub(super) fn alarm(self) -> Style {
        self.coloured(Color::Red, BOLD)
    }

    /// Something deserves a look.
    pub(super) fn warning(self) -> Style {
        self.coloured(Color::Yellow, Style::new())
    }

    /// A line across, which begins with a title.
    pub(super) fn rule(self, title: Vec<Span<'static>>, width: usize) -> Line<'static> {
        let dash = if self.has_unicode { "─" } else { "-" };
        let mut spans = vec![Span::styled(format!("{dash}{dash} "), DIM)];
        spans.extend(title);
        let used: usize = spans.iter().map(Span::width).sum();
        let rest = width.saturating_sub(used + 1);
        spans.push(Span::styled(format!(" {}", dash.repeat(rest)), DIM));
        Line::from(spans)
    }

    pub(super) const fn arrow(self, rightwards: bool) -> &'static str {
        match (self.has_unicode, rightwards) {
            (true, true) => "→",
            (true, false) => "←",
            (false, true) => ">",
            (false, false) => "<",
        }
    }

    /// Of rates, each a character; the highest of them is the full height.
    pub(super) fn sparkline(self, rates: impl Iterator<Item = f64>, width: usize) -> String {
        let rates: Vec<f64> = rates.collect();
        let highest = rates.iter().copied().fold(0.0, f64::max);
        let bars = if self.has_unicode { BARS } else { ASCII_BARS };
        let bar = |rate: f64| {
            // What is not nothing is seen.
            let reached = (1..8).filter(|&eighths| rate * 8.0 > highest * f64::from(eighths));
            if rate > 0.0 {
                bars.get(reached.count()).copied().unwrap_or(' ')
            } else {
                ' '
            }
        };
        let line: String = rates.into_iter().map(bar).collect();
        format!("{line:>width$}")
    }

    /// As it is, or its end, when it is wider: the end tells addresses apart. Just so wide.
    pub(super) fn fitted(self, text: &str, width: usize) -> String {
        let text = self.plain(text);
        let mut room = width;
        let wide = columns(&text);
        if wide <= width {
            return text + &" ".repeat(width - wide);
        }
        let mut kept = Vec::new();
        for char in text.chars().rev() {
            let wide = char.width().unwrap_or(0);
            if wide + 1 > room {
                break;
            }
            room -= wide;
            kept.push(char);
        }
        let cut = if self.has_unicode { '…' } else { '~' };
        let mut fitted: String = std::iter::repeat_n(cut, room.min(1)).collect();
        fitted.extend(kept.into_iter().rev());
        fitted + &" ".repeat(room.saturating_sub(1))
    }

    /// Without characters that have no width of their own (and could hide others, or turn them
    /// round), or that this terminal does not have.
    pub(super) fn plain(self, text: &str) -> String {
        let replaced = if self.has_unicode { '·' } else { '?' };
        let shown = |char: char| {
            let has_width = char.width().is_some_and(|width| width > 0);
            if has_width && (self.has_unicode || char.is_ascii()) {
                char
            } else {
                replaced
            }
        };
        text.chars().map(shown).collect()
    }
}

/// Columns that it takes.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(|char| char.width().unwrap_or(0)).sum()
}

pub(super) const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
pub(super) const DIM: Style = Style::new().add_modifier(Modifier::DIM);
pub(super) const SELECTED: Style = Style::new().add_modifier(Modifier::REVERSED);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FULL: Look = Look {
        has_colours: true,
        has_unicode: true,
    };
    const PLAIN: Look = Look {
        has_colours: false,
        has_unicode: false,
    };

    #[test]
    fn the_end_of_what_is_too_wide_stays() {
        assert_eq!(FULL.fitted("10.0.0.12", 9), "10.0.0.12");
        assert_eq!(FULL.fitted("10.0.0.123", 6), "…0.123");
        assert_eq!(PLAIN.fitted("abcdef", 4), "~def");
        assert_eq!(FULL.fitted("", 2), "  ");
    }

    #[test]
    fn nothing_turns_text_round_or_hides_it() {
        assert_eq!(FULL.plain("a\u{202e}b\u{200d}c\u{301}\u{7}"), "a·b·c··");
        assert_eq!(PLAIN.plain("aäb"), "a?b");
    }

    #[test]
    fn small_rates_are_seen_and_none_is_not() {
        let rates = [0.0, 0.001, 50.0, 100.0];
        assert_eq!(FULL.sparkline(rates.into_iter(), 6), "   ▁▄█");
        assert_eq!(PLAIN.sparkline(rates.into_iter(), 4), " .:#");
        assert_eq!(FULL.sparkline([0.0; 3].into_iter(), 3), "   ");
    }

    proptest! {
        #[test]
        fn whatever_it_is_it_fits(text in ".*", width in 0usize..40) {
            for look in [FULL, PLAIN] {
                prop_assert_eq!(columns(&look.fitted(&text, width)), width);
            }
        }
    }
}
