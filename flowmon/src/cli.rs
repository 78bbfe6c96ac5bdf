//! What can be typed. The only place that names clap.

mod config;
mod daemon;
mod recorded;
mod test;

use std::{collections::BTreeMap, io::IsTerminal as _, net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use flowmon_common::settings::MAX_FLOWS;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

pub use config::Refused;
pub use daemon::RunArgs;
pub use recorded::{AuditArgs, SuggestArgs};
pub use test::{LingerArgs, TestArgs, TestOutput};

use crate::{
    diagnostics::{Format, Wanted},
    kernel::{Hook, XdpMode},
    policy::{self, AskedPort, ToOwnNode},
    selection::Pattern,
    settings::{Judging, Kubernetes, Output, Places, Watch},
};

/// Audits container networks: every flow of every container, counted exactly.
#[derive(Debug, Parser)]
#[command(name = "flowmon", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Say more on stderr: -v for what is attached and detached, -vv for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// How to write what is said on stderr.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        env = "FLOWMON_LOG_FORMAT"
    )]
    log_format: LogFormat,
    /// What to say on stderr: a level (error, warn, info, debug, trace), or levels by where it comes
    /// from, as in flowmon=debug,h2=info. -v goes before it.
    #[arg(long, global = true, value_name = "FILTER", env = "FLOWMON_LOG")]
    log_filter: Option<Targets>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Cli {
    /// What is said on stderr, and how.
    pub fn diagnostics(&self) -> (Format, Wanted) {
        let format = match self.log_format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        };
        let wanted = match (self.verbose, &self.log_filter) {
            (0, Some(targets)) => Wanted::Targets(targets.clone()),
            (0, None) => Wanted::Ours(LevelFilter::INFO),
            (1, _) => Wanted::Ours(LevelFilter::DEBUG),
            _ => Wanted::Ours(LevelFilter::TRACE),
        };
        (format, wanted)
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch interfaces, live.
    Watch(WatchArgs),
    /// Watch as a daemon: metrics over HTTP, a flow log, and counts that outlive a restart.
    Run(RunArgs),
    /// Are these policy documents valid, and do they mean what they seem to?
    Check(CheckArgs),
    /// Replay recorded flows against policies.
    Audit(AuditArgs),
    /// Why is a connection allowed or denied, and what would change that?
    Explain(ExplainArgs),
    /// Do policies say what scenarios expect of them? Tried with real traffic in throw-away networks.
    Test(TestArgs),
    /// Write the least policies that allow what was seen.
    Suggest(SuggestArgs),
    /// List interfaces: what is behind each, and whether `--iface all` watches it.
    Interfaces {
        /// What to print.
        #[arg(long, value_enum, default_value = "table", env = "FLOWMON_OUTPUT")]
        output: ListOutput,
        /// Where those are found who know who is who.
        #[command(flatten)]
        places: PlaceArgs,
    },
    /// Remove what killed flowmons left attached (`watch` does it, too, when it starts), and what a stopped
    /// daemon left for the next one: counting begins anew after that.
    Cleanup,
    /// Find out by trying what this kernel and these privileges allow.
    Doctor {
        /// Where those are found who know who is who.
        #[command(flatten)]
        places: PlaceArgs,
    },
    /// Print a script that completes flowmon's commands and options in a shell.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page of flowmon, or of one of its commands.
    Man {
        /// Which command.
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
        /// Write all pages into this folder instead: flowmon.1, flowmon-watch.1, …
        #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
        into: Option<PathBuf>,
    },
    /// Watch a throw-away bridge cni0 with containers-as-namespaces and traffic between them.
    Demo(DemoArgs),
}

/// Everything that can be typed.
pub fn everything() -> clap::Command {
    Cli::command()
}

/// `flowmon watch`
#[derive(Debug, Args)]
pub struct WatchArgs {
    #[command(flatten)]
    attach: AttachArgs,
    #[command(flatten)]
    view: ViewArgs,
    /// An address of the endpoint behind an interface, as in veth12ab=10.0.0.5; several at once. What
    /// it sends from others of the same IP version counts as spoofed.
    #[arg(long, value_delimiter = ',', value_name = "IFACE=ADDRESS", value_parser = owner, env = "FLOWMON_OWNS")]
    owns: Vec<(String, IpAddr)>,
    /// As a daemon does: count on where the one before was, and leave programs and counts behind.
    #[arg(long, hide = true)]
    pin: bool,
}

