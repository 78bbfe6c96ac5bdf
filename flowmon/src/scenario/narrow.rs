//! Rules that let less through, for the sake of those who need them.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Cell,
    mutants::{Mutant, OfRule, Way},
    mutation::Trial,
};
use crate::policy::{
    Selector,
    labels::{NAME_LABEL, Operator, Requirement, lasting},
    model::{
        Action, Namespaces, Peer, PeerMatch, Peers, Port, PortMatch, PortProtocol, Ports, Rule,
    },
};

/// Labels, namespaces and ports that are tried, so many of each.
const MOST: usize = 32;

/// Rules for fewer ends, by a label or a namespace of those who need them, or at fewer ports.
pub(super) fn narrowed<'a>(
    trial: &Trial<'a>,
    needed: &[&Cell],
) -> impl Iterator<Item = Mutant> + use<'a> {
    let ways =
        [Way::Ingress, Way::Egress].map(|way| (way, Arc::new(Useful::of(trial, needed, way))));
    let numbered = trial.policies.policies.iter().enumerate();
    numbered.flat_map(move |(number, policy)| {
        ways.clone().into_iter().flat_map(move |(way, useful)| {
            let rules = way.rules(policy).iter().enumerate();
            let accepting = rules.filter(|(_, rule)| rule.action == Action::Accept);
            accepting.flat_map(move |(at, rule)| {
                useful.changes(rule).into_iter().map(move |(change, edit)| {
                    Mutant::of_rule((number, policy), (way, at, rule), change, edit)
                })
            })
        })
    })
}

type Label = (Arc<str>, Arc<str>);

/// What those have at the other end, and where they ask, that is needed.
#[derive(Debug, Default)]
struct Useful {
    labels: BTreeSet<Label>,
    namespaces: BTreeSet<Arc<str>>,
    ports: BTreeSet<(PortProtocol, u16)>,
}

impl Useful {
    fn of(trial: &Trial<'_>, needed: &[&Cell], way: Way) -> Self {
        let mut useful = Self::default();
        for cell in needed {
            let connection = &cell.connection;
            let end = match way {
                Way::Ingress => &connection.initiator,
                Way::Egress => &connection.responder,
            };
            let id = end.pod.as_ref();
            if let Some(id) = id
                && let Some(pod) = trial.inventory.pods.get(id)
            {
                useful.labels.extend(lasting(&pod.labels));
                useful.namespaces.insert(Arc::clone(&id.namespace));
            }
            let protocol = PortProtocol::from_number(connection.protocol);
            useful.ports.extend(protocol.zip(connection.port));
        }
        useful
    }

    /// The rule for fewer.
    fn changes(&self, rule: &Rule) -> Vec<(String, OfRule)> {
        let mut all = Vec::new();
        for (key, value) in self.labels.iter().take(MOST) {
            let narrower = |what: &PeerMatch| match what {
                PeerMatch::Pods { namespaces, pods } => Some(PeerMatch::Pods {
                    namespaces: namespaces.clone(),
                    pods: and(pods, key, value),
                }),
                _ => None,
            };
            let change = format!("is for pods with {key}={value} only");
            all.extend(peers(rule, narrower).map(|peers| (change, OfRule::Peers(peers))));
        }
        for name in self.namespaces.iter().take(MOST) {
            let narrower = |what: &PeerMatch| match what {
                PeerMatch::Pods {
                    namespaces: Namespaces::Selected(namespaces),
                    pods,
                } => Some(PeerMatch::Pods {
                    namespaces: Namespaces::Selected(and(namespaces, &NAME_LABEL.into(), name)),
                    pods: pods.clone(),
                }),
                _ => None,
            };
            let change = format!("is for pods in namespace {name} only");
            all.extend(peers(rule, narrower).map(|peers| (change, OfRule::Peers(peers))));
        }
        if rule.ports == Ports::All {
            for (protocol, port) in self.ports.iter().take(MOST) {
                let what = PortMatch::Range {
                    protocol: *protocol,
                    first: *port,
                    last: *port,
                };
                let place = rule.place.clone();
                let ports = Ports::OneOf(vec![Port { what, place }]);
                let change = format!("is for {} {port} only", protocol.label());
                all.push((change, OfRule::Ports(ports)));
            }
        }
        all
    }
}

/// The peers of a rule, each as narrow; of everyone, pods.
fn peers(rule: &Rule, narrower: impl Fn(&PeerMatch) -> Option<PeerMatch>) -> Option<Peers> {
    let pods = [Peer {
        what: PeerMatch::Pods {
            namespaces: Namespaces::Selected(Selector::default()),
            pods: Selector::default(),
        },
        place: rule.place.clone(),
    }];
    let peers = match &rule.peers {
        Peers::Any => &pods[..],
        Peers::OneOf(peers) => peers,
    };
    let narrow = peers.iter().map(|peer| {
        let what = narrower(&peer.what)?;
        let place = peer.place.clone();
        Some(Peer { what, place })
    });
    narrow.collect::<Option<Vec<_>>>().map(Peers::OneOf)
}

fn and(selector: &Selector, key: &Arc<str>, value: &Arc<str>) -> Selector {
    let mut selector = selector.clone();
    selector.requirements.push(Requirement {
        key: Arc::clone(key),
        operator: Operator::In(vec![Arc::clone(value)]),
    });
    selector
}
