//! The account: every flow once, in the one bucket that its latest verdict belongs to.

use std::collections::{HashMap, hash_map::Entry};

use flowmon_common::{Totals, Traffic};
use foldhash::fast::RandomState;
use jiff::Timestamp;

use super::{Change, Flow, Judgement, Party, recent::Recent};
use crate::{model::Protocol, policy::Outcome};

/// Keeps the account of flows and what policies say of them.
#[derive(Debug)]
pub struct Account {
    diff: bool,
    judgements: Interned<Judgement>,
    buckets: Interned<Key>,
    amounts: Vec<Amount>,
    groups: usize,
    /// Groups of any port, for those who would fill all others: who scans has a group for each port.
    portless: usize,
    most_groups: usize,
    flows: Recent<Counted>,
}

/// When a flow was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    /// When it began.
    pub first: Timestamp,
    /// When its last packet was.
    pub last: Timestamp,
}

/// What flows of one bucket have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Which judgement.
    pub(super) judgement: u32,
    /// The verdict before; none where nobody asked for the difference.
    pub(super) before: Option<Outcome>,
    /// Who with whom: only of what is worth telling one by one, and not of more than the most.
    pub(super) talk: Option<Talk>,
}

/// Who talked to whom, and about what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Talk {
    /// Where it was seen.
    pub endpoint: Party,
    /// The other end.
    pub peer: Party,
    /// What they spoke.
    pub protocol: Protocol,
    /// The port that was asked, where there is one and it is known.
    pub port: Option<u16>,
}

/// What is in a bucket.
#[derive(Debug, Clone)]
pub(super) struct Amount {
    pub(super) flows: u64,
    pub(super) totals: Totals,
    pub(super) when: Option<When>,
    /// One of them: the first.
    pub(super) example: Flow,
}

/// What a flow added to which bucket.
#[derive(Debug, Clone, Copy)]
struct Counted {
    bucket: u32,
    totals: Totals,
}

impl Account {
    /// Knows so many flows, and tells so many groups apart; what comes later is told apart by its ends
    /// whatever the port, as many again, and then added up by policy, direction and reason. With `diff`, tells flows apart by the verdict they had before.
    pub fn new(diff: bool, flows: usize, most_groups: usize) -> Self {
        Self {
            diff,
            judgements: Interned::default(),
            buckets: Interned::default(),
            amounts: Vec::new(),
            groups: 0,
            portless: 0,
            most_groups,
            flows: Recent::new(flows),
        }
    }

    /// The bucket that such flows belong to: those with this judgement, and with this one before.
    /// What is worth telling one by one is told apart by who talks to whom.
    pub fn bucket(
        &mut self,
        judgement: Judgement,
        before: Option<Outcome>,
        talk: impl FnOnce() -> Option<Talk>,
        example: &Flow,
    ) -> u32 {
        let is_worth_telling = match &judgement {
            Judgement::Not(_) => false,
            Judgement::Is(judged) if self.diff => {
                judged.outcome == Outcome::Denied || Change::of(before, judged.outcome).is_some()
            }
            Judgement::Is(judged) => judged.outcome == Outcome::Denied,
        };
        let talk = if is_worth_telling { talk() } else { None };
        let mut key = Key {
            judgement: self.judgements.number(judgement),
            before,
            talk,
        };
        if key.talk.is_some() && !self.buckets.contains(&key) {
            self.make_room(&mut key);
        }
        let bucket = self.buckets.number(key);
        if self.amounts.len() <= bucket as usize {
            self.amounts.push(Amount {
                flows: 0,
                totals: Totals::default(),
                when: None,
                example: example.clone(),
            });
        }
        bucket
    }

    /// There is a group more, if there is room; else it goes to one of its ends, or to one that names
    /// no one.
    fn make_room(&mut self, key: &mut Key) {
        if self.groups < self.most_groups {
            self.groups += 1;
            return;
        }
        if let Some(talk) = &mut key.talk {
            talk.port = None;
        }
        if self.buckets.contains(key) {
            return;
        }
        if self.portless < self.most_groups {
            self.portless += 1;
        } else {
            key.talk = None;
        }
    }

