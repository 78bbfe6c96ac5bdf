//! A real API server, with a real etcd, whose policies change while flows go on. Run by
//! `scripts/test-kubernetes`, which says where they are.
#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may fail by panicking, and what a real cluster says is worth seeing"
)]

use std::{
    env,
    error::Error,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use flowmon::lab::{Lab, Namespace, Pod, traffic};
use netns_tests::{PrivateMounts, Watch, command, finish, flowmon};
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn Error>>;

const PORT: u16 = 7000;
const SERVER: &str = "https://127.0.0.1:16443";
/// Who may do everything, and flowmon.
const TOKENS: &str = "adminsecret,admin,admin,system:masters\nflowmonsecret,flowmon,flowmon\n";
/// An API server starts in 15 s where nothing else runs.
const PATIENCE: Duration = Duration::from_mins(2);

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
const PODS: &str = "/api/v1/namespaces/default/pods";
const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";

/// A process that is killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

/// Both run in the network namespace of the node, where nobody else sees them.
struct Cluster<'a> {
    node: &'a Namespace,
    folder: Folder,
    server: Option<Process>,
    _etcd: Process,
}

fn program(variable: &str, otherwise: &str) -> String {
    env::var(variable).unwrap_or_else(|_| otherwise.to_owned())
}

impl<'a> Cluster<'a> {
    fn start(node: &'a Namespace) -> Result<Self, Box<dyn Error>> {
        let name = format!("flowmon-real-kubernetes-{}", process::id());
        let folder = Folder(env::temp_dir().join(name));
        fs::create_dir_all(&folder.0)?;
        fs::write(folder.0.join("tokens.csv"), TOKENS)?;
        let key = folder.0.join("sa.key").display().to_string();
        let made = finish(
            node,
            &mut command("openssl", &["genrsa", "-out", &key, "2048"]),
        );
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        let data = folder.0.join("etcd").display().to_string();
        let (clients, peers) = ("http://127.0.0.1:23790", "http://127.0.0.1:23800");
        let cluster = format!("default={peers}");
        #[rustfmt::skip]
        let etcd = [
            "--data-dir", &data, "--listen-client-urls", clients, "--advertise-client-urls", clients,
            "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers,
            "--initial-cluster", &cluster, "--unsafe-no-fsync",
        ];
        let etcd = spawn(node, &folder.0, &program("ETCD", "etcd"), &etcd)?;
        let mut cluster = Self {
            node,
            folder,
            server: None,
            _etcd: etcd,
        };
        cluster.start_server()?;
        Ok(cluster)
    }

    fn start_server(&mut self) -> TestResult {
        let path = |name: &str| self.folder.0.join(name).display().to_string();
        let (certificates, key, tokens) =
            (path("certificates"), path("sa.key"), path("tokens.csv"));
        #[rustfmt::skip]
        let args = [
            "--etcd-servers", "http://127.0.0.1:23790", "--cert-dir", &certificates,
            "--secure-port", "16443", "--bind-address", "127.0.0.1",
            "--advertise-address", "10.255.255.254",
            "--service-account-issuer", "https://kubernetes.default.svc",
            "--service-account-signing-key-file", &key, "--service-account-key-file", &key,
            "--service-cluster-ip-range", "10.96.0.0/24", "--authorization-mode", "RBAC",
            "--token-auth-file", &tokens, "--endpoint-reconciler-type", "none",
            // Nobody is there to make service accounts, or to say that nodes are ready.
            "--disable-admission-plugins", "ServiceAccount,TaintNodesByCondition",
        ];
        let program = program("KUBE_APISERVER", "kube-apiserver");
        self.server = Some(spawn(self.node, &self.folder.0, &program, &args)?);
        let deadline = Instant::now() + PATIENCE;
        while self.ask("GET", "/readyz", None).0 != 200 {
            assert!(Instant::now() < deadline, "no API server: {}", self.log());
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.0.join("log")).unwrap_or_default()
    }

