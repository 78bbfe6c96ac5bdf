//! What must be allowed for what was seen.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use super::{
    Seen, Sighting,
    format::is_isolation,
    question::{Questions, Why, counted, not_allowed},
    seen::Evidence,
    workload::Workloads,
};
use crate::{
    model::{Direction, Protocol},
    policy::{
        Inventory, Outcome, PolicySet, Reason, Ruleset, Settings, Verdict,
        document::is_port_name,
        inventory::{NamedPort, PodId, TargetPort},
        model::PortProtocol,
        ruleset::pairing::{Found, Pairing},
    },
};

/// The lowest port that systems give to connections that ask for none (Linux:
/// `net.ipv4.ip_local_port_range`; others begin at 49152, RFC 6335).
const EPHEMERAL: u16 = 32768;
/// Ports below are given to services alone.
const RESERVED: u16 = 1024;

/// The other end of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Peer {
    /// Of this number.
    Workload(usize),
    /// A node, or someone outside.
    Address(IpAddr),
}

/// The responder's port, of a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    pub(super) protocol: PortProtocol,
    pub(super) at: At,
}

/// Where a port is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum At {
    Number(u16),
    /// Where each of the pods calls it so: they don't agree about its number.
    Name(Arc<str>),
}

/// What was seen of a need, at the subject itself and at its peers.
#[derive(Debug, Clone, Default)]
pub(super) struct Proof {
    own: Evidence,
    peers: Evidence,
    /// What pods call the port.
    pub(super) called: BTreeSet<Arc<str>>,
}

impl Proof {
    /// At the subject, if it was seen there: at the peers it is the same once more.
    pub(super) const fn evidence(&self) -> &Evidence {
        if self.own.flows > 0 {
            &self.own
        } else {
            &self.peers
        }
    }

    pub(super) const fn is_only_from_peers(&self) -> bool {
        self.own.flows == 0
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.own.add(&other.own);
        self.peers.add(&other.peers);
        self.called.extend(other.called.iter().cloned());
    }
}

/// What one direction of a workload needs.
pub(super) type Rules = BTreeMap<(Peer, Port), Proof>;

/// What a workload needs.
#[derive(Debug, Default)]
pub(super) struct Need {
    pub(super) ingress: Rules,
    pub(super) egress: Rules,
}

/// What every workload needs.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub(super) by_workload: BTreeMap<usize, Need>,
    /// Those without a policy that others were seen to talk with, and the flows.
    unwatched: BTreeMap<usize, u64>,
}

/// Workloads that were watched, each with the pods that flows were recorded at.
pub(super) fn watched(
    seen: &Seen,
    inventory: &Inventory,
    workloads: &Workloads,
) -> BTreeMap<usize, BTreeSet<PodId>> {
    let ruleset = Ruleset::compile(&PolicySet::default(), inventory, Settings::default());
    let mut watched: BTreeMap<usize, BTreeSet<PodId>> = BTreeMap::new();
    for (_, Sighting { flow, .. }) in seen.sightings() {
        if flow.at_host {
            continue;
        }
        let Some(connection) = flow.connection(Direction::Egress) else {
            continue;
        };
        if let Found::Pod(pod) = ruleset.found(&connection.initiator)
            && let Some(workload) = workloads.of(&pod)
        {
            watched.entry(workload).or_default().insert(pod);
        }
    }
    watched
}

impl Needs {
    /// What `ruleset` does not allow of what was seen, or questions.
    pub(super) fn find(
        seen: &Seen,
        inventory: &Inventory,
        ruleset: &Ruleset,
        workloads: &Workloads,
        questions: &mut Questions,
    ) -> Self {
        let finder = Finder {
            inventory,
            workloads,
            declared: declared(inventory),
            asked: asked(seen, ruleset, workloads),
        };
        let mut needs = Self::default();
        for (number, sighting) in seen.sightings() {
            let flow = &sighting.flow;
            if flow.is_apart().is_some() {
                continue;
            }
            let mut ask = |why| questions.ask(number, sighting, &why);
            let ways: &[Direction] = match flow.direction {
                Direction::Unknown => &[Direction::Egress, Direction::Ingress],
                Direction::Egress => &[Direction::Egress],
                Direction::Ingress => &[Direction::Ingress],
            };
            let connections = ways.iter().filter_map(|way| flow.connection(*way));
            let pairings: Vec<Pairing> = connections
                .flat_map(|connection| ruleset.pairings(&connection))
                .collect();
            let unsure = match flow.direction {
                Direction::Unknown => Some(Reason::UnknownDirection),
                _ if flow.is_astray => Some(Reason::OtherDestination),
                Direction::Egress | Direction::Ingress => None,
            };
            if let Some(reason) = unsure {
                let mut open = pairings.iter().flat_map(|it| not_allowed(&it.verdicts));
                if open.next().is_some() {
                    ask(Why::Undecided(reason));
                }
                continue;
            }
            if is_stranger(sighting, &pairings) {
                ask(Why::Unknown);
                continue;
            }
            for pairing in &pairings {
                for direction in [Direction::Egress, Direction::Ingress] {
                    let verdict = match direction {
                        Direction::Ingress => &pairing.verdicts.ingress,
                        Direction::Egress | Direction::Unknown => &pairing.verdicts.egress,
                    };
                    let Some(verdict) = verdict else { continue };
                    let is_own = direction == flow.direction;
                    if let Err(why) =
                        needs.note(&finder, sighting, pairing, (direction, is_own), verdict)
                    {
                        ask(why);
                    }
                }
            }
        }
        needs
    }

