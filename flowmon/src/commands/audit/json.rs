//! Every record again with its verdict as judged, then a summary.

use std::{collections::BTreeMap, io};

use serde::Serialize;

use super::{Report, Told, why};
use crate::{
    audit::{Group, Judgement},
    model::{Someone, Verdict},
    policy::{Outcome, explain::Suggestion},
    replay::Record,
};

/// Writes records.
#[derive(Default)]
pub(super) struct Records {
    /// By number of the judgement; there are few.
    verdicts: BTreeMap<u32, Vec<u8>>,
}

impl Records {
    /// The line as it is, but with this verdict; null where the flow is not judged and a verdict was
    /// recorded.
    pub(super) fn write(
        &mut self,
        out: &mut impl io::Write,
        record: &Record<'_>,
        line: &str,
        number: u32,
        judgement: &Judgement,
    ) -> io::Result<()> {
        let verdict = self
            .verdicts
            .entry(number)
            .or_insert_with(|| match judgement {
                Judgement::Is(judged) => serde_json::to_vec(&judged.verdict()).unwrap_or_default(),
                Judgement::Not(_) => Vec::new(),
            });
        let before = record
            .verdict
            .and_then(|verdict| place(line, verdict.get()));
        let (head, tail) = match before {
            Some(before) => before,
            // A record is an object with fields in it: its end is a brace, and something is before.
            None => line.split_at(line.len().saturating_sub(1)),
        };
        out.write_all(head.as_bytes())?;
        match (verdict.as_slice(), before) {
            ([], Some(_)) => out.write_all(b"null")?,
            ([], None) => {}
            (verdict, Some(_)) => out.write_all(verdict)?,
            (verdict, None) => {
                out.write_all(b",\"verdict\":")?;
                out.write_all(verdict)?;
            }
        }
        out.write_all(tail.as_bytes())?;
        out.write_all(b"\n")
    }
}

/// The last line.
pub(super) fn summary(out: &mut impl io::Write, report: &Report<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Summary::of(report))?;
    out.write_all(b"\n")
}

/// What is before and after a part of the line.
fn place<'a>(line: &'a str, part: &str) -> Option<(&'a str, &'a str)> {
    let begin = part.as_ptr().addr().checked_sub(line.as_ptr().addr())?;
    Some((line.get(..begin)?, line.get(begin + part.len()..)?))
}

/// `flowmon.summary.v1`, as an audit knows it.
#[derive(Serialize)]
struct Summary<'a> {
    schema: &'static str,
    /// Flows, each once.
    flows: u64,
    violations: u64,
    undecided: u64,
    allowed: u64,
    not_judged: BTreeMap<&'static str, u64>,
    denied_by_peer: u64,
    undecided_reasons: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<BTreeMap<&'static str, Vec<GroupOut>>>,
    violation_groups: Vec<GroupOut>,
    records: u64,
    unreadable: u64,
    foreign: &'a BTreeMap<String, u64>,
    /// Flows that may have been counted more than once.
    forgotten: u64,
    /// As the log has it.
    lost: &'a BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
}

#[derive(Serialize)]
struct GroupOut {
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Outcome>,
    /// These three are absent in what was added up for want of room.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<Someone>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<Someone>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    flows: u64,
    packets: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<String>,
    explanation: String,
    /// What would allow it; all of these together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suggestions: Vec<Suggestion>,
}

impl<'a> Summary<'a> {
    fn of(report: &'a Report<'_>) -> Self {
        let Report { findings, told, .. } = report;
        let Told {
            records,
            unreadable,
            foreign,
            lost,
            ..
        } = told;
        let not_judged = findings.not_judged.iter();
        let groups = |groups: &[Group]| {
            let groups = groups.iter();
            groups.map(|group| GroupOut::of(group, report)).collect()
        };
        Self {
            schema: "flowmon.summary.v1",
            flows: findings.flows(),
            violations: findings.counts.denied,
            undecided: findings.counts.undecided,
            allowed: findings.counts.allowed,
            not_judged: not_judged
                .map(|(why, flows)| (why.label(), *flows))
                .collect(),
            denied_by_peer: findings.denied_by_peer,
            undecided_reasons: findings
                .undecided_by_reason()
                .into_iter()
                .map(|(reason, flows, _)| (reason.label(), flows))
                .collect(),
            changes: findings.changes.as_ref().map(|changes| {
                let changes = changes.iter();
                changes
                    .map(|(change, of_it)| (change.label(), groups(of_it)))
                    .collect()
            }),
            violation_groups: groups(&findings.denied),
            records: *records,
            unreadable: *unreadable,
            foreign,
            forgotten: findings.forgotten,
            lost,
            complete: told.is_complete(),
        }
    }
}

impl GroupOut {
    fn of(group: &Group, report: &Report<'_>) -> Self {
        let talk = group.talk.as_ref();
        let time = |time: jiff::Timestamp| format!("{time:.9}");
        Self {
            verdict: group.judged.verdict(),
            before: group.before,
            endpoint: talk.map(|talk| talk.endpoint.clone().into()),
            peer: talk.map(|talk| talk.peer.clone().into()),
            protocol: talk.map(|talk| talk.protocol.to_string()),
            port: talk.and_then(|talk| talk.port),
            flows: group.flows,
            packets: group.packets(),
            bytes: group.bytes(),
            first_seen: group.when.map(|when| time(when.first)),
            last_seen: group.when.map(|when| time(when.last)),
            explanation: report.why(group),
            suggestions: why::suggestions(report.ruleset, group),
        }
    }
}
