//! Who is behind each interface and who had each address when. No IO; times are arguments
//! (`CLOCK_MONOTONIC`, ns).

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use foldhash::fast::RandomState;
use ipnetwork::IpNetwork;
use jiff::Timestamp;

use super::{
    Cluster, Known,
    history::{History, Holder},
    join::{Joined, Snapshot, join},
};
use crate::model::{EndpointKind, Identity, IdentitySource};

/// For so long after an attachment is gone its name is still of use.
const LINGER_NS: u64 = 10_000_000_000;

/// Attachments that are gone and not forgotten, at most.
const MOST_GONE: usize = 1024;

static UNKNOWN: Identity = Identity::nameless(EndpointKind::Unknown);
static EXTERNAL: Identity = Identity::nameless(EndpointKind::External);

/// All that is known of who is who.
#[derive(Debug, Default)]
pub struct Registry {
    /// Names of the interfaces that lead to endpoints.
    interfaces: BTreeMap<u32, String>,
    snapshots: BTreeMap<IdentitySource, Snapshot>,
    attachments: HashMap<u32, Attachment, RandomState>,
    /// Attachments that are gone, and when they went.
    gone: VecDeque<Gone>,
    /// Who had addresses: on this host, in the cluster, as declared.
    near: History,
    cluster: History,
    far: History,
    /// An address that nobody has is certainly none of the cluster's: so says the cluster itself, or
    /// what was declared.
    is_cluster_whole: bool,
    knows_the_cluster: bool,
    /// When what was long ago in the cluster was forgotten.
    forgot_ns: u64,
    disagreeing: HashSet<(u32, IdentitySource)>,
    disagreements: BTreeMap<IdentitySource, u64>,
}

#[derive(Debug)]
struct Gone {
    since_ns: u64,
    ifindex: u32,
    interface: String,
    nearest: Option<Known>,
    attachment: Option<Attachment>,
}

/// Who is behind an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// Addresses they have.
    pub addresses: Vec<IpAddr>,
    /// Networks that these are of.
    pub networks: Vec<IpNetwork>,
    /// Who runs it.
    pub runtime: Option<Arc<str>>,
    /// Since when it is there.
    pub since: Option<Timestamp>,
    /// Who it is by itself.
    found: Arc<Identity>,
    /// The pod that it is because it has its address.
    pod: Option<Arc<Identity>>,
}

/// What news changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// Who is behind these interfaces.
    pub interfaces: HashSet<u32>,
    /// Who holds these addresses, or did.
    pub addresses: HashSet<IpAddr>,
}

impl Changes {
    /// Both.
    pub fn merge(&mut self, other: Self) {
        self.interfaces.extend(other.interfaces);
        self.addresses.extend(other.addresses);
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.interfaces.is_empty() && self.addresses.is_empty()
    }
}

impl Registry {
    /// Who is behind an interface.
    pub fn behind(&self, ifindex: u32) -> Option<&Attachment> {
        self.attachments.get(&ifindex)
    }

    /// Who is behind all interfaces that lead to somebody.
    pub fn attachments(&self) -> impl Iterator<Item = (u32, &Attachment)> {
        let attachments = self.attachments.iter();
        attachments.map(|(ifindex, attachment)| (*ifindex, attachment))
    }

    /// The addresses of this host.
    pub fn host(&self) -> &[IpAddr] {
        let kernel = self.snapshots.get(&IdentitySource::Netns);
        let mut known = kernel.into_iter().flat_map(|snapshot| &snapshot.known);
        let host = known.find(|(_, who)| who.kind == EndpointKind::Host);
        host.map_or(&[], |(known, _)| &known.addresses)
    }

    /// Who had this address while a flow went on.
    pub fn holder(&self, address: &IpAddr, first_ns: u64, last_ns: u64) -> &Identity {
        for history in [&self.near, &self.cluster, &self.far] {
            if let Some(holder) = history.holder(address, first_ns, last_ns) {
                return holder;
            }
        }
        if self.is_cluster_whole || self.knows_the_cluster || is_public(address) {
            &EXTERNAL
        } else {
            &UNKNOWN
        }
    }

    /// How often a source said something else of an interface than one nearer to the kernel; those
    /// that never did are left out.
    pub const fn disagreements(&self) -> &BTreeMap<IdentitySource, u64> {
        &self.disagreements
    }

