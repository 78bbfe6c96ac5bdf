//! The text that is scraped: Prometheus' text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! Written here, as a scrape of 20,000 series took four fifths of its time to make and to sort a library's
//! structures.

use std::{collections::BTreeMap, fmt::Write as _};

use super::families::{FAMILIES, Family, Kind};

/// Labels as they are written: `name="value",name="value"`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Labels(String);

/// Samples by family.
#[derive(Default)]
pub(super) struct Page(BTreeMap<&'static str, Vec<(Labels, Sample)>>);

enum Sample {
    One(f64),
    /// How many were below each limit, in all, and what they add up to.
    Histogram(Vec<(f64, u64)>, u64, f64),
}

impl Labels {
    pub(super) fn of(name: &str, value: &str) -> Self {
        let mut labels = Self::default();
        labels.push(name, Some(value));
        labels
    }

    /// A label without a value is as good as none.
    pub(super) fn push(&mut self, name: &str, value: Option<&str>) {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            return;
        };
        let Self(text) = self;
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        if value.contains(['\\', '"', '\n']) {
            for letter in value.chars() {
                match letter {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    letter => text.push(letter),
                }
            }
        } else {
            text.push_str(value);
        }
        text.push('"');
    }

    /// Is there one of this name, and not the first? A quote within a value is escaped.
    pub(super) fn have(&self, name: &str) -> bool {
        let mut rest = self.0.as_str();
        while let Some((_, after)) = rest.split_once(',') {
            if after
                .strip_prefix(name)
                .is_some_and(|after| after.starts_with("=\""))
            {
                return true;
            }
            rest = after;
        }
        false
    }
}

impl Page {
    /// A counter or a gauge.
    pub(super) fn add(&mut self, family: &'static Family, labels: Labels, value: f64) {
        let samples = self.0.entry(family.name).or_default();
        samples.push((labels, Sample::One(value)));
    }

    /// A histogram: how many were below each limit, in all, and what they add up to.
    pub(super) fn add_histogram(
        &mut self,
        family: &'static Family,
        labels: Labels,
        below: impl Iterator<Item = (f64, u64)>,
        (count, sum): (u64, f64),
    ) {
        let samples = self.0.entry(family.name).or_default();
        samples.push((labels, Sample::Histogram(below.collect(), count, sum)));
    }

    pub(super) fn text(mut self) -> String {
        let mut text = String::with_capacity(128 * self.0.values().map(Vec::len).sum::<usize>());
        for family in FAMILIES {
            let Some(mut samples) = self.0.remove(family.name) else {
                continue;
            };
            samples.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            samples.dedup_by(|(later, value), (first, sum)| {
                // Names come from outside, so two may look alike: twice the same labels would make
                // Prometheus refuse all.
                let same = later == first;
                if let (true, Kind::Counter, Sample::One(sum), Sample::One(value)) =
                    (same, family.kind, sum, value)
                {
                    *sum += *value;
                }
                same
            });
            let (name, help, kind) = (family.name, family.help, family.kind());
            let header = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
            text.push_str(&header);
            for (labels, sample) in &samples {
                sample.write(name, labels, &mut text);
            }
        }
        text
    }
}

impl Sample {
    fn write(&self, name: &str, labels: &Labels, text: &mut String) {
        match self {
            Self::One(value) => line(text, (name, ""), labels, *value),
            Self::Histogram(below, count, sum) => {
                let limits = below
                    .iter()
                    .map(|(limit, count)| (limit.to_string(), *count));
                for (limit, count) in limits.chain([("+Inf".to_owned(), *count)]) {
                    let mut labels = labels.clone();
                    labels.push("le", Some(&limit));
                    line(text, (name, "_bucket"), &labels, count as f64);
                }
                line(text, (name, "_sum"), labels, *sum);
                line(text, (name, "_count"), labels, *count as f64);
            }
        }
    }
}

fn line(text: &mut String, (name, part): (&str, &str), Labels(labels): &Labels, value: f64) {
    text.push_str(name);
    text.push_str(part);
    if !labels.is_empty() {
        text.push('{');
        text.push_str(labels);
        text.push('}');
    }
    // Writing to a string does not fail.
    let _written = writeln!(text, " {value}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::prometheus::families;

    #[test]
    fn names_from_outside_are_escaped_and_alike_ones_are_one_series() {
        let mut page = Page::default();
        let mut labels = Labels::of("endpoint", "a\\b\"c\nd,port=\"1");
        assert!(!labels.have("port"), "{labels:?}");
        labels.push("peer", None);
        labels.push("port", Some("80"));
        assert!(labels.have("port"));
        page.add(&families::FLOW_BYTES, labels.clone(), 1e18);
        page.add(&families::FLOW_BYTES, Labels::default(), 7.0);
        page.add(&families::FLOW_BYTES, labels, 1e18);
        let of_drain = [(0.000_5, 1), (1.0, 3)].into_iter();
        page.add_histogram(&families::DRAIN, Labels::of("x", "y"), of_drain, (4, 2.5));
        let text = page.text();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "flowmon_flow_bytes_total 7",
                "flowmon_flow_bytes_total{endpoint=\"a\\\\b\\\"c\\nd,port=\\\"1\",port=\"80\"} 2000000000000000000",
                "flowmon_drain_duration_seconds_bucket{x=\"y\",le=\"0.0005\"} 1",
                "flowmon_drain_duration_seconds_bucket{x=\"y\",le=\"1\"} 3",
                "flowmon_drain_duration_seconds_bucket{x=\"y\",le=\"+Inf\"} 4",
                "flowmon_drain_duration_seconds_sum{x=\"y\"} 2.5",
                "flowmon_drain_duration_seconds_count{x=\"y\"} 4",
            ]
        );
        let header = "# HELP flowmon_flow_bytes_total Bytes";
        assert!(text.starts_with(header), "{text}");
        assert!(text.contains("\n# TYPE flowmon_drain_duration_seconds histogram\n"));
    }
}
