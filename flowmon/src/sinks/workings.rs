//! What metrics tell beside flows: each interface by itself, and how flowmon itself fares.

use std::{collections::BTreeMap, time::Duration};

use flowmon_common::{Totals, latency::Latencies};

use crate::model::{Endpoint, IdentitySource};

/// An interface, with all that was counted there since it was attached to.
#[derive(Debug, Clone, PartialEq)]
pub struct Watched {
    /// Which one, and who is behind it.
    pub endpoint: Endpoint,
    /// What crossed it.
    pub totals: Totals,
    /// How long round trips took.
    pub latencies: Latencies,
    /// The smaller part, of both ways, that passed the hook; none where that can't be compared.
    pub coverage: Option<f64>,
    /// It is watched no longer, and this is its last word.
    pub has_parted: bool,
}

/// How flowmon itself fares.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Workings {
    /// Flows the kernel keeps at most.
    pub max_flows: usize,
    /// Interfaces that can be watched at once.
    pub max_interfaces: usize,
    /// Packets that the parser refused, by reason.
    pub unparsed: BTreeMap<&'static str, u64>,
    /// What was lost, by cause.
    pub lost: BTreeMap<&'static str, u64>,
    /// How long each reading of all counters took, of those since the last interval.
    pub drains: Vec<Duration>,
    /// How long each program of the kernel side has run; empty while the kernel does not measure it
    /// (sysctl `kernel.bpf_stats_enabled`).
    pub programs: BTreeMap<String, Duration>,
    /// Does each source of identities answer? One that was never there is absent.
    pub sources: BTreeMap<IdentitySource, bool>,
}
