//! Times in records: RFC 3339 with nine digits of a second, so that records sort as text.

use jiff::Timestamp;
use serde::Serializer;

/// Serialises a time as `2026-11-25T09:41:23.045003795Z`.
pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    let text = text(*time);
    match text.as_ref().map(|text| str::from_utf8(text)) {
        Some(Ok(text)) => serializer.serialize_str(text),
        _ => serializer.collect_str(&format_args!("{time:.9}")),
    }
}

/// The text; none of a time that is older than flows are. Every record has three of them, and jiff's
/// own way, which serves all calendars and formats, takes several times as long.
fn text(time: Timestamp) -> Option<[u8; 30]> {
    let seconds = u64::try_from(time.as_second()).ok()?;
    let nanoseconds = u64::try_from(time.subsec_nanosecond()).ok()?;
    let [year, month, day] = date(seconds / 86_400);
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    for (place, number) in [
        (0..4, year),
        (5..7, month),
        (8..10, day),
        (11..13, seconds / 3600 % 24),
        (14..16, seconds / 60 % 60),
        (17..19, seconds % 60),
        (20..29, nanoseconds),
    ] {
        put(text.get_mut(place)?, number);
    }
    Some(text)
}

/// The decimal digits of `number`, filled up with zeros from the left.
fn put(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789"
            .get((number % 10) as usize)
            .copied()
            .unwrap_or(b'0');
        number /= 10;
    }
}

/// Year, month and day of the Gregorian calendar, by days since 1970 (Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms", `civil_from_days`): years begin in March, so that the leap day is the
/// last.
const fn date(days: u64) -> [u64; 3] {
    let days = days + 719_468; // since 1 March of the year 0
    let era = days / 146_097; // of 400 years, after which the calendar repeats itself
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + (month <= 2) as u64;
    [year, month, day]
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::serialize;
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn serialized(time: Timestamp) -> String {
        let mut json = Vec::new();
        serialize(&time, &mut serde_json::Serializer::new(&mut json)).unwrap();
        String::from_utf8(json).unwrap()
    }

    #[test]
    fn leap_days_and_ends_of_time() {
        for text in [
            "1970-01-01T00:00:00.000000000Z",
            "2000-02-29T23:59:59.999999999Z",
            "2024-02-29T00:00:00.000000001Z",
            "2100-03-01T00:00:00.000000000Z",
            "1969-12-31T23:59:59.999999999Z",
        ] {
            assert_eq!(serialized(text.parse().unwrap()), format!("\"{text}\""));
        }
    }

    proptest! {
        #[test]
        fn any_time_is_as_jiff_has_it(
            second in Timestamp::MIN.as_second()..Timestamp::MAX.as_second(),
            nanosecond in 0..1_000_000_000i32,
        ) {
            let time = Timestamp::new(second, nanosecond).unwrap();
            prop_assert_eq!(serialized(time), format!("\"{time:.9}\""));
        }
    }
}
