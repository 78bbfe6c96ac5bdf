//! Who opened a flow is never told wrong, and a flow is new once, whatever becomes of its entry and of the
//! news of it.
#![expect(clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use flowmon_common::Initiator;
use proptest::prelude::*;

use super::{tests::key, *};
use crate::model;

const MS: u64 = 1_000_000;
/// Longer than any flow of UDP lasts.
const SILENCE: u64 = 400_000 * MS;
const RING: usize = 3;

/// What the kernel side does, of datagrams between two ports.
#[derive(Default)]
struct Kernel {
    now_ns: u64,
    entries: BTreeMap<u16, Flow>,
    ring: Vec<NewFlow>,
    lost: usize,
    /// By port, what is true.
    truth: BTreeMap<u16, Conversation>,
    /// Something was evicted since the last drain.
    has_evicted: bool,
}

struct Conversation {
    opener: Direction,
    began_ns: u64,
    last_ns: u64,
}

impl Kernel {
    fn datagram(&mut self, port: u16, direction: Direction) {
        let now_ns = self.now_ns;
        let begun = Conversation {
            opener: direction,
            began_ns: now_ns,
            last_ns: now_ns,
        };
        match self.truth.get_mut(&port) {
            Some(truth) if now_ns - truth.last_ns < SILENCE => truth.last_ns = now_ns,
            _ => _ = self.truth.insert(port, begun),
        }
        let mut is_first = false;
        let entry = self.entries.entry(port).or_insert_with(|| {
            is_first = true;
            let stats = FlowStats {
                first_ns: now_ns,
                initiator: Initiator::sender(direction) as u8,
                ..FlowStats::default()
            };
            Flow {
                key: key(port),
                stats,
                last_ns: now_ns,
            }
        });
        entry.last_ns = now_ns;
        entry.stats.half_mut(direction).traffic += Traffic {
            packets: 1,
            bytes: 100,
        };
        if is_first && self.ring.len() < RING {
            self.ring.push(NewFlow {
                kind: NewFlow::KIND,
                direction: direction as u8,
                initiator: entry.stats.initiator,
                tcp_flags: 0,
                packets: 1,
                first_ns: now_ns,
                bytes: 100,
                key: entry.key,
                reserved: 0,
            });
        } else if is_first {
            self.lost += 1;
        }
    }
}

/// As the pipeline does: what was lost is known before the news.
fn take(kernel: &mut Kernel, table: &mut FlowTable, report: &mut impl FnMut(Report<'_>)) {
    if kernel.lost > 0 {
        table.missed(kernel.now_ns);
    }
    for event in kernel.ring.drain(..) {
        table.announce(&event, report);
    }
}

fn drain(kernel: &mut Kernel, table: &mut FlowTable, report: &mut impl FnMut(Report<'_>)) {
    take(kernel, table, report);
    (kernel.lost, kernel.has_evicted) = (0, false);
    table.begin_drain(kernel.now_ns);
    for flow in kernel.entries.values() {
        table.update(flow, report);
    }
    table.end_drain(report);
    for key in table.over(kernel.now_ns) {
        let entry = kernel.entries.remove(&key.local_port);
        let known = table.get(&key).map(Flow::totals);
        assert_eq!(entry.map(|it| it.totals()), known, "it was just read");
        table.end(&key, report);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn who_opened_a_flow_is_known_or_unknown_and_never_wrong(
        steps in prop::collection::vec((0u16..5, 0u8..12), 1..150),
    ) {
        let mut kernel = Kernel { now_ns: SILENCE, ..Kernel::default() };
        let mut table = FlowTable::default();
        let mut drained_ns = 0;
        let (mut told, mut missed) = (Vec::new(), false);
        let mut conversations = BTreeSet::new();
        for (port, action) in steps {
            kernel.now_ns += MS;
            let mut report = |it: Report<'_>| {
                told.push((it.flow.key.local_port, it.flow.direction(), it.event));
            };
            match action {
                0..3 => kernel.datagram(port, Direction::Tx),
                3..5 => kernel.datagram(port, Direction::Rx),
                5..7 => kernel.has_evicted |= kernel.entries.remove(&port).is_some(),
                7..9 => {
                    take(&mut kernel, &mut table, &mut report);
                    table.report_announced(&mut report);
                }
                9 => {
                    drain(&mut kernel, &mut table, &mut report);
                    drained_ns = kernel.now_ns;
                }
                10 => {
                    drain(&mut kernel, &mut table, &mut report);
                    kernel.now_ns += SILENCE;
                    drain(&mut kernel, &mut table, &mut report);
                    drained_ns = kernel.now_ns;
                }
                _ => {
                    // Killed, so nobody knows what was told since the last drain.
                    conversations.retain(|(_, began_ns)| *began_ns < drained_ns);
                    let evicted = kernel.has_evicted.then_some(kernel.now_ns);
                    let evicted = evicted.or(table.evicted_ns());
                    missed |= evicted.is_some();
                    table = FlowTable::default();
                    table.inherit(drained_ns, evicted);
                    drain(&mut kernel, &mut table, &mut report);
                    drained_ns = kernel.now_ns;
                }
            }
            missed |= kernel.lost > 0;
            for (port, direction, event) in told.drain(..) {
                let Conversation { opener, began_ns, .. } = kernel.truth[&port];
                let is_counted = event != FlowEvent::New || conversations.insert((port, began_ns));
                prop_assert!(is_counted || missed, "a conversation is new once");
                let truth = match opener {
                    Direction::Tx => model::Direction::Egress,
                    Direction::Rx => model::Direction::Ingress,
                };
                let is_right = direction == truth;
                prop_assert!(is_right || missed && direction == model::Direction::Unknown, "{direction:?}");
            }
        }
    }
}
