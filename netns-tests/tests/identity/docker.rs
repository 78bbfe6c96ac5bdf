//! A real Docker: its containers are named, at both ends.

use std::{fs, path::Path, process::Command};

use netns_tests::{Node, Runtime, Watch, require_programs};
use serde_json::{Value, json};

use crate::wait_for_flows;

/// Docker on `node`, with an image called `web:1` and a network at cni0.
fn docker(node: &Node) -> Runtime {
    node.mounts.share("/run/docker/netns");
    let data = node.folder.join("data");
    let mut dockerd = Command::new("dockerd");
    dockerd.arg("--data-root").arg(&data);
    dockerd.args(["--bip", "10.77.4.1/24"]);
    let runtime = node.start(&mut dockerd, || {
        Path::new("/run/docker.sock").exists() && node.run("docker", &["version"]).code == Some(0)
    });
    let image = node.image();
    node.tool("docker", &["import", &image.to_string_lossy(), "web:1"]);
    let bridge = "com.docker.network.bridge.name=cni0";
    let subnet = ["--subnet", "10.77.5.0/24"];
    node.tool(
        "docker",
        &[&["network", "create", "-o", bridge, "net"], &subnet[..]].concat(),
    );
    runtime
}

fn run<'a>(name: &'a str, address: &'a str, more: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["run", "--name", name, "--network", "net", "--ip", address];
    args.extend(more);
    args.push("web:1");
    args.extend(command);
    args
}

const SERVE: [&str; 6] = ["/bin/httpd", "-f", "-p", "8080", "-h", "/www"];
const GET: [&str; 3] = ["/bin/wget", "-qO-", "http://10.77.5.9:8080/"];

fn is_flow(record: &Value, local: &str, remote: &str) -> bool {
    record.pointer("/endpoint/name") == Some(&json!(local))
        && record.pointer("/remote/name") == Some(&json!(remote))
        && record.pointer("/protocol") == Some(&json!("tcp"))
}

#[test]
fn containers_of_docker() {
    if !require_programs("containers_of_docker", &["dockerd", "docker", "busybox"]) {
        return;
    }
    let node = Node::new("docker");
    let _docker = docker(&node);
    let project = "com.docker.compose.project=shop";
    let detached = ["-d", "-l", "app=web", "-l", project];
    let id = node.tool("docker", &run("web", "10.77.5.9", &detached, &SERVE));
    let client = ["-d"];
    node.tool(
        "docker",
        &run("client", "10.77.5.10", &client, &["/bin/sleep", "1000"]),
    );
    let mut watch = Watch::start(&node.namespace, &["--iface", "cni0"]);
    node.tool("docker", &[&["exec", "client"], &GET[..]].concat());
    wait_for_flows(&mut watch, "name", &[("client", "web"), ("web", "client")]);

    // One that lives for a moment, twice, with an address that is used again at once.
    for name in ["brief", "briefer"] {
        let command = [
            "/bin/sh",
            "-c",
            "wget -qO- http://10.77.5.9:8080/; sleep 0.2",
        ];
        node.tool("docker", &run(name, "10.77.5.11", &["--rm"], &command));
        wait_for_flows(&mut watch, "name", &[("web", name)]);
    }

    // One that is started again has another veth, and the same name.
    node.tool("docker", &["restart", "-t", "0", "web"]);
    node.tool("docker", &[&["exec", "client"], &GET[..]].concat());
    let restarted = watch.wait_for_record(|record| {
        is_flow(record, "web", "client") && record.pointer("/event") == Some(&json!("new"))
    });
    assert_eq!(
        restarted.pointer("/endpoint/container_id"),
        Some(&json!(id))
    );
    node.tool("docker", &["rm", "-f", "web", "client"]);
    let ended = watch.stop();
    ended.assert_clean();

    let web = json!({
        "kind": "container", "namespace": "shop", "name": "web", "source": "docker",
        "labels": {"app": "web", "name": "web", "com.docker.compose.project": "shop"},
    });
    let container = |name: &str| {
        json!({
            "kind": "container", "namespace": "default", "name": name, "source": "docker",
            "labels": {"name": name},
        })
    };
    for name in ["client", "brief", "briefer"] {
        let there = ended.said.matching(&json!({
            "protocol": "tcp", "direction": "egress",
            "endpoint": container(name), "remote": web,
        }));
        let expected = if name == "client" { 2 } else { 1 };
        assert_eq!(there.len(), expected, "flows of {name}: {there:#?}");
        let back = ended.said.matching(&json!({
            "protocol": "tcp", "direction": "ingress",
            "endpoint": web, "remote": container(name),
        }));
        assert_eq!(back.len(), expected, "flows from {name}: {back:#?}");
    }
    // Docker's end of a veth is on the host at first and at last: it is nobody's.
    let tcp = ended.said.matching(&json!({"protocol": "tcp"}));
    assert_eq!(tcp.len(), 8, "{tcp:#?}");
}

