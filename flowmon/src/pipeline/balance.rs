//! What crossed the wire, what of it is in flows, and what was lost.

use std::{collections::BTreeMap, sync::Arc};

use flowmon_common::{Counter, Totals};

use crate::{
    model::{Audited, Bypass, Finding, Summary},
    sinks::Overview,
};

/// Two sums that ought to be one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Balance {
    totals: Totals,
    attributed: Totals,
}

impl Balance {
    /// Adds what crossed an interface, and what of it is in flows.
    pub(super) fn add(&mut self, totals: Totals, attributed: Totals) {
        self.totals += totals;
        self.attributed += attributed;
    }

    /// What crossed the interfaces.
    pub(super) const fn totals(&self) -> Totals {
        self.totals
    }

    pub(super) fn overview(
        &self,
        interfaces: usize,
        flows: usize,
        lost: u64,
        findings: Vec<Finding>,
        bypassed: Vec<Bypass>,
        audited: Option<Arc<Audited>>,
    ) -> Overview {
        Overview {
            interfaces,
            flows,
            totals: self.totals,
            attributed: self.attributed,
            lost,
            findings,
            bypassed,
            audited,
            ..Overview::default()
        }
    }

    pub(super) fn summary(
        &self,
        interfaces: usize,
        flows: u64,
        counters: &[(Counter, u64)],
        lost: BTreeMap<&'static str, u64>,
    ) -> Summary {
        let unparsed = counters
            .iter()
            .filter(|(counter, count)| counter.is_refusal() && *count > 0)
            .map(|(counter, count)| (counter.label(), *count))
            .collect();
        Summary::new(
            interfaces,
            flows,
            self.totals,
            self.attributed,
            unparsed,
            lost,
        )
    }
}

/// Everything that was lost, by cause: always all causes, so that a 0 is seen to be one.
pub(super) fn losses(
    counters: &[(Counter, u64)],
    sink_queue: u64,
    interfaces: u64,
    names: u64,
) -> BTreeMap<&'static str, u64> {
    counters
        .iter()
        .filter(|(counter, _)| !counter.is_refusal())
        .map(|(counter, count)| (counter.label(), *count))
        .chain([
            ("sink_queue", sink_queue),
            ("interfaces", interfaces),
            ("names", names),
        ])
        .collect()
}
