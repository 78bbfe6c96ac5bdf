//! Who opened the flows whose entries were evicted: the next packet makes the entry again, and it may
//! be an answer.

use std::collections::HashMap;

use flowmon_common::{
    FlowKey, Initiator,
    wire::{protocol, tcp},
};
use foldhash::fast::RandomState;

use super::expiry;
use crate::model::{Flow, Protocol};

/// Flows that are remembered: 8 MB of them at most.
const MOST: usize = 65_536;

/// Remembers what was evicted lately, in two generations, the older of which is forgotten as a whole
/// when the younger is full. What is forgotten, or was never known, may be made again as well: so for
/// a while after that a first packet tells nothing.
#[derive(Debug, Default)]
pub(super) struct Evicted {
    young: HashMap<FlowKey, Past, RandomState>,
    old: HashMap<FlowKey, Past, RandomState>,
    /// The older ones were gone by then (`CLOCK_MONOTONIC`, ns; as all of these).
    turned_ns: Option<u64>,
    /// The last time that anything may have been evicted of which nothing is known.
    missed_ns: Option<u64>,
    /// The last time that anything was evicted.
    last_ns: Option<u64>,
}

/// What is known of a flow from before its entry was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Earlier {
    /// It was there, and was opened by this one, as an [`Initiator`] is stored.
    Known(u8),
    /// It may have been.
    Missed,
}

#[derive(Debug, Clone, Copy)]
struct Past {
    initiator: u8,
    /// What comes after that is another conversation.
    until_ns: u64,
}

impl Evicted {
    /// This one was gone at that time.
    pub(super) fn note(&mut self, flow: &Flow, now_ns: u64) {
        self.happened(now_ns);
        if self.young.len() >= MOST / 2 {
            let younger = std::mem::take(&mut self.young);
            if !std::mem::replace(&mut self.old, younger).is_empty() {
                self.missed_ns = self.missed_ns.max(self.turned_ns);
            }
            self.turned_ns = Some(now_ns);
        }
        let past = Past {
            initiator: flow.stats.initiator,
            until_ns: now_ns.saturating_add(expiry::idle_limit_ns(flow, now_ns)),
        };
        self.young.insert(flow.key, past);
    }

    /// Something was, which is known to be made again.
    pub(super) fn happened(&mut self, now_ns: u64) {
        self.last_ns = self.last_ns.max(Some(now_ns));
    }

    /// Something may have been of which nothing is known.
    pub(super) fn missed(&mut self, now_ns: u64) {
        self.happened(now_ns);
        self.missed_ns = self.missed_ns.max(Some(now_ns));
    }

    /// The last time that anything was evicted, for whoever comes after.
    pub(super) const fn last_ns(&self) -> Option<u64> {
        self.last_ns
    }

    /// What is known from before of a flow whose entry was just found; none where it is for its first
    /// packet to tell.
    pub(super) fn earlier(&mut self, flow: &Flow) -> Option<Earlier> {
        let first_ns = flow.stats.first_ns;
        let past = self.young.remove(&flow.key);
        let past = past.or_else(|| self.old.remove(&flow.key));
        if let Some(past) = past.filter(|past| first_ns < past.until_ns) {
            return Some(Earlier::Known(past.initiator));
        }
        let missed_ns = self.missed_ns?;
        let until_ns = missed_ns.saturating_add(expiry::idle_limit_ns(flow, first_ns));
        (first_ns < until_ns).then_some(Earlier::Missed)
    }
}

/// Who opened it, given what is known from before: an opening or the answer to one tells itself.
pub(super) fn opened_by(flow: &Flow, earlier: Option<Earlier>) -> u8 {
    let told = flow.stats.initiator;
    let is_told = told != Initiator::Unknown as u8 && has_opening(flow.protocol());
    match earlier {
        Some(Earlier::Known(initiator)) if !is_told => initiator,
        Some(Earlier::Missed) if !is_told => Initiator::Unknown as u8,
        _ => told,
    }
}

/// Is it a connection that was there before? One that begins by the same name begins with an opening.
pub(super) fn is_again(flow: &Flow, earlier: Option<Earlier>) -> bool {
    let opener = match Initiator::from_abi(flow.stats.initiator) {
        Initiator::Local => Some(&flow.stats.tx),
        Initiator::Remote => Some(&flow.stats.rx),
        Initiator::Unknown => None,
    };
    let begins = match flow.protocol() {
        Protocol::Ip(protocol::TCP) => opener.is_some_and(|half| half.tcp_flags & tcp::SYN != 0),
        Protocol::Ip(protocol::SCTP | protocol::DCCP) => opener.is_some(),
        _ => false,
    };
    matches!(earlier, Some(Earlier::Known(_))) && !begins
}

