//! Who exists: namespaces, pods, nodes and services, as the cluster (or its YAML) says.

mod item;
mod objects;
mod read;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;

pub(in crate::policy) use item::{Item, Slice};
pub use read::{Listing, Reader, read};

use super::{Labels, model::PortProtocol};

/// Everything that has an address or a label.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// Labels of each namespace, `kubernetes.io/metadata.name` always among them. Of one that is
    /// missing here, though pods are in it, only the name is known: what asks for other labels of
    /// it is undecided.
    pub namespaces: BTreeMap<Arc<str>, Labels>,
    /// By namespace and name.
    pub pods: BTreeMap<PodId, Pod>,
    /// By name.
    pub nodes: BTreeMap<Arc<str>, Node>,
    /// By namespace and name.
    pub services: BTreeMap<ServiceId, Service>,
}

/// Namespace and name of a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// Namespace and name of a service.
pub type ServiceId = PodId;

/// A pod, or what counts as one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pod {
    /// Its labels.
    pub labels: Labels,
    /// Its addresses, one of each family at most. Empty when it has none, or has run to completion:
    /// then its address may be another's.
    pub addresses: Vec<IpAddr>,
    /// What made it.
    pub owner: Option<Owner>,
    /// The node it runs on.
    pub node: Option<Arc<str>>,
    /// Addresses of that node, as the pod's status has them.
    pub host_addresses: Vec<IpAddr>,
    /// It uses its node's network: to policies it is its node.
    pub host_network: bool,
    /// Named ports of its containers and sidecars (init containers that are restarted always), in
    /// the order of the document.
    pub ports: Vec<NamedPort>,
    /// Whether it has more of these is not known: it was not Kubernetes that told of it.
    pub ports_unknown: bool,
}

impl Pod {
    /// The addresses that are its alone: who uses its node's network has its node's.
    pub fn own(&self) -> &[IpAddr] {
        if self.host_network {
            &[]
        } else {
            &self.addresses
        }
    }
}

/// What makes pods: of those of a `ReplicaSet` its `Deployment`, of a `CronJob`'s that.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// Its kind.
    pub kind: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// A container port with a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedPort {
    /// Its name.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: PortProtocol,
    /// Its number.
    pub port: u16,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// Its labels.
    pub labels: Labels,
    /// Its addresses, internal and external.
    pub addresses: Vec<IpAddr>,
    /// Where its pods get their addresses (`spec.podCIDRs`): an address of these that no pod of the
    /// inventory has is not taken for one outside the cluster.
    pub pod_networks: Vec<IpNetwork>,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// Cluster, external and load-balancer addresses.
    pub addresses: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Which pods answer, when it says so by a selector (an empty one selects nothing).
    pub selector: Option<Labels>,
    /// Who answers, from `Endpoints` or `EndpointSlice`s; `None` when there are none of these.
    pub endpoints: Option<Vec<Backend>>,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name, empty when it has none.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: PortProtocol,
    /// Where the service listens.
    pub port: u16,
    /// Where its pods do.
    pub target: TargetPort,
    /// Where every node listens for it.
    pub node_port: Option<u16>,
}

/// Where a service's pods listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetPort {
    /// At this port.
    Number(u16),
    /// At the port that each of them calls so.
    Name(Arc<str>),
}

/// One who answers for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its address.
    pub address: IpAddr,
    /// Name of the service's port.
    pub port_name: Arc<str>,
    /// Its protocol.
    pub protocol: PortProtocol,
    /// Where it listens.
    pub port: u16,
    /// Ready to serve.
    pub ready: bool,
}
