//! Every policy that is about a pod, tried rule by rule.

use std::sync::Arc;

use super::{Asked, Clause, Matches, Party, Said, Side, Tried, describe, suggest};
use crate::policy::{
    Connection, Ruleset,
    model::{self, Action},
    ruleset::{
        compiled::Compiled,
        ends::Target,
        matching::Match,
        rule::Rule,
        who::{Direction, Flow, Who},
    },
};

/// What both sides make of one who answers.
pub(super) fn target(
    ruleset: &Ruleset,
    connection: &Connection,
    target: Target<'_>,
) -> super::Target {
    let initiator = ruleset.end(&connection.initiator);
    let verdicts = ruleset.judge_target(connection, initiator, target);
    let side = |verdict: Option<_>, who, direction| {
        let verdict = verdict?;
        let Who::Pod(subject) = who else {
            // It may be a pod, and nobody knows which.
            return Some(Side {
                verdict: Said::new(&verdict),
                policies: Vec::new(),
                suggestions: Vec::new(),
            });
        };
        let flow = target.flow(connection, initiator, subject, direction);
        let bound = flow.subject.class.bound(direction);
        let admin = bound
            .admin
            .iter()
            .map(|binding| (&binding.policy, binding.selected));
        let network = bound.network.iter().map(|policy| (policy, Match::Yes));
        let is_asked = bound.network.is_empty();
        let baseline = bound.baseline.iter().filter(|_| is_asked);
        let baseline = baseline.map(|binding| (&binding.policy, binding.selected));
        let all = admin.chain(network).chain(baseline);
        Some(Side {
            policies: all
                .map(|(policy, selected)| asked(policy, selected, &flow))
                .collect(),
            suggestions: suggest::suggestions(ruleset, &flow, &verdict),
            verdict: Said::new(&verdict),
        })
    };
    super::Target {
        to: describe::party(target.who, target.address),
        port: describe::port(connection.protocol, target.port),
        egress: side(verdicts.egress, initiator, Direction::Egress),
        ingress: side(verdicts.ingress, target.who, Direction::Ingress),
    }
}

fn asked(compiled: &Arc<Compiled>, selected: Match, flow: &Flow<'_>) -> Asked {
    let policy = &compiled.policy;
    let declared = match flow.direction {
        Direction::Egress => &policy.egress,
        Direction::Ingress => &policy.ingress,
    };
    let rules = compiled.rules(flow.direction).iter();
    let rules = rules.zip(declared.iter().flatten());
    Asked {
        kind: policy.id.kind.label(),
        policy: policy.id.to_string(),
        place: policy.place.to_string(),
        rules: rules
            .map(|(rule, declared)| tried(rule, declared, selected, flow))
            .collect(),
    }
}

fn tried(rule: &Rule, declared: &model::Rule, selected: Match, flow: &Flow<'_>) -> Tried {
    let (matched, name) = rule.matches(flow);
    let (peers, ports) = rule.clauses(flow);
    let from = match flow.direction {
        Direction::Egress => "to",
        Direction::Ingress => "from",
    };
    let other: Party = describe::party(flow.other, flow.address);
    let wants = [
        (from, peers, describe::peers(&declared.peers), other.words()),
        (
            "ports",
            ports,
            describe::ports(&declared.ports),
            describe::port(flow.protocol, flow.port),
        ),
    ];
    let clause = |(clause, matched, wants, got)| {
        let reason = match matched {
            Match::Yes => return None,
            Match::No => None,
            Match::Maybe(reason) => Some(reason.label()),
        };
        Some(Clause {
            clause,
            matches: matches(matched),
            reason,
            wants,
            got,
        })
    };
    Tried {
        rule: name.to_string(),
        action: match rule.action {
            Action::Accept => "Accept",
            Action::Deny => "Deny",
            Action::Pass => "Pass",
        },
        matches: matches(matched.and(selected)),
        clauses: wants.into_iter().filter_map(clause).collect(),
    }
}

const fn matches(matched: Match) -> Matches {
    match matched {
        Match::Yes => Matches::Yes,
        Match::No => Matches::No,
        Match::Maybe(_) => Matches::Maybe,
    }
}
