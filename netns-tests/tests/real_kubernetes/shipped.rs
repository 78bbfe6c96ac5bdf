//! flowmon as it is shipped for clusters: its manifests, the credentials that a pod has, and policies
//! of every kind.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use flowmon::lab::{Lab, Namespace};
use netns_tests::{Finished, PrivateMounts, Watch, command, finish, flowmon_binary};
use serde_json::{Value, json};

use crate::{
    TestResult,
    cluster::{Cluster, PODS, POLICIES},
    is, pods, send,
};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const GROUP: &str = "policy.networking.k8s.io";
const SECRETS: &str = "/api/v1/namespaces/flowmon/secrets";
const TOKENS: &str = "/api/v1/namespaces/flowmon/serviceaccounts/flowmon/token";
/// Where a pod has its credentials.
const MOUNTED: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// As in a pod.
const ENVIRONMENT: [(&str, &str); 2] = [
    ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
    ("KUBERNETES_SERVICE_PORT", "16443"),
];

impl Cluster<'_> {
    /// There are such objects, with anything in them. Waits until it is so.
    fn define(&self, group: &str, kind: &str, plural: &str, scope: &str, versions: &[&str]) {
        let version = |(number, name): (usize, &&str)| {
            json!({"name": name, "served": true, "storage": number == 0, "schema": {
                "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
        };
        let versions_json: Vec<Value> = versions.iter().enumerate().map(version).collect();
        self.post(
            DEFINITIONS,
            &json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}"), "annotations":
                {"api-approved.kubernetes.io": "unapproved, for a test"}},
            "spec": {"group": group, "scope": scope, "versions": versions_json,
                "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind}}}),
        );
        for version in versions {
            self.until(&format!("/apis/{group}/{version}/{plural}"), 200);
        }
    }

    fn until(&self, path: &str, status: u16) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while self.ask("GET", path, None).0 != status {
            assert!(Instant::now() < deadline, "{path} is not {status}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// A token of the service account, of use as long as its secret is there.
    fn token(&self, secret: &str) -> Result<String, Box<dyn std::error::Error>> {
        self.post(SECRETS, &json!({"metadata": {"name": secret}}));
        let (_, made) = self.ask("GET", &format!("{SECRETS}/{secret}"), None);
        let made: Value = serde_json::from_str(&made)?;
        let asked = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": secret,
                "uid": made["metadata"]["uid"]}}});
        let asked = asked.to_string();
        let (status, answer) = self.ask("POST", TOKENS, Some(("application/json", &asked)));
        assert_eq!(status, 201, "{answer}");
        let answer: Value = serde_json::from_str(&answer)?;
        Ok(answer["status"]["token"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// Has a policy in force, sees what comes of it, and takes it away.
    fn passing(
        &self,
        watch: &mut Watch,
        version: &str,
        plural: &str,
        policy: &Value,
        outcome: &str,
    ) {
        let path = format!("/apis/{GROUP}/{version}/{plural}");
        self.post(&path, policy);
        let kind = policy["kind"].clone();
        let record = watch
            .wait_for_record(|it| is(outcome, "rule-matched")(it) && it["verdict"]["kind"] == kind);
        println!("{outcome} by {version}: {}", record["verdict"]);
        let name = policy["metadata"]["name"].as_str().unwrap_or_default();
        self.done("DELETE", &format!("{path}/{name}"), "application/json", "");
    }
}

fn policy(version: &str, kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": format!("{GROUP}/{version}"), "kind": kind,
        "metadata": {"name": name}, "spec": spec})
}

/// As a pod of the cluster asks.
fn doctor(node: &Namespace) -> Finished {
    let mut doctor = command(flowmon_binary(), &["doctor", "--node-name", "here"]);
    finish(node, doctor.arg("--kubernetes").envs(ENVIRONMENT))
}

fn names(doctor: &Finished) -> &str {
    let mut lines = doctor.stdout.lines();
    let line = lines.find(|line| line.contains("names: kubernetes"));
    line.unwrap_or_default()
}

/// Everybody in the cluster.
fn everybody() -> Value {
    json!({"namespaces": {}})
}

/// Of everything that comes.
fn rule(action: &str) -> Value {
    json!([{"action": action, "from": [everybody()]}])
}

fn token() -> PathBuf {
    Path::new(MOUNTED).join("token")
}

