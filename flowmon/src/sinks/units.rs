//! Numbers for people.

/// A number in at most seven characters, with a decimal prefix: `999`, `1.5k`, `12.3M`.
pub fn human(number: f64) -> String {
    const PREFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    let mut scaled = number.max(0.0);
    let mut prefixes = PREFIXES.iter();
    let mut prefix = prefixes.next();
    while scaled >= 999.95
        && let Some(next) = prefixes.next()
    {
        scaled /= 1000.0;
        prefix = Some(next);
    }
    match prefix {
        Some(&"") | None if scaled.fract() < 0.05 => format!("{scaled:.0}"),
        prefix => format!("{scaled:.1}{}", prefix.unwrap_or(&"")),
    }
}

/// `1 flow`, `2 flows`.
pub fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// A time in at most six characters: `24us`, `1.2ms`, `340ms`, `2.5s`.
pub(super) fn duration(seconds: f64) -> String {
    let micros = seconds.max(0.0) * 1e6;
    if micros < 999.5 {
        format!("{micros:.0}us")
    } else if micros < 99_950.0 {
        format!("{:.1}ms", micros / 1e3)
    } else if micros < 999_500.0 {
        format!("{:.0}ms", micros / 1e3)
    } else {
        format!("{:.1}s", (micros / 1e6).min(999.9))
    }
}

/// The text in at most so many columns. What is too wide keeps its end, which tells addresses apart.
pub(super) fn fitted(text: &str, width: usize) -> String {
    let surplus = text.chars().count().saturating_sub(width);
    if surplus == 0 {
        return text.to_owned();
    }
    std::iter::once('…')
        .chain(text.chars().skip(surplus + 1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{duration, human};

    #[test]
    fn times_fit_too() {
        for (seconds, text) in [
            (0.0, "0us"),
            (24e-6, "24us"),
            (0.000_999_6, "1.0ms"),
            (0.0123, "12.3ms"),
            (0.34, "340ms"),
            (0.999_6, "1.0s"),
            (999.0, "999.0s"),
        ] {
            assert_eq!(duration(seconds), text);
            assert!(text.len() <= 6, "{text}");
        }
    }

    #[test]
    fn fits_and_reads_well() {
        for (number, text) in [
            (0.0, "0"),
            (7.0, "7"),
            (0.5, "0.5"),
            (999.0, "999"),
            (1000.0, "1.0k"),
            (1_234_567.0, "1.2M"),
            (999_960.0, "1.0M"),
            (1e20, "100.0E"),
            (-1.0, "0"),
        ] {
            assert_eq!(human(number), text);
            assert!(human(number).len() <= 7);
        }
    }
}
