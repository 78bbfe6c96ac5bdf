//! Needs as documents, with the evidence as comments.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::IpAddr,
};

use ipnetwork::IpNetwork;

use super::{
    format::{Allowed, Format, Others, Said},
    needs::{At, Need, Needs, Peer, Port, Proof, Rules},
    networks::{Inside, networks},
    question::counted,
    workload::{Workload, Workloads},
};
use crate::{
    model::Direction,
    policy::{
        Inventory, Labels, Policy, PolicySet,
        inventory::PodId,
        model::{Kind, Namespaces, PortProtocol},
        yaml::{Yaml, comment},
    },
};

/// Networks that a rule may have; what needs more is nothing to list.
const NETWORKS: usize = 1024;
/// Networks in a rule that make one ask whether it is for everyone.
const MANY: usize = 32;
/// Addresses that are told of a rule one by one.
const TOLD: usize = 8;

/// Lines as comments.
pub(super) fn comments(lines: &[String]) -> String {
    lines.iter().map(|line| comment(line) + "\n").collect()
}

/// A policy for each workload that needs one.
pub(super) fn documents(
    needs: &Needs,
    watched: &BTreeMap<usize, BTreeSet<PodId>>,
    workloads: &Workloads,
    inventory: &Inventory,
    existing: &PolicySet,
    format: Format,
) -> Vec<String> {
    let writer = Writer {
        workloads,
        inside: Inside::new(inventory),
    };
    let nothing = Need::default();
    let numbers: BTreeSet<usize> = needs
        .by_workload
        .keys()
        .chain(watched.keys())
        .copied()
        .collect();
    let document = |number: usize| {
        let workload = workloads.get(number)?;
        let need = needs.by_workload.get(&number).unwrap_or(&nothing);
        let recorded = watched.get(&number);
        let isolates = |direction| {
            recorded.is_some() && !is_isolated(workload, direction, inventory, existing)
        };
        let ingress = !need.ingress.is_empty() || isolates(Direction::Ingress);
        let egress = !need.egress.is_empty() || isolates(Direction::Egress);
        if !ingress && !egress {
            return None;
        }
        let said = Said {
            workload,
            ingress: ingress.then(|| writer.allowed(&need.ingress, Direction::Ingress)),
            egress: egress.then(|| writer.allowed(&need.egress, Direction::Egress)),
        };
        let documents = format.documents(&said);
        let documents: Vec<String> = documents.iter().map(Yaml::render).collect();
        Some(comments(&heads(workload, recorded)) + &documents.join("---\n"))
    };
    numbers.into_iter().filter_map(document).collect()
}

/// Do policies isolate all of its pods already?
fn is_isolated(
    workload: &Workload,
    direction: Direction,
    inventory: &Inventory,
    existing: &PolicySet,
) -> bool {
    let isolates = |policy: &Policy, labels: &Labels| {
        let rules = match direction {
            Direction::Ingress => &policy.ingress,
            Direction::Egress | Direction::Unknown => &policy.egress,
        };
        let here = Namespaces::Named(workload.namespace.clone());
        policy.id.kind == Kind::NetworkPolicy
            && rules.is_some()
            && policy.subject.namespaces == here
            && policy.subject.pods.matches(labels)
    };
    workload.pods.iter().all(|pod| {
        let labels = inventory.pods.get(pod).map(|pod| &pod.labels);
        let mut policies = existing.policies.iter();
        labels.is_some_and(|labels| policies.any(|policy| isolates(policy, labels)))
    })
}

/// What a policy is about, as lines.
fn heads(workload: &Workload, recorded: Option<&BTreeSet<PodId>>) -> Vec<String> {
    let owners = if workload.owners.is_empty() {
        String::new()
    } else {
        format!(" ({})", workload.owners.join(", "))
    };
    let all = counted(workload.pods.len() as u64, "pod", "pods");
    let recorded = recorded.map_or_else(
        || "seen by its peers only".to_owned(),
        |pods| format!("recorded at {} of {all}", pods.len()),
    );
    let mut lines = vec![format!(
        "{}/{}{owners}: {recorded}.",
        workload.namespace, workload.name
    )];
    if workload.owners.len() > 1 {
        lines.push("Their labels don't tell these apart, so all of them get the same.".to_owned());
    }
    if !workload.is_labelled {
        lines.push(
            "Its pods have no label in common that lasts: this is about whatever has none of the \
             others' labels. Better give them one."
                .to_owned(),
        );
    }
    lines
}

struct Writer<'a> {
    workloads: &'a Workloads,
    inside: Inside,
}

