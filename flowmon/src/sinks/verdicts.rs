//! What policies say, in lines of at most 80 columns.

use std::fmt::Write as _;

use super::{
    escaped,
    units::{counted, fitted, human},
};
use crate::model::{Audited, Direction, Someone, Violation};

/// How much is denied, undecided, allowed and none of policies' business, and what keeps it so.
pub(super) fn counts(text: &mut String, audited: &Audited) {
    let policies: usize = audited.policies.values().sum();
    let not_judged: u64 = audited.not_judged.values().sum();
    let _infallible = writeln!(
        text,
        "{} policies: {} denied, {} undecided, {} allowed, {} not judged",
        policies,
        human(audited.violations as f64),
        human(audited.undecided as f64),
        human(audited.allowed as f64),
        human(not_judged as f64),
    );
    if audited.policy_reload_failures > 0 {
        let _infallible = writeln!(
            text,
            "! new policies could not be used, {}: the last ones stay",
            counted(audited.policy_reload_failures, "time")
        );
    }
}

/// Violations since the beginning, so many at most; the most flows first.
pub(super) fn violations(text: &mut String, audited: &Audited, most: usize) {
    let groups = &audited.violation_groups;
    if groups.is_empty() {
        return;
    }
    line(
        text,
        [
            "VIOLATION",
            "DIR",
            "PORT",
            "PEER",
            "FLOWS",
            "PKTS",
            "POLICY",
            "RULE",
        ],
    );
    for group in groups.iter().take(most) {
        row(text, group);
    }
    if groups.len() > most {
        let _infallible = writeln!(text, "… and {} more", groups.len() - most);
    }
}

/// Lines that [`counts`] and [`violations`] have.
pub(super) fn lines(audited: &Audited, most: usize) -> usize {
    let counts = 1 + usize::from(audited.policy_reload_failures > 0);
    counts
        + match audited.violation_groups.len() {
            0 => 0,
            groups => 1 + groups.min(most) + usize::from(groups > most),
        }
}

fn row(text: &mut String, group: &Violation) {
    let someone = |end: &Option<Someone>| {
        let end = end.as_ref();
        let name = end.map_or_else(|| "others".to_owned(), ToString::to_string);
        let name = name.strip_prefix("default/").unwrap_or(&name).to_owned();
        escaped(&name).into_owned()
    };
    let verdict = &group.verdict;
    let protocol = group.protocol.map(|protocol| protocol.to_string());
    let port = match (protocol, group.port) {
        (Some(protocol), Some(port)) => format!("{protocol}/{port}"),
        (protocol, _) => protocol.unwrap_or_default(),
    };
    // The namespace is the endpoint's.
    let policy = verdict.policy.as_deref().unwrap_or_default();
    let policy = policy.rsplit('/').next().unwrap_or_default();
    let rule = match (&verdict.rule, verdict.reason) {
        (Some(rule), _) => rule,
        (None, "no-rule-matched") => "none",
        (None, reason) => reason,
    };
    line(
        text,
        [
            &someone(&group.endpoint),
            match verdict.direction {
                Direction::Egress => "out",
                Direction::Ingress => "in",
                Direction::Unknown => "?",
            },
            &port,
            &someone(&group.peer),
            &human(group.flows as f64),
            &human(group.packets as f64),
            &escaped(policy),
            &escaped(rule),
        ],
    );
}

fn line(text: &mut String, [endpoint, dir, port, peer, flows, packets, policy, rule]: [&str; 8]) {
    let line = format!(
        "{:<12} {dir:<3} {:<9} {:<15} {flows:>5} {packets:>6} {:<13} {:<10}",
        fitted(endpoint, 12),
        fitted(port, 9),
        fitted(peer, 15),
        fitted(policy, 13),
        fitted(rule, 10),
    );
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{EndpointKind, Outcome, Protocol, Verdict};

    fn group(flows: u64) -> Violation {
        let someone = |name: &str| Someone {
            kind: EndpointKind::Pod,
            namespace: Some("a-namespace-that-is-long".into()),
            name: Some(name.into()),
            ip: None,
        };
        Violation {
            verdict: Verdict {
                outcome: Outcome::Denied,
                direction: Direction::Ingress,
                policy: Some("a-namespace-that-is-long/and-a-policy-that-is-so-too".into()),
                kind: Some("NetworkPolicy"),
                rule: Some("ingress[100].from[100]".into()),
                reason: "rule-matched",
                peer_outcome: None,
            },
            endpoint: Some(someone("\x1b[31mred")),
            peer: Some(someone("a-pod-with-a-name-that-is-long")),
            protocol: Some(Protocol::Ethernet(0x1234)),
            port: Some(65_535),
            flows,
            packets: u64::MAX,
            bytes: u64::MAX,
        }
    }

    #[test]
    fn lines_fit_and_are_as_many_as_is_said() {
        for (groups, failures) in [(0, 0), (1, 1), (5, 0), (6, 1), (100, 0)] {
            let audited = Audited {
                violations: u64::MAX,
                undecided: u64::MAX,
                allowed: u64::MAX,
                not_judged: BTreeMap::from([("not-ip", u64::MAX)]),
                violation_groups: (0..groups).map(|_| group(u64::MAX)).collect(),
                policies: BTreeMap::from([("NetworkPolicy", 10_000)]),
                policy_reload_failures: failures,
                ..Audited::default()
            };
            let mut text = String::new();
            counts(&mut text, &audited);
            violations(&mut text, &audited, 5);
            assert_eq!(text.lines().count(), lines(&audited, 5), "{text}");
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}");
                assert!(!line.contains('\x1b'), "{line}");
            }
        }
    }
}
