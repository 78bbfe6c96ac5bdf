//! A real etcd and a real API server, on a node of the test's own.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use flowmon::lab::{Namespace, Pod};
use netns_tests::{command, finish};
use serde_json::{Value, json};

use crate::TestResult;

pub(crate) const SERVER: &str = "https://127.0.0.1:16443";
/// Who may do everything, and flowmon.
const TOKENS: &str = "adminsecret,admin,admin,system:masters\nflowmonsecret,flowmon,flowmon\n";
/// An API server starts in 15 s where nothing else runs.
const PATIENCE: Duration = Duration::from_mins(2);

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";
pub(crate) const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";

/// A process that is killed when dropped.
pub(crate) struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

pub(crate) struct Folder(pub(crate) PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

/// Both run in the network namespace of the node, where nobody else sees them.
pub(crate) struct Cluster<'a> {
    node: &'a Namespace,
    pub(crate) folder: Folder,
    pub(crate) server: Option<Process>,
    _etcd: Process,
}

fn program(variable: &str, otherwise: &str) -> String {
    env::var(variable).unwrap_or_else(|_| otherwise.to_owned())
}

impl<'a> Cluster<'a> {
    pub(crate) fn start(node: &'a Namespace) -> Result<Self, Box<dyn Error>> {
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

    pub(crate) fn start_server(&mut self) -> TestResult {
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

    /// Status and answer, to who may do everything.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<(&str, &str)>,
    ) -> (u16, String) {
        self.ask_as("adminsecret", method, path, body)
    }

    /// The same, to who has this token.
    pub(crate) fn ask_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<(&str, &str)>,
    ) -> (u16, String) {
        let authorization = format!("Authorization: Bearer {token}");
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
            &authorization,
        ];
        if let Some((_, body)) = &body {
            args.extend(["-H", &kind, "--data-binary", body]);
        }
        args.push(&url);
        let said = finish(self.node, &mut command("curl", &args)).stdout;
        let (answer, status) = said.rsplit_once('\n').unwrap_or_default();
        (status.parse().unwrap_or_default(), answer.to_owned())
    }

    pub(crate) fn done(&self, method: &str, path: &str, kind: &str, body: &str) {
        let (status, answer) = self.ask(method, path, Some((kind, body)));
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {answer}"
        );
    }

    pub(crate) fn post(&self, path: &str, body: &Value) {
        self.done("POST", path, "application/json", &body.to_string());
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) {
        let kind = "application/merge-patch+json";
        self.done("PATCH", path, kind, &body.to_string());
    }

    pub(crate) fn pod(&self, name: &str, pod: &Pod) {
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
    pub(crate) fn policy(name: &str, from: &str) -> Value {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name}, "spec": {"podSelector": {"matchLabels": {"app": "green"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": from}}}]}]}})
    }

    /// For flowmon, which knows the server by its certificate.
    pub(crate) fn kubeconfig(&self) -> Result<String, Box<dyn Error>> {
        self.kubeconfig_of("flowmon", &json!({"token": "flowmonsecret"}))
    }

    /// For who has these credentials.
    pub(crate) fn kubeconfig_of(&self, name: &str, user: &Value) -> Result<String, Box<dyn Error>> {
        let path = self.folder.0.join(format!("kubeconfig-{name}"));
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": SERVER,
                "certificate-authority": self.authority()}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]});
        fs::write(&path, config.to_string())?;
        Ok(path.display().to_string())
    }

    /// The certificate by which the server is known.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.0.join("certificates/apiserver.crt")
    }

    /// Has kubectl apply a file, and hands back all that it said.
    pub(crate) fn apply(&self, file: &Path) -> Result<String, Box<dyn Error>> {
        let admin = self.kubeconfig_of("admin", &json!({"token": "adminsecret"}))?;
        let file = file.display().to_string();
        let mut kubectl = command("kubectl", &["--kubeconfig", &admin, "apply", "-f", &file]);
        let applied = finish(self.node, kubectl.env("HOME", &self.folder.0));
        assert_eq!(applied.code, Some(0), "{file}: {}", applied.stderr);
        Ok(applied.stdout + &applied.stderr)
    }

    /// The role that is shipped, for flowmon's user.
    pub(crate) fn allow(&self) -> TestResult {
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
