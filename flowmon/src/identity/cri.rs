//! Runtimes of Kubernetes that speak CRI: containerd and CRI-O. They know a pod's labels, and which
//! containers are parts of it. Addresses and attachments others know better.
//!
//! CRI has events only since 1.26, and not everywhere; so pods are listed again when an interface has
//! come or gone, and every now and then.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use prost::Message;
use tokio::{sync::watch, time::sleep};

use super::{Known, Links, Outlet, Source, Trouble, grpc::Service, http, text};
use crate::model::{EndpointKind, IdentitySource};

/// The service, as its methods are called.
const SERVICE: &str = "/runtime.v1.RuntimeService";

/// Pods are listed this often at least.
const POLL: Duration = Duration::from_secs(10);

/// And so long after an interface came or went, each time anew: a runtime lists a pod some while
/// after its interface came.
const FOLLOW_UP: [Duration; 6] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(300),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(3),
];

/// Labels by which the kubelet knows a pod again; they are none of the pod's.
const KUBELETS: &str = "io.kubernetes.";

/// The first runtime that there is at one of these sockets.
#[derive(Debug)]
pub struct Cri {
    sockets: Vec<PathBuf>,
}

// `api.proto` of k8s.io/cri-api, as far as it matters.

#[derive(Clone, PartialEq, Message)]
struct Empty {}

#[derive(Clone, PartialEq, Message)]
struct VersionResponse {
    #[prost(string, tag = "2")]
    runtime_name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ListPodSandboxResponse {
    #[prost(message, repeated, tag = "1")]
    items: Vec<PodSandbox>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandbox {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "2")]
    metadata: Option<PodSandboxMetadata>,
    /// 0 is ready.
    #[prost(int32, tag = "3")]
    state: i32,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "4")]
    created_at: i64,
    #[prost(btree_map = "string, string", tag = "5")]
    labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, Message)]
struct ListContainersResponse {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Container>,
}

#[derive(Clone, PartialEq, Message)]
struct Container {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    pod_sandbox_id: String,
}

impl Cri {
    /// Asks the first runtime that there is at one of these sockets.
    pub const fn new(sockets: Vec<PathBuf>) -> Self {
        Self { sockets }
    }

    fn socket(&self) -> Result<&Path, Trouble> {
        let there = self.sockets.iter().find(|socket| socket.exists());
        there.map(PathBuf::as_path).ok_or_else(|| {
            let names: Vec<_> = self
                .sockets
                .iter()
                .map(|socket| socket.display().to_string())
                .collect();
            Trouble::Absent(format!("there is no {}", names.join(", nor ")))
        })
    }
}

impl Source for Cri {
    fn name(&self) -> IdentitySource {
        IdentitySource::Cri
    }

    async fn follow(&mut self, links: &mut watch::Receiver<Links>, outlet: &mut Outlet) -> Trouble {
        let socket = match self.socket() {
            Ok(socket) => socket,
            Err(trouble) => return trouble,
        };
        let service = match Service::connect(socket, http::PATIENCE).await {
            Ok(service) => service,
            Err(error) => return http::trouble(socket, "CRI", &error),
        };
        let version: VersionResponse = match call(&service, socket, "Version").await {
            Ok(version) => version,
            Err(trouble) => return trouble,
        };
        let runtime = text::clean(&version.runtime_name);
        let mut follow_up = FOLLOW_UP.iter();
        loop {
            links.mark_unchanged();
            let pods = call(&service, socket, "ListPodSandbox").await;
            let containers = call(&service, socket, "ListContainers").await;
            match (pods, containers) {
                (Ok(pods), Ok(containers)) => {
                    outlet.tell(known(pods, &containers, &runtime)).await;
                }
                (Err(trouble), _) | (_, Err(trouble)) => return trouble,
            }
            tokio::select! {
                changed = links.changed() => {
                    if changed.is_err() {
                        return Trouble::Absent("nobody asks any more".to_owned());
                    }
                    follow_up = FOLLOW_UP.iter();
                }
                () = sleep(follow_up.next().copied().unwrap_or(POLL)) => {}
            }
        }
    }
}

