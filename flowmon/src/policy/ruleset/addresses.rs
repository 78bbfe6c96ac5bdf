//! Whose an address is.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use foldhash::fast::RandomState;

use super::{
    network::Networks,
    who::{Node, Pod, Who},
};
use crate::policy::Reason;

type ByAddress<T> = HashMap<IpAddr, T, RandomState>;

/// Who has which address.
#[derive(Debug, Clone, Default)]
pub(super) struct Addresses {
    claims: ByAddress<Claims>,
    /// Addresses of nodes that pods tell of, and how many of them do.
    hosts: ByAddress<(Option<Arc<Node>>, usize)>,
    /// Where pods get theirs, by what nodes say, and by those of this host.
    pod_networks: Networks,
    own_pod_networks: Networks,
    /// The inventory has nodes: who is none of them is not a node.
    nodes_known: bool,
}

/// Everyone who says that an address is theirs.
#[derive(Debug, Clone, Default)]
struct Claims {
    pods: OneOrMore<Arc<Pod>>,
    node: Option<Arc<Node>>,
    /// Numbers of services. Several may share an address, and one may be a node's.
    services: Vec<usize>,
}

/// Nearly always it is one.
#[derive(Debug, Clone, Default)]
enum OneOrMore<T> {
    #[default]
    None,
    One(T),
    More(Vec<T>),
}

impl Addresses {
    pub(super) fn new(pod_networks: Networks, nodes_known: bool) -> Self {
        Self {
            pod_networks,
            nodes_known,
            ..Self::default()
        }
    }

    pub(super) fn own_pod_networks(&mut self, networks: Networks) {
        self.own_pod_networks = networks;
    }

    pub(super) fn add_node(&mut self, address: IpAddr, node: &Arc<Node>) {
        let claims = self.claims.entry(address).or_default();
        claims.node.get_or_insert_with(|| Arc::clone(node));
    }

    pub(super) fn add_service(&mut self, address: IpAddr, number: usize) {
        self.claims
            .entry(address)
            .or_default()
            .services
            .push(number);
    }

    /// A pod appears.
    pub(super) fn add_pod(&mut self, pod: &Arc<Pod>) {
        for address in pod.hosts() {
            let node = || (pod.node.clone(), 0);
            self.hosts.entry(*address).or_insert_with(node).1 += 1;
        }
        if pod.host_network {
            return;
        }
        for address in &pod.addresses {
            let pods = &mut self.claims.entry(*address).or_default().pods;
            *pods = match std::mem::take(pods) {
                OneOrMore::None => OneOrMore::One(Arc::clone(pod)),
                OneOrMore::One(other) => OneOrMore::More(vec![other, Arc::clone(pod)]),
                OneOrMore::More(mut others) => {
                    others.push(Arc::clone(pod));
                    OneOrMore::More(others)
                }
            };
        }
    }

    /// A pod is gone.
    pub(super) fn remove_pod(&mut self, pod: &Arc<Pod>) {
        for address in pod.hosts() {
            if let Some((_, pods)) = self.hosts.get_mut(address) {
                *pods -= 1;
                if *pods == 0 {
                    self.hosts.remove(address);
                }
            }
        }
        if pod.host_network {
            return;
        }
        for address in &pod.addresses {
            let Some(claims) = self.claims.get_mut(address) else {
                continue;
            };
            claims.pods = match std::mem::take(&mut claims.pods) {
                OneOrMore::More(mut pods) => {
                    pods.retain(|other| !Arc::ptr_eq(other, pod));
                    match pods.pop() {
                        Some(last) if pods.is_empty() => OneOrMore::One(last),
                        Some(last) => {
                            pods.push(last);
                            OneOrMore::More(pods)
                        }
                        None => OneOrMore::None,
                    }
                }
                OneOrMore::One(_) | OneOrMore::None => OneOrMore::None,
            };
            if claims.is_empty() {
                self.claims.remove(address);
            }
        }
    }

    /// Numbers of the services that have an address.
    pub(super) fn services(&self, address: IpAddr) -> &[usize] {
        let claims = self.claims.get(&address);
        claims.map_or(&[], |claims| &claims.services)
    }

    /// Who has an address. A service does not show who answers for it.
    #[inline]
    pub(super) fn who(&self, address: IpAddr) -> Who<'_> {
        if let Some(claims) = self.claims.get(&address) {
            let others = claims.node.is_some() || !claims.services.is_empty();
            match &claims.pods {
                OneOrMore::One(pod) if !others => return Who::Pod(pod),
                OneOrMore::One(_) | OneOrMore::More(_) => {
                    return Who::Unclear(Reason::AmbiguousAddress);
                }
                OneOrMore::None => {}
            }
            if let Some(node) = &claims.node {
                return Who::Node(Some(node));
            }
            if !claims.services.is_empty() {
                return Who::Unclear(Reason::ServiceAddress);
            }
        }
        if let Some((node, _)) = self.hosts.get(&address) {
            Who::Node(node.as_deref())
        } else if self.pod_networks.contains(address) || self.own_pod_networks.contains(address) {
            Who::Unclear(Reason::UnknownPod)
        } else {
            let maybe_node = !self.nodes_known;
            Who::Outside { maybe_node }
        }
    }
}

impl Claims {
    const fn is_empty(&self) -> bool {
        matches!(self.pods, OneOrMore::None) && self.node.is_none() && self.services.is_empty()
    }
}

impl Pod {
    /// Its node's addresses.
    fn hosts(&self) -> impl Iterator<Item = &IpAddr> {
        let own = if self.host_network {
            &*self.addresses
        } else {
            &[]
        };
        let also = |address: &&IpAddr| !self.host_addresses.contains(address);
        self.host_addresses.iter().chain(own.iter().filter(also))
    }
}
