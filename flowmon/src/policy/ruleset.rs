//! Policies and inventory, compiled to answer for one connection at a time.
//!
//! Policies look at a pod's namespace and labels, hardly ever at the pod: pods with the same labels in
//! the same namespace are one class (`class`). When the first pod of a class appears, every selector
//! is asked about it once. The class keeps the answers as a row of bits, and lists of the policies
//! that are about it, for each direction in the order of judgement. So a verdict is two look-ups of
//! addresses, a walk over the rules of just these policies, a bit for each peer they name; policies
//! that are about other pods cost nothing. A pod that comes, goes or changes its labels
//! touches its own entries and those of the services in its namespace.
//!
//! Everything is three-valued (`matching`): what can't be known of a connection makes it undecided
//! only where it matters.

mod addresses;
pub(super) mod class;
pub(super) mod compiled;
pub(super) mod ends;
pub(super) mod matching;
pub(super) mod network;
pub mod pairing;
pub(super) mod rule;
mod selectors;
mod services;
mod settings;
mod side;
pub(super) mod who;

use std::{
    collections::{HashMap, hash_map::Entry},
    ops::Range,
    sync::Arc,
};

use ipnetwork::IpNetwork;

use addresses::Addresses;
use class::Classes;
use compiled::Policies;
use network::normal;
use selectors::{Namespace, Selectors};
use services::Answering;
pub use settings::{Settings, ToOwnNode};
use who::{Node, Pod};

use super::{
    Connection, Inventory, Labels, PolicySet, Verdicts,
    inventory::{self, PodId},
    model::PolicyId,
};

/// Policies and inventory, ready to judge. Share it in an [`Arc`] and replace it whole, or keep it and
/// tell it of pods.
#[derive(Debug, Clone)]
pub struct Ruleset {
    settings: Settings,
    selectors: Selectors,
    policies: Policies,
    namespaces: HashMap<Arc<str>, InNamespace>,
    /// Nodes by name, also those that only pods tell of.
    nodes: HashMap<Arc<str>, Arc<Node>>,
    pods: HashMap<PodId, Arc<Pod>>,
    services: Vec<Answering>,
    /// Numbers of the services that answer at each node's ports, by protocol and port.
    node_ports: HashMap<(u8, u16), usize>,
    addresses: Addresses,
}

/// What a pod's arrival touches.
#[derive(Debug, Clone)]
struct InNamespace {
    classes: Classes,
    /// Numbers of the services of the namespace: they were given together.
    services: Range<usize>,
}

impl Ruleset {
    /// Puts them together.
    pub fn compile(policies: &PolicySet, inventory: &Inventory, settings: Settings) -> Self {
        let mut selectors = Selectors::default();
        let policies = Policies::new(policies, &mut selectors, settings);
        let pod_networks = inventory.nodes.values().flat_map(|node| &node.pod_networks);
        let nodes_known = !inventory.nodes.is_empty();
        let addresses = Addresses::new(pod_networks.collect(), nodes_known);
        let mut ruleset = Self {
            settings,
            selectors,
            policies,
            namespaces: HashMap::new(),
            nodes: HashMap::new(),
            pods: HashMap::with_capacity(inventory.pods.len()),
            services: Vec::with_capacity(inventory.services.len()),
            node_ports: HashMap::new(),
            addresses,
        };
        for (name, labels) in &inventory.namespaces {
            ruleset.in_namespace(name, Some(labels));
        }
        for (name, node) in &inventory.nodes {
            let node_of_name = ruleset.node(name, Some(&node.labels));
            for address in &node.addresses {
                ruleset.addresses.add_node(normal(*address), &node_of_name);
            }
        }
        for (id, service) in &inventory.services {
            ruleset.add_service(id, service);
        }
        for (id, pod) in &inventory.pods {
            ruleset.add_pod(id, pod);
        }
        ruleset
    }

    /// What both sides' policies say of a connection.
    pub fn judge(&self, connection: &Connection) -> Verdicts {
        ends::judge(self, connection)
    }

