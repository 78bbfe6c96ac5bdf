//! The specification, sentence by sentence: nothing is indexed, nothing is known beforehand, every
//! question is asked of the whole inventory. Slow, and easy to compare with the Kubernetes documents.
#![expect(
    clippy::doc_markdown,
    clippy::match_bool,
    clippy::match_same_arms,
    clippy::unused_self,
    reason = "an arm for each sentence, quoted as it stands"
)]

mod rules;
mod tiers;

use std::{net::IpAddr, sync::Arc};

use flowmon::policy::{
    Connection, Inventory, Outcome, Policy, PolicySet, Reason, Settings, Verdict, Verdicts,
    inventory::{NamedPort, Pod, PodId, Service, ServicePort, TargetPort},
    verdict::End,
};

use rules::within;

/// `Err`: it can't be said, for that reason.
type Answer = Result<bool, Reason>;

pub(crate) struct Naive<'a> {
    pub(crate) policies: &'a PolicySet,
    pub(crate) inventory: &'a Inventory,
    pub(crate) settings: Settings,
}

#[derive(Clone, Copy)]
enum Who<'a> {
    Pod(&'a PodId, &'a Pod),
    Node(Option<&'a str>),
    Outside,
    Unclear(Reason),
}

#[derive(Clone, Copy)]
struct Target<'a> {
    who: Who<'a>,
    address: IpAddr,
    port: Option<u16>,
    by_service: Option<IpAddr>,
}

/// A question to one side.
struct Question<'a> {
    subject: (&'a PodId, &'a Pod),
    is_egress: bool,
    other: Who<'a>,
    address: IpAddr,
    target: Target<'a>,
    protocol: u8,
}

impl<'a> Naive<'a> {
    pub(crate) fn judge(&self, connection: &Connection) -> Verdicts {
        let initiator = self.end(&connection.initiator);
        let mut answers = self
            .targets(connection)
            .into_iter()
            .map(|target| self.judge_target(connection, initiator, target));
        let first = answers.next().unwrap();
        answers.fold(first, |one, other| Verdicts {
            egress: both_or_neither(one.egress, other.egress),
            ingress: both_or_neither(one.ingress, other.ingress),
        })
    }

    fn judge_target(
        &self,
        connection: &Connection,
        initiator: Who<'a>,
        target: Target<'a>,
    ) -> Verdicts {
        let from = connection.initiator.address.to_canonical();
        let protocol = connection.protocol;
        Verdicts {
            egress: self.side(initiator, |subject| Question {
                subject,
                is_egress: true,
                other: target.who,
                address: target.address,
                target,
                protocol,
            }),
            ingress: self.side(target.who, |subject| Question {
                subject,
                is_egress: false,
                other: initiator,
                address: from,
                target,
                protocol,
            }),
        }
    }

    /// "An end that is not a policed pod (external, node, hostNetwork) imposes nothing."
    fn side(
        &self,
        who: Who<'a>,
        question: impl Fn((&'a PodId, &'a Pod)) -> Question<'a>,
    ) -> Option<Verdict> {
        match who {
            Who::Node(..) | Who::Outside => None,
            _ if self.policies.policies.is_empty() => {
                Some(no_policy(Outcome::Allowed, Reason::NoPolicies))
            }
            Who::Unclear(reason) => Some(no_policy(Outcome::Undecided, reason)),
            Who::Pod(id, pod) => Some(self.tiers(&question((id, pod)))),
        }
    }

