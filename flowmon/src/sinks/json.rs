//! Flow records as JSON lines.

use serde::Serialize;

use super::{Format, Overview, Told};
use crate::{
    clock::Moment,
    model::{FlowRecord, Moments, Summary},
};

/// One JSON object a line.
pub struct Json {
    node: Option<String>,
}

impl Json {
    /// Records name this node, where its name is known.
    pub const fn new(node: Option<String>) -> Self {
        Self { node }
    }
}

impl Format for Json {
    fn flow(&mut self, out: &mut Vec<u8>, told: &Told<'_>) {
        let Told { report, now, .. } = *told;
        let moments = Moments {
            now: now.wall,
            now_ns: now.monotonic_ns,
            first_seen: now.wall_at(report.flow.stats.first_ns),
            last_seen: now.wall_at(report.flow.last_ns),
        };
        let node = self.node.as_deref();
        let Told {
            endpoint, remote, ..
        } = *told;
        let record = FlowRecord::new(report.event, report.flow, endpoint, remote, node, moments);
        line(out, &record.with_verdict(told.verdict));
    }

    fn interval(&mut self, _: &mut Vec<u8>, _: &Overview, _: &Moment) {}

    fn summary(&mut self, out: &mut Vec<u8>, summary: &Summary) {
        line(out, summary);
    }
}

fn line(out: &mut Vec<u8>, value: &impl Serialize) {
    // These types have string keys and no serializer that fails, and a vector takes everything.
    let _infallible = serde_json::to_writer(&mut *out, value);
    out.push(b'\n');
}
