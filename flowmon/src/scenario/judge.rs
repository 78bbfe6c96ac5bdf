//! Expectations against the evaluator.

use super::Expected;
use crate::policy::{
    Connection, Explanation, Outcome, Ruleset, Verdict, Verdicts, model::PolicyId,
};

/// What became of an expectation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The verdict of both sides together.
    pub outcome: Outcome,
    /// What is wrong, in a sentence; nothing when it is met.
    pub failure: Option<String>,
    /// Why it is judged so and what would allow it; of a failure only.
    pub explanation: Option<Explanation>,
}

/// Judges one expectation by the policies alone.
pub fn judge(ruleset: &Ruleset, expected: &Expected, connection: &Connection) -> Judged {
    let verdicts = ruleset.judge(connection);
    let failure = failure(&verdicts, expected);
    Judged {
        outcome: verdicts.outcome(),
        explanation: failure.is_some().then(|| ruleset.explain(connection)),
        failure,
    }
}

/// What is wrong, in a sentence.
pub(super) fn failure(verdicts: &Verdicts, expected: &Expected) -> Option<String> {
    let outcome = verdicts.outcome();
    let decisive = || {
        let sides = [&verdicts.egress, &verdicts.ingress];
        let decided = |verdict: &&Verdict| verdict.outcome == outcome;
        sides.into_iter().flatten().filter(decided)
    };
    if outcome != expected.outcome {
        let (wanted, is) = (expected.outcome.label(), outcome.label());
        return Some(format!("expected {wanted}, it is {is}"));
    }
    let because = expected.because.as_deref()?;
    let is_because = |verdict: &Verdict| {
        let policy = verdict.policy.as_ref().map(PolicyId::to_string);
        verdict.reason.label() == because || policy.as_deref() == Some(because)
    };
    if decisive().any(is_because) {
        return None;
    }
    let others = decisive().map(|verdict| match &verdict.policy {
        Some(policy) => format!("{} ({policy})", verdict.reason.label()),
        None => verdict.reason.label().to_owned(),
    });
    let others: Vec<String> = others.collect();
    let is = outcome.label();
    let others = if others.is_empty() {
        "no policies bind either end".to_owned()
    } else {
        others.join(", ")
    };
    Some(format!(
        "{is} as expected, but not because of {because}: {others}"
    ))
}
