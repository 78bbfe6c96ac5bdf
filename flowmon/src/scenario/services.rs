//! Services of a scenario.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use super::cast::{Taken, address};
use crate::policy::{
    AskedPort, Inventory, Labels,
    document::{Cursor, Findings, labels, pod_id},
    inventory::{Backend, NamedPort, Pod, PodId, Service, ServicePort, TargetPort},
    model::PortProtocol,
};

/// Backends of a service, each at each port: more is a mistake.
const MOST: usize = 100_000;

/// Reads services of these pods and peers outside.
pub(super) fn read(
    at: &Cursor<'_, '_>,
    cast: &mut Inventory,
    outside: &BTreeMap<String, IpAddr>,
    taken: &mut Taken,
    findings: &mut Findings<'_>,
) {
    let first = u32::from(Ipv4Addr::new(10, 96, 0, 1));
    let last = u32::from(Ipv4Addr::new(10, 96, 255, 254));
    let mut free = (first..=last).map(|bits| IpAddr::V4(bits.into()));
    for (text, at) in at.fields(findings).all() {
        let Some(id) = pod_id(&at, text, findings) else {
            continue;
        };
        if cast.pods.contains_key(&id) {
            let says = format_args!("there is a pod `{text}`: a name is one's alone here");
            findings.error(&at, "duplicate-item", says);
        }
        let reader = Reader { cast, outside };
        let mut service = reader.service(text, &id, &at, taken, findings);
        if service.addresses.is_empty()
            && let Some(address) = free.find(|address| !taken.contains_key(address))
        {
            taken.insert(address, text.to_owned());
            service.addresses.push(address);
        }
        cast.services.insert(id, service);
    }
}

struct Reader<'a> {
    cast: &'a Inventory,
    outside: &'a BTreeMap<String, IpAddr>,
}

impl Reader<'_> {
    fn service(
        &self,
        name: &str,
        id: &PodId,
        at: &Cursor<'_, '_>,
        taken: &mut Taken,
        findings: &mut Findings<'_>,
    ) -> Service {
        let mut fields = at.fields(findings);
        let mut service = Service::default();
        if let Some(at) = fields.get("addresses") {
            for at in at.one_or_more(findings) {
                service
                    .addresses
                    .extend(address(name, &at, taken, findings));
            }
        }
        if let Some(at) = fields.require("ports", findings) {
            for (text, at) in at.fields(findings).all() {
                service.ports.extend(port(text, &at, findings));
            }
            if service.ports.is_empty() {
                findings.error(&at, "list-length", "a service has a port at least");
            }
        }
        let selector = fields.get("selector");
        let backends = fields.get("backends");
        fields.end(findings);
        match (selector, backends) {
            (Some(at), None) => {
                let labels = labels(&at, findings);
                self.selects_somebody(id, &labels, &at, findings);
                service.selector = Some(labels);
            }
            (None, Some(at)) => {
                let found = self.backends(&service, &at, findings);
                service.endpoints = Some(found);
            }
            _ => {
                let says = "who answers is said by either `selector` or `backends`";
                findings.error(at, "not-exactly-one", says);
            }
        }
        service
    }

    fn selects_somebody(
        &self,
        id: &PodId,
        labels: &Labels,
        at: &Cursor<'_, '_>,
        findings: &mut Findings<'_>,
    ) {
        let has = |pod: &Pod| {
            let mut labels = labels.iter();
            labels.all(|(key, value)| pod.labels.get(key) == Some(value))
        };
        let mut pods = self.cast.pods.iter();
        if labels.is_empty() || !pods.any(|(pod, it)| pod.namespace == id.namespace && has(it)) {
            let says = format_args!("it selects no pod of `{}`", id.namespace);
            findings.error(at, "selects-no-pod", says);
        }
    }

    /// Each at each port.
    fn backends(
        &self,
        service: &Service,
        at: &Cursor<'_, '_>,
        findings: &mut Findings<'_>,
    ) -> Vec<Backend> {
        let mut found = Vec::new();
        for at in at.one_or_more(findings) {
            if found.len() > MOST {
                let says = format_args!("more than {MOST} backends");
                findings.error(&at, "list-length", says);
                return found;
            }
            let Some(text) = at.text(findings) else {
                continue;
            };
            let Some((addresses, pod)) = self.addresses(text) else {
                let says = format_args!("`{text}` is no pod, no outside peer and no address");
                findings.error(&at, "invalid-peer", says);
                continue;
            };
            for port in &service.ports {
                let number = match &port.target {
                    TargetPort::Number(number) => *number,
                    TargetPort::Name(name) => {
                        let mut ports = pod.iter().flat_map(|pod| &pod.ports);
                        let is_it =
                            |it: &&NamedPort| it.name == *name && it.protocol == port.protocol;
                        let Some(named) = ports.find(is_it) else {
                            let protocol = port.protocol.label();
                            let says = format_args!("{text} has no {protocol} port `{name}`");
                            findings.error(&at, "invalid-port", says);
                            continue;
                        };
                        named.port
                    }
                };
                found.extend(addresses.iter().map(|address| Backend {
                    address: *address,
                    port_name: Arc::clone(&port.name),
                    protocol: port.protocol,
                    port: number,
                    ready: true,
                }));
            }
        }
        found
    }

    fn addresses(&self, text: &str) -> Option<(Vec<IpAddr>, Option<&Pod>)> {
        if let Some(address) = self.outside.get(text).copied().or(text.parse().ok()) {
            return Some((vec![address], None));
        }
        let (namespace, name) = text.split_once('/')?;
        let (namespace, name) = (namespace.into(), name.into());
        let pod = self.cast.pods.get(&PodId { namespace, name })?;
        Some((pod.addresses.clone(), Some(pod)))
    }
}

/// `80: 8080`, `53/udp: dns`: where the service listens, and its pods.
fn port(text: &str, at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Option<ServicePort> {
    let target = at.word(findings)?;
    let asked = text.parse::<AskedPort>().ok();
    let asked = asked.and_then(|asked| {
        let protocol = PortProtocol::from_number(asked.protocol)?;
        Some((protocol, asked.number?))
    });
    let Some((protocol, port)) = asked else {
        let says = format_args!("`{text}`: a service listens at a port like 80 or 53/udp");
        findings.error(at, "invalid-port", says);
        return None;
    };
    let target = match target.parse() {
        Ok(0) => {
            findings.error(at, "invalid-port", "there is no port 0");
            return None;
        }
        Ok(number) => TargetPort::Number(number),
        Err(_) => TargetPort::Name(target.as_str().into()),
    };
    Some(ServicePort {
        name: text.into(),
        protocol,
        port,
        target,
        node_port: None,
    })
}
