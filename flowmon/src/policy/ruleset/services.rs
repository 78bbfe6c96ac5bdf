//! Who answers for a service.

use std::{net::IpAddr, sync::Arc};

use super::{
    network::{normal, same_family},
    who::Pod,
};
use crate::policy::{
    Labels,
    inventory::{Backend, Service, ServicePort, TargetPort},
};

/// A service, ready to be asked.
#[derive(Debug, Clone)]
pub(in crate::policy) struct Answering {
    ports: Vec<ServicePort>,
    selector: Option<Labels>,
    endpoints: Option<Vec<Backend>>,
    /// Those it selects, by name.
    pods: Vec<Arc<Pod>>,
}

/// One who answers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Backing<'a> {
    /// By its address.
    Address(IpAddr, u16),
    /// A pod, known by its labels.
    Pod(&'a Arc<Pod>, IpAddr, u16),
}

impl Answering {
    pub(super) fn new(service: &Service) -> Self {
        Self {
            ports: service.ports.clone(),
            selector: service.selector.clone().filter(|labels| !labels.is_empty()),
            endpoints: service.endpoints.clone(),
            pods: Vec::new(),
        }
    }

    /// A pod of its namespace appears.
    pub(super) fn add_pod(&mut self, pod: &Arc<Pod>) {
        let has = |(key, value): (&Arc<str>, &Arc<str>)| pod.class.labels.get(key) == Some(value);
        if self.endpoints.is_none()
            && let Some(labels) = &self.selector
            && labels.iter().all(has)
        {
            let at = self.pods.partition_point(|other| other.id < pod.id);
            self.pods.insert(at, Arc::clone(pod));
        }
    }

    /// A pod of its namespace is gone.
    pub(super) fn remove_pod(&mut self, pod: &Arc<Pod>) {
        let at = self.pods.partition_point(|other| other.id < pod.id);
        if self
            .pods
            .get(at)
            .is_some_and(|other| Arc::ptr_eq(other, pod))
        {
            self.pods.remove(at);
        }
    }

    /// Its port that listens here, on its own addresses or on a node's.
    pub(super) fn port(&self, protocol: u8, port: u16, on_node: bool) -> Option<&ServicePort> {
        let listens = |candidate: &&ServicePort| {
            let own = if on_node {
                candidate.node_port
            } else {
                Some(candidate.port)
            };
            own == Some(port) && candidate.protocol.number() == protocol
        };
        self.ports.iter().find(listens)
    }

    /// Every node port.
    pub(super) fn node_ports(&self) -> impl Iterator<Item = (u8, u16)> {
        let node_port = |port: &ServicePort| Some((port.protocol.number(), port.node_port?));
        self.ports.iter().filter_map(node_port)
    }

    /// Who answers at this port, to a client that uses this family of addresses.
    pub(super) fn backings<'a>(
        &'a self,
        port: &'a ServicePort,
        family: IpAddr,
    ) -> impl Iterator<Item = Backing<'a>> {
        let told = self.endpoints.iter().flatten().filter_map(move |backend| {
            let address = normal(backend.address);
            let is_it = backend.ready
                && backend.port_name == port.name
                && backend.protocol == port.protocol
                && same_family(address, family);
            is_it.then_some(Backing::Address(address, backend.port))
        });
        let selected = self.pods.iter().filter_map(move |pod| {
            let of_family = |address: &&IpAddr| same_family(**address, family);
            let address = *pod.addresses.iter().find(of_family)?;
            Some(Backing::Pod(pod, address, target(port, pod)?))
        });
        told.chain(selected)
    }
}

/// Where a pod answers for a service's port.
fn target(port: &ServicePort, pod: &Pod) -> Option<u16> {
    match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => {
            let mut ports = pod.ports.iter();
            let named = ports.find(|own| own.name == *name && own.protocol == port.protocol)?;
            Some(named.port)
        }
    }
}
