//! What the TCP of a namespace counts.

use std::{fs, io};

use flowmon::lab::Namespace;

/// Counters of a namespace's TCP, over both address families.
#[derive(Debug, Clone, Copy)]
pub struct TcpCounters {
    /// Segments that have left the namespace.
    pub segments: u64,
    /// Segments that TCP sent again.
    pub retransmitted: u64,
}

impl TcpCounters {
    /// Since the namespace was made.
    ///
    /// # Panics
    ///
    /// When the kernel does not tell.
    pub fn of(namespace: &Namespace) -> Self {
        let text = read(namespace, "snmp");
        // RFC 4022: tcpOutSegs excludes segments that contain only what was sent before.
        let retransmitted = counter(&text, "Tcp: ", "RetransSegs");
        // What TCP hands down while the MTU shrinks, IP refuses, and TCP cuts it anew: it was not
        // sent, but `__tcp_transmit_skb` has counted it (`ip_fragment`; nothing else in a lab may
        // not be fragmented and is too large).
        let refused = counter(&text, "Ip: ", "FragFails");
        // Nor were single frames too large for an MTU that has shrunk at the other end of the veth.
        let lost = dropped(&read(namespace, "dev"));
        Self {
            segments: counter(&text, "Tcp: ", "OutSegs") + retransmitted - refused - lost,
            retransmitted,
        }
    }

    /// What was added since `before`.
    #[must_use]
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            segments: self.segments - before.segments,
            retransmitted: self.retransmitted - before.retransmitted,
        }
    }
}

fn read(namespace: &Namespace, file: &str) -> String {
    let path = format!("/proc/thread-self/net/{file}");
    namespace
        .run(|| fs::read_to_string(&path))
        .map_err(io::Error::other)
        .flatten()
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The fourth of the eight columns about sending, behind eight about receiving and the name.
fn dropped(text: &str) -> u64 {
    let interfaces = text.lines().filter_map(|line| line.split_once(':'));
    interfaces
        .map(|(_, counters)| {
            let dropped = counters.split_whitespace().nth(8 + 3);
            dropped
                .and_then(|dropped| dropped.parse::<u64>().ok())
                .unwrap_or_else(|| panic!("no drops in {text}"))
        })
        .sum()
}

/// From a line of names and one of values, both with the same beginning.
fn counter(text: &str, beginning: &str, name: &str) -> u64 {
    let mut lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(beginning))
        .map(|line| line.split(' '));
    let (names, values) = (lines.next(), lines.next());
    names
        .into_iter()
        .flatten()
        .zip(values.into_iter().flatten())
        .find_map(|(found, value)| value.parse().ok().filter(|_| found == name))
        .unwrap_or_else(|| panic!("no {name} in {text}"))
}
