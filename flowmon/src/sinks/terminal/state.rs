//! What is known, from interval to interval. Pure: what was told in, what there is to see out.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use flowmon_common::{FlowKey, FlowStats, Totals, Traffic, probe::UNIT_NS};

use super::violations::Violations;
use crate::{
    clock::Moment,
    model::{Endpoint, EndpointKind, Flow, IdentitySource, Outcome, Verdict},
    sinks::{
        Overview,
        talks::{Amount, Heard, Others, Talk, Talks},
    },
};

/// Talks and flows that are remembered. What is beyond that is in sums only.
const MOST_TALKS: usize = 4096;
const MOST_FLOWS: usize = 16_384;
/// Intervals that a history has, and that a talk without flows stays.
const HISTORY: usize = 60;
/// Intervals that a flow stays after its end, to be looked at.
const AFTERLIFE: usize = 15;
/// Intervals over which rates are averaged to sort by, so that rows keep still.
const CALM: usize = 5;

/// What was told in an interval.
#[derive(Debug)]
pub(super) struct Interval {
    pub(super) talks: Talks,
    pub(super) overview: Overview,
    pub(super) now: Moment,
    pub(super) seconds: f64,
}

/// Bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Rates {
    pub(super) sent: f64,
    pub(super) received: f64,
}

/// Bytes a second in each of the latest intervals, the newest last.
#[derive(Debug, Clone, Default)]
pub(super) struct History(VecDeque<f64>);

/// A talk as it is now.
#[derive(Debug, Clone)]
pub(super) struct TalkNow {
    pub(super) endpoint: Endpoint,
    pub(super) peer: Option<(EndpointKind, Option<IdentitySource>)>,
    pub(super) rates: Rates,
    pub(super) history: History,
    /// The flows' latest round trips, their mean, in seconds: over the network, and in the container.
    pub(super) network: Option<f64>,
    pub(super) container: Option<f64>,
    /// Segments sent again by either side, since the talk is listed.
    pub(super) retransmits: u64,
    /// Flows that have not ended.
    pub(super) flows: usize,
    /// Were there flows that had no room? Their retransmissions are not known.
    pub(super) has_more: bool,
    /// The worst that policies say of its flows.
    pub(super) outcome: Option<Outcome>,
    /// What was wrong last, while it is not long ago.
    pub(super) trouble: Option<&'static str>,
    /// Intervals since something was heard of it.
    pub(super) idle: usize,
}

/// A flow as it is now.
#[derive(Debug, Clone)]
pub(super) struct FlowNow {
    pub(super) talk: Arc<Talk>,
    pub(super) flow: Flow,
    pub(super) rates: Rates,
    pub(super) trouble: Option<&'static str>,
    pub(super) verdict: Option<Verdict>,
    /// Intervals since its end.
    pub(super) ended: Option<usize>,
}

/// All that can be looked at.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) talks: HashMap<Arc<Talk>, TalkNow>,
    pub(super) flows: HashMap<FlowKey, FlowNow>,
    /// Of what had no room in the last interval.
    pub(super) others: Option<Rates>,
    pub(super) overview: Overview,
    /// Of everything.
    pub(super) rates: Rates,
    pub(super) history: History,
    pub(super) violations: Violations,
    pub(super) now: Moment,
}

impl State {
    /// Nothing yet.
    pub(super) fn new(now: Moment) -> Self {
        Self {
            talks: HashMap::new(),
            flows: HashMap::new(),
            others: None,
            overview: Overview::default(),
            rates: Rates::default(),
            history: History::default(),
            violations: Violations::default(),
            now,
        }
    }

    /// Adds what was told.
    pub(super) fn take(&mut self, interval: Interval) {
        let Interval {
            talks: Talks {
                amounts, others, ..
            },
            overview,
            now,
            seconds,
        } = interval;
        self.now = now;
        self.rates = Rates::of(grown(&self.overview.totals, &overview.totals), seconds);
        self.history.push(self.rates.both());
        self.overview = overview;
        self.grow_old();
        let mut others = others;
        for (talk, amount) in amounts {
            if !self.talks.contains_key(&talk) && self.talks.len() >= MOST_TALKS {
                self.forget_the_most_idle();
            }
            if self.talks.len() < MOST_TALKS || self.talks.contains_key(&talk) {
                self.take_talk(Arc::new(talk), amount, seconds);
            } else {
                others.reports += 1;
                others.growth += amount.growth;
            }
        }
        self.others = (others != Others::default()).then(|| Rates::of(others.growth, seconds));
        self.draw_conclusions();
    }

    fn grow_old(&mut self) {
        for talk in self.talks.values_mut() {
            talk.rates = Rates::default();
            talk.idle += 1;
        }
        for flow in self.flows.values_mut() {
            flow.rates = Rates::default();
            flow.ended = flow.ended.map(|ago| ago + 1);
        }
        let is_remembered = |ended: Option<usize>| ended.is_none_or(|ago| ago <= AFTERLIFE);
        self.flows.retain(|_, flow| is_remembered(flow.ended));
    }

    fn forget_the_most_idle(&mut self) {
        let idle = self.talks.iter().filter(|(_, talk)| talk.idle > 0);
        if let Some((talk, _)) = idle.max_by_key(|(_, talk)| talk.idle) {
            let talk = Arc::clone(talk);
            self.talks.remove(&talk);
        }
    }

