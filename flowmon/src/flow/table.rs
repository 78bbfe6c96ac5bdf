//! From cumulative counters to reports of what changed.

use std::collections::BTreeMap;

use flowmon_common::{
    Direction, DirectionStats, Ended, FlowKey, FlowStats, NewFlow, Totals, Traffic,
};
use foldhash::fast::RandomState;
use indexmap::{IndexMap, map::Entry};

use super::{
    evicted::{Earlier, Evicted, is_again, opened_by},
    expiry,
};
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
    evicted: Evicted,
}

#[derive(Debug)]
struct Tracked {
    /// With the initiator that is known, which need not be the one that its entry has.
    flow: Flow,
    /// What was known before the entry was made.
    earlier: Option<Earlier>,
    is_reported: bool,
    seen_in: u64,
}

impl Tracked {
    fn new(flow: &Flow, earlier: Option<Earlier>, is_reported: bool, seen_in: u64) -> Self {
        let mut flow = *flow;
        flow.stats.initiator = opened_by(&flow, earlier);
        Self {
            flow,
            earlier,
            is_reported,
            seen_in,
        }
    }
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
    /// they are no news, and what they have is no growth. Until `evicted_ns`, if there was such a time,
    /// entries may have been evicted and made again.
    pub fn inherit(&mut self, told_to_ns: u64, evicted_ns: Option<u64>) {
        self.told_to_ns = told_to_ns;
        self.drained_to_ns = told_to_ns;
        if let Some(evicted_ns) = evicted_ns {
            self.evicted.missed(evicted_ns);
        }
    }

    /// Until this moment entries may have come and gone that are neither announced nor found: if a flow
    /// is heard of, it may have been there before.
    pub fn missed(&mut self, now_ns: u64) {
        self.evicted.missed(now_ns);
    }

    /// The last time that entries were evicted, or may have been.
    pub const fn evicted_ns(&self) -> Option<u64> {
        self.evicted.last_ns()
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
        let flow = announced(event);
        let evicted = &mut self.evicted;
        if event.first_ns < self.drained_to_ns {
            if !self.flows.contains_key(&event.key) {
                let earlier = evicted.earlier(&flow);
                let gone = Tracked::new(&flow, earlier, false, self.drain);
                evicted.note(&gone.flow, self.drained_to_ns);
            }
            return;
        }
        match self.flows.entry(event.key) {
            Entry::Occupied(known) if known.get().flow.stats.first_ns >= event.first_ns => return,
            Entry::Occupied(mut known) => {
                evicted.happened(event.first_ns);
                let earlier = Some(Earlier::Known(known.get().flow.stats.initiator));
                let again = Tracked::new(&flow, earlier, false, self.drain);
                end(&mut self.ended, &known.insert(again), report);
            }
            Entry::Vacant(vacant) => {
                let earlier = evicted.earlier(&flow);
                vacant.insert(Tracked::new(&flow, earlier, false, self.drain));
            }
        }
        self.count(event.key.ifindex, flow.totals());
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
                report(news_of(tracked));
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
        let first_ns = flow.stats.first_ns;
        let (evicted, drain) = (&mut self.evicted, self.drain);
        let found = match self.flows.entry(flow.key) {
            Entry::Occupied(known) if known.get().flow.stats.first_ns == first_ns => {
                let known = known.into_mut();
                let found = Tracked::new(flow, known.earlier, true, drain);
                let before = std::mem::replace(known, found);
                let growth = grown(before.flow.totals(), flow.totals());
                if !before.is_reported {
                    report(news_of(known));
                } else if growth != Totals::default() {
                    report(Report {
                        event: FlowEvent::Update,
                        flow: &known.flow,
                        before: Some(&before.flow),
                        growth,
                    });
                }
                *self.attributed.entry(flow.key.ifindex).or_default() += growth;
                return;
            }
            // The kernel evicted the entry and made it again: another incarnation.
            Entry::Occupied(known) => {
                evicted.happened(first_ns);
                let known = known.into_mut();
                let earlier = Some(Earlier::Known(known.flow.stats.initiator));
                let again = Tracked::new(flow, earlier, true, drain);
                end(&mut self.ended, &std::mem::replace(known, again), report);
                known
            }
            Entry::Vacant(vacant) => {
                let earlier = evicted.earlier(flow);
                vacant.insert(Tracked::new(flow, earlier, true, drain))
            }
        };
        if first_ns < self.told_to_ns {
            report(Report {
                event: FlowEvent::Inherited,
                flow: &found.flow,
                before: Some(&found.flow),
                growth: Totals::default(),
            });
        } else {
            report(news_of(found));
        }
        self.count(flow.key.ifindex, flow.totals());
    }

    /// A flow that was not known has this much.
    fn count(&mut self, ifindex: u32, amount: Totals) {
        self.reported += 1;
        *self.attributed.entry(ifindex).or_default() += amount;
    }

    /// The drain is over: what it did not find was evicted.
    pub fn end_drain(&mut self, report: &mut impl FnMut(Report<'_>)) {
        let (drain, now_ns) = (self.drain, self.drained_to_ns);
        self.announced.clear(); // found and reported, or about to be
        let mut evicted = std::mem::take(&mut self.evicted);
        self.end_where(
            |tracked| {
                let is_gone = tracked.seen_in != drain;
                if is_gone {
                    evicted.note(&tracked.flow, now_ns);
                }
                is_gone
            },
            report,
        );
        self.evicted = evicted;
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
fn news_of(tracked: &Tracked) -> Report<'_> {
    let flow = &tracked.flow;
    Report {
        event: if is_again(flow, tracked.earlier) {
            FlowEvent::Again
        } else {
            FlowEvent::New
        },
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
        report(news_of(tracked));
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
mod directions;
#[cfg(test)]
mod tests;