    /// Puts a flow into a bucket, and takes it out of the one where its last report had put it: that
    /// one is returned. `ended` says that this is its last report.
    pub fn count(&mut self, flow: u128, totals: Totals, ended: bool, bucket: u32) -> Option<u32> {
        let mut counted = Counted { bucket, totals };
        let mut before = None;
        if let Some(known) = self.flows.get_mut(flow) {
            counted.totals = larger(known.totals, totals);
            let last = std::mem::replace(known, counted);
            if let Some(amount) = self.amounts.get_mut(last.bucket as usize) {
                amount.flows -= 1;
                subtract(&mut amount.totals, last.totals);
            }
            if ended {
                self.flows.remove(flow);
            }
            before = Some(last.bucket);
        } else if !ended {
            self.flows.insert(flow, counted);
        }
        if let Some(amount) = self.amounts.get_mut(bucket as usize) {
            amount.flows += 1;
            amount.totals += counted.totals;
        }
        before
    }

    /// A bucket has had a flow at that time.
    pub(super) fn was_there(&mut self, bucket: u32, when: impl FnOnce() -> Option<When>) {
        if self
            .buckets
            .get(bucket)
            .is_some_and(|key| key.talk.is_some())
            && let Some(when) = when()
            && let Some(amount) = self.amounts.get_mut(bucket as usize)
        {
            let known = amount.when.get_or_insert(when);
            known.first = known.first.min(when.first);
            known.last = known.last.max(when.last);
        }
    }

    /// The number of the judgement on the flows of a bucket.
    pub fn judgement_in(&self, bucket: u32) -> u32 {
        self.buckets.get(bucket).map_or(0, |key| key.judgement)
    }

    /// A judgement by its number.
    pub fn judgement(&self, number: u32) -> Option<&Judgement> {
        self.judgements.get(number)
    }

    /// Is the difference from the verdicts before wanted?
    pub(super) const fn is_diff(&self) -> bool {
        self.diff
    }

    /// Flows that were forgotten: each may have been counted once more if it was reported again.
    pub const fn forgotten(&self) -> u64 {
        self.flows.forgotten()
    }

    /// Every bucket with something in it.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (&Key, &Judgement, &Amount)> {
        let filled = self.buckets.all().zip(&self.amounts);
        filled
            .filter(|(_, amount)| amount.flows > 0)
            .filter_map(|(key, amount)| Some((key, self.judgement(key.judgement)?, amount)))
    }
}

/// Counters grow: a report that has less is older than the one before it.
pub(super) fn larger(one: Totals, other: Totals) -> Totals {
    let larger = |one: Traffic, other: Traffic| Traffic {
        packets: one.packets.max(other.packets),
        bytes: one.bytes.max(other.bytes),
    };
    Totals {
        tx: larger(one.tx, other.tx),
        rx: larger(one.rx, other.rx),
    }
}

fn subtract(from: &mut Totals, part: Totals) {
    for (from, part) in [(&mut from.tx, part.tx), (&mut from.rx, part.rx)] {
        from.packets = from.packets.wrapping_sub(part.packets);
        from.bytes = from.bytes.wrapping_sub(part.bytes);
    }
}

/// Values by number, each once.
#[derive(Debug)]
struct Interned<T> {
    numbers: HashMap<T, u32, RandomState>,
    values: Vec<T>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self {
            numbers: HashMap::default(),
            values: Vec::new(),
        }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Interned<T> {
    fn contains(&self, value: &T) -> bool {
        self.numbers.contains_key(value)
    }

    fn get(&self, number: u32) -> Option<&T> {
        self.values.get(number as usize)
    }

    fn all(&self) -> impl Iterator<Item = &T> {
        self.values.iter()
    }

    fn number(&mut self, value: T) -> u32 {
        let next = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        match self.numbers.entry(value) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(vacant) => {
                self.values.push(vacant.key().clone());
                *vacant.insert(next)
            }
        }
    }
}
