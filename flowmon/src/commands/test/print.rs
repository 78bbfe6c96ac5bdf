//! What became of expectations: for people, as JSON lines, as `JUnit`.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Told, markdown};
use crate::{
    cli::TestOutput,
    commands::{Exit, Failure},
    policy::Explanation,
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
}

/// The last line.
#[derive(Serialize)]
struct Summary {
    schema: &'static str,
    scenarios: usize,
    expectations: usize,
    failed: usize,
}

/// All of it, and how many expectations are not met.
pub(super) fn text(
    results: &[Told],
    scenarios: usize,
    output: TestOutput,
) -> Result<(String, usize), Failure> {
    let summary = Summary {
        schema: "flowmon.test.v1",
        scenarios,
        expectations: results.len(),
        failed: results.iter().filter(|told| told.is_failed()).count(),
    };
    let text = match output {
        TestOutput::Table => table(results, &summary),
        TestOutput::Json => json(results, &summary)?,
        TestOutput::Junit => junit(results).xml(),
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
    for Told { cell, judged } in results {
        let place = &cell.expected.from.place;
        let title = title(cell);
        let line = match &judged.failure {
            None => format!("ok    {title}: {}", judged.outcome.label()),
            Some(failure) => format!("FAIL  {title}: {failure} ({}:{})", place.file, place.line),
        };
        text.push_str(&escaped(&line));
        text.push('\n');
        for line in why(judged).lines() {
            let _infallible = writeln!(text, "      {}", escaped(line));
        }
    }
    let _infallible = writeln!(
        text,
        "{} in {}, judged without traffic: {} not met",
        counted(summary.expectations as u64, "expectation"),
        counted(summary.scenarios as u64, "scenario"),
        summary.failed
    );
    text
}

/// At length.
pub(super) fn why(judged: &Judged) -> String {
    let explanation = judged.explanation.as_ref();
    explanation.map(ToString::to_string).unwrap_or_default()
}

fn json(results: &[Told], summary: &Summary) -> Result<String, Failure> {
    let mut text = String::new();
    for Told { cell, judged } in results {
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
            met: judged.failure.is_none(),
            failure: judged.failure.as_deref(),
            explanation: judged.explanation.as_ref(),
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

fn junit(results: &[Told]) -> Suite {
    let cases = results.iter().map(|Told { cell, judged }| {
        let place = &cell.expected.from.place;
        Case {
            class: place.file.to_string(),
            name: format!("{} (line {})", title(cell), place.line),
            verdict: match &judged.failure {
                None => Verdict::Passed,
                Some(message) => Verdict::Failed {
                    message: message.clone(),
                    detail: why(judged),
                },
            },
            output: String::new(),
        }
    });
    Suite {
        name: "flowmon test --static".to_owned(),
        cases: cases.collect(),
    }
}