    /// There is this interface, which leads to an endpoint.
    pub fn appeared(&mut self, ifindex: u32, interface: &str) {
        self.interfaces.insert(ifindex, interface.to_owned());
    }

    /// An interface is gone, and with it who was behind it.
    pub fn gone(&mut self, ifindex: u32, now_ns: u64) {
        let Some(interface) = self.interfaces.remove(&ifindex) else {
            return;
        };
        self.near.end(&Holder::Behind(ifindex), now_ns);
        let attachment = self.attachments.remove(&ifindex);
        self.disagreeing.retain(|(of, _)| *of != ifindex);
        let nearest = self.nearest(ifindex).cloned();
        self.gone.push_back(Gone {
            since_ns: now_ns,
            ifindex,
            interface,
            nearest,
            attachment,
        });
        if self.gone.len() > MOST_GONE {
            self.gone.pop_front();
        }
    }

    /// Takes in all that a source knows, which replaces what it knew before.
    pub fn learn(&mut self, source: IdentitySource, known: Vec<Known>, now_ns: u64) -> Changes {
        let snapshot = Snapshot::new(known);
        let mut changes = Changes::default();
        if is_far(source) {
            // Who lists nodes lists everything.
            let mut known = snapshot.known.iter();
            self.knows_the_cluster = known.any(|(_, who)| who.kind == EndpointKind::Node);
            let mut held = HashMap::new();
            hold_called(&mut held, source, &snapshot, |_| false);
            changes.addresses = self.far.set(&held, now_ns);
        }
        self.snapshots.insert(source, snapshot);
        let Changes {
            interfaces,
            addresses,
        } = self.review(now_ns);
        changes.interfaces = interfaces;
        changes.addresses.extend(addresses);
        changes
    }

    /// Takes in what has changed in the cluster.
    pub fn learn_cluster(&mut self, cluster: Cluster, now_ns: u64) -> Changes {
        const FORGET_NS: u64 = 60_000_000_000;
        let source = IdentitySource::Kubernetes;
        let Cluster {
            here,
            held,
            is_whole,
            ..
        } = cluster;
        self.is_cluster_whole = is_whole;
        let mut changes = Changes::default();
        for (address, who) in held {
            let holder = who.map(|who| (called(source, "", &who), who));
            if self.cluster.set_one(address, holder.as_ref(), now_ns) {
                changes.addresses.insert(address);
            }
        }
        changes.merge(self.learn(source, here, now_ns));
        if now_ns > self.forgot_ns.saturating_add(FORGET_NS) {
            self.forgot_ns = now_ns;
            self.cluster.forget(now_ns);
        }
        changes
    }

    /// Works out anew who is behind each interface and who holds which address.
    pub fn review(&mut self, now_ns: u64) -> Changes {
        let mut changes = Changes::default();
        let mut held = HashMap::new();
        let mut used: HashSet<(IdentitySource, usize)> = HashSet::new();
        let mut disagreeing = HashSet::new();
        for (&ifindex, interface) in &self.interfaces {
            let joined = join(interface, self.nearest(ifindex), &self.snapshots);
            used.extend(&joined.parts);
            disagreeing.extend(joined.disagreeing.iter().map(|&source| (ifindex, source)));
            let attachment = Attachment::new(joined, self.attachments.get(&ifindex));
            let pod = self.pod_with(&attachment, now_ns).cloned();
            let attachment = attachment.known_as(pod);
            for &address in &attachment.addresses {
                let holder = Holder::Behind(ifindex);
                held.entry(address)
                    .or_insert_with(|| (holder, Arc::clone(&attachment.identity)));
            }
            if self.attachments.get(&ifindex) != Some(&attachment) {
                changes.interfaces.insert(ifindex);
                self.attachments.insert(ifindex, attachment);
            }
        }
        for (&source, snapshot) in self.snapshots.iter().filter(|(of, _)| !is_far(**of)) {
            hold_called(&mut held, source, snapshot, |at| {
                used.contains(&(source, at))
            });
        }
        changes.addresses = self.near.set(&held, now_ns);
        self.gone.retain(|gone| gone.since_ns + LINGER_NS > now_ns);
        for gone in &mut self.gone {
            let joined = join(&gone.interface, gone.nearest.as_ref(), &self.snapshots);
            // Whoever has its address by now.
            let pod = gone.attachment.as_ref().and_then(|it| it.pod.clone());
            let attachment = Attachment::new(joined, gone.attachment.as_ref()).known_as(pod);
            let holder = Holder::Behind(gone.ifindex);
            changes
                .addresses
                .extend(self.near.learn(&holder, &attachment.identity));
            gone.attachment = Some(attachment);
        }
        for (_, source) in disagreeing.difference(&self.disagreeing) {
            *self.disagreements.entry(*source).or_default() += 1;
        }
        self.disagreeing = disagreeing;
        changes
    }

