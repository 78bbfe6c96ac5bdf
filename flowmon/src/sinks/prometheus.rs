//! Metrics for Prometheus: what flows add up to, within a budget of time series, and how flowmon
//! fares.

mod budget;
mod families;
mod flows;
mod interfaces;
mod labels;
mod page;
mod standing;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flowmon_common::{Totals, Traffic};

pub use families::{FAMILIES, Family};

use super::{Overview, Sink, Told, WriterEnd};
use crate::{
    clock::Moment,
    model::{FlowEvent, Summary, TcpState, Way},
};
use budget::Budget;
use flows::{Flows, Waiting};
use interfaces::{Before, Interfaces, Sums};
use labels::{Breach, Peer, Place, What};
use page::{Labels, Page};
use standing::{Counts, Standings};

/// Limits of the buckets for the time that reading all counters takes (s).
const DRAIN_LIMITS: [f64; 10] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
];

/// The sink: keeps what is exposed up to date.
pub struct Prometheus {
    shared: Exposition,
    budget: Budget,
    with_port: bool,
    waiting: Waiting,
    standings: Standings,
    before: Before,
    sums: Sums,
}

/// What is exposed, for whoever serves it. A scrape copies it, so that the sink waits no longer than
/// that takes.
#[derive(Clone, Default)]
pub struct Exposition(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    flows: Flows,
    interfaces: Interfaces,
    overview: Overview,
    unattributed: Totals,
    drains: [u64; DRAIN_LIMITS.len()],
    drained: (u64, f64),
}

impl Exposition {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Have all counters been read?
    pub fn has_begun(&self) -> bool {
        self.lock().drained.0 > 0
    }

    /// All of it, in Prometheus' text format, version 0.0.4.
    pub fn text(&self) -> String {
        let state = self.lock().clone();
        state.page().text()
    }
}

impl Prometheus {
    /// Exposes so many series at most; 1000 are few. With a port, flows are told apart by what they
    /// asked for.
    pub fn new(max_series: usize, with_port: bool) -> (Self, Exposition) {
        let shared = Exposition::default();
        let sink = Self {
            shared: shared.clone(),
            budget: Budget::of(max_series),
            with_port,
            waiting: Waiting::default(),
            standings: Standings::default(),
            before: Before::default(),
            sums: Sums::default(),
        };
        (sink, shared)
    }

    /// What a report adds.
    fn amounts(&mut self, told: &Told<'_>) -> Vec<(What, u64)> {
        let report = told.report;
        let ways = [(Way::Tx, report.growth.tx), (Way::Rx, report.growth.rx)];
        let mut amounts = Vec::with_capacity(8);
        for (way, Traffic { packets, bytes }) in ways {
            amounts.push((What::Bytes(way), bytes));
            amounts.push((What::Packets(way), packets));
        }
        if report.event == FlowEvent::New {
            let outcome = told.verdict.map(|verdict| verdict.outcome);
            amounts.push((What::Flows(outcome), 1));
        }
        for (way, again) in labels::grown(report, |half| half.retransmits.into()) {
            amounts.push((What::Retransmits(way), again));
        }
        self.judged(told, &mut amounts);
        if report.event == FlowEvent::End {
            let failure = match report.flow.tcp_state(told.now.monotonic_ns) {
                Some(TcpState::Refused) => Some("refused"),
                Some(TcpState::Timeout) => Some("timeout"),
                Some(TcpState::Reset) => Some("reset"),
                _ => None,
            };
            amounts.extend(failure.map(|reason| (What::Failed(reason), 1)));
        }
        amounts.retain(|(_, amount)| *amount > 0);
        amounts
    }

    fn judged(&mut self, told: &Told<'_>, amounts: &mut Vec<(What, u64)>) {
        let outcome = told.verdict.map(|verdict| verdict.outcome);
        let counts = self.standings.note(told.report, outcome);
        let Some(verdict) = told.verdict else { return };
        match counts {
            Counts::Denied { flows, bytes } => {
                let breach = Breach {
                    policy: verdict.policy.clone(),
                    reason: verdict.reason,
                    port: told.report.flow.asked_port(),
                };
                amounts.push((What::Violations(breach.clone()), flows));
                amounts.push((What::ViolationBytes(breach), bytes));
            }
            Counts::Undecided => amounts.push((What::Undecided(verdict.reason), 1)),
            Counts::Nothing => {}
        }
    }

    fn add_round_trips(&mut self, told: &Told<'_>, place: &Place) {
        let all = labels::grown(told.report, |half| half.rtt_sum);
        let handshakes = labels::grown(told.report, |half| half.rtt_handshake.into());
        for ((way, all), (_, handshake)) in all.into_iter().zip(handshakes) {
            let kinds = [(false, all.saturating_sub(handshake)), (true, handshake)];
            for (is_handshake, sum) in kinds.into_iter().filter(|(_, sum)| *sum > 0) {
                let kind = interfaces::kind(is_handshake, way);
                *self.sums.entry((place.clone(), kind)).or_default() += sum;
            }
        }
    }
}

