//! Who is behind each interface and who had each address when. No IO; times are arguments
//! (`CLOCK_MONOTONIC`, ns).

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    Known,
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
    attachments: HashMap<u32, Attachment>,
    /// Attachments that are gone, and when they went.
    gone: VecDeque<Gone>,
    /// Who had addresses on this host, and elsewhere.
    near: History,
    far: History,
    disagreeing: HashSet<(u32, IdentitySource)>,
    disagreements: u64,
}

#[derive(Debug)]
struct Gone {
    since_ns: u64,
    ifindex: u32,
    interface: String,
    nearest: Option<Known>,
}

/// Who is behind an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// Addresses they have.
    pub addresses: Vec<IpAddr>,
    /// Who runs it.
    pub runtime: Option<Arc<str>>,
    /// Since when it is there.
    pub since: Option<Timestamp>,
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

    /// Who had this address while a flow went on.
    pub fn holder(&self, address: &IpAddr, first_ns: u64, last_ns: u64) -> &Identity {
        if let Some(near) = self.near.holder(address, first_ns, last_ns) {
            return near;
        }
        if let Some(far) = self.far.holder(address, first_ns, last_ns) {
            return far;
        }
        if self.knows_the_cluster() || is_public(address) {
            &EXTERNAL
        } else {
            &UNKNOWN
        }
    }

    /// Times that a source said something else than one nearer to the kernel.
    pub const fn disagreements(&self) -> u64 {
        self.disagreements
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
        self.attachments.remove(&ifindex);
        self.disagreeing.retain(|(of, _)| *of != ifindex);
        let nearest = self.nearest(ifindex).cloned();
        self.gone.push_back(Gone {
            since_ns: now_ns,
            ifindex,
            interface,
            nearest,
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
            let mut held = HashMap::new();
            let others = self
                .snapshots
                .iter()
                .filter(|(of, _)| is_far(**of) && **of != source);
            for (of, snapshot) in others.chain([(&source, &snapshot)]) {
                hold_called(&mut held, *of, snapshot, |_| false);
            }
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
        for gone in &self.gone {
            let joined = join(&gone.interface, gone.nearest.as_ref(), &self.snapshots);
            if joined.identity.name.is_some() {
                let who = Arc::new(joined.identity);
                let learned = self.near.learn(&Holder::Behind(gone.ifindex), &who);
                changes.addresses.extend(learned);
            }
        }
        let new = disagreeing.difference(&self.disagreeing).count();
        self.disagreements += new as u64;
        self.disagreeing = disagreeing;
        changes
    }

    /// What the kernel says of who is behind an interface.
    fn nearest(&self, ifindex: u32) -> Option<&Known> {
        self.snapshots.get(&IdentitySource::Netns)?.behind(ifindex)
    }

    /// Is an address that nobody has certainly none of the cluster's?
    fn knows_the_cluster(&self) -> bool {
        let far = self.snapshots.iter().filter(|(source, _)| is_far(**source));
        // Who lists nodes lists everything.
        far.flat_map(|(_, snapshot)| &snapshot.known)
            .any(|(_, who)| who.kind == EndpointKind::Node)
    }
}

impl Attachment {
    /// Once known, the kind and name stay: at its end an attachment loses its processes before its
    /// interface.
    fn new(joined: Joined, before: Option<&Self>) -> Self {
        let kept = before.filter(|before| {
            joined.identity.name.is_none()
                && joined.identity.container_id.is_none()
                && before.identity.kind != EndpointKind::Unknown
        });
        match kept {
            Some(before) => Self {
                addresses: joined.addresses,
                ..before.clone()
            },
            None => Self {
                identity: match before {
                    Some(before) if *before.identity == joined.identity => {
                        Arc::clone(&before.identity)
                    }
                    _ => Arc::new(joined.identity),
                },
                addresses: joined.addresses,
                runtime: joined.runtime,
                since: joined.since,
            },
        }
    }
}

/// Those that know of other hosts too.
fn is_far(source: IdentitySource) -> bool {
    matches!(
        source,
        IdentitySource::Kubernetes | IdentitySource::Inventory
    )
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
            let id = known.ids.first().map_or("", |id| id);
            let part = |part: &Option<Arc<str>>| part.as_deref().unwrap_or_default().to_owned();
            let (namespace, name) = (part(&who.namespace), part(&who.name));
            Holder::Called(format!("{}/{id}/{namespace}/{name}", source.label()).into())
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
