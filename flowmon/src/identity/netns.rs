//! The kernel itself: a veth's other end is in a network namespace, processes are in it too, and
//! their control group tells whose they are.
//!
//! Interface indices are not unique across namespaces, and the ids of namespaces are used again, so
//! nothing is remembered from one look to the next.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    net::IpAddr,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ipnetwork::IpNetwork;
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use super::{
    Known, Links, Outlet, Source, Trouble,
    cgroup::{self, Cgroup, Pod},
    text,
};
use crate::{
    model::{EndpointKind, IdentitySource, Interface},
    netlink::{self, AddressWatch, InterfaceAddress, Namespaces},
};

/// Where `ip netns` and CNI keep namespaces; only here their file names are anybody's names.
const NAMED: &str = "/run/netns";

/// Where Docker does.
const DOCKERS: &str = "/run/docker/netns";

/// Processes of one namespace whose control group is looked at.
const MOST_PROCESSES: usize = 64;

/// Somebody whose processes have not begun is looked at again after a time that doubles.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What changes at once is looked at once.
const GATHERING: Duration = Duration::from_millis(2);

/// Who is behind each veth, as the kernel has it.
#[derive(Debug)]
pub struct Netns {
    /// What this host is called.
    node: Option<String>,
    hint: Arc<Notify>,
}

/// A network namespace, and who is in it.
struct Namespace {
    path: PathBuf,
    name: Option<String>,
    pids: Vec<u32>,
}

impl Netns {
    /// Asks the kernel of this host; again whenever it is given a hint that something has changed.
    pub fn new(hint: Arc<Notify>) -> Self {
        Self {
            hint,
            node: nix::unistd::gethostname()
                .ok()
                .and_then(|name| name.into_string().ok()),
        }
    }

    fn look(&self, namespaces: &mut Namespaces, links: &[Interface]) -> Result<Found, Trouble> {
        let by_inode = all_namespaces().map_err(|error| {
            Trouble::Broken(format!("cannot list processes' namespaces: {error}"))
        })?;
        let mut by_id: HashMap<i32, (u64, &Namespace)> = HashMap::new();
        for (&inode, namespace) in &by_inode {
            // It may be gone by now.
            let Ok(file) = File::open(&namespace.path) else {
                continue;
            };
            if let Some(id) = namespaces.id_of(file.as_fd()).map_err(broken)? {
                by_id.insert(id, (inode, namespace));
            }
        }
        let own = fs::read_to_string("/proc/self/cgroup")
            .ok()
            .and_then(|file| cgroup::parse(&file));
        let mut found = Found {
            known: vec![self.host(namespaces.addresses(None).map_err(broken)?)],
            unresolved: false,
        };
        for link in links {
            let Some((peer, id)) = link.peer.and_then(|peer| Some((peer, peer.netnsid?))) else {
                continue; // both ends are on the host: nobody is behind it
            };
            let mut known = match by_id.get(&id) {
                Some(&(inode, namespace)) => {
                    let mut known = who(namespace, own.as_ref());
                    known.netns = Some(inode);
                    known
                }
                None => Known::new(EndpointKind::Unknown, IdentitySource::Netns),
            };
            known.ifindex = Some(link.ifindex);
            // The namespace may go while it is asked about.
            let addresses = namespaces.addresses(Some(id)).unwrap_or_default();
            let own: Vec<&InterfaceAddress> = addresses
                .iter()
                .filter(|address| address.ifindex == peer.ifindex && !address.is_local)
                .collect();
            known.addresses = own.iter().map(|address| address.address).collect();
            known.networks = own.iter().filter_map(|address| network(address)).collect();
            found.unresolved |= known.identity.kind == EndpointKind::Unknown;
            found.known.push(known);
        }
        Ok(found)
    }

    fn host(&self, addresses: Vec<InterfaceAddress>) -> Known {
        let mut host = Known::new(EndpointKind::Host, IdentitySource::Netns);
        host.identity.name = self.node.as_deref().and_then(text::clean_some);
        let reachable = |address: &IpAddr, is_local: bool| !is_local || address.is_loopback();
        host.addresses = addresses
            .into_iter()
            .filter(|address| reachable(&address.address, address.is_local))
            .map(|address| address.address)
            .collect();
        host
    }
}

/// The network that an address is of, if it has any others.
fn network(address: &InterfaceAddress) -> Option<IpNetwork> {
    let network = IpNetwork::new(address.address, address.prefix).ok()?;
    let whole = if network.is_ipv4() { 32 } else { 128 };
    (network.prefix() < whole).then(|| IpNetwork::new(network.network(), network.prefix()).ok())?
}

struct Found {
    known: Vec<Known>,
    /// Of somebody nothing is known yet.
    unresolved: bool,
}

impl Source for Netns {
    fn name(&self) -> IdentitySource {
        IdentitySource::Netns
    }