/// Does a packet tell by itself who opened the flow? Otherwise it is who was heard first. ICMP's flows
/// are named by who sends what.
const fn has_opening(protocol: Protocol) -> bool {
    matches!(
        protocol,
        Protocol::Ip(
            protocol::TCP | protocol::SCTP | protocol::DCCP | protocol::ICMP | protocol::ICMPV6
        )
    )
}

#[cfg(test)]
mod tests {
    use flowmon_common::FlowStats;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const BEGIN: u64 = 1000 * SECOND;

    /// A flow of an entry that was made then, of which its first packet says that the endpoint opened it.
    fn flow(protocol: u8, number: u32, first_ns: u64) -> Flow {
        let key = FlowKey {
            ifindex: number,
            protocol,
            l3: 4,
            ..FlowKey::default()
        };
        let stats = FlowStats {
            first_ns,
            initiator: Initiator::Local as u8,
            ..FlowStats::default()
        };
        Flow {
            key,
            stats,
            last_ns: first_ns,
        }
    }

    fn udp(number: u32, first_ns: u64) -> Flow {
        flow(protocol::UDP, number, first_ns)
    }

    #[test]
    fn it_is_the_same_conversation_until_it_would_be_over() {
        let mut evicted = Evicted::default();
        let opener = Some(Earlier::Known(Initiator::Local as u8));
        for (after, expected) in [(0, opener), (119, opener), (120, None)] {
            evicted.note(&udp(1, BEGIN), BEGIN);
            assert_eq!(evicted.earlier(&udp(1, BEGIN + after * SECOND)), expected);
            assert_eq!(evicted.earlier(&udp(1, BEGIN)), None, "it is there again");
        }
    }

    #[test]
    fn what_was_missed_or_forgotten_has_no_opener_for_a_while() {
        let unknown = Some(Earlier::Missed);
        let mut evicted = Evicted::default();
        evicted.missed(BEGIN);
        assert_eq!(evicted.earlier(&udp(1, BEGIN + 119 * SECOND)), unknown);
        assert_eq!(evicted.earlier(&udp(1, BEGIN + 120 * SECOND)), None);

        let mut evicted = Evicted::default();
        let most = u32::try_from(MOST).unwrap_or_default();
        (0..most).for_each(|number| evicted.note(&udp(number, 0), BEGIN));
        assert_eq!(
            evicted.earlier(&udp(most, BEGIN)),
            None,
            "all are remembered"
        );
        (most..=most * 2).for_each(|number| evicted.note(&udp(number, 0), BEGIN + SECOND));
        let kept = evicted.young.len() + evicted.old.len();
        assert!(kept <= MOST, "{kept}");
        assert_eq!(evicted.earlier(&udp(0, BEGIN + 119 * SECOND)), unknown);
        assert_eq!(evicted.last_ns(), Some(BEGIN + SECOND));
    }

    #[test]
    fn an_opening_tells_itself() {
        let [local, remote] = [Initiator::Local, Initiator::Remote].map(|it| it as u8);
        for protocol in [protocol::TCP, protocol::SCTP, protocol::ICMP] {
            assert_eq!(
                opened_by(&flow(protocol, 1, 0), Some(Earlier::Known(remote))),
                local
            );
        }
        assert_eq!(opened_by(&udp(1, 0), Some(Earlier::Known(remote))), remote);
        assert_eq!(opened_by(&udp(1, 0), None), local);
        let mut midstream = flow(protocol::TCP, 1, 0);
        midstream.stats.initiator = Initiator::Unknown as u8;
        assert_eq!(opened_by(&midstream, Some(Earlier::Known(remote))), remote);
    }

    #[test]
    fn what_begins_with_an_opening_is_another_connection() {
        let known = Some(Earlier::Known(Initiator::Local as u8));
        assert!(is_again(&udp(1, 0), known));
        assert!(!is_again(&udp(1, 0), Some(Earlier::Missed)));
        assert!(!is_again(&udp(1, 0), None));
        let mut connection = flow(protocol::TCP, 1, 0);
        assert!(is_again(&connection, known));
        connection.stats.rx.tcp_flags = tcp::SYN | tcp::ACK;
        assert!(is_again(&connection, known), "an answer");
        connection.stats.tx.tcp_flags = tcp::SYN;
        assert!(!is_again(&connection, known));
    }
}
