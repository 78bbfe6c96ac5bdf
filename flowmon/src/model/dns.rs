//! What a flow to or from a name server says of it.

use flowmon_common::wire::{DNS_PORT, protocol};
use serde::Serialize;

use super::{Direction, Flow, Protocol};

/// DNS over UDP: a packet each way is a query and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dns {
    /// Queries sent to the server.
    pub queries: u64,
    /// Answers that came back.
    pub answers: u64,
    /// Response codes of the answers, each once (IANA DNS RCODEs).
    pub rcodes: Vec<&'static str>,
}

const RCODES: [&str; 16] = [
    "NOERROR",
    "FORMERR",
    "SERVFAIL",
    "NXDOMAIN",
    "NOTIMP",
    "REFUSED",
    "YXDOMAIN",
    "YXRRSET",
    "NXRRSET",
    "NOTAUTH",
    "NOTZONE",
    "DSOTYPENI",
    "12",
    "13",
    "14",
    "15",
];

impl Flow {
    /// DNS over UDP, when it is that and it is known who asks.
    pub fn dns(&self) -> Option<Dns> {
        let (local, remote) = self.ports()?;
        let (queries, answers) = match self.direction() {
            Direction::Egress if remote == DNS_PORT => {
                (self.stats.tx.traffic, self.stats.rx.traffic)
            }
            Direction::Ingress if local == DNS_PORT => {
                (self.stats.rx.traffic, self.stats.tx.traffic)
            }
            _ => return None,
        };
        (self.protocol() == Protocol::Ip(protocol::UDP)).then(|| Dns {
            queries: queries.packets,
            answers: answers.packets,
            rcodes: (0..)
                .zip(RCODES)
                .filter(|(code, _)| self.stats.dns_rcodes >> code & 1 == 1)
                .map(|(_, name)| name)
                .collect(),
        })
    }
}
