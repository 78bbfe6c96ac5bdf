//! The text that is scraped.

use std::collections::BTreeMap;

use prometheus::{
    TextEncoder,
    proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType},
};

use super::families::{FAMILIES, Family};

/// Samples by family.
#[derive(Default)]
pub(super) struct Page(BTreeMap<&'static str, Vec<Metric>>);

impl Page {
    /// A counter or a gauge.
    pub(super) fn add(&mut self, family: &'static Family, labels: Vec<LabelPair>, value: f64) {
        let mut metric = Metric::from_label(labels);
        if family.kind == MetricType::GAUGE {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        } else {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        self.0.entry(family.name).or_default().push(metric);
    }

    /// A histogram: how many were below each limit, in all, and what they add up to.
    pub(super) fn add_histogram(
        &mut self,
        family: &'static Family,
        labels: Vec<LabelPair>,
        below: impl Iterator<Item = (f64, u64)>,
        (count, sum): (u64, f64),
    ) {
        let bucket = |(limit, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(limit);
            bucket.set_cumulative_count(count);
            bucket
        };
        let mut histogram = Histogram::default();
        histogram.set_bucket(below.map(bucket).collect());
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum);
        let mut metric = Metric::from_label(labels);
        metric.set_histogram(histogram);
        self.0.entry(family.name).or_default().push(metric);
    }

    /// In Prometheus' text format, version 0.0.4.
    pub(super) fn text(mut self) -> Result<String, prometheus::Error> {
        let mut families = Vec::new();
        for family in FAMILIES {
            let Some(mut metrics) = self.0.remove(family.name) else {
                continue;
            };
            metrics.sort_by(|a, b| labels(a).cmp(labels(b)));
            metrics.dedup_by(|later, first| {
                // Names come from outside, so two may look alike: twice the same labels would make
                // Prometheus refuse all.
                let same = later.get_label() == first.get_label();
                if same && family.kind == MetricType::COUNTER {
                    let mut sum = Counter::default();
                    let values = [&*later, &*first].map(|metric| metric.get_counter().get_value());
                    sum.set_value(values.iter().sum());
                    first.set_counter(sum);
                }
                same
            });
            let mut described = MetricFamily::default();
            described.set_name(family.name.to_owned());
            described.set_help(family.help.to_owned());
            described.set_field_type(family.kind);
            described.set_metric(metrics);
            families.push(described);
        }
        TextEncoder::new().encode_to_string(&families)
    }
}

fn labels(metric: &Metric) -> impl Iterator<Item = (&str, &str)> {
    let pairs = metric.get_label().iter();
    pairs.map(|pair| (pair.name(), pair.value()))
}
