//! The smallest change that would allow what is denied.

use std::sync::Arc;

use flowmon_common::wire::protocol;

use super::{Before, Suggestion};
use crate::policy::{
    Labels, Outcome, Reason, Ruleset, Verdict,
    labels::{NAME_LABEL, Operator, Requirement, lasting},
    model::{Action, Kind, PolicyId, Subject},
    ruleset::{
        class::Binding,
        compiled::Compiled,
        matching::Match,
        rule::Rule,
        who::{Direction, Flow, Pod, Who},
    },
    yaml::{Yaml, list, map, match_labels, number, text},
};

/// What would allow a flow that is denied by this verdict, if that can be said.
pub(super) fn suggestions(
    ruleset: &Ruleset,
    flow: &Flow<'_>,
    verdict: &Verdict,
) -> Vec<Suggestion> {
    let bound = flow.subject.class.bound(flow.direction);
    if bound.admin.iter().any(|binding| may_match(binding, flow)) {
        // What may come before can't be mended.
        return Vec::new();
    }
    let found = match (verdict.outcome, verdict.reason) {
        (Outcome::Denied, Reason::NoRuleMatched) => {
            let first = bound.network.first();
            first.and_then(|first| Some(vec![network_policy(ruleset, flow, first)?]))
        }
        (Outcome::Denied, Reason::RuleMatched) => {
            let is_by =
                |binding: &&Binding| Some(&binding.policy.policy.id) == verdict.policy.as_ref();
            let tier = bound.admin.iter().find(is_by).map(|_| &bound.admin);
            earlier_rules(flow, tier.unwrap_or(&bound.baseline))
        }
        _ => None,
    };
    found.unwrap_or_default()
}

/// Is there a rule of which it can't be said whether it matches?
fn may_match(binding: &Binding, flow: &Flow<'_>) -> bool {
    let mut rules = binding.policy.rules(flow.direction).iter();
    let matched = |rule: &Rule| rule.matches(flow).0.and(binding.selected);
    rules.any(|rule| matches!(matched(rule), Match::Maybe(_)))
}

/// A policy of its own, about pods that are isolated anyway: nobody else is by it.
fn network_policy(ruleset: &Ruleset, flow: &Flow<'_>, isolating: &Compiled) -> Option<Suggestion> {
    let namespace = &flow.subject.id.namespace;
    let peer = match flow.other {
        Who::Pod(pod) if pod.id.namespace == *namespace => map([("podSelector", labels_of(pod))]),
        Who::Pod(pod) => pods(pod),
        // By which address it would be let through is not defined.
        Who::Node(_) | Who::Outside { .. } if flow.service.is_some() => return None,
        Who::Node(_) | Who::Outside { .. } => map([("ipBlock", map([("cidr", address(flow))]))]),
        Who::Unclear(_) => return None,
    };
    let (direction, peers, policy_type) = match flow.direction {
        Direction::Egress => ("egress", "to", "Egress"),
        Direction::Ingress => ("ingress", "from", "Ingress"),
    };
    let protocol = protocol_name(flow.protocol)?;
    let mut port = vec![("protocol", text(protocol))];
    let mut name = format!("allow-{direction}-{}", protocol.to_lowercase());
    if let Some(of_flow) = flow.port {
        port.push(("port", number(of_flow)));
        name = format!("{name}-{of_flow}");
    }
    let rule = map([(peers, list([peer])), ("ports", list([map(port)]))]);
    let policy = map([
        ("apiVersion", text("networking.k8s.io/v1")),
        ("kind", text("NetworkPolicy")),
        (
            "metadata",
            map([
                ("name", text(free(ruleset, namespace, &name))),
                ("namespace", text(namespace)),
            ]),
        ),
        (
            "spec",
            map([
                (
                    "podSelector",
                    subject(flow.subject, &isolating.policy.subject),
                ),
                ("policyTypes", list([text(policy_type)])),
                (direction, list([rule])),
            ]),
        ),
    ]);
    Some(Suggestion {
        before: None,
        yaml: policy.render(),
    })
}

/// The pod's labels, and what else the policy that isolates it asks for.
fn subject(pod: &Pod, isolating: &Subject) -> Yaml {
    let mut labels = lasting_or_all(&pod.class.labels);
    let mut expressions = Vec::new();
    for Requirement { key, operator } in &isolating.pods.requirements {
        if labels.contains_key(key) {
            continue;
        }
        if let Some(value) = pod.class.labels.get(key) {
            labels.insert(Arc::clone(key), Arc::clone(value));
            continue;
        }
        // It holds, and the pod has no such label.
        let operator = match operator {
            Operator::NotIn(_) | Operator::DoesNotExist => "DoesNotExist",
            Operator::In(_) | Operator::Exists => continue,
        };
        expressions.push(map([("key", text(key)), ("operator", text(operator))]));
    }
    let mut selector = match_labels(&labels);
    if !expressions.is_empty() {
        selector.push(("matchExpressions", list(expressions)));
    }
    map(selector)
}

