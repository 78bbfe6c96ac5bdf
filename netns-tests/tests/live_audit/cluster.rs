//! Policies and pods of a cluster that change while flows go on.

use std::{path::PathBuf, time::Instant};

use flowmon::lab::Pod;
use netns_tests::{Watch, flowmon, require_root};
use serde_json::{Value, json};

use crate::{
    Net, PORT, TestResult, address, ingress, is,
    kube_api::{Api, Fault, NAMESPACES, NETWORK_POLICIES, NODES, PODS, namespace, node, pod},
    send,
};

struct Cluster {
    net: Net,
    api: Api,
    kubeconfig: PathBuf,
    blue: Pod,
    green: Pod,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _removed = std::fs::remove_file(&self.kubeconfig);
    }
}

impl Cluster {
    /// Two pods of one node, which the API knows as well.
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let net = Net::new()?;
        let (blue, green) = (net.pod("blue", 2)?, net.pod("green", 3)?);
        let api = net.lab.node().run(Api::start)??;
        let kubeconfig = api.kubeconfig()?;
        api.put(NAMESPACES, &namespace("default"));
        api.put(NODES, &node("here", "10.77.0.1"));
        let cluster = Self {
            net,
            api,
            kubeconfig,
            blue,
            green,
        };
        cluster.label("blue", "blue");
        cluster.label("green", "green");
        Ok(cluster)
    }

    fn label(&self, name: &str, label: &str) {
        let found = if name == "blue" {
            &self.blue
        } else {
            &self.green
        };
        let address = address(found).to_string();
        self.api
            .put(PODS, &pod("default", name, "here", &address, label));
    }

    fn policy(&self, name: &str, from: &[&str]) -> Value {
        let mut policy: Value = serde_json::from_str(&ingress("green", from)).unwrap_or_default();
        policy["metadata"]["name"] = json!(name);
        // Items of a list do not say what they are.
        if let Some(policy) = policy.as_object_mut() {
            policy.remove("kind");
            policy.remove("apiVersion");
        }
        self.api.put(NETWORK_POLICIES, &policy);
        policy
    }

    fn args(&self) -> [String; 4] {
        let kubeconfig = self.kubeconfig.display().to_string();
        let node = "here".to_owned();
        [
            "--kubeconfig".to_owned(),
            kubeconfig,
            "--node-name".to_owned(),
            node,
        ]
    }

    fn watch(&self) -> Watch {
        let args = self.args();
        let mut words = vec!["--iface", "cni0"];
        words.extend(args.iter().map(String::as_str));
        Watch::start(self.net.lab.node(), &words)
    }

    fn send(&self) -> TestResult {
        send(&self.blue, &self.green)
    }
}

#[test]
fn what_changes_in_the_cluster_changes_the_verdict_of_what_flows() -> TestResult {
    if !require_root("what_changes_in_the_cluster_changes_the_verdict_of_what_flows") {
        return Ok(());
    }
    let cluster = Cluster::new()?;
    cluster.policy("green", &["blue"]);
    let mut watch = cluster.watch();
    watch.wait_for_stderr("judging by 1 policies and 2 pods");
    cluster.send()?;
    let before = watch.wait_for_record(is(PORT, "allowed", "rule-matched"));
    assert_eq!(before["endpoint"]["name"], json!("green"));
    assert_eq!(before["endpoint"]["labels"]["app"], json!("green"));
    assert_eq!(before["remote"]["kind"], json!("pod"));
    assert_eq!(before["remote"]["namespace"], json!("default"));

    let began = Instant::now();
    cluster.policy("green", &["red"]);
    let denied = watch.wait_for_record(is(PORT, "denied", "no-rule-matched"));
    let took = began.elapsed();
    assert!(took.as_secs() < 2, "in force after {took:?}");
    assert_eq!(denied["event"], json!("update"));
    assert_eq!(
        denied["first_seen"], before["first_seen"],
        "it is the same flow"
    );

    // Another pod's labels, and a policy more.
    cluster.label("blue", "red");
    watch.wait_for_record(is(PORT, "allowed", "rule-matched"));
    cluster.label("blue", "blue");
    watch.wait_for_record(is(PORT, "denied", "no-rule-matched"));
    let more = cluster.policy("more", &["blue"]);
    let allowed = watch.wait_for_record(is(PORT, "allowed", "rule-matched"));
    assert_eq!(allowed["verdict"]["policy"], json!("default/more"));
    cluster.api.delete(NETWORK_POLICIES, &more);
    watch.wait_for_record(is(PORT, "denied", "no-rule-matched"));

    let ended = watch.stop();
    ended.said.assert_complete();
    let summary = &ended.said.summary;
    assert_eq!(
        summary["policies"],
        json!({"NetworkPolicy": 1}),
        "{summary}"
    );
    assert_eq!(summary["violations"], json!(1), "{summary}");
    assert_eq!(summary["policy_reload_failures"], json!(0), "{summary}");
    Ok(())
}

