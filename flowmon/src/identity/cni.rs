//! What CNI plugins said when they attached a pod. libcni keeps it in a file for each attachment,
//! which names the host's end of the veth: nobody knows a pod earlier.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{self, Read as _},
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::{sync::watch, time::sleep};

use super::{Known, Links, Outlet, Source, Trouble, text};
use crate::{
    file_watch::FileWatch,
    model::{EndpointKind, IdentitySource},
};

/// A larger file is no result; libcni's are a few kilobytes.
const LARGEST: u64 = 1 << 20;

/// Files that are read, at most: one for each interface of each pod of a node.
const MOST_FILES: usize = 10_000;

/// The folder is looked at this often even if no change of it was told.
const POLL: Duration = Duration::from_secs(2);

/// What changes at once is looked at once.
const GATHERING: Duration = Duration::from_millis(2);

/// The results in a folder.
#[derive(Debug)]
pub struct Cni {
    folder: PathBuf,
    read: HashMap<PathBuf, Cached>,
}

/// A file that was read, and how it was then.
#[derive(Debug)]
struct Cached {
    modified: Option<Timestamp>,
    length: u64,
    /// None if it is no result of ours.
    result: Option<Attached>,
}

/// What a result says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Attached {
    known: Known,
    /// Where the pod's namespace is.
    sandbox: Option<PathBuf>,
}

/// `libcni`'s `cachedInfo`, as far as it matters.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CachedInfo {
    kind: String,
    container_id: String,
    #[serde(default)]
    cni_args: Option<Vec<(String, String)>>,
    result: CniResult,
}

/// The result of the plugins, from version 0.3.0 on (CNI specification, "ADD Success").
#[derive(Debug, Deserialize)]
struct CniResult {
    #[serde(default)]
    interfaces: Vec<CniInterface>,
    #[serde(default)]
    ips: Vec<CniAddress>,
}

#[derive(Debug, Deserialize)]
struct CniInterface {
    name: String,
    /// The namespace it is in; none on the host.
    #[serde(default)]
    sandbox: String,
}

#[derive(Debug, Deserialize)]
struct CniAddress {
    address: String,
}

impl Cni {
    /// Results are in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            read: HashMap::new(),
        }
    }

    /// Reads what is new or has changed. A file that can't be read or is not complete is tried
    /// again when it changes.
    fn look(&mut self) -> io::Result<()> {
        let mut there = HashSet::new();
        for entry in fs::read_dir(&self.folder)?.take(MOST_FILES) {
            let path = entry?.path();
            let Ok(metadata) = fs::metadata(&path) else {
                continue; // gone by now
            };
            if !metadata.is_file() {
                continue;
            }
            let modified = metadata
                .modified()
                .ok()
                .and_then(|time| Timestamp::try_from(time).ok());
            let length = metadata.len();
            let same = |cached: &Cached| (cached.modified, cached.length) == (modified, length);
            if !self.read.get(&path).is_some_and(same) {
                let mut result = read(&path).as_deref().and_then(parse);
                if let Some(attached) = &mut result {
                    attached.known.since = modified;
                }
                let cached = Cached {
                    modified,
                    length,
                    result,
                };
                self.read.insert(path.clone(), cached);
            }
            there.insert(path);
        }
        self.read.retain(|path, _| there.contains(path));
        Ok(())
    }

    /// Results outlive their pods when a node goes down, so only those count whose interface or
    /// namespace is there.
    fn known(&self, links: &Links) -> Vec<Known> {
        let device = fs::metadata("/proc/self/ns/net").map(|own| own.dev()).ok();
        let names: HashSet<&str> = links.iter().map(|link| link.name.as_str()).collect();
        let mut all = Vec::new();
        let results = self
            .read
            .values()
            .filter_map(|cached| cached.result.as_ref());
        for Attached { known, sandbox } in results {
            // Under /proc is the namespace of a process whose number may be another's by now.
            let netns = sandbox
                .as_ref()
                .filter(|path| !path.starts_with("/proc"))
                .and_then(|path| fs::metadata(path).ok())
                .filter(|metadata| Some(metadata.dev()) == device)
                .map(|metadata| metadata.ino());
            let interface = known.interface.as_deref();
            if netns.is_some() || interface.is_some_and(|name| names.contains(name)) {
                let mut known = known.clone();
                known.netns = netns;
                all.push(known);
            }
        }
        // In an order of their own, to tell whether anything changed.
        all.sort_by(|a, b| (&a.interface, &a.ids).cmp(&(&b.interface, &b.ids)));
        all
    }

    fn trouble(&self, error: &io::Error) -> Trouble {
        let folder = self.folder.display();
        match error.kind() {
            io::ErrorKind::NotFound => Trouble::Absent(format!("there is no {folder}")),
            _ => Trouble::Broken(format!("cannot read {folder}: {error}")),
        }
    }
}