impl Sink for Prometheus {
    fn flow(&mut self, told: &Told<'_>) {
        let mut amounts = self.amounts(told);
        if amounts.is_empty() {
            return;
        }
        let place = Place::of(told.endpoint);
        self.add_round_trips(told, &place);
        let peer = Peer::of(told, self.with_port);
        self.shared.lock().flows.add(
            (place, peer),
            &mut amounts,
            told.now.monotonic_ns,
            (&mut self.budget, &mut self.waiting),
        );
    }

    fn interval(&mut self, overview: &Overview, now: &Moment) {
        let now_ns = now.monotonic_ns;
        let mut state = self.shared.lock();
        let State {
            flows, interfaces, ..
        } = &mut *state;
        for watched in overview.watched.iter().filter(|one| !one.has_parted) {
            flows.see(&Place::of(&watched.endpoint), now_ns);
        }
        flows.turn(now_ns, &mut self.budget, &mut self.waiting);
        interfaces.turn(
            &overview.watched,
            now_ns,
            (&mut self.before, &mut self.sums, &mut self.budget),
            flows,
        );
        state.learn(overview);
    }

    fn finish(self: Box<Self>, _: &Summary) -> WriterEnd {
        WriterEnd::Written
    }
}

impl State {
    fn learn(&mut self, overview: &Overview) {
        // What is missing may be on its way, so this is the least that is: it never shrinks.
        let most = |so_far: &mut Traffic, all: Traffic, part: Traffic| {
            so_far.packets = so_far.packets.max(all.packets.saturating_sub(part.packets));
            so_far.bytes = so_far.bytes.max(all.bytes.saturating_sub(part.bytes));
        };
        let (all, part) = (overview.totals, overview.attributed);
        most(&mut self.unattributed.tx, all.tx, part.tx);
        most(&mut self.unattributed.rx, all.rx, part.rx);
        for drain in &overview.workings.drains {
            let seconds = drain.as_secs_f64();
            for (below, limit) in self.drains.iter_mut().zip(DRAIN_LIMITS) {
                *below += u64::from(seconds <= limit);
            }
            self.drained.0 += 1;
            self.drained.1 += seconds;
        }
        self.overview = Overview {
            watched: Vec::new(),
            ..overview.clone()
        };
    }

    fn page(&self) -> Page {
        let mut page = Page::default();
        self.flows.each(|place, peer, what, value| {
            let mut labels = place.labels();
            peer.add_to(&mut labels);
            what.add_to(&mut labels);
            page.add(what.family(), labels, value as f64);
        });
        self.interfaces.write(&mut page);
        self.write_workings(&mut page);
        page
    }

    fn write_workings(&self, page: &mut Page) {
        let Overview {
            interfaces,
            flows,
            workings,
            audited,
            ..
        } = &self.overview;
        for (way, traffic) in [
            (Way::Tx, self.unattributed.tx),
            (Way::Rx, self.unattributed.rx),
        ] {
            let labels = Labels::of("way", way.label());
            page.add(
                &families::UNATTRIBUTED_BYTES,
                labels.clone(),
                traffic.bytes as f64,
            );
            page.add(
                &families::UNATTRIBUTED_PACKETS,
                labels,
                traffic.packets as f64,
            );
        }
        for (reason, count) in &workings.unparsed {
            page.add(
                &families::UNPARSED,
                Labels::of("reason", reason),
                *count as f64,
            );
        }
        for (what, count) in &workings.lost {
            page.add(&families::LOST, Labels::of("what", what), *count as f64);
        }
        let maps = [
            ("flows", *flows, workings.max_flows),
            ("interfaces", *interfaces, workings.max_interfaces),
        ];
        for (map, entries, capacity) in maps {
            let labels = Labels::of("map", map);
            page.add(&families::MAP_ENTRIES, labels.clone(), entries as f64);
            page.add(&families::MAP_CAPACITY, labels, capacity as f64);
        }
        page.add(
            &families::SUPPRESSED,
            Labels::default(),
            self.flows.suppressed as f64,
        );
        if let Some(audited) = audited {
            for (kind, count) in &audited.policies {
                page.add(&families::POLICIES, Labels::of("kind", kind), *count as f64);
            }
            let failures = audited.policy_reload_failures;
            page.add(
                &families::RELOAD_FAILURES,
                Labels::default(),
                failures as f64,
            );
        }
        for (source, is_up) in &workings.sources {
            let labels = Labels::of("source", source.label());
            page.add(&families::SOURCES_UP, labels, f64::from(u8::from(*is_up)));
        }
        for (program, ran) in &workings.programs {
            let labels = Labels::of("program", program);
            page.add(&families::EBPF_RUN, labels, ran.as_secs_f64());
        }
        let below = DRAIN_LIMITS.into_iter().zip(self.drains);
        page.add_histogram(&families::DRAIN, Labels::default(), below, self.drained);
        let labels = Labels::of("version", env!("CARGO_PKG_VERSION"));
        page.add(&families::BUILD_INFO, labels, 1.0);
    }
}

#[cfg(test)]
mod tests;
