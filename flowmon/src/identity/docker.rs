//! Docker and Podman, by the API that both have (Docker Engine API 1.40), and Podman's pods by its
//! own.
//!
//! For policies they are like Kubernetes: a container's namespace is its compose project, else
//! `default`; its labels are its own and `name`; its ports have names.

mod ports;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{Known, Links, Outlet, Source, Trouble, http, text};
use crate::model::{EndpointKind, IdentitySource, Labels, NamedPort};
use ports::Port;

/// Running containers.
const CONTAINERS: &str = "/v1.40/containers/json";

/// Podman's pods.
const PODS: &str = "/v4.0.0/libpod/pods/json";

/// What happens to containers: starts, ends, names and networks.
/// `{"event":["start","die","rename","connect","disconnect"]}`
const EVENTS: &str = "/v1.40/events?filters=%7B%22event%22%3A%5B%22start%22%2C%22die%22%2C%22rename%22%2C%22connect%22%2C%22disconnect%22%5D%7D";

/// The daemon is asked this often even if it told of no event.
const POLL: Duration = Duration::from_secs(10);

/// Events that come together are one reason to ask.
const GATHERING: Duration = Duration::from_millis(5);

/// How long somebody is looked for again after an interface came: they may be told of late.
const FOLLOW_UP: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(3),
];

/// The label that says which compose project a container is of.
const PROJECT: &str = "com.docker.compose.project";

/// Docker or Podman at a socket.
#[derive(Debug)]
pub struct Docker {
    which: IdentitySource,
    socket: PathBuf,
}

/// A container in the list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    ports: Option<Vec<Port>>,
    #[serde(default)]
    created: i64,
    #[serde(default)]
    host_config: HostConfig,
    #[serde(default)]
    network_settings: NetworkSettings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    #[serde(default)]
    network_mode: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(default)]
    networks: Option<BTreeMap<String, Option<Network>>>,
}

#[derive(Debug, Deserialize)]
struct Network {
    #[serde(default, rename = "IPAddress")]
    ipv4: String,
    #[serde(default, rename = "GlobalIPv6Address")]
    ipv6: String,
}

/// A pod of Podman's.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pod {
    id: String,
    name: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    containers: Option<Vec<Member>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Member {
    id: String,
}

impl Docker {
    /// Docker, at this socket.
    pub const fn at(socket: PathBuf) -> Self {
        Self {
            which: IdentitySource::Docker,
            socket,
        }
    }

    /// Podman, at this socket.
    pub const fn podman_at(socket: PathBuf) -> Self {
        Self {
            which: IdentitySource::Podman,
            socket,
        }
    }

    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<T, Trouble> {
        let body = http::get(&self.socket, path).await?;
        serde_json::from_slice(&body).map_err(|error| {
            let socket = self.socket.display();
            Trouble::Broken(format!(
                "{socket}: {path} is not what it should be: {error}"
            ))
        })
    }

    async fn known(&self) -> Result<Vec<Known>, Trouble> {
        let containers: Vec<Container> = self.ask(CONTAINERS).await?;
        let pods: Vec<Pod> = match self.which {
            IdentitySource::Podman => self.ask(PODS).await?,
            _ => Vec::new(),
        };
        Ok(known(self.which, &containers, &pods))
    }
}

impl Source for Docker {
    fn name(&self) -> IdentitySource {
        self.which
    }

    async fn follow(&mut self, links: &mut watch::Receiver<Links>, outlet: &mut Outlet) -> Trouble {
        // Before the list, so that nothing is missed in between.
        let mut events = match http::follow(&self.socket, EVENTS).await {
            Ok(events) => events,
            Err(trouble) => return trouble,
        };
        let mut follow_up = FOLLOW_UP.iter();
        loop {
            links.mark_unchanged();
            match self.known().await {
                Ok(known) => outlet.tell(known).await,
                Err(trouble) => return trouble,
            }
            tokio::select! {
                more = events.more() => {
                    if let Err(error) = more {
                        return http::trouble(&self.socket, EVENTS, &error);
                    }
                }
                changed = links.changed() => {
                    if changed.is_err() {
                        return Trouble::Absent("nobody asks any more".to_owned());
                    }
                    follow_up = FOLLOW_UP.iter();
                }
                () = sleep(follow_up.next().copied().unwrap_or(POLL)) => {}
            }
            sleep(GATHERING).await;
            while let Ok(Ok(())) = timeout(Duration::ZERO, events.more()).await {}
        }
    }
}

