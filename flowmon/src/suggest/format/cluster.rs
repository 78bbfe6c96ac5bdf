//! `policy.networking.k8s.io/v1alpha2`.
//!
//! In the baseline tier, as a suggestion must not overrule anybody: what isolates by network policies is
//! left to these. A workload's policy accepts what was seen and denies the rest; that is all its kind can
//! deny: it has no ingress peers but pods.

use super::{Allowed, Others, Said, namespace, selector};
use crate::{
    policy::{
        Place, Selector,
        model::{
            Action, Kind, Namespaces, Peer, PeerMatch, Peers, PortProtocol, Ports, Rule, Tier,
        },
        yaml::{Yaml, list, map, number, text},
    },
    suggest::{
        needs::{At, Port},
        workload::Workload,
    },
};

pub(super) const NOTES: &[&str] = &[
    "In the baseline tier: where a network policy isolates a pod, that decides instead.",
    "Ingress from nodes and from outside the cluster stays open: this kind has no peers for it.",
];

/// Of rules, of peers of a rule, of networks of a peer, and of ports of a rule (the custom resource
/// definition's `maxItems`).
const MOST: usize = 25;
/// Of the policy that denies; those of what does not fit into it come before it. No policy comes later.
const LAST: u16 = 1000;
/// Everyone, as a rule of egress can say it: pods and nodes have addresses too.
const EVERYONE: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// One that denies all it can.
pub(super) fn isolating() -> (Kind, Tier, [Vec<Rule>; 2]) {
    let place = || Place::of_file("isolation".into());
    let deny = |what| {
        vec![Rule {
            name: None,
            action: Action::Deny,
            peers: Peers::OneOf(vec![Peer {
                what,
                place: place(),
            }]),
            ports: Ports::All,
            place: place(),
        }]
    };
    let pods = PeerMatch::Pods {
        namespaces: Namespaces::Selected(Selector::default()),
        pods: Selector::default(),
    };
    let everyone = EVERYONE.iter().filter_map(|network| network.parse().ok());
    let rules = [deny(pods), deny(PeerMatch::Networks(everyone.collect()))];
    let tier = Tier::Baseline {
        priority: LAST.into(),
    };
    (Kind::ClusterNetworkPolicy, tier, rules)
}

pub(super) fn documents(said: &Said<'_>) -> Vec<Yaml> {
    let ingress = said.ingress.as_deref().map(|allowed| {
        let everyone = map([("namespaces", map([]))]);
        rules(allowed, "from", everyone)
    });
    let egress = said.egress.as_deref().map(|allowed| {
        let everyone = map([("networks", list(EVERYONE.map(text)))]);
        rules(allowed, "to", everyone)
    });
    let ingress: Vec<&[Yaml]> = ingress.iter().flat_map(|it| it.chunks(MOST)).collect();
    let egress: Vec<&[Yaml]> = egress.iter().flat_map(|it| it.chunks(MOST)).collect();
    let count = ingress.len().max(egress.len());
    let document = |index: usize| {
        // Should there be more than there are priorities: what accepts needs no order.
        let before = u16::try_from(count.saturating_sub(index + 1)).unwrap_or(u16::MAX);
        let rules = [("ingress", &ingress), ("egress", &egress)];
        let rules = rules.into_iter().filter_map(|(direction, portions)| {
            let rules = portions.get(index)?;
            Some((direction, list(rules.iter().cloned())))
        });
        policy(said.workload, index, LAST.saturating_sub(before), rules)
    };
    (0..count).map(document).collect()
}

fn policy<'a>(
    workload: &Workload,
    index: usize,
    priority: u16,
    rules: impl Iterator<Item = (&'a str, Yaml)>,
) -> Yaml {
    // Neither has a dot in it, so no two are called alike.
    let mut name = format!("{}.{}", workload.namespace, workload.name);
    if index > 0 {
        name = format!("{name}.{}", index + 1);
    }
    let spec = [
        ("tier", text("Baseline")),
        ("priority", number(priority)),
        ("subject", map([("pods", pods(workload))])),
    ];
    map([
        ("apiVersion", text("policy.networking.k8s.io/v1alpha2")),
        ("kind", text("ClusterNetworkPolicy")),
        ("metadata", map([("name", text(name))])),
        ("spec", map(spec.into_iter().chain(rules))),
    ])
}

/// What accepts, then what denies everyone.
fn rules(allowed: &[Allowed<'_>], key: &str, everyone: Yaml) -> Vec<Yaml> {
    let mut rules: Vec<Yaml> = allowed.iter().flat_map(|it| accepting(it, key)).collect();
    rules.push(rule("Deny", key, vec![everyone], Vec::new()));
    rules
}

fn accepting(allowed: &Allowed<'_>, key: &str) -> Vec<Yaml> {
    let peers: Vec<Yaml> = match &allowed.others {
        Others::Workload(peer) => vec![map([("pods", pods(peer))])],
        Others::Networks(networks) => networks
            .chunks(MOST)
            .map(|networks| map([("networks", list(networks.iter().map(text)))]))
            .collect(),
    };
    let ports: Vec<Yaml> = allowed.ports.iter().map(|port| self::port(port)).collect();
    let mut lines = allowed.lines.clone();
    let mut rules = Vec::new();
    for peers in peers.chunks(MOST) {
        for ports in ports.chunks(MOST) {
            let rule = rule("Accept", key, peers.to_vec(), ports.to_vec());
            rules.push(Yaml::Commented(std::mem::take(&mut lines), Box::new(rule)));
        }
    }
    rules
}

fn rule(action: &str, key: &str, peers: Vec<Yaml>, ports: Vec<Yaml>) -> Yaml {
    let mut fields = vec![("action", text(action)), (key, list(peers))];
    if !ports.is_empty() {
        fields.push(("protocols", list(ports)));
    }
    map(fields)
}

fn port(port: &Port) -> Yaml {
    match &port.at {
        At::Number(at) => {
            let protocol = match port.protocol {
                PortProtocol::Tcp => "tcp",
                PortProtocol::Udp => "udp",
                PortProtocol::Sctp => "sctp",
            };
            let at = map([("number", number(*at))]);
            map([(protocol, map([("destinationPort", at)]))])
        }
        At::Name(name) => map([("destinationNamedPort", text(name))]),
    }
}

fn pods(workload: &Workload) -> Yaml {
    map([
        ("namespaceSelector", namespace(&workload.namespace)),
        ("podSelector", selector(&workload.selector)),
    ])
}
