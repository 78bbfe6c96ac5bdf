//! Rules that let less through, for the sake of those who need them.

use std::{collections::BTreeSet, sync::Arc};

use super::{Cell, mutants::Mutant, mutation::Trial};
use crate::policy::{
    Policy, Selector,
    labels::{NAME_LABEL, Operator, Requirement, lasting},
    model::{
        Action, Namespaces, Peer, PeerMatch, Peers, Port, PortMatch, PortProtocol, Ports, Rule,
    },
};

/// Labels, namespaces and ports that are tried, so many of each.
const MOST: usize = 32;

/// Rules for fewer ends, by a label or a namespace of those who need them, or at fewer ports.
pub(super) fn narrowed(trial: &Trial<'_>, needed: &[&Cell]) -> Vec<Mutant> {
    let mut all = Vec::new();
    for (number, policy) in trial.policies.policies.iter().enumerate() {
        for is_ingress in [true, false] {
            let rules = if is_ingress {
                policy.ingress.iter()
            } else {
                policy.egress.iter()
            };
            let (labels, namespaces) = have(trial, needed, is_ingress);
            let ports = ports(needed);
            for (at, rule) in rules.flatten().enumerate() {
                if rule.action != Action::Accept {
                    continue;
                }
                for (change, narrower) in narrower(rule, &labels, &namespaces, &ports) {
                    let mut policy = (**policy).clone();
                    if let Some(rules) = rules_mut(&mut policy, is_ingress) {
                        rules.splice(at..=at, [narrower]);
                    }
                    all.push(Mutant::of_rule(number, policy, rule, change));
                }
            }
        }
    }
    all
}

const fn rules_mut(policy: &mut Policy, is_ingress: bool) -> Option<&mut Vec<Rule>> {
    if is_ingress {
        policy.ingress.as_mut()
    } else {
        policy.egress.as_mut()
    }
}

type Label = (Arc<str>, Arc<str>);

/// Labels and namespaces of those at the other end of what is needed.
fn have(
    trial: &Trial<'_>,
    needed: &[&Cell],
    is_ingress: bool,
) -> (BTreeSet<Label>, BTreeSet<Arc<str>>) {
    let (mut labels, mut namespaces) = (BTreeSet::new(), BTreeSet::new());
    for cell in needed {
        let end = if is_ingress {
            &cell.connection.initiator
        } else {
            &cell.connection.responder
        };
        if let Some((id, pod)) = trial.pod(end) {
            labels.extend(lasting(&pod.labels));
            namespaces.insert(Arc::clone(&id.namespace));
        }
    }
    (labels, namespaces)
}

fn ports(needed: &[&Cell]) -> BTreeSet<(PortProtocol, u16)> {
    let port = |cell: &&Cell| {
        let protocol = PortProtocol::from_number(cell.connection.protocol)?;
        Some((protocol, cell.connection.port?))
    };
    needed.iter().filter_map(port).collect()
}

fn narrower(
    rule: &Rule,
    labels: &BTreeSet<Label>,
    namespaces: &BTreeSet<Arc<str>>,
    ports: &BTreeSet<(PortProtocol, u16)>,
) -> Vec<(String, Rule)> {
    let mut all = Vec::new();
    let mut peers = |change: String, what: &dyn Fn(&PeerMatch) -> Option<PeerMatch>| {
        let narrower = match &rule.peers {
            Peers::Any => {
                let everyone = PeerMatch::Pods {
                    namespaces: Namespaces::Selected(Selector::default()),
                    pods: Selector::default(),
                };
                what(&everyone).map(|what| {
                    vec![Peer {
                        what,
                        place: rule.place.clone(),
                    }]
                })
            }
            Peers::OneOf(peers) => peers
                .iter()
                .map(|peer| {
                    let what = what(&peer.what)?;
                    let place = peer.place.clone();
                    Some(Peer { what, place })
                })
                .collect(),
        };
        if let Some(narrower) = narrower {
            let peers = Peers::OneOf(narrower);
            all.push((
                change,
                Rule {
                    peers,
                    ..rule.clone()
                },
            ));
        }
    };
    for (key, value) in labels.iter().take(MOST) {
        let change = format!("is for pods with {key}={value} only");
        peers(change, &|what| match what {
            PeerMatch::Pods { namespaces, pods } => Some(PeerMatch::Pods {
                namespaces: namespaces.clone(),
                pods: and(pods, key, value),
            }),
            _ => None,
        });
    }
    for name in namespaces.iter().take(MOST) {
        let change = format!("is for pods in namespace {name} only");
        peers(change, &|what| match what {
            PeerMatch::Pods {
                namespaces: Namespaces::Selected(namespaces),
                pods,
            } => Some(PeerMatch::Pods {
                namespaces: Namespaces::Selected(and(namespaces, &NAME_LABEL.into(), name)),
                pods: pods.clone(),
            }),
            _ => None,
        });
    }
    let range = |(protocol, port): &(PortProtocol, u16)| Port {
        what: PortMatch::Range {
            protocol: *protocol,
            first: *port,
            last: *port,
        },
        place: rule.place.clone(),
    };
    if rule.ports == Ports::All {
        for port in ports.iter().take(MOST) {
            let change = format!("is for {} {} only", port.0.label(), port.1);
            let ports = Ports::OneOf(vec![range(port)]);
            all.push((
                change,
                Rule {
                    ports,
                    ..rule.clone()
                },
            ));
        }
    }
    all
}

fn and(selector: &Selector, key: &Arc<str>, value: &Arc<str>) -> Selector {
    let mut selector = selector.clone();
    selector.requirements.push(Requirement {
        key: Arc::clone(key),
        operator: Operator::In(vec![Arc::clone(value)]),
    });
    selector
}