    async fn follow(&mut self, links: &mut watch::Receiver<Links>, outlet: &mut Outlet) -> Trouble {
        let opened = Namespaces::open().and_then(|open| Ok((open, AddressWatch::open()?)));
        let (mut namespaces, mut addresses) = match opened {
            Ok(opened) => opened,
            Err(error) => return broken(error),
        };
        let mut wait = SHORTEST_WAIT;
        loop {
            let now = Links::clone(&links.borrow_and_update());
            let found = match self.look(&mut namespaces, &now) {
                Ok(found) => found,
                Err(trouble) => return trouble,
            };
            outlet.tell(found.known).await;
            let again = async {
                if found.unresolved {
                    sleep(wait).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                changed = links.changed() => {
                    if changed.is_err() {
                        return Trouble::Absent("nobody asks any more".to_owned());
                    }
                    wait = SHORTEST_WAIT;
                }
                changed = addresses.changed() => {
                    if let Err(error) = changed {
                        return broken(error);
                    }
                }
                () = self.hint.notified() => {}
                () = again => wait = (wait * 2).min(LONGEST_WAIT),
            }
            sleep(GATHERING).await;
            while let Ok(Ok(())) = timeout(Duration::ZERO, addresses.changed()).await {}
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "passed to map_err")]
fn broken(error: netlink::Error) -> Trouble {
    Trouble::Broken(error.to_string())
}

/// Every network namespace that has a file or a process, by inode.
fn all_namespaces() -> io::Result<HashMap<u64, Namespace>> {
    let device = fs::metadata("/proc/self/ns/net")?.dev();
    let mut all: HashMap<u64, Namespace> = HashMap::new();
    for (folder, names) in [(NAMED, true), (DOCKERS, false)] {
        // Who has no such folder has no such namespaces.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(inode) = inode(&path, device) {
                let namespace = Namespace {
                    path,
                    name: Some(name).filter(|name| names && !is_made_up(name)),
                    pids: Vec::new(),
                };
                all.insert(inode, namespace);
            }
        }
    }
    let mut pids: Vec<u32> = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    for pid in pids {
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        if let Some(inode) = inode(&path, device) {
            let namespace = all.entry(inode).or_insert_with(|| Namespace {
                path,
                name: None,
                pids: Vec::new(),
            });
            namespace.pids.push(pid);
        }
    }
    Ok(all)
}

/// A file of the namespaces' own file system. Processes end at any time.
fn inode(path: &Path, device: u64) -> Option<u64> {
    let metadata = fs::metadata(path).ok()?;
    (metadata.dev() == device).then(|| metadata.ino())
}

/// CNI and Podman call the namespaces that they make `cni-UUID` and `netns-UUID`.
fn is_made_up(name: &str) -> bool {
    let uuid = name
        .strip_prefix("cni-")
        .or_else(|| name.strip_prefix("netns-"));
    uuid.is_some_and(|uuid| {
        uuid.len() == 36
            && uuid
                .chars()
                .all(|char| char.is_ascii_hexdigit() || char == '-')
    })
}

/// Whom a namespace belongs to.
fn who(namespace: &Namespace, own: Option<&Cgroup>) -> Known {
    let mut cgroups: Vec<Cgroup> = namespace
        .pids
        .iter()
        .take(MOST_PROCESSES)
        .filter_map(|pid| cgroup::parse(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?))
        // What runs in flowmon's own container may have made a namespace, which is no container.
        .filter(|found| own.is_none_or(|own| own.container != found.container))
        .collect();
    // A container's namespace may have containers in it that use it too (`hostNetwork` in a node
    // that is a container itself). Sorting is stable: of equals it is the first process's.
    cgroups.sort_by_key(|cgroup| cgroup.depth);
    let Some(first) = cgroups.first() else {
        return bare(namespace);
    };
    let kind = match first.pod {
        Some(_) => EndpointKind::Pod,
        None => EndpointKind::Container,
    };
    let mut known = Known::new(kind, IdentitySource::Netns);
    known.identity.container_id = Some(first.container.clone());
    if let Some((namespace, name)) = &first.name {
        known.identity.namespace = Some(namespace.clone());
        known.identity.name = Some(name.clone());
    }
    known.runtime = first.runtime.map(Into::into);
    match &first.pod {
        Some(Pod::Kubernetes(uid)) => known.pod_uid = Some(uid.clone()),
        Some(Pod::Podman(id)) => known.ids.push(id.clone()),
        None => {}
    }
    for cgroup in &cgroups {
        if cgroup.pod == first.pod && !known.ids.contains(&cgroup.container) {
            known.ids.push(cgroup.container.clone());
        }
    }
    known
}

/// A namespace without a container.
fn bare(namespace: &Namespace) -> Known {
    let kind = if namespace.name.is_some() || !namespace.pids.is_empty() {
        EndpointKind::Netns
    } else {
        EndpointKind::Unknown
    };
    let mut known = Known::new(kind, IdentitySource::Netns);
    if let Some(name) = &namespace.name {
        known.identity.name = text::clean_some(name);
        known.identity.namespace = Some("default".into());
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nobody_chose() {
        assert!(is_made_up("cni-0d252d49-f5cc-5431-e370-1abb17008633"));
        assert!(is_made_up("netns-0d252d49-f5cc-5431-e370-1abb17008633"));
        for chosen in ["cni-test", "blue", "netns-1", "cni-"] {
            assert!(!is_made_up(chosen), "{chosen}");
        }
    }

    #[test]
    fn this_process_has_a_namespace() -> io::Result<()> {
        let own = fs::metadata("/proc/self/ns/net")?.ino();
        let all = all_namespaces()?;
        let pids = all.get(&own).map(|namespace| &namespace.pids);
        assert!(pids.is_some_and(|pids| pids.contains(&std::process::id())));
        Ok(())
    }
}
