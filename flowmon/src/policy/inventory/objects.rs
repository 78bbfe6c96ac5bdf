//! The objects of an inventory, field by field.

use std::{net::IpAddr, sync::Arc};

use super::{Backend, NamedPort, Node, Owner, Pod, PodId, Service, ServicePort, TargetPort};
use crate::policy::{
    Labels,
    document::{Node as Tree, Value},
    model::PortProtocol,
};

/// What an object lacks, or has where something else should be.
pub(super) type Broken = String;

/// `metadata.name`
pub(super) fn name(object: &Tree<'_>) -> Result<Arc<str>, Broken> {
    let name = object.at(&["metadata", "name"]).and_then(Tree::text);
    name.map(Arc::from)
        .ok_or_else(|| "it has no metadata.name".to_owned())
}

/// Namespace, `default` where there is none, and name.
pub(super) fn id(object: &Tree<'_>) -> Result<PodId, Broken> {
    let namespace = object.at(&["metadata", "namespace"]).and_then(Tree::text);
    Ok(PodId {
        namespace: namespace
            .filter(|name| !name.is_empty())
            .unwrap_or("default")
            .into(),
        name: name(object)?,
    })
}

/// `metadata.labels`
pub(super) fn labels(object: &Tree<'_>) -> Result<Labels, Broken> {
    object
        .at(&["metadata", "labels"])
        .map_or(Ok(Labels::new()), label_map)
}

fn label_map(node: &Tree<'_>) -> Result<Labels, Broken> {
    let label = |(key, value): (&str, &Tree<'_>)| match &value.value {
        Value::Text(text) => Ok((Arc::from(key), Arc::from(&**text))),
        Value::Null => Ok((Arc::from(key), Arc::from(""))),
        _ => Err(format!("the label {key} is no string")),
    };
    let entries = node.entries().iter();
    entries
        .map(|entry| label((&entry.key, &entry.value)))
        .collect()
}

/// A pod.
pub(super) fn pod(object: &Tree<'_>) -> Result<Pod, Broken> {
    let spec = |key| object.at(&["spec", key]);
    let status = |key| object.at(&["status", key]);
    // Such a pod has given its address back.
    let over = matches!(
        status("phase").and_then(Tree::text),
        Some("Succeeded" | "Failed")
    );
    let addresses = if over {
        Vec::new()
    } else {
        listed_addresses(status("podIPs"), status("podIP"))?
    };
    let containers = spec("containers").into_iter().flat_map(Tree::items);
    let sidecars = spec("initContainers")
        .into_iter()
        .flat_map(Tree::items)
        .filter(|container| container.get("restartPolicy").and_then(Tree::text) == Some("Always"));
    let mut ports = Vec::new();
    for port in containers
        .chain(sidecars)
        .filter_map(|it| it.get("ports"))
        .flat_map(Tree::items)
    {
        if let Some(name) = port.get("name").and_then(Tree::text) {
            ports.push(NamedPort {
                name: name.into(),
                protocol: protocol(port)?,
                port: number(port, "containerPort")?,
            });
        }
    }
    let labels = labels(object)?;
    Ok(Pod {
        owner: owner(object, &labels),
        labels,
        addresses,
        node: spec("nodeName").and_then(Tree::text).map(Arc::from),
        host_addresses: listed_addresses(status("hostIPs"), status("hostIP"))?,
        ports_unknown: false,
        host_network: spec("hostNetwork").is_some_and(|it| it.value == Value::Bool(true)),
        ports,
    })
}

