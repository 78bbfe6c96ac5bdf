//! Where reports go.

mod escape;
mod json;
mod table;
mod units;
mod writer;

pub use escape::escaped;
pub use json::JsonSink;
pub use table::TableSink;
pub use writer::{Writer, WriterEnd};

use flowmon_common::Totals;

use crate::{
    clock::Moment,
    model::{Endpoint, Report, Summary},
};

/// The state of the whole at the end of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
}

/// Takes reports and never waits: what it can't take is counted.
pub trait Sink {
    /// A flow is new, has grown or has ended.
    fn flow(&mut self, report: &Report, endpoint: &Endpoint, now: &Moment);
    /// An interval is over.
    fn interval(&mut self, overview: &Overview, now: &Moment);
    /// Nothing else is kept waiting any more: reports are, rather than lost.
    fn be_patient(&mut self);
    /// Reports so far are to be written soon.
    fn flush(&mut self);
    /// Reports that could not be taken so far.
    fn lost(&self) -> u64;
    /// The run is over: writes all that was taken, and says how the writing ended.
    fn finish(self: Box<Self>, summary: &Summary) -> WriterEnd;
}