impl Writer<'_> {
    /// What is let through: by workload at the other end, then by address.
    fn allowed<'n>(&'n self, rules: &'n Rules, direction: Direction) -> Vec<Allowed<'n>> {
        let mut by_peer: BTreeMap<usize, Vec<(&Port, &Proof)>> = BTreeMap::new();
        let mut by_port: BTreeMap<&Port, BTreeMap<IpAddr, &Proof>> = BTreeMap::new();
        for ((peer, port), proof) in rules {
            match peer {
                Peer::Workload(number) => by_peer.entry(*number).or_default().push((port, proof)),
                Peer::Address(address) => {
                    by_port.entry(port).or_default().insert(*address, proof);
                }
            }
        }
        let of_pods = by_peer.into_iter().filter_map(|(number, ports)| {
            let peer = self.workloads.get(number)?;
            let lines = ports.iter().map(|(port, proof)| line(port, proof));
            Some(Allowed {
                lines: lines.chain(about_dns(direction, &ports)).collect(),
                others: Others::Workload(peer),
                ports: ports.iter().map(|(port, _)| *port).collect(),
            })
        });
        let mut all: Vec<Allowed<'_>> = of_pods.collect();
        let mut same: BTreeMap<Vec<IpNetwork>, Vec<ByAddress<'_>>> = BTreeMap::new();
        for (port, proofs) in by_port {
            let addresses = proofs.keys().copied().collect();
            let networks = networks(&addresses, &self.inside);
            same.entry(networks).or_default().push((port, proofs));
        }
        for (networks, ports) in same {
            // What is too much to list is not allowed, so it is asked about.
            if networks.len() <= NETWORKS {
                all.push(by_address(networks, &ports, direction));
            }
        }
        all
    }
}

/// A port, and who is at the other end.
type ByAddress<'a> = (&'a Port, BTreeMap<IpAddr, &'a Proof>);

/// What is let through by address.
fn by_address<'a>(
    networks: Vec<IpNetwork>,
    ports: &[ByAddress<'a>],
    direction: Direction,
) -> Allowed<'a> {
    let mut lines = Vec::new();
    let mut sums = Vec::new();
    for (port, proofs) in ports {
        let mut sum = Proof::default();
        for proof in proofs.values() {
            sum.add(proof);
        }
        let addresses = counted(proofs.len() as u64, "address", "addresses");
        lines.push(format!(
            "{}, {addresses}: {}",
            line(port, &sum),
            told(proofs)
        ));
        sums.push((*port, sum));
    }
    if networks.len() > MANY {
        lines.push(
            "So many: is it for everyone? Then 0.0.0.0/0 (or ::/0) instead says so.".to_owned(),
        );
    }
    let sums: Vec<_> = sums.iter().map(|(port, sum)| (*port, sum)).collect();
    lines.extend(about_dns(direction, &sums));
    Allowed {
        lines,
        others: Others::Networks(networks),
        ports: ports.iter().map(|(port, _)| *port).collect(),
    }
}

/// The first few addresses.
fn told(proofs: &BTreeMap<IpAddr, &Proof>) -> String {
    let first: Vec<String> = proofs.keys().take(TOLD).map(ToString::to_string).collect();
    let mut told = first.join(", ");
    if let Some(more @ 1..) = proofs.len().checked_sub(TOLD) {
        // A string takes all there is to write.
        let _ = write!(told, " and {more} more");
    }
    told
}

/// `TCP 6379 (redis): 3 flows, 1200 bytes, 2026-11-22T10:00:00Z to 2026-11-22T10:00:09Z`
fn line(port: &Port, proof: &Proof) -> String {
    let evidence = proof.evidence();
    let at = match &port.at {
        At::Number(number) => number.to_string(),
        At::Name(name) => name.to_string(),
    };
    let called: Vec<&str> = proof.called.iter().map(|name| &**name).collect();
    let called = if called.is_empty() {
        String::new()
    } else {
        format!(" ({})", called.join(", "))
    };
    let flows = counted(evidence.flows, "flow", "flows");
    let bytes = counted(evidence.bytes, "byte", "bytes");
    let between = evidence.between();
    let between = between.map_or_else(String::new, |(first, last)| {
        format!(", {first:.0} to {last:.0}")
    });
    let from_peers = if proof.is_only_from_peers() {
        ", seen at the other end only"
    } else {
        ""
    };
    let unanswered = if evidence.answered {
        ""
    } else {
        ", never answered: is it needed?"
    };
    let protocol = port.protocol.label();
    format!("{protocol} {at}{called}: {flows}, {bytes}{between}{from_peers}{unanswered}")
}

/// Names need both, but the second so seldom that it is easily not seen.
fn about_dns(direction: Direction, ports: &[(&Port, &Proof)]) -> Option<String> {
    let has = |protocol| {
        let mut ports = ports.iter();
        ports.any(|(port, _)| port.protocol == protocol && port.at == At::Number(53))
    };
    (direction == Direction::Egress && has(PortProtocol::Udp) && !has(PortProtocol::Tcp)).then(
        || "DNS over TCP, which long answers need, was not seen and is not allowed.".to_owned(),
    )
}
