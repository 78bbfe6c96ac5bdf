//! Flows judged while they are watched, by policies and inventory in files or in Kubernetes.
#![expect(clippy::indexing_slicing, reason = "a test may fail by panicking")]

mod cluster;
mod evicted;
mod files;
mod flooded;
#[expect(
    dead_code,
    unreachable_pub,
    reason = "the tests of the source use more of it"
)]
#[path = "../../../flowmon/tests/support/kube_api.rs"]
mod kube_api;
mod names;
mod rate;
mod shop;
mod view;

use std::{
    error::Error,
    net::{IpAddr, SocketAddr},
};

use flowmon::lab::{Lab, Pod, traffic};
use netns_tests::PrivateMounts;
use serde_json::{Value, json};

use files::Folder;

type TestResult = Result<(), Box<dyn Error>>;

/// What is asked for where it does not matter.
const PORT: u16 = 7000;

/// A network with pods whose namespaces have their names.
struct Net {
    mounts: PrivateMounts,
    lab: Lab,
}

impl Net {
    fn new() -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            mounts: PrivateMounts::enter(),
            lab: Lab::with_gateways("cni0", &["10.77.0.1/24".parse()?])?,
        })
    }

    fn pod(&self, name: &str, number: u16) -> Result<Pod, Box<dyn Error>> {
        let pod = self.lab.add_pod(name, &self.lab.host(number))?;
        self.mounts.name(name, &pod.namespace);
        Ok(pod)
    }
}

fn address(pod: &Pod) -> IpAddr {
    pod.addresses[0].ip()
}

/// A packet, and another one back.
fn send(from: &Pod, to: &Pod) -> TestResult {
    let server = SocketAddr::new(address(to), PORT);
    traffic::udp_exchange(&from.namespace, &to.namespace, server, 1, 100, false)?;
    Ok(())
}

/// A pod with a label, as `kubectl` would print it; what is running has an address.
fn declared(namespace: &str, name: &str, app: &str, address: Option<IpAddr>) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": {"app": app}},
        "spec": {"containers": [
            {"name": app, "image": app, "ports": [{"name": app, "containerPort": 6379}]}
        ]},
        "status": {},
    });
    if let Some(address) = address {
        pod["status"] = json!({"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]});
    }
    pod
}

fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// Who may send to `app` pods of `default`: those with these labels.
fn ingress(app: &str, from: &[&str]) -> String {
    let from: Vec<Value> = from
        .iter()
        .map(|app| json!({"podSelector": {"matchLabels": {"app": app}}}))
        .collect();
    let rules = if from.is_empty() {
        json!([])
    } else {
        json!([{"from": from}])
    };
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": format!("to-{app}"), "namespace": "default"},
        "spec": {
            "podSelector": {"matchLabels": {"app": app}},
            "policyTypes": ["Ingress"],
            "ingress": rules,
        },
    })
    .to_string()
}

/// Is it about this port of the peer, or of the endpoint, with this outcome and reason?
fn is(port: u16, outcome: &str, reason: &str) -> impl Fn(&Value) -> bool {
    move |record: &Value| {
        let ports = [&record["remote"]["port"], &record["local"]["port"]];
        ports.contains(&&json!(port))
            && record["verdict"]["outcome"] == json!(outcome)
            && record["verdict"]["reason"] == json!(reason)
    }
}
