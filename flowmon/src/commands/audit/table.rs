//! What an audit found, for people.

use std::fmt::Write as _;

use super::Report;
use crate::{
    audit::{Change, Group},
    model::Direction,
    sinks::{counted, escaped, human},
};

/// Groups that are told one by one; JSON has all.
const ROWS: usize = 50;

pub(super) fn table(report: &Report<'_>) -> String {
    let mut text = String::new();
    counts(&mut text, report);
    match &report.findings.changes {
        None => section(&mut text, report, "DENIED", &report.findings.denied),
        Some(changes) => {
            for change in [
                Change::NewlyDenied,
                Change::NewlyAllowed,
                Change::NewlyUndecided,
            ] {
                let groups = changes.get(&change).map_or(&[][..], Vec::as_slice);
                section(
                    &mut text,
                    report,
                    &change.label().replace('-', " ").to_uppercase(),
                    groups,
                );
            }
        }
    }
    undecided(&mut text, report);
    notes(&mut text, report);
    text
}

fn counts(text: &mut String, report: &Report<'_>) {
    let findings = &report.findings;
    let counts = &findings.counts;
    let _infallible = writeln!(
        text,
        "{}, {}: {} allowed, {} denied, {} undecided, {} not judged",
        counted(report.told.records, "record"),
        counted(findings.flows(), "flow"),
        counts.allowed,
        counts.denied,
        counts.undecided,
        findings.not_judged.values().sum::<u64>()
    );
}

fn section(text: &mut String, report: &Report<'_>, title: &str, groups: &[Group]) {
    if groups.is_empty() {
        return;
    }
    let flows: u64 = groups.iter().map(|group| group.flows).sum();
    let _infallible = writeln!(text, "\n{title}: {}", counted(flows, "flow"));
    let mut rows = vec![
        [
            "ENDPOINT",
            "",
            "PEER",
            "PORT",
            "FLOWS",
            "BYTES",
            "FIRST SEEN",
            "LAST SEEN",
        ]
        .map(str::to_owned),
    ];
    rows.extend(groups.iter().take(ROWS).map(row));
    let mut widths = [0; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut whys = groups.iter().map(|group| report.why(group));
    for (at, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _infallible = write!(line, "{cell:<width$}  ");
        }
        let _infallible = writeln!(text, "{}", line.trim_end());
        if at > 0
            && let Some(why) = whys.next()
        {
            for line in why.lines() {
                let _infallible = writeln!(text, "    {}", escaped(line));
            }
        }
    }
    if groups.len() > ROWS {
        let rest: u64 = groups.iter().skip(ROWS).map(|group| group.flows).sum();
        let rest = counted(rest, "flow");
        let more = counted((groups.len() - ROWS) as u64, "more group");
        let _infallible = writeln!(text, "… and {more} with {rest}; --output json has all");
    }
}

fn row(group: &Group) -> [String; 8] {
    let time = |time: jiff::Timestamp| format!("{time:.0}");
    let (endpoint, peer, port) = group.talk.as_ref().map_or_else(
        || ("(others)".to_owned(), "(others)".to_owned(), String::new()),
        |talk| {
            let port = talk
                .port
                .map_or_else(String::new, |port| format!("/{port}"));
            let of = |party: &dyn ToString| escaped(&party.to_string()).into_owned();
            let port = format!("{}{port}", talk.protocol);
            (of(&talk.endpoint), of(&talk.peer), port)
        },
    );
    [
        endpoint,
        arrow(group.judged.direction).to_owned(),
        peer,
        port,
        group.flows.to_string(),
        human(group.bytes() as f64),
        group.when.map_or_else(String::new, |when| time(when.first)),
        group.when.map_or_else(String::new, |when| time(when.last)),
    ]
}

pub(super) const fn arrow(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => "->",
        Direction::Ingress => "<-",
        Direction::Unknown => "??",
    }
}

fn undecided(text: &mut String, report: &Report<'_>) {
    let reasons = report.findings.undecided_by_reason();
    if reasons.is_empty() {
        return;
    }
    let flows = report.findings.counts.undecided;
    let _infallible = writeln!(text, "\nUNDECIDED: {}", counted(flows, "flow"));
    for (reason, flows, example) in reasons {
        let example = report.flow(example);
        let example = escaped(&example);
        let label = reason.label();
        let _infallible = writeln!(text, "{flows:>8}  {label}, as {example}");
    }
}

fn notes(text: &mut String, report: &Report<'_>) {
    let (findings, told) = (&report.findings, &report.told);
    let mut notes = Vec::new();
    for (why, flows) in &findings.not_judged {
        notes.push(format!(
            "{} not judged: {}",
            counted(*flows, "flow"),
            why.label()
        ));
    }
    if findings.denied_by_peer > 0 {
        notes.push(format!(
            "denied by the other end's policies, which is no violation of this end's: {}",
            counted(findings.denied_by_peer, "flow")
        ));
    }
    if told.unreadable > 0 {
        let lines = counted(told.unreadable, "line");
        notes.push(format!("{lines} could not be read"));
    }
    for (schema, lines) in &told.foreign {
        let lines = counted(*lines, "line");
        notes.push(format!("{lines} of schema {schema} passed over"));
    }
    for (cause, count) in told.lost.iter().filter(|(_, count)| **count > 0) {
        notes.push(format!("lost when recorded: {cause} {count}"));
    }
    if told.incomplete_runs > 0 {
        notes.push(format!(
            "incomplete by their own word: {}",
            counted(told.incomplete_runs, "recorded run")
        ));
    }
    if told.open_runs > 0 {
        notes.push(format!(
            "without a summary at the end, so that nobody says whether it is complete: {}",
            counted(told.open_runs, "log")
        ));
    }
    if findings.forgotten > 0 {
        notes.push(format!(
            "more flows at once than can be kept apart: up to {} may be counted more than once",
            findings.forgotten
        ));
    }
    if !notes.is_empty() {
        text.push('\n');
    }
    for note in notes {
        let _infallible = writeln!(text, "{}", escaped(&note));
    }
}