    fn take_talk(&mut self, talk: Arc<Talk>, amount: Amount, seconds: f64) {
        let before = self.talks.remove_entry(&talk);
        let (talk, mut talk_now) = before.unwrap_or_else(|| (talk, TalkNow::none(&amount)));
        talk_now.rates = Rates::of(amount.growth, seconds);
        talk_now.idle = 0;
        talk_now.has_more |= amount.has_more;
        talk_now.endpoint = amount.endpoint;
        talk_now.peer = amount.peer;
        let grown = |heard: &&Heard| heard.growth != Totals::default();
        let halves = amount.flows.values().filter(grown);
        let (sent, received): (Vec<_>, Vec<_>) = halves
            .map(|heard| (&heard.flow.stats.tx, &heard.flow.stats.rx))
            .unzip();
        talk_now.network = mean_of(&sent).or(talk_now.network);
        talk_now.container = mean_of(&received).or(talk_now.container);
        for (key, heard) in amount.flows {
            self.take_flow(key, heard, &talk, &mut talk_now, seconds);
        }
        self.talks.insert(talk, talk_now);
    }

    fn take_flow(
        &mut self,
        key: FlowKey,
        heard: Heard,
        talk: &Arc<Talk>,
        talk_now: &mut TalkNow,
        seconds: f64,
    ) {
        let before = self.flows.get(&key);
        let before = before.filter(|before| {
            before.flow.stats.first_ns == heard.flow.stats.first_ns && before.ended.is_none()
        });
        let is_new = before.is_none_or(|before| before.verdict != heard.verdict);
        self.violations.note(talk, &heard, is_new, &self.now);
        let before = before.map_or(0, |before| retransmits(&before.flow.stats));
        if !self.flows.contains_key(&key) && self.flows.len() >= MOST_FLOWS {
            talk_now.has_more = true;
            return;
        }
        talk_now.retransmits += retransmits(&heard.flow.stats).saturating_sub(before);
        self.flows.insert(
            key,
            FlowNow {
                talk: Arc::clone(talk),
                flow: heard.flow,
                rates: Rates::of(heard.growth, seconds),
                trouble: heard.trouble,
                verdict: heard.verdict,
                ended: heard.has_ended.then_some(0),
            },
        );
    }

    /// What follows for the talks from their flows.
    fn draw_conclusions(&mut self) {
        for talk in self.talks.values_mut() {
            talk.history.push(talk.rates.both());
            talk.flows = 0;
            talk.outcome = None;
            talk.trouble = None;
        }
        for flow in self.flows.values() {
            let Some(talk) = self.talks.get_mut(&flow.talk) else {
                continue;
            };
            talk.flows += usize::from(flow.ended.is_none());
            let outcome = flow.verdict.as_ref().map(|verdict| verdict.outcome);
            talk.outcome = worse(talk.outcome, outcome);
            talk.trouble = talk.trouble.or(flow.trouble);
        }
        self.talks
            .retain(|_, talk| talk.idle < HISTORY || talk.flows > 0);
    }
}

impl TalkNow {
    fn none(amount: &Amount) -> Self {
        Self {
            endpoint: amount.endpoint.clone(),
            peer: amount.peer,
            rates: Rates::default(),
            history: History::default(),
            network: None,
            container: None,
            retransmits: 0,
            flows: 0,
            has_more: false,
            outcome: None,
            trouble: None,
            idle: 0,
        }
    }
}

impl Rates {
    fn of(growth: Totals, seconds: f64) -> Self {
        let rate = |traffic: Traffic| {
            if seconds > 0.0 {
                traffic.bytes as f64 / seconds
            } else {
                0.0
            }
        };
        Self {
            sent: rate(growth.tx),
            received: rate(growth.rx),
        }
    }

    /// Both directions together.
    pub(super) fn both(self) -> f64 {
        self.sent + self.received
    }
}

impl History {
    fn push(&mut self, rate: f64) {
        if self.0.len() == HISTORY {
            self.0.pop_front();
        }
        self.0.push_back(rate);
    }

    /// The newest `most`, in the order they happened.
    pub(super) fn latest(&self, most: usize) -> impl Iterator<Item = f64> {
        self.0
            .iter()
            .skip(self.0.len().saturating_sub(most))
            .copied()
    }

    /// The mean of the latest few.
    pub(super) fn calm(&self) -> f64 {
        self.latest(CALM).sum::<f64>() / CALM as f64
    }
}

/// Denied is worse than undecided, which is worse than allowed.
fn worse(a: Option<Outcome>, b: Option<Outcome>) -> Option<Outcome> {
    let rank = |outcome: &Option<Outcome>| match outcome {
        None => 0,
        Some(Outcome::Allowed) => 1,
        Some(Outcome::Undecided) => 2,
        Some(Outcome::Denied) => 3,
    };
    [a, b].into_iter().max_by_key(rank).flatten()
}

fn mean_of(halves: &[&flowmon_common::DirectionStats]) -> Option<f64> {
    let timed = halves.iter().filter(|half| half.rtt_samples > 0);
    let (sum, count) = timed.fold((0, 0), |(sum, count), half| {
        (sum + u64::from(half.rtt_last), count + 1)
    });
    (count > 0).then(|| seconds(sum) / f64::from(count))
}

/// Of units of round-trip time.
pub(super) fn seconds(units: u64) -> f64 {
    units.saturating_mul(UNIT_NS) as f64 / 1e9
}

fn retransmits(stats: &FlowStats) -> u64 {
    u64::from(stats.tx.retransmits) + u64::from(stats.rx.retransmits)
}

fn grown(before: &Totals, now: &Totals) -> Totals {
    let grown = |before: Traffic, now: Traffic| Traffic {
        packets: now.packets.saturating_sub(before.packets),
        bytes: now.bytes.saturating_sub(before.bytes),
    };
    Totals {
        tx: grown(before.tx, now.tx),
        rx: grown(before.rx, now.rx),
    }
}