/// What made a pod, by its `ownerReferences`; what is in between and has a name that passes is left
/// out.
fn owner(object: &Tree<'_>, labels: &Labels) -> Option<Owner> {
    let references = object.at(&["metadata", "ownerReferences"])?;
    let controls = |owner: &&Tree<'_>| {
        let controller = owner.get("controller").map(|it| &it.value);
        controller == Some(&Value::Bool(true))
    };
    let owner = references.items().iter().find(controls)?;
    let of = |key| owner.get(key).and_then(Tree::text);
    let (kind, name) = (of("kind")?, of("name")?);
    let parent = match kind {
        "ReplicaSet" => labels
            .get("pod-template-hash")
            .and_then(|hash| name.strip_suffix(&**hash))
            .map(|parent| ("Deployment", parent)),
        // Minutes since 1970, when the job was due.
        "Job" => Some(name.trim_end_matches(|char: char| char.is_ascii_digit()))
            .filter(|parent| name.len() - parent.len() >= 8)
            .map(|parent| ("CronJob", parent)),
        _ => None,
    };
    let parent = parent.and_then(|(kind, parent)| Some((kind, parent.strip_suffix('-')?)));
    let (kind, name) = parent.unwrap_or((kind, name));
    Some(Owner {
        kind: kind.into(),
        name: name.into(),
    })
}

/// A node. Names among its addresses are left out.
pub(super) fn node(object: &Tree<'_>) -> Result<Node, Broken> {
    let mut addresses = Vec::new();
    for entry in object
        .at(&["status", "addresses"])
        .into_iter()
        .flat_map(Tree::items)
    {
        if let Some("InternalIP" | "ExternalIP") = entry.get("type").and_then(Tree::text) {
            addresses.push(address(entry.get("address"))?);
        }
    }
    let networks = object
        .at(&["spec", "podCIDRs"])
        .map_or(&[][..], Tree::items);
    let first = object
        .at(&["spec", "podCIDR"])
        .filter(|_| networks.is_empty());
    let pod_networks = networks.iter().chain(first).map(|node| {
        let network = node.text().and_then(|text| text.parse().ok());
        network.ok_or_else(|| "a network of its pods is none".to_owned())
    });
    Ok(Node {
        labels: labels(object)?,
        addresses,
        pod_networks: pod_networks.collect::<Result<_, _>>()?,
    })
}

