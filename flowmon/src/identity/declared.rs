//! What the user declared, as an inventory: the pods, services and nodes of other hosts, and labels
//! for those of this one.

use std::{collections::HashMap, net::IpAddr};

use super::Known;
use crate::{
    model::{EndpointKind, IdentitySource},
    policy::{
        Inventory,
        inventory::{Node, Pod, PodId, Service},
    },
};

/// Everybody in an inventory. An address that several pods claim is nobody's.
pub fn declared(inventory: &Inventory) -> Vec<Known> {
    let mut claims: HashMap<IpAddr, usize> = HashMap::new();
    for address in inventory.pods.values().flat_map(Pod::own) {
        *claims.entry(*address).or_default() += 1;
    }
    let pods = inventory.pods.iter().map(|(id, pod)| {
        let mut known = from_pod(id, pod);
        known.addresses.retain(|it| claims.get(it) == Some(&1));
        known
    });
    let services = inventory
        .services
        .iter()
        .map(|(id, service)| from_service(id, service));
    let nodes = inventory.nodes.iter();
    let nodes = nodes.map(|(name, node)| from_node(name, node));
    pods.chain(services).chain(nodes).collect()
}

fn from_pod(id: &PodId, pod: &Pod) -> Known {
    let mut known = named(EndpointKind::Pod, id);
    known.identity.labels = Some(pod.labels.clone());
    known.addresses = pod.own().to_vec();
    known
}

fn from_service(id: &PodId, service: &Service) -> Known {
    let mut known = named(EndpointKind::Service, id);
    known.addresses.clone_from(&service.addresses);
    known
}

fn from_node(name: &std::sync::Arc<str>, node: &Node) -> Known {
    let mut known = Known::new(EndpointKind::Node, IdentitySource::Inventory);
    known.identity.name = Some(name.clone());
    known.identity.labels = Some(node.labels.clone());
    known.addresses.clone_from(&node.addresses);
    known
}

fn named(kind: EndpointKind, id: &PodId) -> Known {
    let mut known = Known::new(kind, IdentitySource::Inventory);
    known.identity.namespace = Some(id.namespace.clone());
    known.identity.name = Some(id.name.clone());
    known
}
