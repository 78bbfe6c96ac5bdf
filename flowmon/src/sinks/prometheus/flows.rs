//! Counters of flows, by endpoint and peer: the biggest peers by name, the others together.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use super::{
    budget::{Budget, For},
    labels::{Peer, Place, What},
};
use crate::model::Way;

/// Series stay so long after the endpoint is gone (ns): some scrapes' time.
pub(super) const LINGER_NS: u64 = 300_000_000_000;
/// Where room is needed, a peer that was silent for so long (ns) gives up its name.
const SILENCE_NS: u64 = 3_600_000_000_000;
/// Series of one peer, beyond which more of its violations are counted without their ports.
const MOST_OF_PEER: usize = 64;
/// So many peers wait for a name at most.
const MOST_WAITING: usize = 16_384;
/// Series that a peer usually has.
const OF_A_PEER: usize = 5;
/// In one interval, names are given away until this part of the room is taken.
const A_SHARE: usize = 16;

/// All of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Flows {
    endpoints: HashMap<Place, Endpoint, RandomState>,
    /// Of endpoints for which there is no room.
    nobody: Group,
    /// Peers that had to wait for a name.
    pub(super) suppressed: u64,
}

#[derive(Debug, Clone, Default)]
struct Endpoint {
    seen_ns: u64,
    peers: HashMap<Peer, Group, RandomState>,
}

/// Series that differ in what they count only.
#[derive(Debug, Clone, Default)]
struct Group {
    heard_ns: u64,
    series: BTreeMap<What, u64>,
}

/// Peers without a name, and how many bytes they have come to meanwhile.
pub(super) type Waiting = HashMap<(Place, Peer), u64, RandomState>;

impl Flows {
    /// Something was counted between `place` and `peer`.
    pub(super) fn add(
        &mut self,
        (place, peer): (Place, Peer),
        amounts: &mut Vec<(What, u64)>,
        now_ns: u64,
        (budget, waiting): (&mut Budget, &mut Waiting),
    ) {
        let endpoint = match self.endpoints.get_mut(&place) {
            Some(endpoint) => endpoint,
            None => self.endpoints.entry(place.clone()).or_default(),
        };
        endpoint.seen_ns = now_ns;
        let other = peer.other();
        if budget.is_ample() && !endpoint.peers.contains_key(&peer) {
            endpoint.peers.insert(peer.clone(), Group::default());
        }
        if let Some(group) = endpoint.peers.get_mut(&peer) {
            group.heard_ns = now_ns;
            amounts.retain(|(what, amount)| !group.add(what, *amount, For::Peer, budget));
        } else {
            self.suppressed += u64::from(wait(waiting, (place, peer), weight(amounts)));
        }
        for (what, amount) in amounts.drain(..) {
            let what = what.of_other();
            let group = endpoint.peers.entry(other.clone()).or_default();
            if !group.add(&what, amount, For::Whole, budget) {
                *self.nobody.series.entry(what.of_nobody()).or_default() += amount;
            }
        }
    }

    /// The endpoint is there.
    pub(super) fn see(&mut self, place: &Place, now_ns: u64) {
        let endpoint = match self.endpoints.get_mut(place) {
            Some(endpoint) => endpoint,
            None => self.endpoints.entry(place.clone()).or_default(),
        };
        endpoint.seen_ns = now_ns;
    }

    /// Is it, or was it a moment ago?
    pub(super) fn knows(&self, place: &Place) -> bool {
        self.endpoints.contains_key(place)
    }

    /// An interval is over: who is gone is forgotten, and who has become big gets a name.
    pub(super) fn turn(&mut self, now_ns: u64, budget: &mut Budget, waiting: &mut Waiting) {
        self.endpoints.retain(|_, endpoint| {
            let stays = now_ns.saturating_sub(endpoint.seen_ns) < LINGER_NS;
            if !stays {
                budget.give(endpoint.peers.values().map(|peer| peer.series.len()).sum());
            }
            stays
        });
        if budget.is_ample() {
            waiting.clear();
        } else {
            self.forget_silent(now_ns, budget);
            self.name_heaviest(budget, waiting);
        }
    }

    fn forget_silent(&mut self, now_ns: u64, budget: &mut Budget) {
        for endpoint in self.endpoints.values_mut() {
            endpoint.peers.retain(|peer, group| {
                let is_silent = now_ns.saturating_sub(group.heard_ns) >= SILENCE_NS;
                let goes = is_silent && matches!(peer, Peer::Named { .. });
                if goes {
                    budget.give(group.series.len());
                }
                !goes
            });
        }
    }

    /// Whoever weighs more than most that have a name gets one, the heaviest first. What they
    /// were counted as until then stays where it is.
    fn name_heaviest(&mut self, budget: &Budget, waiting: &mut Waiting) {
        let room = budget.left_for_heavy().div_ceil(A_SHARE * OF_A_PEER);
        if waiting.is_empty() || room == 0 {
            return;
        }
        let median = self.median_weight();
        let heavy = waiting.iter().filter(|(_, weight)| **weight > median);
        let mut heavy: Vec<_> = heavy.map(|(who, weight)| (*weight, who.clone())).collect();
        heavy.sort_unstable_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        for (_, who) in heavy.into_iter().take(room) {
            waiting.remove(&who);
            let (place, peer) = who;
            if let Some(endpoint) = self.endpoints.get_mut(&place) {
                endpoint.peers.entry(peer).or_default();
            }
        }
        let endpoints = &self.endpoints;
        waiting.retain(|(place, _), _| endpoints.contains_key(place));
    }