    /// The pod of the cluster, or of what was declared, that has an address of somebody on this host, who
    /// is that pod unless it is another one of Kubernetes: so it is judged, too (`audit::pods`).
    fn pod_with(&self, attachment: &Attachment, now_ns: u64) -> Option<&Arc<Identity>> {
        use EndpointKind::{Container, Netns, Unknown};
        if !matches!(attachment.found.kind, Container | Netns | Unknown) {
            return None;
        }
        let histories = [&self.cluster, &self.far];
        let addresses = attachment.addresses.iter();
        let mut holders = addresses.flat_map(|address| {
            let holders = histories.into_iter();
            holders.filter_map(|history| history.holder(address, now_ns, now_ns))
        });
        holders.find(|holder| holder.kind == EndpointKind::Pod)
    }

    /// What the kernel says of who is behind an interface.
    fn nearest(&self, ifindex: u32) -> Option<&Known> {
        self.snapshots.get(&IdentitySource::Netns)?.behind(ifindex)
    }
}

impl Attachment {
    /// What was known of it stays: at its end an attachment is forgotten by its runtime and loses its
    /// processes before its interface goes.
    fn new(joined: Joined, before: Option<&Self>) -> Self {
        let Joined {
            identity,
            addresses,
            networks,
            runtime,
            since,
            ..
        } = joined;
        let (found, before) = match before.filter(|before| is_still(&before.found, &identity)) {
            None => (Arc::new(identity), None),
            Some(before) => {
                let known = &before.found;
                let found = if identity.name.is_none() {
                    Arc::clone(known)
                } else {
                    Arc::new(Identity {
                        container_id: identity.container_id.or_else(|| known.container_id.clone()),
                        labels: identity.labels.or_else(|| known.labels.clone()),
                        ports: more(identity.ports, &known.ports),
                        all_ports: identity.all_ports || known.all_ports,
                        ..identity
                    })
                };
                (found, Some(before))
            }
        };
        Self {
            identity: Arc::clone(&found),
            addresses,
            networks,
            runtime: runtime.or_else(|| before?.runtime.clone()),
            since: since.or_else(|| before?.since),
            found,
            pod: None,
        }
    }

    /// It is this pod, if any: called as that one, with its labels over those that were found.
    fn known_as(self, pod: Option<Arc<Identity>>) -> Self {
        let Some(pod) = pod else { return self };
        let mut labels = self.found.labels.clone().unwrap_or_default();
        labels.extend(pod.labels.clone().unwrap_or_default());
        let kind = match self.found.kind {
            EndpointKind::Unknown => pod.kind,
            kind => kind,
        };
        let identity = Identity {
            kind,
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            labels: Some(labels),
            source: pod.source,
            ..Identity::clone(&self.found)
        };
        Self {
            identity: Arc::new(identity),
            pod: Some(pod),
            ..self
        }
    }
}

/// Those, or if there are none what was there before.
fn more<T: Clone>(some: Vec<T>, before: &[T]) -> Vec<T> {
    if some.is_empty() {
        before.to_vec()
    } else {
        some
    }
}

/// Can it be the same endpoint, of which no more is known than before?
fn is_still(before: &Identity, now: &Identity) -> bool {
    if before.kind == EndpointKind::Unknown {
        return false;
    }
    let same_kind = before.kind == now.kind;
    if now.name.is_some() {
        return same_kind && (&before.namespace, &before.name) == (&now.namespace, &now.name);
    }
    match &now.container_id {
        None => true,
        Some(_) if before.name.is_none() => false,
        // Any of a pod's containers may be the one that the kernel shows.
        Some(_) if same_kind && now.kind == EndpointKind::Pod => true,
        id => before.container_id == *id,
    }
}

/// Knows of other hosts too.
fn is_far(source: IdentitySource) -> bool {
    source == IdentitySource::Inventory
}

