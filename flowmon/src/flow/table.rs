//! From cumulative counters to reports of what changed.

use std::collections::BTreeMap;

use flowmon_common::{
    Direction, DirectionStats, Ended, FlowKey, FlowStats, NewFlow, Totals, Traffic,
};
use foldhash::fast::RandomState;
use indexmap::{IndexMap, map::Entry};

use super::expiry;
use crate::model::{Flow, FlowEvent, Report};

/// Tracks flows from drain to drain.
///
/// Bounded by the kernel's map: what a drain does not find there is reported as ended and
/// forgotten, so no more is kept than the map holds and events announced since.
#[derive(Debug, Default)]
pub struct FlowTable {
    flows: IndexMap<FlowKey, Tracked, RandomState>,
    attributed: BTreeMap<u32, Totals>,
    ended: BTreeMap<u32, Ended>,
    reported: u64,
    /// Number of the drain under way, or of the last one.
    drain: u64,
    /// Announced, and not yet reported.
    announced: Vec<FlowKey>,
    /// An event of an entry made before this moment brings no news (`CLOCK_MONOTONIC`, ns).
    drained_to_ns: u64,
    /// Entries made before this moment were told of by the process before this one.
    told_to_ns: u64,
}

#[derive(Debug)]
struct Tracked {
    flow: Flow,
    is_reported: bool,
    seen_in: u64,
}

impl FlowTable {
    /// With room for so many flows; those there are take memory. To grow would take twice as much.
    pub fn with_capacity(flows: usize) -> Self {
        Self {
            flows: IndexMap::with_capacity_and_hasher(flows, RandomState::default()),
            ..Self::default()
        }
    }

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

    /// A flow that is tracked, as it was last seen.
    pub fn get(&self, key: &FlowKey) -> Option<&Flow> {
        self.flows.get(key).map(|tracked| &tracked.flow)
    }

    /// The flows that were reported and have not ended, as they were last seen.
    pub fn told(&self) -> impl Iterator<Item = &Flow> {
        let told = self.flows.values().filter(|tracked| tracked.is_reported);
        told.map(|tracked| &tracked.flow)
    }

    /// What the reported flows of an interface add up to.
    pub fn attributed(&self, ifindex: u32) -> Totals {
        self.attributed.get(&ifindex).copied().unwrap_or_default()
    }

    /// The part of it that was in flows which have ended.
    pub fn ended(&self, ifindex: u32) -> Ended {
        self.ended.get(&ifindex).copied().unwrap_or_default()
    }

    /// Goes on from where another process was, which had told of all entries made before this moment:
    /// they are no news, and what they have is no growth.
    pub const fn inherit(&mut self, told_to_ns: u64) {
        self.told_to_ns = told_to_ns;
        self.drained_to_ns = told_to_ns;
    }

    /// Of an interface that it knew, or of several, these flows had ended.
    pub fn inherit_ended(&mut self, ifindex: u32, ended: Ended) {
        self.inherit_reported(ended.flows);
        *self.attributed.entry(ifindex).or_default() += ended.traffic;
        *self.ended.entry(ifindex).or_default() += ended;
    }

    /// It had reported so many flows of interfaces that left.
    pub const fn inherit_reported(&mut self, flows: u64) {
        self.reported += flows;
    }