impl Source for Cni {
    fn name(&self) -> IdentitySource {
        IdentitySource::Cni
    }

    async fn follow(&mut self, links: &mut watch::Receiver<Links>, outlet: &mut Outlet) -> Trouble {
        // Before the first look, so that nothing is missed. Without it there is polling.
        let folder = FileWatch::of([&self.folder]).ok();
        loop {
            let now = Links::clone(&links.borrow_and_update());
            if let Err(error) = self.look() {
                return self.trouble(&error);
            }
            outlet.tell(self.known(&now)).await;
            let told = async {
                match &folder {
                    Some(folder) => folder.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = links.changed() => {
                    if changed.is_err() {
                        return Trouble::Absent("nobody asks any more".to_owned());
                    }
                }
                result = told => {
                    if let Err(error) = result {
                        return self.trouble(&error);
                    }
                }
                () = sleep(POLL) => {}
            }
            sleep(GATHERING).await;
        }
    }
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    let length = file.take(LARGEST + 1).read_to_string(&mut text).ok()?;
    (length as u64 <= LARGEST).then_some(text)
}

fn parse(text: &str) -> Option<Attached> {
    let info: CachedInfo = serde_json::from_str(text).ok()?;
    // The last one on the host: a bridge comes before its port.
    let on_host = |interface: &&CniInterface| interface.sandbox.is_empty();
    let inside = |interface: &&CniInterface| !interface.sandbox.is_empty();
    let interfaces = &info.result.interfaces;
    let host = interfaces.iter().rfind(on_host);
    let sandbox = interfaces.iter().rfind(inside);
    let addresses: Vec<IpAddr> = info
        .result
        .ips
        .iter()
        .filter_map(|ip| ip.address.parse::<IpNetwork>().ok())
        .map(|network| network.ip())
        .filter(|address| !address.is_loopback())
        .collect();
    if info.kind != "cniCacheV1" || addresses.is_empty() && host.is_none() {
        return None; // the loopback plugin's, for one
    }
    let argument = |name: &str| {
        let arguments = info.cni_args.iter().flatten();
        let (_, value) = arguments.clone().find(|(argument, _)| argument == name)?;
        text::clean_some(value)
    };
    let name = argument("K8S_POD_NAME");
    let kind = match name {
        Some(_) => EndpointKind::Pod,
        None => EndpointKind::Container,
    };
    let mut known = Known::new(kind, IdentitySource::Cni);
    known.interface = host.and_then(|interface| text::clean_some(&interface.name));
    known.addresses = addresses;
    known.ids = text::clean_some(&info.container_id).into_iter().collect();
    if name.is_some() {
        known.identity.namespace = argument("K8S_POD_NAMESPACE");
        known.identity.container_id = known.ids.first().map(Arc::clone);
        known.pod_uid = argument("K8S_POD_UID");
    }
    known.identity.name = name;
    Some(Attached {
        known,
        sandbox: sandbox.map(|interface| PathBuf::from(&interface.sandbox)),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;
    use proptest::prelude::*;

    /// As containerd 1.6.20 had it written for a pod on the bridge plugin (the network's
    /// configuration, in base64, left out).
    const POD: &str = r#"{"kind":"cniCacheV1","containerId":"843f","config":"e30=","ifName":"eth0","networkName":"pods","cniArgs":[["K8S_POD_UID","5b0b8f0e-2222-4c2e-9d3a-0000000000a2"],["IgnoreUnknown","1"],["K8S_POD_NAMESPACE","shop"],["K8S_POD_NAME","client-0"],["K8S_POD_INFRA_CONTAINER_ID","843f"]],"capabilityArgs":{"io.kubernetes.cri.pod-annotations":{"kubernetes.io/config.source":"api"}},"result":{"cniVersion":"0.4.0","dns":{},"interfaces":[{"mac":"0e:93:bf:64:07:89","name":"cni0"},{"mac":"ee:c0:2c:84:fa:b2","name":"veth27cd0c29"},{"mac":"fe:b2:e1:23:46:2a","name":"eth0","sandbox":"/var/run/netns/cni-0d252d49-f5cc-5431-e370-1abb17008633"}],"ips":[{"address":"10.77.1.5/24","gateway":"10.77.1.1","interface":2,"version":"4"}],"routes":[{"dst":"0.0.0.0/0"}]}}"#;

    /// As `ctr run --cni` had it written: without Kubernetes.
    const CONTAINER: &str = r#"{"kind":"cniCacheV1","containerId":"default-web","config":"e30=","ifName":"eth0","networkName":"net","result":{"cniVersion":"0.4.0","dns":{},"interfaces":[{"mac":"ba:46:a9:86:57:32","name":"cni0"},{"mac":"d2:a4:93:86:d5:62","name":"veth4f25e13f"},{"mac":"92:cd:fa:37:8c:cd","name":"eth0","sandbox":"/proc/16614/ns/net"}],"ips":[{"address":"10.77.2.2/24","gateway":"10.77.2.1","interface":2,"version":"4"}],"routes":[{"dst":"0.0.0.0/0"}]}}"#;

    /// The loopback plugin's.
    const LOOPBACK: &str = r#"{"kind":"cniCacheV1","containerId":"843f","config":"e30=","ifName":"lo","networkName":"cni-loopback","cniArgs":[["K8S_POD_NAME","client-0"]],"result":{"cniVersion":"0.3.1","dns":{},"interfaces":[{"mac":"00:00:00:00:00:00","name":"lo","sandbox":"/var/run/netns/cni-0d252d49"}],"ips":[{"address":"127.0.0.1/8","interface":0,"version":""},{"address":"::1/128","interface":0,"version":""}]}}"#;

    #[test]
    fn a_pod_by_the_hosts_end_of_its_veth() {
        let Attached { known, sandbox } = parse(POD).unwrap();
        assert_eq!(known.interface.as_deref(), Some("veth27cd0c29"));
        assert_eq!(known.identity.kind, EndpointKind::Pod);
        assert_eq!(known.identity.namespace.as_deref(), Some("shop"));
        assert_eq!(known.identity.name.as_deref(), Some("client-0"));
        assert_eq!(known.identity.container_id.as_deref(), Some("843f"));
        assert_eq!(known.addresses, [IpAddr::from([10, 77, 1, 5])]);
        assert_eq!(
            known.pod_uid.as_deref(),
            Some("5b0b8f0e-2222-4c2e-9d3a-0000000000a2")
        );
        assert!(sandbox.is_some());
    }

    #[test]
    fn a_container_without_kubernetes_has_no_name_here() {
        let known = parse(CONTAINER).unwrap().known;
        assert_eq!(known.interface.as_deref(), Some("veth4f25e13f"));
        assert_eq!(known.identity.kind, EndpointKind::Container);
        assert_eq!(known.identity.name, None);
    }

    #[test]
    fn what_is_no_attachment_is_left_out() {
        for text in [LOOPBACK, "", "{", "[]", "{\"kind\":\"cniCacheV1\"}"] {
            assert_eq!(parse(text), None, "{text}");
        }
        let half = POD.get(..POD.len() / 2).unwrap();
        assert_eq!(parse(half), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in ".{0,200}", at in 0usize..1500, with in ".{0,3}") {
            let _anything = parse(&text);
            let mut broken = POD.to_owned();
            if broken.is_char_boundary(at) {
                broken.insert_str(at.min(broken.len()), &with);
            }
            let _anything = parse(&broken);
        }
    }
}
