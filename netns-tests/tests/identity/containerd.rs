//! A real containerd with pods of Kubernetes, which it is asked for as a kubelet asks (CRI), on a real
//! CNI bridge called cni0.

use std::{
    collections::BTreeMap, error::Error, fs, os::unix::fs::symlink, path::Path, process::Command,
    time::Duration,
};

use flowmon::identity::grpc::Service;
use futures_util::future::try_join_all;
use netns_tests::{Node, Runtime, Watch, require_programs};
use prost::Message;
use serde_json::{Value, json};

use crate::{TestResult, wait_for_flows};

const CONFIGURATION: &str = r#"
version = 2
root = "FOLDER/root"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/web:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "FOLDER/net.d"
"#;

const NETWORK: &str = r#"{"cniVersion": "0.4.0", "name": "pods", "plugins": [
    {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.1.0/24"}]],
              "routes": [{"dst": "0.0.0.0/0"}]}}]}"#;

/// Pods that are made at once.
const AT_ONCE: usize = 50;

const SOCKET: &str = "/run/containerd/containerd.sock";

// `api.proto` of k8s.io/cri-api, as far as a test needs it.

#[derive(Clone, PartialEq, Message)]
struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSandboxConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
    #[prost(string, tag = "2")]
    hostname: String,
    #[prost(string, tag = "3")]
    log_directory: String,
    #[prost(btree_map = "string, string", tag = "6")]
    labels: BTreeMap<String, String>,
    #[prost(message, optional, tag = "8")]
    linux: Option<Linux>,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, Message)]
struct Linux {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
}

/// The answer that is an id, and the requests that need nothing else.
#[derive(Clone, PartialEq, Message)]
struct Id {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainerRequest {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<PodSandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Name>,
    #[prost(message, optional, tag = "2")]
    image: Option<Name>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
    #[prost(string, tag = "11")]
    log_path: String,
}

#[derive(Clone, PartialEq, Message)]
struct Name {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ExecSyncRequest {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, repeated, tag = "2")]
    cmd: Vec<String>,
    #[prost(int64, tag = "3")]
    timeout: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

fn containerd(node: &Node) -> Result<Runtime, Box<dyn Error>> {
    // The plugins keep their results and who has which address below it.
    node.mounts.share("/var/lib/cni");
    let folder = node.folder.to_string_lossy();
    let configuration = node.folder.join("config.toml");
    fs::write(&configuration, CONFIGURATION.replace("FOLDER", &folder))?;
    fs::create_dir(node.folder.join("net.d"))?;
    fs::write(node.folder.join("net.d/10-pods.conflist"), NETWORK)?;
    let mut command = Command::new("containerd");
    command.arg("-c").arg(&configuration);
    let runtime = node.start(&mut command, || {
        Path::new(SOCKET).exists() && node.run("ctr", &["version"]).code == Some(0)
    });
    let archive = node.archive("localhost/web:1");
    let import = ["-n", "k8s.io", "images", "import"];
    node.tool(
        "ctr",
        &[&import[..], &[&archive.to_string_lossy()]].concat(),
    );
    Ok(runtime)
}

/// The kubelet.
struct Kubelet {
    service: Service,
    logs: String,
    cgroup: String,
}

/// A pod, and the container in it.
struct Pod {
    sandbox: String,
    container: String,
}

impl Kubelet {
    async fn new(node: &Node) -> Result<Self, Box<dyn Error>> {
        let service = Service::connect(Path::new(SOCKET), Duration::from_mins(3)).await?;
        let logs = node.folder.join("logs").to_string_lossy().into_owned();
        let cgroup = node.cgroup();
        Ok(Self {
            service,
            logs,
            cgroup,
        })
    }

    async fn call<T: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
    ) -> Result<T, Box<dyn Error>> {
        let method = format!("/runtime.v1.RuntimeService/{method}");
        Ok(self.service.call(&method, request).await?)
    }

