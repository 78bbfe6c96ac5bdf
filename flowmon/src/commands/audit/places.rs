//! The findings at the lines of the policies that made them.

use super::Report;
use crate::{
    audit::{Change, Group},
    policy::{Outcome, Place, Policy, model::Rule as PolicyRule},
    report::{self, Finding, Level, Rule},
    sinks::counted,
};

const DENIED: &str = "flow-denied";
const UNDECIDED: &str = "flow-undecided";

pub(super) fn findings(report: &Report<'_>) -> report::Findings {
    let changes = report.findings.changes.iter().flatten();
    let allowed = changes
        .filter(|(change, _)| **change == Change::NewlyAllowed)
        .flat_map(|(_, groups)| groups);
    let violations = report.findings.violations().iter();
    let undecided = report.findings.undecided.iter();
    let groups = violations.chain(undecided).chain(allowed);
    let rule = |id: &'static str, description: &'static str| Rule {
        id: id.into(),
        description: description.into(),
    };
    report::Findings {
        rules: vec![
            rule(
                DENIED,
                "A recorded flow is denied by the endpoint's policies.",
            ),
            rule(
                UNDECIDED,
                "Whether a recorded flow is allowed can't be said.",
            ),
            rule(
                Change::NewlyAllowed.label(),
                "A flow that was denied when it was recorded is allowed.",
            ),
        ],
        findings: groups.map(|group| finding(report, group)).collect(),
    }
}

fn finding(report: &Report<'_>, group: &Group) -> Finding {
    let flow = report.flow(&group.example);
    let (rule, level, what) = match group.judged.outcome {
        Outcome::Denied => (DENIED, Level::Error, "denied"),
        Outcome::Undecided => (UNDECIDED, Level::Warning, "undecided"),
        Outcome::Allowed => (Change::NewlyAllowed.label(), Level::Note, "allowed"),
    };
    let others = if group.talk.is_some() {
        ""
    } else {
        " and others"
    };
    let message = format!(
        "{flow}{others}: {} with {} {what}. {}",
        counted(group.flows, "flow"),
        counted(group.bytes(), "byte"),
        report.why(group)
    );
    let policy = group.judged.policy.as_ref();
    Finding {
        rule: rule.into(),
        level,
        message,
        place: place(report, group),
        identity: format!(
            "{} {flow}{others} {}",
            policy.map_or_else(String::new, ToString::to_string),
            group.judged.reason.label()
        ),
        occurrences: Some(group.flows),
    }
}

/// Where the rule that decided stands, or the policy.
fn place(report: &Report<'_>, group: &Group) -> Option<report::Place> {
    let id = group.judged.policy.as_ref()?;
    let policies = &report.policies.policies;
    let policy = policies.iter().find(|policy| policy.id == *id)?;
    let rule = group.judged.rule.as_deref();
    let rule = rule.and_then(|rule| rule_place(policy, rule));
    let place = rule.unwrap_or(&policy.place);
    Some(report::Place {
        file: place.file.to_string(),
        line: place.line,
        column: place.column,
    })
}

/// Of `egress[0].to[1]`, the place of `egress[0]`.
fn rule_place<'a>(policy: &'a Policy, path: &str) -> Option<&'a Place> {
    let (rules, rest) = if let Some(rest) = path.strip_prefix("egress[") {
        (policy.egress.as_deref(), rest)
    } else {
        (policy.ingress.as_deref(), path.strip_prefix("ingress[")?)
    };
    let number: usize = rest.split(']').next()?.parse().ok()?;
    let rule: &PolicyRule = rules?.get(number)?;
    Some(&rule.place)
}
