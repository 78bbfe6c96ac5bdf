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

pub(super) fn key(port: u16) -> FlowKey {
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
    assert_eq!(events(&reports), [FlowEvent::End, FlowEvent::Again]);
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
    second.inherit(told, None);
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
