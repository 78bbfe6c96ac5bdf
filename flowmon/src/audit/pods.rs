//! The pods of a ruleset: those of the inventory, and those that were learned of on this host.
//!
//! What counts as a pod outside Kubernetes: a container is the pod of its name, a network namespace the
//! one of its own, in `default`. Unless the inventory has a pod with one of its addresses: then it is
//! that one.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use ipnetwork::IpNetwork;

use crate::{
    model::{EndpointKind, Identity},
    policy::{
        Inventory, Labels, Ruleset,
        inventory::{NamedPort, Pod, PodId},
        model::PortProtocol,
    },
};

/// Pods that are gone and not forgotten, at most: their flows may still be judged.
const MOST_GONE: usize = 4096;

/// Keeps a ruleset's pods.
#[derive(Debug, Default)]
pub(super) struct Pods {
    inventory: Inventory,
    claims: Claims,
    /// By the interface's index.
    learned: BTreeMap<u32, Learned>,
    interfaces: HashMap<PodId, BTreeSet<u32>>,
    /// The host's own addresses.
    host: Vec<IpAddr>,
    /// Pods that are not as the inventory has them.
    others: HashMap<PodId, Other>,
    gone: VecDeque<PodId>,
}

/// A pod as it was told to the ruleset.
#[derive(Debug)]
struct Other {
    pod: Pod,
    is_gone: bool,
}

/// Who is behind an interface, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub struct Behind<'a> {
    /// Index of the interface.
    pub ifindex: u32,
    /// Who it is.
    pub identity: &'a Arc<Identity>,
    /// Addresses they have.
    pub addresses: &'a [IpAddr],
    /// Networks that these are of.
    pub networks: &'a [IpNetwork],
}

/// Which of the inventory's pods have an address.
#[derive(Debug, Default)]
struct Claims(HashMap<IpAddr, Vec<PodId>>);

#[derive(Debug)]
struct Learned {
    identity: Arc<Identity>,
    addresses: Vec<IpAddr>,
    networks: Vec<IpNetwork>,
    /// The pod that it is; none when it has no name.
    id: Option<PodId>,
}

impl Pods {
    /// The inventory that pods are from which were not learned of.
    pub(super) const fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// A ruleset was made of this inventory: puts into it what was learned besides.
    pub(super) fn begin(&mut self, inventory: Inventory, ruleset: &mut Ruleset) {
        let before = std::mem::replace(&mut self.inventory, inventory);
        self.claims.0.clear();
        for (id, pod) in &self.inventory.pods {
            self.claims.add(id, pod);
        }
        self.interfaces.clear();
        for (ifindex, learned) in &mut self.learned {
            learned.id = self.claims.called(&learned.identity, &learned.addresses);
            if let Some(id) = &learned.id {
                let interfaces = self.interfaces.entry(id.clone()).or_default();
                interfaces.insert(*ifindex);
            }
        }
        let learned: Vec<PodId> = self.interfaces.keys().cloned().collect();
        for id in learned {
            self.put(&id, ruleset);
        }
        let others = self.others.keys();
        let others = others.filter(|id| !self.interfaces.contains_key(*id));
        for id in others.cloned().collect::<Vec<PodId>>() {
            self.put(&id, ruleset);
        }
        for (id, pod) in before.pods {
            if !self.inventory.pods.contains_key(&id) {
                self.linger(&id, Some(pod), ruleset);
            }
        }
        self.put_networks(ruleset);
    }

    /// A pod of the inventory has come or changed, or is gone.
    pub(super) fn declare(&mut self, id: &PodId, pod: Option<Pod>, ruleset: &mut Ruleset) {
        let before = self.inventory.pods.remove(id);
        if let Some(before) = &before {
            self.claims.remove(id, before);
        }
        if let Some(pod) = pod {
            self.claims.add(id, &pod);
            self.inventory.pods.insert(id.clone(), pod);
            self.put(id, ruleset);
        } else if self.interfaces.contains_key(id) {
            self.put(id, ruleset);
        } else {
            self.linger(id, before, ruleset);
        }
        self.rename(ruleset);
    }

