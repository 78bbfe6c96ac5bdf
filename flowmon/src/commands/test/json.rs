//! What became of expectations, as JSON lines.

use serde::Serialize;

use super::{Mark, Told, print::Summary};
use crate::{
    commands::{Exit, Failure},
    policy::Explanation,
    rehearsal::Observed,
    scenario::Fix,
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
    fix: Option<FixAsJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic: Option<Traffic<'a>>,
}

/// What would deny what should be denied.
#[derive(Serialize)]
#[serde(untagged)]
enum FixAsJson<'a> {
    Change {
        file: &'a str,
        line: u32,
        kind: &'static str,
        policy: String,
        part: &'a str,
        change: &'a str,
    },
    Policy {
        yaml: &'a str,
    },
}

impl<'a> From<&'a Fix> for FixAsJson<'a> {
    fn from(fix: &'a Fix) -> Self {
        match fix {
            Fix::Change(mutant) => Self::Change {
                file: &mutant.place.file,
                line: mutant.place.line,
                kind: mutant.policy.kind.label(),
                policy: mutant.policy.to_string(),
                part: &mutant.part,
                change: &mutant.change,
            },
            Fix::Policy(yaml) => Self::Policy { yaml },
        }
    }
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

/// All expectations, then the summary.
pub(super) fn text(results: &[Told], summary: &Summary) -> Result<String, Failure> {
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
            fix: told.fix.as_ref().map(FixAsJson::from),
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
