//! `flowmon run`: what is scraped from it, and what it writes down, are what crossed the wire.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::{Duration, Instant},
};

use flowmon::lab::{Lab, Pod, traffic};
use flowmon_common::{Totals, Traffic};
use netns_tests::{PrivateMounts, Said, Watch, interface_counters, require_root, tool};
use nix::sys::signal::Signal;

type TestResult = Result<(), Box<dyn Error>>;

const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
";

/// IPv4 only: nobody speaks unasked.
struct Network {
    lab: Lab,
    folder: PathBuf,
    _mounts: PrivateMounts,
}

impl Network {
    fn new(name: &str) -> Result<Self, Box<dyn Error>> {
        let mounts = PrivateMounts::enter();
        mounts.bpffs();
        let id = std::process::id();
        let folder = std::env::temp_dir().join(format!("flowmon-daemon-{name}-{id}"));
        fs::create_dir_all(&folder)?;
        Ok(Self {
            lab: Lab::with_gateways("cni0", &["10.78.0.1/16".parse()?])?,
            folder,
            _mounts: mounts,
        })
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn start(&self, more: &[&str]) -> Result<(Watch, SocketAddr), Box<dyn Error>> {
        let log = self.path("flows.log");
        let fixed = [
            "--iface",
            "cni0",
            "--interval",
            "100ms",
            "--listen",
            "10.78.0.1:0",
        ];
        let args = [&fixed[..], &["--log", &log], more].concat();
        let mut daemon = Watch::daemon(self.lab.node(), &args);
        let line = daemon.wait_for_stderr("metrics are at http://");
        daemon.wait_for_stderr("watching");
        let (_, address) = line.split_once("http://").ok_or("no address")?;
        let (address, _) = address.split_once('/').ok_or("no path")?;
        Ok((daemon, address.parse()?))
    }

    fn add(&self, daemon: &mut Watch, name: &str, host: u16) -> Result<Pod, Box<dyn Error>> {
        let interface = format!("veth{name}");
        let pod = self
            .lab
            .add_pod_at(name, &interface, &self.lab.host(host))?;
        daemon.wait_for_stderr(&format!("attached interface=\"{interface}\""));
        Ok(pod)
    }

    /// The samples of a page, by name and labels.
    fn scrape(&self, address: SocketAddr) -> Result<Samples, Box<dyn Error>> {
        let page = self.lab.node().run(|| -> std::io::Result<String> {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: flowmon\r\n\r\n")?;
            let mut page = String::new();
            stream.read_to_string(&mut page)?;
            Ok(page)
        })??;
        let (head, body) = page.split_once("\r\n\r\n").ok_or("no head")?;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let samples = body.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        let samples: Option<BTreeMap<String, f64>> = samples.map(sample).collect();
        Ok(Samples(samples.ok_or("not a sample")?))
    }

    /// Scrapes until `is` holds.
    fn wait_for(
        &self,
        address: SocketAddr,
        is: impl Fn(&Samples) -> bool,
    ) -> Result<Samples, Box<dyn Error>> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let samples = self.scrape(address)?;
            if is(&samples) {
                return Ok(samples);
            }
            assert!(Instant::now() < deadline, "it did not come: {samples:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn logged(&self) -> Result<Said, Box<dyn Error>> {
        let text = fs::read_to_string(self.path("flows.log"))?;
        assert!(text.ends_with('\n'), "only whole lines");
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        Ok(Said::parse(&lines))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _removed = fs::remove_dir_all(&self.folder);
    }
}

#[derive(Debug)]
struct Samples(BTreeMap<String, f64>);

impl Samples {
    /// The sum of a family's series that have all these labels: counts of something.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count, of less than 2^53"
    )]
    fn sum(&self, family: &str, labels: &[&str]) -> u64 {
        let of_it = |series: &&String| {
            let rest = series.strip_prefix(family);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
                && labels.iter().all(|label| series.contains(label))
        };
        let all = self.0.iter().filter(|(series, _)| of_it(series));
        all.map(|(_, value)| *value as u64).sum()
    }

    fn totals(&self, family: &str, label: &str) -> Totals {
        let way = |way: &str| {
            let labels = [label, &format!("way=\"{way}\"")];
            let sum = |unit: &str| self.sum(&format!("flowmon_{family}_{unit}_total"), &labels);
            Traffic {
                packets: sum("packets"),
                bytes: sum("bytes"),
            }
        };
        Totals {
            tx: way("tx"),
            rx: way("rx"),
        }
    }
}

fn ping(pod: &Pod, to: &Pod, id: u16, count: u16) -> TestResult {
    let to = to.ipv4().ok_or("no address")?.into();
    assert_eq!(traffic::ping(&pod.namespace, to, id, count, 100)?, count);
    Ok(())
}

