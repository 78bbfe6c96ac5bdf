//! Who had an address, and until when: addresses are used again.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use foldhash::fast::RandomState;

use crate::model::Identity;

/// We may hear of somebody so long after they got their address.
const LATE_NS: u64 = 10_000_000_000;

/// Who had an address is remembered for so long after: longer than flows are idle before they end.
const KEPT_NS: u64 = 600_000_000_000;

/// Former holders that are remembered of one address.
const MOST_FORMER: usize = 8;

/// Who holds an address: the same one as long as this is equal, whatever else we learn of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Holder {
    /// Who is behind this interface.
    Behind(u32),
    /// Who is called so by a source.
    Called(Arc<str>),
    /// This host.
    Host,
}

/// The holders of all addresses. Times are `CLOCK_MONOTONIC`, ns.
#[derive(Debug, Default)]
pub(super) struct History {
    spans: HashMap<IpAddr, Vec<Span>, RandomState>,
}

#[derive(Debug)]
struct Span {
    holder: Holder,
    who: Arc<Identity>,
    from_ns: u64,
    to_ns: Option<u64>,
}

impl History {
    /// Who had the address while a flow went on: the first who held it at that time.
    pub(super) fn holder(
        &self,
        address: &IpAddr,
        first_ns: u64,
        last_ns: u64,
    ) -> Option<&Arc<Identity>> {
        let spans = self.spans.get(address)?;
        let span = spans
            .iter()
            .find(|span| span.to_ns.is_none_or(|to_ns| to_ns > first_ns))?;
        (span.from_ns.saturating_sub(LATE_NS) <= last_ns).then_some(&span.who)
    }

    /// From now on exactly these hold addresses. Returns the addresses of which something changed.
    pub(super) fn set(
        &mut self,
        held: &HashMap<IpAddr, (Holder, Arc<Identity>)>,
        now_ns: u64,
    ) -> HashSet<IpAddr> {
        let mut changed = HashSet::new();
        self.spans.retain(|address, spans| {
            let holder = held.get(address).map(|(holder, _)| holder);
            for span in spans.iter_mut().filter(|span| span.to_ns.is_none()) {
                if Some(&span.holder) != holder {
                    span.to_ns = Some(now_ns);
                    changed.insert(*address);
                }
            }
            spans.retain(|span| span.is_remembered(now_ns));
            let surplus = spans.len().saturating_sub(MOST_FORMER);
            spans.drain(..surplus);
            !spans.is_empty()
        });
        for (address, (holder, who)) in held {
            let spans = self.spans.entry(*address).or_default();
            if hold(spans, holder, who, now_ns) {
                changed.insert(*address);
            }
        }
        changed
    }

    /// From now on this one holds an address, or nobody does. Returns whether something changed.
    pub(super) fn set_one(
        &mut self,
        address: IpAddr,
        holder: Option<&(Holder, Arc<Identity>)>,
        now_ns: u64,
    ) -> bool {
        let spans = self.spans.entry(address).or_default();
        let mut changed = false;
        for span in spans.iter_mut().filter(|span| span.to_ns.is_none()) {
            if Some(&span.holder) != holder.map(|(holder, _)| holder) {
                span.to_ns = Some(now_ns);
                changed = true;
            }
        }
        let surplus = spans.len().saturating_sub(MOST_FORMER);
        spans.drain(..surplus);
        if let Some((holder, who)) = holder {
            changed |= hold(spans, holder, who, now_ns);
        }
        changed
    }

    /// Forgets what was long ago.
    pub(super) fn forget(&mut self, now_ns: u64) {
        self.spans.retain(|_, spans| {
            spans.retain(|span| span.is_remembered(now_ns));
            !spans.is_empty()
        });
    }

    /// This one holds nothing any more.
    pub(super) fn end(&mut self, holder: &Holder, now_ns: u64) {
        let spans = self.spans.values_mut().flatten();
        for span in spans.filter(|span| span.to_ns.is_none() && span.holder == *holder) {
            span.to_ns = Some(now_ns);
        }
    }