/// Who is called so by a source.
fn called(source: IdentitySource, id: &str, who: &Identity) -> Holder {
    let part = |part: &Option<Arc<str>>| part.as_deref().unwrap_or_default().to_owned();
    let (namespace, name) = (part(&who.namespace), part(&who.name));
    let (source, kind) = (source.label(), who.kind.label());
    Holder::Called(format!("{source}/{kind}/{id}/{namespace}/{name}").into())
}

/// Who is known to have addresses, apart from those already counted.
fn hold_called(
    held: &mut HashMap<IpAddr, (Holder, Arc<Identity>)>,
    source: IdentitySource,
    snapshot: &Snapshot,
    is_counted: impl Fn(usize) -> bool,
) {
    for (at, (known, who)) in snapshot.known.iter().enumerate() {
        if known.ifindex.is_some() || is_counted(at) {
            continue;
        }
        let holder = if who.kind == EndpointKind::Host {
            Holder::Host
        } else {
            called(source, known.ids.first().map_or("", |id| id), who)
        };
        for address in &known.addresses {
            held.entry(*address)
                .or_insert_with(|| (holder.clone(), Arc::clone(who)));
        }
    }
}

/// Routed on the Internet, so nobody's that we don't know of. IPv6 clusters use such addresses for
/// their pods, so there this tells nothing.
fn is_public(address: &IpAddr) -> bool {
    let IpAddr::V4(address) = address else {
        return false;
    };
    let [first, second, ..] = address.octets();
    let is_shared = first == 100 && (64..128).contains(&second); // RFC 6598
    let is_benchmark = first == 198 && (18..20).contains(&second); // RFC 2544
    let is_reserved = first == 0 || first >= 224;
    !(is_shared
        || is_benchmark
        || is_reserved
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || *address == Ipv4Addr::BROADCAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    const IFINDEX: u32 = 7;

    fn container(source: IdentitySource, id: &str, name: Option<&str>) -> Known {
        let mut known = Known::new(EndpointKind::Container, source);
        known.ifindex = (source == IdentitySource::Netns).then_some(IFINDEX);
        known.ids = vec![id.into()];
        known.identity.container_id = Some(id.into());
        known.identity.name = name.map(Into::into);
        known
    }

    fn name(registry: &Registry) -> Option<&str> {
        let attachment = registry.behind(IFINDEX)?;
        attachment.identity.name.as_deref()
    }

    /// The other end's last record comes after the pod is gone.
    #[test]
    fn what_was_known_of_one_who_is_gone_stays() {
        let address = IpAddr::from([10, 0, 0, 1]);
        let mut registry = Registry::default();
        registry.appeared(IFINDEX, "veth0");
        let kernel = || {
            let mut known = container(IdentitySource::Netns, "c1", None);
            known.addresses = vec![address];
            vec![known]
        };
        let named = || vec![container(IdentitySource::Docker, "c1", Some("brief"))];
        let who = |registry: &Registry| registry.holder(&address, 2, 2).name.clone();
        registry.learn(IdentitySource::Netns, kernel(), 1);
        registry.learn(IdentitySource::Docker, named(), 2);
        registry.gone(IFINDEX, 3);
        registry.learn(IdentitySource::Netns, Vec::new(), 4);
        registry.learn(IdentitySource::Docker, Vec::new(), 5);
        assert_eq!(who(&registry).as_deref(), Some("brief"));
        // And one that is named only then is named all the same.
        let mut registry = Registry::default();
        registry.appeared(IFINDEX, "veth0");
        registry.learn(IdentitySource::Netns, kernel(), 1);
        registry.gone(IFINDEX, 3);
        let changes = registry.learn(IdentitySource::Docker, named(), 4);
        assert!(changes.addresses.contains(&address));
        assert_eq!(who(&registry).as_deref(), Some("brief"));
    }

    /// Verdicts are of the pod that has the address, so names are that pod's.
    #[test]
    fn who_has_the_address_of_a_pod_is_called_as_the_pod() {
        let address = IpAddr::from([10, 0, 0, 1]);
        let local = |kind| {
            let mut known = Known::new(kind, IdentitySource::Netns);
            known.ifindex = Some(IFINDEX);
            known.addresses = vec![address];
            known.identity.labels = Some(Labels::from([("found".into(), "yes".into())]));
            vec![known]
        };
        let declared = |name: &str| {
            let mut known = Known::new(EndpointKind::Pod, IdentitySource::Inventory);
            known.addresses = vec![address];
            known.identity.namespace = Some("shop".into());
            known.identity.name = Some(name.into());
            known.identity.labels = Some(Labels::from([("app".into(), name.into())]));
            vec![known]
        };
        let remote = |registry: &Registry| registry.holder(&address, 9, 9).name.clone();
        let mut registry = Registry::default();
        registry.appeared(IFINDEX, "veth0");
        registry.learn(IdentitySource::Netns, local(EndpointKind::Netns), 1);
        assert_eq!((name(&registry), remote(&registry)), (None, None));
        for called in ["web", "cart"] {
            let changes = registry.learn(IdentitySource::Inventory, declared(called), 2);
            assert!(changes.interfaces.contains(&IFINDEX));
            assert!(changes.addresses.contains(&address));
            assert_eq!(name(&registry), Some(called));
            assert_eq!(remote(&registry).as_deref(), Some(called));
        }
        let identity = registry.behind(IFINDEX).map(|it| Arc::clone(&it.identity));
        let labels = identity.and_then(|it| it.labels.clone());
        let both = [("found", "yes"), ("app", "cart")];
        let both = both.map(|(key, value)| (key.into(), value.into()));
        assert_eq!(labels, Some(Labels::from(both)));
        // Who is gone stays who it was.
        registry.gone(IFINDEX, 10);
        registry.learn(IdentitySource::Inventory, declared("web"), 11);
        assert_eq!(remote(&registry).as_deref(), Some("cart"));
        // And what is not declared any more is only what it is by itself.
        registry.appeared(IFINDEX, "veth0");
        registry.learn(IdentitySource::Netns, local(EndpointKind::Netns), 12);
        assert_eq!(name(&registry), Some("web"));
        registry.learn(IdentitySource::Inventory, Vec::new(), 13);
        assert_eq!(name(&registry), None);
        // Also one of whom nothing else is known.
        let mut registry = Registry::default();
        registry.appeared(IFINDEX, "veth0");
        registry.learn(IdentitySource::Netns, local(EndpointKind::Unknown), 1);
        registry.learn(IdentitySource::Inventory, declared("web"), 2);
        let identity = registry.behind(IFINDEX).map(|it| Arc::clone(&it.identity));
        assert_eq!(identity.map(|it| it.kind), Some(EndpointKind::Pod));
        assert_eq!(name(&registry), Some("web"));
        // Of a pod of Kubernetes its node knows better: addresses are used again.
        let mut registry = Registry::default();
        registry.appeared(IFINDEX, "veth0");
        registry.learn(IdentitySource::Netns, local(EndpointKind::Pod), 1);
        registry.learn(IdentitySource::Inventory, declared("web"), 2);
        assert_eq!(name(&registry), None);
    }

    /// A runtime that is told to remove a container forgets it before its processes and its veth are
    /// gone.
    #[test]
    fn a_name_stays_as_long_as_the_container() {
        let mut registry = Registry::default();
        registry.appeared(IFINDEX, "veth0");
        let kernel = |id| vec![container(IdentitySource::Netns, id, None)];
        let named = |id| vec![container(IdentitySource::Podman, id, Some("web"))];
        registry.learn(IdentitySource::Netns, kernel("c1"), 1);
        registry.learn(IdentitySource::Podman, named("c1"), 2);
        assert_eq!(name(&registry), Some("web"));
        registry.learn(IdentitySource::Podman, Vec::new(), 3);
        assert_eq!(name(&registry), Some("web"));
        registry.learn(IdentitySource::Netns, Vec::new(), 4);
        assert_eq!(name(&registry), Some("web"));
        registry.learn(IdentitySource::Netns, kernel("c1"), 4);
        // A name without labels is not less than a name with them.
        let mut labelled = named("c1");
        for known in &mut labelled {
            known.identity.labels = Some(Labels::default());
        }
        registry.learn(IdentitySource::Podman, labelled, 4);
        registry.learn(IdentitySource::Podman, named("c1"), 4);
        let labels = registry
            .behind(IFINDEX)
            .map(|behind| behind.identity.labels.is_some());
        assert_eq!(labels, Some(true));
        registry.learn(IdentitySource::Podman, Vec::new(), 4);
        // Another one is not called so.
        registry.learn(IdentitySource::Netns, kernel("c2"), 5);
        assert_eq!(name(&registry), None);
    }
}
