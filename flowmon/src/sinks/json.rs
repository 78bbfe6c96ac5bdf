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
            now_ns: now.monotonic_ns,
            first_seen: now.wall_at(report.flow.stats.first_ns),
            last_seen: now.wall_at(report.flow.last_ns),
        };
        let node = self.node.as_deref();
        let record = FlowRecord::new(report.event, &report.flow, endpoint, node, moments);
        self.writer.report(|portion| line(portion, &record));
    }

    fn interval(&mut self, _: &Overview, _: &Moment) {}

    fn be_patient(&mut self) {
        self.writer.be_patient();
    }

    fn flush(&mut self) {
        self.writer.flush();
    }

    fn lost(&self) -> u64 {
        self.writer.lost()
    }

    fn finish(self: Box<Self>, summary: &Summary) -> WriterEnd {
        let mut last = Vec::new();
        line(&mut last, summary);
        self.writer.finish(last)
    }
}

fn line(portion: &mut Vec<u8>, value: &impl Serialize) {
    // These types have string keys and no serializer that fails, and a vector takes everything.
    let _infallible = serde_json::to_writer(&mut *portion, value);
    portion.push(b'\n');
}
