//! What was counted at interfaces: all that crossed them, and how long round trips took.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use flowmon_common::{
    Totals, Traffic,
    latency::{Histogram, Latencies},
    probe::UNIT_NS,
};

use super::{
    budget::{Budget, For},
    families,
    flows::{Flows, LINGER_NS},
    labels::Place,
    page::{Labels, Page},
};
use crate::{model::Way, sinks::Watched};

/// Series of an interface, and of one histogram.
const OF_AN_INTERFACE: usize = 5;
const OF_A_HISTOGRAM: usize = LIMITS.end - LIMITS.start + 3;
/// Buckets of the kernel side whose limits are exposed: 33 µs to 1.1 s.
const LIMITS: std::ops::Range<usize> = 6..22;

/// Which histogram: is it of handshakes, and of which side.
type Kind = (bool, &'static str);
const KINDS: [Kind; 4] = [
    (false, "network"),
    (false, "container"),
    (true, "network"),
    (true, "container"),
];

#[derive(Debug, Clone, Default)]
pub(super) struct Interfaces {
    by_name: BTreeMap<Arc<str>, Interface>,
    round_trips: BTreeMap<(Place, Kind), RoundTrips>,
}

#[derive(Debug, Clone, Default)]
struct Interface {
    seen_ns: u64,
    totals: Totals,
    coverage: Option<f64>,
    is_counted: bool,
}

#[derive(Debug, Clone, Default)]
struct RoundTrips {
    buckets: Histogram,
    /// In units of [`UNIT_NS`].
    sum: u64,
    is_counted: bool,
}

/// What each interface had counted when it was last looked at.
pub(super) type Before = HashMap<u32, (Totals, Latencies)>;
/// Sums of round trips that flows told since the last interval, in units of [`UNIT_NS`].
pub(super) type Sums = BTreeMap<(Place, Kind), u64>;

/// The histogram that a flow's round trips are in: what the endpoint sent is answered by the
/// network, what it received by the container.
pub(super) const fn kind(is_handshake: bool, way: Way) -> Kind {
    match way {
        Way::Tx => (is_handshake, "network"),
        Way::Rx => (is_handshake, "container"),
    }
}

impl Interfaces {
    pub(super) fn turn(
        &mut self,
        watched: &[Watched],
        now_ns: u64,
        (before, sums, budget): (&mut Before, &mut Sums, &mut Budget),
        flows: &Flows,
    ) {
        for watched in watched {
            self.look_at(watched, now_ns, before, budget);
        }
        for ((place, kind), sum) in std::mem::take(sums) {
            self.histogram(&place, kind, budget).sum += sum;
        }
        self.by_name.retain(|_, interface| {
            let stays = !interface.is_counted || now_ns - interface.seen_ns < LINGER_NS;
            if !stays {
                budget.give(OF_AN_INTERFACE);
            }
            stays
        });
        self.round_trips.retain(|(place, _), trips| {
            let stays = !trips.is_counted || flows.knows(place);
            if !stays {
                budget.give(OF_A_HISTOGRAM);
            }
            stays
        });
    }

    fn look_at(
        &mut self,
        watched: &Watched,
        now_ns: u64,
        before: &mut Before,
        budget: &mut Budget,
    ) {
        let ifindex = watched.endpoint.ifindex;
        let (totals, latencies) = before.get(&ifindex).copied().unwrap_or_default();
        let interface = self.interface(&watched.endpoint.interface, budget);
        interface.seen_ns = now_ns;
        interface.coverage = watched.coverage.filter(|_| interface.is_counted);
        let growth = |now: Traffic, before: Traffic| Traffic {
            packets: now.packets.saturating_sub(before.packets),
            bytes: now.bytes.saturating_sub(before.bytes),
        };
        interface.totals.tx += growth(watched.totals.tx, totals.tx);
        interface.totals.rx += growth(watched.totals.rx, totals.rx);
        let place = Place::of(&watched.endpoint);
        let all = |latencies: Latencies| latencies.rtt.into_iter().chain(latencies.handshake);
        for ((kind, now), before) in KINDS
            .into_iter()
            .zip(all(watched.latencies))
            .zip(all(latencies))
        {
            if now == before {
                continue;
            }
            let histogram = self.histogram(&place, kind, budget);
            for ((bucket, now), before) in histogram.buckets.iter_mut().zip(now).zip(before) {
                *bucket += now.saturating_sub(before);
            }
        }
        if watched.has_parted {
            before.remove(&ifindex);
        } else {
            before.insert(ifindex, (watched.totals, watched.latencies));
        }
    }

    fn interface(&mut self, name: &str, budget: &mut Budget) -> &mut Interface {
        let has_room = self.by_name.contains_key(name) || budget.take(OF_AN_INTERFACE, For::Whole);
        let name = if has_room { name } else { families::OTHER };
        let interface = self.by_name.entry(Arc::from(name)).or_default();
        interface.is_counted |= has_room;
        interface
    }

    fn histogram(&mut self, place: &Place, kind: Kind, budget: &mut Budget) -> &mut RoundTrips {
        let mut key = (place.clone(), kind);
        let has_room =
            self.round_trips.contains_key(&key) || budget.take(OF_A_HISTOGRAM, For::RoundTrips);
        if !has_room {
            key.0 = Place::other();
        }
        let trips = self.round_trips.entry(key).or_default();
        trips.is_counted |= has_room;
        trips
    }

    pub(super) fn write(&self, page: &mut Page) {
        for (name, interface) in &self.by_name {
            let labels = |way: Option<Way>| {
                let mut labels = Labels::of("interface", name);
                labels.push("way", way.map(Way::label));
                labels
            };
            let Totals { tx, rx } = interface.totals;
            for (way, traffic) in [(Way::Tx, tx), (Way::Rx, rx)] {
                let labels = labels(Some(way));
                page.add(
                    &families::INTERFACE_BYTES,
                    labels.clone(),
                    traffic.bytes as f64,
                );
                page.add(&families::INTERFACE_PACKETS, labels, traffic.packets as f64);
            }
            if let Some(ratio) = interface.coverage {
                page.add(&families::HOOK_COVERAGE, labels(None), ratio);
            }
        }
        for ((place, (is_handshake, side)), trips) in &self.round_trips {
            let mut labels = place.labels();
            labels.push("side", Some(side));
            let family = if *is_handshake {
                &families::HANDSHAKE
            } else {
                &families::RTT
            };
            let seconds = |units: f64| units * UNIT_NS as f64 / 1e9;
            let mut so_far = 0;
            let below = trips.buckets.iter().enumerate().map(|(bucket, count)| {
                so_far += count;
                let doublings = i32::try_from(bucket + 1).unwrap_or(i32::MAX);
                (seconds(2f64.powi(doublings)), so_far)
            });
            let shown = below.skip(LIMITS.start).take(LIMITS.end - LIMITS.start);
            let count = trips.buckets.iter().sum();
            page.add_histogram(family, labels, shown, (count, seconds(trips.sum as f64)));
        }
    }
}
