//! A real Podman: its containers and pods are named, at both ends.

use std::{fs, path::Path, process::Command};

use netns_tests::{Node, Runtime, Watch, require_programs};
use serde_json::{Value, json};

use crate::{TestResult, wait_for_flows};

/// What a machine without systemd, and root without all its capabilities, make necessary.
const CONFIGURATION: &str = r#"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
cgroups = "enabled"
pids_limit = 0
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
infra_image = "localhost/pause:1"
runtime = "runc"
tmp_dir = "FOLDER/tmp"
[network]
network_backend = "netavark"
network_config_dir = "FOLDER/networks"
"#;

const STORAGE: &str = r#"
[storage]
driver = "overlay"
graphroot = "FOLDER/graph"
runroot = "FOLDER/run"
"#;

/// What is published has a name.
const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{podSelector: {matchLabels: {name: cart}}}]
    ports: [{port: published-18080}]
  - from: [{podSelector: {matchLabels: {name: brief}}}]
    ports: [{port: exposed}]
";

/// Everything goes through the service, so that it ends with the service.
fn podman(node: &Node, args: &[&str]) -> String {
    node.tool("podman", &[&["--remote"], args].concat())
}

fn service(node: &Node) -> Result<Runtime, std::io::Error> {
    let folder = node.folder.to_string_lossy().into_owned();
    let write = |name: &str, text: &str| {
        let path = node.folder.join(name);
        fs::write(&path, text.replace("FOLDER", &folder)).map(|()| path)
    };
    let mut command = Command::new("podman");
    command
        .env("CONTAINERS_CONF", write("containers.conf", CONFIGURATION)?)
        .env("CONTAINERS_STORAGE_CONF", write("storage.conf", STORAGE)?)
        .args([
            "system",
            "service",
            "-t",
            "0",
            "unix:///run/podman/podman.sock",
        ]);
    fs::create_dir("/run/podman")?;
    let runtime = node.start(&mut command, || {
        Path::new("/run/podman/podman.sock").exists()
    });
    let image = node.image();
    let image = image.to_string_lossy();
    podman(node, &["import", &image, "localhost/web:1"]);
    let pause = r#"ENTRYPOINT ["/bin/sleep","1000000"]"#;
    podman(
        node,
        &["import", "--change", pause, &image, "localhost/pause:1"],
    );
    let network = [
        "network",
        "create",
        "--disable-dns",
        "--subnet",
        "10.77.3.0/24",
    ];
    podman(node, &[&network[..], &["net"]].concat());
    Ok(runtime)
}

const PROGRAMS: [&str; 4] = ["podman", "runc", "conmon", "busybox"];

#[test]
fn containers_and_pods_of_podman() -> TestResult {
    if !require_programs("containers_and_pods_of_podman", &PROGRAMS) {
        return Ok(());
    }
    both_ends_are_named(&Node::new("podman"), "pod")
}

/// As on a system of today: a control group is `0::/libpod_parent/libpod-…`, in one hierarchy. No pods:
/// without systemd, Podman 4.3 gives them a group there whose members may not open `/dev/null`.
#[test]
fn containers_of_podman_with_cgroup_v2() -> TestResult {
    if !require_programs("containers_of_podman_with_cgroup_v2", &PROGRAMS) {
        return Ok(());
    }
    let node = Node::new("podman-v2");
    node.mounts.only_cgroup_v2();
    both_ends_are_named(&node, "container")
}

/// Those of a server's flows with a client of this kind, and with a container that is brief.
fn both_ends_are_named(node: &Node, kind: &str) -> TestResult {
    let _service = service(node)?;
    let serve = ["/bin/httpd", "-f", "-p", "8080", "-h", "/www"];
    let web = [
        "run",
        "-d",
        "--name",
        "web",
        "-l",
        "app=web",
        "--network",
        "net",
    ];
    podman(
        node,
        &[
            &web[..],
            &["--ip", "10.77.3.9", "-p", "127.0.0.1:18080:8080"],
            &["localhost/web:1"],
            &serve,
        ]
        .concat(),
    );
    let policy = node.folder.join("web.yaml");
    fs::write(&policy, POLICY)?;
    let policy = policy.to_string_lossy();
    let arguments = ["--iface", "podman1", "--policies", &policy];
    let mut watch = Watch::start(&node.namespace, &arguments);
    let cart = ["--name", "cart", "-l", "app=cart", "--network", "net"];
    let sleep = ["localhost/web:1", "/bin/sleep", "1000"];
    let into = if kind == "pod" {
        podman(node, &[&["pod", "create"], &cart[..]].concat());
        let member = ["run", "-d", "--pod", "cart", "--name", "app"];
        podman(node, &[&member[..], &sleep].concat());
        "app"
    } else {
        podman(node, &[&["run", "-d"], &cart[..], &sleep].concat());
        "cart"
    };
    let get = ["/bin/wget", "-qO-", "http://10.77.3.9:8080/"];
    podman(node, &[&["exec", into], &get[..]].concat());
    wait_for_flows(&mut watch, "name", &[("cart", "web"), ("web", "cart")]);
    let brief = [
        "run",
        "--rm",
        "--name",
        "brief",
        "--network",
        "net",
        "localhost/web:1",
    ];
    let command = [
        "/bin/sh",
        "-c",
        "wget -qO- http://10.77.3.9:8080/; sleep 0.3",
    ];
    podman(node, &[&brief[..], &command].concat());
    wait_for_flows(&mut watch, "name", &[("web", "brief")]);
    if kind == "pod" {
        podman(node, &["pod", "rm", "-f", "-t", "0", "cart"]);
    }
    podman(node, &["rm", "-f", "-t", "0", "-a"]);
    let ended = watch.stop();
    ended.said.assert_reconciles();
    ended.said.assert_complete();

    let who = |kind: &str, name: &str, labels: Value| json!({"kind": kind, "namespace": "default", "name": name, "source": "podman", "labels": labels});
    let web = who("container", "web", json!({"app": "web", "name": "web"}));
    let others = [
        who(kind, "cart", json!({"app": "cart", "name": "cart"})),
        who("container", "brief", json!({"name": "brief"})),
    ];
    for other in others {
        ended.said.one(&json!({
            "protocol": "tcp", "direction": "egress", "endpoint": other, "remote": web,
        }));
        // Podman does not say which ports have names besides those that are published.
        let verdict = match other.pointer("/name").and_then(Value::as_str) {
            Some("cart") => json!({"outcome": "allowed", "policy": "default/web"}),
            _ => json!({"outcome": "undecided", "reason": "unknown-port"}),
        };
        ended.said.one(&json!({
            "protocol": "tcp", "direction": "ingress", "endpoint": web, "remote": other,
            "verdict": verdict,
        }));
    }
    Ok(())
}
