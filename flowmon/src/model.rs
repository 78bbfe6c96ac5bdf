//! The words every room of flowmon uses. No behaviour that needs a clock or the outside world.

mod audited;
mod coverage;
mod dns;
mod finding;
mod flow;
mod identity;
mod instant;
mod interface;
mod labels;
mod latency;
mod record;
mod tcp;
mod verdict;
mod witness;

pub use audited::{Audited, Someone, Violation};
pub use coverage::{Bypass, Coverage, Way, bypassed};
pub use dns::Dns;
pub use finding::{
    Amount, Connections, Finding, MANY_TARGETS, Scan, WitnessCount, Witnessed, odd_frames,
};
pub use flow::{Direction, Flow, Icmp, Protocol};
pub use identity::{EndpointKind, Identity, IdentitySource, NamedPort};
pub use interface::{Interface, InterfaceCounters, LinkLayer, Peer};
pub use labels::Labels;
pub use latency::{Latency, Quantiles, latency};
pub use record::{Endpoint, FlowRecord, Moments, Summary};
pub use tcp::TcpState;
pub use verdict::{Outcome, Verdict};
pub use witness::{Difference, Range, Reading};

use flowmon_common::Totals;

/// What happened to a flow, and how much it grew since its last report.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// What happened.
    pub event: FlowEvent,
    /// The flow as it is now.
    pub flow: &'a Flow,
    /// The flow as it was last reported; none where it never was.
    pub before: Option<&'a Flow>,
    /// What was added since then.
    pub growth: Totals,
}

/// What happened to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowEvent {
    /// First heard of.
    New,
    /// The process before this one knew it, and told of it: to readers of records an update.
    #[serde(rename(serialize = "update"), skip_deserializing)]
    Inherited,
    /// Its entry was evicted and made again, and counts from 0: the same connection, as far as anyone can
    /// tell. To readers of records it is new.
    #[serde(rename(serialize = "new"), skip_deserializing)]
    Again,
    /// Its counters grew.
    Update,
    /// It is no longer tracked; these are its last counters.
    End,
}