fn known(which: IdentitySource, containers: &[Container], pods: &[Pod]) -> Vec<Known> {
    let mut all: Vec<Known> = Vec::new();
    let mut pod_of: HashMap<&str, usize> = HashMap::new();
    for pod in pods {
        let members = pod.containers.iter().flatten();
        pod_of.extend(
            members
                .clone()
                .map(|member| (member.id.as_str(), all.len())),
        );
        let ids = [pod.id.as_str()].into_iter();
        let mut known = endpoint(which, EndpointKind::Pod, &pod.name, pod.labels.as_ref());
        known.ids = ids
            .chain(members.map(|member| member.id.as_str()))
            .filter_map(text::clean_some)
            .collect();
        all.push(known);
    }
    // Who has a network of their own; then those who use another's.
    let (guests, owners): (Vec<_>, Vec<_>) = containers
        .iter()
        .partition(|container| container.host_config.network_mode.starts_with("container:"));
    let mut owner_of: HashMap<&str, usize> = HashMap::new();
    for container in owners {
        let addresses = container.addresses();
        let ports = container.ports();
        if let Some(pod) = pod_of
            .get(container.id.as_str())
            .and_then(|&at| all.get_mut(at))
        {
            pod.addresses.extend(addresses);
            pod.addresses.sort_unstable();
            pod.addresses.dedup();
            pod.expose(ports);
            pod.since = pod.since.into_iter().chain(container.since()).min();
            continue;
        }
        owner_of.insert(&container.id, all.len());
        let mut known = container.known(which);
        known.addresses = addresses;
        if known.pod_uid.is_none() {
            // Podman lists only those that are published.
            known.identity.all_ports = which == IdentitySource::Docker;
            known.expose(ports);
        }
        all.push(known);
    }
    for container in guests {
        let mode = &container.host_config.network_mode;
        let owner = mode.strip_prefix("container:").unwrap_or_default();
        let owner = owner_of.get(owner).and_then(|&at| all.get_mut(at));
        if let (Some(owner), Some(id)) = (owner, text::clean_some(&container.id)) {
            owner.ids.push(id);
            if owner.pod_uid.is_none() {
                owner.expose(container.ports());
            }
        }
    }
    // In an order of their own, to tell whether anything changed.
    all.sort_by(|a, b| a.ids.cmp(&b.ids));
    all
}

impl Container {
    fn known(&self, which: IdentitySource) -> Known {
        let label = |key: &str| self.labels.as_ref()?.get(key).map(String::as_str);
        let pod = label("io.kubernetes.pod.name").zip(label("io.kubernetes.pod.namespace"));
        let mut known = if let Some((name, namespace)) = pod {
            // A container that the kubelet had Docker make is part of a pod.
            let mut known = Known::new(EndpointKind::Pod, which);
            known.identity.name = text::clean_some(name);
            known.identity.namespace = text::clean_some(namespace);
            known.pod_uid = label("io.kubernetes.pod.uid").and_then(text::clean_some);
            known
        } else {
            let names = self.names.as_deref().unwrap_or_default();
            // `/other/alias` is what a link calls it.
            let name = names
                .iter()
                .filter_map(|name| name.strip_prefix('/'))
                .find(|name| !name.contains('/'))
                .unwrap_or_default();
            endpoint(which, EndpointKind::Container, name, self.labels.as_ref())
        };
        known.ids = text::clean_some(&self.id).into_iter().collect();
        known.identity.container_id = known.ids.first().map(Arc::clone);
        known.since = self.since();
        known
    }

    fn since(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.created).ok()
    }

    fn ports(&self) -> Vec<NamedPort> {
        ports::named(self.ports.as_deref().unwrap_or_default())
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let networks = self.network_settings.networks.iter().flatten();
        let networks = networks.filter_map(|(_, network)| network.as_ref());
        networks
            .flat_map(|network| [&network.ipv4, &network.ipv6])
            .filter_map(|address| address.parse().ok())
            .collect()
    }
}

