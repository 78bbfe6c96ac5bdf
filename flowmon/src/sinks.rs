//! Where reports go.

mod escape;
mod findings;
mod json;
mod last_word;
mod log_file;
mod log_filter;
mod prometheus;
mod table;
mod talks;
mod terminal;
mod units;
mod verdicts;
mod workings;
mod writer;

pub use escape::escaped;
pub use json::Json;
pub use last_word::LastWord;
pub use log_file::{LogFile, LogLimits};
pub use log_filter::{LogFilter, Logged};
pub use prometheus::{Exposition, FAMILIES, Family, Prometheus};
pub use table::Table;
pub use terminal::Terminal;
pub use units::{counted, human};
pub use workings::{Watched, Workings};
pub use writer::{Target, Writer, WriterEnd};

use std::sync::Arc;

use flowmon_common::Totals;

use crate::{
    clock::Moment,
    model::{Audited, Bypass, Endpoint, Finding, Identity, Report, Summary, Verdict},
};

/// The state of the whole at the end of an interval.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Overview {
    /// Interfaces watched right now.
    pub interfaces: usize,
    /// Flows tracked right now.
    pub flows: usize,
    /// What crossed the interfaces since the watch began.
    pub totals: Totals,
    /// What of it is in reported flows.
    pub attributed: Totals,
    /// Everything that was lost, all causes together.
    pub lost: u64,
    /// What is remarkable of the interval.
    pub findings: Vec<Finding>,
    /// What did not pass the hooks, and so is in no total.
    pub bypassed: Vec<Bypass>,
    /// What policies say of all flows since the watch began; none where there are no policies.
    pub audited: Option<Arc<Audited>>,
    /// Each interface by itself.
    pub watched: Vec<Watched>,
    /// How flowmon itself fares.
    pub workings: Workings,
}

/// A report of a flow, with all that is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// What happened to which flow.
    pub report: &'a Report<'a>,
    /// Where it was seen.
    pub endpoint: &'a Endpoint,
    /// Who has the other end's address, where it has one.
    pub remote: Option<&'a Identity>,
    /// What policies say of it; none where there are none, or none is about it.
    pub verdict: Option<&'a Verdict>,
    /// When this is told.
    pub now: &'a Moment,
}

/// Somebody who is told everything, and keeps nobody waiting: what it can't take it counts.
pub trait Sink {
    /// A flow is new, has grown or has ended.
    fn flow(&mut self, told: &Told<'_>);

    /// An interval is over.
    fn interval(&mut self, overview: &Overview, now: &Moment);

    /// What was told so far is to be passed on soon.
    fn flush(&mut self) {}

    /// Nothing else is kept waiting any more: reports may be, rather than lost.
    fn be_patient(&mut self) {}

    /// Reports that could not be taken so far.
    fn lost(&self) -> u64 {
        0
    }

    /// The run is over: passes on all that was taken, and says how that ended.
    fn finish(self: Box<Self>, summary: &Summary) -> WriterEnd;
}

/// Everybody who is told.
#[derive(Default)]
pub struct Sinks(Vec<Box<dyn Sink>>);

impl Sinks {
    /// Tells another one.
    #[must_use]
    pub fn and(mut self, sink: impl Sink + 'static) -> Self {
        self.0.push(Box::new(sink));
        self
    }
}

impl Sink for Sinks {
    fn flow(&mut self, told: &Told<'_>) {
        for sink in &mut self.0 {
            sink.flow(told);
        }
    }

    fn interval(&mut self, overview: &Overview, now: &Moment) {
        for sink in &mut self.0 {
            sink.interval(overview, now);
        }
    }

    fn flush(&mut self) {
        for sink in &mut self.0 {
            sink.flush();
        }
    }

    fn be_patient(&mut self) {
        for sink in &mut self.0 {
            sink.be_patient();
        }
    }

    fn lost(&self) -> u64 {
        self.0.iter().map(|sink| sink.lost()).sum()
    }

    /// All are finished; the first that failed is told of.
    fn finish(self: Box<Self>, summary: &Summary) -> WriterEnd {
        let ends = self.0.into_iter().map(|sink| sink.finish(summary));
        ends.fold(WriterEnd::Written, |so_far, end| match so_far {
            WriterEnd::Failed(_) => so_far,
            WriterEnd::Written | WriterEnd::ReaderGone => end,
        })
    }
}

/// How reports look as text: appends to `out` what there is to say.
pub trait Format {
    /// A flow is new, has grown or has ended.
    fn flow(&mut self, out: &mut Vec<u8>, told: &Told<'_>);
    /// An interval is over.
    fn interval(&mut self, out: &mut Vec<u8>, overview: &Overview, now: &Moment);
    /// The run is over.
    fn summary(&mut self, out: &mut Vec<u8>, summary: &Summary);
}

/// Tells by writing.
pub struct Text<F> {
    format: F,
    writer: Writer,
}

impl<F: Format> Text<F> {
    /// Writes in `format` to `writer`.
    pub const fn new(format: F, writer: Writer) -> Self {
        Self { format, writer }
    }
}

impl<F: Format> Sink for Text<F> {
    fn flow(&mut self, told: &Told<'_>) {
        let Self { format, writer } = self;
        writer.report(|out| format.flow(out, told));
    }

    fn interval(&mut self, overview: &Overview, now: &Moment) {
        let Self { format, writer } = self;
        writer.report(|out| format.interval(out, overview, now));
    }

    fn be_patient(&mut self) {
        self.writer.be_patient();
    }

    fn flush(&mut self) {
        self.writer.flush();
    }

    fn lost(&self) -> u64 {
        self.writer.lost()
    }

    fn finish(mut self: Box<Self>, summary: &Summary) -> WriterEnd {
        let mut last = Vec::new();
        self.format.summary(&mut last, summary);
        self.writer.finish(last)
    }
}
