//! Results of CNI plugins: real files in a folder of the test's own, with a lab's veths in them.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use flowmon::lab::{Lab, Pod, traffic};
use netns_tests::{PrivateMounts, Watch, flowmon, require_root};
use serde_json::{Value, json};

use crate::TestResult;

/// What libcni writes for a pod of Kubernetes (1.1.1, bridge plugin), about a lab's pod.
fn result(pod: &Pod, namespace: &str, name: &str, sandbox: &Path) -> Value {
    let ips: Vec<Value> = pod
        .addresses
        .iter()
        .map(|address| json!({"address": address.to_string(), "interface": 2, "version": "4"}))
        .collect();
    json!({
        "kind": "cniCacheV1", "containerId": format!("sandbox-of-{name}"), "config": "e30=",
        "ifName": "eth0", "networkName": "pods",
        "cniArgs": [
            ["IgnoreUnknown", "1"], ["K8S_POD_NAMESPACE", namespace], ["K8S_POD_NAME", name],
            ["K8S_POD_INFRA_CONTAINER_ID", format!("sandbox-of-{name}")],
            ["K8S_POD_UID", format!("uid-of-{name}")],
        ],
        "result": {
            "cniVersion": "0.4.0", "dns": {},
            "interfaces": [
                {"mac": "0e:93:bf:64:07:89", "name": "cni0"},
                {"mac": "ee:c0:2c:84:fa:b2", "name": pod.interface},
                {"mac": "fe:b2:e1:23:46:2a", "name": "eth0", "sandbox": sandbox},
            ],
            "ips": ips, "routes": [{"dst": "0.0.0.0/0"}],
        },
    })
}

struct Results(PathBuf);

impl Results {
    fn new() -> Result<Self, std::io::Error> {
        let folder = PathBuf::from("/run/results");
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }

