//! Who is who, as far as the pipeline goes: sources are started and listened to, and flows that were
//! told before it was known who they are between are told again.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use flowmon_common::FlowKey;
use foldhash::fast::RandomState;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::{
    audit::Behind,
    clock::Moment,
    identity::{
        Attachment, Changes, Cni, Cri, Docker, Known, Links, Netns, News, Registry, Said, Source,
        Sources, Trouble,
    },
    kubernetes::Kubernetes,
    model::{Endpoint, EndpointKind, Flow, FlowEvent, Identity, IdentitySource, Interface, Report},
    settings::{self, Places},
    sinks::escaped,
};

/// Flows that wait for a name, at most.
const MOST_WAITING: usize = 65_536;

/// Sources are waited for at the start, so that the first records have names; but no longer.
pub(super) const SETTLING: Duration = Duration::from_millis(300);

/// Who nothing is known of is looked for again when they speak, but not more often than this, and
/// less and less often.
const FIRST_HINT_NS: u64 = 20_000_000;
const LAST_HINT_NS: u64 = 5_000_000_000;

pub(super) struct Identities {
    registry: Registry,
    sources: Sources,
    links: Links,
    /// What each source that has said something said last.
    heard: BTreeMap<IdentitySource, Result<usize, Trouble>>,
    /// Those that have ever known somebody.
    answered: BTreeSet<IdentitySource>,
    /// Told without a name.
    waiting: HashSet<FlowKey, RandomState>,
    not_waiting: u64,
    hint: Arc<Notify>,
    /// When the next hint may be given, and how long after it another one.
    next_hint: (u64, u64),
}

