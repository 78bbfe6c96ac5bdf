//! A daemon while everything comes and goes, itself included: nothing is missed, nothing grows.
//!
//! `FLOWMON_SOAK_SECONDS` says for how long; `scripts/soak-daemon` does.
#![expect(clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    net::IpAddr,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use flowmon::lab::{Lab, Pod, traffic};
use flowmon_common::Totals;
use netns_tests::{PrivateMounts, Said, Watch, interface_counters, require_root};
use serde_json::{Value, json};

type TestResult<T = ()> = Result<T, Box<dyn Error>>;
type Sent<T> = Result<T, String>;

const DEFAULT: Duration = Duration::from_secs(6);
/// More than a debug build needs here.
const MOST_KILOBYTES: u64 = 150_000;

struct Network {
    lab: Lab,
    client: Pod,
    server: Pod,
    folder: PathBuf,
    _silent: UnixListener,
    _mounts: PrivateMounts,
}

impl Network {
    fn new() -> TestResult<Self> {
        let mounts = PrivateMounts::enter();
        mounts.bpffs();
        let lab = Lab::with_gateways("cni0", &["10.77.0.1/16".parse()?])?;
        let client = lab.add_pod_at("client", "vethclient", &lab.host(2))?;
        let server = lab.add_pod_at("server", "vethserver", &lab.host(3))?;
        let folder = PathBuf::from("/run/soak");
        fs::create_dir_all(folder.join("policies"))?;
        let who = [("client", &client), ("server", &server)].map(|(name, pod)| {
            let address = pod.addresses[0].ip();
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"namespace": "default", "name": name, "labels": {"app": name}},
                "spec": {"containers": [{"name": name, "image": name}]},
                "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
            })
        });
        let who = json!({"apiVersion": "v1", "kind": "List", "items": who});
        fs::write(folder.join("inventory.json"), who.to_string())?;
        let network = Self {
            // A runtime that takes a connection and never says a word.
            _silent: UnixListener::bind(folder.join("silent.sock"))?,
            lab,
            client,
            server,
            folder,
            _mounts: mounts,
        };
        network.declare(0)?;
        Ok(network)
    }

    /// Nobody may talk to the server, at any time; the rest of the policies is another each time.
    fn declare(&self, number: u64) -> TestResult {
        let policy = |name: String, app: &str| {
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {
                    "podSelector": {"matchLabels": {"app": app}},
                    "policyTypes": ["Ingress"], "ingress": [],
                },
            })
        };
        let all = [
            policy("to-server".to_owned(), "server"),
            policy(format!("to-{number}"), "nobody"),
        ];
        let all = json!({"apiVersion": "v1", "kind": "List", "items": all});
        let next = self.folder.join("next.json");
        fs::write(&next, all.to_string())?;
        Ok(fs::rename(next, self.folder.join("policies/all.json"))?)
    }

    fn start(&self) -> Watch {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let (policies, inventory) = (path("policies"), path("inventory.json"));
        let silent = path("silent.sock");
        let args = [
            "--iface",
            "cni0",
            "--pin",
            "--interval",
            "100ms",
            "--policies",
            &policies,
            "--inventory",
            &inventory,
            "--cri-socket",
            &silent,
        ];
        let mut daemon = Watch::spawn(self.lab.node(), &args);
        daemon.wait_for_stderr("watching");
        daemon
    }

    /// Connections to the server, each a violation of its own; how many.
    fn violate(&self, stop: &AtomicBool) -> Sent<usize> {
        let server = self.server.ipv4().ok_or("the server has no address")?;
        let mut ports = (1024u16..60_000).cycle();
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            let port = ports.next().unwrap_or_default();
            let (from, to) = (&self.client.namespace, &self.server.namespace);
            traffic::tcp_transfer(from, to, (server, port).into(), 1200, 900)
                .map_err(|error| error.to_string())?;
            count += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(count)
    }

    /// Many flows of one exchange each.
    fn flood(&self, stop: &AtomicBool) -> Sent<u64> {
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            for id in 1..=50 {
                traffic::ping(&self.client.namespace, bridge(), id, 1, 0)
                    .map_err(|error| error.to_string())?;
                count += 1;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(count)
    }

    /// Pods come, say something, and go: what crossed their interfaces, all of them together.
    fn churn(&self, stop: &AtomicBool) -> Sent<Totals> {
        let mut crossed = Totals::default();
        let mut number = 0u16;
        while !stop.load(Ordering::Relaxed) {
            number = number % 1000 + 1;
            let once = || {
                let name = format!("veth{number}");
                let address = self.lab.host(100 + number);
                let pod = self.lab.add_pod_at("guest", &name, &address)?;
                traffic::ping(&pod.namespace, bridge(), number, 5, 0)?;
                let counters = interface_counters(self.lab.node(), &pod);
                self.lab.remove_pod(pod)?;
                Ok::<_, flowmon::lab::Error>(counters)
            };
            crossed += once().map_err(|error| error.to_string())?;
        }
        Ok(crossed)
    }

    fn reload(&self, stop: &AtomicBool) -> Sent<u64> {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            self.declare(number).map_err(|error| error.to_string())?;
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(number)
    }
}