    /// What one side needs, or why that can't be said.
    fn note(
        &mut self,
        finder: &Finder<'_>,
        sighting: &Sighting,
        pairing: &Pairing,
        (direction, is_own): (Direction, bool),
        verdict: &Verdict,
    ) -> Result<(), Why> {
        let (subject, other) = match direction {
            Direction::Ingress => (&pairing.responder, &pairing.initiator),
            Direction::Egress | Direction::Unknown => (&pairing.initiator, &pairing.responder),
        };
        let subject = match subject {
            Found::Pod(pod) => finder.workloads.of(pod),
            _ => None,
        };
        match (verdict.outcome, verdict.reason) {
            (Outcome::Allowed, Reason::NotIsolated | Reason::NoPolicies) => {
                if let Some(subject) = subject {
                    *self.unwatched.entry(subject).or_default() += sighting.evidence.flows;
                }
                return Ok(());
            }
            (Outcome::Allowed, _) => return Ok(()),
            (Outcome::Undecided, reason) => return Err(Why::Undecided(reason)),
            (Outcome::Denied, Reason::NoRuleMatched) => {}
            (Outcome::Denied, _) if verdict.policy.as_ref().is_some_and(is_isolation) => {}
            (Outcome::Denied, _) => {
                let by = verdict.policy.clone();
                return Err(by.map_or(Why::NotAllowed, Why::DeniedBy));
            }
        }
        let (port, called) = finder.port(sighting, pairing)?;
        let peer = match other {
            // By which of its addresses it would be let through is not defined.
            Found::Node(_) | Found::Outside(_)
                if direction != Direction::Ingress && pairing.by_service =>
            {
                return Err(Why::Undecided(Reason::ServiceAddress));
            }
            Found::Outside(_) if is_own && sighting.to_service => {
                return Err(Why::Undecided(Reason::ServiceAddress));
            }
            Found::Node(address) | Found::Outside(address) => Peer::Address(*address),
            Found::Unclear(reason) => return Err(Why::Undecided(*reason)),
            Found::Pod(pod) => match finder.workloads.of(pod) {
                Some(workload) => Peer::Workload(workload),
                None => return Err(Why::Undecided(Reason::UnknownNamespace)),
            },
        };
        let subject = subject.ok_or(Why::Undecided(Reason::UnknownNamespace))?;
        let need = self.by_workload.entry(subject).or_default();
        let rules = match direction {
            Direction::Ingress => &mut need.ingress,
            Direction::Egress | Direction::Unknown => &mut need.egress,
        };
        let proof = rules.entry((peer, port)).or_default();
        proof.called.extend(called);
        let evidence = if is_own {
            &mut proof.own
        } else {
            &mut proof.peers
        };
        evidence.add(&sighting.evidence);
        Ok(())
    }

    /// What else there is to say, as lines.
    pub(super) fn remarks(
        &self,
        watched: &BTreeMap<usize, BTreeSet<PodId>>,
        workloads: &Workloads,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        for (number, flows) in &self.unwatched {
            let Some(workload) = workloads
                .get(*number)
                .filter(|_| !watched.contains_key(number))
            else {
                continue;
            };
            lines.push(format!(
                "- {}/{} ({})",
                workload.namespace,
                workload.name,
                counted(*flows, "flow", "flows")
            ));
        }
        if !lines.is_empty() {
            let first =
                "NOT WATCHED, so without a policy here: these were seen by their peers only.";
            lines.insert(0, first.to_owned());
        }
        lines
    }
}

/// Is the endpoint, or its peer, something that the inventory should have and does not?
fn is_stranger(sighting: &Sighting, pairings: &[Pairing]) -> bool {
    let flow = &sighting.flow;
    let is_outside = |found: &Found| matches!(found, Found::Outside(_));
    let has_name = flow.remote.as_ref().is_some_and(|end| end.name.is_some());
    pairings.is_empty()
        || pairings.iter().any(|pairing| {
            let (local, remote) = match flow.direction {
                Direction::Ingress => (&pairing.responder, &pairing.initiator),
                Direction::Egress | Direction::Unknown => (&pairing.initiator, &pairing.responder),
            };
            is_outside(local) || (has_name && is_outside(remote))
        })
}

/// Who answers at a port.
type Service = (Answering, u8, u16);

#[derive(Debug, PartialEq, Eq, Hash)]
enum Answering {
    Workload(usize),
    Address(IpAddr),
}

