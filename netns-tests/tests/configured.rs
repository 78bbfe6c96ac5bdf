//! A daemon by its file: what the file says is what happens, and the log on standard output.

use std::{
    error::Error,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::{Duration, Instant},
};

use flowmon::lab::{Lab, Pod, traffic};
use netns_tests::{PrivateMounts, Watch, interface_counters, require_root};
use nix::sys::signal::Signal;

type TestResult = Result<(), Box<dyn Error>>;

/// IPv4 only: nobody speaks unasked.
struct Network {
    lab: Lab,
    a: Pod,
    b: Pod,
    file: PathBuf,
    _mounts: PrivateMounts,
}

impl Network {
    /// With a file of settings that has more of the log's.
    fn new(name: &str, log: &str) -> Result<Self, Box<dyn Error>> {
        let mounts = PrivateMounts::enter();
        mounts.bpffs();
        let lab = Lab::with_gateways("cni0", &["10.79.0.1/16".parse()?])?;
        let id = std::process::id();
        let file = std::env::temp_dir().join(format!("flowmon-configured-{name}-{id}.yaml"));
        let text = format!(
            "watch: {{interfaces: [cni0], interval: 100ms}}\n\
             metrics: {{listen: '10.79.0.1:0'}}\n\
             log: {{file: '-'{log}}}\n"
        );
        fs::write(&file, text)?;
        Ok(Self {
            a: lab.add_pod_at("a", "vetha", &lab.host(2))?,
            b: lab.add_pod_at("b", "vethb", &lab.host(3))?,
            lab,
            file,
            _mounts: mounts,
        })
    }

    fn args<'n>(&'n self, more: &[&'n str]) -> Vec<&'n str> {
        let file = self.file.to_str().unwrap_or_default();
        [&["--config", file], more].concat()
    }

    fn ping(&self, id: u16, count: u16) -> TestResult {
        let to = self.b.ipv4().ok_or("no address")?.into();
        assert_eq!(traffic::ping(&self.a.namespace, to, id, count, 100)?, count);
        Ok(())
    }

    /// What `/metrics` says.
    fn scrape(&self, address: SocketAddr) -> Result<String, Box<dyn Error>> {
        let page = self.lab.node().run(|| -> std::io::Result<String> {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: flowmon\r\n\r\n")?;
            let mut page = String::new();
            stream.read_to_string(&mut page)?;
            Ok(page)
        })??;
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        Ok(page)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _removed = fs::remove_file(&self.file);
    }
}

#[test]
fn a_log_on_stdout_has_what_its_filters_take_and_the_whole_summary() -> TestResult {
    if !require_root("a_log_on_stdout_has_what_its_filters_take_and_the_whole_summary") {
        return Ok(());
    }
    let network = Network::new("filter", ", endpoints: ['*a']")?;
    // Nothing is judged, as there are no policies.
    let args = network.args(&["--log-verdict", "denied,not-judged"]);
    let mut daemon = Watch::daemon(network.lab.node(), &args);
    daemon.wait_for_stderr("watching 2 interfaces");
    let ping = |daemon: &mut Watch, id, count| {
        network.ping(id, count)?;
        daemon.wait_for_record(|record| {
            record.pointer("/protocol") == Some(&"icmp".into())
                && record.pointer("/tx/packets") == Some(&count.into())
        });
        TestResult::Ok(())
    };
    ping(&mut daemon, 7, 20)?;
    // There is nothing to be read again, and it is no reason to end.
    daemon.signal(Signal::SIGHUP);
    ping(&mut daemon, 8, 10)?;
    let ended = daemon.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for record in &ended.said.records {
        let interface = record.pointer("/endpoint/interface");
        assert_eq!(interface, Some(&"vetha".into()), "{record}");
    }
    let node = network.lab.node();
    let mut all = interface_counters(node, &network.a);
    all += interface_counters(node, &network.b);
    assert_eq!(ended.said.sum("totals"), all);
    assert_eq!(ended.said.sum("attributed"), all);
    let summary = &ended.said.summary;
    assert_eq!(
        summary.pointer("/complete"),
        Some(&true.into()),
        "{summary}"
    );

    // Nobody has a namespace of that name.
    let args = network.args(&["--log-namespace", "elsewhere"]);
    let mut daemon = Watch::daemon(network.lab.node(), &args);
    daemon.wait_for_stderr("watching 2 interfaces");
    network.ping(8, 20)?;
    let ended = daemon.stop();
    assert_eq!(ended.said.records, Vec::<serde_json::Value>::new());
    let summary = &ended.said.summary;
    assert_eq!(
        summary.pointer("/complete"),
        Some(&true.into()),
        "{summary}"
    );
    Ok(())
}

#[test]
fn a_log_whose_reader_went_is_counted_and_ends_nothing() -> TestResult {
    if !require_root("a_log_whose_reader_went_is_counted_and_ends_nothing") {
        return Ok(());
    }
    let network = Network::new("gone", "")?;
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let mut daemon = Watch::daemon_to(network.lab.node(), &network.args(&[]), writer);
    let line = daemon.wait_for_stderr("metrics are at http://");
    let (_, address) = line.split_once("http://").ok_or("no address")?;
    let address = address.split_once('/').ok_or("no path")?.0.parse()?;
    daemon.wait_for_stderr("watching 2 interfaces");
    network.ping(7, 20)?;
    daemon.wait_for_stderr("cannot write the flow log");
    let deadline = Instant::now() + Duration::from_secs(20);
    let is_counted = |line: &str| {
        let count = line.strip_prefix("flowmon_lost_total{what=\"sink_queue\"} ");
        count.is_some_and(|count| count != "0")
    };
    while !network.scrape(address)?.lines().any(is_counted) {
        assert!(Instant::now() < deadline, "nothing was counted as lost");
        std::thread::sleep(Duration::from_millis(20));
    }
    let ended = daemon.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    Ok(())
}
