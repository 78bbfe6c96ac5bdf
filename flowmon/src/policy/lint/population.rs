//! Who exists, by namespace and labels: to selectors, pods with the same labels are one.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;

use crate::policy::{
    Inventory, Labels, Selector,
    inventory::{NamedPort, Pod, PodId},
    labels::NAME_LABEL,
    model::{Namespaces, PeerMatch, Peers, Subject},
};

/// Everybody.
pub(super) struct Population<'i> {
    pub(super) groups: Vec<Group<'i>>,
    pub(super) inventory: &'i Inventory,
    /// Addresses of pods on the pod network.
    pub(super) pod_addresses: Addresses<'i>,
    /// Addresses of services.
    pub(super) service_addresses: Addresses<'i>,
    /// Labels of every namespace with pods in it are known.
    namespaces_known: bool,
}

/// Addresses in order, and whose they are.
pub(super) struct Addresses<'i>(Vec<(IpAddr, &'i PodId)>);

impl<'i> Addresses<'i> {
    fn new(addresses: impl Iterator<Item = (IpAddr, &'i PodId)>) -> Self {
        let mut addresses: Vec<_> = addresses.collect();
        addresses.sort_unstable();
        Self(addresses)
    }

    /// The first one inside `cidr` and in none of `except`.
    pub(super) fn inside(
        &self,
        cidr: IpNetwork,
        except: &[IpNetwork],
    ) -> Option<(IpAddr, &'i PodId)> {
        let start = self
            .0
            .partition_point(|(address, _)| *address < cidr.network());
        let from_there = self.0.iter().skip(start).copied();
        let mut inside = from_there.take_while(|(address, _)| cidr.contains(*address));
        inside.find(|(address, _)| !except.iter().any(|network| network.contains(*address)))
    }
}

/// Pods of one namespace with the same labels.
pub(super) struct Group<'i> {
    pub(super) namespace: &'i Arc<str>,
    pub(super) labels: &'i Labels,
    /// On the pod network: those that policies are about.
    pub(super) pods: Vec<&'i Pod>,
    /// Of hosts.
    pub(super) host_pods: usize,
}

impl<'i> Population<'i> {
    pub(super) fn new(inventory: &'i Inventory) -> Self {
        let mut groups: BTreeMap<(&Arc<str>, &Labels), Group<'i>> = BTreeMap::new();
        for (id, pod) in &inventory.pods {
            let key = (&id.namespace, &pod.labels);
            let group = groups.entry(key).or_insert_with(|| Group {
                namespace: &id.namespace,
                labels: &pod.labels,
                pods: Vec::new(),
                host_pods: 0,
            });
            if pod.host_network {
                group.host_pods += 1;
            } else {
                group.pods.push(pod);
            }
        }
        let mut namespaces = inventory.pods.keys().map(|id| &id.namespace);
        let pods = inventory.pods.iter().filter(|(_, pod)| !pod.host_network);
        let of_pods = pods.flat_map(|(id, pod)| pod.addresses.iter().map(move |it| (*it, id)));
        let services = inventory.services.iter();
        let of_services =
            services.flat_map(|(id, it)| it.addresses.iter().map(move |it| (*it, id)));
        Self {
            pod_addresses: Addresses::new(of_pods),
            service_addresses: Addresses::new(of_services),
            namespaces_known: namespaces.all(|name| inventory.namespaces.contains_key(name)),
            groups: groups.into_values().collect(),
            inventory,
        }
    }

    /// Can it be said which namespaces these are?
    pub(super) fn knows(&self, namespaces: &Namespaces) -> bool {
        match namespaces {
            Namespaces::Named(_) => true,
            Namespaces::Selected(selector) => {
                let by_name = |it: &crate::policy::labels::Requirement| &*it.key == NAME_LABEL;
                self.namespaces_known || selector.requirements.iter().all(by_name)
            }
        }
    }

    /// Does it select any namespace?
    pub(super) fn has_namespace(&self, selector: &Selector) -> bool {
        self.inventory
            .namespaces
            .values()
            .any(|labels| selector.matches(labels))
            || self.groups.iter().any(|group| self.is_in(group, selector))
    }

    /// The groups in these namespaces with these labels.
    pub(super) fn select<'p>(
        &'p self,
        namespaces: &'p Namespaces,
        pods: &'p Selector,
    ) -> impl Iterator<Item = &'p Group<'i>> {
        self.groups.iter().filter(move |group| {
            let here = match namespaces {
                Namespaces::Named(name) => name == group.namespace,
                Namespaces::Selected(selector) => self.is_in(group, selector),
            };
            here && pods.matches(group.labels)
        })
    }

    /// The groups that a policy is about.
    pub(super) fn of<'p>(&'p self, subject: &'p Subject) -> impl Iterator<Item = &'p Group<'i>> {
        let selected = self.select(&subject.namespaces, &subject.pods);
        selected.filter(|group| !group.pods.is_empty())
    }

    /// Named ports of whom such peers are; `None` if that can't be said.
    pub(super) fn ports(&self, peers: &Peers) -> Option<Vec<&'i NamedPort>> {
        let Peers::OneOf(peers) = peers else {
            return Some(self.groups.iter().flat_map(Group::ports).collect());
        };
        let mut ports = Vec::new();
        for peer in peers {
            if let PeerMatch::Pods { namespaces, pods } = &peer.what {
                if !self.knows(namespaces) {
                    return None;
                }
                ports.extend(self.select(namespaces, pods).flat_map(Group::ports));
            }
        }
        Some(ports)
    }

    fn is_in(&self, group: &Group<'_>, selector: &Selector) -> bool {
        if let Some(labels) = self.inventory.namespaces.get(group.namespace) {
            return selector.matches(labels);
        }
        let only_name = (Arc::from(NAME_LABEL), Arc::clone(group.namespace));
        selector.matches(&Labels::from([only_name]))
    }
}

impl<'i> Group<'i> {
    /// Named ports of its pods.
    pub(super) fn ports(&self) -> impl Iterator<Item = &'i NamedPort> {
        self.pods.iter().flat_map(|pod| &pod.ports)
    }
}
