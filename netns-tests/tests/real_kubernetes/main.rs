//! A real API server, with a real etcd, whose policies change while flows go on. Run by
//! `scripts/test-kubernetes`, which says where they are.
#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may fail by panicking, and what a real cluster says is worth seeing"
)]

mod cluster;
mod shipped;

use std::{error::Error, net::SocketAddr, time::Instant};

use cluster::{Cluster, PODS, POLICIES};
use flowmon::lab::{Lab, Pod, traffic};
use netns_tests::{PrivateMounts, Watch, flowmon};
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn Error>>;

const PORT: u16 = 7000;

fn is(outcome: &str, reason: &str) -> impl Fn(&Value) -> bool {
    move |record| {
        record["local"]["port"] == json!(PORT)
            && record["verdict"]["outcome"] == json!(outcome)
            && record["verdict"]["reason"] == json!(reason)
    }
}

/// Two pods of a node.
fn pods(lab: &Lab, mounts: &PrivateMounts) -> Result<Vec<Pod>, Box<dyn Error>> {
    let mut pods = Vec::new();
    for (name, number) in [("blue", 2), ("green", 3)] {
        let pod = lab.add_pod(name, &lab.host(number))?;
        mounts.name(name, &pod.namespace);
        pods.push(pod);
    }
    Ok(pods)
}

/// From the first of them to the second.
fn send(pods: &[Pod]) -> TestResult {
    let server = SocketAddr::new(pods[1].addresses[0].ip(), PORT);
    let (from, to) = (&pods[0].namespace, &pods[1].namespace);
    traffic::udp_exchange(from, to, server, 1, 100, false)?;
    Ok(())
}

#[test]
#[ignore = "needs a kube-apiserver: scripts/test-kubernetes"]
fn a_real_cluster_is_judged_by_while_it_changes() -> TestResult {
    let mounts = PrivateMounts::enter();
    let lab = Lab::with_gateways("cni0", &["10.77.0.1/24".parse()?])?;
    let pods = pods(&lab, &mounts)?;
    let mut cluster = Cluster::start(lab.node())?;
    cluster.pod("blue", &pods[0]);
    cluster.pod("green", &pods[1]);
    cluster.post(POLICIES, &Cluster::policy("green", "blue"));

    let kubeconfig = cluster.kubeconfig()?;
    let args = [
        "--iface",
        "cni0",
        "--kubeconfig",
        &kubeconfig,
        "--node-name",
        "here",
    ];
    let mut watch = Watch::start(lab.node(), &args);
    println!("without rights: {}", watch.wait_for_stderr("forbidden"));
    send(&pods)?;
    watch.wait_for_record(is("undecided", "unknown-policies"));

    cluster.allow()?;
    println!(
        "{}",
        watch.wait_for_stderr("judging by 1 policies and 2 pods")
    );
    let allowed = watch.wait_for_record(is("allowed", "rule-matched"));
    println!("allowed: {allowed}");
    assert_eq!(allowed["endpoint"]["name"], json!("green"));
    assert_eq!(allowed["endpoint"]["labels"]["app"], json!("green"));
    assert_eq!(allowed["remote"]["name"], json!("blue"));
    let doctor = flowmon(
        lab.node(),
        &["doctor", "--kubeconfig", &kubeconfig, "--node-name", "here"],
    );
    let line = doctor
        .stdout
        .lines()
        .find(|line| line.contains("kubernetes"));
    println!("{}", line.unwrap_or_default());
    assert!(
        line.is_some_and(|line| line.starts_with("ok")),
        "{}",
        doctor.stdout
    );

    let began = Instant::now();
    let rules = Cluster::policy("green", "red")["spec"].clone();
    cluster.patch(&format!("{POLICIES}/green"), &json!({"spec": rules}));
    watch.wait_for_record(is("denied", "no-rule-matched"));
    println!(
        "denied {:?} after the policy began to change",
        began.elapsed()
    );
    cluster.patch(
        &format!("{PODS}/blue"),
        &json!({"metadata": {"labels": {"app": "red"}}}),
    );
    watch.wait_for_record(is("allowed", "rule-matched"));
    cluster.patch(
        &format!("{PODS}/blue"),
        &json!({"metadata": {"labels": {"app": "blue"}}}),
    );
    watch.wait_for_record(is("denied", "no-rule-matched"));

    // It goes away, and comes back; what is changed then is in force.
    cluster.server = None;
    println!("{}", watch.wait_for_stderr("does not say who is who"));
    cluster.start_server()?;
    cluster.post(POLICIES, &Cluster::policy("more", "blue"));
    let allowed = watch.wait_for_record(is("allowed", "rule-matched"));
    assert_eq!(allowed["verdict"]["policy"], json!("default/more"));
    cluster.done(
        "DELETE",
        &format!("{POLICIES}/more"),
        "application/json",
        "",
    );
    watch.wait_for_record(is("denied", "no-rule-matched"));

    let ended = watch.stop();
    ended.said.assert_complete();
    let summary = &ended.said.summary;
    println!(
        "policies {}, reload failures {}",
        summary["policies"], summary["policy_reload_failures"]
    );
    assert_eq!(summary["policies"], json!({"NetworkPolicy": 1}));
    assert_eq!(summary["policy_reload_failures"], json!(0));
    Ok(())
}