/// `flowmon check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Files and folders of policies, YAML or JSON; - is standard input.
    #[arg(
        required = true,
        value_name = "PATH",
        env = "FLOWMON_POLICIES",
        value_delimiter = ','
    )]
    pub paths: Vec<PathBuf>,
    /// Who is who: files and folders with what `kubectl get pods,ns,svc,nodes -A -o yaml` prints. With
    /// it, selectors and ports that nobody has are found.
    #[arg(
        long, num_args = 1.., value_name = "PATH", env = "FLOWMON_INVENTORY", value_delimiter = ','
    )]
    pub inventory: Vec<PathBuf>,
    /// What to print.
    #[arg(long, value_enum, default_value = "table", env = "FLOWMON_OUTPUT")]
    pub output: CheckOutput,
    /// Fail on warnings too (exit code 1).
    #[arg(long, env = "FLOWMON_STRICT")]
    pub strict: bool,
}

/// What verdicts come from.
#[derive(Debug, Args)]
pub struct JudgingArgs {
    /// Files and folders of policies, YAML or JSON.
    #[arg(
        long, required = true, num_args = 1.., value_name = "PATH", env = "FLOWMON_POLICIES",
        value_delimiter = ','
    )]
    policies: Vec<PathBuf>,
    /// Who is who: files and folders with what `kubectl get pods,ns,svc,nodes -A -o yaml` prints.
    #[arg(
        long, required = true, num_args = 1.., value_name = "PATH", env = "FLOWMON_INVENTORY",
        value_delimiter = ','
    )]
    inventory: Vec<PathBuf>,
    #[command(flatten)]
    corners: CornerArgs,
}

/// What Kubernetes leaves open.
#[derive(Debug, Args)]
struct CornerArgs {
    /// Does `ipBlock` match pods by their addresses? The API says so; to Cilium it never does.
    #[arg(
        long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set,
        env = "FLOWMON_IP_BLOCK_PODS"
    )]
    ip_block_pods: bool,
    /// What becomes of an isolated pod's connection to its own node.
    #[arg(long, value_enum, default_value = "allowed", env = "FLOWMON_OWN_NODE")]
    own_node: OwnNodeArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OwnNodeArg {
    /// As the Kubernetes documentation says.
    Allowed,
    /// Policies decide, like for any other node.
    Judged,
    /// Undecided, unless policies allow it.
    Undecided,
}

impl JudgingArgs {
    /// What it means.
    pub fn settings(&self) -> Judging {
        Judging {
            policies: self.policies.clone(),
            inventory: self.inventory.clone(),
            corners: self.corners.settings(),
        }
    }
}

impl CornerArgs {
    const fn settings(&self) -> policy::Settings {
        policy::Settings {
            ip_block_matches_pods: self.ip_block_pods,
            to_own_node: match self.own_node {
                OwnNodeArg::Allowed => ToOwnNode::Allowed,
                OwnNodeArg::Judged => ToOwnNode::Judged,
                OwnNodeArg::Undecided => ToOwnNode::Undecided,
            },
        }
    }
}

/// `flowmon explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// By what it is judged.
    #[command(flatten)]
    pub judging: JudgingArgs,
    /// Who opens it: a pod as NAMESPACE/NAME, or an address.
    #[arg(long, value_name = "WHO", env = "FLOWMON_FROM")]
    pub from: String,
    /// Who is to answer: a pod or a service as NAMESPACE/NAME (a pod, if both are called so), or an
    /// address.
    #[arg(long, value_name = "WHO", env = "FLOWMON_TO")]
    pub to: String,
    /// Where: 443, 53/udp, icmp.
    #[arg(long, value_name = "PORT[/PROTOCOL]", env = "FLOWMON_PORT")]
    pub port: AskedPort,
    /// What to print.
    #[arg(long, value_enum, default_value = "text", env = "FLOWMON_OUTPUT")]
    pub output: TextOutput,
}

/// How to print what is no list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TextOutput {
    /// Sentences for people.
    Text,
    /// A JSON object.
    Json,
}

/// `flowmon demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    #[command(flatten)]
    view: ViewArgs,
}