    /// Who is behind all interfaces. Returns whether that changed anything.
    pub(super) fn learn<'a>(
        &mut self,
        behind: impl Iterator<Item = Behind<'a>>,
        host: &[IpAddr],
        ruleset: &mut Ruleset,
    ) -> bool {
        let mut changed: BTreeSet<PodId> = BTreeSet::new();
        let mut networks_changed = false;
        if self.host != host {
            self.host = host.to_vec();
            changed.extend(self.interfaces.keys().cloned());
        }
        let mut there = BTreeSet::new();
        for found in behind {
            there.insert(found.ifindex);
            let known = self.learned.get(&found.ifindex);
            if known.is_some_and(|known| known.is(&found)) {
                continue;
            }
            networks_changed |= known.map(|known| &*known.networks) != Some(found.networks);
            let learned = Learned {
                identity: Arc::clone(found.identity),
                addresses: found.addresses.to_vec(),
                networks: found.networks.to_vec(),
                id: self.claims.called(found.identity, found.addresses),
            };
            let after = learned.id.clone();
            let before = self.learned.insert(found.ifindex, learned);
            let before = before.and_then(|before| before.id);
            self.moved(found.ifindex, before.as_ref(), after.as_ref());
            changed.extend(before.into_iter().chain(after));
        }
        let gone: Vec<u32> = self
            .learned
            .keys()
            .filter(|ifindex| !there.contains(ifindex))
            .copied()
            .collect();
        for ifindex in gone {
            let before = self.learned.remove(&ifindex);
            networks_changed |= before.as_ref().is_some_and(|it| !it.networks.is_empty());
            let before = before.and_then(|before| before.id);
            self.moved(ifindex, before.as_ref(), None);
            changed.extend(before);
        }
        for id in &changed {
            self.put(id, ruleset);
        }
        if networks_changed {
            self.put_networks(ruleset);
        }
        networks_changed || !changed.is_empty()
    }

    /// The pod behind an interface.
    pub(super) fn behind(&self, ifindex: u32) -> Option<&PodId> {
        self.learned.get(&ifindex)?.id.as_ref()
    }

    /// May who is behind an interface have this address? Not if others of that family are known to be theirs,
    /// nor if it is nobody's own. Of link-local addresses nobody tells.
    pub(super) fn may_have(&self, ifindex: u32, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if is_for_many(address) {
            return false;
        }
        let is_link_local = match address {
            IpAddr::V4(it) => it.is_link_local(),
            IpAddr::V6(it) => it.is_unicast_link_local(),
        };
        let Some(learned) = self.learned.get(&ifindex).filter(|_| !is_link_local) else {
            return true;
        };
        let declared = learned
            .id
            .as_ref()
            .and_then(|id| self.inventory.pods.get(id));
        let declared = declared.into_iter().flat_map(|pod| &pod.addresses);
        let known = learned.addresses.iter().chain(declared);
        let known = known.map(IpAddr::to_canonical);
        let mut alike = known.filter(|known| known.is_ipv4() == address.is_ipv4());
        alike.clone().next().is_none() || alike.any(|known| known == address)
    }

    /// The pod that is called so, and has this address.
    pub(super) fn called(&self, identity: &Identity, address: IpAddr) -> Option<PodId> {
        self.claims.called(identity, &[address])
    }

    /// The pod of the inventory that has an address.
    pub(super) fn with(&self, address: IpAddr) -> Option<&PodId> {
        self.claims.of(&address)
    }

    fn moved(&mut self, ifindex: u32, before: Option<&PodId>, after: Option<&PodId>) {
        if let Some(before) = before
            && let Some(interfaces) = self.interfaces.get_mut(before)
        {
            interfaces.remove(&ifindex);
            if interfaces.is_empty() {
                self.interfaces.remove(before);
            }
        }
        if let Some(after) = after {
            let interfaces = self.interfaces.entry(after.clone()).or_default();
            interfaces.insert(ifindex);
        }
    }

    /// Which addresses the inventory has may say who somebody is.
    fn rename(&mut self, ruleset: &mut Ruleset) {
        let mut renamed = Vec::new();
        for (ifindex, learned) in &mut self.learned {
            let id = self.claims.called(&learned.identity, &learned.addresses);
            if id != learned.id {
                let before = std::mem::replace(&mut learned.id, id.clone());
                renamed.push((*ifindex, before, id));
            }
        }
        for (ifindex, before, after) in renamed {
            self.moved(ifindex, before.as_ref(), after.as_ref());
            for id in before.iter().chain(&after) {
                self.put(id, ruleset);
            }
        }
    }

    /// Tells the ruleset all that is known of a pod.
    fn put(&mut self, id: &PodId, ruleset: &mut Ruleset) {
        let declared = self.inventory.pods.get(id);
        let Some(interfaces) = self.interfaces.get(id) else {
            match declared {
                Some(pod) => {
                    self.others.remove(id);
                    ruleset.pod_changed(id, Some(pod));
                }
                None => self.linger(id, None, ruleset),
            }
            return;
        };
        let learned: Vec<&Learned> = interfaces
            .iter()
            .filter_map(|ifindex| self.learned.get(ifindex))
            .collect();
        let labels = learned.iter().find_map(|learned| learned.labels());
        let mut pod = match (declared, labels) {
            (Some(pod), labels) => {
                let mut pod = pod.clone();
                let is_pod = |learned: &&Learned| learned.identity.kind == EndpointKind::Pod;
                // Of a pod of Kubernetes nobody knows more than Kubernetes.
                if !learned.iter().any(is_pod) {
                    let mut labels = labels.unwrap_or_default();
                    labels.extend(std::mem::take(&mut pod.labels));
                    pod.labels = labels;
                }
                pod
            }
            (None, Some(labels)) => Pod {
                labels,
                ports_unknown: learned.iter().any(|learned| {
                    let Identity {
                        kind, all_ports, ..
                    } = &*learned.identity;
                    *kind != EndpointKind::Netns && !all_ports
                }),
                ..Pod::default()
            },
            // It has labels, and nobody has said which.
            (None, None) => {
                self.others.remove(id);
                ruleset.pod_changed(id, None);
                return;
            }
        };
        let addresses: BTreeSet<IpAddr> = learned
            .iter()
            .flat_map(|learned| &learned.addresses)
            .copied()
            .collect();
        let ports = learned.iter().flat_map(|learned| learned.ports());
        for port in ports {
            // Whatever is declared goes over what was found.
            let is_it = |it: &NamedPort| it.name == port.name && it.protocol == port.protocol;
            if !pod.ports.iter().any(is_it) {
                pod.ports.push(port);
            }
        }
        if !addresses.is_empty() {
            pod.addresses = addresses.into_iter().collect();
        }
        for address in &self.host {
            if !pod.host_addresses.contains(address) {
                pod.host_addresses.push(*address);
            }
        }
        ruleset.pod_changed(id, Some(&pod));
        let is_gone = false;
        self.others.insert(id.clone(), Other { pod, is_gone });
    }

    /// One that is gone is known for a while, as its flows may be judged again, but tells of no address
    /// any more: that may be another's. It is as it was learned or, if it was not, `declared`.
    fn linger(&mut self, id: &PodId, declared: Option<Pod>, ruleset: &mut Ruleset) {
        if self.interfaces.contains_key(id) {
            return;
        }
        let (pod, was_gone) = match (self.others.remove(id), declared) {
            (Some(other), _) => (other.pod, other.is_gone),
            (None, Some(pod)) => (pod, false),
            (None, None) => return ruleset.pod_changed(id, None),
        };
        let pod = Pod {
            addresses: Vec::new(),
            host_addresses: Vec::new(),
            ..pod
        };
        ruleset.pod_changed(id, Some(&pod));
        let is_gone = true;
        self.others.insert(id.clone(), Other { pod, is_gone });
        if was_gone {
            return;
        }
        self.gone.push_back(id.clone());
        if self.gone.len() > MOST_GONE
            && let Some(oldest) = self.gone.pop_front()
            && self.others.get(&oldest).is_some_and(|other| other.is_gone)
        {
            self.others.remove(&oldest);
            ruleset.pod_changed(&oldest, None);
        }
    }

    fn put_networks(&self, ruleset: &mut Ruleset) {
        let networks = self.learned.values().flat_map(|learned| &learned.networks);
        ruleset.own_pod_networks(networks);
    }
}

