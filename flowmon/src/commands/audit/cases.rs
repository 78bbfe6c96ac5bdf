//! The findings as test cases: one for each policy and direction, one for what is undecided for each
//! reason, and one for the log itself.

use std::{collections::BTreeMap, fmt::Write as _};

use super::Report;
use crate::{
    audit::{Counts, Group},
    model::Direction,
    policy::{Policy, model::PolicyId},
    report::{Case, Suite, Verdict},
    settings::FailOn,
    sinks::counted,
};

/// Groups that are named in a failure.
const NAMED: usize = 20;

pub(super) fn suite(report: &Report<'_>, fail_on: FailOn) -> Suite {
    let mut cases = policies(report, fail_on);
    cases.extend(undecided(report, fail_on));
    cases.push(log(report, fail_on));
    Suite {
        name: "flowmon audit".to_owned(),
        cases,
    }
}

/// By policy and direction, those that found nothing too.
fn policies(report: &Report<'_>, fail_on: FailOn) -> Vec<Case> {
    let mut violations: BTreeMap<(Option<PolicyId>, Direction), Vec<&Group>> = BTreeMap::new();
    let policies = report.policies.policies.iter();
    for (policy, direction) in policies.flat_map(|policy| directions(policy)) {
        violations.insert((Some(policy.id.clone()), direction), Vec::new());
    }
    // A flow that may be either is a case of its own.
    for group in report.findings.violations() {
        let judged = &group.judged;
        let of = (judged.policy.clone(), judged.direction);
        violations.entry(of).or_default().push(group);
    }
    let case = |((policy, direction), groups): ((Option<PolicyId>, Direction), Vec<&Group>)| {
        let counts = policy.clone().and_then(|policy| {
            let counts = report.findings.policies.get(&(policy, direction));
            counts.copied()
        });
        let kind = policy
            .as_ref()
            .map_or("policy", |policy| policy.kind.label());
        let policy = policy
            .as_ref()
            .map_or("none".to_owned(), PolicyId::to_string);
        Case {
            class: format!("flowmon.{kind}"),
            name: format!("{policy} {}", label(direction)),
            verdict: verdict(report, &groups, fail_on),
            output: output(counts.unwrap_or_default()),
        }
    };
    violations.into_iter().map(case).collect()
}

fn directions(policy: &Policy) -> impl Iterator<Item = (&Policy, Direction)> {
    let ingress = policy.ingress.as_ref().map(|_| Direction::Ingress);
    let egress = policy.egress.as_ref().map(|_| Direction::Egress);
    let both = [egress, ingress].into_iter().flatten();
    both.map(move |direction| (policy, direction))
}

const fn label(direction: Direction) -> &'static str {
    match direction {
        Direction::Egress => "egress",
        Direction::Ingress => "ingress",
        Direction::Unknown => "unknown direction",
    }
}

fn output(counts: Counts) -> String {
    let Counts {
        allowed,
        denied,
        undecided,
    } = counts;
    format!("flows: {allowed} allowed, {denied} denied, {undecided} undecided")
}

fn verdict(report: &Report<'_>, groups: &[&Group], fail_on: FailOn) -> Verdict {
    if groups.is_empty() {
        return Verdict::Passed;
    }
    let flows: u64 = groups.iter().map(|group| group.flows).sum();
    let message = match &report.findings.changes {
        None => format!("{} denied", counted(flows, "flow")),
        Some(_) => format!("{} newly denied", counted(flows, "flow")),
    };
    if fail_on == FailOn::Never {
        return Verdict::Skipped { message };
    }
    let mut detail = String::new();
    for group in groups.iter().take(NAMED) {
        let (flow, why) = (report.flow(&group.example), report.why(group));
        let flows = counted(group.flows, "flow");
        let _infallible = writeln!(detail, "{flows}, as {flow}\n{why}");
    }
    if groups.len() > NAMED {
        let more = counted((groups.len() - NAMED) as u64, "more group");
        let _infallible = writeln!(detail, "and {more}");
    }
    Verdict::Failed { message, detail }
}

/// What can't be said is passed over, unless the caller asked to know.
fn unknown(message: String, fail_on: FailOn) -> Verdict {
    match fail_on {
        FailOn::Undecided => Verdict::Broken {
            message,
            detail: "it could hide a violation".to_owned(),
        },
        FailOn::Denied | FailOn::Never => Verdict::Skipped { message },
    }
}

fn undecided<'a>(report: &'a Report<'_>, fail_on: FailOn) -> impl Iterator<Item = Case> + use<'a> {
    let reasons = report.findings.undecided_by_reason().into_iter();
    reasons.map(move |(reason, flows, example)| {
        let example = report.flow(example);
        let message = format!("{} undecided, as {example}", counted(flows, "flow"));
        Case {
            class: "flowmon.undecided".to_owned(),
            name: reason.label().to_owned(),
            verdict: unknown(message, fail_on),
            output: String::new(),
        }
    })
}

fn log(report: &Report<'_>, fail_on: FailOn) -> Case {
    let told = &report.told;
    let verdict = match told.is_complete() {
        Some(true) => Verdict::Passed,
        Some(false) => {
            let message = format!(
                "the log is incomplete: {} lines unreadable, {} of other schemas, {} lost, {} runs \
                 incomplete",
                told.unreadable,
                told.foreign.values().sum::<u64>(),
                told.lost.values().sum::<u64>(),
                told.incomplete_runs
            );
            unknown(message, fail_on)
        }
        None => Verdict::Skipped {
            message: "the log ends without a summary: nobody says whether it is complete"
                .to_owned(),
        },
    };
    Case {
        class: "flowmon.log".to_owned(),
        name: "complete".to_owned(),
        verdict,
        output: counted(told.records, "record"),
    }
}