/// Somebody with a name and labels.
fn endpoint(
    which: IdentitySource,
    kind: EndpointKind,
    name: &str,
    own: Option<&BTreeMap<String, String>>,
) -> Known {
    let mut known = Known::new(kind, which);
    known.identity.name = text::clean_some(name);
    let project = own.and_then(|labels| labels.get(PROJECT));
    known.identity.namespace = project
        .and_then(|project| text::clean_some(project))
        .or_else(|| Some("default".into()));
    known.runtime = Some(which.label().into());
    let mut labels: Labels = text::labels(own.into_iter().flatten());
    if let Some(name) = &known.identity.name {
        labels
            .entry("name".into())
            .or_insert_with(|| Arc::clone(name));
    }
    known.identity.labels = Some(labels);
    known
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;
    use proptest::prelude::*;

    /// `docker run` with and without compose's labels, as Docker 20.10.24 lists it (less what is
    /// not read): `curl --unix-socket /run/docker.sock http://d/v1.40/containers/json`
    const DOCKER: &str = r#"[
        {"Id":"2e96","Names":["/dk2","/dk1/alias"],"Image":"busybox:1","Created":1795334563,"Ports":[],
         "Labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"web"},
         "State":"running","HostConfig":{"NetworkMode":"net"},
         "NetworkSettings":{"Networks":{"net":{"IPAMConfig":null,"Gateway":"10.77.5.1",
         "IPAddress":"10.77.5.2","IPPrefixLen":24,"GlobalIPv6Address":"","DriverOpts":null}}}},
        {"Id":"b348","Names":["/dk1"],"Created":1795334562,"Labels":{"app":"dk","name":"own"},
         "HostConfig":{"NetworkMode":"default"},
         "NetworkSettings":{"Networks":{"bridge":{"IPAddress":"10.77.4.2","GlobalIPv6Address":"fd00::2"}}}},
        {"Id":"c001","Names":["/guest"],"Labels":null,"HostConfig":{"NetworkMode":"container:b348"},
         "NetworkSettings":{"Networks":{}}},
        {"Id":"c002","Names":["/onhost"],"Labels":{},"HostConfig":{"NetworkMode":"host"},
         "NetworkSettings":{"Networks":{"host":{"IPAddress":"","GlobalIPv6Address":""}}}}
    ]"#;

    /// A container and a pod of one container, as Podman 4.3.1 lists them.
    const PODMAN: &str = r#"[
        {"Id":"7821","Names":["/pdc1"],"Created":1795334444,"Labels":{},
         "NetworkSettings":{"Networks":{"net":{"IPAddress":"10.77.3.6","GlobalIPv6Address":""}}}},
        {"Id":"8242","Names":["/pm1"],"Created":1795334441,"Labels":{"app":"pm"},
         "NetworkSettings":{"Networks":{"net":{"IPAddress":"10.77.3.4","GlobalIPv6Address":""}}}},
        {"Id":"8754","Names":["/62ba-infra"],"Created":1795334443,"Labels":{},
         "NetworkSettings":{"Networks":{"net":{"IPAddress":"10.77.3.6","GlobalIPv6Address":""}}}}
    ]"#;
    const PODMAN_PODS: &str = r#"[
        {"Cgroup":"/libpod_parent","Containers":[{"Id":"8754","Names":"62ba-infra","Status":"running"},
         {"Id":"7821","Names":"pdc1","Status":"running"}],"Created":"2026-11-22T08:00:43.668821969Z",
         "Id":"62ba","InfraId":"8754","Name":"pd1","Networks":["net"],"Status":"Running","Labels":{"app":"pd"}}
    ]"#;

    /// What the kubelet's shim (cri-dockerd) calls a pod's container and its sandbox; made up after
    /// its documented labels.
    const CRI_DOCKERD: &str = r#"[
        {"Id":"aaaa","Names":["/k8s_redis_redis-0_shop_u1_0"],"Labels":{
         "io.kubernetes.pod.name":"redis-0","io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.uid":"u1",
         "io.kubernetes.container.name":"redis"},"HostConfig":{"NetworkMode":"container:bbbb"}},
        {"Id":"bbbb","Names":["/k8s_POD_redis-0_shop_u1_0"],"Labels":{
         "io.kubernetes.pod.name":"redis-0","io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.uid":"u1",
         "io.kubernetes.container.name":"POD"},"HostConfig":{"NetworkMode":"none"}}
    ]"#;

    fn read(which: IdentitySource, containers: &str, pods: &str) -> Vec<Known> {
        let containers: Vec<Container> = serde_json::from_str(containers).unwrap();
        let pods: Vec<Pod> = serde_json::from_str(pods).unwrap();
        known(which, &containers, &pods)
    }

    fn named<'a>(all: &'a [Known], name: &str) -> &'a Known {
        all.iter()
            .find(|known| known.identity.name.as_deref() == Some(name))
            .unwrap()
    }

    fn label<'a>(known: &'a Known, key: &str) -> Option<&'a str> {
        known
            .identity
            .labels
            .as_ref()?
            .get(key)
            .map(|value| &**value)
    }

    #[test]
    fn containers_of_docker() {
        let all = read(IdentitySource::Docker, DOCKER, "[]");
        assert_eq!(all.len(), 3);
        let web = named(&all, "dk2");
        assert_eq!(web.identity.namespace.as_deref(), Some("shop"));
        assert_eq!(label(web, "com.docker.compose.service"), Some("web"));
        assert_eq!(label(web, "name"), Some("dk2"));
        assert_eq!(web.identity.container_id.as_deref(), Some("2e96"));
        let first = named(&all, "dk1");
        assert_eq!(first.identity.namespace.as_deref(), Some("default"));
        assert_eq!(label(first, "name"), Some("own"), "its own label stays");
        assert_eq!(first.addresses.len(), 2);
        let ids: Vec<&str> = first.ids.iter().map(|id| &**id).collect();
        assert_eq!(
            ids,
            ["b348", "c001"],
            "who shares its network is found by it"
        );
        assert_eq!(named(&all, "onhost").addresses, [] as [IpAddr; 0]);
    }

    #[test]
    fn pods_of_podman() {
        let all = read(IdentitySource::Podman, PODMAN, PODMAN_PODS);
        assert_eq!(all.len(), 2);
        let pod = named(&all, "pd1");
        assert_eq!(pod.identity.kind, EndpointKind::Pod);
        assert_eq!(pod.addresses, [IpAddr::from([10, 77, 3, 6])]);
        assert_eq!(label(pod, "app"), Some("pd"));
        assert_eq!(pod.ids.len(), 3);
        assert_eq!(named(&all, "pm1").identity.kind, EndpointKind::Container);
    }

    #[test]
    fn containers_that_are_parts_of_pods_of_kubernetes() {
        let all = read(IdentitySource::Docker, CRI_DOCKERD, "[]");
        assert_eq!(all.len(), 1);
        let pod = named(&all, "redis-0");
        assert_eq!(pod.identity.kind, EndpointKind::Pod);
        assert_eq!(pod.identity.namespace.as_deref(), Some("shop"));
        assert_eq!(pod.pod_uid.as_deref(), Some("u1"));
        assert_eq!(pod.identity.labels, None, "Docker does not know the pod's");
        assert_eq!(pod.ids.len(), 2);
    }

    #[test]
    fn hostile_names_are_made_harmless() {
        let text = r#"[{"Id":"x","Names":["/a\u001b[2J"],"Labels":{"k\n":"v\u0007"}}]"#;
        let all = read(IdentitySource::Docker, text, "[]");
        let known = all.first().unwrap();
        assert_eq!(known.identity.name.as_deref(), Some("a\\u{1b}[2J"));
        assert_eq!(label(known, "k\\u{a}"), Some("v\\u{7}"));
    }

    proptest! {
        #[test]
        fn any_list_is_read(at in 0usize..1500, with in "[\\[\\]{}\",:0-9a-z]{0,4}") {
            let mut broken = DOCKER.to_owned();
            broken.insert_str(at.min(broken.len()), &with);
            if let Ok(containers) = serde_json::from_str::<Vec<Container>>(&broken) {
                let _anything = known(IdentitySource::Docker, &containers, &[]);
            }
        }
    }
}
