//! What the sources say of one attachment, put together.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;

use super::Known;
use crate::model::{EndpointKind, Identity, IdentitySource, Labels};

/// All that one source knows at a time, by what it can be found by.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) known: Vec<(Known, Arc<Identity>)>,
    by_ifindex: HashMap<u32, usize>,
    by_interface: HashMap<Arc<str>, usize>,
    by_netns: HashMap<u64, usize>,
    by_id: HashMap<Arc<str>, usize>,
    by_pod_uid: HashMap<Arc<str>, usize>,
    by_name: HashMap<(Arc<str>, Arc<str>), usize>,
}

impl Snapshot {
    pub(super) fn new(known: Vec<Known>) -> Self {
        let mut snapshot = Self::default();
        for (at, known) in known.iter().enumerate() {
            let some = |text: &Option<Arc<str>>| text.iter().cloned().collect::<Vec<_>>();
            snapshot
                .by_ifindex
                .extend(known.ifindex.map(|ifindex| (ifindex, at)));
            let interface = some(&known.interface);
            snapshot
                .by_interface
                .extend(interface.into_iter().map(|name| (name, at)));
            snapshot
                .by_netns
                .extend(known.netns.map(|inode| (inode, at)));
            let ids = known.ids.iter().cloned();
            snapshot.by_id.extend(ids.map(|id| (id, at)));
            let uid = some(&known.pod_uid);
            snapshot
                .by_pod_uid
                .extend(uid.into_iter().map(|uid| (uid, at)));
            // A service may be called as a pod is.
            let is_endpoint = known.identity.kind != EndpointKind::Service;
            if is_endpoint
                && let (Some(namespace), Some(name)) =
                    (&known.identity.namespace, &known.identity.name)
            {
                let name = (Arc::clone(namespace), Arc::clone(name));
                snapshot.by_name.insert(name, at);
            }
        }
        snapshot.known = known
            .into_iter()
            .map(|known| {
                let identity = Arc::new(known.identity.clone());
                (known, identity)
            })
            .collect();
        snapshot
    }

    pub(super) fn behind(&self, ifindex: u32) -> Option<&Known> {
        self.at(self.by_ifindex.get(&ifindex))
    }

    fn at(&self, at: Option<&usize>) -> Option<&Known> {
        self.known.get(*at?).map(|(known, _)| known)
    }

    /// Whom these are parts of: by the names that are most their own first.
    fn find(&self, interface: &str, parts: &[&Known]) -> Option<usize> {
        let by_id = parts
            .iter()
            .flat_map(|part| &part.ids)
            .find_map(|id| self.by_id.get(id));
        let by_pod_uid = || {
            let mut uids = parts.iter().filter_map(|part| part.pod_uid.as_ref());
            uids.find_map(|uid| self.by_pod_uid.get(uid))
        };
        let by_netns = || {
            let mut inodes = parts.iter().filter_map(|part| part.netns);
            inodes.find_map(|inode| self.by_netns.get(&inode))
        };
        let by_name = || {
            let mut names = parts.iter().filter_map(|part| {
                let Identity {
                    namespace, name, ..
                } = &part.identity;
                Some((namespace.clone()?, name.clone()?))
            });
            names.find_map(|name| self.by_name.get(&name))
        };
        by_id
            .or_else(by_pod_uid)
            .or_else(by_netns)
            .or_else(|| self.by_interface.get(interface))
            .or_else(by_name)
            .copied()
    }
}

/// An attachment, and all that is known of it.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) identity: Identity,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) networks: Vec<IpNetwork>,
    pub(super) runtime: Option<Arc<str>>,
    pub(super) since: Option<jiff::Timestamp>,
    /// What of the sources went into it.
    pub(super) parts: Vec<(IdentitySource, usize)>,
    /// Sources that say something else than one nearer to the kernel.
    pub(super) disagreeing: Vec<IdentitySource>,
}

