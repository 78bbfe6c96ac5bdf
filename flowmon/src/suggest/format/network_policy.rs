//! `networking.k8s.io/v1`.

use super::{Allowed, Others, Said, namespace, selector};
use crate::{
    policy::{
        model::{Kind, Rule, Tier},
        yaml::{Yaml, list, map, number, text},
    },
    suggest::{
        needs::{At, Port},
        workload::Workload,
    },
};

/// One that isolates in both directions has no rules.
pub(super) const fn isolating() -> (Kind, Tier, [Vec<Rule>; 2]) {
    let rules = [Vec::new(), Vec::new()];
    (Kind::NetworkPolicy, Tier::NetworkPolicy, rules)
}

pub(super) fn document(said: &Said<'_>) -> Yaml {
    let workload = said.workload;
    let mut spec = vec![("podSelector", selector(&workload.selector))];
    let mut types = Vec::new();
    let mut all = Vec::new();
    let directions = [
        ("Ingress", "ingress", "from", &said.ingress),
        ("Egress", "egress", "to", &said.egress),
    ];
    for (policy_type, direction, key, rules) in directions {
        if let Some(rules) = rules {
            types.push(text(policy_type));
            let rules = rules.iter().map(|allowed| rule(workload, allowed, key));
            all.push((direction, list(rules)));
        }
    }
    spec.push(("policyTypes", list(types)));
    spec.extend(all);
    map([
        ("apiVersion", text("networking.k8s.io/v1")),
        ("kind", text("NetworkPolicy")),
        (
            "metadata",
            map([
                ("name", text(&workload.name)),
                ("namespace", text(&workload.namespace)),
            ]),
        ),
        ("spec", map(spec)),
    ])
}

fn rule(subject: &Workload, allowed: &Allowed<'_>, key: &str) -> Yaml {
    let peers = match &allowed.others {
        Others::Workload(peer) => vec![pods(subject, peer)],
        Others::Networks(networks) => networks
            .iter()
            .map(|network| map([("ipBlock", map([("cidr", text(network))]))]))
            .collect(),
    };
    let ports = allowed.ports.iter().map(|port| self::port(port));
    let rule = map([(key, list(peers)), ("ports", list(ports))]);
    Yaml::Commented(allowed.lines.clone(), Box::new(rule))
}

fn port(port: &Port) -> Yaml {
    let at = match &port.at {
        At::Number(at) => number(*at),
        At::Name(name) => text(name),
    };
    map([("protocol", text(port.protocol.label())), ("port", at)])
}

/// The pods of a workload, as seen from another.
fn pods(subject: &Workload, peer: &Workload) -> Yaml {
    let pods = ("podSelector", selector(&peer.selector));
    if peer.namespace == subject.namespace {
        return map([pods]);
    }
    map([("namespaceSelector", namespace(&peer.namespace)), pods])
}