/// Where to attach, and how.
#[derive(Debug, Args)]
struct AttachArgs {
    /// A bridge (its ports, followed as they come and go), a veth, any interface, a glob, or `all`
    /// (everything with a container, pod or virtual machine behind it). Several at once.
    #[arg(
        long, required = true, num_args = 1.., value_delimiter = ',', value_name = "IFACE",
        env = "FLOWMON_IFACE"
    )]
    iface: Vec<Pattern>,
    /// Flows the kernel keeps at most; beyond that, detail is lost, never the totals.
    #[arg(
        long, value_name = "N", default_value_t = MAX_FLOWS, env = "FLOWMON_MAX_FLOWS",
        value_parser = clap::value_parser!(u32).range(64..=262_144)
    )]
    max_flows: u32,
    /// How to attach: tcx (Linux 6.6 and newer) or clsact.
    #[arg(long, value_enum, default_value = "auto", env = "FLOWMON_HOOK")]
    hook: HookArg,
}

#[derive(Debug, Args)]
struct ViewArgs {
    #[command(flatten)]
    observe: ObserveArgs,
    /// Stop by itself after this long: 30s, 5m, 1h30m.
    #[arg(long, value_name = "DURATION", value_parser = duration, env = "FLOWMON_DURATION")]
    duration: Option<Duration>,
    /// What to print; auto is the live view (tui) on a terminal and JSON otherwise.
    #[arg(long, value_enum, default_value = "auto", env = "FLOWMON_OUTPUT")]
    output: OutputArg,
}

/// What is looked at, and how.
#[derive(Debug, Args)]
struct ObserveArgs {
    /// Judge every flow by the policies in these files and folders, YAML or JSON, which are read again
    /// when they change.
    #[arg(
        long, num_args = 1.., value_name = "PATH", env = "FLOWMON_POLICIES", value_delimiter = ','
    )]
    policies: Vec<PathBuf>,
    #[command(flatten)]
    corners: CornerArgs,
    /// Time between two readings of the kernel's counters.
    #[arg(
        long, value_name = "DURATION", default_value = "1s", value_parser = duration,
        env = "FLOWMON_INTERVAL"
    )]
    interval: Duration,
    /// A second count of what endpoints send, by XDP, to compare with, and a look at what is odd about
    /// it. Costs bulk TCP some percent: the kernel copies each buffer for XDP.
    #[arg(long, value_enum, default_value = "off", env = "FLOWMON_XDP")]
    xdp: XdpArg,
    #[command(flatten)]
    places: PlaceArgs,
}

/// Where those are found who know who is who.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// Folder of the results of CNI plugins: they name the pod behind each veth.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/var/lib/cni/results",
        env = "FLOWMON_CNI_RESULTS"
    )]
    cni_results: PathBuf,
    /// Sockets of runtimes that speak CRI; the first that there is is asked.
    #[arg(
        long, value_name = "PATH", value_delimiter = ',', env = "FLOWMON_CRI_SOCKET",
        default_values = ["/run/containerd/containerd.sock", "/run/crio/crio.sock"]
    )]
    cri_socket: Vec<PathBuf>,
    /// Socket of Docker's API.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/run/docker.sock",
        env = "FLOWMON_DOCKER_SOCKET"
    )]
    docker_socket: PathBuf,
    /// Socket of Podman's API (`systemctl start podman.socket`).
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/run/podman/podman.sock",
        env = "FLOWMON_PODMAN_SOCKET"
    )]
    podman_socket: PathBuf,
    /// Ask the API of Kubernetes who is who: that of the cluster that this is a pod of, else the one in
    /// $KUBECONFIG or ~/.kube/config. `watch` and `run` judge by its policies.
    #[arg(
        long, value_name = "BOOL", default_value_t = false, action = clap::ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_missing_value = "true",
        env = "FLOWMON_KUBERNETES"
    )]
    kubernetes: bool,
    /// Ask the API of Kubernetes that this file names.
    #[arg(long, value_name = "FILE", env = "FLOWMON_KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// What this node is called in Kubernetes; the host's name, if not said.
    #[arg(long, value_name = "NAME", env = "FLOWMON_NODE_NAME")]
    node_name: Option<String>,
    /// Who is who, beyond this host: files or folders of what `kubectl get
    /// pods,namespaces,services,nodes -A -o yaml` prints. Labels of pods that are on this host, or of
    /// containers that are called so, go over those they have.
    #[arg(long, num_args = 1.., value_name = "PATH", env = "FLOWMON_INVENTORY", value_delimiter = ',')]
    inventory: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum XdpArg {
    /// None.
    #[value(alias = "false")] // as YAML reads `off`
    Off,
    /// Generic XDP.
    Skb,
    /// In the driver. On a veth this takes segmentation offload from the container, and with it most
    /// of its TCP throughput.
    Native,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OutputArg {
    Auto,
    Tui,
    Table,
    Json,
}

/// How to print what is wrong with documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CheckOutput {
    /// A line for each finding, as compilers write it.
    Table,
    /// One JSON object a line.
    Json,
    /// SARIF 2.1.0.
    Sarif,
}