/// Without a word against it.
fn apply_what_is_shipped(cluster: &Cluster<'_>) -> TestResult {
    let monitoring = "monitoring.coreos.com";
    let namespaced = "Namespaced";
    for (kind, plural) in [
        ("ServiceMonitor", "servicemonitors"),
        ("PrometheusRule", "prometheusrules"),
    ] {
        cluster.define(monitoring, kind, plural, namespaced, &["v1"]);
    }
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes");
    let rules = cluster.folder.0.join("rules.yaml");
    let made = std::process::Command::new(deploy.join("prometheusrule")).output()?;
    fs::write(&rules, made.stdout)?;
    for file in [
        deploy.join("flowmon.yaml"),
        deploy.join("servicemonitor.yaml"),
        rules,
    ] {
        let said = cluster.apply(&file)?;
        print!("{said}");
        for line in said.lines() {
            assert!(line.ends_with(" created"), "{said}");
        }
    }
    Ok(())
}

/// Without credentials it says what is missing, with them it knows everybody. Returns the token.
fn as_a_pod(cluster: &Cluster<'_>, node: &Namespace) -> Result<String, Box<dyn std::error::Error>> {
    let said = doctor(node);
    println!("without credentials: {}", names(&said));
    assert!(
        names(&said).contains("automountServiceAccountToken"),
        "{}",
        said.stdout
    );
    fs::create_dir_all(MOUNTED)?;
    fs::copy(cluster.authority(), Path::new(MOUNTED).join("ca.crt"))?;
    fs::write(Path::new(MOUNTED).join("namespace"), "flowmon")?;
    let first = cluster.token("first")?;
    fs::write(token(), &first)?;
    let said = doctor(node);
    println!("{}", names(&said));
    assert!(names(&said).starts_with("ok"), "{}", said.stdout);
    Ok(first)
}

/// It overrules what network policies say, and does not when it is gone again.
fn each_kind_is_in_force(cluster: &Cluster<'_>, watch: &mut Watch) {
    cluster.define(
        GROUP,
        "AdminNetworkPolicy",
        "adminnetworkpolicies",
        "Cluster",
        &["v1alpha1"],
    );
    let spec = json!({"priority": 10, "subject": everybody(), "ingress": rule("Allow")});
    let admin = policy("v1alpha1", "AdminNetworkPolicy", "admin", &spec);
    cluster.passing(watch, "v1alpha1", "adminnetworkpolicies", &admin, "allowed");
    watch.wait_for_record(is("denied", "no-rule-matched"));

    let plural = "clusternetworkpolicies";
    cluster.define(
        GROUP,
        "ClusterNetworkPolicy",
        plural,
        "Cluster",
        &["v1beta1", "v1alpha2"],
    );
    let spec =
        json!({"tier": "Admin", "priority": 10, "subject": everybody(), "ingress": rule("Accept")});
    for version in ["v1beta1", "v1alpha2"] {
        let wide = policy(version, "ClusterNetworkPolicy", "wide", &spec);
        cluster.passing(watch, version, plural, &wide, "allowed");
        watch.wait_for_record(is("denied", "no-rule-matched"));
    }
}

/// It is not taken for none.
fn one_of_a_version_to_come(cluster: &Cluster<'_>, watch: &mut Watch) {
    let plural = "clusternetworkpolicies";
    let definition = format!("{DEFINITIONS}/{plural}.{GROUP}");
    cluster.done("DELETE", &definition, "application/json", "");
    cluster.until(&definition, 404);
    cluster.define(GROUP, "ClusterNetworkPolicy", plural, "Cluster", &["v2"]);
    let odd = policy(
        "v2",
        "ClusterNetworkPolicy",
        "odd",
        &json!({"any": "thing"}),
    );
    cluster.post(&format!("/apis/{GROUP}/v2/{plural}"), &odd);
    println!(
        "{}",
        watch.wait_for_stderr("ClusterNetworkPolicy /odd can't be used")
    );
    watch.wait_for_record(is("undecided", "unknown-policies"));
    cluster.done(
        "DELETE",
        &format!("/apis/{GROUP}/v2/{plural}/odd"),
        "application/json",
        "",
    );
    watch.wait_for_record(is("denied", "no-rule-matched"));
}

