//! What a flow to or from a name server says of it.

use flowmon_common::{
    probe::Probe,
    wire::{DNS_PORT, protocol},
};
use serde::Serialize;

use super::{Direction, Flow, Protocol};

/// DNS over UDP: a packet each way is a query and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dns {
    /// Queries sent to the server.
    pub queries: u64,
    /// Answers that came back.
    pub answers: u64,
    /// Queries that were timed and had no answer within 2 s. Of several at once one is timed, so there
    /// may have been more.
    pub timeouts: u64,
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
    pub fn dns(&self, now_ns: u64) -> Option<Dns> {
        let (local, remote) = self.ports()?;
        let (asking, asked) = match self.direction() {
            Direction::Egress if remote == DNS_PORT => (&self.stats.tx, &self.stats.rx),
            Direction::Ingress if local == DNS_PORT => (&self.stats.rx, &self.stats.tx),
            _ => return None,
        };
        let is_overdue = Probe(asking.probe).is_unanswered(now_ns);
        (self.protocol() == Protocol::Ip(protocol::UDP)).then(|| Dns {
            queries: asking.traffic.packets,
            answers: asked.traffic.packets,
            timeouts: u64::from(asking.unanswered) + u64::from(is_overdue),
            rcodes: (0..)
                .zip(RCODES)
                .filter(|(code, _)| self.stats.dns_rcodes >> code & 1 == 1)
                .map(|(_, name)| name)
                .collect(),
        })
    }
}
