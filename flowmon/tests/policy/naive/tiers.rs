//! The order of judgement.

use std::sync::Arc;

use flowmon::policy::{
    Outcome, Policy, Reason, Verdict,
    inventory::{Pod, PodId},
    model::{Action, Rule, Tier},
    ruleset::ToOwnNode,
};

use super::{
    Answer, Naive, Question, Who, by_rule, has, no_policy,
    rules::{and, effect},
};

impl<'a> Naive<'a> {
    /// "Admin -> NetworkPolicy tier (FINAL if pod isolated) -> Baseline -> allow."
    pub(super) fn tiers(&self, question: &Question<'a>) -> Verdict {
        // "Own pod IP not subject to CNP; own Service IP back to self IS subject."
        let is_itself = is_pod(question.other, question.subject.0);
        if is_itself && question.target.by_service.is_none() {
            return no_policy(Outcome::Allowed, Reason::Itself);
        }
        let own_node = self.is_own_node(question);
        // "Own node -> pod: always allowed."
        if !question.is_egress && own_node == Ok(true) {
            return no_policy(Outcome::Allowed, Reason::OwnNode);
        }
        let baseline = || {
            let tier = |tier: Tier| matches!(tier, Tier::Baseline { .. });
            self.ordered(question, tier, &|| {
                no_policy(Outcome::Allowed, Reason::NotIsolated)
            })
        };
        let network = || {
            self.network_policies(question, is_itself, own_node)
                .unwrap_or_else(baseline)
        };
        let tier = |tier: Tier| matches!(tier, Tier::Admin { .. });
        let verdict = self.ordered(question, tier, &network);
        match own_node {
            Err(reason) if !question.is_egress && verdict.outcome == Outcome::Denied => Verdict {
                outcome: Outcome::Undecided,
                reason,
                ..verdict
            },
            _ => verdict,
        }
    }

    fn is_own_node(&self, question: &Question<'a>) -> Answer {
        let (_, pod) = question.subject;
        match question.other {
            Who::Unclear(reason) => Err(reason),
            Who::Node(name) => {
                let by_name = name.is_some() && pod.node.as_deref() == name;
                if by_name || has(&pod.host_addresses, question.address) {
                    Ok(true)
                } else if pod.node.is_none() && pod.host_addresses.is_empty() {
                    Err(Reason::UnknownNode)
                } else {
                    Ok(false)
                }
            }
            Who::Pod(..) | Who::Outside => Ok(false),
        }
    }

    /// `None`: "Not isolated -> this tier has no opinion."
    fn network_policies(
        &self,
        question: &Question<'a>,
        is_itself: bool,
        own_node: Answer,
    ) -> Option<Verdict> {
        let mut isolating = (self.policies.policies.iter())
            .filter(|policy| policy.tier == Tier::NetworkPolicy)
            .filter(|policy| rules(policy, question).is_some())
            .filter(|policy| self.is_subject(policy, question.subject) == Ok(true))
            .peekable();
        let first = Arc::clone(isolating.peek()?);
        let setting = self.settings.to_own_node;
        let own_node = match setting {
            ToOwnNode::Judged => Ok(false),
            _ if !question.is_egress => Ok(false),
            _ => own_node,
        };
        if own_node == Ok(true) && setting == ToOwnNode::Allowed {
            return Some(no_policy(Outcome::Allowed, Reason::OwnNode));
        }
        // "Pod to itself: always allowed."
        if is_itself {
            return Some(no_policy(Outcome::Allowed, Reason::Itself));
        }
        let by_first = |outcome, reason| Verdict {
            policy: Some(first.id.clone()),
            ..no_policy(outcome, reason)
        };
        let verdict = if [6, 17, 132].contains(&question.protocol) {
            let answers: Vec<_> = isolating
                .flat_map(|policy| {
                    rules(policy, question)
                        .unwrap()
                        .iter()
                        .map(move |rule| (policy, rule))
                })
                .map(|(policy, rule)| (policy, self.rule(rule, question)))
                .collect();
            let yes = answers.iter().find(|(_, (answer, _))| *answer == Ok(true));
            let unknown = answers.iter().find(|(_, (answer, _))| answer.is_err());
            match yes.or(unknown) {
                Some((policy, (Ok(_), name))) => {
                    by_rule(Outcome::Allowed, Reason::RuleMatched, policy, name)
                }
                Some((policy, (Err(reason), name))) => {
                    by_rule(Outcome::Undecided, *reason, policy, name)
                }
                None => by_first(Outcome::Denied, Reason::NoRuleMatched),
            }
        } else {
            by_first(Outcome::Undecided, Reason::UndefinedProtocol)
        };
        let reason = match own_node {
            Ok(true) if verdict.outcome != Outcome::Allowed => Reason::OwnNode,
            Err(reason) if verdict.outcome == Outcome::Denied => reason,
            _ => return Some(verdict),
        };
        Some(Verdict {
            outcome: Outcome::Undecided,
            reason,
            ..verdict
        })
    }