    fn end(&self, end: &End) -> Who<'a> {
        let Some(named) = &end.pod else {
            return self.by_address(end.address.to_canonical());
        };
        match self.inventory.pods.get_key_value(named) {
            Some((id, pod)) => pod_or_its_node(id, pod),
            None => Who::Unclear(Reason::UnknownPod),
        }
    }

    fn by_address(&self, address: IpAddr) -> Who<'a> {
        let pods: Vec<_> = (self.inventory.pods.iter())
            .filter(|(_, pod)| !pod.host_network && has(&pod.addresses, address))
            .collect();
        let mut nodes = self.inventory.nodes.iter();
        let node = nodes.find(|(_, node)| has(&node.addresses, address));
        let mut services = self.inventory.services.values();
        let is_service = services.any(|service| has(&service.addresses, address));
        match (&pods[..], node, is_service) {
            ([], Some((name, _)), _) => return Who::Node(Some(&**name)),
            ([], None, true) => return Who::Unclear(Reason::ServiceAddress),
            ([], None, false) => {}
            ([(id, pod)], None, false) => return Who::Pod(id, pod),
            _ => return Who::Unclear(Reason::AmbiguousAddress),
        }
        let tells = |pod: &&Pod| {
            has(&pod.host_addresses, address) || pod.host_network && has(&pod.addresses, address)
        };
        if let Some(pod) = self.inventory.pods.values().find(tells) {
            return Who::Node(pod.node.as_deref());
        }
        let mut networks = (self.inventory.nodes.values()).flat_map(|node| &node.pod_networks);
        match networks.any(|network| within(network, address)) {
            true => Who::Unclear(Reason::UnknownPod),
            false => Who::Outside,
        }
    }

    /// "Auditor must resolve ClusterIP -> backend, never judge the VIP."
    fn targets(&self, connection: &Connection) -> Vec<Target<'a>> {
        let address = connection.responder.address.to_canonical();
        let who = self.end(&connection.responder);
        let itself = Target {
            who,
            address,
            port: connection.port,
            by_service: None,
        };
        let unresolved = Target {
            who: Who::Unclear(Reason::ServiceAddress),
            port: None,
            by_service: Some(address),
            ..itself
        };
        if connection.responder.pod.is_some() {
            return vec![itself];
        }
        let services = || self.inventory.services.iter();
        let own = services().filter(|(_, service)| has(&service.addresses, address));
        let own =
            own.flat_map(|(id, service)| service.ports.iter().map(move |port| (id, service, port)));
        let own = own.filter(|(_, _, port)| Some(port.port) == connection.port);
        let on_nodes = services()
            .flat_map(|(id, service)| service.ports.iter().map(move |port| (id, service, port)))
            .filter(|(_, _, port)| port.node_port.is_some() && port.node_port == connection.port);
        let same_protocol = |(_, _, port): &(&'a PodId, &'a Service, &'a ServicePort)| {
            port.protocol.number() == connection.protocol
        };
        let found = match who {
            Who::Node(_) => own.chain(on_nodes).find(same_protocol),
            Who::Unclear(Reason::ServiceAddress) => own.into_iter().find(same_protocol),
            _ => return vec![itself],
        };
        let Some((id, service, port)) = found else {
            let is_node = matches!(who, Who::Node(_));
            return vec![if is_node { itself } else { unresolved }];
        };
        let backends = self.backends(id, service, port, address);
        match backends.is_empty() {
            true => vec![unresolved],
            false => backends,
        }
    }

    fn backends(
        &self,
        id: &PodId,
        service: &Service,
        port: &ServicePort,
        address: IpAddr,
    ) -> Vec<Target<'a>> {
        let target = |who, at: IpAddr, port| Target {
            who,
            address: at,
            port: Some(port),
            by_service: Some(address),
        };
        let same_family = |other: &IpAddr| other.is_ipv4() == address.is_ipv4();
        if let Some(endpoints) = &service.endpoints {
            return (endpoints.iter())
                .filter(|backend| backend.ready && backend.port_name == port.name)
                .filter(|backend| backend.protocol == port.protocol)
                .map(|backend| (backend.address.to_canonical(), backend.port))
                .filter(|(at, _)| same_family(at))
                .map(|(at, port)| target(self.by_address(at), at, port))
                .collect();
        }
        let Some(selector) = service
            .selector
            .as_ref()
            .filter(|labels| !labels.is_empty())
        else {
            return Vec::new();
        };
        (self.inventory.pods.iter())
            .filter(|(pod_id, _)| pod_id.namespace == id.namespace)
            .filter(|(_, pod)| {
                selector
                    .iter()
                    .all(|(key, value)| pod.labels.get(key) == Some(value))
            })
            .filter_map(|(pod_id, pod)| {
                let mut addresses = pod.addresses.iter().map(IpAddr::to_canonical);
                let at = addresses.find(same_family)?;
                let number = match &port.target {
                    TargetPort::Number(number) => *number,
                    TargetPort::Name(name) => {
                        let mut ports = pod.ports.iter();
                        let is_it =
                            |own: &&NamedPort| own.name == *name && own.protocol == port.protocol;
                        ports.find(is_it)?.port
                    }
                };
                Some(target(pod_or_its_node(pod_id, pod), at, number))
            })
            .collect()
    }
}

fn has(addresses: &[IpAddr], address: IpAddr) -> bool {
    addresses.iter().any(|own| own.to_canonical() == address)
}

/// "hostNetwork pods: are their node."
fn pod_or_its_node<'a>(id: &'a PodId, pod: &'a Pod) -> Who<'a> {
    if pod.host_network {
        Who::Node(pod.node.as_deref())
    } else {
        Who::Pod(id, pod)
    }
}

/// Backends must agree, or it can't be said; who has no policies allows everything.
fn both_or_neither(one: Option<Verdict>, other: Option<Verdict>) -> Option<Verdict> {
    let outcome = |verdict: &Option<Verdict>| match verdict {
        Some(verdict) => verdict.outcome,
        None => Outcome::Allowed,
    };
    if outcome(&one) == outcome(&other) {
        return one.or(other);
    }
    let undecided = [&one, &other]
        .into_iter()
        .find(|verdict| outcome(verdict) == Outcome::Undecided);
    match undecided {
        Some(verdict) => verdict.clone(),
        None => Some(no_policy(Outcome::Undecided, Reason::BackendsDiffer)),
    }
}

fn no_policy(outcome: Outcome, reason: Reason) -> Verdict {
    Verdict {
        outcome,
        reason,
        policy: None,
        rule: None,
    }
}

fn by_rule(outcome: Outcome, reason: Reason, policy: &Policy, name: &Arc<str>) -> Verdict {
    Verdict {
        policy: Some(policy.id.clone()),
        rule: Some(Arc::clone(name)),
        ..no_policy(outcome, reason)
    }
}