    /// A pod has appeared or changed, or is gone when there is `None`. Its namespace is known by its
    /// name only, if it was not in the inventory.
    pub fn pod_changed(&mut self, id: &PodId, pod: Option<&inventory::Pod>) {
        self.remove_pod(id);
        if let Some(pod) = pod {
            self.add_pod(id, pod);
        }
    }

    /// Besides those of nodes, pods get their addresses in these networks, and in no others.
    pub fn own_pod_networks<'a>(&mut self, networks: impl Iterator<Item = &'a IpNetwork>) {
        self.addresses.own_pod_networks(networks.collect());
    }

    /// Is there a policy of this name?
    pub(super) fn has_policy(&self, id: &PolicyId) -> bool {
        self.policies.has(id)
    }

    fn node(&mut self, name: &Arc<str>, labels: Option<&Labels>) -> Arc<Node> {
        let new = || {
            Arc::new(Node {
                name: Arc::clone(name),
                selected: self.selectors.of_node(labels),
            })
        };
        Arc::clone(self.nodes.entry(Arc::clone(name)).or_insert_with(new))
    }

    fn add_service(&mut self, id: &PodId, service: &inventory::Service) {
        let number = self.services.len();
        for address in &service.addresses {
            self.addresses.add_service(normal(*address), number);
        }
        let service = Answering::new(service);
        for node_port in service.node_ports() {
            if let Entry::Vacant(vacant) = self.node_ports.entry(node_port) {
                vacant.insert(number);
            }
        }
        let (namespace, _) = self.in_namespace(&id.namespace, None);
        if namespace.services.is_empty() {
            namespace.services.start = number;
        }
        namespace.services.end = number + 1;
        self.services.push(service);
    }

    fn add_pod(&mut self, id: &PodId, pod: &inventory::Pod) {
        let node = pod.node.as_ref().map(|name| self.node(name, None));
        let (namespace, selectors) = self.in_namespace(&id.namespace, None);
        let class = namespace.classes.class(&pod.labels, selectors);
        let pod = Arc::new(Pod {
            id: id.clone(),
            class,
            addresses: pod.addresses.iter().copied().map(normal).collect(),
            ports: pod.ports.clone().into(),
            ports_unknown: pod.ports_unknown,
            node,
            host_addresses: pod.host_addresses.iter().copied().map(normal).collect(),
            host_network: pod.host_network,
        });
        for service in self.services_of(&id.namespace) {
            service.add_pod(&pod);
        }
        self.addresses.add_pod(&pod);
        self.pods.insert(id.clone(), pod);
    }

    fn remove_pod(&mut self, id: &PodId) {
        let Some(pod) = self.pods.remove(id) else {
            return;
        };
        self.addresses.remove_pod(&pod);
        for service in self.services_of(&id.namespace) {
            service.remove_pod(&pod);
        }
        if let Some(namespace) = self.namespaces.get_mut(&id.namespace) {
            namespace.classes.release(&pod.class);
        }
    }

    /// What there is of a namespace; `labels` as in the inventory, where it is in there.
    fn in_namespace(
        &mut self,
        name: &Arc<str>,
        labels: Option<&Labels>,
    ) -> (&mut InNamespace, &Selectors) {
        let new = || InNamespace {
            classes: Classes::new(
                &Namespace::new(name, labels),
                &self.selectors,
                &self.policies,
            ),
            services: 0..0,
        };
        let namespace = self.namespaces.entry(Arc::clone(name)).or_insert_with(new);
        (namespace, &self.selectors)
    }

    fn services_of(&mut self, namespace: &Arc<str>) -> impl Iterator<Item = &mut Answering> {
        let numbers = self
            .namespaces
            .get(namespace)
            .map(|found| found.services.clone());
        let services = self.services.get_mut(numbers.unwrap_or_default());
        services.unwrap_or_default().iter_mut()
    }
}
