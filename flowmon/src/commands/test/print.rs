//! What became of expectations: for people, and as `JUnit`.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Mark, Told, json, markdown, mutate};
use crate::{
    cli::TestOutput,
    commands::Failure,
    policy::Place,
    rehearsal::Observed,
    report::{Case, Suite, Verdict},
    scenario::{Cell, Expected, Fix},
    sinks::{counted, escaped},
};

/// The last line.
#[derive(Serialize)]
pub(super) struct Summary {
    schema: &'static str,
    scenarios: usize,
    expectations: usize,
    failed: usize,
    /// With real traffic: those of which some was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<usize>,
}

/// All of it, and how many expectations are not met.
pub(super) fn text(
    results: &[Told],
    scenarios: usize,
    is_static: bool,
    output: TestOutput,
) -> Result<(String, usize), Failure> {
    let is_seen = |told: &&Told| matches!(told.observed, Some(Observed::Seen(_)));
    let summary = Summary {
        schema: "flowmon.test.v1",
        scenarios,
        expectations: results.len(),
        failed: results.iter().filter(|told| told.is_failed()).count(),
        seen: (!is_static).then(|| results.iter().filter(is_seen).count()),
    };
    let text = match output {
        TestOutput::Table => table(results, &summary),
        TestOutput::Json => json::text(results, &summary)?,
        TestOutput::Junit => junit(results, is_static).xml(),
        TestOutput::Markdown => markdown::expectations(results),
    };
    Ok((text, summary.failed))
}

/// `shop/web -> shop/cart, 80`
pub(super) fn title(cell: &Cell) -> String {
    let Expected { from, to, port, .. } = &cell.expected;
    let family = cell.family.map(|family| format!(" over {family}"));
    let family = family.unwrap_or_default();
    format!("{} -> {}, {}{family}", from.text, to.text, port.text)
}

fn table(results: &[Told], summary: &Summary) -> String {
    let mut text = String::new();
    for told in results {
        let Told { cell, judged, .. } = told;
        let Place { file, line, .. } = &cell.expected.from.place;
        let title = title(cell);
        let outcome = judged.outcome.label();
        let said = match told.mark() {
            Mark::Met => format!("ok    {title}: {outcome}{}", packets(told)),
            Mark::Untried(why) => {
                format!("SKIP  {title}: {outcome} by the policies alone, without traffic: {why}")
            }
            Mark::Failed(why) => format!("FAIL  {title}: {why}{} ({file}:{line})", packets(told)),
            Mark::Broken(why) => format!("ERROR {title}: {why} ({file}:{line})"),
        };
        text.push_str(&escaped(&said));
        text.push('\n');
        for line in why(told).lines() {
            let _infallible = writeln!(text, "      {}", escaped(line));
        }
    }
    let _infallible = writeln!(
        text,
        "{} in {}, {}: {} not met",
        counted(summary.expectations as u64, "expectation"),
        counted(summary.scenarios as u64, "scenario"),
        match summary.seen {
            None => "judged without traffic".to_owned(),
            Some(seen) if seen == summary.expectations => "each with real traffic".to_owned(),
            Some(seen) => format!("{seen} of them with real traffic"),
        },
        summary.failed
    );
    text
}

fn packets(told: &Told) -> String {
    match &told.observed {
        Some(Observed::Seen(seen)) => {
            let at = match seen.probes {
                1 => String::new(),
                probes => format!(", at {probes} who answer"),
            };
            let sent = counted(seen.sent, "packet");
            format!(" ({sent} there and {} back{at})", seen.received)
        }
        _ => String::new(),
    }
}

/// At length.
pub(super) fn why(told: &Told) -> String {
    let explanation = told.judged.explanation.as_ref();
    let mut text = explanation.map(ToString::to_string).unwrap_or_default();
    let but = "would deny it, and leave all else that is expected as it is";
    match &told.fix {
        None => {}
        Some(Fix::Change(mutant)) => {
            let (title, place) = (mutate::title(mutant), &mutant.place);
            let _infallible = writeln!(text, "\nThis {but}:\n  {title} ({place})");
        }
        Some(Fix::Policy(yaml)) => {
            let _infallible = writeln!(text, "\nThis policy {but}:");
            for line in yaml.lines() {
                let _infallible = writeln!(text, "  {line}");
            }
        }
    }
    text
}

fn junit(results: &[Told], is_static: bool) -> Suite {
    let cases = results.iter().map(|told| {
        let place = &told.cell.expected.from.place;
        Case {
            class: place.file.to_string(),
            name: format!("{} (line {})", title(&told.cell), place.line),
            verdict: match told.mark() {
                Mark::Met => Verdict::Passed,
                Mark::Untried(why) => Verdict::Skipped {
                    message: format!(
                        "{} by the policies alone, without traffic: {why}",
                        told.judged.outcome.label()
                    ),
                },
                Mark::Failed(message) => Verdict::Failed {
                    message: message.to_owned(),
                    detail: why(told),
                },
                Mark::Broken(message) => Verdict::Broken {
                    message: message.to_owned(),
                    detail: why(told),
                },
            },
            output: String::new(),
        }
    });
    Suite {
        name: if is_static {
            "flowmon test --static".to_owned()
        } else {
            "flowmon test".to_owned()
        },
        cases: cases.collect(),
    }
}
