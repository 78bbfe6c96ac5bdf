//! Policies that isolate a pod, but for what is needed.

use std::{collections::BTreeSet, sync::Arc};

use super::{Cell, mutation::Trial};
use crate::policy::{
    Labels,
    inventory::PodId,
    labels::{NAME_LABEL, lasting},
    model::PortProtocol,
    verdict::End,
    yaml::{Yaml, list, map, match_labels, number, text},
};

/// Policies that isolate the pod at either end, but for what is needed.
pub(super) fn isolating(trial: &Trial<'_>, cell: &Cell, needed: &[&Cell]) -> Vec<String> {
    let connection = &cell.connection;
    let ends = [
        (&connection.responder, true),
        (&connection.initiator, false),
    ];
    let of_end = |(end, is_ingress): (&End, bool)| {
        let (id, pod) = trial.pod(end)?;
        let labels = lasting(&pod.labels);
        let mut rules: Vec<Yaml> = Vec::new();
        for cell in needed {
            let (own, other) = if is_ingress {
                (&cell.connection.responder, &cell.connection.initiator)
            } else {
                (&cell.connection.initiator, &cell.connection.responder)
            };
            let is_subject = trial.pod(own).is_some_and(|(own, pod)| {
                let has = |(key, value)| pod.labels.get(key) == Some(value);
                own.namespace == id.namespace && labels.iter().all(has)
            });
            if is_subject {
                let rule = rule(trial, id, other, cell, is_ingress)?;
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
        }
        let (direction, policy_type) = if is_ingress {
            ("ingress", "Ingress")
        } else {
            ("egress", "Egress")
        };
        let names: Vec<&str> = labels.values().map(|value| &**value).collect();
        let name = if names.is_empty() {
            "all".to_owned()
        } else {
            names.join("-").to_lowercase()
        };
        let name = free(trial, id, &format!("{name}-{direction}"));
        let policy = map([
            ("apiVersion", text("networking.k8s.io/v1")),
            ("kind", text("NetworkPolicy")),
            (
                "metadata",
                map([("name", text(name)), ("namespace", text(&id.namespace))]),
            ),
            (
                "spec",
                map([
                    ("podSelector", map(match_labels(&labels))),
                    ("policyTypes", list([text(policy_type)])),
                    (direction, list(rules)),
                ]),
            ),
        ]);
        Some(policy.render())
    };
    ends.into_iter().filter_map(of_end).collect()
}

/// The name, or one like it that no policy of the namespace has yet.
fn free(trial: &Trial<'_>, pod: &PodId, name: &str) -> String {
    let taken: BTreeSet<&str> = trial
        .policies
        .policies
        .iter()
        .filter(|policy| policy.id.namespace.as_ref() == Some(&pod.namespace))
        .map(|policy| &*policy.id.name)
        .collect();
    let numbered = (2_u32..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names
        .find(|name| !taken.contains(&**name))
        .unwrap_or_default()
}

fn rule(
    trial: &Trial<'_>,
    subject: &PodId,
    other: &End,
    cell: &Cell,
    is_ingress: bool,
) -> Option<Yaml> {
    let peer = if let Some((id, pod)) = trial.pod(other) {
        let pods = ("podSelector", map(match_labels(&lasting(&pod.labels))));
        if id.namespace == subject.namespace {
            map([pods])
        } else {
            let name = Labels::from([(NAME_LABEL.into(), Arc::clone(&id.namespace))]);
            map([("namespaceSelector", map(match_labels(&name))), pods])
        }
    } else {
        let bits = if other.address.is_ipv4() { 32 } else { 128 };
        let cidr = text(format_args!("{}/{bits}", other.address));
        map([("ipBlock", map([("cidr", cidr)]))])
    };
    let protocol = PortProtocol::from_number(cell.connection.protocol)?;
    let port = map([
        ("protocol", text(protocol.label())),
        ("port", number(cell.connection.port?)),
    ]);
    let key = if is_ingress { "from" } else { "to" };
    Some(map([(key, list([peer])), ("ports", list([port]))]))
}