fn answering(found: &Found, workloads: &Workloads) -> Option<Answering> {
    match found {
        Found::Pod(pod) => workloads.of(pod).map(Answering::Workload),
        Found::Node(address) | Found::Outside(address) => Some(Answering::Address(*address)),
        Found::Unclear(_) => None,
    }
}

/// How often each ephemeral port was asked: what initiators saw and what responders saw is the same
/// seen twice.
fn asked(seen: &Seen, ruleset: &Ruleset, workloads: &Workloads) -> HashMap<Service, [u64; 2]> {
    let mut asked: HashMap<Service, [u64; 2]> = HashMap::new();
    for (_, sighting) in seen.sightings() {
        let flow = &sighting.flow;
        let is_ephemeral = flow.asked_port().is_some_and(|port| port >= EPHEMERAL);
        if !is_ephemeral || sighting.from_reserved {
            continue;
        }
        let Some(connection) = flow.connection(flow.direction) else {
            continue;
        };
        for pairing in ruleset.pairings(&connection) {
            if let (Some(port), Some(who)) =
                (pairing.port, answering(&pairing.responder, workloads))
            {
                let [initiators, responders] =
                    asked.entry((who, connection.protocol, port)).or_default();
                let side = match flow.direction {
                    Direction::Ingress => responders,
                    Direction::Egress | Direction::Unknown => initiators,
                };
                *side += sighting.evidence.flows;
            }
        }
    }
    asked
}

/// Ports that services of a namespace have their pods listen at.
fn declared(inventory: &Inventory) -> HashSet<(Arc<str>, PortProtocol, u16)> {
    let mut declared = HashSet::new();
    for (id, service) in &inventory.services {
        for port in &service.ports {
            if let TargetPort::Number(number) = port.target {
                declared.insert((Arc::clone(&id.namespace), port.protocol, number));
            }
        }
    }
    declared
}

/// What tells ports of services from others.
struct Finder<'a> {
    inventory: &'a Inventory,
    workloads: &'a Workloads,
    declared: HashSet<(Arc<str>, PortProtocol, u16)>,
    asked: HashMap<Service, [u64; 2]>,
}

impl Finder<'_> {
    /// The port that was asked, if it is a service's, and what it is called.
    fn port(
        &self,
        sighting: &Sighting,
        pairing: &Pairing,
    ) -> Result<(Port, Option<Arc<str>>), Why> {
        let Protocol::Ip(number) = sighting.flow.protocol else {
            return Err(Why::NoPorts);
        };
        let protocol = PortProtocol::from_number(number).ok_or(Why::NoPorts)?;
        let port = pairing.port.filter(|port| *port > 0);
        let port = port.ok_or(Why::Undecided(Reason::UnknownPort))?;
        let named = self.named(&pairing.responder, protocol, port);
        let is_declared = || match &pairing.responder {
            Found::Pod(pod) => {
                let namespace = Arc::clone(&pod.namespace);
                self.declared.contains(&(namespace, protocol, port))
            }
            _ => false,
        };
        if named.is_none() && !pairing.by_service && !is_declared() {
            if sighting.from_reserved && protocol == PortProtocol::Udp && port >= RESERVED {
                return Err(Why::Answer);
            }
            let asked = || {
                let who = answering(&pairing.responder, self.workloads)?;
                self.asked.get(&(who, number, port))
            };
            if port >= EPHEMERAL && asked().is_none_or(|it| it.iter().all(|times| *times < 2)) {
                return Err(Why::Ephemeral(port));
            }
        }
        let (at, called) = match named {
            Some((name, true)) => (At::Name(name), None),
            Some((name, false)) => (At::Number(port), Some(name)),
            None => (At::Number(port), None),
        };
        Ok((Port { protocol, at }, called))
    }

    /// What the responder calls a port, and whether its workload has it at different numbers.
    fn named(
        &self,
        responder: &Found,
        protocol: PortProtocol,
        port: u16,
    ) -> Option<(Arc<str>, bool)> {
        let Found::Pod(pod) = responder else {
            return None;
        };
        let ports = |pod: &PodId| {
            let pod = self.inventory.pods.get(pod);
            pod.map_or(&[][..], |pod| &pod.ports)
        };
        let is_it = |it: &&NamedPort| it.protocol == protocol && it.port == port;
        let name = &ports(pod).iter().find(is_it)?.name;
        let workload = self.workloads.get(self.workloads.of(pod)?)?;
        let mut numbers = BTreeSet::new();
        for pod in &workload.pods {
            let is_called = |it: &&NamedPort| it.protocol == protocol && it.name == *name;
            let mut called = ports(pod).iter().filter(is_called);
            // Of several that are called so, which is meant is not defined.
            let one = called.next().filter(|_| called.next().is_none());
            numbers.insert(one.map(|it| it.port));
        }
        let all_have_it = !numbers.contains(&None);
        let differs = all_have_it && numbers.len() > 1 && is_port_name(name);
        Some((Arc::clone(name), differs))
    }
}