fn bridge() -> IpAddr {
    [10, 77, 0, 1].into()
}

/// Sets it when it goes, however that happens.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Used {
    kilobytes: u64,
    descriptors: usize,
}

impl Used {
    fn by(pid: u32) -> TestResult<Self> {
        let folder = Path::new("/proc").join(pid.to_string());
        let status = fs::read_to_string(folder.join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        Ok(Self {
            kilobytes: kilobytes.ok_or("no VmRSS")?.parse()?,
            descriptors: fs::read_dir(folder.join("fd"))?.count(),
        })
    }
}

/// The flows to the server that are said to be denied, each by its name.
fn denied(said: &Said) -> impl Iterator<Item = String> {
    let of_server = said.records.iter().filter(|record| {
        record["endpoint"]["interface"] == json!("vethserver")
            && record["verdict"]["outcome"] == json!("denied")
    });
    of_server.map(|record| {
        let part = |pointer| record.pointer(pointer).unwrap_or(&Value::Null).to_string();
        ["/local/port", "/remote/port", "/first_seen"]
            .map(part)
            .join(" ")
    })
}

#[test]
fn while_everything_comes_and_goes_nothing_is_missed() -> TestResult {
    if !require_root("while_everything_comes_and_goes_nothing_is_missed") {
        return Ok(());
    }
    let seconds = std::env::var("FLOWMON_SOAK_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    let lasting = seconds.map_or(DEFAULT, Duration::from_secs);
    let network = Network::new()?;
    let before =
        [&network.client, &network.server].map(|pod| interface_counters(network.lab.node(), pod));
    let mut daemon = network.start();
    let stop = AtomicBool::new(false);
    let mut said = BTreeSet::new();
    let mut used = Vec::new();
    let (mut lives, mut injected, mut guests) = (1u32, 0, Totals::default());
    let daemon = std::thread::scope(|scope| -> TestResult<Watch> {
        let stopping = Stop(&stop);
        let violating = scope.spawn(|| network.violate(&stop));
        let flooding = scope.spawn(|| network.flood(&stop));
        let churning = scope.spawn(|| network.churn(&stop));
        let reloading = scope.spawn(|| network.reload(&stop));
        let until = Instant::now() + lasting;
        // Lives of several lengths, and a long one at the end.
        while Instant::now() < until {
            let life = Duration::from_millis(300 + u64::from(lives) * 7 % 10 * 200);
            let until = until.min(Instant::now() + life);
            while Instant::now() < until {
                std::thread::sleep(Duration::from_millis(100));
                used.push(Used::by(daemon.pid())?);
            }
            said.extend(denied(&daemon.kill()));
            daemon = network.start();
            lives += 1;
        }
        let until = Instant::now() + lasting / 2;
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(100));
            used.push(Used::by(daemon.pid())?);
        }
        drop(stopping);
        let died = |_| "a thread panicked";
        injected = violating.join().map_err(died)??;
        flooding.join().map_err(died)??;
        guests = churning.join().map_err(died)??;
        reloading.join().map_err(died)??;
        Ok(daemon)
    })?;
    let ended = daemon.stop();
    said.extend(denied(&ended.said));
    assert_eq!(
        ended.code,
        Some(1),
        "violations were found: {}",
        ended.stderr
    );
    assert_eq!(
        said.len(),
        injected,
        "violations said, and injected, in {lives} lives"
    );

    let mut least = Totals::default();
    for (pod, before) in [&network.client, &network.server].into_iter().zip(before) {
        assert_eq!(before, Totals::default(), "nobody speaks unasked");
        least += interface_counters(network.lab.node(), pod);
    }
    let mut most = least;
    most += guests;
    let totals = ended.said.sum("totals");
    // Of guests, what crossed before they could be attached to is not in it.
    for (least, total, most) in [
        (least.tx, totals.tx, most.tx),
        (least.rx, totals.rx, most.rx),
    ] {
        assert!(
            least.packets <= total.packets && total.packets <= most.packets,
            "{total:?}"
        );
        assert!(
            least.bytes <= total.bytes && total.bytes <= most.bytes,
            "{total:?}"
        );
    }
    let mut parts = ended.said.sum("attributed");
    parts += ended.said.sum("unattributed");
    assert_eq!(parts, totals);
    let unattributed = ended.said.sum("unattributed").tx.packets;
    assert!(
        unattributed * 20 < totals.tx.packets,
        "{unattributed} of {totals:?}"
    );

    let most = used.iter().map(|used| used.kilobytes).max();
    let descriptors = used.iter().map(|used| used.descriptors).max();
    assert!(most < Some(MOST_KILOBYTES), "{most:?} kB");
    // Of each attached interface two links, and some that come and go with sources of names.
    assert!(descriptors < Some(100), "{descriptors:?} descriptors");
    #[expect(clippy::print_stderr, reason = "what a long run is for")]
    {
        eprintln!(
            "{lives} lives, {injected} violations, {totals:?}, {unattributed} packets unattributed, \
             {most:?} kB and {descriptors:?} descriptors at most"
        );
    }
    Ok(())
}
