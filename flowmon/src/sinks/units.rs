//! Numbers for people.

/// A number in at most seven characters, with a decimal prefix: `999`, `1.5k`, `12.3M`.
pub(super) fn human(number: f64) -> String {
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

#[cfg(test)]
mod tests {
    use super::human;

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