    /// "Ascending priority, rules top-down, first match wins." What can't be said is tried both ways,
    /// and so is the order of policies that have the same priority.
    fn ordered(
        &self,
        question: &Question<'a>,
        tier: impl Fn(Tier) -> bool,
        after: &dyn Fn() -> Verdict,
    ) -> Verdict {
        let mut policies: Vec<_> = (self.policies.policies.iter())
            .filter(|policy| tier(policy.tier))
            .collect();
        policies.sort_by_key(|policy| policy.tier);
        let mut unknown = 0;
        let mut hits_of = |policy: &Arc<Policy>| -> Vec<Hit> {
            let is_subject = self.is_subject(policy, question.subject);
            let rules = rules(policy, question).unwrap_or_default().iter();
            let hits = rules.filter_map(|rule| {
                let (answer, name) = self.rule(rule, question);
                let answer = and(answer, is_subject);
                let by_rule = |outcome, reason| by_rule(outcome, reason, policy, &name);
                Some(Hit {
                    end: match effect(rule) {
                        Action::Accept => by_rule(Outcome::Allowed, Reason::RuleMatched),
                        Action::Deny => by_rule(Outcome::Denied, Reason::RuleMatched),
                        Action::Pass => after(),
                    },
                    unknown: match answer {
                        Ok(false) => return None,
                        Ok(true) => None,
                        Err(reason) => {
                            unknown += 1;
                            Some((1 << (unknown - 1), by_rule(Outcome::Undecided, reason)))
                        }
                    },
                })
            });
            hits.collect()
        };
        let same_priority = |one: &&Arc<Policy>, other: &&Arc<Policy>| one.tier == other.tier;
        let priorities: Vec<Vec<Vec<Hit>>> = policies
            .chunk_by(same_priority)
            .map(|policies| policies.iter().map(|policy| hits_of(policy)).collect())
            .collect();
        // Every way to answer what is unknown: as bits of a number.
        let ends = |world: u32| -> Vec<Verdict> {
            let first = |hits: &Vec<Hit>| {
                let holds = |hit: &&Hit| hit.bit().is_none_or(|bit| world & bit != 0);
                hits.iter().find(holds).map(|hit| hit.end.clone())
            };
            let ends = priorities
                .iter()
                .map(|policies| policies.iter().filter_map(first).collect());
            let ends = ends.into_iter().find(|ends: &Vec<_>| !ends.is_empty());
            ends.unwrap_or_else(|| vec![after()])
        };
        let end = ends(0).swap_remove(0);
        assert!(unknown <= 16, "too many worlds");
        if (0..1 << unknown)
            .flat_map(ends)
            .all(|other| other.outcome == end.outcome)
        {
            return end;
        }
        for policies in &priorities {
            let mut is_end = false;
            for hit in policies.iter().flat_map(|hits| {
                let certain = hits.iter().position(|hit| hit.unknown.is_none());
                &hits[..certain.map_or(hits.len(), |certain| certain + 1)]
            }) {
                if let Some((_, why)) = &hit.unknown {
                    return why.clone();
                }
                is_end = true;
            }
            if is_end {
                break;
            }
        }
        Verdict {
            outcome: Outcome::Undecided,
            reason: Reason::EqualPriorities,
            ..end
        }
    }

    /// "Pods matching." Network policies: of metadata.namespace.
    fn is_subject(&self, policy: &Policy, (id, pod): (&PodId, &Pod)) -> Answer {
        let subject = &policy.subject;
        self.selects(&subject.namespaces, &subject.pods, id, pod)
    }
}

/// A rule that matches or may match.
struct Hit {
    /// What it comes to if it matches.
    end: Verdict,
    /// What it comes to that it may, and the bit that says so.
    unknown: Option<(u32, Verdict)>,
}

impl Hit {
    fn bit(&self) -> Option<u32> {
        self.unknown.as_ref().map(|(bit, _)| *bit)
    }
}

fn is_pod(who: Who<'_>, id: &PodId) -> bool {
    matches!(who, Who::Pod(other, _) if other == id)
}

fn rules<'p>(policy: &'p Policy, question: &Question<'_>) -> Option<&'p [Rule]> {
    let rules = match question.is_egress {
        true => &policy.egress,
        false => &policy.ingress,
    };
    rules.as_deref()
}