    fn write(&self, pod: &str, text: &str) -> std::io::Result<()> {
        fs::write(self.0.join(format!("pods-{pod}-eth0")), text)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

fn who(namespace: &str, name: &str) -> Value {
    json!({"kind": "pod", "namespace": namespace, "name": name, "source": "cni"})
}

#[test]
fn pods_are_named_by_their_results() -> TestResult {
    if !require_root("pods_are_named_by_their_results") {
        return Ok(());
    }
    let mounts = PrivateMounts::enter();
    let results = Results::new()?;
    let lab = Lab::new("cni0")?;
    let cart = lab.add_pod("cart", &lab.host(2))?;
    let redis = lab.add_pod("redis", &lab.host(3))?;
    let made_up = "cni-0d252d49-f5cc-5431-e370-1abb17008633";
    let sandbox = mounts.name(made_up, &cart.namespace);
    results.write(
        "cart",
        &result(&cart, "shop", "cart-6f9", &sandbox).to_string(),
    )?;
    // What is left of a pod from before the node went down.
    let mut old = result(&redis, "shop", "old", Path::new("/run/netns/cni-gone"));
    if let Some(interfaces) = old.pointer_mut("/result/interfaces/1/name") {
        *interfaces = json!("veth-that-was");
    }
    results.write("old", &old.to_string())?;
    // And what is no result.
    results.write("empty", "")?;
    results.write("garbage", "\u{1b}[2J{\"kind\":")?;
    results.write("huge", &"[".repeat(3 << 20))?;
    let args = ["--iface", "cni0", "--cni-results", results.path()];
    let mut watch = Watch::start(lab.node(), &args);
    // The second one comes while the watch runs, half of it first.
    let text = result(&redis, "shop", "redis-0", Path::new("/proc/1/ns/net")).to_string();
    results.write("redis", text.get(..text.len() / 2).unwrap_or_default())?;
    let server = SocketAddr::from((redis.ipv4().ok_or("no address")?, 6379));
    traffic::udp_exchange(&cart.namespace, &redis.namespace, server, 3, 100, true)?;
    results.write("redis", &text)?;
    watch.wait_for_record(|record| {
        record.pointer("/endpoint/name") == Some(&json!("redis-0"))
            && record.pointer("/remote/name") == Some(&json!("cart-6f9"))
    });
    let ended = watch.stop();
    ended.assert_clean();
    let flow = ended.said.one(&json!({
        "protocol": "udp",
        "endpoint": who("shop", "cart-6f9"), "remote": who("shop", "redis-0"),
    }));
    assert_eq!(
        flow.pointer("/endpoint/container_id"),
        Some(&json!("sandbox-of-cart-6f9"))
    );
    ended.said.one(&json!({
        "protocol": "udp",
        "endpoint": who("shop", "redis-0"), "remote": who("shop", "cart-6f9"),
    }));
    let old = ended
        .said
        .records
        .iter()
        .filter(|record| record.to_string().contains("\"old\""));
    assert_eq!(old.count(), 0);
    Ok(())
}

/// A veth may be called as another was, whose result is still there: the namespaces differ.
#[test]
fn a_result_about_another_namespace_is_not_believed() -> TestResult {
    if !require_root("a_result_about_another_namespace_is_not_believed") {
        return Ok(());
    }
    let mounts = PrivateMounts::enter();
    let results = Results::new()?;
    let lab = Lab::new("cni0")?;
    let pod = lab.add_pod("pod", &lab.host(2))?;
    let other = lab.add_pod("other", &lab.host(3))?;
    mounts.name("blue", &pod.namespace);
    let sandbox = mounts.name("cni-0d252d49-f5cc-5431-e370-1abb17008633", &other.namespace);
    results.write(
        "pod",
        &result(&pod, "shop", "impostor", &sandbox).to_string(),
    )?;
    let args = ["--iface", &pod.interface, "--cni-results", results.path()];
    let watch = Watch::start(lab.node(), &args);
    traffic::ping(&pod.namespace, "10.77.0.1".parse()?, 7, 1, 0)?;
    let ended = watch.stop();
    ended.assert_clean();
    let flow = ended.said.one(&json!({"protocol": "icmp"}));
    assert_eq!(
        flow.pointer("/endpoint/name"),
        Some(&json!("blue")),
        "{flow}"
    );
    // That somebody said something else is no secret.
    let disagreements = ended.said.summary.pointer("/disagreements");
    assert_eq!(disagreements, Some(&json!({"cni": 1})));
    let doctor = flowmon(lab.node(), &["doctor", "--cni-results", results.path()]);
    let mut lines = doctor.stdout.lines();
    let cni = lines.find(|line| line.contains("names: cni"));
    assert!(
        cni.is_some_and(|line| line.contains("of 1 interfaces says something else")),
        "{}",
        doctor.stdout
    );
    Ok(())
}

/// From the moment that the plugins' result is there. The machine may be busy: it is measured
/// several times, and the quickest counts.
#[test]
fn timing_a_pod_is_named_within_a_tenth_of_a_second() -> TestResult {
    if !require_root("timing_a_pod_is_named_within_a_tenth_of_a_second") {
        return Ok(());
    }
    let mounts = PrivateMounts::enter();
    let results = Results::new()?;
    let lab = Lab::new("cni0")?;
    let args = ["--iface", "cni0", "--cni-results", results.path()];
    let mut watch = Watch::start(lab.node(), &args);
    let mut quickest = std::time::Duration::MAX;
    for number in 2..7u16 {
        let name = format!("pod-{number}");
        let pod = lab.add_pod(&name, &lab.host(number))?;
        let sandbox = mounts.name(
            &format!("cni-0d252d49-f5cc-5431-e370-1abb1700863{number}"),
            &pod.namespace,
        );
        traffic::ping(&pod.namespace, "10.77.0.1".parse()?, number, 1, 0)?;
        let text = result(&pod, "shop", &name, &sandbox).to_string();
        let began = std::time::Instant::now();
        results.write(&name, &text)?;
        watch.wait_for_record(|record| record.pointer("/endpoint/name") == Some(&json!(name)));
        quickest = quickest.min(began.elapsed());
    }
    watch.stop().assert_clean();
    assert!(quickest.as_millis() < 100, "{quickest:?}");
    Ok(())
}