    fn median_weight(&self) -> u64 {
        let peers = self.endpoints.values().flat_map(|endpoint| &endpoint.peers);
        let named = peers.filter(|(peer, _)| matches!(peer, Peer::Named { .. }));
        let mut weights: Vec<u64> = named.map(|(_, group)| group.weight()).collect();
        let middle = weights.len() / 2;
        if weights.is_empty() {
            return 0;
        }
        *weights.select_nth_unstable(middle).1
    }

    /// Every series there is.
    pub(super) fn each(&self, mut tell: impl FnMut(&Place, &Peer, &What, u64)) {
        for (place, endpoint) in &self.endpoints {
            for (peer, group) in &endpoint.peers {
                for (what, value) in &group.series {
                    tell(place, peer, what, *value);
                }
            }
        }
        let (place, peer) = (Place::other(), Peer::Other(None));
        for (what, value) in &self.nobody.series {
            tell(&place, &peer, what, *value);
        }
    }
}

impl Group {
    fn add(&mut self, what: &What, amount: u64, by: For, budget: &mut Budget) -> bool {
        if let Some(value) = self.series.get_mut(what) {
            *value += amount;
            return true;
        }
        let is_full = what.is_of_breach() && self.series.len() >= MOST_OF_PEER;
        let is_new = !is_full && budget.take(1, by);
        if is_new {
            self.series.insert(what.clone(), amount);
        }
        is_new
    }

    fn weight(&self) -> u64 {
        let bytes = |way| self.series.get(&What::Bytes(way)).copied().unwrap_or(0);
        bytes(Way::Tx) + bytes(Way::Rx)
    }
}

fn weight(amounts: &[(What, u64)]) -> u64 {
    let bytes = |(what, amount): &(What, u64)| match what {
        What::Bytes(_) => *amount,
        _ => 0,
    };
    amounts.iter().map(bytes).sum()
}

/// Says whether it is the first time. Where there are too many, the lighter half is forgotten.
fn wait(waiting: &mut Waiting, who: (Place, Peer), weight: u64) -> bool {
    if let Some(so_far) = waiting.get_mut(&who) {
        *so_far += weight;
        return false;
    }
    if waiting.len() >= MOST_WAITING {
        let mut weights: Vec<u64> = waiting.values().copied().collect();
        let median = *weights.select_nth_unstable(MOST_WAITING / 2).1;
        waiting.retain(|_, weight| *weight > median);
    }
    waiting.insert(who, weight);
    true
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{Direction, Protocol};
    use crate::sinks::prometheus::labels::{Breach, Name};

    fn place(n: u8) -> Place {
        Place {
            namespace: Some(Arc::from("shop")),
            name: Arc::from(format!("pod-{n}")),
        }
    }

    fn peer(n: u8) -> Peer {
        Peer::Named {
            direction: Direction::Egress,
            protocol: Protocol::Ip(6),
            port: None,
            kind: None,
            namespace: None,
            name: Name::Known(Arc::from(format!("peer-{n}"))),
        }
    }

    fn what(n: u8, port: u16) -> What {
        match n % 4 {
            0 => What::Bytes(Way::Tx),
            1 => What::Packets(Way::Rx),
            2 => What::Failed("refused"),
            _ => What::Violations(Breach {
                policy: Some(Arc::from("shop/p")),
                reason: "no-rule-matched",
                port: Some(port),
            }),
        }
    }

    fn sums(flows: &Flows) -> (BTreeMap<&'static str, u64>, usize) {
        let (mut sums, mut series) = (BTreeMap::new(), 0);
        flows.each(|_, _, what, value| {
            *sums.entry(what.family().name).or_default() += value;
            series += 1;
        });
        (sums, series)
    }

    proptest! {
        #[test]
        fn whoever_has_a_name_the_sums_are_exact_and_the_series_within_the_budget(
            reports in prop::collection::vec(
                (0u8..40, any::<u8>(), any::<u8>(), any::<u16>(), 1u64..1000, any::<bool>()), 1..600
            ),
            most in 300usize..600,
        ) {
            let (mut flows, mut budget) = (Flows::default(), Budget::of(most));
            let mut waiting = Waiting::default();
            let mut expected = BTreeMap::<&'static str, u64>::new();
            for (now, (at, with, kind, port, amount, turns)) in reports.into_iter().enumerate() {
                let now_ns = u64::try_from(now).unwrap();
                let what = what(kind, port);
                *expected.entry(what.family().name).or_default() += amount;
                let ends = (place(at), peer(with));
                flows.add(ends, &mut vec![(what, amount)], now_ns, (&mut budget, &mut waiting));
                if turns {
                    let before = sums(&flows).0;
                    flows.turn(now_ns, &mut budget, &mut waiting);
                    prop_assert_eq!(before, sums(&flows).0);
                }
            }
            let (sums, series) = sums(&flows);
            prop_assert_eq!(sums, expected);
            prop_assert!(series <= most, "{} of {}", series, most);
        }
    }
}