fn a_baseline_is_in_force(cluster: &Cluster<'_>, watch: &mut Watch) {
    cluster.done(
        "DELETE",
        &format!("{POLICIES}/green"),
        "application/json",
        "",
    );
    watch.wait_for_record(is("allowed", "no-policies"));
    let plural = "baselineadminnetworkpolicies";
    cluster.define(
        GROUP,
        "BaselineAdminNetworkPolicy",
        plural,
        "Cluster",
        &["v1alpha1"],
    );
    let spec = json!({"subject": everybody(), "ingress": rule("Deny")});
    let baseline = policy("v1alpha1", "BaselineAdminNetworkPolicy", "default", &spec);
    cluster.passing(watch, "v1alpha1", plural, &baseline, "denied");
    watch.wait_for_record(is("allowed", "no-policies"));
}

#[test]
#[ignore = "needs a kube-apiserver: scripts/test-kubernetes"]
fn as_it_is_shipped_it_judges_by_policies_of_every_kind() -> TestResult {
    let mounts = PrivateMounts::enter();
    let lab = Lab::with_gateways("cni0", &["10.77.0.1/24".parse()?])?;
    let pods = pods(&lab, &mounts)?;
    let mut cluster = Cluster::start(lab.node())?;
    cluster.pod("blue", &pods[0]);
    cluster.pod("green", &pods[1]);
    cluster.post(POLICIES, &Cluster::policy("green", "red"));

    apply_what_is_shipped(&cluster)?;
    let first = as_a_pod(&cluster, lab.node())?;
    let args = ["--iface", "cni0", "--node-name", "here", "--kubernetes"];
    let mut watch = Watch::start_with(lab.node(), &ENVIRONMENT, &args);
    watch.wait_for_stderr("judging by 1 policies and 2 pods");
    send(&pods)?;
    watch.wait_for_record(is("denied", "no-rule-matched"));
    each_kind_is_in_force(&cluster, &mut watch);
    one_of_a_version_to_come(&cluster, &mut watch);
    a_baseline_is_in_force(&cluster, &mut watch);

    // The token is another one, and the first is of no use any more.
    fs::write(token(), cluster.token("second")?)?;
    cluster.done(
        "DELETE",
        &format!("{SECRETS}/first"),
        "application/json",
        "",
    );
    cluster.server = None;
    println!("{}", watch.wait_for_stderr("does not say who is who"));
    cluster.start_server()?;
    assert_eq!(cluster.ask_as(&first, "GET", PODS, None).0, 401);
    cluster.post(POLICIES, &Cluster::policy("green", "red"));
    watch.wait_for_record(is("denied", "no-rule-matched"));

    let ended = watch.stop();
    ended.said.assert_complete();
    Ok(())
}

/// Clouds have a program that gets the credentials.
#[test]
#[ignore = "needs a kube-apiserver: scripts/test-kubernetes"]
fn credentials_are_got_by_a_plugin() -> TestResult {
    let _mounts = PrivateMounts::enter();
    let lab = Lab::with_gateways("cni0", &["10.77.0.1/24".parse()?])?;
    let cluster = Cluster::start(lab.node())?;
    cluster.allow()?;
    let plugin = cluster.folder.0.join("plugin");
    let script = |says: &str| -> TestResult {
        fs::write(&plugin, format!("#!/bin/sh\n{says}\n"))?;
        Ok(fs::set_permissions(
            &plugin,
            fs::Permissions::from_mode(0o755),
        )?)
    };
    let api = "client.authentication.k8s.io/v1beta1";
    let user = json!({"exec": {"apiVersion": api, "command": plugin, "interactiveMode": "Never"}});
    let kubeconfig = cluster.kubeconfig_of("plugin", &user)?;
    let doctor = || {
        let args = ["doctor", "--kubeconfig", &kubeconfig, "--node-name", "here"];
        names(&finish(lab.node(), &mut command(flowmon_binary(), &args))).to_owned()
    };
    let missing = doctor();
    println!("missing: {missing}");
    assert!(
        missing.starts_with("degraded") && missing.contains("/plugin` run for"),
        "{missing}"
    );
    script("echo 'log in first' >&2; exit 1")?;
    let failing = doctor();
    println!("failing: {failing}");
    assert!(
        failing.starts_with("degraded") && failing.contains("/plugin` run for"),
        "{failing}"
    );
    let credential =
        json!({"apiVersion": api, "kind": "ExecCredential", "status": {"token": "flowmonsecret"}});
    script(&format!("echo '{credential}'"))?;
    let well = doctor();
    println!("{well}");
    assert!(well.starts_with("ok"), "{well}");
    Ok(())
}