    /// Something was learned of one who holds nothing any more. Returns the addresses it had.
    pub(super) fn learn(&mut self, holder: &Holder, who: &Arc<Identity>) -> HashSet<IpAddr> {
        let mut changed = HashSet::new();
        for (address, spans) in &mut self.spans {
            for span in spans.iter_mut().filter(|span| span.holder == *holder) {
                if span.who != *who {
                    span.who = Arc::clone(who);
                    changed.insert(*address);
                }
            }
        }
        changed
    }
}

impl Span {
    fn is_remembered(&self, now_ns: u64) -> bool {
        self.to_ns.is_none_or(|to_ns| to_ns + KEPT_NS > now_ns)
    }
}

/// Whoever holds the address is this one. Returns whether that is news.
fn hold(spans: &mut Vec<Span>, holder: &Holder, who: &Arc<Identity>, now_ns: u64) -> bool {
    match spans.iter_mut().find(|span| span.to_ns.is_none()) {
        Some(span) if span.who == *who => return false,
        Some(span) => span.who = Arc::clone(who),
        None => {
            // Most addresses have one holder.
            spans.reserve_exact(1);
            spans.push(Span {
                holder: holder.clone(),
                who: Arc::clone(who),
                from_ns: now_ns,
                to_ns: None,
            });
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EndpointKind;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const SECOND: u64 = 1_000_000_000;

    fn named(name: &str) -> Arc<Identity> {
        Arc::new(Identity {
            name: Some(name.into()),
            ..Identity::nameless(EndpointKind::Pod)
        })
    }

    fn held(ifindex: u32, name: &str) -> HashMap<IpAddr, (Holder, Arc<Identity>)> {
        HashMap::from([(ADDRESS, (Holder::Behind(ifindex), named(name)))])
    }

    fn who(history: &History, first_ns: u64, last_ns: u64) -> Option<&str> {
        history
            .holder(&ADDRESS, first_ns, last_ns)
            .and_then(|who| who.name.as_deref())
    }

    #[test]
    fn an_address_is_used_again() {
        let mut history = History::default();
        history.set(&held(1, "first"), 100 * SECOND);
        history.end(&Holder::Behind(1), 200 * SECOND);
        history.set(&held(2, "second"), 201 * SECOND);
        assert_eq!(who(&history, 150 * SECOND, 150 * SECOND), Some("first"));
        assert_eq!(who(&history, 150 * SECOND, 300 * SECOND), Some("first"));
        assert_eq!(who(&history, 202 * SECOND, 300 * SECOND), Some("second"));
        // Before we heard of it, but when nobody else had the address any more.
        assert_eq!(
            who(&history, 200 * SECOND + 1, 200 * SECOND + 1),
            Some("second")
        );
    }

    #[test]
    fn who_comes_much_later_was_not_there_then() {
        let mut history = History::default();
        history.set(&held(1, "late"), 100 * SECOND);
        assert_eq!(who(&history, 95 * SECOND, 96 * SECOND), Some("late"));
        assert_eq!(who(&history, 80 * SECOND, 85 * SECOND), None);
        // A flow that tried until somebody was there.
        assert_eq!(who(&history, 80 * SECOND, 101 * SECOND), Some("late"));
    }

    #[test]
    fn a_name_may_come_later_than_its_bearer_goes() {
        let mut history = History::default();
        history.set(&held(1, "?"), SECOND);
        history.end(&Holder::Behind(1), 2 * SECOND);
        let changed = history.learn(&Holder::Behind(1), &named("redis"));
        assert_eq!(changed, HashSet::from([ADDRESS]));
        assert_eq!(who(&history, SECOND, SECOND), Some("redis"));
    }

    #[test]
    fn the_past_is_forgotten() {
        let mut history = History::default();
        for ifindex in 0..100 {
            history.set(&held(ifindex, "x"), u64::from(ifindex) * SECOND);
            history.end(&Holder::Behind(ifindex), u64::from(ifindex) * SECOND + 1);
        }
        let spans = |history: &History| history.spans.get(&ADDRESS).map_or(0, Vec::len);
        assert!(spans(&history) <= MOST_FORMER + 1);
        history.set(&HashMap::new(), 10_000 * SECOND);
        assert_eq!(spans(&history), 0);
    }
}