impl Identities {
    /// Starts the sources, in the network namespace of the calling thread. `declared` is what the
    /// user says; Kubernetes is asked if it is given.
    pub(super) fn start<'a>(
        places: &Places,
        kubernetes: Option<Kubernetes>,
        declared: Vec<Known>,
        interfaces: impl Iterator<Item = &'a Interface>,
        now: &Moment,
    ) -> Self {
        let mut identities = Self {
            registry: Registry::default(),
            sources: Sources::new(Links::from([])),
            links: Links::from([]),
            heard: BTreeMap::new(),
            answered: BTreeSet::new(),
            waiting: HashSet::default(),
            not_waiting: 0,
            hint: Arc::default(),
            next_hint: (0, FIRST_HINT_NS),
        };
        if !declared.is_empty() {
            identities.declare(declared, now);
        }
        identities.follow(interfaces, now);
        identities.start_source(Netns::new(Arc::clone(&identities.hint)));
        identities.start_source(Cni::new(places.cni_results.clone()));
        identities.start_source(Cri::new(places.cri.clone()));
        identities.start_source(Docker::at(places.docker.clone()));
        identities.start_source(Docker::podman_at(places.podman.clone()));
        if let Some(kubernetes) = kubernetes {
            identities.start_source(kubernetes);
        }
        identities
    }

    /// The user says who is who.
    pub(super) fn declare(&mut self, declared: Vec<Known>, now: &Moment) -> Changes {
        let source = IdentitySource::Inventory;
        self.registry.learn(source, declared, now.monotonic_ns)
    }

    fn start_source(&mut self, source: impl Source) {
        let name = source.name().label();
        if let Err(error) = self.sources.start(source) {
            tracing::warn!("who is who is not asked of {name}: {error}");
        }
    }

    /// Waits a moment for every source to say something.
    pub(super) async fn settle(&mut self, patience: Duration, now: &Moment) -> Changes {
        let deadline = Instant::now() + patience;
        let mut changes = Changes::default();
        while self.heard.len() < self.sources.started() {
            let Ok(news) = timeout_at(deadline, self.next()).await else {
                break;
            };
            changes.merge(self.learn(news, now));
        }
        changes
    }

    /// What a source says next. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> News {
        match self.sources.next().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    /// Takes it in.
    pub(super) fn learn(&mut self, news: News, now: &Moment) -> Changes {
        let News { source, said } = news;
        let state = match &said {
            Said::Known(known) => Ok(known.len()),
            Said::Cluster(cluster) => cluster.trouble.clone().map_or(Ok(cluster.known), Err),
            Said::Unavailable(trouble) => Err(trouble.clone()),
        };
        let name = source.label();
        let before = self.heard.insert(source, state.clone());
        match &state {
            Ok(known) => tracing::trace!(source = name, known, "identities"),
            Err(Trouble::Absent(why)) => tracing::debug!(source = name, "no identities: {why}"),
            Err(Trouble::Broken(why)) => {
                if before.as_ref() != Some(&state) {
                    let why = escaped(why);
                    tracing::warn!("{name} does not say who is who: {why}; it is asked again");
                }
            }
        }
        let changes = match said {
            Said::Known(known) => self.registry.learn(source, known, now.monotonic_ns),
            Said::Cluster(cluster) => self.registry.learn_cluster(cluster, now.monotonic_ns),
            Said::Unavailable(_) => return Changes::default(),
        };
        self.answered.insert(source);
        changes
    }

    /// Interfaces are these: tells the sources, if it matters to them.
    pub(super) fn follow<'a>(
        &mut self,
        interfaces: impl Iterator<Item = &'a Interface>,
        now: &Moment,
    ) -> Changes {
        let leading: Vec<&Interface> = interfaces
            .filter(|interface| interface.leads_to_endpoint())
            .collect();
        let same = |(a, b): (&&Interface, &Interface)| {
            (a.ifindex, &a.name, a.peer) == (b.ifindex, &b.name, b.peer)
        };
        if leading.len() == self.links.len() && leading.iter().zip(&*self.links).all(same) {
            return Changes::default();
        }
        let there: BTreeSet<u32> = leading.iter().map(|link| link.ifindex).collect();
        for link in &*self.links {
            if !there.contains(&link.ifindex) {
                self.registry.gone(link.ifindex, now.monotonic_ns);
            }
        }
        for link in &leading {
            self.registry.appeared(link.ifindex, &link.name);
        }
        self.links = leading.into_iter().cloned().collect();
        self.next_hint = (0, FIRST_HINT_NS);
        self.sources.look_at(Links::clone(&self.links));
        self.registry.review(now.monotonic_ns)
    }

    /// Who is at the other end of a flow; none where it has no address.
    pub(super) fn remote(&self, flow: &Flow) -> Option<&Identity> {
        remote(&self.registry, flow)
    }

    /// Who is behind an interface, if anything is known of it.
    pub(super) fn behind(&self, ifindex: u32) -> Option<&Arc<Identity>> {
        let attachment = self.registry.behind(ifindex)?;
        Some(&attachment.identity)
    }

    /// Who is behind all interfaces.
    pub(super) fn all_behind(&self) -> impl Iterator<Item = Behind<'_>> {
        let attachments = self.registry.attachments();
        attachments.map(|(ifindex, attachment)| Behind {
            ifindex,
            identity: &attachment.identity,
            addresses: &attachment.addresses,
            networks: &attachment.networks,
        })
    }

    /// How often sources said something else than one nearer to the kernel.
    pub(super) const fn disagreements(&self) -> &BTreeMap<IdentitySource, u64> {
        self.registry.disagreements()
    }

    /// The addresses of this host.
    pub(super) fn host(&self) -> &[IpAddr] {
        self.registry.host()
    }

    /// A flow is about to be told: is it to be told again once names are known? Returns who is at its
    /// other end.
    pub(super) fn note(
        &mut self,
        report: &Report<'_>,
        endpoint: &Endpoint,
        now: &Moment,
    ) -> Option<&Identity> {
        let key = &report.flow.key;
        let local_open = endpoint.identity.is_open();
        let remote = remote(&self.registry, report.flow);
        let remote_open = remote.is_some_and(Identity::is_open);
        if report.event == FlowEvent::End || !(local_open || remote_open) {
            if !self.waiting.is_empty() {
                self.waiting.remove(key);
            }
            return remote;
        }
        if self.waiting.len() < MOST_WAITING {
            self.waiting.insert(*key);
        } else if !self.waiting.contains(key) {
            self.not_waiting += 1;
        }
        let (at_ns, pause_ns) = self.next_hint;
        if endpoint.identity.kind == EndpointKind::Unknown && now.monotonic_ns >= at_ns {
            self.hint.notify_one();
            self.next_hint = (
                now.monotonic_ns + pause_ns,
                (pause_ns * 2).min(LAST_HINT_NS),
            );
        }
        remote
    }

    /// Does each source answer? One that was never there is not missed.
    pub(super) fn answering(&self) -> BTreeMap<IdentitySource, bool> {
        let is_missed = |source: &IdentitySource, state: &Result<usize, Trouble>| match state {
            Ok(_) | Err(Trouble::Broken(_)) => true,
            Err(Trouble::Absent(_)) => self.answered.contains(source),
        };
        let heard = self.heard.iter();
        heard
            .filter(|(source, state)| is_missed(source, state))
            .map(|(source, state)| (*source, state.is_ok()))
            .collect()
    }

    /// Flows that can be told better.
    pub(super) fn to_tell_again(&self, changes: &Changes) -> Vec<FlowKey> {
        let address = |key: &FlowKey| Flow::address_of(key.l3, key.remote);
        let better = |key: &&FlowKey| {
            changes.interfaces.contains(&key.ifindex)
                || address(key).is_some_and(|address| changes.addresses.contains(&address))
        };
        self.waiting.iter().filter(better).copied().collect()
    }

    /// Flows that were told without a name and would not be told again.
    pub(super) const fn not_waiting(&self) -> u64 {
        self.not_waiting
    }
}