    async fn run(&self, name: &str, command: &[&str]) -> Result<Pod, Box<dyn Error>> {
        let number = name
            .bytes()
            .fold(0_u64, |number, byte| number << 8 | u64::from(byte));
        let number = number & 0xffff_ffff_ffff;
        let uid = format!("5b0b8f0e-1111-4c2e-9d3a-{number:012x}");
        let labels = [
            ("app", name),
            ("io.kubernetes.pod.name", name),
            ("io.kubernetes.pod.namespace", "shop"),
            ("io.kubernetes.pod.uid", &uid),
        ];
        let config = PodSandboxConfig {
            metadata: Some(Metadata {
                name: name.into(),
                uid: uid.clone(),
                namespace: "shop".into(),
            }),
            hostname: name.into(),
            log_directory: format!("{}/{uid}", self.logs),
            labels: labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            linux: Some(Linux {
                cgroup_parent: format!("{}/kubepods/besteffort/pod{uid}", self.cgroup),
            }),
        };
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
        };
        let sandbox: Id = self.call("RunPodSandbox", &request).await?;
        let named = |name: &str| Some(Name { name: name.into() });
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.id.clone(),
            config: Some(ContainerConfig {
                metadata: named("app"),
                image: named("localhost/web:1"),
                command: command.iter().map(|&word| word.into()).collect(),
                log_path: "app.log".into(),
            }),
            sandbox_config: Some(config),
        };
        let container: Id = self.call("CreateContainer", &request).await?;
        let _started: Nothing = self.call("StartContainer", &container).await?;
        Ok(Pod {
            sandbox: sandbox.id,
            container: container.id,
        })
    }

    async fn exec(&self, pod: &Pod, command: &[&str]) -> TestResult {
        let request = ExecSyncRequest {
            container_id: pod.container.clone(),
            cmd: command.iter().map(|&word| word.into()).collect(),
            timeout: 30,
        };
        let _output: Nothing = self.call("ExecSync", &request).await?;
        Ok(())
    }

    async fn remove(&self, pod: &Pod) -> TestResult {
        let id = Id {
            id: pod.sandbox.clone(),
        };
        let _stopped: Nothing = self.call("StopPodSandbox", &id).await?;
        let _removed: Nothing = self.call("RemovePodSandbox", &id).await?;
        Ok(())
    }
}

#[test]
fn pods_of_containerd() -> TestResult {
    let programs = ["containerd", "ctr", "runc", "busybox"];
    if !require_programs("pods_of_containerd", &programs) {
        return Ok(());
    }
    let node = Node::new("containerd");
    let _containerd = containerd(&node)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(pods(&node))
}

