//! Selectors and named ports that nobody has.

use super::{
    Remarks,
    population::{Group, Population},
};
use crate::policy::{
    Selector,
    inventory::NamedPort,
    model::{Namespaces, Peer, PeerMatch, Peers, Policy, Port, PortMatch, Ports, Rule},
};

pub(super) fn check(policy: &Policy, population: &Population<'_>, remarks: &mut Remarks) {
    if population.groups.is_empty() {
        return;
    }
    subject(policy, population, remarks);
    for rule in policy.ingress.iter().flatten() {
        peers(rule, policy, population, remarks);
        let subject = &policy.subject;
        let ports = || {
            // Nobody selected is told once, for the policy.
            let selected = population.of(subject).collect::<Vec<_>>();
            let is_known = population.knows(&subject.namespaces) && !selected.is_empty();
            is_known.then(|| selected.into_iter().flat_map(Group::ports).collect())
        };
        named_ports(rule, "the policy selects", ports, remarks);
    }
    for rule in policy.egress.iter().flatten() {
        peers(rule, policy, population, remarks);
        named_ports(
            rule,
            "the rule is about",
            || population.ports(&rule.peers),
            remarks,
        );
    }
}

fn subject(policy: &Policy, population: &Population<'_>, remarks: &mut Remarks) {
    let subject = &policy.subject;
    if !population.knows(&subject.namespaces) {
        return;
    }
    if let Namespaces::Selected(selector) = &subject.namespaces
        && !population.has_namespace(selector)
    {
        let says = "no namespace has the labels of `subject`: the policy is about nobody";
        return remarks.warn(&policy.place, "matches-no-namespace", says);
    }
    if population.of(subject).next().is_some() {
        return;
    }
    let mut all = population.select(&subject.namespaces, &subject.pods);
    let says = if all.any(|group| group.host_pods > 0) {
        "it selects only pods that use their node's network, and policies are not about these"
    } else {
        "it selects no pod"
    };
    remarks.warn(&policy.place, "selects-no-pod", says);
}

fn peers(rule: &Rule, policy: &Policy, population: &Population<'_>, remarks: &mut Remarks) {
    let Peers::OneOf(peers) = &rule.peers else {
        return;
    };
    for peer in peers {
        match &peer.what {
            PeerMatch::Pods { namespaces, pods } => {
                pods_peer(peer, namespaces, pods, policy, population, remarks);
            }
            PeerMatch::Nodes(selector) => {
                let nodes = &population.inventory.nodes;
                if !nodes.is_empty() && !nodes.values().any(|node| selector.matches(&node.labels)) {
                    let says = "no node has these labels: it matches nobody";
                    remarks.warn(&peer.place, "matches-no-node", says);
                }
            }
            _ => {}
        }
    }
}

fn pods_peer(
    peer: &Peer,
    namespaces: &Namespaces,
    pods: &Selector,
    policy: &Policy,
    population: &Population<'_>,
    remarks: &mut Remarks,
) {
    let here = |group: &&Group<'_>| !group.pods.is_empty();
    if !population.knows(namespaces) || population.select(namespaces, pods).any(|it| here(&it)) {
        return;
    }
    let everywhere = Namespaces::Selected(Selector::default());
    let elsewhere = population.select(&everywhere, pods).find(here);
    match namespaces {
        Namespaces::Selected(selector) if !population.has_namespace(selector) => {
            let says = "no namespace has these labels: it matches nobody";
            remarks.warn(&peer.place, "matches-no-namespace", says);
        }
        // A selector of everything says nothing about where its pods might be.
        _ if pods.is_everything() => {
            let says = "there are no pods there: it matches nobody";
            remarks.note(&peer.place, "peer-matches-no-pod", says);
        }
        Namespaces::Named(_) if elsewhere.is_some() => {
            let namespace = elsewhere.map(|group| group.namespace.to_string());
            let says = format!(
                "a `podSelector` alone is about pods of the policy's own namespace, {}, and none \
                 there has these labels; pods of {} have: add a `namespaceSelector`",
                policy.id.namespace.as_deref().unwrap_or_default(),
                namespace.unwrap_or_default(),
            );
            remarks.warn(&peer.place, "peer-in-other-namespace", says);
        }
        Namespaces::Selected(_) if elsewhere.is_some() => {
            let namespace = elsewhere.map(|group| group.namespace.to_string());
            let says = format!(
                "both selectors must match, and no pod of these namespaces has these labels; pods \
                 of {} have. For pods that match one or the other, write two items",
                namespace.unwrap_or_default(),
            );
            remarks.warn(&peer.place, "and-matches-nobody", says);
        }
        _ => {
            let says = "no pod has these labels: it matches nobody";
            remarks.note(&peer.place, "peer-matches-no-pod", says);
        }
    }
}

fn named_ports<'p>(
    rule: &Rule,
    whose: &str,
    responders: impl FnOnce() -> Option<Vec<&'p NamedPort>>,
    remarks: &mut Remarks,
) {
    let Ports::OneOf(ports) = &rule.ports else {
        return;
    };
    let is_named = |port: &&Port| matches!(port.what, PortMatch::Named { .. });
    let mut named = ports.iter().filter(is_named).peekable();
    if named.peek().is_none() {
        return;
    }
    let Some(known) = responders() else {
        return;
    };
    for Port { what, place } in named {
        let PortMatch::Named { protocol, name } = what else {
            continue;
        };
        let mut of_name = known.iter().filter(|port| port.name == *name).peekable();
        let says = match protocol {
            Some(protocol) if of_name.peek().is_some() => {
                if of_name.any(|port| port.protocol == *protocol) {
                    continue;
                }
                let protocol = protocol.label();
                format!(
                    "pods that {whose} have a port `{name}`, but not of {protocol}: it matches nothing"
                )
            }
            None if of_name.peek().is_some() => continue,
            _ => format!("no pod that {whose} has a port `{name}`: it matches nothing"),
        };
        remarks.warn(place, "named-port-nowhere", says);
    }
}