#[test]
fn a_policy_that_cannot_be_used_leaves_its_namespace_undecided() -> TestResult {
    if !require_root("a_policy_that_cannot_be_used_leaves_its_namespace_undecided") {
        return Ok(());
    }
    let cluster = Cluster::new()?;
    cluster.policy("green", &["blue"]);
    let mut watch = cluster.watch();
    cluster.send()?;
    watch.wait_for_record(is(PORT, "allowed", "rule-matched"));
    // As a field would be that flowmon does not know yet.
    let mut odd = json!({"metadata": {"name": "odd", "namespace": "default"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "unless": []}});
    cluster.api.put(NETWORK_POLICIES, &odd);
    let said = watch.wait_for_stderr("NetworkPolicy default/odd can't be used");
    assert!(said.contains("spec.unless"), "{said}");
    watch.wait_for_record(is(PORT, "undecided", "unknown-policies"));
    odd["spec"] = json!({"podSelector": {}, "policyTypes": ["Ingress"]});
    cluster.api.put(NETWORK_POLICIES, &odd);
    watch.wait_for_record(is(PORT, "allowed", "rule-matched"));
    let ended = watch.stop();
    let summary = &ended.said.summary;
    assert_eq!(summary["policy_reload_failures"], json!(1), "{summary}");
    assert_eq!(
        summary["undecided"],
        json!(0),
        "the last word counts: {summary}"
    );
    Ok(())
}

const TO_COME: &str = "/apis/policy.networking.k8s.io/v2/clusternetworkpolicies";

/// They are in force, whatever they say.
#[test]
fn policies_of_a_version_to_come_are_not_taken_for_none() -> TestResult {
    if !require_root("policies_of_a_version_to_come_are_not_taken_for_none") {
        return Ok(());
    }
    let cluster = Cluster::new()?;
    cluster.policy("green", &["blue"]);
    cluster.api.serve(TO_COME);
    let odd = json!({"metadata": {"name": "odd"}, "spec": {"anything": 1}});
    cluster.api.put(TO_COME, &odd);
    let mut watch = cluster.watch();
    let said = watch.wait_for_stderr("ClusterNetworkPolicy /odd can't be used");
    for part in [
        "policy.networking.k8s.io/v2 is not supported",
        "v1alpha2",
        "undecided",
    ] {
        assert!(said.contains(part), "{said}");
    }
    cluster.send()?;
    watch.wait_for_record(is(PORT, "undecided", "unknown-policies"));
    let args = cluster.args();
    let mut words = vec!["doctor"];
    words.extend(args.iter().map(String::as_str));
    let doctor = flowmon(cluster.net.lab.node(), &words);
    assert!(
        doctor
            .stderr
            .contains("ClusterNetworkPolicy /odd can't be used"),
        "{doctor:?}"
    );

    // A version that has none says nothing against what is known.
    cluster.api.delete(TO_COME, &odd);
    watch.wait_for_record(is(PORT, "allowed", "rule-matched"));
    let ended = watch.stop();
    assert_eq!(
        ended.said.summary["undecided"],
        json!(0),
        "the last word counts"
    );
    Ok(())
}