async fn call<T: Message + Default>(
    service: &Service,
    socket: &Path,
    method: &str,
) -> Result<T, Trouble> {
    let answer = service
        .call(&format!("{SERVICE}/{method}"), &Empty {})
        .await;
    answer.map_err(|error| http::trouble(socket, method, &error))
}

fn known(
    pods: ListPodSandboxResponse,
    containers: &ListContainersResponse,
    runtime: &Arc<str>,
) -> Vec<Known> {
    let mut members: HashMap<&str, Vec<Arc<str>>> = HashMap::new();
    for container in &containers.containers {
        let of = members.entry(&container.pod_sandbox_id).or_default();
        of.extend(text::clean_some(&container.id));
    }
    let ready = pods.items.into_iter().filter(|pod| pod.state == 0);
    let mut all: Vec<Known> = ready
        .map(|pod| {
            let mut known = Known::new(EndpointKind::Pod, IdentitySource::Cri);
            known.ids = text::clean_some(&pod.id).into_iter().collect();
            known
                .ids
                .extend(members.remove(pod.id.as_str()).unwrap_or_default());
            let metadata = pod.metadata.unwrap_or_default();
            known.identity.name = text::clean_some(&metadata.name);
            known.identity.namespace = text::clean_some(&metadata.namespace);
            known.identity.container_id = text::clean_some(&pod.id);
            let own = pod.labels.iter();
            let own = own.filter(|(key, _)| !key.starts_with(KUBELETS));
            known.identity.labels = Some(text::labels(own));
            known.pod_uid = text::clean_some(&metadata.uid);
            known.runtime = Some(Arc::clone(runtime));
            known.since = Timestamp::from_nanosecond(pod.created_at.into()).ok();
            known
        })
        .collect();
    // In an order of their own, to tell whether anything changed.
    all.sort_by(|a, b| a.ids.cmp(&b.ids));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pod(id: &str, name: &str, state: i32) -> PodSandbox {
        let labels = [
            ("app", "cart"),
            ("io.kubernetes.pod.name", name),
            ("io.kubernetes.pod.uid", "u"),
        ];
        PodSandbox {
            id: id.into(),
            metadata: Some(PodSandboxMetadata {
                name: name.into(),
                uid: "u".into(),
                namespace: "shop".into(),
            }),
            state,
            created_at: 1_795_334_563_000_000_000,
            labels: labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        }
    }

    #[test]
    fn pods_that_are_ready_with_their_containers_and_their_own_labels() {
        let pods = ListPodSandboxResponse {
            items: vec![pod("s1", "cart-0", 0), pod("s0", "cart-0", 1)],
        };
        let containers = ListContainersResponse {
            containers: vec![Container {
                id: "c1".into(),
                pod_sandbox_id: "s1".into(),
            }],
        };
        let all = known(pods, &containers, &"containerd".into());
        assert_eq!(all.len(), 1);
        for known in all {
            assert_eq!(known.identity.name.as_deref(), Some("cart-0"));
            assert_eq!(known.ids, ["s1".into(), "c1".into()]);
            let labels = known.identity.labels.unwrap_or_default();
            assert_eq!(labels.keys().map(|key| &**key).collect::<Vec<_>>(), ["app"]);
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..80, with: u8) {
            let _anything = ListPodSandboxResponse::decode(&*bytes);
            let good = ListPodSandboxResponse { items: vec![pod("s1", "cart-0", 0)] };
            let mut broken = good.encode_to_vec();
            if let Some(byte) = broken.get_mut(at) {
                *byte = with;
            }
            if let Ok(pods) = ListPodSandboxResponse::decode(&*broken) {
                let _anything = known(pods, &ListContainersResponse::default(), &"x".into());
            }
        }
    }
}
