//! From cumulative counters to reports of what changed.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use flowmon_common::{Direction, DirectionStats, FlowKey, FlowStats, NewFlow, Totals, Traffic};

use crate::model::{Flow, FlowEvent, Report};

/// Tracks flows from drain to drain.
///
/// Bounded by the kernel's map: what a drain does not find there is reported as ended and
/// forgotten, so no more is kept than the map holds and events announced since.
#[derive(Debug, Default)]
pub struct FlowTable {
    flows: HashMap<FlowKey, Tracked>,
    attributed: BTreeMap<u32, Totals>,
    reported: u64,
    /// Number of the drain under way, or of the last one.
    drain: u64,
    /// An event of an entry made before this moment brings no news (`CLOCK_MONOTONIC`, ns).
    drained_to_ns: u64,
}

#[derive(Debug)]
struct Tracked {
    stats: FlowStats,
    seen_in: u64,
}

impl FlowTable {
    /// How many flows are tracked.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Is none?
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// How many flows were ever reported.
    pub const fn reported(&self) -> u64 {
        self.reported
    }

    /// What the reported flows of an interface add up to.
    pub fn attributed(&self, ifindex: u32) -> Totals {
        self.attributed.get(&ifindex).copied().unwrap_or_default()
    }

    /// The kernel announced a flow. Of an entry that a drain has found, or has found gone, that is
    /// no news: it would count its first packets twice.
    pub fn announce(&mut self, event: &NewFlow, report: &mut impl FnMut(Report)) {
        let known = self.flows.get(&event.key);
        let is_news = event.first_ns >= self.drained_to_ns
            && known.is_none_or(|known| known.stats.first_ns < event.first_ns);
        if is_news {
            self.update(event.key, announced(event), report);
        }
    }

    /// A drain begins. All events that were there before it must have been announced.
    pub fn begin_drain(&mut self, now_ns: u64) {
        self.drain += 1;
        self.drained_to_ns = now_ns;
    }

    /// The drain found this entry.
    pub fn update(&mut self, key: FlowKey, stats: FlowStats, report: &mut impl FnMut(Report)) {
        let tracked = Tracked {
            stats,
            seen_in: self.drain,
        };
        let (event, before) = match self.flows.entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(tracked);
                (FlowEvent::New, Totals::default())
            }
            Entry::Occupied(mut known) => {
                let before = std::mem::replace(known.get_mut(), tracked).stats;
                if before.first_ns == stats.first_ns {
                    (FlowEvent::Update, Flow { key, stats: before }.totals())
                } else {
                    // The kernel evicted the entry and made it again: another incarnation.
                    report(Report {
                        event: FlowEvent::End,
                        flow: Flow { key, stats: before },
                        growth: Totals::default(),
                    });
                    (FlowEvent::New, Totals::default())
                }
            }
        };
        let flow = Flow { key, stats };
        let growth = grown(before, flow.totals());
        if event == FlowEvent::Update && growth == Totals::default() {
            return;
        }
        self.reported += u64::from(event == FlowEvent::New);
        *self.attributed.entry(key.ifindex).or_default() += growth;
        report(Report {
            event,
            flow,
            growth,
        });
    }

    /// The drain is over: what it did not find is gone.
    pub fn end_drain(&mut self, report: &mut impl FnMut(Report)) {
        let drain = self.drain;
        self.end_where(|_, tracked| tracked.seen_in != drain, report);
    }

    /// An interface is watched no longer: its flows end. Returns their keys, and what they and
    /// those before them added up to.
    pub fn end_interface(
        &mut self,
        ifindex: u32,
        report: &mut impl FnMut(Report),
    ) -> (Vec<FlowKey>, Totals) {
        let mut keys = Vec::new();
        self.end_where(|key, _| key.ifindex == ifindex, &mut |end| {
            keys.push(end.flow.key);
            report(end);
        });
        (keys, self.attributed.remove(&ifindex).unwrap_or_default())
    }

    fn end_where(
        &mut self,
        mut ended: impl FnMut(&FlowKey, &Tracked) -> bool,
        report: &mut impl FnMut(Report),
    ) {
        self.flows.retain(|key, tracked| {
            let end = ended(key, tracked);
            if end {
                let flow = Flow {
                    key: *key,
                    stats: tracked.stats,
                };
                report(Report {
                    event: FlowEvent::End,
                    flow,
                    growth: Totals::default(),
                });
            }
            !end
        });
    }
}

