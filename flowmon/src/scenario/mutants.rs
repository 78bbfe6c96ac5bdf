//! Policies that are not quite those: each drops or widens one thing.

use std::sync::Arc;

use ipnetwork::IpNetwork;

use crate::policy::{
    Place, Policy, PolicySet, Selector,
    labels::{Operator, Requirement},
    model::{Namespaces, PeerMatch, Peers, PolicyId, PortMatch, Ports, Rule, Tier},
};

/// What is dropped.
const DROPPED: &str = "is not there";

/// One change to a set of policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// Whose.
    pub policy: PolicyId,
    /// What is changed: `egress[0].to[1]`; empty when it is the whole policy.
    pub part: String,
    /// Where that stands.
    pub place: Place,
    /// How.
    pub change: String,
    /// Of the policy in the set.
    number: usize,
    edit: Edit,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Edit {
    Drop,
    /// It says nothing about ingress, or about egress.
    Without(Way),
    Pods(Selector),
    Namespaces(Selector),
    /// Of this number.
    Rule(Way, usize, OfRule),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Ingress,
    Egress,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OfRule {
    Drop,
    Peers(Peers),
    Ports(Ports),
    /// Another instead of this one, or none.
    Peer(usize, Option<PeerMatch>),
    Port(usize, Option<PortMatch>),
}

impl Way {
    pub(super) fn rules(self, policy: &Policy) -> &[Rule] {
        let rules = match self {
            Self::Ingress => &policy.ingress,
            Self::Egress => &policy.egress,
        };
        rules.as_deref().unwrap_or_default()
    }

    const fn of(self, policy: &mut Policy) -> &mut Option<Vec<Rule>> {
        match self {
            Self::Ingress => &mut policy.ingress,
            Self::Egress => &mut policy.egress,
        }
    }
}

impl Mutant {
    /// A rule of a policy, of these numbers, with a change.
    pub(super) fn of_rule(
        policy: (usize, &Policy),
        rule: (Way, usize, &Rule),
        change: String,
        of_rule: OfRule,
    ) -> Self {
        let (number, policy) = policy;
        let (way, at, rule) = rule;
        let place = match (&of_rule, &rule.peers, &rule.ports) {
            (OfRule::Peer(at, _), Peers::OneOf(peers), _) => peers.get(*at).map(|it| &it.place),
            (OfRule::Port(at, _), _, Ports::OneOf(ports)) => ports.get(*at).map(|it| &it.place),
            _ => None,
        };
        let place = place.unwrap_or(&rule.place);
        Self::new(number, policy, place, change, Edit::Rule(way, at, of_rule))
    }

    fn new(number: usize, policy: &Policy, place: &Place, change: String, edit: Edit) -> Self {
        let part = place.path.strip_prefix("spec.").unwrap_or(&place.path);
        Self {
            policy: policy.id.clone(),
            part: part.to_owned(),
            place: place.clone(),
            change,
            number,
            edit,
        }
    }

    /// A rule, a peer or a port is not there.
    pub(super) fn drops_a_part(&self) -> bool {
        !self.part.is_empty() && self.change == DROPPED
    }

    /// The set with this change.
    pub(super) fn set(&self, policies: &PolicySet) -> PolicySet {
        let mut set = policies.clone();
        let Some(slot) = set.policies.get_mut(self.number) else {
            return set;
        };
        let policy = Arc::make_mut(slot);
        match &self.edit {
            Edit::Drop => {
                set.policies.remove(self.number);
            }
            Edit::Without(way) => *way.of(policy) = None,
            Edit::Pods(pods) => policy.subject.pods = pods.clone(),
            Edit::Namespaces(namespaces) => {
                policy.subject.namespaces = Namespaces::Selected(namespaces.clone());
            }
            Edit::Rule(way, at, edit) => {
                if let Some(rules) = way.of(policy) {
                    edit.apply(rules, *at);
                }
            }
        }
        set
    }
}

impl OfRule {
    fn apply(&self, rules: &mut Vec<Rule>, at: usize) {
        let Some(rule) = rules.get_mut(at) else {
            return;
        };
        match (self, &mut rule.peers, &mut rule.ports) {
            (Self::Drop, ..) => {
                rules.remove(at);
            }
            (Self::Peers(wider), peers, _) => *peers = wider.clone(),
            (Self::Ports(wider), _, ports) => *ports = wider.clone(),
            (Self::Peer(at, None), Peers::OneOf(peers), _) => {
                peers.remove(*at);
            }
            (Self::Peer(at, Some(wider)), Peers::OneOf(peers), _) => {
                if let Some(peer) = peers.get_mut(*at) {
                    peer.what = wider.clone();
                }
            }
            (Self::Port(at, None), _, Ports::OneOf(ports)) => {
                ports.remove(*at);
            }
            (Self::Port(at, Some(wider)), _, Ports::OneOf(ports)) => {
                if let Some(port) = ports.get_mut(*at) {
                    port.what = wider.clone();
                }
            }
            (Self::Peer(..) | Self::Port(..), ..) => {}
        }
    }
}

/// All of them, in the order of the policies.
pub(super) fn all(policies: &PolicySet) -> impl Iterator<Item = Mutant> {
    let numbered = policies.policies.iter().enumerate();
    numbered.flat_map(|(number, policy)| {
        let whole = whole(policy);
        let whole = whole
            .into_iter()
            .map(move |(change, edit)| Mutant::new(number, policy, &policy.place, change, edit));
        let of_way = move |(way, preposition): (Way, &'static str)| {
            let rules = way.rules(policy).iter().enumerate();
            rules.flat_map(move |(at, rule)| {
                changes(rule, preposition)
                    .into_iter()
                    .map(move |(change, edit)| {
                        Mutant::of_rule((number, policy), (way, at, rule), change, edit)
                    })
            })
        };
        let ways = [(Way::Ingress, "from"), (Way::Egress, "to")];
        whole.chain(ways.into_iter().flat_map(of_way))
    })
}

/// Of a policy.
fn whole(policy: &Policy) -> Vec<(String, Edit)> {
    let mut all = vec![(DROPPED.to_owned(), Edit::Drop)];
    let isolates = policy.tier == Tier::NetworkPolicy;
    if isolates && policy.ingress.is_some() && policy.egress.is_some() {
        for (way, name) in [(Way::Ingress, "ingress"), (Way::Egress, "egress")] {
            let change = format!("does not isolate for {name}");
            all.push((change, Edit::Without(way)));
        }
    }
    for (change, pods) in wider(&policy.subject.pods) {
        all.push((format!("is about pods {change}"), Edit::Pods(pods)));
    }
    if let Namespaces::Selected(namespaces) = &policy.subject.namespaces {
        for (change, namespaces) in wider(namespaces) {
            let change = format!("is about namespaces {change}");
            all.push((change, Edit::Namespaces(namespaces)));
        }
    }
    all
}

/// Of a rule.
fn changes(rule: &Rule, preposition: &str) -> Vec<(String, OfRule)> {
    let mut all = vec![(DROPPED.to_owned(), OfRule::Drop)];
    if let Peers::OneOf(peers) = &rule.peers {
        let everyone = format!("{preposition} everyone");
        all.push((everyone, OfRule::Peers(Peers::Any)));
        for (at, peer) in peers.iter().enumerate() {
            if peers.len() > 1 {
                all.push((DROPPED.to_owned(), OfRule::Peer(at, None)));
            }
            let wider = wider_peers(&peer.what).into_iter();
            all.extend(wider.map(|(change, wider)| (change, OfRule::Peer(at, Some(wider)))));
        }
    }
    if let Ports::OneOf(ports) = &rule.ports {
        let every_port = "at every port".to_owned();
        all.push((every_port, OfRule::Ports(Ports::All)));
        for (at, port) in ports.iter().enumerate() {
            if ports.len() > 1 {
                all.push((DROPPED.to_owned(), OfRule::Port(at, None)));
            }
            let wider = wider_port(&port.what);
            all.extend(wider.map(|(change, wider)| (change, OfRule::Port(at, Some(wider)))));
        }
    }
    all
}

fn wider_peers(peer: &PeerMatch) -> Vec<(String, PeerMatch)> {
    match peer {
        PeerMatch::Pods { namespaces, pods } => {
            let of_namespaces = match namespaces {
                Namespaces::Named(name) => {
                    let any = Namespaces::Selected(Selector::default());
                    vec![(format!("in other namespaces than {name} too"), any)]
                }
                Namespaces::Selected(selector) => wider(selector)
                    .into_iter()
                    .map(|(change, wider)| {
                        let change = format!("in namespaces {change}");
                        (change, Namespaces::Selected(wider))
                    })
                    .collect(),
            };
            let of_namespaces = of_namespaces.into_iter().map(|(change, namespaces)| {
                let pods = pods.clone();
                (change, PeerMatch::Pods { namespaces, pods })
            });
            let of_pods = wider(pods).into_iter().map(|(change, pods)| {
                let namespaces = namespaces.clone();
                let change = format!("pods {change}");
                (change, PeerMatch::Pods { namespaces, pods })
            });
            of_namespaces.chain(of_pods).collect()
        }
        PeerMatch::IpBlock { cidr, except } => {
            let mut all = Vec::new();
            for number in 0..except.len() {
                let mut except = except.clone();
                let without = except.remove(number);
                let cidr = *cidr;
                let change = format!("without the exception {without}");
                all.push((change, PeerMatch::IpBlock { cidr, except }));
            }
            all.extend(all_of_family(*cidr).map(|cidr| {
                let except = except.clone();
                (format!("{cidr}"), PeerMatch::IpBlock { cidr, except })
            }));
            all
        }
        PeerMatch::Networks(networks) => {
            let with = |number, network: Option<IpNetwork>| {
                let mut networks = networks.clone();
                networks.splice(number..=number, network);
                PeerMatch::Networks(networks)
            };
            let mut all = Vec::new();
            for (number, network) in networks.iter().enumerate() {
                if networks.len() > 1 {
                    all.push((format!("without {network}"), with(number, None)));
                }
                let wider = all_of_family(*network);
                all.extend(wider.map(|wider| {
                    let change = format!("{wider} instead of {network}");
                    (change, with(number, Some(wider)))
                }));
            }
            all
        }
        PeerMatch::Nodes(nodes) => wider(nodes)
            .into_iter()
            .map(|(change, nodes)| (format!("nodes {change}"), PeerMatch::Nodes(nodes)))
            .collect(),
        PeerMatch::DomainNames(_) | PeerMatch::Unknown => Vec::new(),
    }
}

/// All there is, if that is more.
fn all_of_family(network: IpNetwork) -> Option<IpNetwork> {
    let all = match network {
        IpNetwork::V4(_) => "0.0.0.0/0",
        IpNetwork::V6(_) => "::/0",
    };
    let all = all.parse().ok()?;
    (network.prefix() > 0).then_some(all)
}

/// Without each of its requirements, and how these are called.
fn wider(selector: &Selector) -> Vec<(String, Selector)> {
    let numbered = selector.requirements.iter().enumerate();
    numbered
        .map(|(number, requirement)| {
            let mut wider = selector.clone();
            wider.requirements.remove(number);
            (format!("whether or not {}", words(requirement)), wider)
        })
        .collect()
}

/// `app=cart`, `stage not in (testing)`
fn words(requirement: &Requirement) -> String {
    let key = &requirement.key;
    match &requirement.operator {
        Operator::In(values) if values.len() == 1 => format!("{key}={}", values.concat()),
        Operator::In(values) => format!("{key} in ({})", values.join(", ")),
        Operator::NotIn(values) => format!("{key} not in ({})", values.join(", ")),
        Operator::Exists => format!("they have {key}"),
        Operator::DoesNotExist => format!("they have no {key}"),
    }
}

fn wider_port(port: &PortMatch) -> Option<(String, PortMatch)> {
    let protocol = match port {
        PortMatch::Protocol(_) => return None,
        PortMatch::Range { protocol, .. } => *protocol,
        PortMatch::Named { protocol, .. } => (*protocol)?,
    };
    let change = format!("every {} port", protocol.label());
    Some((change, PortMatch::Protocol(protocol)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::document;

    /// `ingress[0]: from everyone`
    fn of(spec: &str) -> Vec<String> {
        let spec = spec.replace('\n', "\n  ");
        let text = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: a}}\nspec:\n  {spec}\n"
        );
        found(&text)
    }

    fn found(text: &str) -> Vec<String> {
        let read = document::read([("it".into(), text)]);
        assert_eq!(read.problems, [], "{text}");
        let mutants = all(&read.set);
        let mut different = Vec::new();
        for mutant in mutants {
            let set = mutant.set(&read.set);
            assert_ne!(set.policies, read.set.policies, "{mutant:?}");
            assert!(!different.contains(&set.policies), "{mutant:?}");
            different.push(set.policies);
        }
        all(&read.set)
            .map(|it| format!("{}: {}", it.part, it.change))
            .collect()
    }

    #[test]
    fn everything_is_dropped_or_widened_once() {
        let spec = "podSelector: {matchLabels: {app: x}}
policyTypes: [Ingress, Egress]
ingress:
- from:
  - podSelector: {matchExpressions: [{key: app, operator: In, values: [a, b]}, {key: old, operator: DoesNotExist}]}
  - namespaceSelector: {matchLabels: {team: t}}
  ports: [{port: 80}, {port: web, protocol: UDP}, {protocol: SCTP}]
egress:
- to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]";
        let want = [
            ": is not there",
            ": does not isolate for ingress",
            ": does not isolate for egress",
            ": is about pods whether or not app=x",
            "ingress[0]: is not there",
            "ingress[0]: from everyone",
            "ingress[0].from[0]: is not there",
            "ingress[0].from[0]: in other namespaces than a too",
            "ingress[0].from[0]: pods whether or not app in (a, b)",
            "ingress[0].from[0]: pods whether or not they have no old",
            "ingress[0].from[1]: is not there",
            "ingress[0].from[1]: in namespaces whether or not team=t",
            "ingress[0]: at every port",
            "ingress[0].ports[0]: is not there",
            "ingress[0].ports[0]: every TCP port",
            "ingress[0].ports[1]: is not there",
            "ingress[0].ports[1]: every UDP port",
            "ingress[0].ports[2]: is not there",
            "egress[0]: is not there",
            "egress[0]: to everyone",
            "egress[0].to[0]: without the exception 10.1.0.0/16",
            "egress[0].to[0]: 0.0.0.0/0",
        ];
        assert_eq!(of(spec), want);
    }

    #[test]
    fn what_is_as_wide_as_can_be_is_only_dropped() {
        assert_eq!(of("podSelector: {}"), [": is not there"]);
        let open = "podSelector: {}\negress: [{}]\npolicyTypes: [Egress]";
        assert_eq!(of(open), [": is not there", "egress[0]: is not there"]);
    }

    #[test]
    fn the_admin_kinds_too() {
        let text = "apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: p}
spec:
  tier: Admin
  priority: 1
  subject: {namespaces: {matchLabels: {team: t}}}
  egress:
  - {action: Deny, to: [{networks: [10.0.0.0/8, 'fd00::/8']}, {nodes: {matchLabels: {a: b}}}]}
";
        let want = [
            ": is not there",
            ": is about namespaces whether or not team=t",
            "egress[0]: is not there",
            "egress[0]: to everyone",
            "egress[0].to[0]: is not there",
            "egress[0].to[0]: without 10.0.0.0/8",
            "egress[0].to[0]: 0.0.0.0/0 instead of 10.0.0.0/8",
            "egress[0].to[0]: without fd00::/8",
            "egress[0].to[0]: ::/0 instead of fd00::/8",
            "egress[0].to[1]: is not there",
            "egress[0].to[1]: nodes whether or not a=b",
        ];
        assert_eq!(found(text), want);
    }
}
