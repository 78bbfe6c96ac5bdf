//! When a flow is over: its entry can leave the kernel's map, which has room for so many.

use flowmon_common::wire::protocol;

use crate::model::{Flow, Protocol, TcpState};

const SECOND_NS: u64 = 1_000_000_000;

/// How long without a packet until a flow is over (ns).
///
/// Closed connections keep their entry for a grace in which stragglers still find it. Connections
/// that nobody answers are tried again after up to 32 s (Linux, `tcp_syn_retries`). The rest is of
/// the order of the kernel's own connection tracking (`nf_conntrack-sysctl`), but for established
/// connections: a day in the map would be for nothing, since an entry that left it comes back with
/// the next packet.
pub(super) fn idle_limit_ns(flow: &Flow, now_ns: u64) -> u64 {
    let seconds = match flow.tcp_state(now_ns) {
        Some(TcpState::Closed | TcpState::Reset | TcpState::Refused) => 5,
        Some(TcpState::Syn | TcpState::Timeout) => 35,
        Some(TcpState::Closing) => 120,
        Some(TcpState::Established) => 900,
        None => match flow.protocol() {
            Protocol::Ip(protocol::UDP | protocol::UDP_LITE) => 120,
            Protocol::Ip(protocol::SCTP | protocol::DCCP) => 900,
            Protocol::Ip(_) => 30,
            Protocol::Ethernet(_) => 300,
        },
    };
    seconds * SECOND_NS
}

/// Is the flow over?
pub(super) fn is_over(flow: &Flow, now_ns: u64) -> bool {
    now_ns.saturating_sub(flow.last_ns) >= idle_limit_ns(flow, now_ns)
}

#[cfg(test)]
mod tests {
    use super::{SECOND_NS, is_over};
    use crate::model::Flow;
    use flowmon_common::{
        FlowKey, FlowStats, Initiator,
        wire::tcp::{ACK, FIN, SYN},
    };

    fn flow(protocol: u8, tx_flags: u8, rx_flags: u8) -> Flow {
        let key = FlowKey {
            protocol,
            l3: 4,
            ..FlowKey::default()
        };
        let mut stats = FlowStats {
            initiator: Initiator::Local as u8,
            ..FlowStats::default()
        };
        stats.tx.tcp_flags = tx_flags;
        stats.rx.tcp_flags = rx_flags;
        Flow {
            key,
            stats,
            last_ns: 0,
        }
    }

    #[test]
    fn a_closed_connection_leaves_after_a_grace_and_an_open_one_does_not() {
        let closed = flow(6, SYN | ACK | FIN, SYN | ACK | FIN);
        assert!(!is_over(&closed, 4 * SECOND_NS));
        assert!(is_over(&closed, 5 * SECOND_NS));
        assert!(!is_over(&flow(6, SYN | ACK, SYN | ACK), 600 * SECOND_NS));
        assert!(!is_over(
            &flow(6, SYN | ACK | FIN, SYN | ACK),
            60 * SECOND_NS
        ));
    }

    #[test]
    fn an_unanswered_one_outlasts_its_retries() {
        assert!(!is_over(&flow(6, SYN, 0), 33 * SECOND_NS));
        assert!(is_over(&flow(6, SYN, 0), 35 * SECOND_NS));
    }

    #[test]
    fn what_has_no_end_ends_by_silence() {
        assert!(is_over(&flow(1, 0, 0), 30 * SECOND_NS));
        assert!(!is_over(&flow(17, 0, 0), 30 * SECOND_NS));
        assert!(is_over(&flow(17, 0, 0), 120 * SECOND_NS));
    }
}
