//! What metrics are told of each interface and of flowmon itself, at the end of an interval.

use std::{collections::BTreeMap, time::Duration};

use flowmon_common::{Counter, settings::MAX_ENDPOINTS};

use super::{Attachments, Error, Identities, coverage};
use crate::{
    kernel::Datapath,
    sinks::{Watched, Workings},
};

/// What has happened since the last interval.
#[derive(Default)]
pub(super) struct Gathered {
    parted: Vec<Watched>,
    drains: Vec<Duration>,
}

impl Gathered {
    /// All counters were read, which took so long.
    pub(super) fn drained(&mut self, took_ns: u64) {
        self.drains.push(Duration::from_nanos(took_ns));
    }

    /// An interface was counted at for the last time.
    pub(super) fn parted(&mut self, watched: Watched) {
        self.parted.push(Watched {
            has_parted: true,
            ..watched
        });
    }

    /// Each interface: those that parted first, as another may have an index of theirs.
    pub(super) fn interfaces(
        &mut self,
        datapath: &Datapath,
        attachments: &Attachments,
        coverage: &coverage::Watch,
    ) -> Result<Vec<Watched>, Error> {
        let mut interfaces = std::mem::take(&mut self.parted);
        for ifindex in attachments.attached() {
            interfaces.extend(watched(ifindex, datapath, attachments, coverage)?);
        }
        Ok(interfaces)
    }

    /// How everything works.
    pub(super) fn workings(
        &mut self,
        datapath: &Datapath,
        identities: &Identities,
        max_flows: usize,
        counters: &[(Counter, u64)],
        lost: BTreeMap<&'static str, u64>,
    ) -> Workings {
        let unparsed = counters.iter().filter(|(counter, _)| counter.is_refusal());
        Workings {
            max_flows,
            max_interfaces: MAX_ENDPOINTS.into(),
            unparsed: unparsed
                .map(|(counter, count)| (counter.label(), *count))
                .collect(),
            lost,
            drains: std::mem::take(&mut self.drains),
            programs: datapath.run_times(),
            sources: identities.answering(),
        }
    }
}

/// What an interface that is attached to has counted.
pub(super) fn watched(
    ifindex: u32,
    datapath: &Datapath,
    attachments: &Attachments,
    coverage: &coverage::Watch,
) -> Result<Option<Watched>, Error> {
    let Some(endpoint) = attachments.endpoint(ifindex) else {
        return Ok(None);
    };
    Ok(Some(Watched {
        endpoint: endpoint.clone(),
        totals: datapath.totals(ifindex)?,
        latencies: datapath.latencies(ifindex)?,
        coverage: coverage.ratio(ifindex),
        has_parted: false,
    }))
}
