//! Expectations against the evaluator.

use super::Expected;
use crate::policy::{Connection, Explanation, Outcome, Ruleset, Verdict, model::PolicyId};

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
    let outcome = verdicts.outcome();
    let decisive = || {
        let sides = [&verdicts.egress, &verdicts.ingress];
        let decided = |verdict: &&Verdict| verdict.outcome == outcome;
        sides.into_iter().flatten().filter(decided)
    };
    let is_because = |because: &str| {
        decisive().any(|verdict| {
            let policy = verdict.policy.as_ref().map(PolicyId::to_string);
            verdict.reason.label() == because || policy.as_deref() == Some(because)
        })
    };
    let failure = if outcome != expected.outcome {
        let (wanted, is) = (expected.outcome.label(), outcome.label());
        Some(format!("expected {wanted}, it is {is}"))
    } else if let Some(because) = &expected.because
        && !is_because(because)
    {
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
    } else {
        None
    };
    Judged {
        outcome,
        explanation: failure.is_some().then(|| ruleset.explain(connection)),
        failure,
    }
}
