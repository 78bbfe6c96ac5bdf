//! One side's verdict: the admin tier, network policies, the baseline tier, in this order.

use std::sync::Arc;

use super::{
    Settings, ToOwnNode,
    class::{Binding, Bound},
    compiled::Compiled,
    matching::Match,
    who::{Direction, Flow},
};
use crate::policy::{Outcome, Reason, Verdict, model::Action};

/// What the subject's policies say of a flow.
pub(super) fn judge(flow: &Flow<'_>, settings: Settings) -> Verdict {
    if flow.is_to_itself() && flow.service.is_none() {
        return plain(Outcome::Allowed, Reason::Itself);
    }
    let other_is_own_node = flow.subject.runs_on(flow.other, flow.address);
    if flow.direction == Direction::Ingress && other_is_own_node == Match::Yes {
        return plain(Outcome::Allowed, Reason::OwnNode);
    }
    let bound = flow.subject.class.bound(flow.direction);
    let not_isolated = || plain(Outcome::Allowed, Reason::NotIsolated);
    let baseline = || ordered(&bound.baseline, flow, not_isolated);
    let network = || match bound.network.first() {
        Some(first) => isolated(bound, first, flow, other_is_own_node, settings),
        None => baseline(),
    };
    let verdict = ordered(&bound.admin, flow, network);
    match other_is_own_node {
        Match::Maybe(reason)
            if flow.direction == Direction::Ingress && verdict.outcome == Outcome::Denied =>
        {
            undecided(reason, verdict)
        }
        _ => verdict,
    }
}

/// What network policies say of a pod that they isolate: what one of them allows, nothing else.
fn isolated(
    bound: &Bound,
    first: &Arc<Compiled>,
    flow: &Flow<'_>,
    other_is_own_node: Match,
    settings: Settings,
) -> Verdict {
    let to_own_node = match flow.direction {
        Direction::Egress if settings.to_own_node != ToOwnNode::Judged => other_is_own_node,
        Direction::Egress | Direction::Ingress => Match::No,
    };
    if to_own_node == Match::Yes && settings.to_own_node == ToOwnNode::Allowed {
        return plain(Outcome::Allowed, Reason::OwnNode);
    }
    if flow.is_to_itself() {
        return plain(Outcome::Allowed, Reason::Itself);
    }
    let verdict = union(&bound.network, first, flow);
    match to_own_node {
        Match::Yes if verdict.outcome != Outcome::Allowed => undecided(Reason::OwnNode, verdict),
        Match::Maybe(reason) if verdict.outcome == Outcome::Denied => undecided(reason, verdict),
        _ => verdict,
    }
}

fn union(policies: &[Arc<Compiled>], first: &Arc<Compiled>, flow: &Flow<'_>) -> Verdict {
    let by_first = |outcome, reason| Verdict {
        outcome,
        reason,
        policy: Some(first.policy.id.clone()),
        rule: None,
    };
    if !flow.has_policy_protocol() {
        return by_first(Outcome::Undecided, Reason::UndefinedProtocol);
    }
    let mut open = None;
    for compiled in policies {
        for rule in compiled.rules(flow.direction) {
            let (matched, name) = rule.matches(flow);
            match matched {
                Match::Yes => {
                    return by_rule(Outcome::Allowed, Reason::RuleMatched, compiled, name);
                }
                Match::Maybe(reason) if open.is_none() => {
                    open = Some(by_rule(Outcome::Undecided, reason, compiled, name));
                }
                Match::Maybe(_) | Match::No => {}
            }
        }
    }
    open.unwrap_or_else(|| by_first(Outcome::Denied, Reason::NoRuleMatched))
}

/// What a tier of ordered policies says, before what comes `after` it: the first rule that matches
/// decides. Where it can't be said whether a rule matches, or which of several policies of the same
/// priority comes first, it is decided all the same if it ends alike either way.
fn ordered(policies: &[Binding], flow: &Flow<'_>, after: impl Fn() -> Verdict) -> Verdict {
    let mut ways = Ways::default();
    for same_priority in policies.chunk_by(|one, next| one.tier() == next.tier()) {
        let mut end = None;
        for binding in same_priority {
            if let Some(verdict) = first_match(binding, flow, &after, &mut ways) {
                end.get_or_insert(verdict);
            }
        }
        if let Some(end) = end {
            return ways.verdict(end);
        }
    }
    let end = after();
    ways.may_end(end.outcome);
    ways.verdict(end)
}

/// How it ends by the first rule that certainly matches, if one does.
fn first_match(
    binding: &Binding,
    flow: &Flow<'_>,
    after: impl Fn() -> Verdict,
    ways: &mut Ways,
) -> Option<Verdict> {
    for rule in binding.policy.rules(flow.direction) {
        let (matched, name) = rule.matches(flow);
        let matched = matched.and(binding.selected);
        if matched == Match::No {
            continue;
        }
        let by_rule = |outcome, reason| by_rule(outcome, reason, &binding.policy, name);
        let end = match rule.action {
            Action::Accept => by_rule(Outcome::Allowed, Reason::RuleMatched),
            Action::Deny => by_rule(Outcome::Denied, Reason::RuleMatched),
            Action::Pass => after(),
        };
        ways.may_end(end.outcome);
        match matched {
            Match::Maybe(reason) => {
                let why = || by_rule(Outcome::Undecided, reason);
                ways.why.get_or_insert_with(why);
            }
            _ => return Some(end),
        }
    }
    None
}

/// The ways in which it may have ended.
#[derive(Debug, Default)]
struct Ways {
    outcome: Option<Outcome>,
    differ: bool,
    /// What it is undecided by, when they differ.
    why: Option<Verdict>,
}

impl Ways {
    fn may_end(&mut self, outcome: Outcome) {
        self.differ |= *self.outcome.get_or_insert(outcome) != outcome;
    }

    /// `end` is how it ends if nothing ended it before.
    fn verdict(self, end: Verdict) -> Verdict {
        match self.why {
            _ if !self.differ => end,
            Some(why) => why,
            None => undecided(Reason::EqualPriorities, end),
        }
    }
}

fn by_rule(outcome: Outcome, reason: Reason, compiled: &Arc<Compiled>, name: &Arc<str>) -> Verdict {
    Verdict {
        outcome,
        reason,
        policy: Some(compiled.policy.id.clone()),
        rule: Some(Arc::clone(name)),
    }
}

/// A verdict that no policy gave.
pub(super) const fn plain(outcome: Outcome, reason: Reason) -> Verdict {
    Verdict {
        outcome,
        reason,
        policy: None,
        rule: None,
    }
}

/// It would be `verdict`, but for `reason`.
fn undecided(reason: Reason, verdict: Verdict) -> Verdict {
    Verdict {
        outcome: Outcome::Undecided,
        reason,
        ..verdict
    }
}