    /// The kernel announced a flow, which is reported by [`Self::report_announced`] or by the drain,
    /// whichever comes first. Of an entry that a drain has found, or has found gone, this is no
    /// news: it would count its first packets twice.
    pub fn announce(&mut self, event: &NewFlow, report: &mut impl FnMut(Report<'_>)) {
        if event.first_ns < self.drained_to_ns {
            return;
        }
        let tracked = Tracked {
            flow: announced(event),
            is_reported: false,
            seen_in: self.drain,
        };
        let amount = tracked.flow.totals();
        match self.flows.entry(event.key) {
            Entry::Occupied(known) if known.get().flow.stats.first_ns >= event.first_ns => return,
            Entry::Occupied(mut known) => end(&mut self.ended, &known.insert(tracked), report),
            Entry::Vacant(vacant) => _ = vacant.insert(tracked),
        }
        self.count(event.key.ifindex, amount);
        self.announced.push(event.key);
    }

    /// Reports what was announced.
    pub fn report_announced(&mut self, report: &mut impl FnMut(Report<'_>)) {
        for key in self.announced.drain(..) {
            let unreported = self
                .flows
                .get_mut(&key)
                .filter(|tracked| !tracked.is_reported);
            if let Some(tracked) = unreported {
                tracked.is_reported = true;
                report(news_of(&tracked.flow));
            }
        }
    }

    /// Leaves what was announced to the drain, which knows more than the first packet: in a flood to
    /// report flows twice would cost more than to be late.
    pub fn leave_announced(&mut self) {
        self.announced.clear();
    }

    /// A drain begins. All events that were there before it must have been announced.
    pub fn begin_drain(&mut self, now_ns: u64) {
        self.drain += 1;
        self.drained_to_ns = now_ns;
    }

    /// The drain found this entry.
    pub fn update(&mut self, flow: &Flow, report: &mut impl FnMut(Report<'_>)) {
        let found = Tracked {
            flow: *flow,
            is_reported: true,
            seen_in: self.drain,
        };
        match self.flows.entry(flow.key) {
            Entry::Occupied(mut known)
                if known.get().flow.stats.first_ns == flow.stats.first_ns =>
            {
                let before = std::mem::replace(known.get_mut(), found);
                let growth = grown(before.flow.totals(), flow.totals());
                if !before.is_reported {
                    report(news_of(flow));
                } else if growth != Totals::default() {
                    report(Report {
                        event: FlowEvent::Update,
                        flow,
                        before: Some(&before.flow),
                        growth,
                    });
                }
                *self.attributed.entry(flow.key.ifindex).or_default() += growth;
                return;
            }
            // The kernel evicted the entry and made it again: another incarnation.
            Entry::Occupied(mut known) => end(&mut self.ended, &known.insert(found), report),
            Entry::Vacant(vacant) => _ = vacant.insert(found),
        }
        self.count(flow.key.ifindex, flow.totals());
        if flow.stats.first_ns < self.told_to_ns {
            report(Report {
                event: FlowEvent::Inherited,
                flow,
                before: Some(flow),
                growth: Totals::default(),
            });
        } else {
            report(news_of(flow));
        }
    }

    /// A flow that was not known has this much.
    fn count(&mut self, ifindex: u32, amount: Totals) {
        self.reported += 1;
        *self.attributed.entry(ifindex).or_default() += amount;
    }

    /// The drain is over: what it did not find is gone.
    pub fn end_drain(&mut self, report: &mut impl FnMut(Report<'_>)) {
        let drain = self.drain;
        self.announced.clear(); // found and reported, or about to be
        self.end_where(|tracked| tracked.seen_in != drain, report);
    }

    /// The flows that are over: their entries may leave the kernel's map. Those that did are to be
    /// [`Self::end`]ed. The event of one that was made since the last drain began may not have come
    /// yet, however long that drain took: it would be news again.
    pub fn over(&self, now_ns: u64) -> Vec<FlowKey> {
        let flows = self.flows.values().map(|tracked| &tracked.flow);
        flows
            .filter(|flow| flow.stats.first_ns < self.drained_to_ns)
            .filter(|flow| expiry::is_over(flow, now_ns))
            .map(|flow| flow.key)
            .collect()
    }

    /// A flow's entry left the kernel's map by our own hand.
    pub fn end(&mut self, key: &FlowKey, report: &mut impl FnMut(Report<'_>)) {
        if let Some(tracked) = self.flows.swap_remove(key) {
            end(&mut self.ended, &tracked, report);
        }
    }

    /// An interface is watched no longer: its flows end. Returns their keys, and what they and
    /// those before them were.
    pub fn end_interface(
        &mut self,
        ifindex: u32,
        report: &mut impl FnMut(Report<'_>),
    ) -> (Vec<FlowKey>, Ended) {
        let mut keys = Vec::new();
        self.end_where(
            |tracked| tracked.flow.key.ifindex == ifindex,
            &mut |of_it| {
                if of_it.event == FlowEvent::End {
                    keys.push(of_it.flow.key);
                }
                report(of_it);
            },
        );
        self.attributed.remove(&ifindex);
        (keys, self.ended.remove(&ifindex).unwrap_or_default())
    }

    fn end_where(
        &mut self,
        mut ended: impl FnMut(&Tracked) -> bool,
        report: &mut impl FnMut(Report<'_>),
    ) {
        self.flows.retain(|_, tracked| {
            let over = ended(tracked);
            if over {
                end(&mut self.ended, tracked, report);
            }
            !over
        });
    }
}

/// All that it ever sent is growth since the last report, of which there was none.
fn news_of(flow: &Flow) -> Report<'_> {
    Report {
        event: FlowEvent::New,
        flow,
        before: None,
        growth: flow.totals(),
    }
}

fn end(ended: &mut BTreeMap<u32, Ended>, tracked: &Tracked, report: &mut impl FnMut(Report<'_>)) {
    *ended.entry(tracked.flow.key.ifindex).or_default() += Ended {
        traffic: tracked.flow.totals(),
        flows: 1,
    };
    if !tracked.is_reported {
        report(news_of(&tracked.flow));
    }
    report(Report {
        event: FlowEvent::End,
        flow: &tracked.flow,
        before: Some(&tracked.flow),
        growth: Totals::default(),
    });
}

/// The flow as it was when its event was sent.
fn announced(event: &NewFlow) -> Flow {
    let mut stats = FlowStats {
        first_ns: event.first_ns,
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
    Flow {
        key: event.key,
        stats,
        last_ns: event.first_ns,
    }
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

    use std::collections::BTreeSet;

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

    fn entry(key: FlowKey, first_ns: u64, packets: u64) -> Flow {
        let mut stats = FlowStats {
            first_ns,
            ..FlowStats::default()
        };
        stats.tx.traffic = Traffic {
            packets,
            bytes: packets * 100,
        };
        Flow {
            key,
            stats,
            last_ns: first_ns,
        }
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

    fn drain(table: &mut FlowTable, now: u64, entries: &[Flow]) -> Vec<(FlowEvent, u64)> {
        let mut reports = Vec::new();
        table.begin_drain(now);
        for flow in entries {
            table.update(flow, &mut |report| reports.push(short(&report)));
        }
        table.end_drain(&mut |report| reports.push(short(&report)));
        reports
    }

    fn short(report: &Report<'_>) -> (FlowEvent, u64) {
        (report.event, report.growth.tx.packets)
    }

    fn events(reports: &[(FlowEvent, u64)]) -> Vec<FlowEvent> {
        reports.iter().map(|(event, _)| *event).collect()
    }

    #[test]
    fn a_flow_is_new_grows_and_ends() {
        let mut table = FlowTable::default();
        assert_eq!(
            events(&drain(&mut table, 10, &[entry(KEY, 5, 1)])),
            [FlowEvent::New]
        );
        assert_eq!(events(&drain(&mut table, 20, &[entry(KEY, 5, 1)])), []);
        let grown = drain(&mut table, 30, &[entry(KEY, 5, 3)]);
        assert_eq!(events(&grown), [FlowEvent::Update]);
        assert_eq!(grown.first().unwrap().1, 2);
        assert_eq!(events(&drain(&mut table, 40, &[])), [FlowEvent::End]);
        assert!(table.is_empty());
        assert_eq!((table.reported(), table.attributed(7).tx.packets), (1, 3));
    }

    #[test]
    fn an_announced_flow_is_not_counted_again_by_the_drain() {
        let mut table = FlowTable::default();
        let mut reports = Vec::new();
        table.announce(&event(KEY, 5), &mut |report| reports.push(short(&report)));
        table.report_announced(&mut |report| reports.push(short(&report)));
        assert_eq!(events(&reports), [FlowEvent::New]);
        drain(&mut table, 10, &[entry(KEY, 5, 4)]);
        assert_eq!((table.reported(), table.attributed(7).tx.packets), (1, 4));
    }

    #[test]
    fn what_the_drain_finds_before_it_is_reported_is_reported_once_and_whole() {
        let mut table = FlowTable::default();
        table.announce(&event(KEY, 5), &mut |report| unreachable!("{report:?}"));
        let reports = drain(&mut table, 10, &[entry(KEY, 5, 4)]);
        assert_eq!(events(&reports), [FlowEvent::New]);
        assert_eq!(reports.first().unwrap().1, 4);
        table.report_announced(&mut |report| unreachable!("{report:?}"));
        assert_eq!((table.reported(), table.attributed(7).tx.packets), (1, 4));
    }

    #[test]
    fn what_is_left_to_the_drain_is_reported_by_it_alone() {
        let mut table = FlowTable::default();
        table.announce(&event(KEY, 5), &mut |report| unreachable!("{report:?}"));
        table.leave_announced();
        table.report_announced(&mut |report| unreachable!("{report:?}"));
        assert_eq!(
            drain(&mut table, 10, &[entry(KEY, 5, 2)]),
            [(FlowEvent::New, 2)]
        );
    }

    #[test]
    fn what_is_gone_before_it_is_reported_is_reported_all_the_same() {
        let mut table = FlowTable::default();
        table.announce(&event(KEY, 5), &mut |report| unreachable!("{report:?}"));
        let reports = drain(&mut table, 10, &[]);
        assert_eq!(events(&reports), [FlowEvent::New, FlowEvent::End]);
        assert_eq!((table.reported(), table.attributed(7).tx.packets), (1, 1));
    }

    #[test]
    fn late_news_of_what_a_drain_has_passed_is_ignored() {
        let mut table = FlowTable::default();
        drain(&mut table, 10, &[entry(KEY, 5, 4)]);
        drain(&mut table, 20, &[]);
        table.announce(&event(KEY, 5), &mut |report| unreachable!("{report:?}"));
        assert_eq!(table.attributed(7).tx.packets, 4);
    }

    #[test]
    fn news_of_what_the_drain_found_first_takes_nothing_back() {
        let mut table = FlowTable::default();
        // Made while the drain was under way, and found by it with three packets.
        drain(&mut table, 10, &[entry(KEY, 11, 3)]);
        table.announce(&event(KEY, 11), &mut |report| unreachable!("{report:?}"));
        drain(&mut table, 20, &[entry(KEY, 11, 4)]);
        assert_eq!(table.attributed(7).tx.packets, 4);
    }

    #[test]
    fn an_entry_made_again_is_another_flow() {
        let mut table = FlowTable::default();
        drain(&mut table, 10, &[entry(KEY, 5, 4)]);
        let reports = drain(&mut table, 20, &[entry(KEY, 15, 2)]);
        assert_eq!(events(&reports), [FlowEvent::End, FlowEvent::New]);
        assert_eq!((table.reported(), table.attributed(7).tx.packets), (2, 6));
    }

    #[test]
    fn an_interface_takes_its_flows_with_it() {
        let mut table = FlowTable::default();
        drain(&mut table, 10, &[entry(KEY, 5, 4), entry(key(9), 6, 1)]);
        let (keys, ended) = table.end_interface(7, &mut |_| {});
        assert_eq!(
            (keys.len(), ended.traffic.tx.packets, ended.flows),
            (2, 5, 2)
        );
        assert!(table.is_empty());
    }

    #[test]
    fn another_table_goes_on_where_one_was() {
        let mut first = FlowTable::default();
        drain(&mut first, 10, &[entry(KEY, 5, 4), entry(key(9), 6, 1)]);
        drain(&mut first, 20, &[entry(KEY, 5, 4)]);
        let (ended, told) = (first.ended(7), 20);
        assert_eq!((ended.flows, ended.traffic.tx.packets), (1, 1));

        let mut second = FlowTable::default();
        second.inherit(told);
        second.inherit_ended(7, ended);
        // What the first one was told of is no news.
        second.announce(&event(KEY, 5), &mut |report| unreachable!("{report:?}"));
        let reports = drain(&mut second, 30, &[entry(KEY, 5, 7), entry(key(9), 21, 2)]);
        assert_eq!(reports, [(FlowEvent::Inherited, 0), (FlowEvent::New, 2)]);
        let grown = drain(&mut second, 40, &[entry(KEY, 5, 9), entry(key(9), 21, 2)]);
        assert_eq!(grown, [(FlowEvent::Update, 2)]);
        assert_eq!(
            (second.reported(), second.attributed(7).tx.packets),
            (3, 1 + 9 + 2)
        );
        let (keys, ended) = second.end_interface(7, &mut |_| {});
        assert_eq!(
            (keys.len(), ended.flows, ended.traffic.tx.packets),
            (2, 3, 12)
        );
    }

    proptest! {
        /// Whatever is evicted, made again or announced late: reports add up to what is
        /// attributed, and never to more than there was; no entry is news twice.
        #[test]
        fn reports_add_up(
            began_before in 0u64..4,
            steps in prop::collection::vec((0u16..4, 0u8..6), 1..200),
        ) {
            let mut table = FlowTable::default();
            let mut kernel: BTreeMap<u16, (u64, u64)> = BTreeMap::new(); // port -> first_ns, packets
            let mut late = Vec::new();
            let (mut now, mut truth, mut sum) = (10u64, 0u64, 0u64);
            let (mut told, mut told_twice) = (BTreeSet::new(), false);
            let mut report = |report: Report<'_>| {
                sum += report.growth.tx.packets;
                let entry = (report.flow.key.local_port, report.flow.stats.first_ns);
                told_twice |= report.event == FlowEvent::New && !told.insert(entry);
            };
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
                    4 => {
                        now += 40_000_000_000; // more than what is no TCP, UDP or SCTP is given
                        for over in table.over(now) {
                            kernel.remove(&over.local_port);
                            table.end(&over, &mut report);
                        }
                    }
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
                            table.update(&entry(key(*port), *first_ns, *packets), &mut report);
                        }
                        table.end_drain(&mut report);
                        prop_assert_eq!(table.len(), kernel.len());
                        now += 2;
                    }
                }
            }
            table.report_announced(&mut report);
            prop_assert_eq!(sum, table.attributed(7).tx.packets);
            prop_assert!(sum <= truth);
            prop_assert!(!told_twice);
            let live: u64 = table.flows.values().map(|known| known.flow.totals().tx.packets).sum();
            prop_assert_eq!(table.ended(7).traffic.tx.packets + live, sum);
            prop_assert_eq!(table.ended(7).flows + table.len() as u64, table.reported());
        }
    }
}