/// The entry as it was when its event was sent.
fn announced(event: &NewFlow) -> FlowStats {
    let mut stats = FlowStats {
        first_ns: event.first_ns,
        last_ns: event.first_ns,
        initiator: event.initiator,
        ..FlowStats::default()
    };
    let direction = if event.direction == Direction::Tx as u8 {
        Direction::Tx
    } else {
        Direction::Rx
    };
    *stats.half_mut(direction) = DirectionStats {
        traffic: Traffic {
            packets: event.packets.into(),
            bytes: event.bytes,
        },
        tcp_flags: event.tcp_flags,
        ..DirectionStats::default()
    };
    stats
}

fn grown(before: Totals, now: Totals) -> Totals {
    let difference = |before: Traffic, now: Traffic| Traffic {
        packets: now.packets.saturating_sub(before.packets),
        bytes: now.bytes.saturating_sub(before.bytes),
    };
    Totals {
        tx: difference(before.tx, now.tx),
        rx: difference(before.rx, now.rx),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;
    use flowmon_common::Address;
    use proptest::prelude::*;

    const KEY: FlowKey = FlowKey {
        ifindex: 7,
        local: Address::NONE,
        remote: Address::NONE,
        local_port: 1,
        remote_port: 2,
        protocol: 17,
        l3: 4,
        vlan: 0,
    };

    fn key(port: u16) -> FlowKey {
        FlowKey {
            local_port: port,
            ..KEY
        }
    }

    fn entry(first_ns: u64, packets: u64) -> FlowStats {
        let mut stats = FlowStats {
            first_ns,
            ..FlowStats::default()
        };
        stats.tx.traffic = Traffic {
            packets,
            bytes: packets * 100,
        };
        stats
    }

    fn event(key: FlowKey, first_ns: u64) -> NewFlow {
        NewFlow {
            kind: NewFlow::KIND,
            direction: 0,
            initiator: 1,
            tcp_flags: 0,
            packets: 1,
            first_ns,
            bytes: 100,
            key,
            reserved: 0,
        }
    }

    fn drain(table: &mut FlowTable, now: u64, entries: &[(FlowKey, FlowStats)]) -> Vec<Report> {
        let mut reports = Vec::new();
        table.begin_drain(now);
        for &(key, stats) in entries {
            table.update(key, stats, &mut |report| reports.push(report));
        }
        table.end_drain(&mut |report| reports.push(report));
        reports
    }

    fn events(reports: &[Report]) -> Vec<FlowEvent> {
        reports.iter().map(|report| report.event).collect()
    }

    #[test]
    fn a_flow_is_new_grows_and_ends() {
        let mut table = FlowTable::default();
        assert_eq!(
            events(&drain(&mut table, 10, &[(KEY, entry(5, 1))])),
            [FlowEvent::New]
        );
        assert_eq!(events(&drain(&mut table, 20, &[(KEY, entry(5, 1))])), []);
        let grown = drain(&mut table, 30, &[(KEY, entry(5, 3))]);
        assert_eq!(events(&grown), [FlowEvent::Update]);
        assert_eq!(grown.first().unwrap().growth.tx.packets, 2);
        assert_eq!(events(&drain(&mut table, 40, &[])), [FlowEvent::End]);
        assert!(table.is_empty());
        assert_eq!((table.reported(), table.attributed(7).tx.packets), (1, 3));
    }

    #[test]
    fn an_announced_flow_is_not_counted_again_by_the_drain() {
        let mut table = FlowTable::default();
        let mut reports = Vec::new();
        table.announce(&event(KEY, 5), &mut |report| reports.push(report));
        assert_eq!(events(&reports), [FlowEvent::New]);
        drain(&mut table, 10, &[(KEY, entry(5, 4))]);
        assert_eq!((table.reported(), table.attributed(7).tx.packets), (1, 4));
    }

    #[test]
    fn late_news_of_what_a_drain_has_passed_is_ignored() {
        let mut table = FlowTable::default();
        drain(&mut table, 10, &[(KEY, entry(5, 4))]);
        drain(&mut table, 20, &[]);
        table.announce(&event(KEY, 5), &mut |report| unreachable!("{report:?}"));
        assert_eq!(table.attributed(7).tx.packets, 4);
    }

    #[test]
    fn news_of_what_the_drain_found_first_takes_nothing_back() {
        let mut table = FlowTable::default();
        // Made while the drain was under way, and found by it with three packets.
        drain(&mut table, 10, &[(KEY, entry(11, 3))]);
        table.announce(&event(KEY, 11), &mut |report| unreachable!("{report:?}"));
        drain(&mut table, 20, &[(KEY, entry(11, 4))]);
        assert_eq!(table.attributed(7).tx.packets, 4);
    }

    #[test]
    fn an_entry_made_again_is_another_flow() {
        let mut table = FlowTable::default();
        drain(&mut table, 10, &[(KEY, entry(5, 4))]);
        let reports = drain(&mut table, 20, &[(KEY, entry(15, 2))]);
        assert_eq!(events(&reports), [FlowEvent::End, FlowEvent::New]);
        assert_eq!((table.reported(), table.attributed(7).tx.packets), (2, 6));
    }

    #[test]
    fn an_interface_takes_its_flows_with_it() {
        let mut table = FlowTable::default();
        drain(&mut table, 10, &[(KEY, entry(5, 4)), (key(9), entry(6, 1))]);
        let (keys, total) = table.end_interface(7, &mut |_| {});
        assert_eq!((keys.len(), total.tx.packets), (2, 5));
        assert!(table.is_empty());
    }

    proptest! {
        /// Whatever is evicted, made again or announced late: reports add up to what is
        /// attributed, and never to more than there was.
        #[test]
        fn reports_add_up(
            began_before in 0u64..4,
            steps in prop::collection::vec((0u16..4, 0u8..5), 1..200),
        ) {
            let mut table = FlowTable::default();
            let mut kernel: BTreeMap<u16, (u64, u64)> = BTreeMap::new(); // port -> first_ns, packets
            let mut late = Vec::new();
            let (mut now, mut truth, mut sum) = (10u64, 0u64, 0u64);
            let mut report = |report: Report| sum += report.growth.tx.packets;
            for (port, action) in steps {
                now += 1;
                match action {
                    0 | 1 => {
                        truth += 1;
                        let fresh = !kernel.contains_key(&port);
                        kernel.entry(port).or_insert((now, 0)).1 += 1;
                        if fresh {
                            late.push(event(key(port), now));
                        }
                    }
                    2 => _ = kernel.remove(&port),
                    3 => for event in late.drain(..) {
                        table.announce(&event, &mut report);
                    },
                    _ => {
                        // Events of before the drain are taken before it.
                        late.retain(|event: &NewFlow| {
                            let before = event.first_ns < now - began_before;
                            if before {
                                table.announce(event, &mut report);
                            }
                            !before
                        });
                        // Some entries are made after the drain began and before it finds them.
                        table.begin_drain(now - began_before);
                        for (port, (first_ns, packets)) in &kernel {
                            table.update(key(*port), entry(*first_ns, *packets), &mut report);
                        }
                        table.end_drain(&mut report);
                        prop_assert_eq!(table.len(), kernel.len());
                        now += 2;
                    }
                }
            }
            prop_assert_eq!(sum, table.attributed(7).tx.packets);
            prop_assert!(sum <= truth);
        }
    }
}
