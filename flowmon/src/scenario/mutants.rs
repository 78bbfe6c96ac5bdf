//! Policies that are not quite those: each drops or widens one thing.

use std::sync::Arc;

use ipnetwork::IpNetwork;

use crate::policy::{
    Place, Policy, PolicySet, Selector,
    labels::{Operator, Requirement},
    model::{Namespaces, Peer, PeerMatch, Peers, PolicyId, Port, PortMatch, Ports, Rule, Tier},
};

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
    /// Of the set.
    number: usize,
    /// What it is instead, if it is anything.
    instead: Option<Arc<Policy>>,
}

/// What is dropped.
const DROPPED: &str = "is not there";

impl Mutant {
    /// A rule of a policy, of this number in the set, is another.
    pub(super) fn of_rule(number: usize, instead: Policy, rule: &Rule, change: String) -> Self {
        Self {
            policy: instead.id.clone(),
            part: part(&rule.place),
            place: rule.place.clone(),
            change,
            number,
            instead: Some(Arc::new(instead)),
        }
    }

    /// A rule, a peer or a port is not there.
    pub(super) fn drops_a_part(&self) -> bool {
        !self.part.is_empty() && self.change == DROPPED
    }

    /// The set with this change.
    pub(super) fn set(&self, policies: &PolicySet) -> PolicySet {
        let mut set = policies.clone();
        match &self.instead {
            Some(policy) => {
                if let Some(slot) = set.policies.get_mut(self.number) {
                    *slot = Arc::clone(policy);
                }
            }
            None => {
                set.policies.remove(self.number);
            }
        }
        set
    }
}

/// How records call a place.
fn part(place: &Place) -> String {
    let part = place.path.strip_prefix("spec.");
    part.unwrap_or(&place.path).to_owned()
}

/// All of them, in the order of the policies.
pub(super) fn all(policies: &PolicySet) -> Vec<Mutant> {
    let numbered = policies.policies.iter().enumerate();
    numbered
        .flat_map(|(number, policy)| {
            let mut of = Of {
                number,
                policy,
                mutants: Vec::new(),
            };
            of.whole();
            of.rules("from", |policy| &mut policy.ingress);
            of.rules("to", |policy| &mut policy.egress);
            of.mutants
        })
        .collect()
}

/// Those of one policy.
struct Of<'a> {
    number: usize,
    policy: &'a Policy,
    mutants: Vec<Mutant>,
}

/// What of a policy is changed.
type Rules = fn(&mut Policy) -> &mut Option<Vec<Rule>>;

impl Of<'_> {
    fn push(&mut self, place: &Place, change: impl Into<String>, instead: Option<Policy>) {
        self.mutants.push(Mutant {
            policy: self.policy.id.clone(),
            part: part(place),
            place: place.clone(),
            change: change.into(),
            number: self.number,
            instead: instead.map(Arc::new),
        });
    }

    /// The policy with a change.
    fn with(&self, change: impl FnOnce(&mut Policy)) -> Policy {
        let mut policy = self.policy.clone();
        change(&mut policy);
        policy
    }

    fn whole(&mut self) {
        let place = &self.policy.place;
        self.push(place, DROPPED, None);
        let isolates = self.policy.tier == Tier::NetworkPolicy;
        if isolates && self.policy.ingress.is_some() && self.policy.egress.is_some() {
            let without = self.with(|policy| policy.ingress = None);
            self.push(place, "does not isolate for ingress", Some(without));
            let without = self.with(|policy| policy.egress = None);
            self.push(place, "does not isolate for egress", Some(without));
        }
        for (change, pods) in wider(&self.policy.subject.pods) {
            let change = format!("is about pods {change}");
            let wider = self.with(|policy| policy.subject.pods = pods);
            self.push(place, change, Some(wider));
        }
        if let Namespaces::Selected(namespaces) = &self.policy.subject.namespaces {
            for (change, namespaces) in wider(namespaces) {
                let change = format!("is about namespaces {change}");
                let namespaces = Namespaces::Selected(namespaces);
                let wider = self.with(|policy| policy.subject.namespaces = namespaces);
                self.push(place, change, Some(wider));
            }
        }
    }

    fn rules(&mut self, preposition: &str, of_direction: Rules) {
        let mut policy = self.policy.clone();
        let rules = of_direction(&mut policy).take().unwrap_or_default();
        for (number, rule) in rules.iter().enumerate() {
            let mut with = |place: &Place, change: String, instead| {
                let instead = self.with(|policy| {
                    if let Some(rules) = of_direction(policy) {
                        rules.splice(number..=number, instead);
                    }
                });
                self.push(place, change, Some(instead));
            };
            with(&rule.place, DROPPED.to_owned(), None);
            for (place, change, instead) in changed(rule, preposition) {
                with(&place, change, Some(instead));
            }
        }
    }
}

/// A rule with one thing dropped or widened.
type Changed = (Place, String, Rule);

fn changed(rule: &Rule, preposition: &str) -> Vec<Changed> {
    let mut all = Vec::new();
    if let Peers::OneOf(peers) = &rule.peers {
        let with = |peers| Rule {
            peers,
            ..rule.clone()
        };
        let everyone = format!("{preposition} everyone");
        all.push((rule.place.clone(), everyone, with(Peers::Any)));
        for (number, peer) in peers.iter().enumerate() {
            if peers.len() > 1 {
                let mut peers = peers.clone();
                peers.remove(number);
                let without = with(Peers::OneOf(peers));
                all.push((peer.place.clone(), DROPPED.to_owned(), without));
            }
            for (change, what) in wider_peers(&peer.what) {
                let mut peers = peers.clone();
                if let Some(slot) = peers.get_mut(number) {
                    *slot = Peer {
                        what,
                        place: peer.place.clone(),
                    };
                }
                all.push((peer.place.clone(), change, with(Peers::OneOf(peers))));
            }
        }
    }
    if let Ports::OneOf(ports) = &rule.ports {
        let with = |ports| Rule {
            ports,
            ..rule.clone()
        };
        let every_port = "at every port".to_owned();
        all.push((rule.place.clone(), every_port, with(Ports::All)));
        for (number, port) in ports.iter().enumerate() {
            if ports.len() > 1 {
                let mut ports = ports.clone();
                ports.remove(number);
                let without = with(Ports::OneOf(ports));
                all.push((port.place.clone(), DROPPED.to_owned(), without));
            }
            if let Some((change, what)) = wider_port(&port.what) {
                let mut ports = ports.clone();
                if let Some(slot) = ports.get_mut(number) {
                    *slot = Port {
                        what,
                        place: port.place.clone(),
                    };
                }
                all.push((port.place.clone(), change, with(Ports::OneOf(ports))));
            }
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
        let mutants = all(&read.set).into_iter();
        let mut different = Vec::new();
        for mutant in mutants {
            let set = mutant.set(&read.set);
            assert_ne!(set.policies, read.set.policies, "{mutant:?}");
            assert!(!different.contains(&set.policies), "{mutant:?}");
            different.push(set.policies);
        }
        all(&read.set)
            .iter()
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