fn remote<'a>(registry: &'a Registry, flow: &Flow) -> Option<&'a Identity> {
    let address = flow.remote_ip()?;
    let (first_ns, last_ns) = (flow.stats.first_ns, flow.last_ns);
    Some(registry.holder(&address, first_ns, last_ns))
}

/// The API of Kubernetes, to be asked.
pub(super) fn kubernetes(settings: &settings::Kubernetes) -> Kubernetes {
    let settings::Kubernetes { kubeconfig, node } = settings;
    // As the kubelet calls the node.
    let host = || Some(nix::unistd::gethostname().ok()?.to_str()?.to_lowercase());
    let node = node.clone().or_else(host).unwrap_or_default();
    Kubernetes::new(kubeconfig.clone(), node)
}

/// Who is behind each interface right now, and how that is known.
#[derive(Debug)]
pub struct Survey {
    /// By interface index.
    pub attachments: BTreeMap<u32, Attachment>,
    /// How many endpoints each source knows, or why it knows none. One that is missing has not
    /// answered yet.
    pub sources: BTreeMap<IdentitySource, Result<usize, Trouble>>,
    /// Of how many interfaces a source says something else than one nearer to the kernel.
    pub disagreements: BTreeMap<IdentitySource, u64>,
}

/// Asks every source once, as a watch does, in the network namespace of the calling thread. Takes as
/// long as the slowest of them, but not much longer than they have to answer.
pub async fn survey(places: &Places, interfaces: &[Interface], now: &Moment) -> Survey {
    const PATIENCE: Duration = Duration::from_secs(6);
    let kubernetes = places.kubernetes.as_ref().map(kubernetes);
    let mut identities = Identities::start(places, kubernetes, Vec::new(), interfaces.iter(), now);
    identities.settle(PATIENCE, now).await;
    let attachments = interfaces.iter().filter_map(|interface| {
        let attachment = identities.registry.behind(interface.ifindex)?;
        Some((interface.ifindex, attachment.clone()))
    });
    Survey {
        attachments: attachments.collect(),
        disagreements: identities.disagreements().clone(),
        sources: identities.heard,
    }
}
