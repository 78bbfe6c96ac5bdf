//! How far a TCP connection got, by the flags each side has sent.

use flowmon_common::{FlowStats, Initiator, wire::tcp};

/// State of a connection, as far as its packets show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TcpState {
    /// Asked for, not answered.
    Syn,
    /// Both sides spoke, or it was under way when first seen.
    Established,
    /// One side has ended it.
    Closing,
    /// Both sides have ended it.
    Closed,
    /// Broken off by either side.
    Reset,
    /// Answered by a reset.
    Refused,
    /// Asked for, and given up: no answer, and not asked again.
    Timeout,
}

/// Whoever answers has answered by then.
const ANSWERED_BY_NS: u64 = 3_000_000_000;

impl TcpState {
    /// Of the flags seen so far, and the time since the last packet (ns).
    pub fn of(stats: &FlowStats, idle_ns: u64) -> Self {
        let (tx, rx) = (stats.tx.tcp_flags, stats.rx.tcp_flags);
        let either = |flag| (tx | rx) & flag != 0;
        let both = |flag| tx & rx & flag != 0;
        let asked_only = either(tcp::SYN) && !both(tcp::SYN);
        let answer = match Initiator::from_abi(stats.initiator) {
            Initiator::Local => rx,
            Initiator::Remote => tx,
            Initiator::Unknown => 0,
        };
        if asked_only && answer & tcp::RST != 0 && answer & tcp::FIN == 0 {
            Self::Refused
        } else if either(tcp::RST) {
            Self::Reset
        } else if both(tcp::FIN) {
            Self::Closed
        } else if either(tcp::FIN) {
            Self::Closing
        } else if asked_only && answer & tcp::ACK == 0 {
            if idle_ns < ANSWERED_BY_NS {
                Self::Syn
            } else {
                Self::Timeout
            }
        } else {
            Self::Established
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TcpState;
    use flowmon_common::{
        FlowStats, Initiator,
        wire::tcp::{ACK, FIN, RST, SYN},
    };

    fn state(initiator: Initiator, tx: u8, rx: u8) -> TcpState {
        let mut stats = FlowStats {
            initiator: initiator as u8,
            ..FlowStats::default()
        };
        stats.tx.tcp_flags = tx;
        stats.rx.tcp_flags = rx;
        TcpState::of(&stats, 0)
    }

    #[test]
    fn follows_a_connection_from_either_side() {
        use Initiator::{Local, Remote};
        for (initiator, flip) in [(Local, false), (Remote, true)] {
            let state = |ours, theirs| {
                if flip {
                    state(initiator, theirs, ours)
                } else {
                    state(initiator, ours, theirs)
                }
            };
            assert_eq!(state(SYN, 0), TcpState::Syn);
            assert_eq!(state(SYN, RST | ACK), TcpState::Refused);
            assert_eq!(state(SYN | ACK, SYN | ACK), TcpState::Established);
            assert_eq!(state(SYN | ACK | FIN, SYN | ACK), TcpState::Closing);
            assert_eq!(state(SYN | ACK | FIN, SYN | ACK | FIN), TcpState::Closed);
            assert_eq!(state(SYN | ACK | RST, SYN | ACK), TcpState::Reset);
            assert_eq!(state(SYN | ACK, SYN | ACK | RST), TcpState::Reset);
        }
    }

    #[test]
    fn a_connection_under_way_is_established_until_it_ends() {
        assert_eq!(state(Initiator::Unknown, ACK, 0), TcpState::Established);
        assert_eq!(state(Initiator::Unknown, ACK, RST), TcpState::Reset);
    }
}