/// Puts together what is known of the attachment that is called `interface` on the host. `nearest`
/// is what the kernel says of it.
pub(super) fn join(
    interface: &str,
    nearest: Option<&Known>,
    snapshots: &std::collections::BTreeMap<IdentitySource, Snapshot>,
) -> Joined {
    let mut known: Vec<&Known> = nearest.into_iter().collect();
    let mut parts = Vec::new();
    let mut disagreeing = Vec::new();
    for (&source, snapshot) in snapshots {
        if source == IdentitySource::Netns {
            continue;
        }
        let Some(at) = snapshot.find(interface, &known) else {
            continue;
        };
        let Some((found, _)) = snapshot.known.get(at) else {
            continue;
        };
        if known.iter().any(|nearer| nearer.contradicts(found)) {
            disagreeing.push(source);
        } else {
            known.push(found);
            parts.push((source, at));
        }
    }
    let kernel: Vec<IpAddr> = nearest.map_or_else(Vec::new, |known| known.addresses.clone());
    Joined {
        identity: merged(&known),
        addresses: if kernel.is_empty() {
            let others = known.iter().flat_map(|known| &known.addresses);
            others.copied().collect()
        } else {
            kernel
        },
        networks: nearest.map_or_else(Vec::new, |known| known.networks.clone()),
        runtime: known.iter().find_map(|known| known.runtime.clone()),
        since: known.iter().filter_map(|known| known.since).min(),
        parts,
        disagreeing,
    }
}

/// One identity of several, the nearest to the kernel first. What is a pod to one of them is a pod,
/// and then it is not called as one of its containers is.
fn merged(known: &[&Known]) -> Identity {
    let rank = |kind| match kind {
        EndpointKind::Pod => 3,
        EndpointKind::Container => 2,
        EndpointKind::Netns => 1,
        _ => 0,
    };
    // Whatever is declared under a name is called a pod.
    let kinds = known
        .iter()
        .filter(|known| known.identity.source != Some(IdentitySource::Inventory))
        .map(|known| known.identity.kind);
    let kind = kinds
        .max_by_key(|&kind| rank(kind))
        .unwrap_or(EndpointKind::Unknown);
    let of_kind: Vec<&Identity> = known
        .iter()
        .map(|known| &known.identity)
        .filter(|identity| identity.kind == kind)
        .collect();
    let naming = of_kind.iter().find(|identity| identity.name.is_some());
    let some = naming.or(of_kind.first());
    // Of a pod's containers the kernel does not know which one is the pod.
    let mut ids: Vec<&Identity> = known.iter().map(|known| &known.identity).collect();
    if kind == EndpointKind::Pod {
        ids.sort_by_key(|identity| identity.source == Some(IdentitySource::Netns));
    }
    Identity {
        kind,
        namespace: some.and_then(|identity| identity.namespace.clone()),
        name: some.and_then(|identity| identity.name.clone()),
        container_id: ids
            .iter()
            .find_map(|identity| identity.container_id.clone()),
        labels: labels(&of_kind, known),
        ports: of_kind
            .iter()
            .flat_map(|identity| identity.ports.iter().cloned())
            .collect(),
        all_ports: of_kind.iter().any(|identity| identity.all_ports),
        source: some
            .filter(|identity| identity.kind != EndpointKind::Unknown)
            .and_then(|identity| identity.source),
    }
}