#[test]
fn without_the_right_to_see_policies_nothing_is_guessed() -> TestResult {
    if !require_root("without_the_right_to_see_policies_nothing_is_guessed") {
        return Ok(());
    }
    let cluster = Cluster::new()?;
    cluster.api.fail(NETWORK_POLICIES, Fault::Status(403));
    let args = cluster.args();
    let mut words = vec!["doctor"];
    words.extend(args.iter().map(String::as_str));
    let doctor = flowmon(cluster.net.lab.node(), &words);
    let line = doctor
        .stdout
        .lines()
        .find(|line| line.contains("names: kubernetes"));
    let line = line.unwrap_or_default();
    assert!(line.starts_with("degraded"), "{}", doctor.stdout);
    assert!(line.contains("networkpolicies: forbidden"), "{line}");

    let mut watch = cluster.watch();
    watch.wait_for_stderr("networkpolicies: forbidden");
    cluster.send()?;
    let record = watch.wait_for_record(is(PORT, "undecided", "unknown-policies"));
    assert_eq!(
        record["remote"]["kind"],
        json!("pod"),
        "names are known: {record}"
    );
    cluster.api.heal();
    watch.wait_for_record(is(PORT, "allowed", "no-policies"));
    watch.stop();
    Ok(())
}

/// Memory of a process, in bytes: now, and the most that it ever was.
fn memory(pid: u32) -> Result<[u64; 2], Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        number.unwrap_or_default() * 1024
    };
    Ok([of("VmRSS:"), of("VmHWM:")])
}

/// Everything that 20,000 pods take: in the mirror of the cluster, in the ruleset, by address.
#[test]
#[expect(clippy::print_stdout, reason = "the numbers are worth seeing")]
fn twenty_thousand_pods_fit() -> TestResult {
    const PODS_ELSEWHERE: u32 = 20_000;
    const MOST: u64 = 60_000_000;
    if !require_root("twenty_thousand_pods_fit") {
        return Ok(());
    }
    let cluster = Cluster::new()?;
    cluster.policy("green", &["blue"]);
    let watch = || {
        let mut watch = cluster.watch();
        watch.wait_for_stderr("judging by 1 policies and");
        // And has passed on all that it knows.
        cluster.send()?;
        watch.wait_for_record(is(PORT, "allowed", "rule-matched"));
        let memory = memory(watch.pid())?;
        watch.stop();
        Ok::<_, Box<dyn std::error::Error>>(memory)
    };
    let [few, most_for_few] = watch()?;
    for number in 0..PODS_ELSEWHERE {
        let (name, app) = (
            format!("app-{number:08}-x7k2p"),
            format!("app-{}", number / 20),
        );
        let [a, b, ..] = number.to_be_bytes().map(u32::from)[2..] else {
            continue;
        };
        let node = format!("node-{}", number / 40);
        let mut pod = pod("many", &name, &node, &format!("10.9.{a}.{b}"), &app);
        let mut labels = json!({"app": app, "app.kubernetes.io/instance": app, "tier": "web",
            "pod-template-hash": format!("{:010}", number / 20)});
        // As a StatefulSet or a Job has it.
        if number % 5 == 0 {
            labels["apps.kubernetes.io/pod-index"] = json!(number.to_string());
        }
        pod["metadata"]["labels"] = labels;
        cluster.api.put(PODS, &pod);
    }
    let [many, most_for_many] = watch()?;
    let (held, peak) = (
        many.saturating_sub(few),
        most_for_many.saturating_sub(most_for_few),
    );
    println!(
        "20,000 pods: {} KB, at most {} KB on the way",
        held / 1000,
        peak / 1000
    );
    assert!(held < MOST, "{held} bytes");
    Ok(())
}