/// A service, without its endpoints.
pub(super) fn service(object: &Tree<'_>) -> Result<Service, Broken> {
    let spec = |key| object.at(&["spec", key]);
    let is_address = |node: &&Tree<'_>| !matches!(node.text(), Some("None" | ""));
    let lists = [spec("clusterIPs"), spec("externalIPs")]
        .into_iter()
        .flatten();
    let listed = lists.flat_map(Tree::items);
    let balancer = object
        .at(&["status", "loadBalancer", "ingress"])
        .into_iter();
    let balancer = balancer
        .flat_map(Tree::items)
        .filter_map(|ingress| ingress.get("ip"));
    let all = spec("clusterIP")
        .into_iter()
        .chain(listed)
        .chain(balancer)
        .filter(is_address);
    let mut addresses = Vec::new();
    for node in all {
        let address = address(Some(node))?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let ports = spec("ports")
        .into_iter()
        .flat_map(Tree::items)
        .map(service_port);
    let selector = spec("selector").map(label_map).transpose()?;
    Ok(Service {
        addresses,
        ports: ports.collect::<Result<_, _>>()?,
        selector: selector.filter(|labels| !labels.is_empty()),
        endpoints: None,
    })
}

fn service_port(node: &Tree<'_>) -> Result<ServicePort, Broken> {
    let port = number(node, "port")?;
    let target = match node.get("targetPort") {
        None => TargetPort::Number(port),
        Some(target) => match target.text() {
            Some(name) => TargetPort::Name(name.into()),
            // 0 is how Go writes that it is not set.
            None if target.value == Value::Integer(0) => TargetPort::Number(port),
            None => TargetPort::Number(number(node, "targetPort")?),
        },
    };
    let node_port = node
        .get("nodePort")
        .filter(|it| it.value != Value::Integer(0));
    Ok(ServicePort {
        name: port_name(node),
        protocol: protocol(node)?,
        port,
        target,
        node_port: node_port.map(|_| number(node, "nodePort")).transpose()?,
    })
}

/// Backends of an `Endpoints` object.
pub(super) fn endpoints(object: &Tree<'_>) -> Result<Vec<Backend>, Broken> {
    let mut backends = Vec::new();
    for subset in object.get("subsets").into_iter().flat_map(Tree::items) {
        for (key, ready) in [("addresses", true), ("notReadyAddresses", false)] {
            for entry in subset.get(key).into_iter().flat_map(Tree::items) {
                let address = address(entry.get("ip"))?;
                add_backends(&mut backends, subset, address, ready)?;
            }
        }
    }
    Ok(backends)
}

/// Backends of an `EndpointSlice`.
pub(super) fn slice(object: &Tree<'_>) -> Result<Vec<Backend>, Broken> {
    let mut backends = Vec::new();
    if object.get("addressType").and_then(Tree::text) == Some("FQDN") {
        return Ok(backends);
    }
    for endpoint in object.get("endpoints").into_iter().flat_map(Tree::items) {
        // Not known counts as ready, as the API says.
        let ready = endpoint.at(&["conditions", "ready"]);
        let ready = ready.is_none_or(|ready| ready.value == Value::Bool(true));
        for entry in endpoint.get("addresses").into_iter().flat_map(Tree::items) {
            add_backends(&mut backends, object, address(Some(entry))?, ready)?;
        }
    }
    Ok(backends)
}

fn add_backends(
    backends: &mut Vec<Backend>,
    with_ports: &Tree<'_>,
    address: IpAddr,
    ready: bool,
) -> Result<(), Broken> {
    for node in with_ports.get("ports").into_iter().flat_map(Tree::items) {
        // A port without a number is every port, which no service uses.
        if node.get("port").is_some() {
            backends.push(Backend {
                address,
                port_name: port_name(node),
                protocol: protocol(node)?,
                port: number(node, "port")?,
                ready,
            });
        }
    }
    Ok(())
}

fn port_name(node: &Tree<'_>) -> Arc<str> {
    node.get("name")
        .and_then(Tree::text)
        .unwrap_or_default()
        .into()
}

fn protocol(node: &Tree<'_>) -> Result<PortProtocol, Broken> {
    match node.get("protocol").map(|it| it.text().unwrap_or_default()) {
        None | Some("TCP") => Ok(PortProtocol::Tcp),
        Some("UDP") => Ok(PortProtocol::Udp),
        Some("SCTP") => Ok(PortProtocol::Sctp),
        Some(_) => Err("a port has an unknown protocol".to_owned()),
    }
}

fn number(node: &Tree<'_>, key: &str) -> Result<u16, Broken> {
    let port = match node.get(key).map(|it| &it.value) {
        Some(Value::Integer(number)) => u16::try_from(*number).ok().filter(|port| *port > 0),
        _ => None,
    };
    port.ok_or_else(|| format!("a {key} is no port"))
}

/// Addresses of a list of `{ip: …}`, or the one there was before such lists.
fn listed_addresses(
    list: Option<&Tree<'_>>,
    single: Option<&Tree<'_>>,
) -> Result<Vec<IpAddr>, Broken> {
    let items = list.map_or(&[][..], Tree::items);
    if items.is_empty() {
        let single = single.filter(|it| it.text() != Some(""));
        return single.into_iter().map(|it| address(Some(it))).collect();
    }
    items.iter().map(|item| address(item.get("ip"))).collect()
}

fn address(node: Option<&Tree<'_>>) -> Result<IpAddr, Broken> {
    let text = node.and_then(Tree::text).unwrap_or_default();
    let address: Option<IpAddr> = text.parse().ok();
    let address = address.ok_or_else(|| {
        let start: String = text.chars().take(50).collect();
        format!("`{start}` is no address")
    })?;
    Ok(address.to_canonical())
}