/// Those of the nearest who has any; and over them what the user declared.
fn labels(found: &[&Identity], known: &[&Known]) -> Option<Labels> {
    let found = found.iter().find_map(|identity| identity.labels.as_ref());
    let declared = known
        .iter()
        .find(|known| known.identity.source == Some(IdentitySource::Inventory))
        .and_then(|known| known.identity.labels.as_ref());
    if found.is_none() && declared.is_none() {
        return None;
    }
    let labels = found.into_iter().chain(declared).flatten();
    Some(
        labels
            .map(|(key, value)| (Arc::clone(key), Arc::clone(value)))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn known(kind: EndpointKind, source: IdentitySource, name: Option<&str>) -> Known {
        let mut known = Known::new(kind, source);
        known.identity.name = name.map(Into::into);
        known.identity.namespace = name.map(|_| "shop".into());
        known
    }

    fn snapshots(known: Vec<Known>) -> BTreeMap<IdentitySource, Snapshot> {
        let mut by_source: BTreeMap<IdentitySource, Vec<Known>> = BTreeMap::new();
        for known in known {
            if let Some(source) = known.identity.source {
                by_source.entry(source).or_default().push(known);
            }
        }
        by_source
            .into_iter()
            .map(|(source, known)| (source, Snapshot::new(known)))
            .collect()
    }

    fn said(joined: &Joined) -> (EndpointKind, Option<&str>, Option<IdentitySource>) {
        let Identity {
            kind, name, source, ..
        } = &joined.identity;
        (*kind, name.as_deref(), *source)
    }

    #[test]
    fn a_pod_is_known_by_its_veth_before_its_first_process() {
        let mut cni = known(EndpointKind::Pod, IdentitySource::Cni, Some("cart"));
        cni.interface = Some("veth1".into());
        cni.ids = vec!["sandbox".into()];
        let mut cri = known(EndpointKind::Pod, IdentitySource::Cri, Some("cart"));
        cri.ids = vec!["sandbox".into(), "app".into()];
        cri.identity.labels = Some(Labels::from([("app".into(), "cart".into())]));
        let joined = join("veth1", None, &snapshots(vec![cni, cri]));
        assert_eq!(
            said(&joined),
            (EndpointKind::Pod, Some("cart"), Some(IdentitySource::Cni))
        );
        assert_eq!(joined.identity.labels.map(|labels| labels.len()), Some(1));
        assert_eq!(joined.disagreeing, []);
    }

    #[test]
    fn a_result_of_the_veths_former_owner_is_not_believed() {
        let mut kernel = Known::new(EndpointKind::Pod, IdentitySource::Netns);
        kernel.pod_uid = Some("new".into());
        kernel.identity.container_id = Some("c".into());
        let mut cni = known(EndpointKind::Pod, IdentitySource::Cni, Some("old"));
        cni.interface = Some("veth1".into());
        cni.pod_uid = Some("old".into());
        let joined = join("veth1", Some(&kernel), &snapshots(vec![cni]));
        assert_eq!(
            said(&joined),
            (EndpointKind::Pod, None, Some(IdentitySource::Netns))
        );
        assert_eq!(joined.disagreeing, [IdentitySource::Cni]);
    }

    #[test]
    fn a_container_of_a_pod_does_not_name_it() {
        let mut kernel = Known::new(EndpointKind::Pod, IdentitySource::Netns);
        kernel.ids = vec!["app".into()];
        let mut docker = known(EndpointKind::Container, IdentitySource::Docker, Some("app"));
        docker.ids = vec!["app".into()];
        let joined = join("veth1", Some(&kernel), &snapshots(vec![docker]));
        assert_eq!(
            said(&joined),
            (EndpointKind::Pod, None, Some(IdentitySource::Netns))
        );
    }

    #[test]
    fn what_is_declared_goes_over_what_is_found() {
        let mut docker = known(EndpointKind::Container, IdentitySource::Docker, Some("web"));
        docker.ids = vec!["c".into()];
        docker.identity.labels = Some(Labels::from([
            ("a".into(), "1".into()),
            ("b".into(), "1".into()),
        ]));
        let mut declared = known(EndpointKind::Pod, IdentitySource::Inventory, Some("web"));
        declared.identity.labels = Some(Labels::from([("b".into(), "2".into())]));
        let mut kernel = Known::new(EndpointKind::Container, IdentitySource::Netns);
        kernel.ids = vec!["c".into()];
        let joined = join("x", Some(&kernel), &snapshots(vec![docker, declared]));
        let expected = Labels::from([("a".into(), "1".into()), ("b".into(), "2".into())]);
        assert_eq!(joined.identity.labels, Some(expected));
    }
}
