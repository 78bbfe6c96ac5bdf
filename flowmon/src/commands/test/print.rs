//! What became of expectations: for people, as JSON lines, as `JUnit`.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Mark, Told, markdown};
use crate::{
    cli::TestOutput,
    commands::{Exit, Failure},
    policy::{Explanation, Place},
    rehearsal::Observed,
    report::{Case, Suite, Verdict},
    scenario::{Cell, Expected, Judged},
    sinks::{counted, escaped},
};

/// An expectation and what became of it, as JSON.
#[derive(Serialize)]
struct AsJson<'a> {
    schema: &'static str,
    file: &'a str,
    line: u32,
    from: &'a str,
    to: &'a str,
    port: &'a str,
    /// Where both ends have addresses of both.
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<&'static str>,
    expected: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<&'a str>,
    outcome: &'static str,
    met: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<&'a Explanation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic: Option<Traffic<'a>>,
}

/// What came of real traffic.
#[derive(Serialize)]
#[serde(rename_all = "lowercase", tag = "result")]
enum Traffic<'a> {
    Seen {
        probes: usize,
        packets_sent: u64,
        packets_received: u64,
        outcome: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        disagreement: Option<&'a str>,
    },
    Untried {
        why: &'a str,
    },
    Missed {
        why: &'a str,
    },
}

impl<'a> From<&'a Observed> for Traffic<'a> {
    fn from(observed: &'a Observed) -> Self {
        match observed {
            Observed::Seen(seen) => Self::Seen {
                probes: seen.probes,
                packets_sent: seen.sent,
                packets_received: seen.received,
                outcome: seen.outcome.label(),
                disagreement: seen.disagreement.as_deref(),
            },
            Observed::Unseen(why) => Self::Untried { why },
            Observed::Missed(why) => Self::Missed { why },
        }
    }
}

/// The last line.
#[derive(Serialize)]
struct Summary {
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
        TestOutput::Json => json(results, &summary)?,
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
        for line in why(judged).lines() {
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
        Some(Observed::Seen(seen)) => format!(
            " ({} there and {} back)",
            counted(seen.sent, "packet"),
            seen.received
        ),
        _ => String::new(),
    }
}

/// At length.
pub(super) fn why(judged: &Judged) -> String {
    let explanation = judged.explanation.as_ref();
    explanation.map(ToString::to_string).unwrap_or_default()
}

fn json(results: &[Told], summary: &Summary) -> Result<String, Failure> {
    let mut text = String::new();
    for told in results {
        let Told { cell, judged, .. } = told;
        let expected = &cell.expected;
        let line = AsJson {
            schema: "flowmon.expectation.v1",
            file: &expected.from.place.file,
            line: expected.from.place.line,
            from: &expected.from.text,
            to: &expected.to.text,
            port: &expected.port.text,
            family: cell.family,
            expected: expected.outcome.label(),
            because: expected.because.as_deref(),
            outcome: judged.outcome.label(),
            met: matches!(told.mark(), Mark::Met | Mark::Untried(_)),
            failure: judged.failure.as_deref(),
            explanation: judged.explanation.as_ref(),
            traffic: told.observed.as_ref().map(Traffic::from),
        };
        push(&mut text, &line)?;
    }
    push(&mut text, summary)?;
    Ok(text)
}

/// Adds a line of JSON.
pub(super) fn push(text: &mut String, line: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string(line);
    *text += &json.map_err(|error| Failure::new(Exit::Usage, error))?;
    text.push('\n');
    Ok(())
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
                    detail: why(&told.judged),
                },
                Mark::Broken(message) => Verdict::Broken {
                    message: message.to_owned(),
                    detail: why(&told.judged),
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
