//! Where a daemon runs: a lab, mounts and a folder of the test's own.

use std::{fs, net::SocketAddr, path::PathBuf};

use flowmon::lab::{Error, Lab, Pod};

use crate::{PrivateMounts, Said, Samples, Watch};

/// Nobody may send to web.
pub const CLOSED: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
";

const SHOP: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
- apiVersion: v1
  kind: Pod
  metadata: {name: client, namespace: shop, labels: {app: client}}
  status: {podIP: 10.78.0.2, podIPs: [{ip: 10.78.0.2}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: web, namespace: shop, labels: {app: web}}
  status: {podIP: 10.78.0.3, podIPs: [{ip: 10.78.0.3}]}
";

/// IPv4 only: nobody speaks unasked. Its mounts are those of the thread that made it.
#[derive(Debug)]
pub struct Site {
    /// `cni0` is 10.78.0.1/16.
    pub lab: Lab,
    /// It goes with the site.
    pub folder: PathBuf,
    /// With a BPF file system of its own.
    pub mounts: PrivateMounts,
}

impl Site {
    /// A site without pods.
    ///
    /// # Panics
    ///
    /// When it can't be made.
    pub fn new(name: &str) -> Self {
        let mounts = PrivateMounts::enter();
        mounts.bpffs();
        let id = std::process::id();
        let folder = std::env::temp_dir().join(format!("flowmon-{name}-{id}"));
        let made = fs::create_dir_all(&folder);
        assert!(made.is_ok(), "{}: {made:?}", folder.display());
        let gateway = "10.78.0.1/16".parse().map(|gateway| [gateway]);
        let lab = match gateway {
            Ok(gateway) => Lab::with_gateways("cni0", &gateway),
            Err(error) => panic!("{error}"),
        };
        Self {
            lab: lab.unwrap_or_else(|error| panic!("{error}")),
            folder,
            mounts,
        }
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// A shop: `client` is at 10.78.0.2, `web` at 10.78.0.3, and this policy is in `policies/p.yaml`. Returns
    /// the options that have a daemon judge by it.
    ///
    /// # Panics
    ///
    /// When it can't be written.
    pub fn shop(&self, policy: &str) -> [String; 4] {
        let (policies, inventory) = (self.path("policies"), self.path("inventory.yaml"));
        let written = fs::create_dir_all(&policies)
            .and_then(|()| fs::write(self.path("policies/p.yaml"), policy))
            .and_then(|()| fs::write(&inventory, SHOP));
        assert!(written.is_ok(), "{written:?}");
        ["--policies", &policies, "--inventory", &inventory].map(str::to_owned)
    }

    /// Starts `flowmon run` on the bridge, with a log and metrics at the address that is returned.
    ///
    /// # Panics
    ///
    /// When it ends instead.
    pub fn start(&self, more: &[&str]) -> (Watch, SocketAddr) {
        let log = self.path("flows.log");
        let fixed = ["--iface", "cni0", "--interval", "100ms", "--log", &log];
        self.start_with(&[&fixed[..], more].concat())
    }

    /// Starts `flowmon run ARGS…`, with metrics at the address that is returned.
    ///
    /// # Panics
    ///
    /// When it ends instead.
    pub fn start_with(&self, args: &[&str]) -> (Watch, SocketAddr) {
        let args = [args, &["--listen", "10.78.0.1:0"]].concat();
        let mut daemon = Watch::daemon(self.lab.node(), &args);
        let line = daemon.wait_for_stderr("metrics are at http://");
        daemon.wait_for_stderr("watching");
        let address = line.split_once("http://").and_then(|(_, rest)| {
            let (address, _) = rest.split_once('/')?;
            address.parse().ok()
        });
        (daemon, address.unwrap_or_else(|| panic!("{line}")))
    }

    /// Adds a pod behind `vethNAME`, which the daemon watches when this returns.
    ///
    /// # Errors
    ///
    /// When it can't be made.
    ///
    /// # Panics
    ///
    /// When the daemon does not take notice.
    pub fn add(&self, daemon: &mut Watch, name: &str, host: u16) -> Result<Pod, Error> {
        let interface = format!("veth{name}");
        let pod = self
            .lab
            .add_pod_at(name, &interface, &self.lab.host(host))?;
        daemon.wait_for_stderr(&format!("attached interface=\"{interface}\""));
        Ok(pod)
    }

    /// What is scraped from a daemon here.
    ///
    /// # Panics
    ///
    /// When it does not answer.
    pub fn scrape(&self, address: SocketAddr) -> Samples {
        Samples::scrape(self.lab.node(), address)
    }

    /// Scrapes until `is` holds.
    ///
    /// # Panics
    ///
    /// When it does not come to that.
    pub fn wait_for(&self, address: SocketAddr, is: impl Fn(&Samples) -> bool) -> Samples {
        Samples::wait_for(self.lab.node(), address, is)
    }

    /// What is in the log.
    ///
    /// # Panics
    ///
    /// When it is not there, or a line is not whole.
    pub fn logged(&self) -> Said {
        let text = fs::read_to_string(self.path("flows.log"));
        let text = text.unwrap_or_else(|error| panic!("the log: {error}"));
        assert!(text.ends_with('\n'), "only whole lines");
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        Said::parse(&lines)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _removed = fs::remove_dir_all(&self.folder);
    }
}
