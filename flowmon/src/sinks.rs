//! Where reports go.

mod escape;
mod findings;
mod json;
mod table;
mod units;
mod writer;

pub use escape::escaped;
pub use json::Json;
pub use table::Table;
pub use units::{counted, human};
pub use writer::{Writer, WriterEnd};

use flowmon_common::Totals;

use crate::{
    clock::Moment,
    model::{Bypass, Endpoint, Finding, Identity, Report, Summary},
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
}

/// How reports look: appends to `out` what there is to say.
pub trait Format {
    /// A flow is new, has grown or has ended. `remote` is who has the other end's address, where it
    /// has one.
    fn flow(
        &mut self,
        out: &mut Vec<u8>,
        report: &Report<'_>,
        endpoint: &Endpoint,
        remote: Option<&Identity>,
        now: &Moment,
    );
    /// An interval is over.
    fn interval(&mut self, out: &mut Vec<u8>, overview: &Overview, now: &Moment);
    /// The run is over.
    fn summary(&mut self, out: &mut Vec<u8>, summary: &Summary);
}

/// Takes reports and never waits: what it can't take is counted.
pub struct Sink {
    format: Box<dyn Format>,
    writer: Writer,
}

impl Sink {
    /// Writes in `format` to `writer`.
    pub fn new(format: impl Format + 'static, writer: Writer) -> Self {
        Self {
            format: Box::new(format),
            writer,
        }
    }

    /// A flow is new, has grown or has ended.
    pub fn flow(
        &mut self,
        report: &Report<'_>,
        endpoint: &Endpoint,
        remote: Option<&Identity>,
        now: &Moment,
    ) {
        let Self { format, writer } = self;
        writer.report(|out| format.flow(out, report, endpoint, remote, now));
    }

    /// An interval is over.
    pub fn interval(&mut self, overview: &Overview, now: &Moment) {
        let Self { format, writer } = self;
        writer.report(|out| format.interval(out, overview, now));
    }

    /// Nothing else is kept waiting any more: reports are, rather than lost.
    pub const fn be_patient(&mut self) {
        self.writer.be_patient();
    }

    /// Reports so far are to be written soon.
    pub fn flush(&mut self) {
        self.writer.flush();
    }

    /// Reports that could not be taken so far.
    pub const fn lost(&self) -> u64 {
        self.writer.lost()
    }

    /// The run is over: writes all that was taken, and says how the writing ended.
    pub fn finish(mut self, summary: &Summary) -> WriterEnd {
        let mut last = Vec::new();
        self.format.summary(&mut last, summary);
        self.writer.finish(last)
    }
}
