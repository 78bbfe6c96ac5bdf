//! Who plays: namespaces, pods and peers outside, no two with one address.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use super::{expectation::EVERYONE, services};
use crate::policy::{
    AskedPort, Inventory, Labels,
    document::{Cursor, Findings, is_namespace, is_port_name, labels, pod_id},
    inventory::{NamedPort, Pod, PodId},
    labels::NAME_LABEL,
    model::PortProtocol,
};

/// Addresses by who has them.
pub(super) type Taken = HashMap<IpAddr, String>;

pub(super) fn read(
    namespaces: Option<&Cursor<'_, '_>>,
    pods: Option<&Cursor<'_, '_>>,
    outside: Option<&Cursor<'_, '_>>,
    services: Option<&Cursor<'_, '_>>,
    findings: &mut Findings<'_>,
) -> (Inventory, BTreeMap<String, IpAddr>) {
    let mut cast = Inventory::default();
    let mut taken = Taken::new();
    if let Some(at) = namespaces {
        for (name, at) in at.fields(findings).all() {
            if !is_namespace(name) {
                let says = format_args!("`{name}` is no name of a namespace");
                findings.error(&at, "invalid-name", says);
            }
            let labels = labels(&at, findings);
            cast.namespaces.insert(name.into(), named(name, labels));
        }
    }
    if let Some(at) = pods {
        for (text, at) in at.fields(findings).all() {
            if let Some(id) = pod_id(&at, text, findings) {
                let pod = pod(text, &at, &mut taken, findings);
                cast.pods.insert(id, pod);
            }
        }
    }
    let mut peers = BTreeMap::new();
    if let Some(at) = outside {
        for (name, at) in at.fields(findings).all() {
            if name.contains('/') || name == EVERYONE || name.parse::<IpAddr>().is_ok() {
                let says =
                    "an outside peer has a plain name: no `/`, no address, and not `everyone`";
                findings.error(&at, "invalid-name", says);
            }
            if let Some(address) = address(name, &at, &mut taken, findings) {
                peers.insert(name.to_owned(), address);
            }
        }
    }
    // What a scenario says is all there is: a namespace without labels has its name's alone.
    let inhabited: BTreeSet<Arc<str>> = cast
        .pods
        .keys()
        .map(|id| Arc::clone(&id.namespace))
        .collect();
    for name in inhabited {
        let labels = || named(&name, Labels::new());
        cast.namespaces
            .entry(Arc::clone(&name))
            .or_insert_with(labels);
    }
    assign(&mut cast.pods, &mut taken, pods, findings);
    if let Some(at) = services {
        services::read(at, &mut cast, &peers, &mut taken, findings);
    }
    (cast, peers)
}

fn named(name: &str, mut labels: Labels) -> Labels {
    labels.insert(NAME_LABEL.into(), name.into());
    labels
}

fn pod(name: &str, at: &Cursor<'_, '_>, taken: &mut Taken, findings: &mut Findings<'_>) -> Pod {
    let mut fields = at.fields(findings);
    let mut pod = Pod::default();
    if let Some(at) = fields.get("labels") {
        pod.labels = labels(&at, findings);
    }
    if let Some(at) = fields.get("addresses") {
        for at in at.one_or_more(findings) {
            pod.addresses.extend(address(name, &at, taken, findings));
        }
        let four = pod.addresses.iter().filter(|it| it.is_ipv4()).count();
        if four > 1 || pod.addresses.len() - four > 1 {
            let says = "a pod has one address of each family at most";
            findings.error(&at, "list-length", says);
        }
    }
    if let Some(at) = fields.get("ports") {
        for (name, at) in at.fields(findings).all() {
            pod.ports.extend(port(name, &at, findings));
        }
    }
    fields.end(findings);
    pod
}

fn port(name: &str, at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Option<NamedPort> {
    if !is_port_name(name) {
        let says = format_args!("`{name}` is no name of a port");
        findings.error(at, "invalid-name", says);
    }
    let text = at.word(findings)?;
    let protocols = [PortProtocol::Tcp, PortProtocol::Udp, PortProtocol::Sctp];
    let asked: Option<AskedPort> = text.parse().ok();
    let found = asked.and_then(|asked| {
        let mut protocols = protocols.into_iter();
        let protocol = protocols.find(|it| it.number() == asked.protocol)?;
        Some(NamedPort {
            name: name.into(),
            protocol,
            port: asked.number?,
        })
    });
    if found.is_none() {
        let says = format_args!("`{text}`: expected a port like 8080, 53/udp or 3868/sctp");
        findings.error(at, "invalid-port", says);
    }
    found
}

pub(super) fn address(
    whose: &str,
    at: &Cursor<'_, '_>,
    taken: &mut Taken,
    findings: &mut Findings<'_>,
) -> Option<IpAddr> {
    let text = at.text(findings)?;
    let Ok(address) = text.parse::<IpAddr>() else {
        let says = format_args!("`{text}` is no IP address");
        findings.error(at, "invalid-network", says);
        return None;
    };
    let address = address.to_canonical();
    if let Some(other) = taken.insert(address, whose.to_owned()) {
        let says = format_args!("{address} is the address of {other} already");
        findings.error(at, "duplicate-item", says);
    }
    Some(address)
}

/// Gives those an address of 10.244.0.0/16 that have none.
fn assign(
    pods: &mut BTreeMap<PodId, Pod>,
    taken: &mut Taken,
    at: Option<&Cursor<'_, '_>>,
    findings: &mut Findings<'_>,
) {
    let first = u32::from(Ipv4Addr::new(10, 244, 0, 1));
    let last = u32::from(Ipv4Addr::new(10, 244, 255, 254));
    let mut free = (first..=last).map(|bits| IpAddr::V4(bits.into()));
    for (id, pod) in pods.iter_mut().filter(|(_, pod)| pod.addresses.is_empty()) {
        match (free.find(|address| !taken.contains_key(address)), at) {
            (Some(address), _) => {
                taken.insert(address, format!("{}/{}", id.namespace, id.name));
                pod.addresses.push(address);
            }
            (None, Some(at)) => {
                findings.error(
                    at,
                    "list-length",
                    "more pods than 10.244.0.0/16 has addresses",
                );
                return;
            }
            (None, None) => return,
        }
    }
}
