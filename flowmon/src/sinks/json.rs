//! Flow records as JSON lines.

use serde::Serialize;

use super::{Overview, Sink, Writer, WriterEnd};
use crate::{
    clock::Moment,
    model::{Endpoint, FlowRecord, Moments, Report, Summary},
};

/// One JSON object a line.
pub struct JsonSink {
    writer: Writer,
    node: Option<String>,
}

impl JsonSink {
    /// Records name this node, where its name is known.
    pub const fn new(writer: Writer, node: Option<String>) -> Self {
        Self { writer, node }
    }
}

impl Sink for JsonSink {
    fn flow(&mut self, report: &Report, endpoint: &Endpoint, now: &Moment) {
        let moments = Moments {
            now: now.wall,
            first_seen: now.wall_at(report.flow.stats.first_ns),
            last_seen: now.wall_at(report.flow.stats.last_ns),
        };
        let node = self.node.as_deref();
        let record = FlowRecord::new(report.event, &report.flow, endpoint, node, moments);
        if let Some(line) = line(&record) {
            self.writer.write(line);
        }
    }

    fn interval(&mut self, _: &Overview, _: &Moment) {}

    fn summary(&mut self, summary: &Summary) {
        if let Some(line) = line(summary) {
            self.writer.write_last(line);
        }
    }

    fn lost(&self) -> u64 {
        self.writer.lost()
    }

    fn finish(self: Box<Self>) -> WriterEnd {
        self.writer.finish()
    }
}

/// None never happens: these types have string keys and no serializer that fails.
fn line(value: &impl Serialize) -> Option<String> {
    let mut line = serde_json::to_string(value).ok()?;
    line.push('\n');
    Some(line)
}