impl Learned {
    fn is(&self, found: &Behind<'_>) -> bool {
        Arc::ptr_eq(&self.identity, found.identity)
            && self.addresses == found.addresses
            && self.networks == found.networks
    }

    /// Those that policies know protocols of.
    fn ports(&self) -> impl Iterator<Item = NamedPort> {
        let ports = self.identity.ports.iter();
        ports.filter_map(|port| {
            Some(NamedPort {
                name: Arc::clone(&port.name),
                protocol: PortProtocol::from_number(port.protocol)?,
                port: port.port,
            })
        })
    }

    /// A network namespace has none that anybody could have given it.
    fn labels(&self) -> Option<Labels> {
        let labels = self.identity.labels.clone();
        let none = || (self.identity.kind == EndpointKind::Netns).then(Labels::default);
        labels.or_else(none)
    }
}

impl Claims {
    fn add(&mut self, id: &PodId, pod: &Pod) {
        for address in claimed(pod) {
            self.0.entry(address).or_default().push(id.clone());
        }
    }

    fn remove(&mut self, id: &PodId, pod: &Pod) {
        for address in claimed(pod) {
            if let Some(claimants) = self.0.get_mut(&address) {
                claimants.retain(|claimant| claimant != id);
                if claimants.is_empty() {
                    self.0.remove(&address);
                }
            }
        }
    }

    /// The only one who has it.
    fn of(&self, address: &IpAddr) -> Option<&PodId> {
        match self.0.get(&address.to_canonical())?.as_slice() {
            [id] => Some(id),
            _ => None,
        }
    }

    /// The pod that somebody is, by name, or what is no pod of Kubernetes by address.
    fn called(&self, identity: &Identity, addresses: &[IpAddr]) -> Option<PodId> {
        let by_name = || {
            let namespace = identity.namespace.clone();
            Some(PodId {
                namespace: namespace.unwrap_or_else(|| "default".into()),
                name: identity.name.clone()?,
            })
        };
        let by_address = || addresses.iter().find_map(|it| self.of(it)).cloned();
        match identity.kind {
            EndpointKind::Pod => by_name(),
            EndpointKind::Container | EndpointKind::Netns => by_address().or_else(by_name),
            _ => None,
        }
    }
}

/// Multicast, and broadcast to a whole link (RFC 919).
pub const fn is_for_many(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => it.is_multicast() || it.is_broadcast(),
        IpAddr::V6(it) => it.is_multicast(),
    }
}

/// Whoever uses its node's network has none of its own.
fn claimed(pod: &Pod) -> impl Iterator<Item = IpAddr> {
    pod.own().iter().map(IpAddr::to_canonical)
}

#[cfg(test)]
mod tests;
