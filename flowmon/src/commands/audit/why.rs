//! Why flows got their verdict, in a few lines.

use crate::{
    audit::Group,
    model::Direction,
    policy::{
        Ruleset,
        explain::{Asked, Clause, Matches, Side, Suggestion, Tried},
    },
};

/// Policies that are told, and rules of each.
const POLICIES: usize = 8;
const RULES: usize = 4;

/// What the endpoint's policies make of one of the flows: a line for the verdict, and one for each
/// policy that was asked if the flow was not allowed.
pub(super) fn why(ruleset: &Ruleset, group: &Group) -> String {
    let Some(side) = side(ruleset, group) else {
        return group.judged.reason.label().to_owned();
    };
    let verdict = &side.verdict;
    let mut lines = vec![match (&verdict.policy, &verdict.rule) {
        (Some(policy), Some(rule)) => format!("{policy} {rule}: {}", verdict.why),
        _ => verdict.why.to_owned(),
    }];
    // What has no name has others in it, which fail for other causes.
    if group.talk.is_some() {
        lines.extend(side.policies.iter().take(POLICIES).map(asked));
        if side.policies.len() > POLICIES {
            lines.push(format!("and {} more", side.policies.len() - POLICIES));
        }
    }
    lines.join("\n")
}

/// What would allow the flows of a group, when they are denied.
pub(super) fn suggestions(ruleset: &Ruleset, group: &Group) -> Vec<Suggestion> {
    let side = group.talk.as_ref().and_then(|_| side(ruleset, group));
    side.map_or_else(Vec::new, |side| side.suggestions)
}

/// The endpoint's own side, of the first who answers.
fn side(ruleset: &Ruleset, group: &Group) -> Option<Side> {
    let connection = group.example.connection(group.judged.direction)?;
    let target = ruleset.explain(&connection).targets.into_iter().next()?;
    match group.judged.direction {
        Direction::Egress | Direction::Unknown => target.egress,
        Direction::Ingress => target.ingress,
    }
}

fn asked(asked: &Asked) -> String {
    let Asked { policy, rules, .. } = asked;
    if rules.is_empty() {
        return format!("{policy} has no rule");
    }
    let rules: Vec<String> = rules.iter().take(RULES).map(tried).collect();
    format!("{policy} {}", rules.join("; "))
}

fn tried(tried: &Tried) -> String {
    let Tried { rule, clauses, .. } = tried;
    let clauses: Vec<String> = clauses.iter().map(clause).collect();
    match tried.matches {
        Matches::Yes => format!("{rule} matches: {}", tried.action),
        Matches::No | Matches::Maybe => format!("{rule}: {}", clauses.join(", ")),
    }
}

fn clause(clause: &Clause) -> String {
    let Clause {
        clause,
        wants,
        got,
        reason,
        ..
    } = clause;
    let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
    format!("{clause} wants {wants}, got {got}{reason}")
}
