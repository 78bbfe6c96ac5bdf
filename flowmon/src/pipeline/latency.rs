//! Round-trip times of the interfaces that were watched, for the summary.

use flowmon_common::latency::{Histogram, Latencies};

use crate::model::{Endpoint, Latency, latency};

/// Interfaces whose latencies the summary names: those with most samples.
const MOST: usize = 1000;

/// Gathers what each interface's histograms said when it was watched no longer.
#[derive(Default)]
pub(super) struct Gathered {
    all: Latencies,
    interfaces: Vec<Latency>,
}

impl Gathered {
    pub(super) fn add(&mut self, endpoint: &Endpoint, latencies: &Latencies) {
        add(&mut self.all.rtt, &latencies.rtt);
        add(&mut self.all.handshake, &latencies.handshake);
        let name = (endpoint.interface.as_str(), endpoint.ifindex);
        self.interfaces.extend(latency(Some(name), latencies));
        if self.interfaces.len() > 2 * MOST {
            self.interfaces
                .sort_by_key(|one| std::cmp::Reverse(one.rtt.samples));
            self.interfaces.truncate(MOST);
        }
    }

    /// All together, then each by itself.
    pub(super) fn said(self) -> Vec<Latency> {
        let mut said = latency(None, &self.all);
        said.extend(self.interfaces);
        said
    }
}

fn add(to: &mut [Histogram; 2], from: &[Histogram; 2]) {
    for (to, from) in to.iter_mut().flatten().zip(from.iter().flatten()) {
        *to += from;
    }
}
