//! What says who the pods of a lab are: what a CNI plugin and `kubectl` would have left, in files that
//! only this process sees.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use serde_json::json;

use super::{DemoNetwork, Error, Pod};

/// Runtimes have their sockets here, and `ip netns` its names: those of the host are not the lab's.
const FOLDER: &str = "/run";

/// Namespace of the pods.
const NAMESPACE: &str = "demo";

const POLICIES: &str = include_str!("../../../policies/demo/policies.yaml");
const INVENTORY: &str = include_str!("../../../policies/demo/inventory.yaml");

/// Where it is written who the pods are, and what they may do.
#[derive(Debug)]
pub struct Registration {
    /// Folder of the CNI plugin's results.
    pub cni_results: PathBuf,
    /// Labels and ports.
    pub inventory: PathBuf,
    /// What policies say of them.
    pub policies: PathBuf,
}

impl DemoNetwork {
    /// Writes down who the pods are. The calling thread, and all that it starts, has a `/run` of
    /// its own from then on, in memory: it goes with the last of them.
    pub fn register(&self) -> Result<Registration, Error> {
        let written = own_folder(FOLDER).and_then(|folder| {
            let cni_results = folder.join("cni");
            DirBuilder::new().mode(0o700).create(&cni_results)?;
            for pod in self.pods() {
                fs::write(cni_results.join(&pod.name), result(pod).to_string())?;
            }
            let registration = Registration {
                cni_results,
                inventory: folder.join("inventory.yaml"),
                policies: folder.join("policies.yaml"),
            };
            fs::write(&registration.inventory, INVENTORY)?;
            fs::write(&registration.policies, POLICIES)?;
            Ok(registration)
        });
        written.map_err(|source| Error::Register { source })
    }
}

/// Mounts an empty file system in memory that nobody else sees (`mount_namespaces(7)`).
fn own_folder(path: &str) -> io::Result<&Path> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let nothing = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing)?;
    let harmless = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(nothing, path, Some("tmpfs"), harmless, Some("size=1m"))?;
    Ok(Path::new(path))
}

/// As libcni keeps it when kubelet had a pod attached.
fn result(pod: &Pod) -> serde_json::Value {
    let addresses = pod.addresses.iter();
    let addresses: Vec<_> = addresses
        .map(|it| json!({"address": it.to_string()}))
        .collect();
    json!({
        "kind": "cniCacheV1",
        "containerId": pod.name,
        "cniArgs": [["K8S_POD_NAMESPACE", NAMESPACE], ["K8S_POD_NAME", pod.name]],
        "result": {
            "interfaces": [
                {"name": pod.interface},
                {"name": "eth0", "sandbox": pod.namespace.path()},
            ],
            "ips": addresses,
        },
    })
}
