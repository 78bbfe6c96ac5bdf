//! What was typed, made sense of.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use crate::{
    kernel::{Hook, XdpMode},
    policy,
    selection::Pattern,
};

pub use crate::sinks::{LogFilter, LogLimits};

/// Everything a watch needs to know.
#[derive(Debug, Clone)]
pub struct Watch {
    /// Which interfaces.
    pub interfaces: Vec<Pattern>,
    /// Stop by itself after this long.
    pub duration: Option<Duration>,
    /// Time between two readings of the kernel's counters.
    pub interval: Duration,
    /// What to print.
    pub output: Output,
    /// Flows the kernel keeps at most.
    pub max_flows: u32,
    /// How to attach; the best way this kernel has, if not said.
    pub hook: Option<Hook>,
    /// How to attach the witness, if there is to be one.
    pub xdp: Option<XdpMode>,
    /// All addresses of the endpoint behind an interface, by the interface's name.
    pub owned: BTreeMap<String, Vec<IpAddr>>,
    /// Where those are found who know who is who.
    pub places: Places,
    /// What flows are judged by, if they are.
    pub judging: Option<Judging>,
    /// As a daemon: what is counted, and where, outlives the process and is taken over by the next.
    pub pinned: bool,
}

/// Everything a daemon needs to know.
#[derive(Debug, Clone)]
pub struct Run {
    /// What is watched, and how.
    pub watch: Watch,
    /// Where metrics are served.
    pub listen: SocketAddr,
    /// Who may read them, and how, if not everybody.
    pub web_config: Option<PathBuf>,
    /// Time series of flows at most.
    pub max_series: usize,
    /// Tell flows apart by the port that they asked for.
    pub label_port: bool,
    /// Where flow records go, if anywhere.
    pub log: Option<Log>,
}

/// Where flow records go.
#[derive(Debug, Clone)]
pub struct Log {
    /// The file; `-` is standard output.
    pub path: PathBuf,
    /// When another file is begun.
    pub limits: LogLimits,
    /// Which of them.
    pub filter: LogFilter,
}

/// Where those are found who know who is who.
#[derive(Debug, Clone)]
pub struct Places {
    /// Folder of the results of CNI plugins.
    pub cni_results: PathBuf,
    /// Sockets of runtimes that speak CRI: the first that there is.
    pub cri: Vec<PathBuf>,
    /// Socket of Docker.
    pub docker: PathBuf,
    /// Socket of Podman.
    pub podman: PathBuf,
    /// The API of Kubernetes, if it is asked.
    pub kubernetes: Option<Kubernetes>,
    /// Files and folders of what the user declares.
    pub inventory: Vec<PathBuf>,
}

/// Where the API of Kubernetes is.
#[derive(Debug, Clone)]
pub struct Kubernetes {
    /// A kubeconfig; without it, where one is found.
    pub kubeconfig: Option<PathBuf>,
    /// What this node is called there.
    pub node: Option<String>,
}

/// What goes to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// A live view on a terminal.
    Tui,
    /// A snapshot for people, each interval.
    Table,
    /// Flow records, one JSON object a line.
    Json,
}

/// What verdicts come from.
#[derive(Debug, Clone)]
pub struct Judging {
    /// Files and folders of policies; none where the policies are those of a cluster.
    pub policies: Vec<PathBuf>,
    /// Files and folders of who is who.
    pub inventory: Vec<PathBuf>,
    /// What Kubernetes leaves open.
    pub corners: policy::Settings,
}

/// Everything an audit needs to know.
#[derive(Debug, Clone)]
pub struct Audit {
    /// Logs to replay; `-` is standard input.
    pub flows: Vec<PathBuf>,
    /// By what they are judged.
    pub judging: Judging,
    /// What to print.
    pub output: Findings,
    /// What makes it fail.
    pub fail_on: FailOn,
    /// Compare with the verdicts in the log.
    pub diff: bool,
}

/// Everything a suggestion needs to know.
#[derive(Debug, Clone)]
pub struct Suggest {
    /// Logs of what was seen; `-` is standard input.
    pub flows: Vec<PathBuf>,
    /// Policies that are there already, if any, and who is who.
    pub judging: Judging,
    /// What to suggest.
    pub format: crate::suggest::Format,
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Findings {
    /// Columns for people.
    Table,
    /// Every record again, then a summary, one JSON object a line.
    Json,
    /// `JUnit` XML.
    Junit,
    /// SARIF 2.1.0.
    Sarif,
}

/// What makes an audit fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailOn {
    /// Denied flows.
    Denied,
    /// Denied flows, and whatever could hide one.
    Undecided,
    /// Nothing that it finds.
    Never,
}