/// How to print a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListOutput {
    /// Columns for people.
    Table,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum HookArg {
    Auto,
    Tcx,
    Clsact,
}

impl AttachArgs {
    /// `watch`, of these interfaces.
    fn of(self, watch: Watch) -> Watch {
        Watch {
            interfaces: self.iface,
            max_flows: self.max_flows,
            hook: match self.hook {
                HookArg::Auto => None,
                HookArg::Tcx => Some(Hook::Tcx),
                HookArg::Clsact => Some(Hook::Clsact),
            },
            ..watch
        }
    }
}

impl WatchArgs {
    /// What it means.
    pub fn settings(self) -> Watch {
        Watch {
            pinned: self.pin,
            owned: self.owns.into_iter().fold(
                BTreeMap::new(),
                |mut owned: BTreeMap<String, Vec<IpAddr>>, (interface, address)| {
                    owned.entry(interface).or_default().push(address);
                    owned
                },
            ),
            ..self.attach.of(self.view.settings(Vec::new()))
        }
    }
}

impl PlaceArgs {
    /// What it means.
    pub fn settings(self) -> Places {
        Places {
            cni_results: self.cni_results,
            cri: self.cri_socket,
            docker: self.docker_socket,
            podman: self.podman_socket,
            kubernetes: (self.kubernetes || self.kubeconfig.is_some()).then_some(Kubernetes {
                kubeconfig: self.kubeconfig,
                node: self.node_name,
            }),
            inventory: self.inventory,
        }
    }
}

impl DemoArgs {
    /// What it means, on `bridge`.
    pub fn settings(self, bridge: &str) -> Watch {
        self.view.settings(vec![Pattern::Name(bridge.to_owned())])
    }
}

impl ViewArgs {
    fn settings(self, interfaces: Vec<Pattern>) -> Watch {
        let output = match self.output {
            OutputArg::Tui => Output::Tui,
            OutputArg::Auto if !std::io::stdout().is_terminal() => Output::Json,
            OutputArg::Auto if can_be_looked_at() => Output::Tui,
            OutputArg::Table | OutputArg::Auto => Output::Table,
            OutputArg::Json => Output::Json,
        };
        Watch {
            duration: self.duration,
            output,
            ..self.observe.settings(interfaces)
        }
    }
}

impl ObserveArgs {
    fn settings(self, interfaces: Vec<Pattern>) -> Watch {
        let places = self.places.settings();
        let is_judging = !self.policies.is_empty() || places.kubernetes.is_some();
        let judging = is_judging.then(|| Judging {
            policies: self.policies,
            inventory: places.inventory.clone(),
            corners: self.corners.settings(),
        });
        Watch {
            interfaces,
            judging,
            duration: None,
            interval: self.interval,
            output: Output::Json,
            max_flows: MAX_FLOWS,
            hook: None,
            pinned: false,
            places,
            xdp: match self.xdp {
                XdpArg::Skb => Some(XdpMode::Skb),
                XdpArg::Native => Some(XdpMode::Native),
                XdpArg::Off => None,
            },
            owned: BTreeMap::new(),
        }
    }
}

/// Keys come from a terminal too, and it is one that can do more than print.
fn can_be_looked_at() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    std::io::stdin().is_terminal() && !is_dumb
}

fn owner(text: &str) -> Result<(String, IpAddr), String> {
    text.split_once('=')
        .and_then(|(interface, address)| Some((interface.to_owned(), address.parse().ok()?)))
        .filter(|(interface, _)| !interface.is_empty())
        .ok_or_else(|| "expected INTERFACE=ADDRESS, like veth12ab=10.0.0.5".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let shortest = Duration::from_millis(10);
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| *duration >= shortest)
        .ok_or_else(|| "expected a duration of 10ms or more, like 500ms, 5s or 2m".to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_positive_and_have_units() {
        assert_eq!(duration("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(duration("1h30m").unwrap(), Duration::from_mins(90));
        for wrong in ["", "5", "-5s", "0s", "1ms", "soon", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
