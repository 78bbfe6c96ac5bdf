//! A verdict in a sentence.

use crate::model::{Direction, Outcome, Verdict};

/// What it comes to, who says so, and why.
pub(super) fn sentence(verdict: &Verdict) -> String {
    format!("{}: {}", word(verdict), why(verdict))
}

/// What it comes to, and who says so.
pub(super) fn word(verdict: &Verdict) -> String {
    let mut text = match verdict.direction {
        Direction::Egress => "egress ",
        Direction::Ingress => "ingress ",
        Direction::Unknown => "",
    }
    .to_owned();
    text.push_str(verdict.outcome.label());
    if let Some(policy) = &verdict.policy {
        text.push_str(" by ");
        text.push_str(policy);
        if let Some(rule) = &verdict.rule {
            text.push(' ');
            text.push_str(rule);
        }
    }
    text
}

/// In short; `flowmon explain` says it at length.
pub(super) fn why(verdict: &Verdict) -> &'static str {
    match verdict.reason {
        "rule-matched" => match verdict.outcome {
            Outcome::Allowed => "a rule accepts it",
            Outcome::Denied => "a rule denies it",
            Outcome::Undecided => "a rule may match",
        },
        "no-rule-matched" => "isolated, and no rule matches",
        "not-isolated" => "no policy forbids it",
        "no-policies" => "there are no policies",
        "itself" => "a pod always reaches itself",
        "undefined-protocol" => "policies do not define it for this protocol",
        "service-address" => "who answers for the service is not known",
        "backends-differ" => "those who answer for the service differ",
        "unknown-pod" => "the inventory does not have the pod",
        "unknown-namespace" => "the inventory does not have the namespace",
        "unknown-direction" => "who opened it is not known",
        // docs/verdicts.md has them all.
        reason => reason,
    }
}