#[test]
fn what_is_scraped_and_logged_is_what_crossed_the_wire() -> TestResult {
    if !require_root("what_is_scraped_and_logged_is_what_crossed_the_wire") {
        return Ok(());
    }
    let network = Network::new("exact")?;
    let (mut daemon, address) = network.start(&[])?;
    let a = network.add(&mut daemon, "a", 2)?;
    let b = network.add(&mut daemon, "b", 3)?;
    ping(&a, &b, 7, 40)?;
    let to = SocketAddr::from((b.ipv4().ok_or("no address")?, 8080));
    // No buffer stands for several packets, so the interface's counters count packets.
    traffic::tcp_transfer(&a.namespace, &b.namespace, to, 1200, 900)?;
    let truth = interface_counters(network.lab.node(), &a);
    let label = "endpoint=\"vetha\"";
    let samples = network.wait_for(address, |samples| samples.totals("flow", label) == truth)?;
    assert_eq!(samples.totals("interface", "interface=\"vetha\""), truth);
    assert_eq!(samples.totals("unattributed", ""), Totals::default());
    assert_eq!(
        samples.sum("flowmon_flows_total", &["protocol=\"icmp\"", label]),
        1
    );
    assert!(samples.sum("flowmon_tcp_handshake_seconds_count", &[label]) > 0);
    assert_eq!(samples.sum("flowmon_lost_total", &[]), 0);
    assert_eq!(samples.sum("flowmon_build_info", &[]), 1);

    let ended = daemon.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let logged = network.logged()?;
    let both = interface_counters(network.lab.node(), &b);
    let mut all = truth;
    all += both;
    assert_eq!(logged.sum("totals"), all);
    logged.assert_complete();
    Ok(())
}

#[test]
fn policies_are_read_again_on_sighup_and_a_killed_daemons_log_stays_whole() -> TestResult {
    if !require_root("policies_are_read_again_on_sighup_and_a_killed_daemons_log_stays_whole") {
        return Ok(());
    }
    let network = Network::new("hangup")?;
    let (policies, inventory) = (network.path("policies"), network.path("inventory.yaml"));
    fs::create_dir_all(&policies)?;
    fs::write(
        network.folder.join("policies/p.yaml"),
        POLICY.replace("web", "none"),
    )?;
    fs::write(
        &inventory,
        "
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
",
    )?;
    let more = ["--policies", &policies, "--inventory", &inventory];
    let (mut daemon, address) = network.start(&more)?;
    let client = network.add(&mut daemon, "c", 2)?;
    let web = network.add(&mut daemon, "w", 3)?;
    let port = |port| SocketAddr::from(([10, 78, 0, 3], port));
    traffic::tcp_transfer(&client.namespace, &web.namespace, port(8080), 1200, 900)?;
    let violations = "flowmon_policy_violations_total";
    let begun =
        |samples: &Samples| samples.sum("flowmon_flows_total", &["verdict=\"allowed\""]) > 0;
    let samples = network.wait_for(address, begun)?;
    assert_eq!(samples.sum(violations, &[]), 0, "{samples:#?}");

    fs::write(network.folder.join("policies/p.yaml"), POLICY)?;
    daemon.signal(Signal::SIGHUP);
    network.wait_for(address, |samples| samples.sum(violations, &[]) > 0)?;
    traffic::tcp_transfer(&client.namespace, &web.namespace, port(8081), 1200, 900)?;
    let labels = [
        "policy=\"shop/closed\"",
        "port=\"8081\"",
        "reason=\"no-rule-matched\"",
    ];
    network.wait_for(address, |samples| samples.sum(violations, &labels) == 1)?;

    // A second one is refused while the first one lives.
    let second = netns_tests::flowmon(
        network.lab.node(),
        &["run", "--iface", "cni0", "--listen", "10.78.0.1:0"],
    );
    assert_eq!(second.code, Some(4), "{}", second.stderr);
    daemon.signal(Signal::SIGKILL);
    assert_eq!(daemon.ended().code, None);
    let (daemon, address) = network.start(&more)?;
    let interface = |samples: &Samples| samples.totals("interface", "interface=\"vethw\"");
    let truth = interface_counters(network.lab.node(), &web);
    network.wait_for(address, |samples| interface(samples) == truth)?;
    let ended = daemon.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    network.logged()?.assert_reconciles();
    Ok(())
}

#[test]
fn a_full_disk_costs_records_that_are_counted_and_no_more() -> TestResult {
    if !require_root("a_full_disk_costs_records_that_are_counted_and_no_more") {
        return Ok(());
    }
    let network = Network::new("full")?;
    let folder = network.folder.display().to_string();
    let mount = ["-t", "tmpfs", "-o", "size=64k", "tmpfs", &folder];
    tool(network.lab.node(), "mount", &mount);
    let (mut daemon, address) = network.start(&[])?;
    let a = network.add(&mut daemon, "a", 2)?;
    let b = network.add(&mut daemon, "b", 3)?;
    // As much as there is room for, whatever the file system takes for itself.
    let filler = network.folder.join("filler");
    let mut file = fs::File::create(&filler)?;
    while file.write_all(&[0; 4096]).is_ok() {}
    let lost = |samples: &Samples| samples.sum("flowmon_lost_total", &["what=\"sink_queue\""]);
    ping(&a, &b, 1, 5)?;
    // The page that the log had begun may still take some.
    let mut id = 2;
    while lost(&network.scrape(address)?) == 0 {
        assert!(id < 500, "nothing was lost");
        ping(&a, &b, id, 1)?;
        id += 1;
    }
    daemon.wait_for_stderr("cannot write the flow log");
    // Space comes back when nobody has the file open.
    drop(file);
    fs::remove_file(&filler)?;
    ping(&a, &b, 1000, 5)?;
    daemon.wait_for_stderr("the flow log is written again");
    let truth = interface_counters(network.lab.node(), &a);
    let label = "endpoint=\"vetha\"";
    let samples = network.wait_for(address, |samples| samples.totals("flow", label) == truth)?;
    let counted = lost(&samples);
    let ended = daemon.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let logged = network.logged()?;
    assert_eq!(logged.sum("totals"), logged.sum("attributed"));
    let said = logged.summary.pointer("/lost/sink_queue").cloned();
    assert_eq!(said, Some(counted.into()), "{}", logged.summary);
    assert_eq!(logged.summary.pointer("/complete"), Some(&false.into()));
    Ok(())
}