async fn pods(node: &Node) -> TestResult {
    let kubelet = Kubelet::new(node).await?;
    let serve = ["/bin/httpd", "-f", "-p", "8080", "-h", "/www"];
    let redis = kubelet.run("redis-0", &serve).await?;
    // The first address of the network is the bridge's.
    let get = ["/bin/wget", "-qO-", "http://10.77.1.2:8080/"];
    let mut watch = Watch::start(&node.namespace, &["--iface", "cni0"]);
    let cart = kubelet.run("cart-0", &["/bin/sleep", "1000"]).await?;
    kubelet.exec(&cart, &get).await?;
    let flows = [("cart-0", "redis-0"), ("redis-0", "cart-0")];
    wait_for_flows(&mut watch, "labels/app", &flows);
    // Several at once, whose containers say something as soon as they run, and end.
    let script = "wget -qO- http://10.77.1.2:8080/; sleep 0.2";
    let command = ["/bin/sh", "-c", script];
    let names: Vec<String> = (0..AT_ONCE).map(|number| format!("job-{number}")).collect();
    let jobs = names.iter().map(|name| kubelet.run(name, &command));
    // They end with the node: to remove them one by one takes as long again.
    try_join_all(jobs).await?;
    let flows: Vec<_> = names.iter().map(|name| ("redis-0", &**name)).collect();
    wait_for_flows(&mut watch, "labels/app", &flows);
    let sandbox = redis.sandbox.clone();
    for pod in [cart, redis] {
        kubelet.remove(&pod).await?;
    }
    let ended = watch.stop();
    ended.assert_clean();
    let who = |name: &str| json!({"kind": "pod", "namespace": "shop", "name": name, "source": "cni", "labels": {"app": name}});
    for name in names.iter().map(|name| &**name).chain(["cart-0"]) {
        let there = ended.said.one(&json!({
            "protocol": "tcp", "direction": "egress",
            "endpoint": who(name), "remote": who("redis-0"),
        }));
        let labels = there.pointer("/endpoint/labels").and_then(Value::as_object);
        assert_eq!(
            labels.map(serde_json::Map::len),
            Some(1),
            "the kubelet's are not the pod's"
        );
        let back = ended.said.one(&json!({
            "protocol": "tcp", "direction": "ingress",
            "endpoint": who("redis-0"), "remote": who(name),
        }));
        assert_eq!(
            back.pointer("/endpoint/container_id"),
            Some(&json!(sandbox))
        );
    }
    Ok(())
}

/// Containers without Kubernetes, as `ctr` makes them.
#[test]
fn containers_of_ctr() -> TestResult {
    let programs = ["containerd", "ctr", "runc", "busybox"];
    if !require_programs("containers_of_ctr", &programs) {
        return Ok(());
    }
    let node = Node::new("ctr");
    // Where ctr looks for networks and plugins.
    node.mounts.share("/etc/cni");
    fs::create_dir("/etc/cni/net.d")?;
    fs::write("/etc/cni/net.d/10-pods.conflist", NETWORK)?;
    node.mounts.share("/opt");
    fs::create_dir("/opt/cni")?;
    symlink("/usr/lib/cni", "/opt/cni/bin")?;
    let containerd = containerd(&node)?;
    // containerd's namespace is the control group, which goes with the node.
    let group = node.cgroup();
    let namespace = group.trim_start_matches('/');
    let ctr = |args: &[&str]| node.run("ctr", &[&["-n", namespace], args].concat());
    let archive = node.folder.join("archive.tar");
    let imported = ctr(&["images", "import", &archive.to_string_lossy()]);
    assert_eq!(imported.code, Some(0), "{}", imported.stderr);
    // It looks for the container's network by the number that containerd has for its process.
    let pid = containerd.pid().to_string();
    let run = |name: &str, command: &[&str]| {
        let inside = ["-t", &pid, "-p", "-m", "ctr", "-n", namespace];
        let what = ["run", "-d", "--cni", "localhost/web:1", name];
        let args = [&inside[..], &what, command].concat();
        node.tool("nsenter", &args)
    };
    run("web", &["/bin/httpd", "-f", "-p", "8080", "-h", "/www"]);
    let mut watch = Watch::start(&node.namespace, &["--iface", "cni0"]);
    run("client", &["/bin/sleep", "1000"]);
    let get = ["/bin/wget", "-qO-", "http://10.77.1.2:8080/"];
    let exec = ["task", "exec", "--exec-id", "get", "client"];
    let got = ctr(&[&exec[..], &get].concat());
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    wait_for_flows(&mut watch, "name", &[("client", "web"), ("web", "client")]);
    let ended = watch.stop();
    ended.assert_clean();
    let who = |name: &str| json!({"kind": "container", "namespace": namespace, "name": name});
    ended.said.one(&json!({
        "protocol": "tcp", "direction": "egress", "endpoint": who("client"), "remote": who("web"),
    }));
    ended.said.one(&json!({
        "protocol": "tcp", "direction": "ingress", "endpoint": who("web"), "remote": who("client"),
    }));
    Ok(())
}