/// Into the compose project `shop` only the client may come.
const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
    - from:
        - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: default}}
          podSelector: {matchLabels: {name: client}}
      ports: [{port: 8080}]
";

/// Without any inventory: names and labels are Docker's.
#[test]
fn containers_of_docker_are_judged_as_pods() {
    let name = "containers_of_docker_are_judged_as_pods";
    if !require_programs(name, &["dockerd", "docker", "busybox"]) {
        return;
    }
    let node = Node::new("judged");
    let _docker = docker(&node);
    let project = "com.docker.compose.project=shop";
    let detached = ["-d", "-l", "app=web", "-l", project];
    node.tool("docker", &run("web", "10.77.5.9", &detached, &SERVE));
    let policy = node.folder.join("policy.yaml");
    assert!(fs::write(&policy, POLICY).is_ok());
    let policy = policy.to_string_lossy();
    let mut watch = Watch::start(&node.namespace, &["--iface", "cni0", "--policies", &policy]);
    for (name, address) in [("client", "10.77.5.10"), ("other", "10.77.5.11")] {
        node.tool("docker", &run(name, address, &["--rm"], &GET));
    }
    let judged = |record: &Value, client: &str, outcome: &str| {
        is_flow(record, "web", client)
            && record.pointer("/verdict/outcome") == Some(&json!(outcome))
            && record.pointer("/verdict/policy") == Some(&json!("shop/web"))
    };
    let mut waiting = vec![("client", "allowed"), ("other", "denied")];
    while !waiting.is_empty() {
        let any = |record: &Value| {
            let mut waiting = waiting.iter();
            waiting.any(|(client, outcome)| judged(record, client, outcome))
        };
        let record = watch.wait_for_record(any);
        waiting.retain(|(client, outcome)| !judged(&record, client, outcome));
    }
    node.tool("docker", &["rm", "-f", "web"]);
    let ended = watch.stop();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    ended.said.assert_complete();
    let summary = &ended.said.summary;
    let violations = summary.pointer("/violations");
    assert_eq!(violations, Some(&json!(1)), "{summary}");
    let denied = ended
        .said
        .one(&json!({"verdict": {"outcome": "denied"}, "protocol": "tcp"}));
    assert!(is_flow(denied, "web", "other"), "{denied}");
}

/// The policy that `docs/identities.md` shows to those who use Docker.
fn documented() -> &'static str {
    let text = include_str!("../../../docs/identities.md");
    let block = text.split("```yaml\n").nth(1).unwrap_or_default();
    block.split("```").next().unwrap_or_default()
}

#[test]
fn the_documented_policy_judges_containers() {
    let test = "the_documented_policy_judges_containers";
    if !require_programs(test, &["dockerd", "docker", "busybox"]) {
        return;
    }
    let node = Node::new("docker-policy");
    let _docker = docker(&node);
    let policy = node.folder.join("redis.yaml");
    let written = fs::write(&policy, documented());
    assert!(written.is_ok(), "{written:?}");
    let project = "com.docker.compose.project=shop";
    let serve = ["/bin/httpd", "-f", "-p", "6379", "-h", "/www"];
    let labels = [
        "-d",
        "-l",
        project,
        "-l",
        "com.docker.compose.service=redis",
    ];
    let redis = [&labels[..], &["-p", "127.0.0.1:16379:6379"]].concat();
    node.tool("docker", &run("redis", "10.77.5.9", &redis, &serve));
    let policy = policy.to_string_lossy();
    let mut watch = Watch::start(&node.namespace, &["--iface", "cni0", "--policies", &policy]);
    let get = ["/bin/wget", "-qO-", "http://10.77.5.9:6379/"];
    for (name, service) in [("cart", "cart"), ("other", "web")] {
        let service = format!("com.docker.compose.service={service}");
        let labels = ["--rm", "-l", project, "-l", &service];
        let and_wait = format!("{}; sleep 1", get.join(" "));
        let command = ["/bin/sh", "-c", &and_wait];
        node.tool("docker", &run(name, "10.77.5.10", &labels, &command));
        wait_for_flows(&mut watch, "name", &[("redis", name)]);
    }
    node.tool("docker", &["rm", "-f", "redis"]);
    let ended = watch.stop();
    for (name, outcome, reason) in [
        ("cart", "allowed", "rule-matched"),
        ("other", "denied", "no-rule-matched"),
    ] {
        ended.said.one(&json!({
            "protocol": "tcp", "endpoint": {"name": "redis", "namespace": "shop"},
            "remote": {"name": name, "namespace": "shop"},
            "verdict": {"outcome": outcome, "reason": reason, "policy": "shop/redis"},
        }));
    }
    let violations = ended.said.summary.pointer("/violations");
    assert_eq!(violations, Some(&json!(1)));
}
