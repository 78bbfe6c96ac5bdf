//! How long attaching and detaching takes. These run alone.

use std::error::Error;
use std::time::{Duration, Instant};

use flowmon::lab::{Lab, Namespace};
use flowmon::netlink::{self, Configure, Veth};
use netns_tests::{Watch, require_root};
use serde_json::json;

type TestResult = Result<(), Box<dyn Error>>;

#[test]
fn timing_a_hundred_veths_attach_in_two_seconds() -> TestResult {
    const LIMIT: Duration = Duration::from_secs(2);
    if !require_root("timing_a_hundred_veths_attach_in_two_seconds") {
        return Ok(());
    }
    let namespace = Namespace::new("node")?;
    namespace.block_on(async || -> Result<(), netlink::Error> {
        let configure = Configure::open()?;
        for number in 0..100 {
            let veth = Veth {
                name: &format!("veth{number}"),
                ifindex: None,
                peer: &format!("peer{number}"),
                peer_netns: None,
            };
            configure.create_veth(&veth).await?;
        }
        Ok(())
    })??;
    // The kernel makes each of the 200 tcx links, and unmakes each, in an RCU grace period of its
    // own: two ticks of its clock if the processors are free, and many if others keep them busy.
    let (mut fastest, mut quiet) = (Duration::MAX, false);
    for _ in 0..4 {
        let (begin, before) = (Instant::now(), ProcessorTime::now()?);
        let nothing = Watch::start(&namespace, &["--iface", "nothing*"]);
        let start = begin.elapsed();
        nothing.stop().assert_clean();
        let begin = Instant::now();
        let watch = Watch::start(&namespace, &["--iface", "veth*"]);
        let (watching, idle) = (begin.elapsed(), before.idle_since()?);
        let attached = watching.saturating_sub(start);
        let begin = Instant::now();
        let ended = watch.stop();
        report(&format!(
            "100 veths: attached in {attached:?}, {watching:?} after the start of the process, \
             left in {:?}; processors {:.0} % idle",
            begin.elapsed(),
            idle * 100.0
        ));
        ended.assert_clean();
        assert_eq!(ended.said.summary.pointer("/interfaces"), Some(&json!(100)));
        if attached < LIMIT {
            return Ok(());
        }
        fastest = fastest.min(attached);
        quiet |= idle > QUIET;
    }
    assert!(!quiet, "attached in {fastest:?}");
    report("others kept the processors busy: this says little");
    assert!(fastest < LIMIT * 5, "attached in {fastest:?}");
    Ok(())
}

/// The share of the processors' time that we alone leave.
const QUIET: f64 = 0.6;

/// Of all processors, since the machine started (`proc_stat(5)`).
struct ProcessorTime {
    all: f64,
    idle: f64,
}

impl ProcessorTime {
    fn now() -> Result<Self, Box<dyn Error>> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().ok_or("/proc/stat is empty")?;
        let times: Result<Vec<f64>, _> = line.split_whitespace().skip(1).map(str::parse).collect();
        let times = times?;
        Ok(Self {
            all: times.iter().sum(),
            idle: *times.get(3).ok_or("no idle time in /proc/stat")?,
        })
    }

    /// The share of the time since then that nobody used.
    fn idle_since(&self) -> Result<f64, Box<dyn Error>> {
        let now = Self::now()?;
        Ok((now.idle - self.idle) / (now.all - self.all))
    }
}

/// From the moment the kernel is asked for it, before there is a netlink message, to the arrival
/// of the line that says it is done.
#[test]
fn timing_a_new_port_is_attached_within_100_ms() -> TestResult {
    const LIMIT: Duration = Duration::from_millis(100);
    if !require_root("timing_a_new_port_is_attached_within_100_ms") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let mut watch = Watch::start(lab.node(), &["--iface", "cni0"]);
    let (mut took, before) = (Vec::new(), ProcessorTime::now()?);
    for number in 0..20 {
        let name = format!("veth{number}");
        let veth = Veth {
            name: &name,
            ifindex: None,
            peer: &format!("peer{number}"),
            peer_netns: None,
        };
        let ifindex = lab
            .node()
            .block_on(async || Configure::open()?.create_veth(&veth).await)??;
        let begin = Instant::now();
        lab.node().block_on(async || {
            let bridge = lab.bridge_ifindex();
            Configure::open()?.set_master(ifindex, Some(bridge)).await
        })??;
        watch.wait_for_stderr(&format!("attached interface=\"{name}\""));
        took.push(begin.elapsed());
    }
    let idle = before.idle_since()?;
    watch.stop().assert_clean();
    took.sort_unstable();
    let median = took.get(took.len() / 2).ok_or("none")?;
    let longest = took.last().ok_or("none")?;
    report(&format!(
        "a new port is attached within {median:?} (median of {}), {longest:?} at most; \
         processors {:.0} % idle",
        took.len(),
        idle * 100.0
    ));
    assert!(*median < LIMIT, "{took:?}");
    assert!(*longest < LIMIT || idle < QUIET, "{took:?}");
    Ok(())
}

#[expect(
    clippy::print_stderr,
    reason = "a measurement is part of a test's output"
)]
fn report(measured: &str) {
    eprintln!("{measured}");
}