    /// Status and answer.
    fn ask(&self, method: &str, path: &str, body: Option<(&str, &str)>) -> (u16, String) {
        let url = format!("{SERVER}{path}");
        let header = |(kind, _)| format!("Content-Type: {kind}");
        let kind = body.map(header).unwrap_or_default();
        let mut args = vec![
            "-sk",
            "-w",
            "\n%{http_code}",
            "-X",
            method,
            "-H",
            "Authorization: Bearer adminsecret",
        ];
        if let Some((_, body)) = &body {
            args.extend(["-H", &kind, "--data-binary", body]);
        }
        args.push(&url);
        let said = finish(self.node, &mut command("curl", &args)).stdout;
        let (answer, status) = said.rsplit_once('\n').unwrap_or_default();
        (status.parse().unwrap_or_default(), answer.to_owned())
    }

    fn done(&self, method: &str, path: &str, kind: &str, body: &str) {
        let (status, answer) = self.ask(method, path, Some((kind, body)));
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {answer}"
        );
    }

    fn post(&self, path: &str, body: &Value) {
        self.done("POST", path, "application/json", &body.to_string());
    }

    fn patch(&self, path: &str, body: &Value) {
        let kind = "application/merge-patch+json";
        self.done("PATCH", path, kind, &body.to_string());
    }

    fn pod(&self, name: &str, pod: &Pod) {
        let container = json!({"name": "main", "image": "x"});
        self.post(
            PODS,
            &json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"nodeName": "here", "containers": [container]}}),
        );
        let address = pod.addresses[0].ip().to_string();
        self.patch(
            &format!("{PODS}/{name}/status"),
            &json!({"status": {"phase": "Running",
            "podIP": address, "podIPs": [{"ip": address}]}}),
        );
    }

    /// A policy by which green is reached by these.
    fn policy(name: &str, from: &str) -> Value {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name}, "spec": {"podSelector": {"matchLabels": {"app": "green"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": from}}}]}]}})
    }

    /// For flowmon, which knows the server by its certificate.
    fn kubeconfig(&self) -> Result<String, Box<dyn Error>> {
        let path = self.folder.0.join("kubeconfig");
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": SERVER,
                "certificate-authority": self.folder.0.join("certificates/apiserver.crt")}}],
            "users": [{"name": "u", "user": {"token": "flowmonsecret"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
        fs::write(&path, config.to_string())?;
        Ok(path.display().to_string())
    }

    /// The role that is shipped, for flowmon's user.
    fn allow(&self) -> TestResult {
        let shipped =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/flowmon.yaml");
        let shipped = fs::read_to_string(shipped)?;
        let mut documents = shipped.split("\n---\n");
        let role = documents.find(|it| it.contains("\nkind: ClusterRole\n"));
        self.done("POST", ROLES, "application/yaml", role.unwrap_or_default());
        self.post(BINDINGS, &json!({"apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding", "metadata": {"name": "flowmon"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "flowmon"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "flowmon"}]}));
        Ok(())
    }
}

fn spawn(
    node: &Namespace,
    folder: &Path,
    program: &str,
    args: &[&str],
) -> Result<Process, Box<dyn Error>> {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))?;
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(Process(node.spawn_command(&mut command)?))
}

fn is(outcome: &str, reason: &str) -> impl Fn(&Value) -> bool {
    move |record| {
        record["local"]["port"] == json!(PORT)
            && record["verdict"]["outcome"] == json!(outcome)
            && record["verdict"]["reason"] == json!(reason)
    }
}

#[test]
#[ignore = "needs a kube-apiserver: scripts/test-kubernetes"]
fn a_real_cluster_is_judged_by_while_it_changes() -> TestResult {
    let mounts = PrivateMounts::enter();
    let lab = Lab::with_gateways("cni0", &["10.77.0.1/24".parse()?])?;
    let mut pods = Vec::new();
    for (name, number) in [("blue", 2), ("green", 3)] {
        let pod = lab.add_pod(name, &lab.host(number))?;
        mounts.name(name, &pod.namespace);
        pods.push(pod);
    }
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
    let server = SocketAddr::new(pods[1].addresses[0].ip(), PORT);
    traffic::udp_exchange(
        &pods[0].namespace,
        &pods[1].namespace,
        server,
        1,
        100,
        false,
    )?;
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
