//! Needs as documents, with the evidence as comments.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::IpAddr,
};

use ipnetwork::IpNetwork;

use super::{
    needs::{At, Need, Needs, Peer, Port, Proof, Rules},
    networks::{Inside, networks},
    question::counted,
    workload::{Workload, Workloads},
};
use crate::{
    model::Direction,
    policy::{
        Inventory, Labels, Policy, PolicySet, Selector,
        inventory::PodId,
        labels::{NAME_LABEL, Operator},
        model::{Kind, Namespaces, PortProtocol},
        yaml::{Yaml, comment, list, map, match_labels, number, text},
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
        let head = heads(workload, recorded);
        let policy = writer.policy(workload, need, ingress, egress);
        Some(comments(&head) + &policy.render())
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
    fn policy(&self, workload: &Workload, need: &Need, ingress: bool, egress: bool) -> Yaml {
        let mut spec = vec![("podSelector", selector(&workload.selector))];
        let mut types = Vec::new();
        let mut rules = Vec::new();
        if ingress {
            types.push(text("Ingress"));
            rules.push(("ingress", list(self.rules(workload, &need.ingress, "from"))));
        }
        if egress {
            types.push(text("Egress"));
            rules.push(("egress", list(self.rules(workload, &need.egress, "to"))));
        }
        spec.push(("policyTypes", list(types)));
        spec.extend(rules);
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

    /// One rule for each workload at the other end, then those by address.
    fn rules(&self, subject: &Workload, rules: &Rules, key: &str) -> Vec<Yaml> {
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
            let mut lines: Vec<String> = ports
                .iter()
                .map(|(port, proof)| line(port, proof))
                .collect();
            lines.extend(about_dns(key, &ports));
            let peer = [pods(subject, peer)];
            let ports = ports.iter().map(|(port, _)| *port);
            Some(rule(lines, key, peer.into(), ports))
        });
        let mut all: Vec<Yaml> = of_pods.collect();
        let mut same: BTreeMap<Vec<IpNetwork>, Vec<ByAddress<'_>>> = BTreeMap::new();
        for (port, proofs) in by_port {
            let addresses = proofs.keys().copied().collect();
            let networks = networks(&addresses, &self.inside);
            same.entry(networks).or_default().push((port, proofs));
        }
        for (networks, ports) in same {
            // What is too much to list is not allowed, so it is asked about.
            if networks.len() <= NETWORKS {
                all.push(by_address(&networks, &ports, key));
            }
        }
        all
    }
}

/// A port, and who is at the other end.
type ByAddress<'a> = (&'a Port, BTreeMap<IpAddr, &'a Proof>);

/// A rule for networks.
fn by_address(networks: &[IpNetwork], ports: &[ByAddress<'_>], key: &str) -> Yaml {
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
    lines.extend(about_dns(key, &sums));
    let block = |network: &IpNetwork| map([("ipBlock", map([("cidr", text(network))]))]);
    let peers = networks.iter().map(block).collect();
    rule(lines, key, peers, ports.iter().map(|(port, _)| *port))
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

fn rule<'a>(
    lines: Vec<String>,
    key: &str,
    peers: Vec<Yaml>,
    ports: impl Iterator<Item = &'a Port>,
) -> Yaml {
    let ports = ports.map(|port| {
        let at = match &port.at {
            At::Number(at) => number(*at),
            At::Name(name) => text(name),
        };
        map([("protocol", text(port.protocol.label())), ("port", at)])
    });
    let rule = map([(key, list(peers)), ("ports", list(ports))]);
    Yaml::Commented(lines, Box::new(rule))
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
fn about_dns(key: &str, ports: &[(&Port, &Proof)]) -> Option<String> {
    let has = |protocol| {
        let mut ports = ports.iter();
        ports.any(|(port, _)| port.protocol == protocol && port.at == At::Number(53))
    };
    (key == "to" && has(PortProtocol::Udp) && !has(PortProtocol::Tcp)).then(|| {
        "DNS over TCP, which long answers need, was not seen and is not allowed.".to_owned()
    })
}

/// The pods of a workload, as seen from another.
fn pods(subject: &Workload, peer: &Workload) -> Yaml {
    let pods = ("podSelector", selector(&peer.selector));
    if peer.namespace == subject.namespace {
        return map([pods]);
    }
    let namespace = Labels::from([(NAME_LABEL.into(), peer.namespace.clone())]);
    map([("namespaceSelector", map(match_labels(&namespace))), pods])
}

fn selector(selector: &Selector) -> Yaml {
    let mut labels = Labels::new();
    let mut expressions = Vec::new();
    for requirement in &selector.requirements {
        let (operator, values) = match &requirement.operator {
            Operator::In(values) => {
                if let [value] = &values[..] {
                    labels.insert(requirement.key.clone(), value.clone());
                    continue;
                }
                ("In", &values[..])
            }
            Operator::NotIn(values) => ("NotIn", &values[..]),
            Operator::Exists => ("Exists", &[][..]),
            Operator::DoesNotExist => ("DoesNotExist", &[][..]),
        };
        let mut expression = vec![
            ("key", text(&requirement.key)),
            ("operator", text(operator)),
        ];
        if !values.is_empty() {
            expression.push(("values", list(values.iter().map(text))));
        }
        expressions.push(map(expression));
    }
    let mut fields = match_labels(&labels);
    if !expressions.is_empty() {
        fields.push(("matchExpressions", list(expressions)));
    }
    map(fields)
}