/// A rule that accepts, before the first one of each policy that denies.
fn earlier_rules(flow: &Flow<'_>, tier: &[Binding]) -> Option<Vec<Suggestion>> {
    for same_priority in tier.chunk_by(|one, next| one.tier() == next.tier()) {
        let mut found = Vec::new();
        for binding in same_priority {
            for rule in binding.policy.rules(flow.direction) {
                let (matched, _) = rule.matches(flow);
                match matched.and(binding.selected) {
                    Match::No => {}
                    Match::Maybe(_) => return None,
                    Match::Yes if rule.action == Action::Accept => break,
                    Match::Yes => {
                        found.push(earlier_rule(flow, &binding.policy.policy.id, rule.name())?);
                        break;
                    }
                }
            }
        }
        if !found.is_empty() {
            return Some(found);
        }
    }
    None
}

fn earlier_rule(flow: &Flow<'_>, policy: &PolicyId, rule: &str) -> Option<Suggestion> {
    let is_egress = flow.direction == Direction::Egress;
    let peer = match flow.other {
        Who::Pod(pod) => map([("pods", pods(pod))]),
        Who::Node(_) | Who::Outside { .. } if is_egress && flow.service.is_none() => {
            map([("networks", list([address(flow)]))])
        }
        Who::Node(_) | Who::Outside { .. } | Who::Unclear(_) => return None,
    };
    let is_new = policy.kind == Kind::ClusterNetworkPolicy;
    let mut of_rule = vec![
        ("action", text(if is_new { "Accept" } else { "Allow" })),
        (if is_egress { "to" } else { "from" }, list([peer])),
    ];
    if let (Some(protocol), Some(port)) = (protocol_name(flow.protocol), flow.port) {
        of_rule.push(if is_new {
            let lower = match flow.protocol {
                protocol::UDP => "udp",
                protocol::SCTP => "sctp",
                _ => "tcp",
            };
            let port = map([("destinationPort", map([("number", number(port))]))]);
            ("protocols", list([map([(lower, port)])]))
        } else {
            let port = map([("protocol", text(protocol)), ("port", number(port))]);
            ("ports", list([map([("portNumber", port)])]))
        });
    }
    Some(Suggestion {
        before: Some(Before {
            kind: policy.kind.label(),
            policy: policy.to_string(),
            rule: rule.to_owned(),
        }),
        yaml: list([map(of_rule)]).render(),
    })
}

/// The pod's namespace and labels.
fn pods(pod: &Pod) -> Yaml {
    let namespace = Labels::from([(NAME_LABEL.into(), Arc::clone(&pod.id.namespace))]);
    map([
        ("namespaceSelector", map(match_labels(&namespace))),
        ("podSelector", labels_of(pod)),
    ])
}

fn labels_of(pod: &Pod) -> Yaml {
    map(match_labels(&lasting_or_all(&pod.class.labels)))
}

/// With those that will be others tomorrow only if there are no others.
fn lasting_or_all(labels: &Labels) -> Labels {
    let lasting = lasting(labels);
    if lasting.is_empty() {
        labels.clone()
    } else {
        lasting
    }
}

/// The other end's address alone.
fn address(flow: &Flow<'_>) -> Yaml {
    let bits = if flow.address.is_ipv4() { 32 } else { 128 };
    text(format_args!("{}/{bits}", flow.address))
}

const fn protocol_name(number: u8) -> Option<&'static str> {
    match number {
        protocol::TCP => Some("TCP"),
        protocol::UDP => Some("UDP"),
        protocol::SCTP => Some("SCTP"),
        _ => None,
    }
}

/// The name, or one like it that no policy has yet.
fn free(ruleset: &Ruleset, namespace: &Arc<str>, name: &str) -> String {
    let is_taken = |name: &String| {
        ruleset.has_policy(&PolicyId {
            kind: Kind::NetworkPolicy,
            namespace: Some(Arc::clone(namespace)),
            name: name.as_str().into(),
        })
    };
    let names = (2..).map(|number: u32| format!("{name}-{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(names);
    names.find(|name| !is_taken(name)).unwrap_or_default()
}
